"""What a policy makes of every call there could be, as pairs of who gets through to whom on which terms.

It is what `decide` says, for all sources and all targets they could name at
once. Rules for the service `*` are gone through once and not again for each
service: to ask `decide` about each call of 200 domains under 5,000 rules would
take hours.
"""

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, replace
from typing import Generic, TypeVar, assert_never

from bento.host.policy.rules import Allow, Ask, Deny, Destination, Rule
from bento.host.policy.services import Asked
from bento.host.policy.space import Pairs, Space, union
from bento.wire.names import ServiceArgument, ServiceName, UserName


@dataclass(frozen=True, slots=True, order=True)
class Terms:
    """How a call is made. `user` is empty for the target's default user.

    `asked`: if the person agrees; `chosen`: this is the target that they find chosen.
    """

    user: UserName | str
    autostart: bool
    notify: bool
    asked: bool = False
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class _Way:
    """What a rule that does not deny makes of a call. `default`: whom a person who is asked finds chosen."""

    terms: Terms
    target: Destination | None
    default: Destination | None = None


class Outcomes:
    """What `rules` make of every call in `space`."""

    def __init__(self, space: Space, rules: Iterable[Rule]) -> None:
        self._space = space
        rules = tuple(rules)
        self._ways = _FirstMatches((rule, space.matches(rule), _way(rule)) for rule in rules)
        self._ends = {way: self._ended(way, hit) for way, hit in self._ways.rest.items() if not way.terms.asked}
        """Where the rules for `*` are all there are."""
        may_ask = any(isinstance(rule.action, Ask) for rule in rules)
        self._offers = _FirstMatches(
            (rule, space.offers(rule), None if isinstance(rule.action, Deny) else True)
            for rule in (rules if may_ask else ())
        )

    def of(self, asked: Asked) -> dict[Terms, Pairs]:
        """Who gets through to whom, and how, whichever target it has to name for that."""
        found: dict[Terms, Pairs] = defaultdict(int)
        ways, taken = self._ways.named(asked)
        for way, hit in ways.items():
            self._add(found, asked, way, hit)
        for way, hit in self._ways.rest.items():
            if hit & taken or way.terms.asked:
                self._add(found, asked, way, hit & ~taken)
            else:
                found[way.terms] |= self._ends[way]
        return {terms: pairs for terms, pairs in found.items() if pairs}

    def _add(self, found: dict[Terms, Pairs], asked: Asked, way: _Way, hit: Pairs) -> None:
        if not way.terms.asked:
            found[way.terms] |= self._ended(way, hit)
            return
        if way.target is None:
            sources = self._space.who(hit)
            ends = self._space.choice(sources, self._offered(asked), autostart=way.terms.autostart)
        else:
            ends = self._ended(way, hit)
        chosen = 0 if way.default is None else ends & self._space.ends(ends, way.default, autostart=True)
        found[way.terms] |= ends & ~chosen
        found[replace(way.terms, chosen=True)] |= chosen

    def _ended(self, way: _Way, hit: Pairs) -> Pairs:
        return self._space.ends(hit, way.target, autostart=way.terms.autostart)

    def _offered(self, asked: Asked) -> Pairs:
        """Whom the rules leave for a person who is asked: every rule counts, also those above the one that asks."""
        offered, taken = self._offers.named(asked)
        return union(offered.values()) | union(self._offers.rest.values()) & ~taken


def _way(rule: Rule) -> _Way | None:
    match rule.action:
        case Deny():
            return None
        case Allow(target, user, notify, autostart):
            return _Way(Terms(user or "", autostart, notify), target)
        case Ask(target, default, user, notify, autostart):
            return _Way(Terms(user or "", autostart, notify, asked=True), target, default)
        case never:
            assert_never(never)


# ---- the first rule that matches -----------------------------------------------------------------

T = TypeVar("T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class _Named(Generic[T]):
    """A rule that names its service. `at` is its place in the policy."""

    at: int
    argument: ServiceArgument | None
    pairs: Pairs
    means: T | None


class _FirstMatches(Generic[T]):
    """Rules by what they say of which pairs, and of each pair what the first of them says. None: it says no.

    Rules for the service `*` are for any argument, by the grammar.
    """

    def __init__(self, rules: Iterable[tuple[Rule, Pairs, T | None]]) -> None:
        self._by_service: dict[ServiceName | None, list[_Named[T]]] = defaultdict(list)
        self._places: list[int] = []
        """Of the rules for `*` that are the first for any pair."""
        self._settled: list[Pairs] = [0]
        """By the rules for `*` before each of those places, then by all of them."""
        self.rest: dict[T, Pairs] = {}
        """What is said where the rules for `*` are all there are."""
        for at, (rule, pairs, means) in enumerate(rules):
            if rule.service is not None:
                self._by_service[rule.service].append(_Named(at, rule.argument, pairs, means))
            elif hit := pairs & ~self._settled[-1]:
                self._places.append(at)
                self._settled.append(self._settled[-1] | hit)
                if means is not None:
                    self.rest[means] = self.rest.get(means, 0) | hit

    def named(self, asked: Asked) -> tuple[dict[T, Pairs], Pairs]:
        """What the rules that name this service say; and of which pairs they are the first, whatever they say."""
        said: dict[T, Pairs] = {}
        taken = 0
        for one in self._by_service.get(asked.service, ()):
            if one.argument in (None, asked.argument):
                hit = one.pairs & ~(taken | self._settled[bisect_left(self._places, one.at)])
                taken |= hit
                if one.means is not None:
                    said[one.means] = said.get(one.means, 0) | hit
        return said, taken
