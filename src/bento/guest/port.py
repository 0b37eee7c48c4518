"""The way to the host as a non-blocking byte stream with a bounded store of what is still to be written.

In a domain it is a virtio-serial port. That port outlives the host process at its other end: while there is none,
reading gives nothing and polling says "hung up" without end, so the port then only listens for changes. In loopback
mode it is one connection of a unix socket.
"""

import os
from collections import deque
from collections.abc import Callable

from bento.guest.loop import EDGE, READ, WRITE, Loop

NAME = "org.bento.channel"
CLASS = "/sys/class/virtio-ports"

ROOM = 1 << 19
"""Bytes to be written at which callers should wait for `when_room` before they add data. Control messages need not."""

CHUNK = 1 << 19
"""Most bytes taken at once."""

JOINED = 1 << 15
"""Bytes up to which small pieces are written as one; a virtio-serial port takes no more at once."""


def open_channel() -> int:
    """The file of the port called `NAME`; `FileNotFoundError` if this machine has none."""
    for port in os.listdir(CLASS):
        try:
            with open(f"{CLASS}/{port}/name") as file:
                name = file.read()
        except OSError:
            continue
        if name.strip() == NAME:
            return os.open(f"/dev/{port}", os.O_RDWR | os.O_NONBLOCK)
    raise FileNotFoundError(f"no virtio-serial port called {NAME}; the host must attach one")


class Port:
    """`hear` gets what comes. Without `gone` the end of input is the host's absence, else it is reported, once."""

    def __init__(
        self, loop: Loop, fd: int, hear: Callable[[bytes], None], gone: Callable[[], None] | None = None
    ) -> None:
        self._loop = loop
        self._fd = fd
        self._hear = hear
        self._gone = gone
        self._unwritten: deque[memoryview] = deque()
        self._size = 0
        self._blocked = False
        self._closed = False
        self._flushing = False
        self._host_away = False
        self._waiting: dict[Callable[[], None], None] = {}
        # The C library maps whatever is larger than all it was given back so far, and unmaps it after each read; what
        # is mapped anew costs a page fault for each page.
        bytes(4 * CHUNK)
        self._watch()

    @property
    def full(self) -> bool:
        return self._size >= ROOM

    def when_room(self, resume: Callable[[], None]) -> None:
        """Call `resume` once, when there is room again."""
        self._waiting[resume] = None

    def write(self, data: bytes) -> None:
        """All that is written in one round goes together: the host wakes up once for it."""
        self._unwritten.append(memoryview(data))
        self._size += len(data)
        if not self._blocked and not self._flushing:
            self._flushing = True
            self._loop.after_this_round(self._flush)

    def clear(self) -> None:
        """Forget what is unwritten, and who waits for room."""
        self._unwritten.clear()
        self._size = 0
        self._waiting.clear()

    def close(self) -> None:
        self._closed = True
        self._loop.forget(self._fd)
        os.close(self._fd)

    def _watch(self) -> None:
        events = READ | WRITE if self._blocked else READ
        self._loop.watch(self._fd, events | EDGE if self._host_away else events, self._ready)

    def _ready(self, events: int) -> None:
        if events & WRITE:
            self._flush()
        if events & ~WRITE:
            self._read()

    def _read(self) -> None:
        data = self._take()
        if data is None:
            return
        if not data and self._gone is not None:
            self._gone()
            return
        if self._host_away != (not data):
            self._host_away = not data
            self._watch()
        if data:
            self._hear(data)

    def _take(self) -> bytes | None:
        """What there is; empty at the end of input, None if there was none. A port gives a page each."""
        pieces: list[bytes] = []
        size = 0
        while size < CHUNK:
            try:
                more = os.read(self._fd, CHUNK - size)
            except BlockingIOError:
                break
            except OSError:
                more = b""
            if not more:
                return b"".join(pieces)
            pieces.append(more)
            size += len(more)
        return b"".join(pieces) if pieces else None

    def _front(self) -> memoryview | bytes:
        """What to write next: a large piece as it is, small ones together, since each write wakes the host."""
        first = self._unwritten[0]
        if len(first) >= JOINED or len(self._unwritten) == 1:
            return first
        size = 0
        pieces: list[memoryview] = []
        for piece in self._unwritten:
            if pieces and size + len(piece) > JOINED:
                break
            pieces.append(piece)
            size += len(piece)
        return b"".join(pieces)

    def _flush(self) -> None:
        self._flushing = False
        if self._closed:
            return
        blocked = False
        while self._unwritten and not blocked:
            try:
                size = os.write(self._fd, self._front())
            except OSError:
                # Full, or the host is away; what of it matters a new greeting will make known.
                blocked = True
                continue
            self._size -= size
            while size and size >= len(self._unwritten[0]):
                size -= len(self._unwritten.popleft())
            if size:
                self._unwritten[0] = self._unwritten[0][size:]
        if blocked != self._blocked:
            self._blocked = blocked
            self._watch()
        if self._waiting and self._size < ROOM // 2:
            waiting, self._waiting = self._waiting, {}
            for resume in waiting:
                resume()
