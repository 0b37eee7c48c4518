"""Template versions: built from a distribution, committed from a TemplateVM's own packed root, forgotten when unused.

A version is a directory that never changes once it has its name. It gets its
name last, after all of it is on disk, and counts only when the store knows it.
What a guest packed is taken as bytes: measured, hashed, renamed, never opened.
"""

import asyncio
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from bento.host.manager.brokers import Broker
from bento.host.manager.errand import run_errand
from bento.host.manager.inventory import Inventory
from bento.host.manager.places import Places
from bento.host.model.domain import Domain, DomainClass
from bento.host.model.errors import Conflict, Invalid, Unavailable
from bento.host.model.inventory import DomainRecord, TemplateVersion
from bento.host.ports.templates import FILES, Built, Progress, TemplateBuilder
from bento.wire.names import DomainName, LabelName

log = logging.getLogger(__name__)

PACK = ("/usr/lib/bento/pack-root", "/dev/vde")
PACK_SECONDS = 900
BLOCK = 4096
ASIDE = ".new-"
"""Prefix of what is not finished; whatever bears it after a crash is removed."""


class Templates:
    def __init__(self, inventory: Inventory, places: Places, builder: TemplateBuilder) -> None:
        self._inventory = inventory
        self._places = places
        self._builder = builder
        self._building: set[DomainName] = set()

    def directory(self, version: TemplateVersion) -> Path:
        return self._places.version(version.template, version.number)

    def version_for(self, record: DomainRecord) -> TemplateVersion:
        """The version that a start of this domain takes its root from."""
        if record.domain.klass is DomainClass.STANDALONE:
            assert record.origin
            assert record.base is not None
            return self._inventory.version(record.origin, record.base)
        return self._inventory.current(record.domain.template or record.name)

    def cmdline(self, version: TemplateVersion) -> str:
        cmdline: str = self.manifest(version)["cmdline"]
        return cmdline

    def manifest(self, version: TemplateVersion) -> dict[str, str]:
        """What the builder recorded; made on the host, and only copied along by commits."""
        path = self.directory(version) / "manifest.json"
        try:
            loaded: dict[str, str] = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise Unavailable(f"{path} cannot be read ({error}); build the template again") from error
        return loaded

    async def build(self, name: DomainName, distribution: str, flavor: str, progress: Progress) -> None:
        """Build `distribution` as the next version of template `name`, which is created if there is none."""
        flavors = self._builder.distributions().get(distribution)
        if flavors is None:
            known = ", ".join(self._builder.distributions())
            raise Invalid(f"'{distribution}' is no distribution that can be built; there are: {known}")
        flavor = flavor or flavors[0]
        if flavor not in flavors:
            raise Invalid(f"'{distribution}' has no flavor '{flavor}'; there are: {', '.join(flavors)}")
        record = self._inventory.get(name) if name in self._inventory else None
        self._may_build(name, record)
        self._building.add(name)
        try:
            with self._aside() as directory:
                built = await self._builder.build(distribution, flavor, directory, progress)
                self._finish(record or self._new_template(name), directory, built, flavor)
        finally:
            self._building.discard(name)
        await self.sweep()

    async def pack(self, record: DomainRecord, broker: Broker) -> None:
        """Have a running TemplateVM pack its root onto its next-root volume."""
        code = await run_errand(broker, record.name, PACK, seconds=PACK_SECONDS)
        if code != 0:
            see = f"see 'bento logs {record.name}'"
            raise Unavailable(f"'{record.name}' could not pack its changes (code {code}), which are kept; {see}")

    async def commit(self, record: DomainRecord) -> None:
        """Make what a TemplateVM packed its new version. Its machine is gone, so nobody writes there any more."""
        source = self._places.next_root(record.domain.uuid)
        old = self.version_for(record)
        with self._aside() as directory:
            _take_image(source, directory / "root.erofs")
            built = await self._builder.derive(self.directory(old), directory)
            self._finish(record, directory, built, old.flavor)
        self._places.delta(record.domain.uuid, old.number).unlink(missing_ok=True)

    def link_version(self, version: TemplateVersion, name: DomainName) -> TemplateVersion:
        """The same image under another template's name (a clone); the caller records it."""
        copy = TemplateVersion(name, 1, version.digest, version.size, time.time(), version.flavor, version.packages)
        with self._aside() as directory:
            for file in FILES:
                os.link(self.directory(version) / file, directory / file)
            self._name(directory, copy)
        return copy

    async def sweep(self) -> None:
        """Remove versions nobody needs, and directories no store knows."""
        for template in {version.template for version in self._inventory.versions()}:
            used = self._inventory.versions_in_use(template)
            for version in self._inventory.versions(template):
                if version.number not in used:
                    self._inventory.drop_version(version)
        known = {self.directory(version) for version in self._inventory.versions()}
        for template_dir in list(self._places.templates.iterdir()):
            if template_dir.name.startswith(ASIDE):
                continue  # someone's work; recovery removes what a crash left
            for directory in list(template_dir.iterdir()):
                if directory not in known:
                    await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
            if not any(template_dir.iterdir()):
                template_dir.rmdir()

    def clear_aside(self) -> None:
        """At start: what a killed manager was in the middle of."""
        for path in self._places.templates.glob(f"{ASIDE}*"):
            shutil.rmtree(path, ignore_errors=True)

    def _may_build(self, name: DomainName, record: DomainRecord | None) -> None:
        if name in self._building:
            raise Conflict(f"'{name}' is being built already", actual="building", required="idle")
        if record is None:
            return
        if record.domain.klass is not DomainClass.TEMPLATE:
            raise Invalid(f"'{name}' exists and is no template; choose another name with --name")
        changed = record.base is not None and self._places.delta(record.domain.uuid, record.base).exists()
        if record.run or changed:
            raise Conflict(
                f"'{name}' runs or has changes that are not committed; 'bento shutdown {name}' commits them",
                actual="changed",
                required="unchanged",
            )

    def _new_template(self, name: DomainName) -> DomainRecord:
        domain = Domain(uuid4(), name, DomainClass.TEMPLATE, LabelName("black"), None)
        self._places.domain(domain.uuid).mkdir(parents=True, mode=0o700)
        return DomainRecord(domain, slot=self._inventory.free_slot())

    def _finish(self, record: DomainRecord, directory: Path, built: Built, flavor: str) -> None:
        numbers = [v.number for v in self._inventory.versions(record.name)]
        number = max(numbers, default=0) + 1
        version = TemplateVersion(record.name, number, built.digest, built.size, time.time(), flavor, built.packages)
        self._name(directory, version)
        if record.name in self._inventory:
            record = self._inventory.get(record.name)
        self._inventory.put(replace(record, base=number), version=version)
        log.info("template %s has version %d, %s", record.name, number, built.digest)

    def _name(self, directory: Path, version: TemplateVersion) -> None:
        target = self.directory(version)
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():  # a directory that no store knows: named just before a crash
            shutil.rmtree(target)
        for file in FILES:
            _sync(directory / file)
        _sync(directory)
        os.rename(directory, target)
        _sync(target.parent)

    @contextmanager
    def _aside(self) -> Iterator[Path]:
        """A directory to work in, gone at the end unless it was renamed."""
        directory = self._places.templates / f"{ASIDE}{uuid4()}"
        directory.mkdir(parents=True)
        try:
            yield directory
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _take_image(source: Path, target: Path) -> None:
    """Make a packed next-root volume an image: cut after its last written block, and nobody's to write."""
    with open(source, "r+b") as image:
        size = _end_of_data(image.fileno())
        if size == 0:
            raise Unavailable("the guest said that it packed its root, but wrote nothing")
        image.truncate(size)
    source.chmod(0o444)
    os.rename(source, target)


def _end_of_data(fd: int) -> int:
    """Where the last data of a sparse file ends, rounded up to a block, without reading any of it."""
    end = at = 0
    size = os.fstat(fd).st_size
    while at < size:
        try:
            at = os.lseek(fd, os.lseek(fd, at, os.SEEK_DATA), os.SEEK_HOLE)
        except OSError:
            break  # ENXIO: no data after here
        end = at
    return min(size, -(-end // BLOCK) * BLOCK)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
