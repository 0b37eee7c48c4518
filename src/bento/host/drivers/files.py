"""The storage driver: volumes are raw sparse files, and nothing in them is ever read but to copy it.

A volume appears under its name whole, or not at all: it is made beside it, written to disk, and only then linked. Where
the file system can share blocks between files (btrfs, xfs) a clone costs none; elsewhere its holes stay holes.
"""

import asyncio
import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bento.host.disk.durable import sync
from bento.host.drivers.sparse import copy_sparse
from bento.host.model.errors import Unavailable

FICLONE = 0x40049409
"""ioctl_ficlone(2): _IOW(0x94, 9, int)."""

CANNOT_SHARE = {errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.EXDEV, errno.ENOSYS}


class FileStorage:
    """Volumes as files of mode 0600."""

    async def create(self, path: Path, size: int) -> None:
        await asyncio.to_thread(_publish, path, lambda fd: os.ftruncate(fd, size))

    async def clone(self, source: Path, target: Path) -> None:
        await asyncio.to_thread(_publish, target, lambda fd: _clone(source, fd))

    async def resize(self, path: Path, size: int) -> None:
        await asyncio.to_thread(_grow, path, size)

    async def thin(self, path: Path) -> None:
        await asyncio.to_thread(_thin, path)

    async def remove(self, path: Path) -> None:
        # The blocks of a large file take time to free.
        await asyncio.to_thread(_remove, path)

    def usage(self, path: Path) -> int:
        try:
            return os.stat(path).st_blocks * 512
        except FileNotFoundError:
            return 0


def _publish(path: Path, fill: Callable[[int], None]) -> None:
    """A file named `path` with what `fill` writes, on disk when this returns."""
    partial = _partial(path)
    with _blaming(path):
        partial.unlink(missing_ok=True)  # of a manager that was killed here
        try:
            with _open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL) as fd:
                fill(fd)
                os.fsync(fd)
            # Unlike a rename, a link never takes the place of a volume that is there.
            os.link(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        sync(path.parent)


def _clone(source: Path, target: int) -> None:
    with _open(source, os.O_RDONLY) as origin:
        try:
            fcntl.ioctl(target, FICLONE, origin)
        except OSError as error:
            if error.errno not in CANNOT_SHARE:
                raise
            copy_sparse(origin, target)


def _thin(path: Path) -> None:
    partial = _partial(path)
    with _blaming(path):
        try:
            with _open(path, os.O_RDONLY) as thick, _open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL) as fd:
                copy_sparse(thick, fd, zeros=False)
                os.fsync(fd)
            os.rename(partial, path)
        finally:
            partial.unlink(missing_ok=True)
        sync(path.parent)


def _grow(path: Path, size: int) -> None:
    with _blaming(path), _open(path, os.O_RDWR) as fd:
        if size < os.fstat(fd).st_size:
            raise Unavailable(f"{path} is larger than {size} bytes already; a volume can only grow")
        os.ftruncate(fd, size)
        os.fsync(fd)


def _remove(path: Path) -> None:
    with _blaming(path):
        for each in (path, _partial(path)):
            each.unlink(missing_ok=True)
        sync(path.parent)


def _partial(path: Path) -> Path:
    return path.with_name(path.name + ".partial")


@contextmanager
def _open(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    """Errors of the disk, as a sentence about the volume."""
    try:
        yield
    except OSError as error:
        match error.errno:
            case errno.ENOSPC | errno.EDQUOT:
                sentence = f"the disk is full: no room for {path}; 'bento ls --disk' shows what takes it"
            case errno.EEXIST:
                sentence = f"{path} is there already; remove it first if nothing needs it"
            case errno.ENOENT:
                sentence = f"{error.filename} is missing; bring it back from a backup, or remove what needs it"
            case _:
                sentence = f"{error.filename or path} cannot be used: {error.strerror}"
        raise Unavailable(sentence) from error
