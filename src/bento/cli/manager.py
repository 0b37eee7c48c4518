"""The way to the manager: one call a connection, over its socket; started here if it does not run yet.

All of the client's networking is in this module, `connect.py` and `leg.py`. Answers become
bytes, events or an open file; failures become `Failed` with the manager's own
sentence. The framing is `wire/admin.py`.
"""

import json
import os
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from bento.cli.connect import connect
from bento.cli.exits import Code, Failed
from bento.cli.faults import failed
from bento.wire.admin import MAX_REQUEST, Event, EventReader, Failure, Ok, Request, parse_reply
from bento.wire.errors import WireError
from bento.wire.home import Home
from bento.wire.names import ADMIN, DomainName, ServiceArgument, ServiceName

AT_ONCE = max(2, os.cpu_count() or 1)
"""Calls of one command under way together: starting thirty domains at once helps nobody on two cores."""


def request(method: str, destination: str = ADMIN, argument: str = "", payload: str = "") -> Request:
    """A request of this command's; `WireError` for a destination or an argument (both typed) that is no name."""
    return Request(
        ServiceName(method),
        ServiceArgument.parse(argument),
        ADMIN,
        DomainName.parse(destination),
        payload.encode("utf-8", "surrogateescape"),
    )


@dataclass(frozen=True, slots=True)
class Manager:
    home: Home
    launch: bool = True
    """Whether to start the manager where none runs."""

    def ask(self, asked: Request) -> bytes:
        """The answer's content."""
        with self._sent(asked) as connection:
            return content(rest(connection))

    def ask_each(self, asked: Sequence[Request], timeout: float | None = None) -> Iterator[bytes | Failed]:
        """Each answer or failure, in order; some of the requests are under way together, each for `timeout` seconds."""
        for start in range(0, len(asked), AT_ONCE):
            until = None if timeout is None else time.monotonic() + timeout
            some = asked[start : start + AT_ONCE]
            with ExitStack() as opened:
                connections = [opened.enter_context(self._sent(one)) for one in some]
                for one, connection in zip(some, connections, strict=True):
                    if until is not None:
                        connection.settimeout(max(until - time.monotonic(), 0.001))
                    try:
                        yield content(rest(connection))
                    except TimeoutError:
                        yield Failed(f"{one.destination} takes longer than {timeout:g} seconds", Code.OUTSIDE)
                    except Failed as failed:
                        yield failed

    def open(self, asked: Request) -> int:
        """The open file that comes with the answer; the caller closes it."""
        with self._sent(asked) as connection:
            try:
                data, files, _, _ = socket.recv_fds(connection, 65_536, 1)
            except OSError as error:
                raise _lost(error) from None
            try:
                if data:
                    data += rest(connection)
                content(data)
                if not files:
                    raise Failed(f"the manager answered {asked.method} without the file it promises", Code.OUTSIDE)
                return files.pop()
            finally:
                for file in files:
                    os.close(file)

    def follow(self, asked: Request) -> Iterator[Event]:
        """Events as they come, until the manager says that it is over; closing the iterator tells it to stop."""
        with self.listen(asked) as listener:
            while (events := listener.take()) is not None:
                yield from events

    def listen(self, asked: Request) -> "Listener":
        """The same for who waits for other things, too. Close it to stop."""
        return Listener(self._sent(asked))

    def _tell_notices(self) -> None:
        """What a new manager wants the person to know once, such as that this machine emulates."""
        told: list[str] = json.loads(Manager(self.home, launch=False).ask(request("bento.Notices")))
        for sentence in told:
            print(f"bento: {sentence}", file=sys.stderr)

    def _sent(self, asked: Request) -> socket.socket:
        data = asked.encode()
        if len(data) > MAX_REQUEST:
            raise Failed(f"that is too long for one request: {len(data)} bytes, at most {MAX_REQUEST}", Code.BAD_INPUT)
        connection = self._connect()
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the manager may refuse before it has read everything: its answer says why
        except OSError as error:
            connection.close()
            raise _lost(error) from None
        return connection

    def _connect(self) -> socket.socket:
        connection = connect(self.home)
        if connection is None and self.launch:
            from bento.cli.launch import launch

            launch(self.home)
            self._tell_notices()
            connection = connect(self.home)
        if connection is None:
            raise Failed("the manager is not running", Code.WRONG_STATE)
        return connection


class Listener:
    """A stream of events: `take` when its file is ready to read."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = EventReader()

    def __enter__(self) -> "Listener":
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def fileno(self) -> int:
        return self._connection.fileno()

    def take(self) -> list[Event] | None:
        """What has come, waiting for some; None when the manager says that it is over, `Failed` if it says why."""
        if data := _some(self._connection):
            return list(self._reader.feed(data))
        if not self._reader.rest():
            raise Failed("the manager ended the connection", Code.OUTSIDE)
        content(self._reader.rest())
        return None


def content(reply: bytes) -> bytes:
    try:
        answer = parse_reply(reply)
    except WireError as error:
        raise _nonsense(error) from None
    match answer:
        case Ok(content):
            return content
        case Failure():
            raise failed(answer)


def rest(connection: socket.SocketType) -> bytes:
    pieces = []
    while data := _some(connection):
        pieces.append(data)
    return b"".join(pieces)


def _some(connection: socket.SocketType) -> bytes:
    try:
        return connection.recv(65_536)
    except TimeoutError:
        raise
    except OSError as error:
        raise _lost(error) from None


def _lost(error: OSError) -> Failed:
    return Failed(f"the manager went away in the middle of the request: {error.strerror}", Code.OUTSIDE)


def _nonsense(error: Exception) -> Failed:
    return Failed(f"the manager's answer makes no sense: {error}", Code.OUTSIDE)
