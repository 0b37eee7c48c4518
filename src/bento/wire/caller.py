"""The caller's end of a leg, as bytes: for a command that has no time to load the declarations.

`rpc.py` declares what these messages are; a test holds that both mean the same. Imports nothing but the error.
"""

from bento.wire.errors import WireError

MAX_DATA = 1 << 18

NO_CALL = bytes(4)
"""A leg carries one call, whose number is 0."""

STDIN = b"\0"


def data(payload: bytes) -> bytes:
    """Some of stdin, at most `MAX_DATA` bytes."""
    return b"\x07" + (5 + len(payload)).to_bytes(4, "big") + NO_CALL + STDIN + payload


def eof() -> bytes:
    return b"\x08\0\0\0\x05" + NO_CALL + STDIN


def resize(rows: int, columns: int) -> bytes:
    return b"\x0c\0\0\0\x08" + NO_CALL + rows.to_bytes(2, "big") + columns.to_bytes(2, "big")


def hear(untrusted_tag: int, untrusted: memoryview) -> tuple[int, memoryview] | int | None:
    """What a server says: output as (stream, bytes), or the exit code; None for what changes nothing for the caller."""
    size = len(untrusted)
    match untrusted_tag:
        case 5 if size == 4:
            return None
        case 8 if size == 5 and untrusted[4] <= 2:
            return None
        case 6 | 9 if size == 5:
            return untrusted[4]
        case 7 if 5 <= size <= 5 + MAX_DATA and untrusted[4] <= 2:
            return untrusted[4], untrusted[5:]
        case _:
            raise WireError(f"message {untrusted_tag} is not what a server may say")
