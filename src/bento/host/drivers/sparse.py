"""Copying files that are mostly holes: what was never written is not read, not written, and takes no room."""

import errno
import os
from collections.abc import Iterator

from bento.host.model.errors import Unavailable

MAX_COPY = 64 << 20
"""Bytes of one `sendfile`."""


def copy_sparse(source: int, target: int) -> None:
    """Make the open file `target`, which is empty, what the open file `source` is."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    for start, end in _extents(source, size):
        os.lseek(target, start, os.SEEK_SET)
        while start < end:
            start += (sent := os.sendfile(target, source, start, min(end - start, MAX_COPY)))
            if sent == 0:
                raise Unavailable("a volume became shorter while it was copied; try again when nothing uses it")


def _extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """Where a file has data: (first byte, byte after the last), as lseek(2) tells them."""
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end
