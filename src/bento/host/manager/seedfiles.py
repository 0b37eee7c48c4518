"""The files of seeds: written aside, verified, given their name, and which of them the disk is to hold.

Nothing here knows what a seed is made of, or starts a machine; `seeds.py` does. A seed is a directory that never
changes once it has its name, so one that is found was finished. Beside the seeds lie empty files whose times say when
a seed's base was last used: those used longest ago give way.
"""

import contextlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from pathlib import Path
from uuid import UUID, uuid4

from bento.host.disk.durable import make_directory, sync
from bento.host.disk.sparse import extents
from bento.host.model.machine import Image
from bento.wire.names import DomainName

log = logging.getLogger(__name__)

ASIDE = ".new-"
MANIFEST = "manifest.json"

QUOTA = 4 << 30
"""Bytes of disk that all seeds may take together; those of the bases used longest ago are not kept beyond it."""

USUAL_SIZE = 256 << 20
"""Bytes that a seed is expected to take before it is made."""

CHUNK = 1 << 20


class Kind(StrEnum):
    """Who goes on from a seed."""

    DISPOSABLES = "disposables"
    APPS = "AppVMs"


@dataclass(frozen=True, slots=True)
class Seed:
    """`base` is a disposable template, or a template. `size` is bytes of disk, `made` seconds since 1970."""

    key: str
    directory: Path
    kind: Kind
    base: DomainName
    version: int
    size: int
    made: float

    @property
    def image(self) -> Image:
        return _image(self.directory)

    @property
    def private(self) -> Path:
        return self.directory / "private.img"

    @property
    def volatile(self) -> Path:
        return self.directory / "volatile.img"


class SeedFiles:
    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._sizes: dict[str, int] = {}
        """Of the seeds that this manager has made, bytes of disk, also of those that are gone."""
        self._crowded = False
        """There was too little room on the disk when that was last looked at."""

    def kept(self) -> list[Seed]:
        """All there are, in the order of their keys."""
        return [seed for key in self.names() if (seed := self.get(key))]

    def names(self) -> list[str]:
        """Of all directories: keys of seeds, and what was never finished or never removed to its end."""
        return sorted(path.name for path in self._directory.iterdir() if path.is_dir())

    def get(self, key: str) -> Seed | None:
        """None if there is no such seed, or none that can be read."""
        directory = self._directory / key
        try:
            facts = json.loads((directory / MANIFEST).read_bytes())
            kind, base, version, size, made = (facts[name] for name in ("kind", "base", "version", "size", "made"))
            return Seed(key, directory, Kind(kind), DomainName(base), int(version), int(size), float(made))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def image(self, name: str) -> Image:
        """Of the machine in a directory, whether that can be read as a seed or not."""
        return _image(self._directory / name)

    # From nothing to a name, and back.

    @contextlib.contextmanager
    def aside(self) -> Iterator[Path]:
        """A directory for a seed that is being made, which goes unless it gets a name."""
        aside = self._directory / f"{ASIDE}{uuid4()}"
        try:
            make_directory(aside)
            yield aside
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    def finish(self, aside: Path, kind: Kind, base: DomainName, version: int) -> None:
        """All that a seed's directory is to hold is there: write down what that is, and put it on disk. Blocks."""
        digests, size = {}, 0
        for path in sorted(aside.iterdir()):
            # Nobody's to write: where QEMU runs as the person, one that a guest has taken over would open it once more.
            path.chmod(0o400)
            digests[path.name] = _digest(path)
            size += path.stat().st_blocks * 512
            sync(path)
        facts = {"kind": kind, "base": base, "version": version, "made": time.time(), "size": size, "digests": digests}
        with open(aside / MANIFEST, "w") as file:
            json.dump(facts, file)
        sync(aside / MANIFEST)
        sync(aside)

    def name(self, aside: Path, key: str) -> None:
        """One that is finished is a seed from here on."""
        os.rename(aside, self._directory / key)
        sync(self._directory)
        if seed := self.get(key):
            self._sizes[key] = seed.size

    def is_whole(self, seed: Seed) -> bool:
        """Whether every file of it is what it was when it was made. Blocks: all of it is read."""
        try:
            digests = json.loads((seed.directory / MANIFEST).read_bytes())["digests"]
            return all(digest == _digest(seed.directory / name) for name, digest in digests.items())
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def remove(self, name: str) -> None:
        """Its name first, so that nobody finds half of it."""
        gone = self._directory / f"{ASIDE}{uuid4()}"
        with contextlib.suppress(FileNotFoundError):
            os.rename(self._directory / name, gone)
            shutil.rmtree(gone, ignore_errors=True)

    # Which of them the disk is to hold.

    def use(self, kind: Kind, base: UUID) -> None:
        """Remember that a disposable of this base was made just now, or that this AppVM was started."""
        with contextlib.suppress(OSError):  # a full disk costs the order of use, not a disposable, which needs none
            self._mark(kind, base).touch()

    def last_used(self, kind: Kind, base: UUID) -> float:
        """Seconds since 1970; 0.0 if never."""
        try:
            return self._mark(kind, base).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def forget_all_but(self, bases: Iterable[UUID]) -> None:
        """No other base exists any more."""
        marks = {self._mark(kind, base) for base in bases for kind in Kind}
        for path in list(self._directory.iterdir()):
            if not path.is_dir() and path not in marks:
                path.unlink()

    def within_quota(self, keys: Iterable[str]) -> list[str]:
        """Those for which there is room, the first ones first, whether they were made or are to be made.

        One that turned out too large is not made again and again. It costs the others nothing: else a guest that fills
        its disposable template would have all seeds removed.
        """
        room, fitting = QUOTA, []
        for key in keys:
            seed = self.get(key)
            size = seed.size if seed else self._sizes.get(key, USUAL_SIZE)
            if size <= room:
                room -= size
                fitting.append(key)
        return fitting

    def has_room(self) -> bool:
        """Whether the disk has room for a seed and as much again: what only saves time must not fill it."""
        try:
            room = os.statvfs(self._directory)
        except OSError:
            return False
        crowded, self._crowded = self._crowded, room.f_bavail * room.f_frsize < 2 * USUAL_SIZE
        if self._crowded and not crowded:
            log.warning("no seeds are made while less than %d MiB of the disk are free", 2 * USUAL_SIZE >> 20)
        return not self._crowded

    def _mark(self, kind: Kind, base: UUID) -> Path:
        return self._directory / f"{'used' if kind is Kind.DISPOSABLES else 'started'}-{base}"


def _image(directory: Path) -> Image:
    return Image(directory / "memory", directory / "state")


def _digest(path: Path) -> str:
    """Of a file that is mostly holes: its size, and each chunk with its number that is not all zeros. SHA-256, hex."""
    digest = sha256(path.stat().st_size.to_bytes(8, "big"))
    for at, chunk in _chunks(path):
        digest.update(at.to_bytes(8, "big"))
        digest.update(chunk)
    return digest.hexdigest()


def _chunks(path: Path) -> Iterator[tuple[int, bytes]]:
    zeros = bytes(CHUNK)
    with open(path, "rb") as file:
        done = 0
        for start, end in extents(file.fileno()):
            for at in range(max(done, start // CHUNK * CHUNK), end, CHUNK):
                chunk = os.pread(file.fileno(), CHUNK, at)
                if chunk != zeros[: len(chunk)]:
                    yield at, chunk
                done = at + CHUNK
