"""What the field's reference decides about questions, disposables and UUIDs, as tables.

The cases are facts about QubesOS core-qrexec 4.4, from what its `qrexec/tests/policy_parser.py` holds about a
world like the one below (but for RemoteVMs, which Bento has none of); the tests that show each are named beside it.
Where Bento decides otherwise on purpose, the case says so.
"""

from uuid import UUID

import pytest

from bento.host.model.domain import ADMIN, DomainClass
from bento.host.policy.decide import Allowed, Asking, Call, Decision, Denied, decide
from bento.host.policy.files import assemble
from bento.host.policy.world import DomainFacts, World
from bento.wire.names import DomainName, ServiceArgument, ServiceName, Tag, TargetName


def made(
    number: int,
    tags: str = "",
    klass: DomainClass = DomainClass.APP,
    *,
    runs: bool = False,
    makes: bool = False,
    default: str | None = "base",
) -> DomainFacts:
    return DomainFacts(
        klass=klass,
        tags=frozenset(map(Tag, tags.split())),
        uuid=UUID(int=number),
        running=runs,
        template_for_dispvms=makes,
        default_dispvm=DomainName(default) if default else None,
    )


WORLD = World(
    {
        ADMIN: made(0, "of-dom0", DomainClass.ADMIN, runs=True),
        DomainName("red"): made(1, "one two", runs=True),
        DomainName("green"): made(2, "two", runs=True),
        DomainName("spawner"): made(3, "three", makes=True),
        DomainName("plain"): made(4, makes=True),
        DomainName("base"): made(5, makes=True),
        DomainName("wrong"): made(6, "one two", default="red"),
        DomainName("lone"): made(7, "one two", default=None),
        DomainName("debian"): made(8, "one two", DomainClass.TEMPLATE),
        DomainName("single"): made(9, "one two", DomainClass.STANDALONE),
    }
)
EVERYBODY = "base debian green lone plain red single spawner wrong @dispvm:base @dispvm:plain @dispvm:spawner"


def uuid(number: int) -> str:
    return f"uuid:{UUID(int=number)}"


def decision(policy: str, source: str, target: str) -> Decision:
    call = Call(
        DomainName.parse(source), ServiceName("test.Service"), ServiceArgument("argument"), TargetName.parse(target)
    )
    return decide(assemble([("t.policy", policy.replace(";", "\n").encode())]), call, WORLD)


def outcome(policy: str, source: str, target: str) -> str:
    """Where an allowed call goes, what is to choose from (the default in brackets), or why not."""
    match decision(policy, source, target):
        case Allowed(end):
            return f"-> {end}"
        case Asking(ends, default):
            return "? " + " ".join(f"[{end}]" if end == default else str(end) for end in ends)
        case Denied(reason):
            return reason.value


@pytest.mark.parametrize(
    ("selector", "target", "matches"),
    [
        # TC_00_VMToken, test_100_match_single
        (uuid(0), "@adminvm", True),
        (uuid(0), "dom0", True),
        (uuid(0), "@dispvm:base", False),
        (uuid(0), "red", False),
        (uuid(9), "single", True),
        (uuid(5), "base", True),
        ("single", uuid(9), True),
        ("dom0", uuid(0), True),
        (uuid(99), uuid(99), False),
        ("@default", uuid(99), True),
        ("@anyvm", "@dispvm", True),
        ("@anyvm", "@dispvm:base", True),
        ("*", "@dispvm", True),
        ("*", "@dispvm:base", True),
        ("@dispvm", "@dispvm", True),
        ("@dispvm", "@dispvm:base", False),
        ("@dispvm", "red", False),
        ("@dispvm", "base", False),
        ("@dispvm", "@default", False),
        ("@dispvm:base", "@dispvm:base", True),
        ("@dispvm:base", "base", False),
        ("@dispvm:base", "@dispvm:plain", False),
        (f"@dispvm:{uuid(5)}", f"@dispvm:{uuid(5)}", True),
        (f"@dispvm:{uuid(5)}", "@dispvm:base", True),
        ("@dispvm:base", f"@dispvm:{uuid(5)}", True),
        ("@dispvm:@tag:three", "@dispvm:spawner", True),
        ("@dispvm:@tag:one", "@dispvm:spawner", False),
        ("@dispvm:@tag:three", "@dispvm:base", False),
        ("@dispvm:@tag:three", "spawner", False),
        ("@tag:three", "@dispvm:spawner", False),
        ("@type:AppVM", "@dispvm:spawner", False),
        ("@default", "@dispvm", False),
        # TC_10_Rule, test_050_match: @dispvm is also what it stands for
        ("@dispvm:base", "@dispvm", True),
        ("@dispvm:plain", "@dispvm", False),
        ("@dispvm:@tag:three", "@dispvm", False),
        (f"@dispvm:{uuid(5)}", "@dispvm", True),
    ],
)
def test_a_target_selector_matches_as_in_the_field(selector: str, target: str, matches: bool) -> None:
    found = outcome(f"* * * {selector} allow target=green", "red", target)
    assert found == ("-> green" if matches else "no-rule")


@pytest.mark.parametrize(
    "target",
    # test_101_match_single_access_denied and TC_01_Request, test_002_invalid_target
    [
        "@dispvm:red",
        "@dispvm:wrong",
        "@dispvm:gone",
        "@dispvm:@tag:one",
        "@type:AppVM",
        "@dispvm:dom0",
        "@dispvm:uuid:x",
    ],
)
def test_what_is_no_target_is_refused_whatever_the_rules(target: str) -> None:
    assert outcome("* * * * allow target=green", "red", target) == "target-invalid"


FIND = """\
* * red green allow
* * red @anyvm ask
* * green @tag:one deny
* * green @tag:two allow
* * green @dispvm:@tag:three allow
* * green @dispvm:@tag:two allow
* * green @dispvm:base allow
* * @type:AppVM @default allow target=spawner
* * @tag:one @type:AppVM allow
"""


@pytest.mark.parametrize(
    ("source", "target", "line"),
    [
        # TC_20_Policy, test_010_find_rule
        ("red", "green", 1),
        ("red", "spawner", 2),
        ("red", "@default", 2),
        ("green", "green", 4),
        ("green", "lone", 3),
        ("green", "@default", 8),
        ("green", "@dispvm:spawner", 5),
        ("green", "@dispvm", 7),
        ("lone", "spawner", 9),
        ("lone", "single", None),
        ("lone", "@dispvm", None),
        ("single", "@default", None),
    ],
)
def test_the_first_rule_that_matches_decides(source: str, target: str, line: int | None) -> None:
    rule = decision(FIND, source, target).rule
    assert (rule and rule.line) == line


COLLECT = f"""\
* * red green allow
* * red @anyvm ask
* * green @tag:one deny
* * green @tag:two allow
* * lone @type:AppVM deny
* * @type:AppVM @default allow target=spawner
* * @tag:one @type:AppVM allow
* * lone @dispvm allow
* * single @dispvm allow
* * single @adminvm allow
* * {uuid(1)} gone deny
* * plain {uuid(9)} ask
* * base @dispvm:{uuid(4)} ask
"""
EVALUATE = """\
* * red green allow
* * red @default allow target=green
* * @tag:one green ask
* * @tag:one spawner ask default_target=spawner
* * @tag:two @anyvm allow
* * spawner @anyvm deny
"""
ALL_BUT = {name: EVERYBODY.replace(f"{name} ", "") for name in EVERYBODY.split()}


@pytest.mark.parametrize(
    ("policy", "source", "target", "expected"),
    [
        # test_020_collect_targets_for_ask; a last rule asks where the reference collects without being asked
        (COLLECT, "red", "@default", f"? {ALL_BUT['red']}"),
        (f"* * green @default ask;{COLLECT}", "green", "@default", "? spawner"),
        (f"* * spawner @default ask;{COLLECT}", "spawner", "@default", "no-target"),
        (
            f"* * single @default ask;{COLLECT}",
            "single",
            "@default",
            "? base dom0 green lone plain red spawner wrong @dispvm:base",
        ),
        (f"* * lone @default ask;{COLLECT}", "lone", "@default", "no-target"),
        (COLLECT, "plain", "single", "? single spawner"),
        (COLLECT, "base", "@dispvm:plain", "? spawner @dispvm:plain"),
        # TC_40_evaluate, test_040, test_041
        (EVALUATE, "single", "green", f"? {ALL_BUT['single']}"),
        (EVALUATE, "single", "spawner", f"? {ALL_BUT['single'].replace('spawner ', '[spawner] ', 1)}"),
        # test_042: nothing to choose from
        ("* * spawner @default ask", "spawner", "@default", "no-target"),
        # test_043: only what runs
        ("* * red @anyvm ask", "red", "green", f"? {ALL_BUT['red']}"),
        ("* * red @anyvm ask autostart=no", "red", "green", "? green"),
        ("* * red @adminvm ask autostart=no", "red", "dom0", "? dom0"),
        ("* * red @dispvm ask autostart=no", "red", "@dispvm", "no-target"),
        # test_055: @dispvm as a default is what it stands for
        (
            "* * @anyvm @anyvm ask default_target=@dispvm;* * @anyvm @dispvm ask",
            "spawner",
            "red",
            f"? {ALL_BUT['spawner'].replace('@dispvm:base', '[@dispvm:base]')}",
        ),
        # test_070 to test_073
        ("* * spawner dom0 ask default_target=dom0", "spawner", "dom0", "? [dom0]"),
        ("* * spawner dom0 ask default_target=@adminvm", "spawner", "dom0", "? [dom0]"),
        ("* * spawner @adminvm ask default_target=dom0", "spawner", "@adminvm", "? [dom0]"),
        (f"* * spawner {uuid(0)} ask default_target={uuid(0)}", "spawner", "dom0", "? [dom0]"),
        # Ask.evaluate: target= leaves one thing to choose; the question is whether
        ("* * red @anyvm ask target=green", "red", "spawner", "? green"),
        ("* * red @anyvm ask target=@dispvm default_target=@dispvm:base", "red", "green", "? [@dispvm:base]"),
        (f"* * red @anyvm ask target=@dispvm:{uuid(4)}", "red", "green", "? @dispvm:plain"),
        ("* * red @anyvm ask target=spawner autostart=no", "red", "green", "no-target"),
        # Bento's own: the reference offers a target= that cannot be, and stops at a default that is not to choose
        ("* * red @anyvm ask target=gone", "red", "green", "no-target"),
        ("* * red @anyvm ask target=red", "red", "green", "itself"),
        ("* * red @anyvm ask target=@dispvm:red", "red", "green", "no-target"),
        ("* * red green ask default_target=spawner", "red", "green", "? green"),
        ("* * red green ask default_target=gone", "red", "green", "? green"),
        ("* * lone green ask default_target=@dispvm", "lone", "green", "? green"),
        # Policy.collect_targets_for_ask: the first rule about somebody decides about them, above the question too
        ("* * red green deny;* * red @anyvm ask", "red", "plain", f"? {ALL_BUT['red'].replace('green ', '')}"),
        ("* * red green ask;* * red @anyvm deny", "red", "green", "? green"),
        ("* * red green ask;* * red plain allow;* * red @anyvm deny", "red", "green", "? green plain"),
        ("* * red green ask;other * red plain allow", "red", "green", "? green"),
        ("* * red green ask;test.Service +other red plain allow", "red", "green", "? green"),
        ("* * red green ask;* * lone plain allow", "red", "green", "? green"),
        ("* * red green ask;* * * red allow", "red", "green", "? green"),
        # ... where target= stands for the whole column
        ("* * red green ask;* * red @anyvm allow target=plain", "red", "green", "? green plain"),
        ("* * red plain deny;* * red green ask;* * red @anyvm allow target=plain", "red", "green", "? green"),
        ("* * red green ask;* * red @anyvm allow target=gone", "red", "green", "? green"),
        ("* * red green ask;* * red @anyvm allow target=@dispvm", "red", "green", "? green @dispvm:base"),
        # disposables: what is denied by its base is not offered as @dispvm either (the reference would)
        (
            "* * red @dispvm:base deny;* * red @anyvm ask",
            "red",
            "@dispvm:plain",
            f"? {ALL_BUT['red'].replace(' @dispvm:base', '')}",
        ),
        ("* * red @dispvm deny;* * red @dispvm:base ask", "red", "@dispvm:base", "? @dispvm:base"),
        ("* * lone @dispvm ask", "lone", "@dispvm", "no-target"),
        ("* * red @dispvm:@tag:three ask", "red", "@dispvm:spawner", "? @dispvm:spawner"),
    ],
)
def test_a_person_is_offered_what_the_field_offers(policy: str, source: str, target: str, expected: str) -> None:
    assert outcome(policy, source, target) == expected


@pytest.mark.parametrize(
    ("policy", "source", "target", "expected"),
    [
        # TC_40_evaluate, test_032
        ("* * red green allow autostart=no", "red", "green", "-> green"),
        ("* * red spawner allow autostart=no", "red", "spawner", "not-running"),
        ("* * red @adminvm allow autostart=no", "red", "dom0", "-> dom0"),
        ("* * red @dispvm allow autostart=no", "red", "@dispvm", "not-running"),
        # test_050, test_051, test_053, test_054
        ("* * spawner @dispvm allow", "spawner", "@dispvm", "-> @dispvm:base"),
        ("* * lone @dispvm allow", "lone", "@dispvm", "no-target"),
        ("* * @anyvm @dispvm allow", "spawner", "@dispvm", "-> @dispvm:base"),
        ("* * @anyvm @anyvm allow target=@dispvm", "spawner", "red", "-> @dispvm:base"),
        # test_081 to test_083, test_087 to test_089
        ("* * @anyvm @anyvm allow target=@dispvm:spawner", "spawner", "red", "-> @dispvm:spawner"),
        ("* * @anyvm @anyvm allow target=@dispvm", "lone", "red", "no-target"),
        (f"* * @anyvm @anyvm allow target={uuid(2)}", "spawner", "red", "-> green"),
        (f"* * @anyvm @anyvm allow target={uuid(0)}", "spawner", "red", "-> dom0"),
        (f"* * @anyvm @anyvm allow target=@dispvm:{uuid(3)}", "spawner", "red", "-> @dispvm:spawner"),
        (f"* * @anyvm @anyvm allow target={uuid(99)}", "spawner", "red", "no-target"),
        (f"* * @anyvm @anyvm allow target=@dispvm:{uuid(99)}", "spawner", "red", "no-target"),
        ("* * @anyvm @anyvm allow target=@dispvm:red", "spawner", "green", "no-target"),
        # a source may be named by its UUID
        (f"* * {uuid(1)} @anyvm allow", "red", "green", "-> green"),
        (f"* * {uuid(1)} @anyvm allow", "green", "red", "no-rule"),
        # a disposable of oneself is somebody else
        ("* * @anyvm @dispvm:spawner allow", "spawner", "@dispvm:spawner", "-> @dispvm:spawner"),
        # the reference would try to make one of the default, and fail; Bento sees that it cannot be
        ("* * wrong @dispvm allow", "wrong", "@dispvm", "no-target"),
    ],
)
def test_an_allowed_call_goes_where_it_goes_in_the_field(policy: str, source: str, target: str, expected: str) -> None:
    assert outcome(policy, source, target) == expected


def test_a_question_carries_user_autostart_notify_and_the_rule() -> None:
    asking = decision("\n* * red green ask user=root autostart=no notify=yes", "red", "green")
    assert isinstance(asking, Asking)
    assert (asking.user, asking.autostart, asking.notify, asking.rule.place) == ("root", False, True, "t.policy:2")
    plain = decision("* * red green ask", "red", "green")
    assert isinstance(plain, Asking)
    assert (plain.user, plain.autostart, plain.notify) == (None, True, False)


@pytest.mark.parametrize(("notify", "told"), [("", False), (" notify=yes", True), (" notify=no", False)])
def test_what_does_not_run_is_refused_as_loudly_as_the_rule_says(notify: str, told: bool) -> None:
    """Allow.evaluate: this one refusal of an allowed call takes the rule's notify=."""
    assert decision(f"* * red spawner allow autostart=no{notify}", "red", "spawner").notify is told


@pytest.mark.parametrize(
    ("above", "offered"),
    [
        # TagVM.expand, TypeVM.expand: what a tag or a class denies is not offered, the host included
        ("* * red @tag:of-dom0 deny", False),
        ("* * red @type:AdminVM deny", False),
        ("* * red @tag:three deny", True),
        ("* * red @type:AppVM deny", True),
        ("* * green @tag:of-dom0 deny", True),
        ("* * red @tag:of-dom0 allow target=green", True),
    ],
)
def test_a_denied_tag_or_class_of_the_host_keeps_it_from_being_offered(above: str, offered: bool) -> None:
    decided = decision(f"* * red green ask;{above};* * red * ask", "red", "green")
    assert isinstance(decided, Asking)
    assert (ADMIN in decided.candidates) is offered


@pytest.mark.parametrize("selector", ["@tag:of-dom0", "@type:AdminVM"])
def test_a_tag_or_a_class_never_offers_the_host(selector: str) -> None:
    """Here the reference would, though by the same rule it denies the call that names the host."""
    assert outcome(f"* * red green ask;* * red {selector} ask", "red", "green") == "? green"
    assert outcome(f"* * red {selector} allow", "red", "dom0") == "no-rule"


# ---- Bento's own ---------------------------------------------------------------------------------

HIDDEN = World(
    {
        DomainName("red"): made(1, runs=True, default="hidden"),
        DomainName("green"): made(2, default="plain"),
        DomainName("plain"): made(3, makes=True),
        DomainName("hidden"): DomainFacts(DomainClass.APP, internal=True, template_for_dispvms=True),
        DomainName("disp1"): DomainFacts(
            DomainClass.DISPOSABLE, base=DomainName("plain"), default_dispvm=DomainName("gone")
        ),
    }
)


@pytest.mark.parametrize(
    ("policy", "source", "target", "offered"),
    [
        ("* * @anyvm @anyvm ask", "red", "plain", "disp1 green plain @dispvm:plain"),
        ("* * @anyvm @anyvm ask", "green", "plain", "disp1 plain red @dispvm:plain"),
        ("* * @anyvm @anyvm ask", "disp1", "plain", "green plain red @dispvm:plain"),
        ("* * red green ask;* * red @anyvm allow target=hidden", "red", "green", "green"),
        ("* * red green ask target=hidden", "red", "green", "hidden"),
    ],
)
def test_internal_domains_are_offered_only_by_name(policy: str, source: str, target: str, offered: str) -> None:
    call = Call(DomainName(source), ServiceName("s"), ServiceArgument(""), TargetName(target))
    decided = decide(assemble([("t.policy", policy.replace(";", "\n").encode())]), call, HIDDEN)
    assert isinstance(decided, Asking)
    assert " ".join(map(str, decided.candidates)) == offered


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        ("@dispvm:plain", True),
        (f"@dispvm:{uuid(3)}", True),
        ("@dispvm:@tag:t", True),
        ("@dispvm:hidden", False),
        ("@dispvm:@tag:u", False),
        ("@type:DispVM", True),
    ],
)
def test_a_source_may_be_meant_by_what_it_was_made_from(selector: str, matches: bool) -> None:
    """The field's parser takes such a source, and never matches it."""
    world = World({**HIDDEN.domains, DomainName("plain"): made(3, "t", makes=True)})
    policy = assemble([("t.policy", f"* * {selector} green allow".encode())])
    for source, expected in (("disp1", matches), ("red", False)):
        call = Call(DomainName(source), ServiceName("s"), ServiceArgument(""), TargetName("green"))
        assert isinstance(decide(policy, call, world), Allowed) is expected


@pytest.mark.parametrize(
    ("policy", "source", "target", "why"),
    [
        ("* * * * allow", "lone", "@dispvm", "t.policy:1 wants a disposable, and lone has no default_dispvm"),
        ("* * * * allow", "wrong", "@dispvm", "t.policy:1 wants a disposable of red, which is no template_for_dispvms"),
        (f"* * * * allow target={uuid(99)}", "red", "green", f"t.policy:1 sends it to {uuid(99)}, which doesn't exist"),
        ("* * * * allow autostart=no", "red", "lone", "t.policy:1 allows it with autostart=no and lone doesn't run"),
        ("* * * @default ask", "red", "", "t.policy:1 asks, but the policy leaves nothing to choose from"),
        (
            "* * * lone ask autostart=no",
            "red",
            "lone",
            "t.policy:1 asks, but the policy leaves nothing that runs and may be chosen",
        ),
    ],
)
def test_a_refusal_says_what_is_missing(policy: str, source: str, target: str, why: str) -> None:
    decided = decision(policy, source, target)
    assert isinstance(decided, Denied)
    assert why in decided.sentence
