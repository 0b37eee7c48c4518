"""What a policy makes of all calls at once is what `decide` says of each."""

import pytest
from hypothesis import given

from bento.host.model.domain import ADMIN, DomainClass
from bento.host.policy.outcomes import Outcomes
from bento.host.policy.rules import Action, Ask, Deny, Everything, OfClass, OwnDisposable, Rule, Tagged, Target
from bento.host.policy.services import OTHER, Vocabulary
from bento.host.policy.space import Space, union
from bento.host.policy.world import DomainFacts, World
from bento.wire.names import Tag
from tests.host.policy.made import WORK, plain_policies, policies, worlds
from tests.host.policy.outcomes import outcomes, pairs


def check(made: list[Rule], world: World) -> None:
    space = Space(world)
    outcome = Outcomes(space, made)
    for asked in Vocabulary(made).asked():
        found, expected = outcome.of(asked), outcomes(made, world, asked)
        assert {(*pair, terms) for terms, packed in found.items() for pair in space.pairs(packed)} == expected
        assert set(space.pairs(union(found.values()))) == pairs(expected)


@given(policies, worlds)
def test_the_space_of_all_calls_agrees_with_decide(made: list[Rule], world: World) -> None:
    check(made, world)


@given(plain_policies, worlds)
def test_it_agrees_where_nobody_is_asked_too(made: list[Rule], world: World) -> None:
    check(made, world)


@pytest.mark.parametrize("denied", [Tagged(Tag("one")), Tagged(Tag("two")), OfClass("AdminVM")])
def test_it_agrees_where_the_host_is_withheld_from_a_question(denied: Tagged | OfClass) -> None:
    rules: list[tuple[Target, Action]] = [(OwnDisposable(), Ask()), (denied, Deny()), (Everything(), Ask())]
    made = [Rule(None, None, Everything(), *rule, "p.policy", line) for line, rule in enumerate(rules, 1)]
    check(
        made,
        World({ADMIN: DomainFacts(DomainClass.ADMIN, frozenset({Tag("one")})), WORK: DomainFacts(DomainClass.APP)}),
    )


def test_any_other_service_is_a_piece_of_the_space() -> None:
    assert list(Vocabulary([]).asked()) == [OTHER]
