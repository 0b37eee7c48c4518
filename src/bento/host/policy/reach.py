"""Who can reach whom: directly, and by way of others whom it can reach.

Whoever takes over a domain can make every call which that domain may make. So a
path from `random` to `vault` is a row of links, each from one node (a domain, or
a disposable that is yet to be made) to the next. At some links the person is
asked first. Of each pair `reach` tells the paths that are not beaten: no other
has as few hops and fewer questions, or as few questions and fewer hops.

Links come from several sources (calls, and `BESIDES_CALLS`) as plain values, and it is all one
to the paths what a link is made of.

The answer is exact for the policy, the world and the links handed in. That
a path exists does not mean that it is easy: each domain on it
would have to be taken over by way of the service that was called.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from heapq import merge
from itertools import pairwise
from operator import itemgetter
from typing import Protocol

from bento.host.model.domain import ADMIN
from bento.host.policy.decide import End
from bento.host.policy.files import Policy, PolicyRules
from bento.host.policy.outcomes import Outcomes
from bento.host.policy.services import Services, Span, Vocabulary
from bento.host.policy.space import Space, bits, by_pair, union
from bento.host.policy.world import World
from bento.wire.names import ServiceName


class Means(Protocol):
    """How a link gets from one node to the other; `str` of it is for the person, `kind` for programs."""

    @property
    def kind(self) -> str: ...

    @property
    def asked(self) -> bool:
        """Whether the person is asked first."""
        ...

    def __str__(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Calls:
    """The policy lets the source make these calls to the target, if the person agrees where they are `asked`.

    What is none of `contracts` is relayed as a plain stream, and marked so; None: it is not known which have one.
    """

    services: Services
    asked: bool = False
    contracts: frozenset[ServiceName] | None = None

    @property
    def kind(self) -> str:
        return "calls"

    def words(self) -> tuple[str, ...]:
        """A text for each of the services; one for all of them if they are all but some."""
        if self.services.but:
            return (f"{self.services}{'' if self.contracts is None else ' [some plain]'}",)
        return tuple(f"{span} [plain]" if self.is_plain(span) else str(span) for span in self.services.spans)

    def is_plain(self, span: Span) -> bool:
        return self.contracts is not None and span.service not in self.contracts

    def __str__(self) -> str:
        return f"{', '.join(self.words())}{' (you are asked)' if self.asked else ''}"


@dataclass(frozen=True, slots=True)
class Command:
    """The source is the host, and does with the target what it likes."""

    @property
    def kind(self) -> str:
        return "command"

    @property
    def asked(self) -> bool:
        return False

    def __str__(self) -> str:
        return "as the host"


@dataclass(frozen=True, slots=True)
class Link:
    source: End
    target: End
    means: Means


@dataclass(frozen=True, slots=True)
class Path:
    """A way from the first of `domains` to the last; of several that are alike, the first by the domains' names."""

    domains: tuple[End, ...]
    questions: int = 0
    """How often the person is asked on the way, where they need be asked at all."""

    @property
    def hops(self) -> int:
        return len(self.domains) - 1


@dataclass(frozen=True, slots=True)
class Reach:
    """`paths` by source, target and hops; `links` are all those between neighbours on a path."""

    paths: tuple[Path, ...]
    links: tuple[Link, ...]


# ---- what links are made of ----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ground:
    """What all links come from. A further source of them, such as a network, brings its own facts in here."""

    policy: Policy
    world: World
    contracts: frozenset[ServiceName] | None = None


def call_links(ground: Ground, through: ServiceName | None = None) -> Iterator[Link]:
    """What the policy allows in the end or asks about, redirections followed; with `through`, of this service."""
    rules = ground.policy.rules if isinstance(ground.policy, PolicyRules) else ()  # a broken policy allows nothing
    space, vocabulary = Space(ground.world), Vocabulary(rules)
    if through is not None:
        vocabulary.tell_apart(through)
    outcomes = Outcomes(space, rules)
    settled = {
        asked: outcomes.of(asked) for asked in (vocabulary.asked() if through is None else vocabulary.of(through))
    }
    for asks in (False, True):
        pairs = {
            asked: union(pairs for terms, pairs in found.items() if terms.asked == asks)
            for asked, found in settled.items()
        }
        if any(pairs.values()):
            for (source, target), services in by_pair(space, vocabulary, pairs).items():
                if source != target:
                    yield Link(source, target, Calls(services, asks, ground.contracts))


def command_links(ground: Ground) -> Iterator[Link]:
    """From the admin domain to everybody: its calls are not asked of the policy."""
    for node in Space(ground.world).nodes:
        if node != ADMIN:
            yield Link(ADMIN, node, Command())


BESIDES_CALLS: tuple[Callable[[Ground], Iterable[Link]], ...] = (command_links,)
"""All other sources of links. Whatever else lets one domain get at another, such as a shared volume, is a line here."""


def reach(
    ground: Ground,
    *,
    source: End | None = None,
    target: End | None = None,
    through: ServiceName | None = None,
    max_hops: int | None = None,
) -> Reach:
    """Every pair of which the first can reach the second, or those that the arguments leave.

    `through`: by calls of this service alone, at every hop.
    """
    links = [*call_links(ground, through)]
    if through is None:
        links += [link for made in BESIDES_CALLS for link in made(ground)]
    return along(links, source=source, target=target, max_hops=max_hops)


# ---- from links to paths -------------------------------------------------------------------------


def along(
    links: Iterable[Link], *, source: End | None = None, target: End | None = None, max_hops: int | None = None
) -> Reach:
    links = list(links)
    nodes = sorted({node for link in links for node in (link.source, link.target)}, key=str)
    places = {node: at for at, node in enumerate(nodes)}
    free, asking = [0] * len(nodes), [0] * len(nodes)
    for link in links:
        near = asking if link.means.asked else free
        near[places[link.source]] |= 1 << places[link.target]
    starts = range(len(nodes)) if source is None else [places[source]] if source in places else []
    paths = [
        Path(tuple(nodes[at] for at in steps), questions)
        for start in starts
        for steps, questions in _unbeaten(free, asking, start, max_hops)
        if target in (None, nodes[steps[-1]])
    ]
    paths.sort(key=lambda path: (str(path.domains[0]), str(path.domains[-1]), path.hops))
    used = {step for path in paths for step in pairwise(path.domains)}
    return Reach(tuple(paths), tuple(link for link in links if (link.source, link.target) in used))


Steps = tuple[int, ...]


def _unbeaten(free: list[int], asking: list[int], start: int, max_hops: int | None) -> Iterator[tuple[Steps, int]]:
    """The paths from `start` that no other beats, and their questions: by hops, and of as many hops by questions.

    `free` and `asking`: the neighbours of each place, a bit for each.
    """
    seen = [1 << start]
    """By the number of questions: what was found with no more of them, and no more hops than we are at."""
    ends: list[list[Steps]] = [[(start,)]]
    """The paths found last, by their questions."""
    hops = 0
    while ends and hops != max_hops:
        hops += 1
        seen.append(seen[-1])
        further: list[list[Steps]] = []
        for questions, (quiet, louder) in enumerate(zip([*ends, []], [[], *ends], strict=True)):
            seen[questions] |= seen[questions - 1] if questions else 0
            found = []
            # By name, so that of paths that are alike the first one is found.
            for path, near in merge(_with(quiet, free), _with(louder, asking), key=itemgetter(0)):
                new = near[path[-1]] & ~seen[questions]
                seen[questions] |= new
                found += [(*path, at) for at in bits(new)]
            yield from ((path, questions) for path in found)
            further.append(found)
        while further and not further[-1]:
            further.pop()
        ends = further


def _with(paths: list[Steps], near: list[int]) -> Iterator[tuple[Steps, list[int]]]:
    return ((path, near) for path in paths)
