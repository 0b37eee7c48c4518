"""Waiting for this domain's graphical session, where it has one.

Whoever brings a session up makes the file `Place.session` and holds an exclusive lock on it (flock(2)) until the
session is there; a domain without that file has none, and nobody waits. A lock goes with its holder, so a session that
fails keeps nobody waiting either.
"""

import os
from collections.abc import Callable

from bento.guest.child import SHELL, Child, launch, onto_streams
from bento.guest.lookup import CannotServe
from bento.guest.loop import READ, Loop
from bento.guest.place import Account, Place

SERVICE = "qubes.WaitForSession"

AWAIT = '[ ! -e "$1" ] || exec flock --shared "$1" true'


def has_session(place: Place) -> bool:
    return os.path.exists(place.session)


def program(place: Place) -> list[str]:
    """The service as the agent has it: it ends when the session is there."""
    return [SHELL, "-c", AWAIT, SERVICE, place.session]


class Waiting:
    """Calls `then` when the service has ended: as in the field, however it ended."""

    def __init__(self, loop: Loop, child: Child, then: Callable[[], None]) -> None:
        self._loop = loop
        self._child = child
        self._then = then
        loop.watch(child.fd, READ, self._ended)

    def end(self) -> None:
        """Nobody waits any more."""
        self._then = lambda: None
        self._child.hang_up()

    def _ended(self, _: int) -> None:
        if self._child.code is not None:
            self._child.reap(self._loop)
            self._then()


def start(place: Place, account: Account, path: str | None, source: str, whose: str) -> Child:
    """The program `path`, or the agent's own, waiting for the session of the user `whose`, whom it reads on stdin."""
    words = [path] if path is not None else program(place)
    values = account.environment()
    values["QREXEC_REMOTE_DOMAIN"] = source
    stdin, told = os.pipe()
    try:
        os.write(told, f"{whose}\n".encode())
        # What it prints is for this machine's journal.
        return Child(launch(account, words[:1], words, values, onto_streams(stdin, 2, 2)))
    except OSError as error:
        raise CannotServe(f"{SERVICE} cannot be started: {error.strerror}") from None
    finally:
        os.close(stdin)
        os.close(told)
