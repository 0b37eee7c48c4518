"""Who can reach whom: the links that a policy makes, and the shortest paths along them, against brute force."""

from dataclasses import replace
from itertools import pairwise, product
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from bento.host.model.domain import ADMIN, DomainClass
from bento.host.policy.decide import End
from bento.host.policy.files import assemble
from bento.host.policy.reach import Calls, Command, Ground, Link, Path, Reach, along, call_links, reach
from bento.host.policy.rules import Rule
from bento.host.policy.services import Services, Span, Vocabulary
from bento.host.policy.world import DomainFacts, World
from bento.wire.names import DomainName, ServiceName, Tag
from tests.host.policy.made import RANDOM, VAULT, WORK, denies, plain_policies, policies, policy_of, rules, worlds
from tests.host.policy.outcomes import allows, nodes, outcomes

WORLD = World(
    {
        ADMIN: DomainFacts(DomainClass.ADMIN),
        DomainName("work"): DomainFacts(DomainClass.APP, frozenset({Tag("office")})),
        DomainName("random"): DomainFacts(DomainClass.APP),
        DomainName("vault"): DomainFacts(DomainClass.APP),
    }
)
WITH_BASE = World({**WORLD.domains, DomainName("web"): DomainFacts(DomainClass.APP, template_for_dispvms=True)})


def ground(policy: str, world: World = WORLD, contracts: frozenset[ServiceName] | None = None) -> Ground:
    return Ground(assemble([("t.policy", policy.encode())]), world, contracts)


def links(
    policy: str, through: str | None = None, world: World = WORLD, contracts: frozenset[ServiceName] | None = None
) -> list[str]:
    """Each link in a line."""
    found = call_links(ground(policy, world, contracts), ServiceName(through) if through else None)
    return [f"{link.source} {link.target}: {link.means}" for link in found]


def paths(policy: str, world: World = WORLD, **limits: object) -> list[str]:
    """Each path in a line, with a ? for each question. Without those of the host, which reaches everybody."""
    words = {key: DomainName(str(value)) if key in ("source", "target") else value for key, value in limits.items()}
    found = reach(ground(policy, world), **words)  # type: ignore[arg-type]  # its parameters, by keyword
    return [
        " ".join([*map(str, path.domains), *"?" * path.questions]) for path in found.paths if path.domains[0] != ADMIN
    ]


def test_a_link_names_the_services_it_is_made_of() -> None:
    assert links("s * random work allow\nt +a random work allow\nt + random work allow\n* * random vault allow") == [
        "random vault: any service",
        "random work: s, t (without argument), t+a",
    ]


def test_a_link_for_all_but_a_few_services_names_those() -> None:
    policy = "s * @anyvm @anyvm deny\nt +a work random deny\n* * work random allow"
    assert links(policy) == ["work random: any service but s, t+a"]
    assert links("t +a work random deny\nt * work random allow") == ["work random: t (any other argument)"]


def test_a_link_goes_where_the_rule_sends_the_call_not_where_the_caller_pointed() -> None:
    assert links("s * random @anyvm allow target=work") == ["random work: s"]
    assert links("s * random @default allow target=gone") == []
    assert links("s * * @default allow target=work") == ["random work: s", "vault work: s"]
    assert links("s * random @default allow target=@adminvm") == ["random dom0: s"]


def test_the_host_makes_no_calls_that_are_asked_of_the_policy() -> None:
    assert links("* * @adminvm * allow") == []


def test_a_link_through_a_service_is_of_that_service_alone() -> None:
    policy = "s * random work allow\n* * random vault allow"
    assert links(policy, "s") == ["random vault: s", "random work: s"]
    assert links(policy, "unheard-of") == ["random vault: unheard-of"]


def test_a_broken_policy_makes_no_link() -> None:
    assert links("* * * * allow\nnonsense") == []


CHAIN = "a * random work allow\nb * work vault allow\n"


def test_a_path_is_told_with_the_links_it_takes() -> None:
    found = reach(ground(CHAIN), target=DomainName("vault"))
    assert found == Reach(
        (
            Path((ADMIN, DomainName("vault"))),
            Path((DomainName("random"), DomainName("work"), DomainName("vault"))),
            Path((DomainName("work"), DomainName("vault"))),
        ),
        (
            Link(DomainName("random"), DomainName("work"), Calls(Services(False, (Span(ServiceName("a"), "*"),)))),
            Link(DomainName("work"), DomainName("vault"), Calls(Services(False, (Span(ServiceName("b"), "*"),)))),
            Link(ADMIN, DomainName("vault"), Command()),
        ),
    )
    assert [path.hops for path in found.paths] == [1, 2, 1]
    assert [link.means.kind for link in found.links] == ["calls", "calls", "command"]
    assert str(found.links[-1].means) == "as the host"


def test_paths_can_be_limited() -> None:
    assert paths(CHAIN) == ["random work vault", "random work", "work vault"]
    assert paths(CHAIN, source="random") == ["random work vault", "random work"]
    assert paths(CHAIN, target="work") == ["random work"]
    assert paths(CHAIN, max_hops=1) == ["random work", "work vault"]
    assert paths(CHAIN, through=ServiceName("a")) == ["random work"]
    assert paths(CHAIN, source="vault") == []
    assert paths(CHAIN, source="random", through=ServiceName("b")) == []


def test_whoever_reaches_the_host_reaches_everybody() -> None:
    policy = "s * random @adminvm allow"
    assert paths(policy) == ["random dom0", "random dom0 vault", "random dom0 work"]


# ---- questions -----------------------------------------------------------------------------------


def test_what_the_person_is_asked_about_is_a_link_of_its_own() -> None:
    assert links("s +a random work allow\ns * random work ask") == [
        "random work: s+a",
        "random work: s (any other argument) (you are asked)",
    ]


def test_who_is_asked_about_one_target_may_be_sent_to_any_that_is_offered() -> None:
    assert links("s * random work ask\ns * random vault deny\ns * random * ask\n") == [
        "random dom0: s (you are asked)",
        "random work: s (you are asked)",
    ]


SHORT_OR_QUIET = "a * random vault ask\nb * random work allow\nb * work vault allow\n"


def test_the_way_with_the_fewest_hops_and_the_one_with_the_fewest_questions_are_both_told() -> None:
    assert paths(SHORT_OR_QUIET, target="vault") == ["random vault ?", "random work vault", "work vault"]
    assert paths(SHORT_OR_QUIET, target="vault", max_hops=1) == ["random vault ?", "work vault"]


def test_a_longer_way_with_as_many_questions_is_not_told() -> None:
    assert paths("a * random vault ask\nb * random work ask\nb * work vault allow\n", source="random") == [
        "random vault ?",
        "random work ?",
    ]


def test_a_question_is_not_counted_where_another_service_needs_none() -> None:
    assert paths("a * random vault ask\nb * random vault allow\n") == ["random vault"]


def test_questions_add_up() -> None:
    assert "random work vault ? ?" in paths("a * random work ask target=work\na * work vault ask target=vault\n")


# ---- disposables ---------------------------------------------------------------------------------


def test_a_new_disposable_is_a_node_that_others_reach() -> None:
    assert links("s * random @dispvm:web allow\ns * work @default allow target=@dispvm:web", world=WITH_BASE) == [
        "random @dispvm:web: s",
        "work @dispvm:web: s",
    ]
    assert links("s * random @dispvm allow", world=WITH_BASE) == []  # nobody has a default_dispvm


def test_a_callers_own_disposable_is_one_of_its_default() -> None:
    domains = {name: replace(facts, default_dispvm=DomainName("web")) for name, facts in WITH_BASE.domains.items()}
    assert links("s * random @dispvm allow", world=World(domains)) == ["random @dispvm:web: s"]


def test_what_is_in_a_disposable_may_do_what_disposables_of_its_base_may() -> None:
    policy = "s * random @dispvm:web allow\nt * @dispvm:web vault ask\n"
    assert paths(policy, world=WITH_BASE, source="random") == ["random @dispvm:web", "random @dispvm:web vault ?"]
    assert paths("t * @type:DispVM vault allow", world=WITH_BASE) == ["@dispvm:web vault"]
    assert paths("t * web vault allow", world=WITH_BASE) == ["web vault"]


def test_a_disposable_that_reaches_others_of_its_kind_is_no_path() -> None:
    assert paths("s * @type:DispVM @dispvm:web allow", world=WITH_BASE) == []


# ---- contracts -----------------------------------------------------------------------------------


def test_services_without_a_contract_are_marked_where_it_is_known_which_have_one() -> None:
    policy = "s * random work allow\nt * random work allow\n* * random vault allow"
    assert links(policy) == ["random vault: any service", "random work: s, t"]
    assert links(policy, contracts=frozenset({ServiceName("s")})) == [
        "random vault: any service [some plain]",
        "random work: s, t [plain]",
    ]


# ---- against brute force -------------------------------------------------------------------------


Step = tuple[End, End]


def direct(made: list[Rule], world: World) -> dict[Step, int]:
    """Who gets at whom at once, with how many questions: 0 or 1."""
    found: dict[Step, int] = {(ADMIN, node): 0 for node in nodes(world) if node != ADMIN}
    for asked in Vocabulary(made).asked():
        for source, target, terms in outcomes(made, world, asked):
            found[source, target] = min(found.get((source, target), 1), int(terms.asked))
    return found


def check_words(made: list[Rule], world: World) -> None:
    found = list(call_links(Ground(policy_of(made), world)))
    for asked in Vocabulary(made).asked():
        told = {
            (link.source, link.target, link.means.asked)
            for link in found
            if isinstance(link.means, Calls) and allows(link.means.services, asked)
        }
        said = {(source, target, terms.asked) for source, target, terms in outcomes(made, world, asked)}
        assert told == {one for one in said if one[0] != one[1]}


@given(policies, worlds)
def test_the_words_of_a_link_mean_what_decide_says(made: list[Rule], world: World) -> None:
    check_words(made, world)


@given(plain_policies, worlds)
def test_the_words_of_a_link_mean_it_where_nobody_is_asked(made: list[Rule], world: World) -> None:
    check_words(made, world)


def unbeaten(steps: dict[Step, int], all_nodes: list[End], max_hops: int) -> set[tuple[End, End, int, int]]:
    """Of each pair the (hops, questions) that no others beat, by walking every way of at most `max_hops`."""
    costs: dict[Step, set[tuple[int, int]]] = {(node, node): {(0, 0)} for node in all_nodes}
    for _ in range(max_hops):
        for ((start, by), known), ((source, end), asks) in product(list(costs.items()), steps.items()):
            if source == by:
                costs.setdefault((start, end), set()).update({(hops + 1, asked + asks) for hops, asked in known})
    return {
        (*pair, hops, asked)
        for pair, known in costs.items()
        for hops, asked in known
        if pair[0] != pair[1]
        and hops <= max_hops
        and not any(one != (hops, asked) and one[0] <= hops and one[1] <= asked for one in known)
    }


@given(policies, worlds, st.integers(1, 4))
def test_reach_agrees_with_walking_every_call(made: list[Rule], world: World, max_hops: int) -> None:
    steps = direct(made, world)
    found = reach(Ground(policy_of(made), world), max_hops=max_hops)
    assert {(path.domains[0], path.domains[-1], path.hops, path.questions) for path in found.paths} == unbeaten(
        steps, nodes(world), max_hops
    )
    for path in found.paths:
        assert path.questions == sum(steps[step] for step in pairwise(path.domains))


@given(policies, rules(denies), worlds)
def test_a_deny_line_at_the_top_adds_no_link(made: list[Rule], deny: Rule, world: World) -> None:
    before = direct(made, world)
    for step, questions in direct([deny, *made], world).items():
        assert step in before
        assert questions >= before[step]


@given(policies, worlds, st.sampled_from([WORK, VAULT, RANDOM]))
def test_a_domain_that_goes_opens_no_link(made: list[Rule], world: World, gone: DomainName) -> None:
    # As in any inventory, no two have one UUID, and what others are made from does not go.
    uuids = (UUID(int=at) for at in range(1, 9))
    world = World(
        {
            name: replace(facts, uuid=next(uuids), base=None if facts.base == gone else facts.base)
            for name, facts in world.domains.items()
        }
    )
    before = direct(made, world)
    left = World(
        {
            # `Inventory.default_dispvm`: what is not there any more is nobody's.
            name: replace(facts, default_dispvm=None) if facts.default_dispvm == gone else facts
            for name, facts in world.domains.items()
            if name != gone
        }
    )
    for step, questions in direct(made, left).items():
        assert questions >= before[step]


letters = st.sampled_from([DomainName(letter) for letter in "abcdefg"])
graphs = st.lists(st.tuples(letters, letters, st.booleans()), max_size=24)


@given(graphs)
def test_no_path_is_beaten_and_of_those_alike_the_first_by_name_is_told(
    steps: list[tuple[DomainName, DomainName, bool]],
) -> None:
    made = [Link(a, b, Calls(Services(True, ()), asks)) for a, b, asks in steps]
    questions: dict[Step, int] = {}
    for a, b, asks in steps:
        questions[a, b] = min(questions.get((a, b), 1), int(asks))
    ways: list[tuple[End, ...]] = [(name,) for name in {name for step in questions for name in step}]
    best: dict[tuple[End, End, int, int], tuple[End, ...]] = {}
    for way in ways:  # which grows: every way that meets nobody twice
        hops, asked = len(way) - 1, sum(questions[step] for step in pairwise(way))
        if hops:
            key = (way[0], way[-1], hops, asked)
            best[key] = min(best.get(key, way), way, key=str)
        ways += [(*way, b) for a, b in questions if a == way[-1] and b not in way]
    told = {
        key: way
        for key, way in best.items()
        if not any(
            other != key and other[:2] == key[:2] and other[2] <= key[2] and other[3] <= key[3] for other in best
        )
    }
    found = along(made)
    assert {
        (path.domains[0], path.domains[-1], path.hops, path.questions): path.domains for path in found.paths
    } == told
