"""Which sockets have something to do, and one of them with what waits to be written. Bytes only, no meaning.

Edge-triggered: every socket is registered once for reading, and an event only
notes that a read (or a write that was stuck) may be tried. The note is cleared
by the read or write that would block. So a socket that must wait for its turn
or for a window costs nothing, and nobody can be spun on.

Nothing is opened or closed while events are handed out: an event never meets
a file that took over another's number.
"""

import socket
from collections.abc import Callable
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, epoll

READING = EPOLLIN | EPOLLET
WRITING = READING | EPOLLOUT


class Loop:
    def __init__(self) -> None:
        self._epoll = epoll()
        self._note: dict[int, Callable[[int], None]] = {}

    def add(self, fd: int, note: Callable[[int], None]) -> None:
        self._note[fd] = note
        self._epoll.register(fd, READING)

    def remove(self, fd: int) -> None:
        # Said explicitly: another process may hold the same open file, and then closing ours does not end its events.
        self._epoll.unregister(fd)
        del self._note[fd]

    def watch_writing(self, fd: int, watched: bool) -> None:
        """Watched only while a write is stuck: otherwise every byte that a peer takes would wake us."""
        self._epoll.modify(fd, WRITING if watched else READING)

    def wait(self, seconds: float | None) -> None:
        for fd, events in self._epoll.poll(seconds):
            self._note[fd](events)


class Line:
    """A stream socket. `wake` is called with each event's note, to schedule whoever owns the line."""

    __slots__ = ("_loop", "_out", "_sock", "_stuck", "_wake", "broken", "fd", "hung_up", "readable")

    def __init__(self, loop: Loop, sock: socket.socket, wake: Callable[[], None] | None = None) -> None:
        self._loop = loop
        self._sock = sock
        self._wake = wake
        self._out = bytearray()
        self._stuck = False
        self.fd = sock.fileno()
        self.readable = False
        self.hung_up = False
        """The peer is gone; what it sent before may still be there to read."""
        self.broken = False
        """A write found nobody; what was to be written is thrown away from now on."""
        loop.add(self.fd, self._note)

    @property
    def unsent(self) -> int:
        return len(self._out)

    def read(self, size: int) -> bytes | None:
        """Up to `size` bytes; None if there are none now, empty when the peer is gone."""
        try:
            return self._sock.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self.readable = False
            return None
        except ConnectionError:
            return b""

    def put(self, data: bytes) -> None:
        if not self.broken:
            self._out += data

    def flush(self) -> None:
        """Write what the socket takes now."""
        while self._out and not self._stuck:
            try:
                del self._out[: self._sock.send(self._out, socket.MSG_DONTWAIT)]
            except BlockingIOError:
                self._stuck = True
                self._loop.watch_writing(self.fd, True)
            except ConnectionError:
                self.broken = True
                self._out.clear()

    def close(self) -> None:
        self._loop.remove(self.fd)
        self._sock.close()

    def _note(self, events: int) -> None:
        if events & ~EPOLLOUT:
            self.readable = True
        if events & (EPOLLHUP | EPOLLERR):
            self.hung_up = True
        if self._stuck and events & (EPOLLOUT | EPOLLHUP | EPOLLERR):
            self._stuck = False
            self._loop.watch_writing(self.fd, False)
        if self._wake:
            self._wake()
