"""The space of all calls in one world, cut into the finest pieces that a policy can tell apart.

Services and arguments are without number, but rules name only some of them;
all others fare alike. So `Asked` is a service and an argument that the policy
names, or "any other", and to look at each `Asked` is to look at every call.

Who calls whom is a set of pairs, kept as one large integer: a bit for each
source and target, row by row. A rule then matches all its pairs in a
handful of operations on integers. `tests/host/policy/test_space.py` holds
what comes of it (`outcomes.py`) against `decide`.

The admin domain is a target here and never a source: what a person does from
the host is not asked of the policy. A disposable that is yet to be made is
both: whatever calls a new disposable of that base could make, it is taken to
make (`with_disposables`). Which domains run today is left aside.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import compress
from typing import assert_never

from bento.host.model.domain import ADMIN, DomainClass
from bento.host.policy.decide import End
from bento.host.policy.rules import (
    Deny,
    Destination,
    DisposableOf,
    Identified,
    Named,
    OwnDisposable,
    Rule,
    Selector,
    Source,
    withholds_admin,
)
from bento.host.policy.services import OTHER, Asked, Services, Vocabulary
from bento.host.policy.world import DefaultDisposable, Disposable, Keyword, Party, World
from bento.wire.names import DomainName

Pairs = int
"""A set of (source, target) as `Space` packs it."""

Callers = int
"""A set of sources: the lowest bit of the row of each."""


def with_disposables(world: World) -> World:
    """`world`, and for each base a disposable of it as if it existed, under a name that no domain can have.

    It has the tags of its base, and `@dispvm` means another of its kind, as in those that the manager makes.
    What such a one is tagged with for the sake of who had it made, it lacks.
    """
    made = {
        stand_in(Disposable(base)): replace(
            facts,
            klass=DomainClass.DISPOSABLE,
            uuid=None,
            template_for_dispvms=False,
            default_dispvm=base,
            base=base,
        )
        for base, facts in world.domains.items()
        if base != ADMIN and facts.template_for_dispvms
    }
    return World({**world.domains, **made})


def stand_in(node: End) -> DomainName:
    """The name that `node` has in the world `with_disposables`."""
    return DomainName(str(node)) if isinstance(node, Disposable) else node


class Space:
    """The pairs of one world: an integer of a row a node, and in each row a bit a party and one to spare.

    The parties are the nodes (domains, then new disposables), then `@dispvm` and `@default`, which are targets only.
    """

    def __init__(self, world: World) -> None:
        self._world = with_disposables(world)
        domains = sorted({ADMIN, *world.domains})
        self.nodes: list[End] = [*domains, *(Disposable(base) for base in domains if world.makes_disposables(base))]
        self._places = {node: at for at, node in enumerate(self.nodes)}
        self._own = len(self.nodes)
        self._parties: list[tuple[int, Party]] = [*enumerate(self.nodes), (self._own + 1, Keyword.DEFAULT)]
        """By their column; `@dispvm` is another party for each source."""
        self._stride = len(self.nodes) + 3
        self._row = (1 << (self._stride - 1)) - 1
        self._callers = {at * self._stride: stand_in(node) for at, node in enumerate(self.nodes) if node != ADMIN}
        """By the lowest bit of the row of each."""
        self._first: Callers = _mask(self._callers)
        self._own_bases: dict[DomainName | None, Callers] = defaultdict(int)
        """What `@dispvm` means to whom."""
        for bit, name in self._callers.items():
            self._own_bases[self._world.default_disposable(name).base] |= 1 << bit
        itself = _mask(at * self._stride + at for at, node in enumerate(self.nodes) if isinstance(node, DomainName))
        self._landing = self._first * _mask(range(self._own)) & ~itself
        """Pairs that a call can end at: a domain that exists and is not the caller, or a new disposable."""
        self._existing = self._first * _mask(range(len(domains)))
        self._seen = self._first * _mask(at for at, node in enumerate(self.nodes) if not self._is_internal(node))
        """Whom a person may be offered."""
        self._sources: dict[Selector, Callers] = {}
        self._targets: dict[Selector, int] = {}
        self._matched: dict[tuple[Selector, Selector], Pairs] = {}

    def matches(self, rule: Rule) -> Pairs:
        """Who calls whom when `rule` matches, as far as that is up to source and target."""
        columns = (rule.source, rule.target)
        if columns not in self._matched:
            sources = self.calling(rule.source)
            pairs = sources * self._meant(rule.target)
            for base, callers in self._own_bases.items():
                if rule.target.matches(DefaultDisposable(base), self._world):
                    pairs |= (sources & callers) << self._own
            self._matched[columns] = pairs
        return self._matched[columns]

    def offers(self, rule: Rule) -> Pairs:
        """Who may, or may not, be sent to whom by `rule` when a person is asked."""
        if withholds_admin(rule, self._world):
            return self.matches(rule) | self.calling(rule.source) << self._places[ADMIN]
        if isinstance(rule.action, Deny) or rule.action.target is None:
            return self.matches(rule)
        return self._sent(self.calling(rule.source), rule.action.target)

    def ends(self, wanted: Pairs, target: Destination | None, *, autostart: bool) -> Pairs:
        """Where calls end: at whom each source `wanted`, or all at `target`; never at nobody or at itself.

        Without `autostart` never at a disposable, which does not run before it is called.
        """
        sent = wanted if target is None else self._sent(self.who(wanted), target)
        ends = self._settled(sent) & self._landing
        return ends if autostart else ends & self._existing

    def choice(self, sources: Callers, offered: Pairs, *, autostart: bool) -> Pairs:
        """Where a person may send a call of `sources`, of what the rules have `offered` to all."""
        own = offered & (self._first << self._own)
        for base, callers in self._own_bases.items():
            if base is not None and self._is_internal(base):
                own &= ~(callers << self._own)
        named = offered & self._seen
        return self.ends((named | own) & self.whole(sources), None, autostart=autostart)

    def who(self, pairs: Pairs) -> Callers:
        """Those who call somebody."""
        # Adding all ones to a row carries into its spare bit if and only if the row has a bit set.
        return ((pairs + self.whole(self._first)) >> (self._stride - 1)) & self._first

    def whole(self, sources: Callers) -> Pairs:
        """From each of `sources` to every party."""
        return sources * self._row

    def calling(self, selector: Selector) -> Callers:
        if selector not in self._sources:
            found = (bit for bit, name in self._callers.items() if selector.matches(name, self._world))
            self._sources[selector] = _mask(found)
        return self._sources[selector]

    def nodes_of(self, selector: Source) -> int:
        """The nodes that `selector` means: a domain, or a disposable as if it existed; a bit for each of `nodes`."""
        named = enumerate(map(stand_in, self.nodes))
        return _mask(at for at, name in named if selector.matches(name, self._world))

    def between(self, source: Source, target: Source) -> Pairs:
        """From each node that `source` means to each that `target` means, but for calls to oneself."""
        return self.calling(source) * self.nodes_of(target) & self._landing

    def place(self, node: End) -> int:
        return self._places[node]

    def pair(self, source: End, target: End) -> Pairs:
        return 1 << self._places[source] * self._stride + self._places[target]

    def rows(self, pairs: Pairs) -> Iterator[tuple[int, int]]:
        """Each source with a target, as its place in `nodes`, and its targets, a bit for each of `nodes`."""
        for source in range(len(self.nodes)):
            if row := pairs & self._row:
                yield source, row
            pairs >>= self._stride

    def pairs(self, pairs: Pairs) -> Iterator[tuple[End, End]]:
        for source, row in self.rows(pairs):
            for target in bits(row):
                yield self.nodes[source], self.nodes[target]

    def _meant(self, selector: Selector) -> int:
        """The columns that `selector` matches, whoever calls."""
        if selector not in self._targets:
            self._targets[selector] = _mask(
                column for column, party in self._parties if selector.matches(party, self._world)
            )
        return self._targets[selector]

    def _sent(self, sources: Callers, target: Destination) -> Pairs:
        """Each of `sources` with whom `target=` means, if it means anybody."""
        node: End | None
        match target:
            case OwnDisposable():
                return sources << self._own
            case DomainName():
                node = target
            case Identified(uuid):
                node = self._world.identified(uuid)
            case DisposableOf(base):
                name = base.name if isinstance(base, Named) else self._world.identified(base.uuid)
                node = name and Disposable(name)
            case never:
                assert_never(never)
        return sources << self._places[node] if node in self._places else 0

    def _settled(self, pairs: Pairs) -> Pairs:
        """With `@dispvm` as what it means to each source; to some it means nothing."""
        for base, callers in self._own_bases.items():
            if base is not None and (place := self._places.get(Disposable(base))) is not None:
                pairs |= ((pairs >> self._own) & callers) << place
        return pairs

    def _is_internal(self, node: End) -> bool:
        facts = self._world.facts(node.base if isinstance(node, Disposable) else node)
        return facts is not None and facts.internal


def by_pair(space: Space, vocabulary: Vocabulary, pairs: Mapping[Asked, Pairs]) -> dict[tuple[End, End], Services]:
    """The same the other way round: for each pair, its services. An `Asked` that is missing has no pairs.

    A pair that has `OTHER`, which is every service but those that somebody
    thought of, is told by what it lacks: without that, one `* * * * allow`
    would be told once for each service that the policy names.
    """
    most = pairs.get(OTHER, 0)
    whole = dict(space.rows(most))
    unlike: dict[int, list[tuple[Asked, int]]] = defaultdict(list)
    for asked in vocabulary.asked():
        for source, row in space.rows(pairs.get(asked, 0) ^ most):
            unlike[source].append((asked, row))
    told: dict[tuple[bool, tuple[Asked, ...]], Services] = {}
    found = {}
    for source, node in enumerate(space.nodes):
        for target, listed in _columns(unlike[source], len(space.nodes)):
            but = bool(whole.get(source, 0) >> target & 1)
            if but or listed:
                if (but, listed) not in told:
                    told[but, listed] = vocabulary.services(but, listed)
                found[node, space.nodes[target]] = told[but, listed]
    return found


DIGITS = bytes.maketrans(b"01", b"\0\1")


def _columns(rows: list[tuple[Asked, int]], width: int) -> Iterator[tuple[int, tuple[Asked, ...]]]:
    """For each place of a row, whose rows have its bit set. By way of text: there Python turns rows into columns."""
    asked = [one for one, _ in rows]
    texts = [f"{row:0{width}b}"[::-1].encode().translate(DIGITS) for _, row in rows]
    columns = zip(*texts, strict=True) if texts else ((),) * width
    for place, column in enumerate(columns):
        yield place, tuple(compress(asked, column))


def bits(mask: int) -> Iterator[int]:
    """The places of the bits of `mask` that are set, from the lowest."""
    while mask:
        lowest = mask & -mask
        yield lowest.bit_length() - 1
        mask ^= lowest


def union(masks: Iterable[Pairs]) -> Pairs:
    together = 0
    for mask in masks:
        together |= mask
    return together


def _mask(places: Iterable[int]) -> int:
    return union(1 << at for at in places)
