"""Policies, calls and worlds that hypothesis makes, for every property of them."""

from uuid import UUID

from hypothesis import strategies as st

from bento.host.model.domain import ADMIN, ADMIN_UUID, DomainClass
from bento.host.policy.decide import Call
from bento.host.policy.files import PolicyRules
from bento.host.policy.grammar import CLASSES
from bento.host.policy.rules import (
    Action,
    Allow,
    AnyDomain,
    Ask,
    Both,
    Deny,
    Destination,
    DisposableOf,
    DisposableTagged,
    Everything,
    Identified,
    MadeFrom,
    MadeFromTagged,
    Named,
    NoTarget,
    OfClass,
    OwnDisposable,
    Rule,
    Source,
    Tagged,
    Target,
)
from bento.host.policy.world import DomainFacts, World
from bento.wire.names import DomainName, ServiceArgument, ServiceName, Tag, TargetName, UserName

# Few of each, so that rules and calls meet often. `gone` is no domain of any world.
WORK, VAULT, RANDOM, GONE = map(DomainName, ("work", "vault", "random", "gone"))
names = st.sampled_from([WORK, VAULT, RANDOM, ADMIN, GONE])
services = st.sampled_from([ServiceName("s"), ServiceName("qubes.Filecopy")])
arguments = st.sampled_from([ServiceArgument(""), ServiceArgument("a+b")])
tags = st.sampled_from([Tag("one"), Tag("two")])
uuids = st.sampled_from([UUID(int=0), UUID(int=1), UUID(int=2)])
keywords = ["", "@default", "@adminvm", "@dispvm", "@dispvm:work", "@dispvm:vault", "@dispvm:gone", "@tag:one"]
targets = (
    names.map(str)
    | uuids.map(lambda uuid: f"uuid:{uuid}")
    | uuids.map(lambda uuid: f"@dispvm:uuid:{uuid}")
    | st.sampled_from(keywords)
    | st.from_regex(TargetName.pattern, fullmatch=True)
)

named = st.builds(Named, names)
identified = st.builds(Identified, uuids)
either: st.SearchStrategy[Both] = st.one_of(
    st.just(Everything()),
    st.just(AnyDomain()),
    named,
    st.builds(Tagged, tags),
    st.builds(OfClass, st.sampled_from(sorted(CLASSES))),
)
bases = st.builds(Named, st.sampled_from([WORK, VAULT, RANDOM, GONE])) | identified.filter(
    lambda one: one.uuid != ADMIN_UUID
)
sources: st.SearchStrategy[Source] = st.one_of(
    either, identified, st.builds(MadeFrom, bases), st.builds(MadeFromTagged, tags)
)
columns: st.SearchStrategy[Target] = st.one_of(
    either,
    identified,
    st.just(OwnDisposable()),
    st.builds(DisposableOf, bases),
    st.builds(DisposableTagged, tags),
)
destinations: st.SearchStrategy[Destination] = st.one_of(
    names, identified, st.just(OwnDisposable()), st.builds(DisposableOf, bases)
)
users = st.none() | st.sampled_from([UserName("root"), UserName("user")])
allows = st.builds(Allow, st.none() | names, users, st.booleans(), st.booleans())
denies = st.builds(Deny, st.booleans())
redirections = st.builds(Allow, destinations, users, st.booleans(), st.booleans())
asks = st.builds(Ask, st.none() | destinations, st.none() | destinations, users, st.booleans(), st.booleans())
actions: st.SearchStrategy[Action] = st.one_of(allows, denies, redirections, asks)


@st.composite
def rules(
    draw: st.DrawFn,
    actions: st.SearchStrategy[Action] = actions,
    sources: st.SearchStrategy[Source] = sources,
    columns: st.SearchStrategy[Target] = columns,
) -> Rule:
    """A rule that the grammar could have made."""
    service = draw(st.none() | services)
    argument = None if service is None else draw(st.none() | arguments)
    action = draw(actions)
    pathless = isinstance(action, Allow) and action.target is None
    target = draw(columns if pathless else columns | st.just(NoTarget()))
    return Rule(service, argument, draw(sources), target, action, "p.policy", draw(st.integers(1, 50)))


maybe_names = st.none() | names
facts = st.builds(
    DomainFacts,
    st.sampled_from(DomainClass),
    st.frozensets(tags),
    uuids,
    running=st.booleans(),
    internal=st.booleans(),
    template_for_dispvms=st.booleans(),
    default_dispvm=maybe_names,
    base=maybe_names,
)
worlds = st.builds(World, st.fixed_dictionaries({WORK: facts, VAULT: facts, RANDOM: facts}, optional={ADMIN: facts}))
calls = st.builds(Call, names, services, arguments, targets.map(TargetName.parse))


def _policies(rules: st.SearchStrategy[Rule], actions: st.SearchStrategy[Action]) -> st.SearchStrategy[list[Rule]]:
    everything = st.just(Everything())
    last = st.builds(Rule, st.none(), st.none(), everything, everything, actions, st.just("p"), st.just(99))
    return st.lists(rules, max_size=6) | st.builds(lambda made, last: [*made, last], st.lists(rules, max_size=3), last)


policies = _policies(rules(), actions)
plain_rules = rules(allows | denies, either, either)
"""Without questions, disposables and UUIDs."""
plain_policies = _policies(plain_rules, allows)


def policy_of(made: list[Rule]) -> PolicyRules:
    return PolicyRules(tuple(made), digest="")
