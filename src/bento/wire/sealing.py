"""What the manager and the process that takes a suspended machine to the disk (`host/sealing/`) say to one another.

Its arguments are numbers of open files; the key of the one image comes on its standard input; it ends with 0 or with a
`Failure`, and perhaps a line on standard error.
"""

from enum import IntEnum

KEY_SIZE = 32
"""Bytes of an image's key (AES-256)."""


class Failure(IntEnum):
    """Why not all has passed: the code that the process ends with."""

    DISK = 1
    """A file could not be written, or read."""
    DAMAGED = 2
    """The image is not what was sealed."""
    STREAM = 3
    """Nobody takes the stream any more."""
    FULL = 4
    """There is no room for the image."""
