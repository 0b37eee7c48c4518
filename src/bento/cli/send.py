"""Files and directories into a domain by `qubes.Filecopy`, as one domain sends them to another.

All is looked at before the first byte goes, so that a file that cannot be read
is a sentence and not half a copy. Symbolic links that are named are followed;
those inside of a directory go as links. The receiver's answer is a few bytes
that are compared, and a name that is shown.
"""

import errno
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from bento.cli.ends import call
from bento.cli.exits import Code, Failed
from bento.cli.harmless import harmless
from bento.cli.leg import Leg
from bento.cli.manager import Manager
from bento.cli.place import open_regular, why
from bento.cli.progress import Progress
from bento.wire.errors import WireError
from bento.wire.filecopy import (
    END,
    MAX_RESULT,
    Result,
    Times,
    check_name,
    check_target,
    decode_result,
    encode_entry,
)
from bento.wire.names import DomainName
from bento.wire.rpc import MAX_DATA, ExitCode, Stream

SERVICE = "qubes.Filecopy+"
MAX_COMPLAINT = 4096
"""Bytes of the receiver's standard error that may be shown."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something to send: `name` in the copy, `path` here, what it was when it was looked at."""

    name: bytes
    path: Path
    mode: int
    size: int
    times: Times
    target: bytes = b""


def send(manager: Manager, domain: DomainName, sources: Sequence[Path], user: str) -> int:
    """All `sources`, under their last names, into the domain's QubesIncoming/dom0."""
    entries = list(survey(sources))
    answer, complaints = _Kept(MAX_RESULT), _Kept(MAX_COMPLAINT)
    with call(manager, domain, SERVICE, {"user": user} if user else {}) as connection, Progress() as progress:
        outgoing = _Outgoing(entries, progress, domain)
        leg = Leg(connection, domain, outgoing, {Stream.STDOUT: answer, Stream.STDERR: complaints})
        code = leg.converse()
    if code in (ExitCode.REFUSED, ExitCode.NOT_FOUND) and not answer.untrusted:
        raise Failed(f"{domain} does not take files", Code.REFUSED)
    result = _result(bytes(answer.untrusted))
    if result is None and complaints.untrusted:  # with a result, they only say again what it says
        sys.stderr.write(harmless(complaints.untrusted.decode(errors="backslashreplace")))
    if result is None or (result.code == 0 and (code != 0 or result.checksum != outgoing.checksum)):
        raise Failed(f"{domain} did not take all of it; look for what arrived in its QubesIncoming", Code.OUTSIDE)
    if result.code != 0:
        raise _complaint(domain, result.code, result.last_name)
    return Code.DONE


def survey(sources: Sequence[Path]) -> Iterator[Entry]:
    """Everything below `sources` in the order it goes, or the sentence that says what cannot."""
    names: set[bytes] = set()
    for source in sources:
        name = os.fsencode(Path(os.path.abspath(source)).name)
        if name in names:
            raise Failed(f"two of them have the name {os.fsdecode(name)!a}", Code.BAD_INPUT)
        names.add(name)
        yield from _survey(name, source, 1, follow=True)


def _survey(name: bytes, path: Path, depth: int, *, follow: bool = False) -> Iterator[Entry]:
    check_name(name)
    try:
        state = path.stat(follow_symlinks=follow)
        times = Times(state.st_atime_ns, state.st_mtime_ns)
        entry = Entry(name, path, state.st_mode, state.st_size, times)
        if stat.S_ISDIR(state.st_mode):
            entry = Entry(name, path, state.st_mode, 0, times)
            yield entry
            for child in sorted(os.listdir(os.fsencode(path))):
                yield from _survey(name + b"/" + child, path / os.fsdecode(child), depth + 1)
            yield entry
        elif stat.S_ISLNK(state.st_mode):
            target = os.readlink(os.fsencode(path))
            check_target(target, depth)
            yield Entry(name, path, state.st_mode, len(target), times, target)
        else:
            open_regular(path).close()
            yield entry
    except OSError as error:
        raise Failed(f"cannot read {path}: {why(error)}", Code.BAD_INPUT) from None


def pack(entries: Sequence[Entry]) -> Iterator[bytes]:
    """The copy's bytes, in pieces that fit a message."""
    for entry in entries:
        yield encode_entry(entry.name, entry.mode, entry.size, entry.times) + entry.target
        if stat.S_ISREG(entry.mode):
            with open_regular(entry.path) as file:
                left = entry.size
                while left:
                    data = file.read(min(left, MAX_DATA))
                    if not data:
                        raise Failed(f"{entry.path} became shorter while it was copied", Code.OUTSIDE)
                    left -= len(data)
                    yield data
    yield END


class _Outgoing:
    """The copy as the input of a call, with its checksum and how far it is."""

    def __init__(self, entries: Sequence[Entry], progress: Progress, domain: str) -> None:
        self._pieces = pack(entries)
        self._progress = progress
        self._what = f"copying to {domain}"
        self._total = max(1, sum(entry.size for entry in entries))
        self._done = 0
        self.checksum = 0

    def fileno(self) -> None:
        return None

    def read(self, _: int) -> bytes:
        data = next(self._pieces, b"")
        self.checksum = crc32(data, self.checksum)
        self._done += len(data)
        self._progress.show(self._what, self._done / self._total)
        return data


class _Kept:
    """The first `limit` bytes of what the receiver says; the rest does not matter."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.untrusted = bytearray()

    def fileno(self) -> None:
        return None

    def write(self, untrusted: memoryview) -> int:
        self.untrusted += untrusted[: self._limit - len(self.untrusted)]
        return len(untrusted)


def _result(untrusted: bytes) -> Result | None:
    try:
        return decode_result(untrusted)
    except WireError:
        return None


def _complaint(domain: DomainName, code: int, untrusted_name: bytes) -> Failed:
    name = untrusted_name.decode(errors="replace")
    match code:
        case errno.EEXIST:
            return Failed(f"{domain} has {name!a} in its QubesIncoming already; move it away there", Code.BAD_INPUT)
        case errno.ENOSPC | errno.EDQUOT:
            return Failed(f"{domain} has no room for {name!a}", Code.OUTSIDE)
        case _:
            return Failed(f"{domain} did not take {name!a}: {_reason(code)}", Code.OUTSIDE)


def _reason(code: int) -> str:
    return os.strerror(code) if code in errno.errorcode else f"code {code}"
