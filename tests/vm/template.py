"""The template that tests boot: built once for each state of the sources that go into it, and kept.

BENTO_TEST_TEMPLATE names a finished template to use instead, as it is.
"""

import asyncio
import fcntl
import hashlib
import os
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bento.host.drivers.template.builder import DebianBuilder
from bento.host.drivers.template.manifest import MANIFEST, decode_manifest
from bento.host.model.machine import Disk

SOURCE = Path(__file__).parents[2] / "src" / "bento"
INGREDIENTS = ("wire", "guest", "host/drivers/template")
"""What of Bento's own sources a template is made from."""


@dataclass(frozen=True, slots=True)
class Template:
    directory: Path
    cmdline: str

    @property
    def kernel(self) -> Path:
        return self.directory / "kernel"

    @property
    def initrd(self) -> Path:
        return self.directory / "initrd"

    def disks(self, private: Path, volatile: Path) -> tuple[Disk, ...]:
        """An AppVM's disks in their order, vda first."""
        root, modules = self.directory / "root.erofs", self.directory / "modules.erofs"
        return Disk(root, True), Disk(private, False), Disk(volatile, False), Disk(modules, True)


@cache
def built_template() -> Template:
    """The minimal template; the first time after a change of the guest's half this builds one, for a minute or two."""
    given = os.environ.get("BENTO_TEST_TEMPLATE")
    directory = Path(given) if given else _kept()
    return Template(directory, decode_manifest((directory / MANIFEST).read_text()).cmdline)


def _kept() -> Path:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "bento-test-templates"
    cache.mkdir(parents=True, exist_ok=True)
    kept = cache / _digest()
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # another run may be building the same
        if not kept.exists():
            for old in cache.iterdir():
                if old.is_dir() and _hold(old, fcntl.LOCK_EX):
                    shutil.rmtree(old)
            building = cache / "building"
            building.mkdir()
            asyncio.run(DebianBuilder().build("debian-12", "minimal", building, lambda _phase, _fraction: None))
            building.rename(kept)
        assert _hold(kept, fcntl.LOCK_SH)
    return kept


def _hold(directory: Path, how: int) -> bool:
    """To the end of this process. Tests of another checkout may be using the template that is theirs."""
    held = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, how | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        return False
    return True


def _digest() -> str:
    digest = hashlib.sha256()
    for room in INGREDIENTS:
        for path in sorted(p for p in (SOURCE / room).rglob("*") if p.is_file() and "__pycache__" not in p.parts):
            digest.update(f"{path.relative_to(SOURCE)}\0".encode() + path.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
