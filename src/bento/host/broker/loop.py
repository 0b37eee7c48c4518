"""Which sockets have something to do, and one of them with what waits to be written. Bytes only, no meaning.

Edge-triggered: every socket is registered once for reading, and an event only
notes that a read (or a write that was stuck) may be tried. The note is cleared
by the read or write that finds the socket empty or full. So a socket that must
wait for its turn or for a window costs nothing, and nobody can be spun on.

Nothing is opened or closed while events are handed out: an event never meets
a file that took over another's number.
"""

import socket
from collections import deque
from collections.abc import Callable
from itertools import islice
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP, epoll

from bento.wire.layout import Bytes

READING = EPOLLIN | EPOLLRDHUP | EPOLLET
WRITING = READING | EPOLLOUT

READ_SIZE = 1 << 19
"""Bytes that one read gives at most."""

PIECES = 64
"""That one write takes at most; the kernel's limit is 1,024 (UIO_MAXIOV)."""


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

    def __init__(self, loop: Loop, sock: socket.socket, wake: Callable[[], None] = lambda: None) -> None:
        self._loop = loop
        self._sock = sock
        self._wake = wake
        self._out: deque[Bytes] = deque()
        self._stuck = False
        self.fd = sock.fileno()
        self.unsent = 0
        """Bytes that wait to be written."""
        self.readable = False
        self.hung_up = False
        """The peer is gone, or says no more; what it sent before may still be there to read."""
        loop.add(self.fd, self._note)

    def read(self, size: int = READ_SIZE) -> bytes | None:
        """Up to `size` bytes; None if there are none now, empty when the peer is gone."""
        try:
            untrusted = self._sock.recv(size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            self.readable = False
            return None
        except ConnectionError:
            return b""
        # Less than asked for is all there was, and more makes a new event; but nothing new comes after the end.
        self.readable = len(untrusted) == size or self.hung_up
        return untrusted

    def put(self, *pieces: Bytes) -> None:
        """To be written one after the other, uncopied."""
        self._out += pieces
        self.unsent += sum(map(len, pieces))

    def flush(self) -> None:
        """Write what the socket takes now."""
        while self.unsent and not self._stuck:
            try:
                self._forget(self._sock.sendmsg(islice(self._out, PIECES), (), socket.MSG_DONTWAIT))
            except BlockingIOError:
                self._stuck = True
                self._loop.watch_writing(self.fd, True)
            except ConnectionError:
                self._forget(self.unsent)  # nobody is there to take it

    def close(self) -> None:
        self._loop.remove(self.fd)
        self._sock.close()

    def _forget(self, sent: int) -> None:
        self.unsent -= sent
        while self._out and sent >= len(self._out[0]):
            sent -= len(self._out.popleft())
        if sent:
            self._out[0] = memoryview(self._out[0])[sent:]

    def _note(self, events: int) -> None:
        self.readable |= bool(events & ~EPOLLOUT)
        self.hung_up |= bool(events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))
        if self._stuck and events & (EPOLLOUT | EPOLLHUP | EPOLLERR):
            self._stuck = False
            self._loop.watch_writing(self.fd, False)
        self._wake()
