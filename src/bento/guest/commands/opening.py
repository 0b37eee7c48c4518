"""Opening a file or a link in another domain: what both commands for it do.

The other domain opens the file and may send back what became of it. That is hostile: it is written beside the file,
never larger than half of the room there is, and takes the file's place only when the call has ended well and nobody
has touched the file meanwhile. By the field's protocol a file that became empty there cannot be told from one that
nobody changed.
"""

import os
import re
import stat
import sys
import tempfile
import threading
from contextlib import suppress

from bento.guest import pipes
from bento.guest.commands.call import Call, NoCall
from bento.guest.commands.shown import PRINTABLE, write_all
from bento.wire.errors import WireError
from bento.wire.opening import decode_link, encode_name
from bento.wire.rpc import MAX_DATA, Data, Exit, ExitCode, Stream

FILE_SERVICE = "qubes.OpenInVM"
LINK_SERVICE = "qubes.OpenURL"

LINK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")

FAILED = 1
BAD_USAGE = 2


class CannotOpen(Exception):
    """One sentence that says what and why."""


def run(command: str, arguments: list[str], target: str | None) -> int:
    """`[--view-only] [--] [TARGET] FILE|LINK`, with TARGET if `target` is None; the exit code."""
    usage = f"usage: {command} [--view-only] [--] {'TARGET ' if target is None else ''}FILE|LINK"
    view_only = False
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option == "--":
            break
        if option in ("-h", "--help"):
            print(usage)
            print("Open it there; what a program there makes of a file comes back, unless it is for viewing only.")
            return 0
        if option != "--view-only":
            rest.clear()
        view_only = True
    if target is None and rest:
        target = rest.pop(0)
    if target is None or len(rest) != 1:
        print(usage, file=sys.stderr)
        return BAD_USAGE
    try:
        if LINK.match(rest[0]):
            open_link(target, rest[0])
        else:
            open_file(target, rest[0], view_only=view_only)
    except NoCall as refused:
        print(f"{command}: {refused}", file=sys.stderr)
        return refused.code
    except CannotOpen as reason:
        print(f"{command}: {reason}", file=sys.stderr)
        return FAILED
    return 0


def open_link(target: str, link: str) -> None:
    """`NoCall` or `CannotOpen` unless it has been opened."""
    try:
        line = f"{decode_link(link.encode())}\n".encode()
    except WireError as error:
        raise CannotOpen(f"{error}.") from None
    call = Call(target, LINK_SERVICE)
    call.wait()
    threading.Thread(target=send, args=(call, line, None), daemon=True).start()
    hear(call, None)


def open_file(target: str, path: str, *, view_only: bool) -> None:
    """The same for a file, which is new afterwards if it was changed there."""
    whole = os.path.realpath(path)
    try:
        file = os.open(whole, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise CannotOpen(f"{path}: {error.strerror}.") from None
    before = os.fstat(file)
    if not stat.S_ISREG(before.st_mode):
        raise CannotOpen(f"{path} is not a file.")
    name = encode_name(os.path.basename(os.fsencode(path)), view_only=view_only)
    call = Call(target, FILE_SERVICE)
    call.wait()
    threading.Thread(target=send, args=(call, name, file), daemon=True).start()
    with Aside(whole) as aside:
        hear(call, None if view_only else aside)
        aside.replace(before)


def send(call: Call, first: bytes, file: int | None) -> None:
    try:
        call.send(first)
        while file is not None and (data := os.read(file, MAX_DATA)):
            call.send(data)
        call.end()
    except OSError:
        pass  # the call is over, which the other thread learns too


def hear(call: Call, aside: "Aside | None") -> None:
    """Take what comes back until the call has ended well; `NoCall` or `CannotOpen` if it ends otherwise."""
    for message in call.messages():
        match message:
            case Data(stream=Stream.STDOUT) if aside is not None:
                aside.write(bytes(message.payload))
            case Data(stream=Stream.STDERR):
                write_all(2, bytes(message.payload).translate(PRINTABLE))
            case Exit(code=0):
                return
            case Exit(code=ExitCode.NOT_FOUND):
                raise NoCall(message.code, "The other domain cannot open it.")
            case Exit():
                raise CannotOpen(f"The program that opened it there failed with {message.code}.")
            case _:
                pass
    raise NoCall(ExitCode.FAULT, "The other domain broke off.")


class Aside:
    """What came back, beside the file that it is to replace; gone at the end if it does not."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._aside = ""
        self._file = -1
        self._size = 0

    def __enter__(self) -> "Aside":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            os.close(self._file)
        if self._aside:
            with suppress(OSError):
                os.unlink(self._aside)

    def write(self, untrusted: bytes) -> None:
        """`CannotOpen` when there is no room for it."""
        try:
            if self._file < 0:
                self._make()
            self._size += len(untrusted)
            if self._size > self._room:
                raise CannotOpen("More came back than half of the room there is; nothing is kept of it.")
            pipes.write_all(self._file, untrusted)
        except OSError as error:
            raise CannotOpen(f"What came back cannot be stored: {error.strerror}.") from None

    def replace(self, before: os.stat_result) -> None:
        """Put it where the file is, which was like `before` when it went; if nothing came, the file stays as it is."""
        if not self._size:
            return
        try:
            os.fchmod(self._file, stat.S_IMODE(before.st_mode) & 0o777)  # not to run as its owner
            os.fsync(self._file)
            problem = self._problem(before)
            if not problem:
                os.rename(self._aside, self._path)
        except OSError as error:
            problem = error.strerror
        kept, self._aside = self._aside, ""
        if problem:
            raise CannotOpen(f"{self._path}: {problem}; what came back is in {kept}.")

    def _problem(self, before: os.stat_result) -> str | None:
        if os.path.dirname(self._aside) != os.path.dirname(self._path):
            return "its directory cannot be written"
        now = os.stat(self._path)
        same = (now.st_ino, now.st_mtime_ns, now.st_size) == (before.st_ino, before.st_mtime_ns, before.st_size)
        return None if same else "it has changed here too"

    def _make(self) -> None:
        directory, name = os.path.split(self._path)
        try:
            self._file, self._aside = tempfile.mkstemp(prefix=f".{name[:100]}.", dir=directory)
        except PermissionError:
            self._file, self._aside = tempfile.mkstemp(prefix=f"{name[:100]}.")
        space = os.fstatvfs(self._file)
        self._room = space.f_bavail * space.f_frsize // 2
