"""Whether statements hold: told by name, and against walking every call."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from bento.host.model.domain import ADMIN, ADMIN_UUID, DomainClass
from bento.host.policy.decide import End
from bento.host.policy.files import assemble
from bento.host.policy.invariant import Breach, breaches, nobody
from bento.host.policy.reach import Ground
from bento.host.policy.rules import Identified, Named, Rule, Source
from bento.host.policy.services import Asked, Vocabulary
from bento.host.policy.space import stand_in, with_disposables
from bento.host.policy.statements import EveryCall, NeverReach, Statement, Verdict, parse
from bento.host.policy.world import DomainFacts, World
from bento.wire.names import DomainName, ServiceName, Tag
from tests.host.policy.made import arguments, denies, policies, policy_of, rules, services, sources, worlds
from tests.host.policy.outcomes import Outcome, nodes, outcomes

WORLD = World(
    {
        DomainName("work"): DomainFacts(DomainClass.APP),
        DomainName("vault"): DomainFacts(DomainClass.APP),
        DomainName("random"): DomainFacts(DomainClass.APP, frozenset({Tag("untrusted")})),
        DomainName("web"): DomainFacts(DomainClass.APP, frozenset({Tag("untrusted")}), template_for_dispvms=True),
    }
)


def broken(statements: str, policy: str, world: World = WORLD) -> list[str]:
    """Each breach in a line."""
    made = parse("invariants", statements.encode())
    found = breaches(made, Ground(assemble([("t.policy", policy.encode())]), world))
    return [f"{breach.statement.line}: {breach}" for breach in found]


CHAIN = "a * random work allow\nb * work vault ask target=vault\n"
NEVER = "never reach from @tag:untrusted to vault"


def test_a_path_breaks_a_statement_and_is_told_with_its_services() -> None:
    assert broken(NEVER, CHAIN) == ["1: random -[a]-> work -[b (you are asked)]-> vault"]
    assert broken(NEVER, "a * random work allow") == []
    assert broken(f"{NEVER}\nnever reach from vault to work\n{NEVER}", CHAIN) == [
        "1: random -[a]-> work -[b (you are asked)]-> vault",
        "3: random -[a]-> work -[b (you are asked)]-> vault",
    ]


def test_a_path_can_be_let_pass_for_its_length_its_service_or_its_questions() -> None:
    assert broken(f"{NEVER} within 1 hop", CHAIN) == []
    assert broken(f"{NEVER} within 2 hops", CHAIN) != []
    assert broken(f"{NEVER} through a", CHAIN) == []
    assert broken(f"{NEVER} through a", CHAIN.replace("b *", "a *")) == [
        "1: random -[a]-> work -[a (you are asked)]-> vault"
    ]
    assert broken(f"{NEVER} without asking", CHAIN) == []
    assert broken(f"{NEVER} without asking", CHAIN.replace("ask", "allow")) != []


def test_the_hosts_own_ways_count_once_the_host_is_reached_and_not_before() -> None:
    assert broken("never reach from * to vault", "") == []
    assert broken(NEVER, "s * random @adminvm allow") == ["1: random -[s]-> dom0 -[as the host]-> vault"]


def test_a_service_that_no_rule_names_is_looked_at_too() -> None:
    assert broken(f"{NEVER} through unheard-of", "* * random vault allow") == ["1: random -[unheard-of]-> vault"]
    assert broken("never allow unheard-of+x from random", "* * random vault allow") == [
        "1: random -[unheard-of+x]-> vault"
    ]
    assert broken(NEVER, "s * random vault deny\n* * random vault allow") == ["1: random -[any service but s]-> vault"]


def test_a_new_disposable_is_its_base_and_its_class() -> None:
    policy = "s * @type:DispVM vault allow"
    assert broken(NEVER, policy) == ["1: @dispvm:web -[s]-> vault"]
    assert broken("never reach from @dispvm:web to vault", policy) == ["1: @dispvm:web -[s]-> vault"]
    assert broken("never reach from work to @type:DispVM", "s * work @dispvm:web ask") == [
        "1: work -[s (you are asked)]-> @dispvm:web"
    ]


def test_calls_may_have_to_be_asked_about() -> None:
    ask = "always ask for s from @anyvm"
    assert broken(ask, "s * random work ask") == []
    assert broken(ask, "s * random work deny") == []
    assert broken(ask, "s +a random work allow\ns * random work ask") == ["1: random -[s+a]-> work"]
    assert broken(f"{ask} to vault", "s * random work allow") == []
    assert broken("always ask for s+b from @anyvm", "s +a random work allow") == []


def test_calls_may_never_be_allowed_not_even_by_the_person() -> None:
    never = "never allow s from random to vault"
    assert broken(never, "s * random vault ask target=vault") == ["1: random -[s (you are asked)]-> vault"]
    assert broken("never allow * from random to vault", "t * random vault allow") == ["1: random -[t]-> vault"]
    assert broken(never, "t * random vault allow") == []


def test_calls_may_have_to_get_through() -> None:
    always = "always allow s from work to vault"
    assert broken(always, "s * work @default allow target=vault") == []
    for policy in ("", "s +a work vault allow", "s * work vault ask", "nonsense"):
        assert broken(always, policy) == ["1: work cannot call it in vault without a question"]


def test_no_statement_is_never_broken() -> None:
    assert broken("# nothing", "* * * * allow") == []


def test_a_selector_that_means_nobody_is_told() -> None:
    statements = "never reach from @tag:untrusted to gone\nnever allow s from @tag:x to @tag:x\nnever allow s from work"
    found = [list(map(str, nobody(statement, WORLD))) for statement in parse("invariants", statements.encode())]
    assert found == [["gone"], ["@tag:x"], []]


# ---- against brute force -------------------------------------------------------------------------

others = sources.filter(lambda selector: selector not in (Named(ADMIN), Identified(ADMIN_UUID)))
reaching = st.builds(NeverReach, others, sources, st.none() | services, st.none() | st.integers(1, 3), st.booleans())
named_calls = st.builds(EveryCall, st.sampled_from(Verdict), services, st.none() | arguments, others, sources)
any_calls = st.builds(EveryCall, st.sampled_from(Verdict), st.none(), st.none(), others, sources)
statements = st.lists(
    st.builds(Statement, st.just("i"), st.integers(1, 9), st.just(""), reaching | named_calls | any_calls), max_size=4
)


def means(selector: Source, node: End, world: World) -> bool:
    return selector.matches(stand_in(node), with_disposables(world))


def vocabulary(made: list[Rule], statement: Statement) -> Vocabulary:
    known = Vocabulary(made)
    match statement.meaning:
        case NeverReach(through=ServiceName() as service):
            known.tell_apart(service)
        case EveryCall(service=ServiceName() as service, argument=argument):
            known.tell_apart(service, argument)
    return known


def holds(statement: Statement, made: list[Rule], world: World) -> bool:
    pieces = {asked: outcomes(made, world, asked) for asked in vocabulary(made, statement).asked()}
    match statement.meaning:
        case NeverReach() as meaning:
            return not walked(meaning, pieces, world)
        case EveryCall(verdict, service, argument, source, target):
            wanted = {
                (one, other)
                for one in nodes(world)
                for other in nodes(world)
                if one != ADMIN and (one != other or not isinstance(one, DomainName))
                if means(source, one, world) and means(target, other, world)
            }
            for asked, found in pieces.items():
                if service not in (None, asked.service) or argument not in (None, asked.argument):
                    continue
                free = {(one, other) for one, other, terms in found if not terms.asked}
                some = {(one, other) for one, other, _ in found}
                wrong = {Verdict.NEVER_ALLOW: some, Verdict.ALWAYS_ASK: free, Verdict.ALWAYS_ALLOW: wanted - free}
                if wanted & wrong[verdict]:
                    return False
            return True


def walked(meaning: NeverReach, pieces: dict[Asked, set[Outcome]], world: World) -> bool:
    steps = {
        (source, target)
        for asked, found in pieces.items()
        for source, target, terms in found
        if meaning.through in (None, asked.service) and not (meaning.unasked and terms.asked)
    }
    if meaning.through is None:
        steps |= {(ADMIN, node) for node in nodes(world)}
    for start in nodes(world):
        if start == ADMIN or not means(meaning.source, start, world):
            continue
        reached: set[End] = {start}
        for _ in range(meaning.hops or 20):
            reached |= {target for source, target in steps if source in reached}
        if any(means(meaning.target, end, world) for end in reached - {start}):
            return True
    return False


@given(statements, policies, worlds)
def test_statements_are_broken_just_where_walking_every_call_breaks_them(
    made: list[Statement], policy: list[Rule], world: World
) -> None:
    found = breaches(made, Ground(policy_of(policy), world))
    assert [breach.statement for breach in found] == [one for one in made if not holds(one, policy, world)]
    for breach in found:
        check_told(breach, policy, world)


def check_told(breach: Breach, policy: list[Rule], world: World) -> None:
    """The links are there, and lead from whom to whom the statement means."""
    assert means(breach.statement.meaning.source, breach.source, world)
    assert means(breach.statement.meaning.target, breach.target, world)
    if breach.links:
        assert (breach.links[0].source, breach.links[-1].target) == (breach.source, breach.target)
    assert all(one.target == other.source for one, other in pairwise(breach.links))
    every = [outcomes(policy, world, asked) for asked in vocabulary(policy, breach.statement).asked()]
    direct = {(source, target, terms.asked) for found in every for source, target, terms in found}
    for link in breach.links:
        assert link.source == ADMIN or (link.source, link.target, link.means.asked) in direct


@given(statements, policies, rules(denies), worlds)
def test_a_deny_line_at_the_top_breaks_nothing_but_what_must_be_allowed(
    made: list[Statement], policy: list[Rule], deny: Rule, world: World
) -> None:
    before = {breach.statement for breach in breaches(made, Ground(policy_of(policy), world))}
    for breach in breaches(made, Ground(policy_of([deny, *policy]), world)):
        meaning = breach.statement.meaning
        assert breach.statement in before or (
            isinstance(meaning, EveryCall) and meaning.verdict is Verdict.ALWAYS_ALLOW
        )
