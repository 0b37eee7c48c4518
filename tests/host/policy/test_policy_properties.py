"""What holds for every policy, call and world, not only for those that someone thought of."""

from hypothesis import given
from hypothesis import strategies as st

from bento.host.model.domain import ADMIN
from bento.host.policy.decide import Allowed, Asking, Call, Denied, Reason, decide
from bento.host.policy.files import assemble
from bento.host.policy.grammar import Fault, PolicyError, Statement, parse
from bento.host.policy.rules import Allow, Rule
from bento.host.policy.world import World
from tests.host.policy.made import calls, denies, policies, policy_of, rules, worlds

WORDS = """
    * + +x s qubes.Filecopy @anyvm @adminvm dom0 @default @tag:a @tag: @type:AppVM @type:x work allow deny ask
    target=work target= user=u notify=yes notify=x autostart=no # @dispvm @dispvm: @dispvm:work @dispvm:@tag:a
    default_target=@dispvm uuid:x uuid:00000000-0000-0000-0000-000000000000 $anyvm $include: ask,user=u
    !include !include-dir !include-service !compat-4.0 p.policy include include/a include/b ../x
"""
words = st.sampled_from(WORDS.split())
texts = st.text() | st.lists(st.lists(words, max_size=8).map(" ".join), max_size=4).map("\n".join)


def outcome_of(text: str) -> tuple[Statement, ...] | Fault:
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
            numbers = [statement.line for statement in made if isinstance(statement, Rule)]
            assert numbers == sorted(set(numbers))
            assert all(lines[number - 1].strip() for number in numbers)


@given(st.lists(st.tuples(st.text() | st.just("p.policy"), st.binary() | texts.map(str.encode))), calls, worlds)
def test_any_files_make_a_policy_that_decides(files: list[tuple[str, bytes]], call: Call, world: World) -> None:
    assert isinstance(decide(assemble(files), call, world), Allowed | Asking | Denied)


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
