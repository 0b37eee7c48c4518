"""Holding a call's leg: what goes in becomes `Data` and `Eof`, what comes back goes to its sink, until the exit code.

One loop and no threads. Nothing that one side does not take may hold the other
up: a program that reads nothing still gets its output through, and a reader
that stalls still gets its program's input through. So the loop reads more only
when what it read before has gone on its way, and never writes to a pipe more
than the pipe is sure to take while there may be input to carry.

`bento run` needs this and little else, and is waited for: nothing is imported here that takes its time.
"""

import os
import select

from bento.wire import caller
from bento.wire.errors import WireError
from bento.wire.frames import FrameReader

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket  # what it is built on will do, and `socket` itself takes its time
    from collections.abc import Mapping

    from bento.cli.ends import Sink, Source
    from bento.cli.exits import Failed
    from bento.cli.terminal import Sizes

BUFFER = 1 << 19
"""Bytes that one read of the leg may give, and at most (with a frame more) what waits for a slow reader."""


class File:
    """An open file as a source or a sink."""

    def __init__(self, file: int) -> None:
        self._file = file

    def fileno(self) -> int:
        return self._file

    def read(self, size: int) -> bytes:
        try:
            return os.read(self._file, size)
        except OSError:  # a terminal that hung up, a directory: there is no input
            return b""

    def write(self, data: memoryview) -> int:
        return os.write(self._file, data)


class Leg:
    """The caller's end of one call."""

    def __init__(self, connection: "socket", where: str, source: "Source", sinks: "Mapping[int, Sink]") -> None:
        connection.setblocking(False)
        self._connection = connection
        self._where = where
        self._source: Source | None = source
        self._sinks = sinks
        self._reader = FrameReader()
        self._unsent = memoryview(b"")
        self._undelivered: list[tuple[Sink, memoryview]] = []
        self._code: int | None = None
        self._heard_all = False
        self.sizes: Sizes | None = None
        """Of the caller's terminal, where the program is on one."""

    def converse(self) -> int:
        """Carry everything both ways until the program has ended: its exit code. `Failed` if the call breaks."""
        while self._undelivered or not self._heard_all:
            ready = self._wait()
            if self.sizes and self.sizes.fileno() in ready:
                self._unsent = memoryview(bytes(self._unsent) + caller.resize(*self.sizes.read()))
            if self._undelivered:
                self._deliver(ready)
            elif self._connection.fileno() in ready:
                self._hear()
            if self._unsent:
                self._send()
            elif self._source and (self._source.fileno() is None or self._source.fileno() in ready):
                self._take(self._source)
        if self._code is None:
            raise _failed(f"the call to {self._where} broke before its program ended")
        return self._code

    def _wait(self) -> set[int]:
        """What there is to do: the files that are ready."""
        interest: dict[int, int] = {self.sizes.fileno(): select.POLLIN} if self.sizes else {}
        idle = True
        if self._undelivered:
            file = self._undelivered[0][0].fileno()
            if file is None:
                idle = False
            else:
                interest[file] = select.POLLOUT
        else:
            interest[self._connection.fileno()] = select.POLLIN
        if self._unsent:
            interest[self._connection.fileno()] = interest.get(self._connection.fileno(), 0) | select.POLLOUT
        elif self._source:
            file = self._source.fileno()
            if file is None:
                idle = False
            else:
                interest[file] = interest.get(file, 0) | select.POLLIN
        poll = select.poll()
        for file, events in interest.items():
            poll.register(file, events)
        return {file for file, _ in poll.poll(None if idle else 0)}

    def _hear(self) -> None:
        try:
            untrusted = self._connection.recv(BUFFER)
        except BlockingIOError:
            return
        except OSError:
            untrusted = b""
        if not untrusted:
            self._heard_all = True
            return
        try:
            for tag, payload in self._reader.feed(untrusted):
                match caller.hear(tag, payload):
                    case stream, data if stream in self._sinks and data:
                        self._undelivered.append((self._sinks[stream], data))
                    case int(code):
                        self._code = code
                        self._heard_all = True
                        return
                    case _:
                        pass
        except WireError as error:
            raise _failed(f"the call to {self._where} broke: {error}") from None

    def _deliver(self, ready: set[int]) -> None:
        while self._undelivered:
            sink, data = self._undelivered[0]
            file = sink.fileno()
            if file is not None and file not in ready:
                return
            # A pipe that polls ready takes PIPE_BUF bytes for sure; without input left, waiting harms nobody.
            certain = len(data) if self._source is None or file is None else select.PIPE_BUF
            taken = sink.write(data[:certain])
            if taken < len(data):
                self._undelivered[0] = sink, data[taken:]
            else:
                del self._undelivered[0]
            if file is not None:
                return

    def _take(self, source: "Source") -> None:
        data = source.read(caller.MAX_DATA)
        if data:
            self._unsent = memoryview(caller.data(data))
        else:
            self._unsent = memoryview(caller.eof())
            self._source = None
        self._send()

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[self._connection.send(self._unsent) :]
        except BlockingIOError:
            pass
        except OSError:  # nobody there takes input any more; what they still say is to be heard
            self._unsent = memoryview(b"")
            self._source = None


def _failed(sentence: str) -> "Failed":
    from bento.cli.exits import Code, Failed

    return Failed(sentence, Code.CHANNEL)
