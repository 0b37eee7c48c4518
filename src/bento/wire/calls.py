"""The calls open on one guest channel: who may say what, and how much may be under way.

Both ends run this, the broker against a hostile guest (and one `Call` against
the other end of each leg), the agent for the flow control. It does no I/O:
`receive` judges a message before anyone acts on it, `sent` notes what this side
says, `sendable` and `consumed` keep the windows.

A message for a call that is over is ignored, not punished: it was under way
when the other side ended it. A message for a call that never was is a
violation, as are data beyond the window, after the end of its stream, or from
the wrong end of the call.
"""

from collections import defaultdict
from dataclasses import dataclass, field

from bento.wire.errors import WireError
from bento.wire.layout import Message, Sender
from bento.wire.rpc import ENDS, LEGAL, MAX_CALLS, WINDOW, Accepted, Ask, Data, Eof, OfCall, Role, Serve, Stage, Window

GRANT_AT = WINDOW // 4
"""Bytes a reader takes before it says so: fewer, larger grants."""


def _windows() -> dict[int, int]:
    return defaultdict(lambda: WINDOW)


@dataclass(slots=True)
class Call:
    """One call, seen from one of its ends, the `role`. Windows are bytes, by stream."""

    role: Role
    stage: Stage = Stage.OPEN
    sendable: dict[int, int] = field(default_factory=_windows)
    receivable: dict[int, int] = field(default_factory=_windows)
    ungranted: dict[int, int] = field(default_factory=lambda: defaultdict(int))
    ended: set[int] = field(default_factory=set)  # streams whose Eof the other end sent

    def hear(self, untrusted: Message) -> None:
        """Judge what the other end says: `WireError` if it may not."""
        speaker, kind = self.role.other, type(untrusted)
        if getattr(untrusted, "stream", None) not in LEGAL[speaker, self.stage].get(kind, ()):
            raise WireError(f"{kind.__name__} may not come from the {speaker} of a call")
        match untrusted:
            case Data(_, stream) | Eof(_, stream) if stream in self.ended:
                raise WireError(f"{kind.__name__} after the end of stream {stream}")
            case Data(_, stream, payload):
                if len(payload) > self.receivable[stream]:
                    raise WireError(f"data beyond the window of stream {stream}")
                self.receivable[stream] -= len(payload)
            case Eof(_, stream):
                self.ended.add(stream)
            case Window(_, stream, size):
                if self.sendable[stream] + size > WINDOW:
                    raise WireError(f"window of stream {stream} is larger than agreed")
                self.sendable[stream] += size
            case Accepted():
                self.stage = Stage.OPEN


class Calls:
    """All calls of one connection, seen from `side`."""

    def __init__(self, side: Sender) -> None:
        self._begin_at = Stage.OPEN if side is Sender.HOST else Stage.ASKED
        self._open: dict[int, Call] = {}
        self._next = 0 if side is Sender.HOST else 1
        self._peer_last = -1

    def __contains__(self, call: int) -> bool:
        return call in self._open

    @property
    def begun_there(self) -> int:
        """Open calls that the other side began: at most `MAX_CALLS`."""
        return sum(not self._is_ours(call) for call in self._open)

    def begin(self) -> int:
        """A number for a call that this side begins: the host to `Serve`, the guest to `Ask`."""
        call = self._next
        self._next += 2
        self._open[call] = Call(Role.CALLER, self._begin_at)
        return call

    def receive(self, untrusted: Message) -> bool:
        """Judge a message of the other side: True: act on it; False: ignore it; `WireError`: end the connection."""
        if isinstance(untrusted, Serve | Ask):
            return self._admit(untrusted)
        if not isinstance(untrusted, OfCall):
            raise WireError(f"{type(untrusted).__name__} is not about a call")
        number = untrusted.call
        call = self._open.get(number)
        if call is None:
            if number > (self._next - 2 if self._is_ours(number) else self._peer_last):
                raise WireError(f"call {number} was never begun")
            return False
        call.hear(untrusted)
        if isinstance(untrusted, ENDS):
            del self._open[number]
        return True

    def sent(self, message: OfCall) -> None:
        """Note what this side says. The caller keeps to the rules, so nothing is judged here."""
        call = self._open[message.call]
        if isinstance(message, Data):
            call.sendable[message.stream] -= len(message.payload)
        elif isinstance(message, Accepted):
            call.stage = Stage.OPEN
        elif isinstance(message, ENDS):
            del self._open[message.call]

    def sendable(self, call: int, stream: int) -> int:
        """Bytes of `stream` that this side may send now; 0 too when the call is over or not accepted yet."""
        found = self._open.get(call)
        return found.sendable[stream] if found and found.stage is Stage.OPEN else 0

    def consumed(self, call: int, stream: int, size: int) -> Window | None:
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

    def _admit(self, untrusted: Serve | Ask) -> bool:
        if self._is_ours(untrusted.call) or untrusted.call <= self._peer_last:
            raise WireError(f"call {untrusted.call} has a number that is not the next of its side")
        if self.begun_there >= MAX_CALLS:
            raise WireError(f"more than {MAX_CALLS} calls at once")
        self._peer_last = untrusted.call
        stage = Stage.OPEN if isinstance(untrusted, Serve) else Stage.ASKED
        self._open[untrusted.call] = Call(Role.SERVER, stage)
        return True

    def _is_ours(self, call: int) -> bool:
        return call & 1 == self._next & 1
