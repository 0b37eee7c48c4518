"""Files that the person edits while the manager runs: whether one has changed, and what is in it."""

import errno
import os
from pathlib import Path

Stamp = tuple[int, int, int] | None
"""Of a file or directory: inode, size, last change in nanoseconds. None: it is not there."""


def stamp(path: Path) -> Stamp:
    """Another one after each change. Raises `OSError` where that cannot be told."""
    try:
        found = os.stat(path)
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_ctime_ns


def read(path: Path, most: int = -1) -> bytes:
    """At `most` so many bytes. Raises `OSError`, also for what is no plain file: a FIFO would hold the manager up."""
    if not path.is_file():
        raise OSError(errno.EINVAL, "is not a plain file", str(path))
    with path.open("rb") as file:
        return file.read(most)
