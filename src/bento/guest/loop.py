"""One thread, one epoll: who waits for which file or moment, and nothing about what is said on it.

Who forgets a file gets no event of it any more, and no other file gets one for it: within a round its number may have
gone to a new one. That one is heard from the next round on. A handler may be called although its file is not ready
after all (somebody read there meanwhile), so every watched file is non-blocking and every handler bears that.
"""

import time
from collections.abc import Callable
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, epoll

READ = EPOLLIN
WRITE = EPOLLOUT
GONE = EPOLLHUP | EPOLLERR
"""Comes unasked, for sockets when the other end is closed altogether."""
EDGE = EPOLLET
"""Tell once, not as long as it lasts: for a port whose host is away, which would be ready without end."""


MAX_EVENTS = 32
"""Taken at once. Python makes room for so many before each wait, and by default for a thousand."""


class Loop:
    def __init__(self) -> None:
        self._epoll = epoll()
        self._handlers: dict[int, tuple[int, Callable[[int], None]]] = {}
        self._forgotten: set[int] = set()
        self._moments: list[tuple[float, Callable[[], None]]] = []
        self._after: list[Callable[[], None]] = []
        self._running = True

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call `handler` with the events of `fd`, those asked for or `GONE`. Again for the same `fd`: instead."""
        if fd not in self._handlers:
            self._epoll.register(fd, events)
        elif events != self._handlers[fd][0]:
            self._epoll.modify(fd, events)
        self._handlers[fd] = events, handler

    def forget(self, fd: int) -> None:
        """Stop watching, before it is closed; no harm if nobody watched."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)
            self._forgotten.add(fd)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Once, after so long."""
        self._moments.append((time.monotonic() + seconds, call))

    def after_this_round(self, call: Callable[[], None]) -> None:
        """Once, when everybody has been called who is ready now."""
        self._after.append(call)

    def run(self) -> None:
        """Until `stop`."""
        while self._running:
            self._forgotten.clear()
            for fd, events in self._epoll.poll(self._patience(), MAX_EVENTS):
                if fd not in self._forgotten:
                    self._handlers[fd][1](events)
            if self._moments:
                self._come_due()
            after, self._after = self._after, []
            for call in after:
                call()

    def stop(self) -> None:
        self._running = False

    def _patience(self) -> float | None:
        if self._after:
            return 0.0
        if not self._moments:
            return None
        return max(0.0, min(moment for moment, _ in self._moments) - time.monotonic())

    def _come_due(self) -> None:
        now = time.monotonic()
        due = [call for moment, call in self._moments if moment <= now]
        self._moments = [each for each in self._moments if each[0] > now]
        for call in due:
            call()
