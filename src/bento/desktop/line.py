"""The desktop's line to the manager: attend, and answer. The framing is `wire/admin.py`."""

import socket
from collections.abc import Iterator

from bento.wire.admin import EventReader, Failure, Ok, Request, parse_reply
from bento.wire.consent import Answer, QuestionId, Told, encode_answer, parse_told
from bento.wire.home import Home
from bento.wire.names import ADMIN, ServiceArgument, ServiceName

PATIENCE = 10.0
"""Seconds that the manager has to take an answer."""


class Ended(Exception):
    """The manager ended the connection, or is not there. The text is why, if it said so."""


class Attendance:
    """Told of questions and notices from the moment that it is made; raises `Ended`, as `take` does."""

    def __init__(self, home: Home) -> None:
        self._reader = EventReader()
        self._socket = _send(home, "bento.consent.Attend")
        self._socket.settimeout(None)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def take(self) -> Iterator[Told]:
        """What has come; call it when there is something. `WireError` for what makes no sense."""
        try:
            data = self._socket.recv(65_536)
        except OSError as error:
            raise Ended(error.strerror or "") from None
        if not data:
            raise Ended(_why(self._reader.rest()))
        return map(parse_told, self._reader.feed(data))


def answer(home: Home, number: QuestionId, given: Answer) -> None:
    """Give the answer. One that comes too late is no error: the question is gone. `Ended` without a manager."""
    try:
        with _send(home, "bento.consent.Answer", number, encode_answer(given)) as connection:
            while connection.recv(65_536):
                pass
    except OSError as error:
        raise Ended(error.strerror or "") from None


def _send(home: Home, method: str, argument: str = "", payload: str = "") -> socket.socket:
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(PATIENCE)
    asked = Request(ServiceName(method), ServiceArgument(argument), ADMIN, ADMIN, payload.encode())
    try:
        connection.connect(str(home.manager_socket))
        connection.sendall(asked.encode())
        connection.shutdown(socket.SHUT_WR)
    except OSError as error:
        connection.close()
        raise Ended(error.strerror or "") from None
    return connection


def _why(rest: bytes) -> str:
    if not rest:
        return ""
    match parse_reply(rest):
        case Failure(sentence=sentence):
            return sentence
        case Ok():
            return ""
