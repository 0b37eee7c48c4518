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
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from bento.cli.aside import Aside
from bento.cli.birth import birth, declare_birth
from bento.cli.ends import Sink, Source, call
from bento.cli.exits import Code, Failed
from bento.cli.harmless import harmless
from bento.cli.leg import Leg
from bento.cli.manager import Manager
from bento.cli.place import Download, Ignored, Upload, room, why
from bento.cli.progress import Progress
from bento.cli.render import size
from bento.cli.terminal import Harmlessly, tidied_up
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
    with Progress() as progress:
        opening = _Opening(words, manager, progress)
        if LINK.match(words.subject):
            opening.link(decode_link(words.subject.encode(errors="surrogateescape")))
            return Code.DONE
        if not words.subject:
            _refuse("name the file or the link, as in: bento disp open letter.pdf")
        path = Path(words.subject)
        with _ordinary(path) as file:
            if words.view_only:
                opening.file(path, file, Ignored())
                return Code.DONE
            changed = opening.edit(path, file)
    if changed:
        print(harmless(f"{path} was changed in the disposable"))  # who made the file may have named it, too
    return Code.DONE


@dataclass(frozen=True, slots=True)
class _Opening:
    words: argparse.Namespace
    manager: Manager
    progress: Progress

    def link(self, link: str) -> None:
        self._carry(LINK_SERVICE, _Outgoing(f"{link}\n".encode()), Ignored())

    def edit(self, path: Path, file: BinaryIO) -> bool:
        """Whether the file has another content now."""
        if not os.access(path, os.W_OK) or not os.access(path.parent, os.W_OK | os.X_OK):
            _refuse(f"{path} may not be replaced by this account; --view-only opens it")
        before = os.fstat(file.fileno())
        try:
            with tidied_up(), _Edited(path, self.progress) as edited:
                self.file(path, file, edited)
                return edited.take_its_place(before)
        except OSError as error:
            raise Failed(f"what came back for {path} cannot be kept: {why(error)}", Code.OUTSIDE) from None

    def file(self, path: Path, file: BinaryIO, sink: Sink) -> None:
        """Have it opened; what comes back goes to `sink`."""
        total = os.fstat(file.fileno()).st_size

        def sent(done: int) -> None:
            if done < total:
                self.progress.show(f"{path} -> disposable", done / total)
            else:
                self.progress.show(f"{path} is open in a disposable")

        name = encode_name(os.fsencode(path.name), view_only=self.words.view_only)
        self._carry(FILE_SERVICE, _Outgoing(name, Upload(file, total, sent)), sink)

    def _carry(self, service: str, source: Source, sink: Sink) -> None:
        self.progress.show("a disposable is being made")
        settings = {"disposable": "yes", **birth(self.words)}
        with call(self.manager, self.words.disposable, service, settings) as connection:
            complaints = _Complaints(self.progress)
            sinks: dict[int, Sink] = {Stream.STDOUT: sink, Stream.STDERR: complaints}
            code = Leg(connection, "the disposable", source, sinks).converse()
            complaints.end()
        subject = self.words.subject
        if code in (ExitCode.NOT_FOUND, ExitCode.REFUSED):
            raise Failed(f"the disposable has nothing that opens {subject}", Code.NOT_FOUND)
        if code:
            raise Failed(f"the program that opened {subject} failed with {code}; nothing came back", Code.OUTSIDE)


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


class _Edited:
    """What comes back for `path`: a file beside it from the first byte on, gone at the end unless it took its place."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path = path
        self._progress = progress
        self._aside: Aside | None = None
        self._limit = 0

    def __enter__(self) -> "_Edited":
        return self

    def __exit__(self, *_: object) -> None:
        if self._aside:
            self._aside.close()

    def fileno(self) -> None:
        return None

    def write(self, untrusted: memoryview) -> int:
        if self._aside is None:
            self._aside = Aside(self._path, 0o600)
            self._limit = room(self._path.parent)
        return Download(self._aside.file, self._limit, self._show).write(untrusted)

    def take_its_place(self, before: os.stat_result) -> bool:
        """Whether the file changed by that. `Failed`, and both are kept, if it is not what it was `before`."""
        if self._aside is None:
            return False
        self._aside.file.flush()
        _finish(self._aside.file.fileno(), before)
        problem = "has changed here meanwhile"
        if _is(self._path, before):
            if filecmp.cmp(self._aside.itself, self._path, shallow=False):
                return False
            try:
                os.replace(self._aside.named(), self._path)
            except OSError as error:  # somebody else's file in a directory such as /tmp
                problem = f"cannot be replaced: {why(error)}"
            else:
                _sync(self._path.parent)
                return True
        kept = _keep_beside(self._aside.named(), self._path)
        raise Failed(f"{self._path} {problem}; what came back is in {kept}", Code.OUTSIDE)

    def _show(self, done: int) -> None:
        self._progress.show(f"disposable -> {self._path}  {size(done)}")


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


def _finish(file: int, before: os.stat_result) -> None:
    """The rights of the file that was `before`, but not to run as its owner; and on the disk."""
    mode = stat.S_IMODE(before.st_mode) & 0o777
    try:
        os.fchown(file, before.st_uid, before.st_gid)
    except PermissionError:  # a group that this account is not in: what it might do, no other group may
        mode &= ~stat.S_IRWXG
    os.fchmod(file, mode)
    os.fsync(file)


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
