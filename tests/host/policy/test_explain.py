"""Explanations: the rules that a person has in mind, and what kept each of them from deciding."""

import pytest
from hypothesis import given

from bento.host.model.domain import DomainClass
from bento.host.policy.decide import Call, decide
from bento.host.policy.explain import Column, Explanation, explain
from bento.host.policy.files import PolicyRules, assemble
from bento.host.policy.rules import Rule
from bento.host.policy.world import DomainFacts, World, intended
from bento.wire.names import DomainName, ServiceArgument, ServiceName, Tag, TargetName
from tests.host.policy.linear import matches
from tests.host.policy.made import calls, policies, policy_of, worlds

WORLD = World(
    {
        DomainName("work"): DomainFacts(DomainClass.APP, frozenset({Tag("office")})),
        DomainName("random"): DomainFacts(DomainClass.APP, default_dispvm=DomainName("base")),
        DomainName("base"): DomainFacts(DomainClass.APP, template_for_dispvms=True),
        DomainName("vault"): DomainFacts(DomainClass.STANDALONE),
    }
)


SOME_UUID = "uuid:00000000-0000-0000-0000-000000000001"


def explained(policy: str, source: str, target: str, service: str = "s", argument: str = "a") -> Explanation:
    call = Call(DomainName(source), ServiceName(service), ServiceArgument(argument), TargetName(target))
    return explain(assemble([("t.policy", policy.encode())]), call, WORLD)


@pytest.mark.parametrize(
    ("rule", "target", "column", "why"),
    [
        ("other * random vault deny", "vault", Column.SERVICE, "it is about the service other"),
        ("s +b random vault deny", "vault", Column.ARGUMENT, "it is about the argument +b"),
        ("s + random vault deny", "vault", Column.ARGUMENT, "it is about calls without an argument"),
        ("s * work vault deny", "vault", Column.SOURCE, "its caller is work, not random"),
        ("* * @adminvm vault deny", "vault", Column.SOURCE, "its caller is @adminvm, not random"),
        (
            "* * @tag:office vault deny",
            "vault",
            Column.SOURCE,
            "random as its caller would have to carry the tag office",
        ),
        (
            "* * * @type:AppVM deny",
            "vault",
            Column.TARGET,
            "vault as its target would have to be of class AppVM",
        ),
        ("* * * work deny", "", Column.TARGET, "its target is work, not a call without an existing target"),
        (
            "* * * @default deny",
            "vault",
            Column.TARGET,
            "it is for calls without an existing target, and this one is for vault",
        ),
        (
            "* * * @dispvm deny",
            "vault",
            Column.TARGET,
            "it is for calls that say just @dispvm, and this one is for vault",
        ),
        (
            "* * * @dispvm:work deny",
            "@dispvm:base",
            Column.TARGET,
            "it is for calls to a new disposable of work, and this one is for a new disposable of base",
        ),
        (
            "* * * @dispvm:@tag:office deny",
            "@dispvm",
            Column.TARGET,
            "it is for calls to a new disposable of a domain with the tag office, and this one is for "
            "@dispvm, which is one of base",
        ),
        (
            "* * @dispvm:base vault deny",
            "vault",
            Column.SOURCE,
            "random as its caller would have to be a disposable of base",
        ),
        (
            f"* * {SOME_UUID} vault deny",
            "vault",
            Column.SOURCE,
            f"its caller is {SOME_UUID}, which is not random",
        ),
        (
            "* * * @tag:office deny",
            "@dispvm",
            Column.TARGET,
            "@tag:office as its target never means @dispvm, which is one of base",
        ),
        ("* * * @anyvm deny", "dom0", Column.TARGET, "@anyvm as its target does not mean @adminvm"),
        ("* * * @tag:office deny", "dom0", Column.TARGET, "@tag:office as its target never means @adminvm"),
        (
            "* * * @type:AppVM deny",
            "gone",
            Column.TARGET,
            "@type:AppVM as its target never means a call without an existing target",
        ),
    ],
)
def test_a_rule_that_one_column_kept_from_matching_is_shown_with_it(
    rule: str, target: str, column: Column, why: str
) -> None:
    (miss,) = explained(f"{rule}\n* * * * allow target=vault\n", "random", target).nearly
    assert (miss.rule.line, miss.columns, miss.why) == (1, (column,), why)


def test_a_rule_about_the_same_service_is_shown_whoever_it_is_for() -> None:
    (miss,) = explained("s +a work vault deny\n", "random", "work").nearly
    assert miss.columns == (Column.SOURCE, Column.TARGET)
    assert miss.why == "its caller is work, not random, and its target is vault, not work"


@pytest.mark.parametrize("rule", ["other * work vault deny", "* * work vault deny", "s +b work vault deny"])
def test_a_rule_that_fits_in_little_is_not_shown(rule: str) -> None:
    assert explained(rule, "random", "work").nearly == ()


def test_a_caller_without_a_base_is_told_so() -> None:
    (miss,) = explained("s +a work vault deny\n", "vault", "@dispvm").nearly
    assert (
        miss.why
        == "its caller is work, not vault, and its target is vault, not @dispvm, for which the caller has no base"
    )


def test_rules_below_the_one_that_decided_are_not_shown() -> None:
    found = explained("s * work vault deny\n* * * * allow\ns * work vault deny\n* * * * allow\n", "random", "vault")
    assert found.decision.rule is not None
    assert found.decision.rule.line == 2
    assert [miss.rule.line for miss in found.nearly] == [1]


def test_a_long_argument_is_cut_short() -> None:
    (miss,) = explained(f"s +{'b' * 60_000} * * deny", "random", "vault").nearly
    assert len(miss.why) < 200


@pytest.mark.parametrize(
    ("policy", "source", "target"),
    [
        ("s * work vault deny\nnonsense", "random", "vault"),
        ("s * work vault deny", "gone", "vault"),
        ("s * work vault deny", "random", "@tag:office"),
    ],
    ids=["a broken policy", "an unknown source", "an impossible target"],
)
def test_where_no_rule_was_looked_at_none_nearly_matched(policy: str, source: str, target: str) -> None:
    assert explained(policy, source, target).nearly == ()


@given(policies, calls, worlds)
def test_an_explanation_agrees_with_the_decision(made: list[Rule], call: Call, world: World) -> None:
    policy = PolicyRules(tuple(made), "")
    found = explain(policy, call, world)
    assert found.decision == decide(policy, call, world)
    target = intended(call.target, call.source, world)
    if target is not None:
        for miss in found.nearly:
            assert miss.columns
            assert not matches(miss.rule, call, target, world)


@given(policies, calls, worlds)
def test_a_rule_that_nearly_matched_would_match_without_the_columns_it_failed_by(
    made: list[Rule], call: Call, world: World
) -> None:
    target = intended(call.target, call.source, world)
    for miss in explain(policy_of(made), call, world).nearly:
        assert target is not None
        fits = {
            Column.SERVICE: miss.rule.service in (None, call.service),
            Column.ARGUMENT: miss.rule.argument in (None, call.argument),
            Column.SOURCE: miss.rule.source.matches(call.source, world),
            Column.TARGET: miss.rule.target.matches(target, world),
        }
        assert {column for column, fit in fits.items() if not fit} == set(miss.columns)
