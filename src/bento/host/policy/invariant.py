"""Which statements a policy breaks, and how.

SOURCE and TARGET mean domains, and new disposables as if they existed, as they
are now: a statement is looked at again with every domain that comes or changes.
A call is judged by where it ends, not by the target that was named, and every call
that could be made is looked at. `never reach` follows what `reach` follows.

No pair of domains is put into words before a statement is found broken by it:
that would cost more than all the rest.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import assert_never

from bento.host.model.domain import ADMIN
from bento.host.policy.decide import End
from bento.host.policy.files import PolicyRules
from bento.host.policy.outcomes import Outcomes
from bento.host.policy.reach import BESIDES_CALLS, Calls, Ground, Link
from bento.host.policy.rules import Source
from bento.host.policy.services import OTHER, Asked, Vocabulary
from bento.host.policy.space import Pairs, Space, bits, union
from bento.host.policy.statements import EveryCall, NeverReach, Statement, Verdict
from bento.host.policy.world import World
from bento.wire.names import ServiceArgument, ServiceName


@dataclass(frozen=True, slots=True)
class Breach:
    """How a statement is broken: the links, one after the other, that it says there are not. Empty for `always allow`,
    where the link from `source` to `target` is what is missing.
    """

    statement: Statement
    source: End
    target: End
    links: tuple[Link, ...]

    def __str__(self) -> str:
        if not self.links:
            return f"{self.source} cannot call it in {self.target} without a question"
        return "".join([str(self.source), *(f" -[{link.means}]-> {link.target}" for link in self.links)])


def breaches(statements: Iterable[Statement], ground: Ground) -> tuple[Breach, ...]:
    """One for each statement that does not hold, in their order. A broken policy allows nothing."""
    statements = tuple(statements)
    if not statements:
        return ()
    looked = _Looked(ground, statements)
    found = (looked.breach(statement) for statement in statements)
    return tuple(breach for breach in found if breach is not None)


def nobody(statement: Statement, world: World) -> tuple[Source, ...]:
    """Those of its selectors that mean nobody now: it may hold by a slip of the pen."""
    space = Space(world)
    selectors = (statement.meaning.source, statement.meaning.target)
    return tuple(dict.fromkeys(one for one in selectors if not space.nodes_of(one)))


class _Looked:
    """What all statements ask of one policy in one world, found out once."""

    def __init__(self, ground: Ground, statements: Iterable[Statement]) -> None:
        self._ground = ground
        rules = ground.policy.rules if isinstance(ground.policy, PolicyRules) else ()
        self._space = Space(ground.world)
        self._vocabulary = Vocabulary(rules)
        for statement in statements:
            match statement.meaning:
                case NeverReach(through=ServiceName() as service):
                    self._vocabulary.tell_apart(service)
                case EveryCall(service=ServiceName() as service, argument=argument):
                    self._vocabulary.tell_apart(service, argument)
        self._outcomes = Outcomes(self._space, rules)
        self._known: dict[Asked, tuple[Pairs, Pairs]] = {}
        self._near: dict[tuple[ServiceName | None, bool], list[int]] = {}

    def breach(self, statement: Statement) -> Breach | None:
        match statement.meaning:
            case NeverReach() as meaning:
                return self._reached(statement, meaning)
            case EveryCall() as meaning:
                return self._called(statement, meaning)
            case never:
                assert_never(never)

    # ---- calls -------------------------------------------------------------------------------

    def _called(self, statement: Statement, meaning: EveryCall) -> Breach | None:
        wanted = self._space.between(meaning.source, meaning.target)
        for asked in self._pieces(meaning.service, meaning.argument):
            allowed, questioned = self._settled(asked)
            match meaning.verdict:
                case Verdict.NEVER_ALLOW:
                    wrong = wanted & (allowed | questioned)
                case Verdict.ALWAYS_ASK:
                    wrong = wanted & allowed
                case Verdict.ALWAYS_ALLOW:
                    wrong = wanted & ~allowed
                case never:
                    assert_never(never)
            for source, target in self._space.pairs(wrong):
                if meaning.verdict is Verdict.ALWAYS_ALLOW:
                    return Breach(statement, source, target, ())
                at = self._space.pair(source, target)
                means = Calls(self._vocabulary.services(False, [asked]), asked=not allowed & at)
                return Breach(statement, source, target, (Link(source, target, means),))
        return None

    def _pieces(self, service: ServiceName | None, argument: ServiceArgument | None = None) -> Iterator[Asked]:
        if service is None:
            return self._vocabulary.asked()
        return iter([Asked(service, argument)]) if argument is not None else self._vocabulary.of(service)

    def _settled(self, asked: Asked) -> tuple[Pairs, Pairs]:
        """Who gets through to whom without asking, and who with."""
        if asked not in self._known:
            found = self._outcomes.of(asked)
            self._known[asked] = (
                union(pairs for terms, pairs in found.items() if not terms.asked),
                union(pairs for terms, pairs in found.items() if terms.asked),
            )
        return self._known[asked]

    # ---- ways --------------------------------------------------------------------------------

    def _reached(self, statement: Statement, meaning: NeverReach) -> Breach | None:
        near = self._neighbours(meaning.through, unasked=meaning.unasked)
        ends = self._space.nodes_of(meaning.target)
        for start in bits(self._space.nodes_of(meaning.source)):
            if self._space.nodes[start] != ADMIN and (steps := _way(near, start, ends, meaning.hops)):
                domains = [self._space.nodes[at] for at in steps]
                links = tuple(self._link(*step, meaning.through) for step in pairwise(domains))
                return Breach(statement, domains[0], domains[-1], links)
        return None

    def _neighbours(self, through: ServiceName | None, *, unasked: bool) -> list[int]:
        """Of each node those that it gets at, a bit for each; `unasked`: without a question."""
        if (through, unasked) not in self._near:
            settled = [self._settled(asked) for asked in self._pieces(through)]
            pairs = union(allowed if unasked else allowed | questioned for allowed, questioned in settled)
            near = [0] * len(self._space.nodes)
            for source, row in self._space.rows(pairs):
                near[source] = row
            others = self._besides_calls() if through is None else []
            for link in [link for link in others if not (unasked and link.means.asked)]:
                near[self._space.place(link.source)] |= 1 << self._space.place(link.target)
            self._near[through, unasked] = near
        return self._near[through, unasked]

    def _besides_calls(self) -> list[Link]:
        return [link for made in BESIDES_CALLS for link in made(self._ground)]

    def _link(self, source: End, target: End, through: ServiceName | None) -> Link:
        """By what `source` gets at `target`; without asking, if there is such a way."""
        if through is None:
            for link in self._besides_calls():
                if (link.source, link.target) == (source, target):
                    return link
        at = self._space.pair(source, target)
        settled = {asked: self._settled(asked) for asked in self._pieces(through)}
        free = [asked for asked, (allowed, _) in settled.items() if allowed & at]
        asking = [asked for asked, (_, questioned) in settled.items() if questioned & at]
        listed = free or asking
        but = OTHER in listed
        if but:
            listed = [asked for asked in settled if asked not in listed]
        return Link(source, target, Calls(self._vocabulary.services(but, listed), asked=not free))


def _way(near: list[int], start: int, ends: int, hops: int | None) -> tuple[int, ...]:
    """A shortest way from `start` to another place of `ends`, in at most so many hops; () if there is none."""
    seen = 1 << start
    ways: list[tuple[int, ...]] = [(start,)]
    while ways and (hops is None or len(ways[0]) <= hops):
        further: list[tuple[int, ...]] = []
        for way in ways:
            new = near[way[-1]] & ~seen
            seen |= new
            for at in bits(new):
                if ends >> at & 1:
                    return (*way, at)
                further.append((*way, at))
        ways = further
    return ()
