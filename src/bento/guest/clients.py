"""Local programs that ask for calls, over a unix socket that everybody in this machine may use.

They speak the messages of a leg and are trusted with nothing: what is not a leg's message ends that program's own
call. While the host is away or the most calls are open, nobody is accepted; they wait in the socket's backlog.
"""

import os
import socket
import sys
from collections.abc import Callable
from functools import partial

from bento.guest.loop import GONE, READ, Loop
from bento.guest.streams import Through, Writer
from bento.guest.talk import Talk
from bento.wire.errors import WireError
from bento.wire.frames import FrameReader, encode_frame, frame_pieces
from bento.wire.layout import Bytes, Message
from bento.wire.rpc import (
    FROM_CALLER,
    MAX_CALLS,
    MAX_DATA,
    Accepted,
    Ask,
    Data,
    Drop,
    Eof,
    Exit,
    OfCall,
    Refused,
    Stream,
    Window,
)

BACKLOG = 4096
"""The kernel takes at most net.core.somaxconn of it."""

RETRY = 1.0
"""Seconds until another try after the machine had no file left for a new connection."""


class Clients:
    """Listens from the first conversation on, accepts between `resume` and `pause`."""

    def __init__(self, loop: Loop, path: str) -> None:
        self._loop = loop
        self._talk: Talk | None = None
        self._legs: set[Leg] = set()
        if os.path.lexists(path):
            os.unlink(path)
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        self._listener.bind(path)
        os.chmod(path, 0o666)  # noqa: S103  # every program in the domain may ask; the policy decides on the host
        self._listener.listen(BACKLOG)

    def resume(self, talk: Talk) -> None:
        self._talk = talk
        self._watch()

    def pause(self) -> None:
        """Accept nobody, and let go of those that have not asked yet."""
        self._talk = None
        self._watch()
        for leg in tuple(self._legs):
            leg.end()

    def close(self) -> None:
        self.pause()
        self._listener.close()

    def _watch(self) -> None:
        if self._talk is not None and len(self._legs) < MAX_CALLS:
            self._loop.watch(self._listener.fileno(), READ, self._accept)
        else:
            self._loop.forget(self._listener.fileno())

    def _accept(self, _: int) -> None:
        assert self._talk is not None
        try:
            connection, _address = self._listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            print(f"bento-agent: cannot take a local connection: {error}", file=sys.stderr)
            self._loop.forget(self._listener.fileno())
            self._loop.later(RETRY, self._watch)
            return
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MAX_DATA)  # a whole one in one write
        try:
            self._legs.add(Leg(self._loop, self._talk, connection, self._left))
        except OSError:
            connection.close()
        self._watch()

    def _left(self, leg: "Leg") -> None:
        self._legs.discard(leg)
        self._watch()


class Leg:
    """One program's call: its bytes are held until the host's window has room, the host's until it reads."""

    def __init__(self, loop: Loop, talk: Talk, connection: socket.socket, left: Callable[["Leg"], None]) -> None:
        self._loop = loop
        self._talk = talk
        self._left = left
        # A number of its own for each direction: epoll tells them apart.
        self._answers = Writer(loop, os.dup(connection.fileno()))
        self._through: dict[Stream, Through] = {}
        self._fd = connection.detach()
        self._reader = FrameReader()
        self._call: int | None = None
        self._input: Bytes | bytearray = b""
        self._input_ends = False
        self._end_said = False
        self._over = False
        self._forward()

    def hear(self, message: OfCall) -> None:
        match message:
            case Data():
                for piece in frame_pieces(Data(0, message.stream, message.payload)):
                    self._answers.put(piece)
                self._answers.put(b"", self._consumed(message), len(message.payload))
            case Eof():
                self._answer(Eof(0, message.stream))
            case Accepted():
                self._answer(Accepted(0))
                self._forward()
            case Window():
                self._forward()
            case Refused():
                self._last(Refused(0, message.code))
            case Exit():
                self._last(Exit(0, message.code))
            case Drop():
                self.end()
            case _:
                pass

    def end(self) -> None:
        """Close without an exit code: the program sees that its call broke."""
        if self._fd >= 0:
            self._over = True
            self._loop.forget(self._fd)
            os.close(self._fd)
            self._fd = -1
            self._answers.close()
            self._left(self)

    def _answer(self, message: Message) -> None:
        self._answers.put(encode_frame(message))

    def _consumed(self, message: Data) -> Through:
        """The same one for each message of a stream."""
        stream = Stream(message.stream)
        if stream not in self._through:
            self._through[stream] = partial(self._talk.consumed, message.call, stream)
        return self._through[stream]

    def _last(self, message: Message) -> None:
        """The call is over; the program may take its time to read what came before."""
        self._over = True
        self._loop.watch(self._fd, 0, self._ready)
        self._answers.put(encode_frame(message), lambda _: self.end())

    def _ready(self, events: int) -> None:
        if events & READ and not self._over:
            self._read()
        elif events & GONE:
            self._gone()

    def _read(self) -> None:
        try:
            untrusted = os.read(self._fd, MAX_DATA)
        except BlockingIOError:
            return
        except OSError:
            untrusted = b""
        if not untrusted:
            self._gone()
            return
        try:
            for tag, payload in self._reader.feed(untrusted):
                self._take(FROM_CALLER.decode(tag, payload))
        except WireError as error:
            print(f"bento-agent: a local program broke the protocol: {error}", file=sys.stderr)
            self._gone()
            return
        self._forward()

    def _take(self, untrusted: Message) -> None:
        match untrusted:
            case Ask(call=0) if self._call is None:
                self._call = self._talk.ask(untrusted, self)
            case Data(call=0, stream=Stream.STDIN) if self._call is not None and not self._input_ends:
                if isinstance(self._input, bytearray):
                    self._input += untrusted.payload
                else:  # mostly it is all that comes, and stays where it was read
                    self._input = bytearray(self._input) + untrusted.payload if self._input else untrusted.payload
            case Eof(call=0, stream=Stream.STDIN) if self._call is not None and not self._input_ends:
                self._input_ends = True
            case _:
                raise WireError(f"{type(untrusted).__name__} may not come now")

    def _forward(self) -> None:
        """Say what the host has room for; read more from the program only when all is said."""
        if self._over:
            return
        room = 0 if self._call is None else self._talk.window(self._call, Stream.STDIN)
        while self._call is not None and self._input and room and not self._talk.port.full:
            size = min(room, MAX_DATA)
            waiting = memoryview(self._input)
            self._talk.say(Data(self._call, Stream.STDIN, waiting[:size]))
            self._input = waiting[size:]
            room = self._talk.window(self._call, Stream.STDIN)
        if self._call is not None and self._input_ends and not self._input and room and not self._end_said:
            self._talk.say(Eof(self._call, Stream.STDIN))
            self._end_said = True
        if self._input and room:
            self._talk.port.when_room(self._forward)
        self._loop.watch(self._fd, 0 if self._input else READ, self._ready)

    def _gone(self) -> None:
        if self._call is not None and not self._over:
            self._talk.say(Drop(self._call))
        self.end()
