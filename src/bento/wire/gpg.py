"""Split GPG between two domains: one command line, then what its files say, in blocks that name their file.

    asking    := command block*            (from the domain that has no keys; the end of its stream: it is gone)
    answering := block* exit               (from the domain that has them)
    command   := size u32 | 1024 bytes, of which the first `size` are words with a NUL between two
    block     := file i32 | size u32 | `size` bytes, at most 4096; none: the file is at its end
    exit      := -(code + 1) i32 | 0 u32, where code is 0 to 255; the last of all

Numbers are little-endian. The command is always 1028 bytes long; its first word is the name of a program and counts for
nothing. `file` is a place in a list that both sides make from the command line (`gpgline.py`), not a file's own number:
asking, 0 is gpg's standard input and what the command line names beyond that follows in its order; answering, 0 is
standard output, 1 standard error, and the rest follows. A command line that is refused is answered by a sentence on
file 1 and the exit code 2. Source: gpg-common.h, gpg-client.c, gpg-server.c and multiplex.c of the field's
qubes-app-linux-split-gpg, with whose programs these bytes are shared. Stricter here than there: nothing follows a
file's end, a file's end is said once, and an asking side cannot send an exit code.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bento.wire.errors import WireError

COMMAND = struct.Struct("<I1024s")
BLOCK = struct.Struct("<iI")

MAX_COMMAND = 1024
"""Bytes of all words and the NULs between them."""
MAX_BLOCK = 4096

OUTPUT = 0
ERROR = 1
"""Places of gpg's own two outputs among the files of an answer."""

REFUSED = 2
"""The exit code for a command line that is not run; gpg's own for what goes wrong."""


@dataclass(frozen=True, slots=True)
class Block:
    file: int
    data: bytes
    """Empty: the file is at its end."""


@dataclass(frozen=True, slots=True)
class Ended:
    """gpg has ended with this exit code; all that it wrote came before."""

    code: int


def encode_command(words: Sequence[str]) -> bytes:
    """Of words without a NUL, after the program's name; `WireError` if they do not fit."""
    command = b"\0".join([b"gpg", *(word.encode() for word in words)])
    if len(command) > MAX_COMMAND:
        raise WireError(f"the command line is too long for split GPG: {len(command)} bytes, at most {MAX_COMMAND}")
    return COMMAND.pack(len(command), command)


def decode_command(untrusted: bytes) -> list[str]:
    """The words after the program's name, of `COMMAND.size` bytes; or `WireError`."""
    if len(untrusted) != COMMAND.size:
        raise WireError(f"a command of {len(untrusted)} bytes where {COMMAND.size} are needed")
    size, command = COMMAND.unpack(untrusted)
    if size > MAX_COMMAND:
        raise WireError(f"a command line of {size} bytes, at most {MAX_COMMAND} are allowed")
    try:
        words: list[str] = command[:size].decode().split("\0")
    except UnicodeDecodeError:
        raise WireError("the command line is not UTF-8") from None
    return words[1:]


def encode_block(block: Block | Ended) -> bytes:
    if isinstance(block, Ended):
        return BLOCK.pack(-(block.code + 1), 0)
    return BLOCK.pack(block.file, len(block.data)) + block.data


class BlockReader:
    """Bytes in, blocks out; for one call with so many `files`. After a `WireError` it must not be fed again."""

    def __init__(self, files: int, *, answering: bool) -> None:
        """`answering`: the blocks come from the side that runs gpg, and end with its exit code."""
        self._open = set(range(files))
        self._answering = answering
        self._pending = bytearray()
        self._over = False

    def feed(self, untrusted: bytes) -> Iterator[Block | Ended]:
        """The blocks that `untrusted` completes. Take them all before feeding more."""
        pending = self._pending
        pending += untrusted
        at = 0
        try:
            while len(pending) - at >= BLOCK.size:
                file, size = BLOCK.unpack_from(pending, at)
                block = self._begin(file, size)
                end = at + BLOCK.size + size
                if len(pending) < end:
                    break
                data = bytes(memoryview(pending)[at + BLOCK.size : end])
                at = end
                if block is not None:
                    self._over = True
                    yield block
                else:
                    if not data:
                        self._open.discard(file)
                    yield Block(file, data)
        finally:
            del pending[:at]

    def _begin(self, file: int, size: int) -> Ended | None:
        """Judge a block's header, all of which is untrusted."""
        if self._over:
            raise WireError("a block follows the exit code")
        if file < 0:
            if not self._answering:
                raise WireError("only the side that runs gpg has an exit code")
            if size or file < -256:
                raise WireError(f"{-(file + 1)} with {size} bytes is no exit code")
            return Ended(-(file + 1))
        if file not in self._open:
            raise WireError(f"a block for file {file}, which is at its end or is none of this call's")
        if size > MAX_BLOCK:
            raise WireError(f"a block of {size} bytes, at most {MAX_BLOCK} are allowed")
        return None
