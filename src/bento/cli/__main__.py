"""`bento`: the way in. A plain `bento run` without a terminal begins at once, all else in `command.py`.

Scripts call programs in domains one after the other, and wait for each; most of that time was Python's, loading what
such a call does not need. So nothing is imported here that does not have to be, and whatever is not quite plain (an
option, a program on a terminal, root, a manager that does not run) is left to `command.py`, which begins anew.
"""

import _socket  # what `socket` is built on: that one takes longer to load than all that is done here
import os
import sys

from bento.cli.leg import File, Leg
from bento.wire.rendezvous import manager_socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from bento.cli.terminal import Harmlessly

PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._")
FILE_NUMBER = 4
"""Bytes of an `int` of C, in which files beside an answer are told."""
LONGEST = 30_000
"""Bytes of a plain request: longer ones are looked at more closely."""


def main() -> int:
    words = sys.argv[1:]
    try:
        begun = begin(words)
        if begun is not None:
            return converse(*begun)
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # whatever it is, it is told in one way
        from bento.cli.command import explain

        return explain(error)
    from bento.cli import command

    return command.main(words)


def begin(words: list[str]) -> tuple[str, _socket.socket] | None:
    """The domain and the leg of a plain call, if this is one and the manager opened it."""
    match words:
        case ["run", where, "--", *program] | ["run", "--no-tty", where, "--", *program] if program and program[0]:
            domain, settings = _whither(where)
        case _:
            return None
    if os.geteuid() == 0 or not PLAIN.union("-").issuperset(domain) or not _files_are_plain(words[1] == "--no-tty"):
        return None
    argument = "+".join(map(_encoded, program))
    path = manager_socket(os.environ)
    if path is None or len(argument) > LONGEST or not domain or domain.startswith("-"):
        return None
    manager = _socket.socket(_socket.AF_UNIX)
    try:
        manager.connect(path)
        manager.sendall(f"bento.vm.Call+qubes.VMExec+{argument} dom0 name {domain}\0{settings}".encode())
        manager.shutdown(_socket.SHUT_WR)
        answer, files, _, _ = manager.recvmsg(65_536, _socket.CMSG_SPACE(FILE_NUMBER))
        if not files:
            from bento.cli.manager import content, rest

            content(answer + rest(manager))  # raises what the manager says is wrong
            return None
    except OSError:
        return None
    finally:
        manager.close()
    return domain, _socket.socket(fileno=int.from_bytes(files[0][2][:FILE_NUMBER], sys.byteorder))


def _whither(where: str) -> tuple[str, str]:
    """The domain that the request is sent to, and what it says: with --disposable that is what one is made from."""
    if where == "--disposable":
        return "dom0", "autostart=yes\ndisposable=yes\n"
    if where.startswith("--disposable="):
        return where.removeprefix("--disposable="), "autostart=yes\ndisposable=yes\n"
    return where, "autostart=yes\n"


def converse(domain: str, connection: _socket.socket) -> int:
    terminals = {file: Terminal(file) for file in (1, 2) if os.isatty(file)}
    code = Leg(connection, domain, File(0), {1: File(1), 2: File(2), **terminals}).converse()
    for terminal in terminals.values():
        terminal.end()
    return code


class Terminal(File):
    """Gets what a domain says made harmless; what does that is loaded when there is something."""

    def __init__(self, file: int) -> None:
        super().__init__(file)
        self._harmlessly: Harmlessly | None = None

    def write(self, data: memoryview) -> int:
        if self._harmlessly is None:
            from bento.cli.terminal import Harmlessly

            self._harmlessly = Harmlessly(self.fileno())
        return self._harmlessly.write(data)

    def end(self) -> None:
        if self._harmlessly is not None:
            self._harmlessly.end()


def _files_are_plain(no_tty: bool) -> bool:
    """All are open (a socket of ours must not become one of them), and it is not to run on a terminal."""
    try:
        for file in range(3):
            os.fstat(file)
    except OSError:
        return False
    return no_tty or not (os.isatty(0) and os.isatty(1))


def _encoded(word: str) -> str:
    """As `wire/vmexec.py` has it."""
    codes = os.fsencode(word)
    return "".join(chr(c) if chr(c) in PLAIN else "--" if c == 0x2D else f"-{c:02X}" for c in codes)


if __name__ == "__main__":
    sys.exit(main())
