"""Calls that were made once, decided again: what another policy would have made of them.

The calls come from the audit log, as values. It has of each argument only the
SHA-256, and that is enough: a rule either names the argument, and then it is
known by its digest, or it tells it from no other argument that no rule names.

Domains are taken as they are now, for the log does not say what they were.
Whether a target ran at the time is not in the log either, so with
`autostart=no` a call counts as decided in the same way if it could have been.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import count
from typing import assert_never

from bento.host.model.audit import Verdict, argument_digest
from bento.host.policy.decide import Allowed, Asking, Call, Decision, Denied, decide
from bento.host.policy.files import Policy, PolicyRules
from bento.host.policy.world import World
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName


@dataclass(frozen=True, slots=True)
class Logged:
    """A call and what became of it; each field as in `model/audit.py`."""

    source: DomainName
    service: ServiceName
    argument: str
    asked: TargetName
    chosen: TargetName
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Changed:
    """Calls that would be decided otherwise. `argument` None: one that no rule names."""

    logged: Logged
    argument: ServiceArgument | None
    decision: Decision
    calls: int


@dataclass(frozen=True, slots=True)
class Simulation:
    """How many calls there were of each kind. `changed`: the most frequent first."""

    same: int
    changed: tuple[Changed, ...]
    gone: Mapping[DomainName, int]
    """By domains that are no more, so that nobody can say."""
    commands: int
    """By the person at the host, whom no policy is asked about."""


def simulate(log: Mapping[Logged, int], policy: Policy, world: World) -> Simulation:
    """What `policy` would make of the calls in `log`, which has the number of each."""
    arguments = _named(policy)
    other = next(name for at in count() if (name := ServiceArgument(f"other{at}")) not in arguments.values())
    states = [_all(world, running=True), _all(world, running=False)]
    same = commands = 0
    gone: Counter[DomainName] = Counter()
    changed = []
    for logged, calls in log.items():
        if logged.verdict is Verdict.CUT:
            continue  # no decision: the call that was cut has a line of its own
        if logged.verdict is Verdict.ADMIN:
            commands += calls
            continue
        if not world.has(logged.source):
            gone[logged.source] += calls
            continue
        argument = arguments.get(logged.argument)
        call = Call(logged.source, logged.service, other if argument is None else argument, logged.asked)
        decisions = [decide(policy, call, state) for state in states]
        if any(_agrees(logged, decision) for decision in decisions):
            same += calls
        else:
            changed.append(Changed(logged, argument, decisions[0], calls))
    changed.sort(key=lambda one: (-one.calls, one.logged.source, one.logged.service, one.logged.asked))
    return Simulation(same, tuple(changed), dict(sorted(gone.items())), commands)


def _named(policy: Policy) -> dict[str, ServiceArgument]:
    """The arguments that some rule names, and the empty one, by their digests."""
    rules = policy.rules if isinstance(policy, PolicyRules) else ()
    named = {ServiceArgument(""), *(rule.argument for rule in rules if rule.argument is not None)}
    return {argument_digest(argument): argument for argument in named}


def _all(world: World, *, running: bool) -> World:
    return World({name: replace(facts, running=running) for name, facts in world.domains.items()})


def _agrees(logged: Logged, decision: Decision) -> bool:
    """Whether the policy's part in it was the same. What the person said to a question is not the policy's."""
    match decision:
        case Allowed(target):
            return logged.verdict is Verdict.ALLOWED and logged.chosen == str(target)
        case Asking(candidates):
            if logged.verdict is Verdict.CONSENTED:
                return logged.chosen in map(str, candidates)
            return logged.verdict is Verdict.WITHHELD
        case Denied():
            return logged.verdict is Verdict.DENIED
        case never:
            assert_never(never)
