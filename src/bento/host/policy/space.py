"""The space of all calls in one world, cut into the finest pieces that a policy can tell apart.

Services and arguments are without number, but rules name only some of them;
all others fare alike. So `Asked` is a service and an argument that the policy
names, or "any other", and to look at each `Asked` is to look at every call.

Who calls whom is a set of pairs, kept as one large integer: a bit for each
source and target, row by row. A rule then decides all pairs it matches in a
handful of operations on integers; rules for the service `*` are gone
through once and not again for each service. To ask `decide` about each
call of 200 domains under 5,000 rules would take hours.
`tests/host/policy/test_reach.py` holds the outcome against `decide`.

The admin domain is a target here and never a source: what a person does from
the host is not asked of the policy.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import compress

from bento.host.model.domain import ADMIN
from bento.host.policy.rules import Ask, Deny, Destination, Identified, Rule, Selector
from bento.host.policy.services import OTHER, Asked, Services, Vocabulary
from bento.host.policy.world import Keyword, Party, World
from bento.wire.names import DomainName, ServiceArgument, ServiceName, UserName


@dataclass(frozen=True, slots=True, order=True)
class Terms:
    """How an allowed call is made. `user` is empty for the target's default user. `asked`: if the person agrees."""

    user: UserName | str
    autostart: bool
    notify: bool
    asked: bool = False


Pairs = int
"""A set of (source, target) as `Space` packs it."""


class Space:
    """The pairs of one world: an integer of a row a party, and in each row a bit a party and one to spare."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.names = sorted({ADMIN, *world.domains})
        self._places = {name: at for at, name in enumerate(self.names)}
        self._parties: list[Party] = [*self.names, Keyword.DEFAULT]
        self._width = len(self._parties)
        self._stride = self._width + 1
        self._row = (1 << self._width) - 1
        callers = [at for at, name in enumerate(self.names) if name != ADMIN]
        self._first = _mask(at * self._stride for at in callers)
        """The lowest bit of each caller's row."""
        self.every: Pairs = self._first * self._row
        itself = _mask(at * self._stride + at for at in callers)
        nowhere = self._first << (self._width - 1)
        self._landing = self.every & ~itself & ~nowhere
        """Pairs that a call can end at: a domain that exists and is not the caller."""
        self._parts: dict[Selector, int] = {}
        self._matched: dict[tuple[Selector, Selector], Pairs] = {}

    def matches(self, rule: Rule) -> Pairs:
        """Who calls whom when `rule` matches, as far as that is up to source and target."""
        columns = (rule.source, rule.target)
        if columns not in self._matched:
            sources = _mask(at * self._stride for at in bits(self._part(rule.source))) & self._first
            self._matched[columns] = sources * self._part(rule.target)
        return self._matched[columns]

    def ends(self, wanted: Pairs, way: "Way") -> Pairs:
        """Where calls end: at whom each source `wanted`, or all at the way's target; never at nobody or at itself.

        A disposable that is to be made is nobody yet. A person who is asked without a `target=` may choose: here
        from all that exist, which is more than they are offered.
        """
        if way.target is None and not way.terms.asked:
            return wanted & self._landing
        # Adding all ones to a row carries into its spare bit if and only if the row has a bit set.
        sources = ((wanted + self._first * self._row) >> self._width) & self._first
        if way.target is None:
            return sources * self._row & self._landing
        target = self._world.identified(way.target.uuid) if isinstance(way.target, Identified) else way.target
        if not isinstance(target, DomainName) or target not in self._places:
            return 0
        return sources << self._places[target] & self._landing

    def rows(self, pairs: Pairs) -> Iterator[tuple[int, int]]:
        """Each source with a target, as its place in `names`, and its targets, a bit for each of `names`."""
        for source in range(len(self.names)):
            if row := pairs & self._row:
                yield source, row
            pairs >>= self._stride

    def pairs(self, pairs: Pairs) -> Iterator[tuple[DomainName, DomainName]]:
        for source, row in self.rows(pairs):
            for target in bits(row):
                yield self.names[source], self.names[target]

    def _part(self, selector: Selector) -> int:
        """The parties that `selector` matches."""
        if selector not in self._parts:
            found = (at for at, party in enumerate(self._parties) if selector.matches(party, self._world))
            self._parts[selector] = _mask(found)
        return self._parts[selector]


@dataclass(frozen=True, slots=True)
class Way:
    """What a rule that allows or asks makes of a call."""

    terms: Terms
    target: Destination | None


@dataclass(frozen=True, slots=True)
class _Own:
    """A rule that names its service. `at` is its place in the policy; `way` None means that it denies."""

    at: int
    argument: ServiceArgument | None
    matches: Pairs
    way: Way | None


class Outcomes:
    """What `rules` make of every call in `space`. Those for the service `*` are for any argument, by the grammar."""

    def __init__(self, space: Space, rules: Iterable[Rule]) -> None:
        self._space = space
        self._own: dict[ServiceName | None, list[_Own]] = defaultdict(list)
        self._places: list[int] = []
        """Of the rules for `*` that decide anything."""
        self._decided: list[Pairs] = [0]
        """By the rules for `*` before each of those places, then by all of them."""
        self._ways: dict[Way, Pairs] = {}
        """Where the rules for `*` are all there are."""
        for at, rule in enumerate(rules):
            matches, way = space.matches(rule), _way(rule)
            if rule.service is not None:
                self._own[rule.service].append(_Own(at, rule.argument, matches, way))
            elif hit := matches & ~self._decided[-1]:
                self._places.append(at)
                self._decided.append(self._decided[-1] | hit)
                _add(self._ways, way, hit)
        self._ends = {way: space.ends(hit, way) for way, hit in self._ways.items()}

    def allowed(self, asked: Asked) -> dict[Terms, Pairs]:
        """Who gets through to whom, and how, whichever target it has to name for that."""
        ways: dict[Way, Pairs] = {}
        taken = 0
        for own in self._own.get(asked.service, ()):
            if own.argument in (None, asked.argument):
                hit = own.matches & ~(taken | self._decided[bisect_left(self._places, own.at)])
                taken |= hit
                _add(ways, own.way, hit)
        allowed: dict[Terms, Pairs] = {}
        for way, hit in ways.items():
            allowed[way.terms] = allowed.get(way.terms, 0) | self._space.ends(hit, way)
        for way, hit in self._ways.items():
            ends = self._space.ends(hit & ~taken, way) if hit & taken else self._ends[way]
            allowed[way.terms] = allowed.get(way.terms, 0) | ends
        return {terms: pairs for terms, pairs in allowed.items() if pairs}


def _way(rule: Rule) -> Way | None:
    action = rule.action
    if isinstance(action, Deny):
        return None
    terms = Terms(action.user or "", action.autostart, action.notify, isinstance(action, Ask))
    return Way(terms, action.target)


def _add(ways: dict[Way, Pairs], way: Way | None, hit: Pairs) -> None:
    if way is not None:
        ways[way] = ways.get(way, 0) | hit


def by_pair(
    space: Space, vocabulary: Vocabulary, pairs: Mapping[Asked, Pairs]
) -> dict[tuple[DomainName, DomainName], Services]:
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
    for source, name in enumerate(space.names):
        for target, listed in _columns(unlike[source], len(space.names)):
            but = bool(whole.get(source, 0) >> target & 1)
            if but or listed:
                if (but, listed) not in told:
                    told[but, listed] = vocabulary.services(but, listed)
                found[name, space.names[target]] = told[but, listed]
    return found


def _columns(rows: list[tuple[Asked, int]], width: int) -> Iterator[tuple[int, tuple[Asked, ...]]]:
    """For each place of a row, whose rows have its bit set. By way of text: there Python turns rows into columns."""
    asked = [one for one, _ in rows]
    texts = [f"{row:0{width}b}"[::-1].encode() for _, row in rows]
    columns = zip(*texts, strict=True) if texts else ((),) * width
    for place, column in enumerate(columns):
        yield place, tuple(compress(asked, (digit == ord("1") for digit in column)))


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
