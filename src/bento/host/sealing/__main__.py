"""`python -S -E -m bento.host.sealing seal|open IMAGE STREAM [DISK...]`: one passage; started by the manager, in a box.

Numbers of open files; the file's key, 32 bytes, comes on standard input. Ends with 0 when all has passed (and is on
disk), else with one of `Failure` and a line on standard error.
"""

import errno
import os
import sys
from enum import IntEnum

from bento.host.jail.profiles import SEALER, confine
from bento.host.sealing.format import MAX_DISKS, Damaged, Piece, Sealer
from bento.host.sealing.passage import read_up_to, seal, unseal

KEY = 32


class Failure(IntEnum):
    """The manager knows these (`manager/passage.py`)."""

    DISK = 1
    """A file could not be written, or read."""
    DAMAGED = 2
    """The image is not what was sealed."""
    STREAM = 3
    """Nobody takes the stream any more."""
    FULL = 4
    """There is no room for the image."""


def main(way: str, image: int, stream: int, disks: list[int]) -> int:
    key = read_up_to(0, KEY)
    assert len(key) == KEY, "the manager sends the key"
    Sealer(key).seal(Piece(0, 0, b""))  # what is loaded at the first use is loaded now
    confine(SEALER)
    try:
        if way == "seal":
            seal(key, stream, disks, image)
        else:
            unseal(key, image, stream, disks)
    except Damaged as error:
        print(error, file=sys.stderr, flush=True)
        return Failure.DAMAGED
    except BrokenPipeError:
        return Failure.STREAM
    except OSError as error:
        print(error.strerror, file=sys.stderr, flush=True)
        return Failure.FULL if error.errno in (errno.ENOSPC, errno.EDQUOT) else Failure.DISK
    return 0


match sys.argv[1:]:
    case ["seal" | "open" as way, *numbers] if 2 <= len(numbers) <= 2 + MAX_DISKS and all(
        number.isdecimal() for number in numbers
    ):
        image, stream, *disks = map(int, numbers)
        # Not by way of Python's own end, which wants more than the profile allows.
        os._exit(main(way, image, stream, disks))
    case _:
        sys.exit("bento.host.sealing: started by the manager for one machine; not for use by hand")
