"""What is odd about a policy: rules that nothing can reach, and names that mean nobody."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.host.model.domain import ADMIN, DomainClass
from bento.host.policy.check import CLASSES, Finding, Oddity, check
from bento.host.policy.decide import Call, decide
from bento.host.policy.files import assemble
from bento.host.policy.rules import AnyDomain, Everything, Named, NoTarget, OfClass, Rule, Selector, Tagged
from bento.host.policy.world import DomainFacts, World
from bento.wire.names import DomainName, ServiceArgument, ServiceName, Tag, TargetName
from tests.host.policy.made import calls, plain_policies, policies, policy_of, worlds

WORLD = World(
    {
        ADMIN: DomainFacts(DomainClass.ADMIN, frozenset({Tag("mine")})),
        DomainName("work"): DomainFacts(DomainClass.APP, frozenset({Tag("office")})),
        DomainName("vault"): DomainFacts(DomainClass.APP),
    }
)


def findings(policy: str, services: frozenset[ServiceName] | None = None) -> tuple[Finding, ...]:
    return check(assemble([("t.policy", policy.encode())]), WORLD, services)


def never(policy: str) -> list[int]:
    """The lines that can never match."""
    return [found.line for found in findings(policy) if found.oddity is Oddity.NEVER]


ALL_CLASSES = "".join(f"* * * @type:{klass.value} deny\n" for klass in CLASSES)


@pytest.mark.parametrize(
    ("above", "rule"),
    [
        ("* * * * deny", "s * work vault allow"),
        ("* * * * deny", "* * @adminvm @default allow target=work"),
        ("s * * * deny", "s +a work vault allow"),
        ("s +a * * deny", "s +a work vault allow"),
        ("* * @anyvm @anyvm deny", "s * @tag:office @type:AppVM allow"),
        ("* * @anyvm @anyvm deny", "s * work @default allow target=vault"),
        ("* * @tag:office * deny", "s * @tag:office @adminvm allow"),
        ("s * @anyvm @anyvm deny\ns * @anyvm @adminvm deny", "s * work * allow"),
        (ALL_CLASSES, "s * work vault allow"),
        (ALL_CLASSES.replace("* * *", "* * vault"), "s * vault vault allow"),
        ("* * @anyvm @anyvm deny\n* * @adminvm * deny\n* * * @adminvm deny", "s * * * allow"),
        ("".join(f"* * @type:{klass.value} * deny\n" for klass in CLASSES), "s * @anyvm * allow"),
        ("* * * @anyvm deny", "s * work @dispvm allow"),
        ("* * * @dispvm deny", "s * work @dispvm allow"),
        ("* * * @dispvm:work deny", "s * work @dispvm:work allow"),
        ("* * * @anyvm deny", "s * work @dispvm:@tag:office allow"),
        ("* * @anyvm * deny", "s * @dispvm:work vault allow"),
        ("* * @dispvm:@tag:office * deny", "s * @dispvm:@tag:office vault allow"),
        ("* * * dom0 deny", "s * work uuid:00000000-0000-0000-0000-000000000000 allow"),
        (
            "* * uuid:00000000-0000-0000-0000-000000000001 * deny",
            "s * uuid:00000000-0000-0000-0000-000000000001 vault allow",
        ),
    ],
)
def test_a_rule_whose_every_call_is_decided_above_can_never_match(above: str, rule: str) -> None:
    lines = above.count("\n") + (not above.endswith("\n"))
    assert never(f"{above.rstrip()}\n{rule}\n") == [lines + 1]


@pytest.mark.parametrize(
    ("above", "rule"),
    [
        ("s * * * deny", "* * * * allow"),
        ("s * * * deny", "t * * * allow"),
        ("s +a * * deny", "s * * * allow"),
        ("s +a * * deny", "s + * * allow"),
        ("* * @anyvm @anyvm deny", "s * * @anyvm allow"),
        ("* * @anyvm @anyvm deny", "s * work * allow"),
        ("* * @tag:office * deny", "s * work * allow"),  # today work carries the tag; tomorrow it may not
        ("* * @type:AppVM * deny", "s * work * allow"),  # nor need work be of this class once it was made anew
        ("* * work * deny\n* * vault * deny", "s * @anyvm * allow"),
        ("* * @tag:a * deny", "s * @tag:b * allow"),
        (ALL_CLASSES, "s * work * allow"),
        ("* * * @dispvm deny", "s * work @dispvm:work allow"),
        ("* * * @dispvm:work deny", "s * work @dispvm allow"),
        ("* * * @dispvm:@tag:office deny", "s * work @dispvm:work allow"),
        ("* * @dispvm:vault * deny", "s * @dispvm:work vault allow"),
        ("* * @dispvm:work * deny", "s * work vault allow"),
        ("* * work * deny", "s * uuid:00000000-0000-0000-0000-000000000001 * allow"),
        (ALL_CLASSES, "s * work @default allow target=vault"),
        ("s * * @default deny\ns * * @adminvm deny\n" + ALL_CLASSES, "s * * * allow"),  # a new disposable is left
        ("* * vault @type:AppVM deny", "s * vault vault allow"),
    ],
)
def test_a_rule_is_not_said_never_to_match_if_one_call_is_left_to_it(above: str, rule: str) -> None:
    assert never(f"{above.rstrip()}\n{rule}\n") == []


def test_the_rules_in_the_way_are_named() -> None:
    two = "s * @anyvm @anyvm deny\ns * @anyvm @adminvm deny\ns * work * allow\n"
    assert findings(two)[0].sentence == (
        "it can never match: every call it means is decided above, by t.policy:1 and t.policy:2"
    )
    many = ALL_CLASSES + "s * @anyvm vault allow\n"
    assert findings(many)[0].sentence.endswith("by t.policy:1, t.policy:2, t.policy:3 and others")


@pytest.mark.parametrize(
    ("rule", "selector"),
    [("s * @type:RemoteVM * deny", "@type:RemoteVM"), ("s * * @type:AdminVM deny", "@type:AdminVM")],
)
def test_a_class_that_means_nobody_can_never_match(rule: str, selector: str) -> None:
    (found,) = findings(rule)
    assert (found.oddity, found.sentence) == (Oddity.NEVER, f"it can never match: {selector} means nobody")


def test_names_and_tags_that_mean_nobody_are_found_once_a_rule() -> None:
    assert findings("s * gone gone allow target=lost\ns * @tag:x @tag:x deny\ns * @tag:office dom0 deny\n") == (
        Finding(Oddity.NAME, "t.policy", 1, 0, "there is no domain gone"),
        Finding(Oddity.NAME, "t.policy", 1, 0, "there is no domain lost"),
        Finding(Oddity.TAG, "t.policy", 2, 0, "no domain carries the tag x"),
    )


@pytest.mark.parametrize("chosen", ["gone", "@dispvm:gone"])
def test_what_is_to_be_chosen_in_a_question_must_be_there(chosen: str) -> None:
    policy = f"s * work @anyvm ask default_target={chosen}\nt * work @anyvm ask default_target=vault\n"
    assert findings(policy) == (Finding(Oddity.NAME, "t.policy", 1, 0, "there is no domain gone"),)


def test_a_tag_of_the_admin_domain_is_nobodys() -> None:
    (found,) = findings("s * @tag:mine * deny")
    assert found.oddity is Oddity.TAG


def test_services_are_looked_at_only_if_it_is_known_which_there_are() -> None:
    policy = "s * work vault allow\nmy.Bakcup * work vault allow\nt * work vault allow\ns * vault work deny\n"
    assert findings(policy) == ()
    installed = "if you installed it, 'bento features TEMPLATE supported-rpc.s 1' makes it known"
    assert findings(policy, frozenset({ServiceName("t"), ServiceName("my.Backup")})) == (
        Finding(Oddity.SERVICE, "t.policy", 1, 0, f"nobody is known to have the service s; {installed}"),
        Finding(
            Oddity.SERVICE, "t.policy", 2, 0, "nobody is known to have the service my.Bakcup; did you mean my.Backup?"
        ),
    )


def test_a_malformed_policy_is_its_one_finding() -> None:
    (found,) = findings("s * * * deny\ns * * * maybe\n")
    assert (found.oddity, found.file, found.line, found.column) == (Oddity.BROKEN, "t.policy", 2, 9)
    assert found.sentence == "expected allow, ask or deny, found 'maybe'"


def lines_that_never_match(made: list[Rule]) -> set[int]:
    found = check(policy_of(made), WORLD)
    return {one.line for one in found if one.oddity is Oddity.NEVER}


@given(policies, calls, worlds)
def test_a_rule_said_never_to_match_never_decides(made: list[Rule], call: Call, world: World) -> None:
    numbered = [replace(rule, line=at) for at, rule in enumerate(made)]
    # The admin domain alone is of its class: no domain that the manager makes is an AdminVM beside it.
    real = {name: facts for name, facts in world.domains.items() if facts.klass is not DomainClass.ADMIN}
    decided = decide(policy_of(numbered), call, World(real))
    assert decided.rule is None or decided.rule.line not in lines_that_never_match(numbered)


@given(plain_policies)
def test_a_rule_not_said_never_to_match_decides_a_call_in_some_world(made: list[Rule]) -> None:
    numbered = [replace(rule, line=at) for at, rule in enumerate(made)]
    silent = lines_that_never_match(numbered)
    for at, rule in enumerate(numbered):
        assert (at in silent) != any(
            decide(policy_of(numbered), call, world).rule is rule for call, world in plain_calls(rule)
        )


def plain_calls(rule: Rule) -> list[tuple[Call, World]]:
    """The calls that only `rule` and its like can mean, with a world of two domains for each."""
    service, argument = rule.service or ServiceName("new"), rule.argument
    argument = ServiceArgument("new") if argument is None else argument
    made = []
    for source, one in parties(rule.source, "new-source"):
        for target, other in parties(rule.target, "new-target"):
            if source[:1] not in ("", "@") and (source != target or one == other):
                named = ((source, one), (target.removeprefix("@dispvm:"), other))
                world = {DomainName(name): facts for name, facts in named if facts}
                call = Call(DomainName(source), service, argument, TargetName(target))
                made.append((call, World(world)))
    return made


def parties(selector: Selector, new: str) -> list[tuple[str, DomainFacts | None]]:
    plain = [DomainFacts(klass) for klass in CLASSES]
    base = DomainFacts(DomainClass.APP, template_for_dispvms=True)
    match selector:
        case Everything():
            return [*parties(AnyDomain(), new), (ADMIN, None)]
        case AnyDomain():
            return [*((new, facts) for facts in plain), ("", None), ("@dispvm", None), ("@dispvm:new-base", base)]
        case NoTarget():
            return [("", None)]
        case Named(name):
            return [(name, None)] if name == ADMIN else [(name, facts) for facts in plain]
        case Tagged(tag):
            return [(new, replace(facts, tags=frozenset({tag}))) for facts in plain]
        case OfClass(klass):
            return [(new, facts) for facts in plain if facts.klass.value == klass]
        case _:
            raise AssertionError(selector)


@given(st.permutations(ALL_CLASSES.splitlines()))
def test_the_order_of_the_rules_above_is_all_one(above: list[str]) -> None:
    assert never("\n".join([*above, "s * work vault allow"])) == [len(above) + 1]
