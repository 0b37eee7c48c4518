"""The calls open on one guest channel: who may say what, and how much may be under way.

Both ends run this, the broker against a hostile guest, the agent for the flow
control. It does no I/O: `receive` judges a message before anyone acts on it,
`sent` notes what this side says, `sendable` and `consumed` keep the windows.

A message for a call that is over is ignored, not punished: it was under way
when the other side ended it. A message for a call that never was is a
violation, as are data beyond the window, after the end of its stream, or from
the wrong end of the call.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum

from bento.wire.errors import WireError
from bento.wire.layout import Message, Sender
from bento.wire.rpc import (
    MAX_CALLS,
    WINDOW,
    Accepted,
    Ask,
    Data,
    Drop,
    Eof,
    Exit,
    Refused,
    Resize,
    Serve,
    Stream,
    Window,
)


class Role(Enum):
    CALLER = "caller"
    SERVER = "server"

    @property
    def other(self) -> "Role":
        return Role.SERVER if self is Role.CALLER else Role.CALLER


class Stage(Enum):
    ASKED = "asked"
    OPEN = "open"


ANY = frozenset(Stream)
FORWARD = frozenset({Stream.STDIN})
BACK = frozenset({Stream.STDOUT, Stream.STDERR})

LEGAL: dict[tuple[Role, Stage, type[Message]], frozenset[Stream]] = {
    (Role.CALLER, Stage.ASKED, Drop): ANY,
    (Role.SERVER, Stage.ASKED, Accepted): ANY,
    (Role.SERVER, Stage.ASKED, Refused): ANY,
    (Role.CALLER, Stage.OPEN, Data): FORWARD,
    (Role.CALLER, Stage.OPEN, Eof): FORWARD,
    (Role.CALLER, Stage.OPEN, Window): BACK,
    (Role.CALLER, Stage.OPEN, Resize): ANY,
    (Role.CALLER, Stage.OPEN, Drop): ANY,
    (Role.SERVER, Stage.OPEN, Data): BACK,
    (Role.SERVER, Stage.OPEN, Eof): BACK,
    (Role.SERVER, Stage.OPEN, Window): FORWARD,
    (Role.SERVER, Stage.OPEN, Exit): ANY,
    (Role.SERVER, Stage.OPEN, Drop): ANY,
}
"""(who speaks, stage of the call, message) -> the streams it may be about. What is not here is a violation."""

ENDS: tuple[type[Message], ...] = (Refused, Exit, Drop)
"""After one of these, by either side, the call is over."""

GRANT_AT = WINDOW // 4
"""Bytes a reader takes before it says so: fewer, larger grants."""


@dataclass(slots=True)
class _Call:
    role: Role  # this side's
    stage: Stage
    sendable: dict[int, int] = field(default_factory=lambda: dict.fromkeys(Stream, WINDOW))
    receivable: dict[int, int] = field(default_factory=lambda: dict.fromkeys(Stream, WINDOW))
    ungranted: dict[int, int] = field(default_factory=lambda: dict.fromkeys(Stream, 0))
    ended: set[int] = field(default_factory=set)  # streams whose Eof the other side sent


class Calls:
    """All calls of one connection, seen from `side`."""

    def __init__(self, side: Sender) -> None:
        self._side = side
        self._open: dict[int, _Call] = {}
        self._next = 0 if side is Sender.HOST else 1
        self._peer_last = -1

    def __contains__(self, call: int) -> bool:
        return call in self._open

    def __iter__(self) -> Iterator[int]:
        return iter(tuple(self._open))

    @property
    def begun_here(self) -> int:
        """Open calls that this side began; at `MAX_CALLS` no more may be begun until one is over."""
        return sum(1 for call in self._open if call & 1 == self._next & 1)

    @property
    def begun_there(self) -> int:
        return len(self._open) - self.begun_here

    def begin(self) -> int:
        """A number for a call that this side begins: the host to `Serve`, the guest to `Ask`."""
        call = self._next
        self._next += 2
        if self._side is Sender.HOST:
            self._open[call] = _Call(Role.CALLER, Stage.OPEN)
        else:
            self._open[call] = _Call(Role.CALLER, Stage.ASKED)
        return call

    def receive(self, untrusted: Message) -> bool:
        """Judge a message of the other side: True: act on it; False: ignore it; `WireError`: end the connection."""
        match untrusted:
            case Serve() | Ask():
                self._admit(untrusted)
                return True
            case Data() | Eof() | Window():
                return self._hear(untrusted, untrusted.call, Stream(untrusted.stream))
            case Accepted() | Refused() | Exit() | Drop() | Resize():
                return self._hear(untrusted, untrusted.call, None)
            case _:
                raise WireError(f"{type(untrusted).__name__} is not about a call")

    def sent(self, message: Data | Eof | Accepted | Refused | Exit | Drop) -> None:
        """Note what this side says. The caller keeps to the rules, so nothing is judged here."""
        call = self._open[message.call]
        if isinstance(message, Data):
            call.sendable[message.stream] -= len(message.payload)
        elif isinstance(message, Accepted):
            call.stage = Stage.OPEN
        elif isinstance(message, ENDS):
            del self._open[message.call]

    def sendable(self, call: int, stream: Stream) -> int:
        """Bytes of `stream` that this side may send now; 0 too when the call is over or not accepted yet."""
        found = self._open.get(call)
        return found.sendable[stream] if found and found.stage is Stage.OPEN else 0

    def consumed(self, call: int, stream: Stream, size: int) -> Window | None:
        """`size` bytes received earlier have gone on their way: the grant to send for them, if it is time for one."""
        found = self._open.get(call)
        if found is None:
            return None
        found.ungranted[stream] += size
        grant = found.ungranted[stream]
        if grant < GRANT_AT or stream in found.ended:
            return None
        found.ungranted[stream] = 0
        found.receivable[stream] += grant
        return Window(call, stream, grant)

    def _admit(self, untrusted: Serve | Ask) -> None:
        if untrusted.call & 1 == self._next & 1 or untrusted.call <= self._peer_last:
            raise WireError(f"call {untrusted.call} has a number that is not the next of its side")
        if self.begun_there >= MAX_CALLS:
            raise WireError(f"more than {MAX_CALLS} calls at once")
        self._peer_last = untrusted.call
        stage = Stage.OPEN if isinstance(untrusted, Serve) else Stage.ASKED
        self._open[untrusted.call] = _Call(Role.SERVER, stage)

    def _hear(self, untrusted: Message, number: int, stream: Stream | None) -> bool:
        call = self._open.get(number)
        if call is None:
            if number > (self._next - 2 if number & 1 == self._next & 1 else self._peer_last):
                raise WireError(f"call {number} was never begun")
            return False
        streams = LEGAL.get((call.role.other, call.stage, type(untrusted)))
        if streams is None or (stream is not None and stream not in streams):
            raise WireError(f"{type(untrusted).__name__} may not come from the {call.role.other.value} of a call")
        match untrusted:
            case Data():
                if untrusted.stream in call.ended:
                    raise WireError(f"data after the end of stream {untrusted.stream}")
                if len(untrusted.payload) > call.receivable[untrusted.stream]:
                    raise WireError(f"data beyond the window of stream {untrusted.stream}")
                call.receivable[untrusted.stream] -= len(untrusted.payload)
            case Eof():
                if untrusted.stream in call.ended:
                    raise WireError(f"stream {untrusted.stream} ended twice")
                call.ended.add(untrusted.stream)
            case Window():
                sendable = call.sendable[untrusted.stream] + untrusted.size
                if sendable > WINDOW:
                    raise WireError(f"window of stream {untrusted.stream} is larger than agreed")
                call.sendable[untrusted.stream] = sendable
            case Accepted():
                call.stage = Stage.OPEN
            case Refused() | Exit() | Drop():
                del self._open[number]
            case _:
                pass
        return True
