"""Copying files that are mostly holes: what was never written is not read, not written, and takes no room."""

import errno
import os
from itertools import groupby

from bento.host.disk.sparse import extents
from bento.host.model.errors import Unavailable

MAX_COPY = 64 << 20
"""Bytes of one `sendfile`."""

PIECE = 1 << 20
"""Bytes of one read, where all is looked at."""

SHORTER = "a volume became shorter while it was copied; try again when nothing uses it"

PAGE = 4096
"""Bytes of the smallest hole: a block of most file systems, and a page of memory."""


def copy_sparse(source: int, target: int, *, zeros: bool = True) -> None:
    """Make the open file `target`, which is empty, what the open file `source` is.

    Without `zeros` it has a hole wherever a whole page is nothing but zeros, which is slower: all is looked at.
    """
    os.ftruncate(target, os.fstat(source).st_size)
    for start, end in extents(source):
        if not zeros:
            _copy_pages(source, target, start, end)
            continue
        os.lseek(target, start, os.SEEK_SET)
        while start < end:
            start += (sent := os.sendfile(target, source, start, min(end - start, MAX_COPY)))
            if sent == 0:
                raise Unavailable(SHORTER)


def _copy_pages(source: int, target: int, start: int, end: int) -> None:
    """Those from `start` to `end` that are not all zeros."""
    blank = bytes(PAGE)
    for begin in range(start, end, PIECE):
        piece, at = os.pread(source, min(PIECE, end - begin), begin), begin
        if len(piece) < min(PIECE, end - begin):
            raise Unavailable(SHORTER)
        for empty, pages in groupby([piece.startswith(blank, page) for page in range(0, len(piece), PAGE)]):
            length = len(list(pages)) * PAGE
            if not empty:
                pages_read = piece[at - begin : at - begin + length]
                if os.pwrite(target, pages_read, at) < len(pages_read):  # it got the last room there was
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            at += length
