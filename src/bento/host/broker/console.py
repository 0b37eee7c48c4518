"""The serial console: into a file that stays small, and to whoever joined it. Bytes as they are, never decoded.

What the guest prints is hostile to terminals; whoever shows it, cleans it.
"""

import os
import socket

from bento.host.broker.loop import Line, Loop

CHUNK = 1 << 14
"""Bytes a turn: a guest that floods its console does not hold up its own calls."""

LOG_LIMIT = 1 << 20
"""Bytes after which the older half of the file goes."""

JOINED_ROOM = 1 << 18
"""Bytes that wait for a joined terminal; more is lost to it (not to the file)."""

TYPED_ROOM = 1 << 16
"""Bytes that wait for the machine to take; until then the terminal is not read."""


class Console:
    def __init__(self, loop: Loop, serial: socket.socket, log: int) -> None:
        """`log` is a regular file, open for reading and writing."""
        self._loop = loop
        self._serial = Line(loop, serial)
        self._joined: Line | None = None
        self._log = log
        self._size = os.fstat(log).st_size
        self._closed = False

    @property
    def busy(self) -> bool:
        typed = self._joined is not None and self._joined.readable and self._serial.unsent < TYPED_ROOM
        return not self._closed and (self._serial.readable or typed)

    def join(self, sock: socket.socket) -> None:
        if self._closed:
            sock.close()
            return
        if self._joined:
            self._joined.close()
        self._joined = Line(self._loop, sock)

    def turn(self) -> None:
        """At most one chunk each way."""
        if self._closed:
            return
        if self._serial.readable:
            self._hear()
        if self._joined and self._joined.readable and self._serial.unsent < TYPED_ROOM:
            typed = self._joined.read(CHUNK)
            if typed:
                self._serial.put(typed)
            elif typed is not None:
                self._joined.close()
                self._joined = None
        self._serial.flush()
        if self._joined:
            self._joined.flush()

    def close(self) -> None:
        """Keeps the last words: what the machine wrote before it went is still there to read."""
        if not self._closed:
            for _ in range(LOG_LIMIT // CHUNK):
                if not self._hear():
                    break
            self._closed = True
            self._serial.close()
            if self._joined:
                self._joined.close()

    def _hear(self) -> bool:
        untrusted = self._serial.read(CHUNK)
        if not untrusted:
            self._serial.readable = False  # nothing there, or nothing any more
            return False
        self._keep(untrusted)
        if self._joined and self._joined.unsent < JOINED_ROOM:
            self._joined.put(untrusted)
        return True

    def _keep(self, untrusted: bytes) -> None:
        try:
            if self._size > LOG_LIMIT:  # first, so that not even a file that may not grow any more stays as it is
                newer = os.pread(self._log, LOG_LIMIT // 2, self._size - LOG_LIMIT // 2)
                os.ftruncate(self._log, os.pwrite(self._log, newer, 0))
                self._size = len(newer)
            self._size += os.pwrite(self._log, untrusted, self._size)
        except OSError:
            pass  # a full disk costs console lines, not calls
