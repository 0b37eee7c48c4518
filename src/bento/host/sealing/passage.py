"""The two ways: a stream and disks into a file, and back. Files are numbers of open ones; nothing is opened here."""

import os
from collections.abc import Iterator, Sequence

from bento.host.disk.sparse import extents
from bento.host.sealing.format import MAGIC, PIECE, STREAM, Damaged, Piece, Sealer, pieces


def seal(key: bytes, stream: int, disks: Sequence[int], image: int) -> None:
    """Write all that `stream` gives, and what the sparse files `disks` hold, to the new file `image`; on disk then."""
    sealer = Sealer(key)
    write_all(image, MAGIC)
    offset = 0
    while untrusted := os.read(stream, PIECE):
        write_all(image, sealer.seal(Piece(STREAM, offset, untrusted)))
        offset += len(untrusted)
    # Only now: a disk's copy is whole when its machine has said its last.
    for part, disk in enumerate(disks, 1):
        for offset, untrusted in content(disk):
            write_all(image, sealer.seal(Piece(part, offset, untrusted)))
    write_all(image, sealer.end())
    os.fsync(image)


def unseal(key: bytes, image: int, stream: int, disks: Sequence[int]) -> None:
    """The way back: `disks` are blank files of the sizes that they had. Raises `Damaged`."""
    position = 0
    for piece in pieces(key, lambda size: read_up_to(image, size)):
        if piece.part == STREAM:
            if piece.offset != position:
                raise Damaged("a piece of it is not in its place")
            write_all(stream, piece.plain)
            position += len(piece.plain)
        elif piece.part <= len(disks):
            write_at(disks[piece.part - 1], piece.plain, piece.offset)
        else:
            raise Damaged("it holds a disk that its machine has not")


def content(disk: int) -> Iterator[tuple[int, bytes]]:
    """Where a sparse file has data, and what, in pieces: holes are left out."""
    for start, end in extents(disk):
        while start < end:
            piece = os.pread(disk, min(PIECE, end - start), start)
            yield start, piece
            start += len(piece)


def read_up_to(fd: int, size: int) -> bytes:
    """`size` bytes, or all there are up to the end."""
    got = b""
    while len(got) < size and (more := os.read(fd, size - len(got))):
        got = got + more if got else more
    return got


def write_at(fd: int, data: bytes, offset: int) -> None:
    while data:
        written = os.pwrite(fd, data, offset)
        data, offset = data[written:], offset + written


def write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
