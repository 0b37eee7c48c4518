"""What a copy consists of: looked at as a whole before anything is asked of anybody, then packed.

A name that no receiver would take, a file that cannot be read, a link that leads out: found here, they cost a sentence
and not half a copy. Links within a directory go as links.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass

from bento.wire.errors import WireError
from bento.wire.filecopy import END, MAX_BYTES, MAX_ENTRIES, Times, check_name, check_target, encode_entry

CHUNK = 1 << 16


class CannotCopy(Exception):
    """One sentence that says which file and why."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the copy. A directory has two: before its content, and `closing` after it."""

    path: bytes
    name: bytes
    mode: int
    size: int
    times: Times
    target: bytes = b""
    closing: bool = False


def survey(paths: list[str], *, follow: bool) -> list[Entry]:
    """All entries in the order they go. `follow`: a link among `paths` stands for what it leads to."""
    entries: list[Entry] = []
    names: set[bytes] = set()
    size = 0
    for path in paths:
        whole = os.path.abspath(os.fsencode(path))
        name = os.path.basename(whole)
        if name in names:
            raise CannotCopy(f"Two of the files have the name {os.fsdecode(name)}; copy them one after the other.")
        names.add(name)
        for entry in _look(whole, name, follow=follow):
            size += entry.size
            entries.append(entry)
            if len(entries) > MAX_ENTRIES or size > MAX_BYTES:
                raise CannotCopy(f"At most {MAX_ENTRIES:,} files and {MAX_BYTES >> 30:,} GiB go in one copy.")
    return entries


def pack(entries: list[Entry]) -> Iterator[bytes]:
    """The copy's bytes. `CannotCopy` when a file is no longer what it was."""
    for entry in entries:
        yield encode_entry(entry.name, entry.mode, entry.size, entry.times) + entry.target
        if stat.S_ISREG(entry.mode):
            yield from _content(entry)
    yield END


def remove(entries: list[Entry]) -> None:
    """Delete what was copied, and only that: what changed or came meanwhile stays and is told."""
    for entry in reversed(entries):
        shown = os.fsdecode(entry.path)
        try:
            if stat.S_ISDIR(entry.mode):
                if not entry.closing:
                    os.rmdir(entry.path)
            elif _times(os.stat(entry.path, follow_symlinks=False)).changed != entry.times.changed:
                raise CannotCopy(f"{shown} was copied, but stays here too: it has changed since.")
            else:
                os.unlink(entry.path)
        except OSError as error:
            raise CannotCopy(f"{shown} was copied, but stays here too: {error.strerror}.") from None


def _look(path: bytes, name: bytes, *, follow: bool = False) -> Iterator[Entry]:
    shown = os.fsdecode(path)
    try:
        components = check_name(name)
        state = os.stat(path, follow_symlinks=follow)
        times = _times(state)
        if stat.S_ISDIR(state.st_mode):
            yield Entry(path, name, state.st_mode, 0, times)
            for child in sorted(os.listdir(path)):
                yield from _look(path + b"/" + child, name + b"/" + child)
            yield Entry(path, name, state.st_mode, 0, times, closing=True)
        elif stat.S_ISLNK(state.st_mode):
            target = os.readlink(path)
            check_target(target, len(components))
            yield Entry(path, name, state.st_mode, len(target), times, target)
        elif stat.S_ISREG(state.st_mode):
            os.close(os.open(path, os.O_RDONLY))
            yield Entry(path, name, state.st_mode, state.st_size, times)
        else:
            raise CannotCopy(f"{shown} is neither a file nor a directory nor a link.")
    except WireError as error:
        raise CannotCopy(f"{shown} cannot be copied: {error}.") from None
    except OSError as error:
        raise CannotCopy(f"{shown} cannot be read: {error.strerror}.") from None


def _content(entry: Entry) -> Iterator[bytes]:
    left = entry.size
    try:
        with open(entry.path, "rb", buffering=0) as file:
            while left and (data := file.read(min(left, CHUNK))):
                left -= len(data)
                yield data
    except OSError as error:
        raise CannotCopy(f"{os.fsdecode(entry.path)} cannot be read: {error.strerror}.") from None
    if left:
        raise CannotCopy(f"{os.fsdecode(entry.path)} became shorter while it was copied.")


def _times(state: os.stat_result) -> Times:
    return Times(state.st_atime_ns, state.st_mtime_ns)
