"""Who can reach whom: directly, and by way of others whom it can reach.

Whoever takes over a domain can make every call which that domain may make. So a
path from `random` to `vault` is a row of links, each from one domain to the
next, and `reach` tells the shortest of each pair: what an attacker needs at
the least. Links come from several sources as plain values, and it is all one to
the paths what a link is made of.

The answer is exact for the policy, the world and the links handed in. That
a path exists does not mean that it is easy: each domain on it
would have to be taken over by way of the service that was called.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from bento.host.model.domain import ADMIN
from bento.host.policy.files import Policy, PolicyRules
from bento.host.policy.services import Services, Vocabulary
from bento.host.policy.space import Outcomes, Space, bits, by_pair, union
from bento.host.policy.world import World
from bento.wire.names import DomainName, ServiceName


class Means(Protocol):
    """How a link gets from one domain to the other; `str` of it is for the person."""

    def __str__(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Calls:
    """The policy lets the source make these calls to the target."""

    services: Services

    def __str__(self) -> str:
        return str(self.services)


@dataclass(frozen=True, slots=True)
class Command:
    """The source is the host, and does with the target what it likes."""

    def __str__(self) -> str:
        return "as the host"


@dataclass(frozen=True, slots=True)
class Link:
    source: DomainName
    target: DomainName
    means: Means


@dataclass(frozen=True, slots=True)
class Path:
    """The shortest way from the first of `domains` to the last; of several, the first by the domains' names."""

    domains: tuple[DomainName, ...]

    @property
    def hops(self) -> int:
        return len(self.domains) - 1


@dataclass(frozen=True, slots=True)
class Reach:
    """`paths` by source and target; `links` are all those between neighbours on a path."""

    paths: tuple[Path, ...]
    links: tuple[Link, ...]


def reach(
    policy: Policy,
    world: World,
    *,
    source: DomainName | None = None,
    target: DomainName | None = None,
    through: ServiceName | None = None,
    max_hops: int | None = None,
) -> Reach:
    """Every pair of which the first can reach the second, or those that the arguments leave.

    `through`: by calls of this service alone, at every hop.
    """
    links = [*call_links(policy, world, through)]
    if through is None:
        links += command_links(world)
    return along(links, source=source, target=target, max_hops=max_hops)


def call_links(policy: Policy, world: World, through: ServiceName | None = None) -> Iterator[Link]:
    """What the policy allows in the end, also if the person agrees first, redirections followed; with `through`, of
    this service."""
    rules = policy.rules if isinstance(policy, PolicyRules) else ()  # a broken policy allows nothing
    space, vocabulary = Space(world), Vocabulary(rules, also=through)
    outcomes = Outcomes(space, rules)
    asked = vocabulary.asked() if through is None else vocabulary.of(through)
    pairs = {one: union(outcomes.allowed(one).values()) for one in asked}
    for (source, target), services in by_pair(space, vocabulary, pairs).items():
        yield Link(source, target, Calls(services))


def command_links(world: World) -> Iterator[Link]:
    """From the admin domain to everybody: its calls are not asked of the policy."""
    for name in sorted(world.domains):
        if name != ADMIN:
            yield Link(ADMIN, name, Command())


def along(
    links: Iterable[Link],
    *,
    source: DomainName | None = None,
    target: DomainName | None = None,
    max_hops: int | None = None,
) -> Reach:
    links = list(links)
    names = sorted({name for link in links for name in (link.source, link.target)})
    places = {name: at for at, name in enumerate(names)}
    near = [0] * len(names)
    for link in links:
        near[places[link.source]] |= 1 << places[link.target]
    starts = range(len(names)) if source is None else [places[source]] if source in places else []
    paths = [
        Path(tuple(names[at] for at in steps))
        for start in starts
        for steps in _shortest(near, start, max_hops)
        if target in (None, names[steps[-1]])
    ]
    paths.sort(key=lambda path: (path.domains[0], path.domains[-1]))
    used = {step for path in paths for step in pairwise(path.domains)}
    return Reach(tuple(paths), tuple(link for link in links if (link.source, link.target) in used))


def _shortest(near: list[int], start: int, max_hops: int | None) -> Iterator[tuple[int, ...]]:
    """A shortest path from `start` to each place it reaches. `near`: the neighbours of each place, a bit for each."""
    seen = 1 << start
    ends: list[tuple[int, ...]] = [(start,)]
    while ends and (max_hops is None or len(ends[0]) <= max_hops):
        further: list[tuple[int, ...]] = []
        for path in ends:
            new = near[path[-1]] & ~seen
            seen |= new
            further += [(*path, at) for at in bits(new)]
        yield from further
        ends = further
