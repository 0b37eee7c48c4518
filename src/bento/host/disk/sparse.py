"""Where a sparse file has data, so that what was never written is not read."""

import errno
import os
from collections.abc import Iterator


def extents(fd: int) -> Iterator[tuple[int, int]]:
    """(first byte, byte after the last) of each piece with data, in order, as lseek(2) tells. Raises `OSError`."""
    end = 0
    while True:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole up to the end
                return
            raise
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end
