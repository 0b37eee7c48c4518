"""Policy files that a person wrote, or brought along: the grammar, what includes what, and what comes of a call."""

import re
from collections.abc import Hashable, Iterator
from uuid import UUID

from bento.host.model.domain import DomainClass
from bento.host.model.fault import Fault
from bento.host.policy.decide import Call
from bento.host.policy.explain import explain
from bento.host.policy.files import PolicyBroken, assemble
from bento.host.policy.grammar import parse
from bento.host.policy.rules import Rule
from bento.host.policy.world import DomainFacts, World, intended
from bento.wire.errors import WireError
from bento.wire.names import DomainName, ServiceArgument, ServiceName, Tag, TargetName
from tests.fuzz.engine import Target, main
from tests.host.policy.linear import matches

FILES = ("30-user.policy", "include/a", "include/b.policy", "compat-4.0/s+x", "90-default.policy")
"""What an input is cut into, at zero bytes."""

WORLD = World(
    {
        DomainName("work"): DomainFacts(DomainClass.APP, frozenset({Tag("t")}), UUID(int=1), running=True),
        DomainName("base"): DomainFacts(DomainClass.APP, template_for_dispvms=True, default_dispvm=DomainName("base")),
        DomainName("disp"): DomainFacts(DomainClass.DISPOSABLE, base=DomainName("base")),
    }
)


def check(data: bytes) -> Hashable:
    files = dict(zip(FILES, data.split(b"\0"), strict=False))
    policy = assemble(files.items())
    if isinstance(policy, PolicyBroken):
        check_place(policy.fault, files[policy.fault.file])
        raise WireError(str(policy.fault))
    for rule in policy.rules:
        (again,) = parse(rule.file, str(rule))
        assert isinstance(again, Rule)
        assert str(again) == str(rule)
    outcomes = []
    for call in calls():
        explained = explain(policy, call, WORLD)
        target = intended(call.target, call.source, WORLD)
        assert target is not None
        first = next((rule for rule in policy.rules if matches(rule, call, target, WORLD)), None)
        assert explained.decision.rule is first
        outcomes.append((type(explained.decision).__name__, min(len(explained.nearly), 3)))
    return min(len(policy.rules), 8), *outcomes


def check_place(fault: Fault, content: bytes) -> None:
    lines = re.split("\r\n|\r|\n", content.decode("utf-8", "replace"))
    assert fault.line <= len(lines)
    assert fault.line == 0 or 1 <= fault.column <= len(lines[fault.line - 1]) + 1


def calls() -> Iterator[Call]:
    for source in ("work", "disp"):
        for target in ("base", "@dispvm:base", "@dispvm", ""):
            yield Call(DomainName(source), ServiceName("s"), ServiceArgument("x"), TargetName(target))


TARGET = Target(
    check,
    seeds=(
        b"# a comment\ns +x work base allow user=root autostart=no\n* * @anyvm @anyvm deny notify=no",
        b"s * @tag:t @dispvm ask default_target=@dispvm:base\n!include-dir include\0\0s * disp * allow target=base",
        b"!include include/a\n!compat-4.0\0s + uuid:00000000-0000-0000-0000-000000000001 @default deny",
        b"!compat-4.0\0\0\0$anyvm $dispvm:base ask,default_target=$adminvm\n$tag:t $type:DispVM allow",
        b"!include-service s +x include/a\0@dispvm:base @dispvm:@tag:t allow\n$include:include/b.policy\0* * deny",
    ),
    words=(
        b"\0",
        *b"! !include !include-dir !include-service !compat-4.0 $include: include/a include/b.policy .. / .".split(),
        *b"* + +x @anyvm @adminvm dom0 @default @dispvm @dispvm: @dispvm:@tag:t @tag:t @type:DispVM".split(),
        *b"allow ask deny target= default_target= user= notify=yes autostart=no work base s".split(),
        *b"uuid: $ , #".split(),
        b" ",
        b"\n",
        b"\r\n",
        b"\xe2\x80\xa8",
        b"\xc2\xa0",
        b"\xff",
    ),
)

if __name__ == "__main__":
    main("tests.fuzz.policy", TARGET)
