"""Streams of programs that have nothing else to do and wait until all is read or written. The agent never waits so."""

import os


def read_exactly(size: int) -> bytes:
    """So many bytes of standard input, or fewer if no more come."""
    read = b""
    while len(read) < size and (more := os.read(0, size - len(read))):
        read += more
    return read


def write_all(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]
