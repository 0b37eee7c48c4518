"""One file to, or from, just one place in a domain.

A fixed shell script runs in the domain with the path as its argument, never as
its text. A file appears under its name only when it is whole, and replaces
nothing unless it may. What the domain sends is bytes for one file, bounded by
the free space here; the file's name here is the person's, never the domain's.
"""

import os
import stat
from collections.abc import Callable
from enum import IntEnum
from pathlib import Path
from typing import BinaryIO, NoReturn

from bento.cli.aside import Aside
from bento.cli.ends import Sink, Source, call, command
from bento.cli.exits import Code, Failed
from bento.cli.leg import Leg
from bento.cli.manager import Manager
from bento.cli.progress import Progress
from bento.cli.render import MIB, size
from bento.cli.terminal import Harmlessly, tidied_up
from bento.wire.names import DomainName
from bento.wire.rpc import Stream

SPARE = 64 * MIB
"""Bytes of the disk that a domain's file may not take: a full disk here stops every domain."""


class Trouble(IntEnum):
    """Exit codes of the two scripts, apart from those of the programs in them."""

    DIRECTORY = 71
    EXISTS = 72
    SHORT = 73
    NO_FILE = 74
    ABSENT = 75
    NO_PLACE = 76
    UNREADABLE = 77
    UNWRITABLE = 78


WHAT = {
    Trouble.DIRECTORY: "is a directory; name a file",
    Trouble.EXISTS: "exists already; --force replaces it",
    Trouble.NO_FILE: "is no ordinary file",
    Trouble.ABSENT: "does not exist",
    Trouble.NO_PLACE: "is in a directory that does not exist",
    Trouble.UNREADABLE: "may not be read by this user; --user names another, such as root",
    Trouble.UNWRITABLE: "is in a directory that this user may not write to; --user names another, such as root",
}
"""The person's mistakes, as sentences about the path."""

PUT = f"""
path=$1 mode=$2 size=$3 force=$4
[ -d "$path" ] && exit {Trouble.DIRECTORY}
[ "$force" = yes ] || {{ [ ! -e "$path" ] && [ ! -L "$path" ]; }} || exit {Trouble.EXISTS}
into=$(dirname -- "$path")
[ -d "$into" ] || exit {Trouble.NO_PLACE}
[ -w "$into" ] || exit {Trouble.UNWRITABLE}
aside=$(mktemp -- "$path.XXXXXXXX") || exit 1
trap 'rm -f -- "$aside"' EXIT
trap 'exit 1' HUP INT TERM PIPE
cat > "$aside" || exit 1
[ "$(stat -c %s -- "$aside")" = "$size" ] || exit {Trouble.SHORT}
chmod -- "$mode" "$aside" && sync -- "$aside" || exit 1
if [ "$force" = yes ]; then mv -fT -- "$aside" "$path"; else ln -T -- "$aside" "$path"; fi
"""

GET = f"""
[ -d "$1" ] && exit {Trouble.DIRECTORY}
[ -e "$1" ] || exit {Trouble.ABSENT}
[ -f "$1" ] || exit {Trouble.NO_FILE}
[ -r "$1" ] || exit {Trouble.UNREADABLE}
exec cat < "$1"
"""


class Upload:
    """One open file as the input of a call: just as many bytes as it had at the start."""

    def __init__(self, file: BinaryIO, total: int, show: Callable[[int], None]) -> None:
        self._file = file
        self._total = self._left = total
        self._show = show

    def fileno(self) -> None:
        return None

    def read(self, limit: int) -> bytes:
        data = self._file.read(min(limit, self._left))
        if not data and self._left:
            raise Failed(f"{self._file.name} became shorter while it was copied", Code.OUTSIDE)
        self._left -= len(data)
        self._show(self._total - self._left)
        return data


class Download:
    """The output of a call, written to a file within bounds."""

    def __init__(self, file: BinaryIO, limit: int, show: Callable[[int], None]) -> None:
        self._file = file
        self._limit = limit
        self._show = show

    def fileno(self) -> None:
        return None

    def write(self, untrusted: memoryview) -> int:
        if self._file.tell() + len(untrusted) > self._limit:
            raise Failed(f"it is larger than the room here ({size(self._limit)}); nothing was kept", Code.OUTSIDE)
        self._file.write(untrusted)
        self._show(self._file.tell())
        return len(untrusted)


class _Nothing:
    """No input at all."""

    def fileno(self) -> None:
        return None

    def read(self, _: int) -> bytes:
        return b""


class Ignored:
    """Output of no interest."""

    def fileno(self) -> None:
        return None

    def write(self, untrusted: memoryview) -> int:
        return len(untrusted)


def put(manager: Manager, source: Path, domain: DomainName, path: str, user: str, *, force: bool) -> int:
    """The file `source` as `path` in the domain."""
    with open_regular(source) as file, Progress() as progress:
        state = os.fstat(file.fileno())
        upload = Upload(
            file, state.st_size, lambda done: progress.show(f"{source} -> {domain}", done / max(state.st_size, 1))
        )
        mode = f"{stat.S_IMODE(state.st_mode) & 0o777:o}"
        words = ["sh", "-c", PUT, "sh", path, mode, str(state.st_size), "yes" if force else "no"]
        code = _carry(manager, domain, words, user, upload, Ignored())
    return _judge(code, domain, path)


def get(manager: Manager, domain: DomainName, path: str, user: str, target: Path, *, force: bool) -> int:
    """The domain's file `path` as `target`, or under its own last name if that is a directory."""
    if not path:
        raise Failed(f"say which file, as in: bento cp {domain}:notes.txt .", Code.BAD_INPUT)
    if target.is_dir():
        target = target / Path(path).name
    if not force and os.path.lexists(target):
        raise Failed(f"{target} exists already; --force replaces it", Code.BAD_INPUT)
    try:
        with tidied_up(), Aside(target, 0o666) as aside:
            with Progress() as progress:
                sink = Download(
                    aside.file, room(target.parent), lambda done: progress.show(f"{domain}:{path}  {size(done)}")
                )
                ended = _carry(manager, domain, ["sh", "-c", GET, "sh", path], user, _Nothing(), sink)
                code = _judge(ended, domain, path)
            aside.file.flush()
            os.fsync(aside.file.fileno())
            _appear(aside.named(), target, force=force)
    except OSError as error:
        raise Failed(f"cannot write {target}: {why(error)}", Code.OUTSIDE) from None
    return code


def _carry(manager: Manager, domain: DomainName, words: list[str], user: str, source: Source, sink: Sink) -> int:
    with call(manager, domain, command(words), {"user": user} if user else {}) as connection:
        complaints = Harmlessly(2)
        code = Leg(connection, domain, source, {Stream.STDOUT: sink, Stream.STDERR: complaints}).converse()
        complaints.end()
        return code


def _judge(code: int, domain: DomainName, path: str) -> int:
    """0, or `Failed` with what the script's exit code means."""
    if what := WHAT.get(Trouble(code)) if code in tuple(Trouble) else None:
        _refuse(f"{domain}:{path} {what}")
    if code != 0:
        raise Failed(f"the copy failed in {domain}; nothing appeared under the file's name", Code.OUTSIDE)
    return Code.DONE


def _refuse(sentence: str) -> NoReturn:
    raise Failed(sentence, Code.BAD_INPUT)


def why(error: OSError) -> str:
    """What the system says; where it withholds leave, also from whom: started as root, `bento` is another account."""
    said = error.strerror or "it failed"
    if not isinstance(error, PermissionError):
        return said
    import pwd

    return f"{said}, for the account {pwd.getpwuid(os.geteuid()).pw_name}"


def room(directory: Path) -> int:
    """Bytes that what a domain sends may take there."""
    space = os.statvfs(directory)
    return max(space.f_bavail * space.f_frsize - SPARE, 0)


def open_regular(path: Path) -> BinaryIO:
    """`path` to read, if it is an ordinary file that this account can read; else the sentence that says why not."""
    try:
        file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))  # noqa: SIM115  # it is the caller's
    except IsADirectoryError:
        _refuse(f"{path} is a directory; copy it to DOMAIN: or pack it first")
    except OSError as error:
        _refuse(f"cannot read {path}: {why(error)}")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        _refuse(f"{path} is no ordinary file")
    return file


def _appear(aside: Path, target: Path, *, force: bool) -> None:
    if force:
        os.replace(aside, target)
        return
    try:
        os.link(aside, target)  # unlike a rename it replaces nothing
    except FileExistsError:
        _refuse(f"{target} exists already; --force replaces it")
    except PermissionError:  # a filesystem without links, such as FAT; what came there in the meantime is replaced
        os.rename(aside, target)
