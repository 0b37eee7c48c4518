"""A program's end of a call to another domain: asking the agent, then bytes both ways.

The agent is trusted, what comes through it is not: it is handed on as bytes and never parsed here.
"""

import os
import socket
from collections.abc import Iterator
from contextlib import suppress

from bento.wire.errors import WireError
from bento.wire.frames import FrameReader, encode_frame
from bento.wire.layout import Message
from bento.wire.names import TargetName, parse_called
from bento.wire.rpc import FROM_SERVER, MAX_DATA, Accepted, Ask, Data, Eof, ExitCode, Refused, Stream

SOCKET = "/run/bento/agent.sock"


class NoCall(Exception):
    """The call did not come about. `code` is the exit code that the field's programs give for it."""

    def __init__(self, code: int, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


class Call:
    """`wait` after making one; then `send` and `messages` may run in two threads. Closing it early drops the call."""

    def __init__(self, target: str, service: str, path: str = "") -> None:
        """`target` as a person types it, `service` with its argument. `NoCall` if no agent listens at `path`."""
        try:
            # The field's older programs write $ for @, and @default for no target at all.
            wanted = TargetName.parse(target.replace("$", "@"))
            ask = Ask(0, *parse_called(service), wanted)
        except WireError as error:
            raise NoCall(2, f"{error}.") from None
        self._socket = socket.socket(socket.AF_UNIX)
        self._reader = FrameReader()
        self._pending: list[Message] = []
        try:
            self._socket.connect(path or os.environ.get("BENTO_AGENT", SOCKET))
            self._say(ask)
        except OSError as error:
            raise NoCall(ExitCode.FAULT, f"This domain's agent does not answer: {error.strerror}.") from None

    def wait(self) -> None:
        """Until the call is accepted, which may take as long as a person takes; `NoCall` if it is not."""
        match next(self.messages(), None):
            case Accepted():
                return
            case Refused(code=code):
                raise NoCall(code, "The call was refused.")
            case _:
                raise NoCall(ExitCode.FAULT, "The connection to the host was lost.")

    def send(self, data: bytes) -> None:
        """To the service's stdin. `OSError` when the call is over."""
        for at in range(0, len(data), MAX_DATA):
            self._say(Data(0, Stream.STDIN, data[at : at + MAX_DATA]))

    def end(self) -> None:
        """Nothing more comes on stdin."""
        self._say(Eof(0, Stream.STDIN))

    def close(self) -> None:
        """Give the call up, if it is not over. Another thread that sends or waits for messages finds it gone."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def messages(self) -> Iterator[Message]:
        """What the other side says, `Exit` last; without it the call broke."""
        while True:
            while self._pending:
                yield self._pending.pop(0)
            try:
                received = self._socket.recv(2 * MAX_DATA)
            except OSError:
                return
            if not received:
                return
            self._pending += [FROM_SERVER.decode(*frame) for frame in self._reader.feed(received)]

    def _say(self, message: Message) -> None:
        self._socket.sendall(encode_frame(message))
