"""What a service wrote, on its way to a stream that a person may read: on a terminal, nothing of it may steer that."""

from bento.guest import pipes

PRINTABLE = bytes(c if 0x20 <= c <= 0x7E or c in b"\a\b\t\n\r" else ord("_") for c in range(256))
"""For `bytes.translate`: the field's filter, and so of ASCII alone."""


def write_all(file: int, data: bytes) -> bool:
    """False when nobody reads there any more."""
    try:
        pipes.write_all(file, data)
    except OSError:
        return False
    return True
