"""The file of a suspended machine: pieces sealed by AES-GCM, which only open whole, in their order, up to their end.

    file  : MAGIC piece* last
    piece : length of what follows the head (u32), part (u8), offset (u64), AES-256-GCM(plain) with its tag

Big-endian. The key is for this one file, so the nonce of a piece is its number, which nobody can change without being
found out; the head is authenticated beside it. Part 0 is the machine's stream, parts 1 and up are its disks, of
which holes are left out; `END` is the last, empty. A file that was cut, or whose pieces were changed, swapped or
mixed with another's, gives `Damaged`, and by then nothing but sound bytes was given out.

Source: NIST SP 800-38D (a nonce of 96 bits, never twice for a key).
"""

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

MAGIC = b"bento-suspended\x01"
PIECE = 1 << 20
"""Bytes of plain text in one piece at most."""

HEAD = struct.Struct(">IBQ")
TAG = 16
STREAM, END = 0, 255
MAX_DISKS = END - 1


class Damaged(Exception):
    """This is no file that was sealed under this key, or not all of it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """`plain` belongs at `offset` of `part`."""

    part: int
    offset: int
    plain: bytes


class Sealer:
    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)
        self._number = 0

    def seal(self, piece: Piece) -> bytes:
        """What is appended to the file for it."""
        head = HEAD.pack(len(piece.plain) + TAG, piece.part, piece.offset)
        sealed = self._cipher.encrypt(_nonce(self._number), piece.plain, MAGIC + head)
        self._number += 1
        return head + sealed

    def end(self) -> bytes:
        return self.seal(Piece(END, 0, b""))


def pieces(key: bytes, read: Callable[[int], bytes]) -> Iterator[Piece]:
    """What was sealed, piece by piece; `read(n)` gives the file's next n bytes, or all that are left."""
    cipher = AESGCM(key)
    if read(len(MAGIC)) != MAGIC:
        raise Damaged("it is none of ours, or of another version")
    number = 0
    while True:
        head = read(HEAD.size)
        if len(head) < HEAD.size:
            raise Damaged("its end is missing")
        size, part, offset = HEAD.unpack(head)
        if not TAG <= size <= PIECE + TAG:
            raise Damaged("a piece of it has a size that none has")
        try:
            plain = cipher.decrypt(_nonce(number), read(size), MAGIC + head)
        except InvalidTag:
            raise Damaged("a piece of it is not what was written") from None
        number += 1
        if part == END:
            break
        yield Piece(part, offset, plain)
    if read(1):
        raise Damaged("something follows its end")


def _nonce(number: int) -> bytes:
    return number.to_bytes(12, "big")
