"""Policies, calls and worlds that hypothesis makes, for every property of them."""

from hypothesis import strategies as st

from bento.host.model.domain import ADMIN, DomainClass
from bento.host.policy.decide import Call
from bento.host.policy.files import PolicyRules
from bento.host.policy.grammar import CLASSES
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
