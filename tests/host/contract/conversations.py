"""Conversations made from a contract's declaration: legal ones, and such as are legal up to one thing that is not.

`draw(least, most)` gives the choices: hypothesis does, and so does `random.Random(seed).randint`. Whether bytes can be
the beginning of a message is found here by trying each message by itself, with nothing in common with the table that a
broker runs.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from bento.host.contract.language import (
    BytesField,
    Contract,
    Ends,
    LineField,
    MessageKind,
    NumberField,
    Range,
    RestField,
    Says,
    State,
)
from bento.wire.rpc import Role

Draw = Callable[[int, int], int]

LONGEST = 2000
"""Bytes that a drawn field has at most, where the contract lets it have fewer."""


@dataclass(frozen=True, slots=True)
class Said:
    side: Role
    data: bytes


@dataclass(frozen=True, slots=True)
class Ended:
    side: Role


@dataclass(frozen=True, slots=True)
class Exited:
    code: int


Event = Said | Ended | Exited


@dataclass(frozen=True, slots=True)
class Bad:
    """A conversation of which all but the last event is legal; who breaks the contract by that one, and how."""

    legal: list[Event]
    last: list[Event]
    blame: Role
    how: str


@dataclass
class Walk:
    """A conversation under way."""

    contract: Contract
    draw: Draw
    state: State = field(init=False)
    events: list[Event] = field(default_factory=list)
    ended: set[Role] = field(default_factory=set)
    said: dict[Says, int] = field(default_factory=dict)
    sums: dict[tuple[str, str], int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.state = next(iter(self.contract.states.values()))

    # What may come

    def moves(self) -> list[Says | Ends]:
        """All that a side may do now but exit."""
        says = [
            one
            for one in self.state.says
            if one.side not in self.ended and (one.at_most is None or self.said.get(one, 0) < one.at_most)
        ]
        return [*says, *(end for end in self.state.ends if end.side not in self.ended)]

    def step(self) -> None:
        moves = self.moves()
        self.do(moves[self.draw(0, len(moves) - 1)])

    def do(self, move: Says | Ends) -> None:
        if isinstance(move, Ends):
            self.events.append(Ended(move.side))
            self.ended.add(move.side)
        else:
            kind = self.contract.messages[move.message]
            self.said[move] = self.said.get(move, 0) + 1
            self.events.append(Said(move.side, self.message(kind)))
            if isinstance(kind.fields[-1], RestField):
                self.events.append(Ended(move.side))
                self.ended.add(move.side)
        self.state = self.contract.states[move.to]

    def wander(self, steps: int) -> None:
        for _ in range(steps):
            if not self.moves():
                return
            self.step()

    def finish(self) -> None:
        """By the shortest way to a state with an exit, and out."""
        while not self.state.codes:
            distance = self._distances()
            self.do(min(self.moves(), key=lambda move: distance[move.to]))
        codes = self.state.codes[self.draw(0, len(self.state.codes) - 1)]
        self.events.append(Exited(self.draw(codes.least, codes.most)))

    def _distances(self) -> dict[str, int]:
        found = {name: 0 if state.codes else 1 << 20 for name, state in self.contract.states.items()}
        for _ in found:
            for state in self.contract.states.values():
                moves: list[Says | Ends] = [*state.says, *state.ends]
                for move in moves:
                    found[state.name] = min(found[state.name], found[move.to] + 1)
        return found

    # Bytes

    def message(self, kind: MessageKind) -> bytes:
        numbers: dict[str, int] = {}
        made = b""
        for one in kind.fields:
            match one:
                case NumberField():
                    value = self._number(kind, one)
                    numbers[one.name] = value
                    made += value.to_bytes(one.size, "little" if one.little else "big")
                case BytesField():
                    made += self._fill(one.alphabet, count_of(one, numbers))
                    if one.in_all is not None:
                        key = kind.name, one.name
                        self.sums[key] = self.sums.get(key, 0) + count_of(one, numbers)
                case LineField():
                    made += self._fill(without_newline(one.alphabet), self.draw(0, min(one.limit, LONGEST))) + b"\n"
                case RestField():
                    limit = LONGEST if one.limit is None else min(one.limit, LONGEST)
                    made += self._fill(one.alphabet, self.draw(0, limit))
        return made

    def _number(self, kind: MessageKind, one: NumberField) -> int:
        within = one.ranges[self.draw(0, len(one.ranges) - 1)]
        least, most = within.least, within.most
        for user in kind.fields:
            if isinstance(user, BytesField) and user.length == one.name:
                most = min(most, least + LONGEST)
                if user.in_all is not None:
                    most = max(least, min(most, user.in_all - self.sums.get((kind.name, user.name), 0)))
        return (least, most, self.draw(least, most))[self.draw(0, 2)]

    def _fill(self, alphabet: bytes, size: int) -> bytes:
        first, step = self.draw(0, 255), self.draw(0, 255)
        allowed = alphabet or bytes(range(256))
        return bytes(allowed[(first + at * step) % len(allowed)] for at in range(size))


def without_newline(alphabet: bytes) -> bytes:
    return (alphabet or bytes(range(256))).replace(b"\n", b"")


def count_of(one: BytesField, numbers: dict[str, int]) -> int:
    return numbers[one.length] - one.less if one.length else one.count


def legal(contract: Contract, draw: Draw) -> list[Event]:
    """A whole conversation that the contract allows."""
    walk = Walk(contract, draw)
    walk.wander(draw(0, 12))
    walk.finish()
    return walk.events


def begins(kind: MessageKind, data: bytes) -> bool:
    """Whether more bytes could make `data` a message of this kind, with or without more messages after it."""
    numbers: dict[str, int] = {}
    for one in kind.fields:
        if not data and not isinstance(one, BytesField):
            return True
        match one:
            case NumberField():
                least, most = reaches(data[: one.size], one)
                if not any(least <= within.most and within.least <= most for within in one.ranges):
                    return False
                numbers[one.name] = least
                if len(data) < one.size:
                    return True
                data = data[one.size :]
            case BytesField():
                piece = data[: count_of(one, numbers)]
                if one.alphabet and set(piece) - set(one.alphabet):
                    return False
                data = data[len(piece) :]
                if len(piece) < count_of(one, numbers):
                    return True
            case LineField():
                piece, newline, rest = data.partition(b"\n")
                if len(piece) > one.limit or (one.alphabet and set(piece) - set(one.alphabet)):
                    return False
                if not newline:
                    return True
                data = rest
            case RestField():
                return (one.limit is None or len(data) <= one.limit) and not (
                    one.alphabet and set(data) - set(one.alphabet)
                )
    return True


def reaches(piece: bytes, one: NumberField) -> tuple[int, int]:
    """The numbers that `piece` may become. A broker judges whole numbers, so a piece may become any."""
    if len(piece) < one.size:
        return 0, (1 << 8 * one.size) - 1
    value = int.from_bytes(piece, "little" if one.little else "big")
    return value, value


def illegal(contract: Contract, draw: Draw) -> Bad | None:
    """A conversation that goes wrong at one point; None where the state that was drawn lets one do no wrong so."""
    walk = Walk(contract, draw)
    walk.wander(draw(0, 9))
    ways = (_wrong_bytes, _truncated, _out_of_turn, _wrong_exit, _wrong_end)
    first = draw(0, len(ways) - 1)
    found = (way(walk) for way in (*ways[first:], *ways[:first]))
    return next((bad for bad in found if bad), None)


def _speakers(walk: Walk) -> list[Role]:
    return [side for side in Role if side not in walk.ended and side not in walk.state.unheard]


def _cannot_be(walk: Walk, side: Role, data: bytes) -> bool:
    return not any(begins(walk.contract.messages[says.message], data) for says in walk.state.of(side))


def _wrong_bytes(walk: Walk) -> Bad | None:
    """A message of this state with one number just out of bounds; or any other message of the contract."""
    kinds = list(walk.contract.messages.values())
    if walk.state.says and walk.draw(0, 3):
        kinds = [walk.contract.messages[says.message] for says in walk.state.says]
    kind = kinds[walk.draw(0, len(kinds) - 1)]
    at, data = 0, b""
    whole = Walk(walk.contract, walk.draw).message(kind)
    places = []
    for one in kind.fields:
        if not isinstance(one, NumberField):
            break
        places.append((at, one))
        at += one.size
    if places and walk.draw(0, 3):
        start, one = places[walk.draw(0, len(places) - 1)]
        wrong = [value for value in edges(one.ranges) if 0 <= value < 1 << 8 * one.size]
        if not wrong:
            return None
        value = wrong[walk.draw(0, len(wrong) - 1)]
        data = whole[:start] + value.to_bytes(one.size, "little" if one.little else "big") + whole[start + one.size :]
    else:
        data = whole
    sides = [side for side in _speakers(walk) if walk.state.of(side) and _cannot_be(walk, side, data)]
    if not sides or not data:
        return None
    side = sides[walk.draw(0, len(sides) - 1)]
    return Bad(walk.events, [Said(side, data)], side, f"the {side.value} says {kind.name} wrongly, or at a wrong time")


def edges(ranges: Iterable[Range]) -> list[int]:
    return [edge for one in ranges for edge in (one.least - 1, one.most + 1)]


def _truncated(walk: Walk) -> Bad | None:
    """A message that breaks off, by the end of the stream or of the server."""
    says = [one for one in walk.moves() if isinstance(one, Says)]
    if not says:
        return None
    one = says[walk.draw(0, len(says) - 1)]
    kind = walk.contract.messages[one.message]
    if isinstance(kind.fields[-1], RestField) and len(kind.fields) == 1:
        return None
    data = walk.message(kind)
    fixed = sum(field.size for field in kind.fields if isinstance(field, NumberField))
    size = walk.draw(1, max(1, min(len(data), fixed or len(data)) - 1))
    if size >= len(data):
        return None
    events: list[Event] = [Said(one.side, data[:size])]
    legal = [*walk.events, *events]
    last: Event = Exited(0) if one.side is Role.SERVER and walk.draw(0, 1) else Ended(one.side)
    return Bad(legal, [last], one.side, f"the {one.side.value} breaks off in {one.message}")


def _out_of_turn(walk: Walk) -> Bad | None:
    silent = [side for side in _speakers(walk) if not walk.state.of(side)]
    if not silent:
        return None
    side = silent[walk.draw(0, len(silent) - 1)]
    return Bad(walk.events, [Said(side, bytes([walk.draw(0, 255)]))], side, f"the {side.value} speaks out of turn")


def _wrong_exit(walk: Walk) -> Bad | None:
    code = walk.draw(0, 255)
    rests = any(
        isinstance(walk.contract.messages[one.message].fields[0], RestField) for one in walk.state.of(Role.SERVER)
    )
    if rests or any(codes.least <= code <= codes.most for codes in walk.state.codes):
        return None
    return Bad(walk.events, [Exited(code)], Role.SERVER, "the server exits where it may not")


def _wrong_end(walk: Walk) -> Bad | None:
    """A side ends its stream where it should say something."""
    sides = []
    for side in _speakers(walk):
        ends = any(end.side is side for end in walk.state.ends) or (side is Role.SERVER and walk.state.codes)
        rests = any(isinstance(walk.contract.messages[one.message].fields[0], RestField) for one in walk.state.of(side))
        if walk.state.of(side) and not ends and not rests:
            sides.append(side)
    if not sides:
        return None
    side = sides[walk.draw(0, len(sides) - 1)]
    return Bad(walk.events, [Ended(side)], side, f"the {side.value} ends its stream too early")
