"""Reaching a service that is a socket of this machine's, without waiting for it.

Connecting is done as the agent's own user, as in the field: who may have the service is the policy's business.
"""

import errno
import os
import socket
from collections.abc import Callable

from bento.guest.lookup import Address, CannotServe, Socket
from bento.guest.loop import WRITE, Loop

AGAIN = 0.02
"""Seconds until another try at a local server whose backlog is full; the kernel does not say when it no longer is."""

MAX_PATH = 107
"""Bytes of a socket's path that an address holds (unix(7))."""


class Connecting:
    """`begin`, and `done` is called once: with the connected file, which is then its own, or with why there is none."""

    def __init__(self, loop: Loop, server: Socket | Address, done: Callable[[int | CannotServe], None]) -> None:
        self._loop = loop
        self._server = server
        self._done = done
        self._socket: socket.socket | None = None
        self._address: str | tuple[object, ...] = ""
        self._path = -1

    def begin(self) -> None:
        try:
            self._socket, self._address = self._prepare()
        except OSError as error:
            self._fail(str(error.strerror))
        else:
            self._try()

    def end(self) -> None:
        """Nobody is called any more."""
        if self._socket is not None:
            self._loop.forget(self._socket.fileno())
            self._socket.close()
            self._socket = None
        if self._path >= 0:
            os.close(self._path)
            self._path = -1

    def _prepare(self) -> tuple[socket.socket, str | tuple[object, ...]]:
        """A socket of the server's kind, and the address to connect it to."""
        match self._server:
            case Socket(path):
                if len(os.fsencode(path)) > MAX_PATH:
                    self._path = os.open(path, os.O_PATH | os.O_CLOEXEC)
                    path = f"/proc/self/fd/{self._path}"
                return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK), path
            case Address(host, port):
                # Numbers only: looking a name up would wait, and would tell a name server who is called.
                family = socket.AF_INET6 if set(host) & {":", "%"} else socket.AF_UNSPEC
                flags = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV
                (found,) = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM, socket.IPPROTO_TCP, flags)
                return socket.socket(found[0], socket.SOCK_STREAM | socket.SOCK_NONBLOCK), found[4]

    def _try(self) -> None:
        if self._socket is None:
            return
        match self._socket.connect_ex(self._address):
            case 0:
                self._succeed(self._socket)
            case errno.EINPROGRESS:
                self._loop.watch(self._socket.fileno(), WRITE, self._settled)
            case errno.EAGAIN:
                self._loop.later(AGAIN, self._try)
            case number:
                self._fail(os.strerror(number))

    def _settled(self, _: int) -> None:
        assert self._socket is not None
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            self._fail(os.strerror(number))
        else:
            self._succeed(self._socket)

    def _succeed(self, connected: socket.socket) -> None:
        self._loop.forget(connected.fileno())
        file = connected.detach()
        self.end()
        self._done(file)

    def _fail(self, why: str) -> None:
        self.end()
        self._done(CannotServe(f"nothing answers at {self._server}: {why}"))
