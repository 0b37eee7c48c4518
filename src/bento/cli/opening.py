"""`bento disp open`: a file or a link in a disposable that is made for it and gone with the program that opened it.

The disposable may be hostile. What it sends back is never looked into: bytes, bounded by the room on the disk, written
aside. They become the content of that one file, which is what editing means, and only if the call ended well, something
changed, and the file here is still what was sent; else they stay beside it. With --view-only nothing is taken.
"""

import argparse
import filecmp
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, NoReturn

from bento.cli.birth import birth, declare_birth
from bento.cli.ends import Sink, Source, call
from bento.cli.exits import Code, Failed
from bento.cli.leg import Leg
from bento.cli.manager import Manager
from bento.cli.place import Download, Ignored, Upload, room, why
from bento.cli.progress import Progress
from bento.cli.render import size
from bento.cli.terminal import Harmlessly
from bento.wire.names import ADMIN
from bento.wire.opening import decode_link, encode_name
from bento.wire.rpc import ExitCode, Stream

FILE_SERVICE = "qubes.OpenInVM+"
LINK_SERVICE = "qubes.OpenURL+"

LINK = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
"""How everything begins that is no file; a file of such a name is written with a slash before it."""


def declare_disp_open(parser: argparse.ArgumentParser) -> None:
    parser.description = "Open a file or a link in a new disposable. What a program there makes of the file comes back."
    parser.add_argument("subject", metavar="FILE|URL")
    parser.add_argument(
        "--disposable", default=ADMIN, metavar="TEMPLATE", help="what it is made from (the system's default_dispvm)"
    )
    parser.add_argument("--view-only", action="store_true", help="let nothing come back")
    declare_birth(parser)


def disp_open(words: argparse.Namespace, manager: Manager) -> int:
    if LINK.match(words.subject):
        link = decode_link(words.subject.encode(errors="surrogateescape"))
        with Progress() as progress:
            _carry(words, manager, LINK_SERVICE, _Outgoing(f"{link}\n".encode()), Ignored(), progress)
        return Code.DONE
    path = Path(words.subject)
    with _ordinary(path) as file:
        if words.view_only:
            _send(words, manager, path, file, lambda _: Ignored())
        elif _edit(words, manager, path, file):
            print(f"{path} was changed in the disposable")
    return Code.DONE


def _edit(words: argparse.Namespace, manager: Manager, path: Path, file: BinaryIO) -> bool:
    """Whether the file has another content now."""
    if not os.access(path, os.W_OK):
        _refuse(f"{path} may not be changed by this account; --view-only opens it")
    before = os.fstat(file.fileno())
    try:
        with _aside(path) as (edited, aside):
            limit = room(path.parent)
            _send(words, manager, path, file, lambda show: Download(edited, limit, show))
            edited.flush()
            if not edited.tell():
                return False
            _take_over(edited, before)
            if not _is(path, before):
                kept = _keep_beside(aside, path)
                raise Failed(f"{path} has changed here meanwhile; what came back is in {kept}", Code.OUTSIDE)
            if filecmp.cmp(aside, path, shallow=False):
                return False
            os.replace(aside, path)
            _sync(path.parent)
            return True
    except OSError as error:
        raise Failed(f"cannot write beside {path}: {why(error)}; --view-only opens it", Code.OUTSIDE) from None


def _send(
    words: argparse.Namespace,
    manager: Manager,
    path: Path,
    file: BinaryIO,
    taking: Callable[[Callable[[int], None]], Sink],
) -> None:
    """Have it opened; what comes back goes where `taking` says, which is given what shows how much has come."""
    total = os.fstat(file.fileno()).st_size
    name = encode_name(os.fsencode(path.name), view_only=words.view_only)
    with Progress() as progress:

        def sent(done: int) -> None:
            if done < total:
                progress.show(f"{path} -> disposable", done / total)
            else:
                progress.show(f"{path} is open in a disposable")

        outgoing = _Outgoing(name, Upload(file, total, sent))
        sink = taking(lambda done: progress.show(f"disposable -> {path}  {size(done)}"))
        _carry(words, manager, FILE_SERVICE, outgoing, sink, progress)


def _carry(
    words: argparse.Namespace, manager: Manager, service: str, source: Source, sink: Sink, progress: Progress
) -> None:
    progress.show("a disposable is being made")
    with call(manager, words.disposable, service, {"disposable": "yes", **birth(words)}) as connection:
        complaints = _Complaints(progress)
        code = Leg(connection, "the disposable", source, {Stream.STDOUT: sink, Stream.STDERR: complaints}).converse()
        complaints.end()
    if code in (ExitCode.NOT_FOUND, ExitCode.REFUSED):
        raise Failed(f"the disposable has nothing that opens {words.subject}", Code.NOT_FOUND)
    if code:
        raise Failed(f"the program that opened {words.subject} failed with {code}; nothing came back", Code.OUTSIDE)


class _Outgoing:
    """Some bytes, and then a file."""

    def __init__(self, first: bytes, rest: Upload | None = None) -> None:
        self._first = first
        self._rest = rest

    def fileno(self) -> None:
        return None

    def read(self, limit: int) -> bytes:
        data, self._first = self._first[:limit], self._first[limit:]
        return data or (self._rest.read(limit) if self._rest else b"")


class _Complaints(Harmlessly):
    """What the programs there say, in place of the line that shows how far it is."""

    def __init__(self, progress: Progress) -> None:
        super().__init__(2)
        self._progress = progress

    def write(self, data: memoryview) -> int:
        self._progress.clear()
        return super().write(data)


# Files here.


def _ordinary(path: Path) -> BinaryIO:
    """The file, to read; or the sentence that says why it is not one that may be sent and replaced."""
    if path.is_symlink():  # replacing it would leave what it leads to, and following it surprise whoever did not know
        _refuse(f"{path} is a symbolic link; name the file that it leads to")
    try:
        file = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        _refuse(f"cannot read {path}: {why(error)}")
    mode = os.fstat(file).st_mode
    if not stat.S_ISREG(mode):
        os.close(file)
        _refuse(f"{path} is {'a directory' if stat.S_ISDIR(mode) else 'no ordinary file'}; only files are opened")
    return open(file, "rb")


@contextmanager
def _aside(path: Path) -> Iterator[tuple[BinaryIO, Path]]:
    """A new file in the same directory, and its name; gone at the end unless it was renamed."""
    number, name = tempfile.mkstemp(prefix=".bento-", suffix=".part", dir=path.parent)
    try:
        with open(number, "w+b") as file:
            yield file, Path(name)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def _take_over(edited: BinaryIO, before: os.stat_result) -> None:
    """Whose the file was and who may do what with it. Nothing that came back is to run as its owner."""
    with suppress(PermissionError):  # a group that this account is not in: the file stays the account's own
        os.fchown(edited.fileno(), before.st_uid, before.st_gid)
    os.fchmod(edited.fileno(), stat.S_IMODE(before.st_mode) & 0o777)
    os.fsync(edited.fileno())


def _is(path: Path, before: os.stat_result) -> bool:
    """Whether the file is still the one that was sent."""
    try:
        now = os.lstat(path)
    except FileNotFoundError:
        return False
    return (now.st_dev, now.st_ino, now.st_mtime_ns, now.st_size) == (
        before.st_dev,
        before.st_ino,
        before.st_mtime_ns,
        before.st_size,
    )


def _keep_beside(aside: Path, path: Path) -> Path:
    """`letter.edited.pdf`, or with a number: a name that nothing has."""
    number = 1
    while True:
        kept = path.with_name(f"{path.stem}.edited{f'-{number}' if number > 1 else ''}{path.suffix}")
        try:
            os.close(os.open(kept, os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            number += 1
        else:
            os.replace(aside, kept)
            _sync(path.parent)
            return kept


def _sync(directory: Path) -> None:
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _refuse(sentence: str) -> NoReturn:
    raise Failed(sentence, Code.BAD_INPUT)
