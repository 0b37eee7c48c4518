"""Names that outlive a power cut: who makes one, renames it or removes it puts that on disk before going on."""

import os
from pathlib import Path


def make_directory(path: Path) -> None:
    """A new directory that only the person may look into, its name on disk. Its parent must be there."""
    path.mkdir(mode=0o700)
    sync(path.parent)


def sync(path: Path) -> None:
    """Put a file's bytes, or a directory's names, on disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
