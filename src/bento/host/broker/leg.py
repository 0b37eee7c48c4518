"""One call's socket. On its other side: another domain's broker, the command line, or a service of the manager.

Towards the leg, each stream keeps its own bytes, at most the window it was
granted (or one read, uncopied), however small the frames that the guest cut
them into. From the leg, messages are taken one at a time, as the guest's window
allows; what waits stays bytes. The peer is believed no more than a guest.
"""

import socket
from collections.abc import Callable, Iterator

from bento.host.broker.loop import Line, Loop
from bento.wire.calls import Call
from bento.wire.contract import Follower
from bento.wire.frames import FrameReader, frame_pieces
from bento.wire.layout import Bytes, Message
from bento.wire.rpc import FROM_CALLER, FROM_SERVER, MAX_DATA, Data, Eof, Exit, Role, Stream


class Leg:
    """`guest` is what our domain is in this call; the peer is the other."""

    def __init__(self, loop: Loop, sock: socket.socket, call: int, guest: Role, wake: Callable[["Leg"], None]) -> None:
        self.call = call
        self.guest = guest
        self.held: Data | None = None
        """Taken from the peer, waiting for the guest's window."""
        self.scheduled = False
        self.closed = False
        self.line = Line(loop, sock, lambda: wake(self))
        self._codec = FROM_CALLER if guest is Role.SERVER else FROM_SERVER
        self._peer = Call(guest, receivable=dict.fromkeys(Stream, 1 << 64))  # the socket itself keeps the flow
        self._reader = FrameReader()
        self._frames: Iterator[tuple[int, memoryview]] = iter(())
        self._waiting: dict[int, Bytes | bytearray] = {}
        self._ending: list[Eof | Exit] = []
        self._under_way: Data | None = None
        self.finishing = False
        """The call is over; what is left is to write."""
        self.fault: tuple[Role | None, str] = None, ""
        """Who is to blame for how the call ended, and why."""
        self.follower: Follower | None = None
        """Holds both sides to the contract of the service, if it has one."""

    # From the peer

    def receive(self) -> Message | None:
        """Its next message; None: not now. `EOFError`: it is gone. `WireError`: it may not say that."""
        while (frame := next(self._frames, None)) is None:
            untrusted = self.line.read() if self.line.readable else None
            if untrusted is None:
                return None
            if not untrusted:
                raise EOFError("the caller is gone")
            self._frames = self._reader.feed(untrusted)
        message = self._codec.decode(*frame)
        self._peer.hear(message)
        return message

    # To the peer

    def put(self, untrusted: Data | Eof) -> None:
        """Something the guest said, judged and within its window."""
        waiting = self._waiting.get(untrusted.stream)
        if isinstance(untrusted, Eof):
            self._ending.append(Eof(0, untrusted.stream))
        elif isinstance(waiting, bytearray):
            # Many small ones become few large ones, in time that grows with the bytes and not with their square.
            waiting += untrusted.payload
        elif untrusted.payload:
            self._waiting[untrusted.stream] = bytearray(waiting) + untrusted.payload if waiting else untrusted.payload

    def finish(self, code: int, fault: str) -> None:
        """The server ended with `code`: the peer gets what waits, then that. `fault`: it is to blame for how."""
        self.finishing = True
        self.fault = (Role.SERVER, fault) if fault else self.fault
        self._ending.append(Exit(0, code))

    @property
    def finished(self) -> bool:
        return self.finishing and not (self._waiting or self._ending or self.line.unsent)

    def flush(self) -> Iterator[tuple[int, int]]:
        """Write what the peer takes now; gives (stream, bytes) for data that went out, or never will."""
        while True:
            self.line.flush()
            if self.line.unsent:
                return
            if self._under_way:
                yield self._under_way.stream, len(self._under_way.payload)
                self._under_way = None
            if self._waiting:
                self._under_way = self._next_data()
                self.line.put(*frame_pieces(self._under_way))
            elif self._ending:
                for message in self._ending:
                    self.line.put(*frame_pieces(message))
                self._ending.clear()
            else:
                return

    def _next_data(self) -> Data:
        stream = next(iter(self._waiting))
        waiting = memoryview(self._waiting.pop(stream))
        if len(waiting) > MAX_DATA:  # behind the others: a torrent on one stream does not hold back another
            self._waiting[stream] = waiting[MAX_DATA:]
        return Data(0, stream, waiting[:MAX_DATA])
