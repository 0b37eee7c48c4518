"""One thread, one epoll: who waits for which file, and nothing about what is said on it.

A handler may be called although its file is not ready after all (a file closed by an earlier handler of the same
round may have given its number to a new one), so every watched file is non-blocking and every handler bears that.
"""

from collections.abc import Callable
from select import EPOLLERR, EPOLLET, EPOLLHUP, EPOLLIN, EPOLLOUT, epoll

READ = EPOLLIN
WRITE = EPOLLOUT
GONE = EPOLLHUP | EPOLLERR
"""Comes unasked, for sockets when the other end is closed altogether."""
EDGE = EPOLLET
"""Tell once, not as long as it lasts: for a port whose host is away, which would be ready without end."""


class Loop:
    def __init__(self) -> None:
        self._epoll = epoll()
        self._handlers: dict[int, tuple[int, Callable[[int], None]]] = {}
        self._running = True
        self.deadline: float | None = None
        """Seconds after which `run` calls `on_idle` if nothing happened; None: never."""
        self.on_idle: Callable[[], None] = lambda: None

    def watch(self, fd: int, events: int, handler: Callable[[int], None]) -> None:
        """Call `handler` with the events of `fd`, those asked for or `GONE`. Again for the same `fd`: instead."""
        if fd not in self._handlers:
            self._epoll.register(fd, events)
        elif events != self._handlers[fd][0]:
            self._epoll.modify(fd, events)
        self._handlers[fd] = events, handler

    def forget(self, fd: int) -> None:
        """Stop watching; no harm if nobody watched."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def run(self) -> None:
        """Until `stop`."""
        while self._running:
            happened = self._epoll.poll(self.deadline)
            if not happened:
                self.on_idle()
            for fd, events in happened:
                watched = self._handlers.get(fd)
                if watched is not None:
                    watched[1](events)

    def stop(self) -> None:
        self._running = False
