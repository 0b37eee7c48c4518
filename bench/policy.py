"""How long one decision takes under a large policy, and a look at all of it; a part of `make bench-rpc`.

The policy is one that a careful person could have written for many boxes: a few rules for whole groups, and many
about single pairs, most of them for the same few services, so that nothing is won by looking at the service alone.
"""

import statistics
import time
from uuid import UUID

from bench.report import Row, report
from bento.host.model.domain import DomainClass
from bento.host.policy.decide import Call, decide
from bento.host.policy.files import Policy, assemble
from bento.host.policy.reach import Ground, reach
from bento.host.policy.world import DomainFacts, World
from bento.wire.names import DomainName, ServiceArgument, ServiceName, Tag, TargetName

RULES, DOMAINS, GROUPS = 5_000, 200, 10
SERVICES = ("qubes.Filecopy", "qubes.OpenURL", "qubes.OpenInVM", "qubes.Gpg", "my.Backup")


def crowd() -> World:
    """`DOMAINS` domains `d0`, `d1` ... in `GROUPS` groups; the first of each is a template for disposables."""
    return World(
        {
            DomainName(f"d{at}"): DomainFacts(
                klass=DomainClass.APP,
                tags=frozenset({Tag(f"group{at % GROUPS}"), Tag("ours")}),
                uuid=UUID(int=at + 1),
                running=True,
                template_for_dispvms=at < GROUPS,
                default_dispvm=DomainName(f"d{at % GROUPS}"),
            )
            for at in range(DOMAINS)
        }
    )


def large_policy() -> Policy:
    lines = [f"{service} * @tag:group0 @adminvm deny" for service in SERVICES]
    for at in range(RULES - 4 * len(SERVICES)):
        service, source, target = SERVICES[at % len(SERVICES)], at % DOMAINS, (at * 7 + at // DOMAINS + 1) % DOMAINS
        argument = f"+a{at % 3}" if at % 4 == 0 else "*"
        lines.append(f"{service} {argument} d{source} d{target} {('allow', 'deny', 'ask')[at % 3]}")
    lines += [f"{service} * @tag:group1 @dispvm allow" for service in SERVICES]
    lines += [f"{service} * @tag:group2 @tag:group3 allow" for service in SERVICES]
    lines += ["* * @anyvm @anyvm deny"] * len(SERVICES)
    return assemble([("30-large.policy", "\n".join(lines).encode())])


def calls(count: int) -> list[Call]:
    """Half of them what some rule is about; the others for anybody, for nobody, or of a service without rules."""
    made = []
    for at in range(count):
        source, service = DomainName(f"d{at % DOMAINS}"), SERVICES[at % len(SERVICES)]
        if at % 2:
            target = f"d{(at * 7 + at // DOMAINS + 1) % DOMAINS}"
        else:
            target = ("@dispvm", "", "no-such", "dom0", "d7")[at % 5]
            service = service if at % 20 else "my.Unheard"
        made.append(Call(source, ServiceName(service), ServiceArgument(f"a{at % 3}"), TargetName(target)))
    return made


def rows(count: int = 5_000) -> list[Row]:
    """One decision, of `count`; and who can reach whom, for all domains.

    The slowest decisions are questions, for which all that the person may choose is collected.
    """
    policy, world = large_policy(), crowd()
    times = []
    for call in calls(count):
        start = time.perf_counter_ns()
        decide(policy, call, world)
        times.append((time.perf_counter_ns() - start) / 1000)
    start = time.perf_counter_ns()
    reach(Ground(policy, world))
    seconds = (time.perf_counter_ns() - start) / 1e9
    case = f"{RULES:,} rules, {DOMAINS} domains"
    return [
        Row(f"a decision, {case}", "p50", "us", statistics.median(times), target="<= 100"),
        Row(f"a decision, {case}", "p99", "us", statistics.quantiles(times, n=100)[98]),
        Row(f"reach of all from all, {case}", "once", "s", seconds, target="<= 5"),
    ]


if __name__ == "__main__":
    report("policy", "none", rows())
