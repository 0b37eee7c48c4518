"""Who can reach whom: the links that a policy makes, and the shortest paths along them, against brute force."""

from itertools import pairwise, product

from hypothesis import given
from hypothesis import strategies as st

from bento.host.model.domain import ADMIN, DomainClass
from bento.host.policy.files import assemble
from bento.host.policy.reach import Calls, Command, Link, Path, Reach, along, call_links, reach
from bento.host.policy.rules import Rule
from bento.host.policy.services import OTHER, Services, Span, Vocabulary
from bento.host.policy.space import Outcomes, Space, union
from bento.host.policy.world import DomainFacts, World
from bento.wire.names import DomainName, ServiceName, Tag
from tests.host.policy.made import plain_policies, policies, policy_of, worlds
from tests.host.policy.outcomes import allows, outcomes

WORLD = World(
    {
        ADMIN: DomainFacts(DomainClass.ADMIN),
        DomainName("work"): DomainFacts(DomainClass.APP, frozenset({Tag("office")})),
        DomainName("random"): DomainFacts(DomainClass.APP),
        DomainName("vault"): DomainFacts(DomainClass.APP),
    }
)


def links(policy: str, through: str | None = None) -> list[str]:
    """Each link in a line."""
    found = call_links(assemble([("t.policy", policy.encode())]), WORLD, ServiceName(through) if through else None)
    return [f"{link.source} {link.target}: {link.means}" for link in found]


def paths(policy: str, **limits: object) -> list[str]:
    """Each path in a line. Without those of the host, which reaches everybody."""
    words = {key: DomainName(str(value)) if key in ("source", "target") else value for key, value in limits.items()}
    found = reach(assemble([("t.policy", policy.encode())]), WORLD, **words)  # type: ignore[arg-type]
    return [" ".join(path.domains) for path in found.paths if path.domains[0] != ADMIN]


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
    found = reach(assemble([("t.policy", CHAIN.encode())]), WORLD, target=DomainName("vault"))
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


# ---- against brute force -------------------------------------------------------------------------


@given(plain_policies, worlds)
def test_the_space_of_all_calls_agrees_with_decide(made: list[Rule], world: World) -> None:
    space = Space(world)
    outcome = Outcomes(space, made)
    for asked in Vocabulary(made).asked():
        allowed = outcome.allowed(asked)
        assert {
            (source, target, terms) for terms, pairs in allowed.items() for source, target in space.pairs(pairs)
        } == outcomes(made, world, asked)
        assert set(space.pairs(union(allowed.values()))) == {pair[:2] for pair in outcomes(made, world, asked)}


@given(policies, worlds)
def test_no_way_into_a_domain_is_missed(made: list[Rule], world: World) -> None:
    """Where the person is asked, more may be told than they are offered; never less."""
    space = Space(world)
    outcome = Outcomes(space, made)
    for asked in Vocabulary(made).asked():
        told = set(space.pairs(union(outcome.allowed(asked).values())))
        assert told >= {pair[:2] for pair in outcomes(made, world, asked)}


@given(plain_policies, worlds)
def test_the_words_of_a_link_mean_what_decide_says(made: list[Rule], world: World) -> None:
    found = {(link.source, link.target): link.means for link in call_links(policy_of(made), world)}
    for asked in Vocabulary(made).asked():
        told = {pair for pair, means in found.items() if isinstance(means, Calls) and allows(means.services, asked)}
        assert told == {pair[:2] for pair in outcomes(made, world, asked)}


@given(plain_policies, worlds, st.none() | st.integers(1, 4))
def test_reach_agrees_with_walking_every_call(made: list[Rule], world: World, max_hops: int | None) -> None:
    direct = {pair[:2] for asked in Vocabulary(made).asked() for pair in outcomes(made, world, asked)}
    direct |= {(ADMIN, name) for name in world.domains if name != ADMIN}
    hops: dict[tuple[DomainName, DomainName], int] = {}
    reached = {(name, name) for name in [*world.domains, ADMIN]}
    for count in range(1, (max_hops or 10) + 1):
        reached |= {(start, end) for start, by in reached for source, end in direct if source == by}
        for pair in reached:
            hops.setdefault(pair, count)
    found = reach(policy_of(made), world, max_hops=max_hops)
    assert {(path.domains[0], path.domains[-1]): path.hops for path in found.paths} == {
        pair: count for pair, count in hops.items() if pair[0] != pair[1]
    }
    for path in found.paths:
        assert all(step in direct for step in pairwise(path.domains))


graphs = st.lists(st.tuples(*[st.sampled_from([DomainName(letter) for letter in "abcdefgh"])] * 2), max_size=30)


@given(graphs)
def test_no_path_is_longer_than_it_need_be(steps: list[tuple[DomainName, DomainName]]) -> None:
    far = {(a, b): 1 for a, b in steps if a != b}
    names = sorted({name for step in steps for name in step})
    for by, start, end in product(names, names, names):  # Floyd and Warshall
        if (start, by) in far and (by, end) in far and start != end:
            far[start, end] = min(far.get((start, end), 99), far[start, by] + far[by, end])
    found = along([Link(a, b, Command()) for a, b in steps])
    assert {(path.domains[0], path.domains[-1]): path.hops for path in found.paths} == far


def test_any_other_service_is_a_piece_of_the_space() -> None:
    assert list(Vocabulary([]).asked()) == [OTHER]
