"""A service's contract as a broker runs it: a table of steps, and the follower that holds both sides to it.

The manager makes the table from what the service declares (`host/contract/`) and sends it with the call, in
`control.Open`. The follower sees the bytes of both hostile sides before they are passed on, in whatever pieces, and
raises `Broken` at the first that the contract does not allow. A table is frames of the messages below: first `Terms`,
then the steps, each known by its place among them. No code runs for a byte: a body of any size is one step that counts.

Each side stands at a step of its own. Entering a state puts a side that is in the middle of a message nowhere else: it
finishes that first, unless the state does not hear it. So two sides that speak at once give one verdict, however the
bytes of each were cut.
"""

import struct
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from typing import Annotated

from bento.wire.errors import WireError
from bento.wire.frames import FrameReader
from bento.wire.layout import U8, U16, U32, U64, Blob, Bytes, Codec, Message, Number, Sender, Text, message
from bento.wire.rpc import Data, Eof, Exit, Role, Stream

SILENT = 0
"""For a side's step: it may say nothing. (There is no step at place 0, where the terms are.)"""

UNHEARD = 0xFFFF
"""For a side's step: what it says is thrown away. It spoke before it could know that nobody listens any more."""

START = 1
"""The place of the state that a conversation begins in."""

RANGE = struct.Struct(">QQH")
"""Least and greatest number, and the step that follows on them."""

CODES = struct.Struct(">BB")
"""Least and greatest exit code."""

LABEL = Text(str, 160)
"""What a step is called in a sentence about who broke the contract; trusted, and printable ASCII."""


class Until(IntEnum):
    """What ends a run of bytes."""

    COUNT = 0
    NEWLINE = 1
    """It belongs to the run, and does not count."""
    EOF = 2


@message(tag=1, sender=Sender.HOST)
class Terms(Message):
    """Of the whole conversation: bytes that the server may write to stderr."""

    stderr: Annotated[int, U64]


@message(tag=2, sender=Sender.HOST)
class State(Message):
    """Where each side goes on from here; the state that its end of stream leads to, or 0; exit codes."""

    name: Annotated[str, LABEL]
    caller: Annotated[int, U16]
    server: Annotated[int, U16]
    caller_ends: Annotated[int, U16]
    server_ends: Annotated[int, U16]
    codes: Annotated[bytes, Blob(64)]


@message(tag=3, sender=Sender.HOST)
class Value(Message):
    """A number of `size` bytes, kept as number `register` of its message; what it is decides what follows."""

    label: Annotated[str, LABEL]
    size: Annotated[int, Number(1, limit=8)]
    little: Annotated[int, Number(1, limit=1)]
    register: Annotated[int, U8]
    ranges: Annotated[bytes, Blob(4096)]


@message(tag=4, sender=Sender.HOST)
class Run(Message):
    """Bytes of an alphabet (empty: any): `limit` of them, or with `less` not 0, number `register` less (`less` - 1)."""

    label: Annotated[str, LABEL]
    until: Annotated[int, Number(1, limit=max(Until))]
    limit: Annotated[int, U64]
    register: Annotated[int, U8]
    less: Annotated[int, U32]
    alphabet: Annotated[bytes, Blob(256)]
    next: Annotated[int, U16]


@message(tag=5, sender=Sender.HOST)
class Count(Message):
    """Adds 1 (or with `adds`, number `register`) to a sum of the conversation, which has a limit."""

    label: Annotated[str, LABEL]
    total: Annotated[int, U8]
    adds: Annotated[int, Number(1, limit=1)]
    register: Annotated[int, U8]
    limit: Annotated[int, U64]
    next: Annotated[int, U16]


STEPS: tuple[type[Message], ...] = (Terms, State, Value, Run, Count)

_CODEC = Codec(STEPS, sender=Sender.HOST)


Said = Data | Eof | Exit


BROKEN = "contract broken: "
"""How the sentence of an `Over` begins that tells of a broken contract."""


class Broken(WireError):
    """A side said what the contract does not allow."""

    def __init__(self, blame: Role, sentence: str) -> None:
        super().__init__(sentence)
        self.blame = blame


@lru_cache(maxsize=16)
def decode(table: bytes) -> tuple[Message, ...]:
    """The steps of a table. It comes from the manager: that they lead to one another in a sensible way is believed."""
    return tuple(_CODEC.decode(*frame) for frame in FrameReader().feed(table))


@dataclass(slots=True)
class _Side:
    at: int = SILENT
    inside: bool = False
    """In the middle of a message."""
    ended: bool = False
    """Its stream is at its end, of which nothing came yet: it is not its turn."""
    left: int = 0
    """Bytes that the run it stands at may still have."""
    held: bytearray = field(default_factory=bytearray)
    """Of a number, the bytes that came."""
    numbers: dict[int, int] = field(default_factory=dict)
    """Of the message under way, by register."""


class Follower:
    """One conversation. After `Broken` it must not be used again."""

    def __init__(self, table: bytes) -> None:
        self._steps = decode(table)
        terms = self._steps[0]
        assert isinstance(terms, Terms)
        self._stderr = terms.stderr
        self._totals: dict[int, int] = {}
        self._sides = {role: _Side() for role in Role}
        self._enter(START)

    def hear(self, role: Role, untrusted: Said) -> Said:
        """A message of `role`, less what is no longer heard. Raises `Broken` before any of it may be passed on."""
        match untrusted:
            case Data(_, Stream.STDERR, payload):
                self._stderr -= len(payload)
            case Data(call, stream, payload):
                passed = self.say(role, payload)
                return untrusted if passed is payload else Data(call, stream, passed)
            case Exit(_, code):
                self.exit(code)
            case Eof(_, stream) if stream != Stream.STDERR:
                self.end(role)
        if self._stderr < 0:
            raise self._broken(Role.SERVER, "wrote more to stderr than is allowed")
        return untrusted

    def say(self, role: Role, untrusted: Bytes) -> Bytes:
        """What of these bytes of `role` (its stdin or stdout) passes: all that comes before it is no longer heard."""
        side = self._sides[role]
        at = 0
        while at < len(untrusted) and side.at != UNHEARD:
            match self._steps[side.at]:
                case Value() as value:
                    at += self._read_number(role, side, value, untrusted[at : at + value.size])
                case Run() as run:
                    at += self._read_run(role, side, run, untrusted, at)
                case _:
                    raise self._broken(role, "spoke out of turn")
        return untrusted if at == len(untrusted) else untrusted[:at]

    def end(self, role: Role) -> None:
        """The side will say no more (its stdin or stdout is at its end)."""
        side = self._sides[role]
        then = self._state.caller_ends if role is Role.CALLER else self._state.server_ends
        if self._end_run(role, side):
            return
        if then and not side.inside:
            self._enter(then)
        elif side.at == SILENT:
            side.ended = True  # it may say that it has no more to say while the other has its turn
        else:
            raise self._broken(role, f"ended where there should be {self._expected(side)}")

    def exit(self, code: int) -> None:
        """The server ended with `code`."""
        side = self._sides[Role.SERVER]
        self._end_run(Role.SERVER, side)
        if side.inside:
            raise self._broken(Role.SERVER, f"exited where there should be {self._expected(side)}")
        if not any(least <= code <= most for least, most in CODES.iter_unpack(self._state.codes)):
            raise self._broken(Role.SERVER, f"exited with {code}, which is not for this state")

    def _read_number(self, role: Role, side: _Side, value: Value, untrusted: Bytes) -> int:
        piece = untrusted[: value.size - len(side.held)]
        side.held += piece
        side.inside = True
        if len(side.held) == value.size:
            number = int.from_bytes(side.held, "little" if value.little else "big")
            side.held.clear()
            side.numbers[value.register] = number
            places = [then for least, most, then in RANGE.iter_unpack(value.ranges) if least <= number <= most]
            if not places:
                raise self._broken(role, f"said {number} for {value.label}, which is not allowed there")
            self._go(role, places[0])
        return len(piece)

    def _read_run(self, role: Role, side: _Side, run: Run, untrusted: Bytes, at: int) -> int:
        size = min(len(untrusted) - at, side.left)
        over = run.until != Until.COUNT and len(untrusted) - at > side.left
        stop = -1
        if run.until == Until.NEWLINE:
            stop = bytes(untrusted[at : at + size + 1]).find(b"\n")
            size, over = (stop, False) if stop >= 0 else (size, over)
        if run.alphabet and bytes(untrusted[at : at + size]).translate(None, run.alphabet):
            raise self._broken(role, f"has characters in {run.label} that are not allowed")
        if over:
            raise self._broken(role, f"said more than {run.limit} bytes for {run.label}")
        side.left -= size
        side.inside = True
        if stop >= 0 or (run.until == Until.COUNT and not side.left):
            self._go(role, run.next)
        return size + (stop >= 0)

    def _end_run(self, role: Role, side: _Side) -> bool:
        """Whether the side stands where its end of stream is what comes next, or is not heard."""
        step = None if side.at == UNHEARD else self._steps[side.at]
        if isinstance(step, Run) and step.until == Until.EOF:
            self._go(role, step.next)
            step = None
        return step is None

    def _go(self, role: Role, place: int) -> None:
        """On to the step at `place`, or past it when it wants no bytes."""
        side = self._sides[role]
        while place:
            side.at = place
            match step := self._steps[place]:
                case Count():
                    total = self._totals.get(step.total, 0) + (side.numbers[step.register] if step.adds else 1)
                    if total > step.limit:
                        raise self._broken(role, f"said more than {step.limit} in all of {step.label}")
                    self._totals[step.total] = total
                    place = step.next
                case Run():
                    side.left = side.numbers[step.register] + 1 - step.less if step.less else step.limit
                    place = SILENT if side.left or step.until != Until.COUNT else step.next
                case State():
                    side.inside = False
                    self._enter(place)
                    return
                case _:
                    return

    def _enter(self, place: int) -> None:
        state = self._steps[place]
        assert isinstance(state, State)
        self._state = state
        for role, then in ((Role.CALLER, state.caller), (Role.SERVER, state.server)):
            side = self._sides[role]
            if then == UNHEARD or not side.inside:
                side.at, side.inside = then, False
                if then != UNHEARD:
                    self._go(role, then)
        for role, side in self._sides.items():
            if side.ended and side.at not in (SILENT, UNHEARD):
                side.ended = False
                self.end(role)
                return

    def _expected(self, side: _Side) -> str:
        step = self._steps[side.at]
        return step.label if isinstance(step, Value | Run) else "nothing more of it"

    def _broken(self, role: Role, what: str) -> Broken:
        return Broken(role, f"in state {self._state.name} the {role.value} {what}")
