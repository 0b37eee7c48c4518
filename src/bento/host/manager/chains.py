"""The audit log's chains on disk: a directory for each source of calls, in it files named by their first line's number.

A line is one write(2) to a file opened to append, so a manager that is killed leaves whole lines. A power cut may leave
a torn end, which is cut off and told of in the chain when it is opened again. What was written is never written again;
the oldest file goes as a whole when the log has reached its bound.
"""

import errno
import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from bento.host.model.audit import (
    MAX_LINE,
    START,
    Began,
    Damaged,
    Dropped,
    Entry,
    Head,
    Line,
    Repaired,
    head_after,
    parse_line,
)

SEGMENT = 1 << 20
"""Bytes of a file, after which the next one begins."""

SUFFIX = ".log"


@dataclass(slots=True)
class Segment:
    """A file of a chain. `first` is the number of its first line, `size` its bytes."""

    path: Path
    first: int
    size: int


class Chain:
    """One chain, open for more. What fails raises `OSError`, and the next call goes by what is then on disk."""

    def __init__(self, directory: Path, now: int, segment_bytes: int = SEGMENT) -> None:
        """Find the end and mend it, or begin a chain. `now` is microseconds since 1970."""
        self.directory = directory
        self.segments: list[Segment] = []
        self.head = START
        self.unsynced: set[Path] = set()
        """Files and directories that hold what a power cut may still take."""
        self._segment_bytes = segment_bytes
        self._file = -1
        self._resume(now)

    @property
    def size(self) -> int:
        return sum(segment.size for segment in self.segments)

    def append(self, entry: Entry) -> None:
        """On return the line is the kernel's to keep: no end of this process takes it back."""
        if self._file < 0:
            self._resume(entry.time)
        self._append(entry)

    def fall_off(self, now: int) -> Path | None:
        """Say that the oldest file's lines fall off: the file, to be removed once that is synced. None: there is one
        file only.
        """
        if len(self.segments) < 2:
            return None
        oldest, second = self.segments[:2]
        self.append(Dropped(now, second.first - 1, _hash_before(second.path)))
        self.segments.remove(oldest)
        self.unsynced.discard(oldest.path)
        return oldest.path

    def read(self) -> "Snapshot":
        """The lines that are there now, whatever becomes of the chain meanwhile. A file that was taken away is left
        out, for whoever verifies to notice.
        """
        with ExitStack() as opened:
            files: list[tuple[BinaryIO, int]] = [
                (opened.enter_context(segment.path.open("rb")), segment.size)
                for segment in self.segments
                if segment.path.exists()
            ]
            return Snapshot(self.segments[0].first, self.head, files, opened.pop_all())

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    # ---- writing ---------------------------------------------------------------------------------

    def _append(self, entry: Entry) -> None:
        text = Line(self.head, entry).encode()
        if self.segments[-1].size + len(text) > self._segment_bytes:
            self._begin_segment()
        try:
            if os.write(self._file, text) < len(text):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.segments[-1].path))
        except OSError:
            self.close()  # what may be there of the line is cut off before the next one
            raise
        self.segments[-1].size += len(text)
        self.unsynced.add(self.segments[-1].path)
        self.head = head_after(self.head.count + 1, text)

    def _begin_segment(self) -> None:
        first = self.head.count + 1
        path = self.directory / f"{first:016}{SUFFIX}"
        self._open(path, os.O_CREAT | os.O_EXCL)
        self.segments.append(Segment(path, first, 0))
        self.unsynced.add(self.directory)

    def _open(self, path: Path, flags: int = 0) -> None:
        self.close()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)

    # ---- going on after the end of a process -----------------------------------------------------

    def _resume(self, now: int) -> None:
        self.directory.mkdir(mode=0o700, exist_ok=True)
        self.unsynced.add(self.directory.parent)
        self.segments = _segments(self.directory)
        torn = self._cut_end()
        if self.segments:
            self._open(self.segments[-1].path)
        else:
            self._begin_segment()
            self._append(Began(now))
        if torn:
            self._append(Repaired(now, len(torn), sha256(torn).hexdigest()))

    def _cut_end(self) -> bytes:
        """Cut off what is no line after the last one, and remove files that hold none: the bytes cut off."""
        torn = b""
        self.head = START
        while self.segments:
            last = self.segments[-1]
            self.head, untrusted = _end(last.path.read_bytes())
            if untrusted:
                torn = untrusted + torn
                last.size -= len(untrusted)
                os.truncate(last.path, last.size)
            if last.size:
                break
            last.path.unlink()
            self.segments.pop()
        return torn


@dataclass(slots=True)
class Snapshot:
    """A chain's lines at one moment: those from number `first` up to `head`. Read it in whatever thread, then leave."""

    first: int
    head: Head
    _files: list[tuple[BinaryIO, int]]
    _opened: ExitStack = field(repr=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._opened.close()

    def lines(self) -> Iterator[bytes]:
        """Oldest first, each with its newline, if it has one."""
        for file, left in self._files:
            while left > 0 and (untrusted := file.readline(min(left, MAX_LINE + 1))):
                left -= len(untrusted)
                yield untrusted

    def backwards(self) -> Iterator[bytes]:
        """The latest first."""
        for file, size in reversed(self._files):
            untrusted = file.read(size)
            yield from (line + b"\n" for line in reversed(untrusted.removesuffix(b"\n").split(b"\n")))


def _segments(directory: Path) -> list[Segment]:
    found = [path for path in directory.iterdir() if path.suffix == SUFFIX and path.stem.isdecimal()]
    return [Segment(path, int(path.stem), path.stat().st_size) for path in sorted(found, key=lambda path: path.name)]


def _end(untrusted: bytes) -> tuple[Head, bytes]:
    """Where the chain ends in a file, and what stands after that."""
    end = len(untrusted)
    while end:
        start = untrusted.rfind(b"\n", 0, end - 1) + 1
        try:
            line = parse_line(untrusted[start:end])
        except Damaged:
            end = start
        else:
            return head_after(line.number, untrusted[start:end]), untrusted[end:]
    return START, untrusted


def _hash_before(path: Path) -> str:
    with path.open("rb") as file:
        untrusted = file.readline(MAX_LINE + 1)
    try:
        return parse_line(untrusted).before.hash
    except Damaged:
        return START.hash  # which no line has: the chain stays as broken as it is
