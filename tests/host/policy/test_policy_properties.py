"""What holds for every policy, call and world, not only for those that someone thought of."""

from hypothesis import given
from hypothesis import strategies as st

from bento.host.model.domain import ADMIN, DomainClass
from bento.host.policy.decide import Allowed, Call, Denied, Reason, decide
from bento.host.policy.files import PolicyRules, assemble
from bento.host.policy.grammar import CLASSES, Fault, PolicyError, parse
from bento.host.policy.rules import (
    Action,
    Allow,
    AnyDomain,
    Deny,
    Everything,
    Named,
    NoTarget,
    OfClass,
    Rule,
    Source,
    Tagged,
)
from bento.host.policy.world import DomainFacts, World
from bento.wire.names import DomainName, ServiceArgument, ServiceName, Tag, TargetName, UserName

# Few of each, so that rules and calls meet often. `gone` is no domain of any world.
WORK, VAULT, RANDOM, GONE = map(DomainName, ("work", "vault", "random", "gone"))
names = st.sampled_from([WORK, VAULT, RANDOM, ADMIN, GONE])
services = st.sampled_from([ServiceName("s"), ServiceName("qubes.Filecopy")])
arguments = st.sampled_from([ServiceArgument(""), ServiceArgument("a+b")])
tags = st.sampled_from([Tag("one"), Tag("two")])
targets = (
    names.map(str)
    | st.sampled_from(["", "@default", "@adminvm", "@dispvm", "@tag:one"])
    | st.from_regex(TargetName.pattern, fullmatch=True)
)

sources: st.SearchStrategy[Source] = st.one_of(
    st.just(Everything()),
    st.just(AnyDomain()),
    st.builds(Named, names),
    st.builds(Tagged, tags),
    st.builds(OfClass, st.sampled_from(sorted(CLASSES))),
)
allows = st.builds(
    Allow,
    st.none() | names,
    st.none() | st.sampled_from([UserName("root"), UserName("user")]),
    st.booleans(),
    st.booleans(),
)
denies = st.builds(Deny, st.booleans())


@st.composite
def rules(draw: st.DrawFn, actions: st.SearchStrategy[Action] = allows | denies) -> Rule:
    """A rule that the grammar could have made."""
    service = draw(st.none() | services)
    argument = None if service is None else draw(st.none() | arguments)
    action = draw(actions)
    pathless = isinstance(action, Allow) and action.target is None
    target = draw(sources if pathless else sources | st.just(NoTarget()))
    return Rule(service, argument, draw(sources), target, action, "p.policy", draw(st.integers(1, 50)))


facts = st.builds(DomainFacts, st.sampled_from(DomainClass), st.frozensets(tags))
worlds = st.builds(World, st.fixed_dictionaries({WORK: facts, VAULT: facts, RANDOM: facts}, optional={ADMIN: facts}))
calls = st.builds(Call, names, services, arguments, targets.map(TargetName.parse))
catch_all = st.builds(
    Rule, st.none(), st.none(), st.just(Everything()), st.just(Everything()), allows, st.just("p"), st.just(99)
)
policies = st.lists(rules(), max_size=6) | st.builds(
    lambda made, last: [*made, last], st.lists(rules(), max_size=3), catch_all
)


def policy_of(made: list[Rule]) -> PolicyRules:
    return PolicyRules(tuple(made), digest="")


WORDS = """
    * + +x s qubes.Filecopy @anyvm @adminvm dom0 @default @tag:a @tag: @type:AppVM @type:x work allow deny ask
    target=work target= user=u notify=yes notify=x autostart=no !include # @dispvm uuid:x
"""
words = st.sampled_from(WORDS.split())
texts = st.text() | st.lists(st.lists(words, max_size=8).map(" ".join), max_size=4).map("\n".join)


def outcome_of(text: str) -> tuple[Rule, ...] | Fault:
    try:
        return parse("p.policy", text)
    except PolicyError as error:
        return error.fault


@given(texts)
def test_any_text_parses_or_is_malformed_at_a_place_within_it(text: str) -> None:
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    match outcome_of(text):
        case Fault(_, line, column, problem):
            assert 1 <= line <= len(lines)
            assert 1 <= column <= len(lines[line - 1]) + 1
            assert problem.isprintable()
            assert problem.isascii()
        case made:
            assert [rule.line for rule in made] == sorted({rule.line for rule in made})
            assert all(lines[rule.line - 1].strip() for rule in made)


@given(st.lists(st.tuples(st.text() | st.just("p.policy"), st.binary() | texts.map(str.encode))), calls, worlds)
def test_any_files_make_a_policy_that_decides(files: list[tuple[str, bytes]], call: Call, world: World) -> None:
    assert isinstance(decide(assemble(files), call, world), Allowed | Denied)


@given(rules())
def test_a_printed_rule_parses_to_the_same_rule(rule: Rule) -> None:
    assert parse(rule.file, "\n" * (rule.line - 1) + str(rule)) == (rule,)


@given(policies, calls, worlds)
def test_an_allowed_call_goes_to_an_existing_domain_other_than_its_source(
    made: list[Rule], call: Call, world: World
) -> None:
    decided = decide(policy_of(made), call, world)
    if isinstance(decided, Allowed):
        assert decided.target == ADMIN or decided.target in world.domains
        assert decided.target != call.source
        assert decided.rule in made
        assert isinstance(decided.rule.action, Allow)


@given(policies, rules(denies), calls, worlds)
def test_a_deny_line_at_the_top_never_allows_more(made: list[Rule], deny: Rule, call: Call, world: World) -> None:
    before = decide(policy_of(made), call, world)
    after = decide(policy_of([deny, *made]), call, world)
    assert isinstance(after, Denied) or after == before


@given(policies, rules(), calls, worlds)
def test_a_rule_at_the_bottom_changes_nothing_that_a_rule_above_decided(
    made: list[Rule], last: Rule, call: Call, world: World
) -> None:
    before = decide(policy_of(made), call, world)
    if before.rule is not None:
        assert decide(policy_of([*made, last]), call, world) == before


@given(st.lists(rules(denies), max_size=6), calls, worlds)
def test_without_an_allow_line_nothing_is_allowed(made: list[Rule], call: Call, world: World) -> None:
    assert isinstance(decide(policy_of(made), call, world), Denied)


@given(policies, texts, calls, worlds)
def test_a_malformed_file_denies_every_call(made: list[Rule], text: str, call: Call, world: World) -> None:
    sound = "\n".join(map(str, made)).encode()
    decided = decide(assemble([("10.policy", sound), ("20.policy", f"{text}\nmaybe".encode())]), call, world)
    assert isinstance(decided, Denied)
    assert decided.reason is Reason.POLICY_BROKEN
    assert "20.policy:" in decided.sentence
