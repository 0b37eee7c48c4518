"""Bytes between the conversation and this machine's files, without blocking and without losing count.

A `Writer` takes what the host sent and says when it is through, so that the host's window opens at the pace of the
reader. A `Reader` takes from a file no more than the host's window and the port have room for.
"""

import os
import socket
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import islice

from bento.guest.loop import READ, WRITE, Loop
from bento.guest.talk import Talk
from bento.wire.layout import Bytes
from bento.wire.rpc import MAX_DATA, Data, Eof, Stream

SMALL = 1 << 12
"""Bytes of what is copied together with what waits already. Larger pieces wait as they are."""

MERGED = 1 << 14
"""Bytes of small pieces together, at most: whoever sent them is told in such steps that they are through."""

PIECES = 64
"""That one write takes at most; the kernel's limit is 1,024 (UIO_MAXIOV)."""

Through = Callable[[int], None]


class Waiting:
    """What is to be written, and who is told, and how much, once all of it is."""

    def __init__(self, data: memoryview | bytearray) -> None:
        self.data = data
        self.through: dict[Through, int] = {}

    def take_written(self, size: int) -> None:
        if isinstance(self.data, bytearray):
            del self.data[:size]
        else:
            self.data = self.data[size:]


class Writer:
    """Writes to `fd`, which it owns. Nobody reads there any more: what waits vanishes, and counts as through.

    What waits takes about as much memory as it has bytes, however small the pieces that the far end, which may be
    hostile, cut them into. `on_end` is called once, when nothing more will be written.
    """

    def __init__(self, loop: Loop, fd: int, on_end: Callable[[], None] = lambda: None) -> None:
        self._loop = loop
        self._fd = fd
        self._on_end = on_end
        self._chunks: deque[Waiting] = deque()
        self._scheduled = False
        self._waiting = False
        self._finishing = False
        self._closed = False

    def put(self, data: Bytes, through: Through | None = None, counts: int = 0) -> None:
        """To be written at the end of this round of the loop, so that who reads wakes up once for all of it.

        `through` is called with `counts` once the last byte of `data` is written, maybe together with what else it is
        to be told.
        """
        last = self._chunks[-1].data if self._chunks else b""
        if not isinstance(last, bytearray) or len(data) > SMALL or len(last) > MERGED:
            self._chunks.append(Waiting(bytearray(data) if len(data) <= SMALL else memoryview(data)))
        else:
            last += data
        if through is not None:
            told = self._chunks[-1].through
            told[through] = told.get(through, 0) + counts
        if not (self._waiting or self._scheduled):
            self._scheduled = True
            self._loop.after_this_round(self._flush)

    def finish(self) -> None:
        """Close after what is still to be written."""
        self._finishing = True
        if not self._chunks:
            self.close()

    def close(self) -> None:
        """Now; what cannot be written at once vanishes and counts as through."""
        if self._scheduled:
            self._flush()
        ends = not self._closed
        if ends:
            self._closed = True
            self._waiting = False
            self._loop.forget(self._fd)
            self._let_go()
        while self._chunks:
            self._pop()
        if ends:
            self._on_end()

    def _let_go(self) -> None:
        os.close(self._fd)

    def _flush(self, _: int = 0) -> None:
        self._scheduled = False
        while self._chunks and not self._closed:
            try:
                size = os.writev(self._fd, [chunk.data for chunk in islice(self._chunks, PIECES)])
            except BlockingIOError:
                break
            except OSError:
                self.close()
                return
            while self._chunks and size >= len(self._chunks[0].data):
                size -= len(self._chunks[0].data)
                self._pop()
            if size:
                self._chunks[0].take_written(size)
        if self._closed or (self._finishing and not self._chunks):
            self.close()
        elif bool(self._chunks) != self._waiting:
            self._waiting = bool(self._chunks)
            if self._waiting:
                self._loop.watch(self._fd, WRITE, self._flush)
            else:
                self._loop.forget(self._fd)

    def _pop(self) -> None:
        for through, counts in self._chunks.popleft().through.items():
            through(counts)


class SocketWriter(Writer):
    """One side of a socket that somebody else reads by another number: only this direction ends."""

    def _let_go(self) -> None:
        with suppress(OSError), socket.socket(fileno=self._fd) as half:
            half.shutdown(socket.SHUT_WR)


class Reader:
    """Says what comes from `fd`, which it owns, as one stream of an open call; its end too, and then calls `on_end`.

    The file stays open until `close`: a terminal hangs up on its programs when it is closed, and they may have closed
    their side of it just before they end well.
    """

    def __init__(self, loop: Loop, talk: Talk, call: int, stream: Stream, fd: int, on_end: Callable[[], None]) -> None:
        self._loop = loop
        self._talk = talk
        self._call = call
        self._stream = stream
        self._fd = fd
        self._on_end = on_end
        self._draining = False
        self.ended = False
        self.resume()

    def resume(self) -> None:
        """There may be room again."""
        if not self.ended:
            self._loop.watch(self._fd, READ, self._ready)
            if self._draining:
                self._ready(0)

    def drain(self) -> None:
        """Nobody writes any more who matters: take what is there and call it the end."""
        self._draining = True
        self.resume()

    def close(self) -> None:
        self.ended = True
        if self._fd >= 0:
            self._loop.forget(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _ready(self, _: int) -> None:
        while self._take() and self._draining:
            pass

    def _take(self) -> bool:
        """Read once. False when there is nothing more to read, or no room."""
        room = self._talk.window(self._call, self._stream)
        if self._talk.port.full or not room:
            # Not watched meanwhile: a pipe that has data, or has been hung up, would be ready without end.
            self._loop.forget(self._fd)
            if room:
                self._talk.port.when_room(self.resume)
            return False
        try:
            data = os.read(self._fd, min(room, MAX_DATA))
        except BlockingIOError:
            if not self._draining:
                return False
            data = b""
        except OSError:
            data = b""  # a terminal's way to say that nobody has it open any more
        if data:
            self._talk.say(Data(self._call, self._stream, data))
            return True
        self.ended = True
        self._loop.forget(self._fd)
        self._talk.say(Eof(self._call, self._stream))
        self._on_end()
        return False
