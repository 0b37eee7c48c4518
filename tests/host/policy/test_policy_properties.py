"""What holds for every policy, call and world, not only for those that someone thought of."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from bento.host.model.domain import ADMIN
from bento.host.model.fault import Fault
from bento.host.policy.decide import Allowed, Asking, Call, Decision, Denied, End, Reason, decide
from bento.host.policy.files import assemble
from bento.host.policy.grammar import PolicyError, Statement, parse
from bento.host.policy.rules import Allow, Ask, Deny, Rule
from bento.host.policy.world import DefaultDisposable, Disposable, World, intended
from bento.wire.names import TargetName
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


def ends(decided: Decision) -> set[End]:
    """Where the call may come to go."""
    match decided:
        case Allowed(target):
            return {target}
        case Asking(candidates):
            return set(candidates)
        case Denied():
            return set()


@given(policies, calls, worlds)
def test_a_call_goes_to_an_existing_domain_other_than_its_source_or_to_a_disposable_that_can_be(
    made: list[Rule], call: Call, world: World
) -> None:
    decided = decide(policy_of(made), call, world)
    for end in ends(decided):
        if isinstance(end, Disposable):
            assert world.domains[end.base].template_for_dispvms
        else:
            assert end == ADMIN or end in world.domains
            assert end != call.source
    if not isinstance(decided, Denied):
        assert decided.rule in made
        assert decided.autostart or all(end == ADMIN or end in running(world) for end in ends(decided))
    if isinstance(decided, Asking):
        assert len(ends(decided)) == len(decided.candidates) > 0
        assert decided.default is None or decided.default in decided.candidates
        assert isinstance(decided.rule.action, Ask)
    if isinstance(decided, Allowed):
        assert isinstance(decided.rule.action, Allow)


def running(world: World) -> set[End]:
    return {name for name, facts in world.domains.items() if facts.running}


@given(policies, rules(denies), st.integers(0, 6), calls, worlds)
def test_a_deny_line_anywhere_never_allows_or_asks_more(
    made: list[Rule], deny: Rule, at: int, call: Call, world: World
) -> None:
    before = decide(policy_of(made), call, world)
    after = decide(policy_of([*made[:at], deny, *made[at:]]), call, world)
    assert isinstance(after, Denied) or type(after) is type(before)
    assert ends(after) <= ends(before)
    if not isinstance(after, Denied | Asking):
        assert after == before


@given(policies, rules(), calls, worlds)
def test_a_rule_at_the_bottom_changes_only_what_a_question_offers_where_a_rule_above_decided(
    made: list[Rule], last: Rule, call: Call, world: World
) -> None:
    before = decide(policy_of(made), call, world)
    after = decide(policy_of([*made, last]), call, world)
    asks = before.rule is not None and isinstance(before.rule.action, Ask)
    if asks and not isinstance(last.action, Deny):
        assert ends(before) <= ends(after)
        assert after.rule == before.rule
    elif before.rule is not None:
        assert after == before


@given(st.lists(rules(st.just(Allow()) | st.just(Ask()) | denies), max_size=6), calls, worlds)
def test_where_no_rule_sends_calls_elsewhere_those_are_offered_whom_one_could_have_named(
    made: list[Rule], call: Call, world: World
) -> None:
    world = World({name: replace(facts, running=True, internal=False) for name, facts in world.domains.items()})
    decided = decide(policy_of(made), call, world)
    if isinstance(decided, Asking):
        named = [*world.domains, ADMIN, "@dispvm", *(f"@dispvm:{name}" for name in world.domains)]
        each = [replace(call, target=TargetName(target)) for target in named]
        assert ends(decided) == {end for one in each for end in ends_at_its_target(made, one, world)}


def ends_at_its_target(made: list[Rule], call: Call, world: World) -> set[End]:
    """The target that a call names, if it is allowed or asked about; as a set of one or none."""
    target = intended(call.target, call.source, world)
    end = Disposable(target.base) if isinstance(target, DefaultDisposable) and target.base else target
    return {one for one in ends(decide(policy_of(made), call, world)) if one == end}


@given(st.lists(rules(denies), max_size=6), calls, worlds)
def test_where_all_lines_deny_nothing_is_allowed_or_asked(made: list[Rule], call: Call, world: World) -> None:
    assert isinstance(decide(policy_of(made), call, world), Denied)


@given(policies, texts, calls, worlds)
def test_a_malformed_file_denies_every_call(made: list[Rule], text: str, call: Call, world: World) -> None:
    sound = "\n".join(map(str, made)).encode()
    decided = decide(assemble([("10.policy", sound), ("20.policy", f"{text}\nmaybe".encode())]), call, world)
    assert isinstance(decided, Denied)
    assert decided.reason is Reason.POLICY_BROKEN
    assert "20.policy:" in decided.sentence
