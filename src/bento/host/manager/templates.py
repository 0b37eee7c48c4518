"""Template versions: built from a distribution, committed from a TemplateVM's own packed root, forgotten when unused.

A version is a directory that never changes once it has its name. It gets its
name last, after all of it is on disk, and counts only when the store knows it.
What a guest packed is taken as bytes: measured, hashed, renamed, never opened.
"""

import asyncio
import contextlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

from bento.host.disk.durable import make_directory, sync
from bento.host.disk.sparse import extents
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

    def directory(self, version: TemplateVersion) -> Path:
        return self._places.version(version.template, version.number)

    def version_for(self, record: DomainRecord) -> TemplateVersion:
        """The version that a start of this domain takes its root from."""
        if record.domain.klass is DomainClass.STANDALONE:
            assert record.origin
            assert record.base is not None
            return self._inventory.version(record.origin, record.base)
        return self._inventory.current(self._inventory.template_of(record))

    def cmdline(self, version: TemplateVersion) -> str:
        cmdline = self.manifest(version).get("cmdline")
        if not isinstance(cmdline, str):
            raise Unavailable(f"the manifest of template '{version.template}' is damaged; build the template again")
        return cmdline

    def manifest(self, version: TemplateVersion) -> Mapping[str, object]:
        """What the builder recorded; made on the host, and only copied along by commits."""
        path = self.directory(version) / "manifest.json"
        try:
            loaded = json.loads(path.read_bytes())
        except (OSError, ValueError) as error:
            raise Unavailable(f"{path} cannot be read ({error}); build the template again") from error
        return loaded if isinstance(loaded, dict) else {}

    def disk_usage(self, template: DomainName) -> int:
        """Bytes of disk that its versions take and no other template's do. Versions share files by hard links."""
        found: dict[tuple[int, int], list[os.stat_result]] = {}
        for version in self._inventory.versions(template):
            with contextlib.suppress(FileNotFoundError):
                for entry in os.scandir(self.directory(version)):
                    status = entry.stat(follow_symlinks=False)
                    found.setdefault((status.st_dev, status.st_ino), []).append(status)
        return sum(links[0].st_blocks * 512 for links in found.values() if len(links) == links[0].st_nlink)

    async def build(self, name: DomainName, distribution: str, flavor: str, progress: Progress) -> None:
        """Build `distribution` as the next version of template `name`, which is created if there is none."""
        flavors = self._builder.distributions().get(distribution)
        if flavors is None:
            known = ", ".join(self._builder.distributions())
            raise Invalid(f"'{distribution}' is no distribution that can be built; there are: {known}")
        flavor = flavor or flavors[0]
        if flavor not in flavors:
            raise Invalid(f"'{distribution}' has no flavor '{flavor}'; there are: {', '.join(flavors)}")
        with self._inventory.hold(name, "is being built"):
            record = self._inventory.get(name) if name in self._inventory else None
            self._may_build(name, record)
            with self._aside() as directory:
                built = await self._builder.build(distribution, flavor, directory, progress)
                await asyncio.to_thread(_put_on_disk, directory)
                self._finish(record or self._new_template(name), directory, built, flavor)
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
            # Apart from the others' turns: a guest can make its volume one of a million pieces.
            await asyncio.to_thread(_take_image, source, directory / "root.erofs")
            built = await self._builder.derive(self.directory(old), directory)
            await asyncio.to_thread(_put_on_disk, directory)
            self._finish(record, directory, built, old.flavor)
        self._places.delta(record.domain.uuid, old.number).unlink(missing_ok=True)

    def clone(self, version: TemplateVersion, copy: DomainRecord) -> None:
        """Record `copy`, a new template that begins with the image of `version`."""
        linked = replace(version, template=copy.name, number=1, created=time.time())
        with self._aside() as directory:
            for file in FILES:
                os.link(self.directory(version) / file, directory / file)
            sync(directory)
            self._record(replace(copy, base=1), linked, directory)

    async def sweep(self) -> None:
        """Remove versions nobody needs, and directories no store knows."""
        for version in self._inventory.versions():
            if version.number not in self._inventory.versions_in_use(version.template):
                self._inventory.drop_version(version)
        # Set aside in one go: while files are being removed somebody else may name a new version.
        known = {self.directory(version) for version in self._inventory.versions()}
        doomed = []
        for template in self._templates():
            for directory in [d for d in template.iterdir() if d.is_dir() and d not in known]:
                doomed.append(self._places.templates / f"{ASIDE}{uuid4()}")
                os.rename(directory, doomed[-1])
            if not any(template.iterdir()):
                template.rmdir()
        for directory in doomed:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)

    def clear_aside(self) -> None:
        """At start: what a killed manager was in the middle of."""
        for path in self._places.templates.glob(f"{ASIDE}*"):
            shutil.rmtree(path, ignore_errors=True)

    def _templates(self) -> list[Path]:
        """The directories of finished versions, one a template."""
        return [d for d in self._places.templates.iterdir() if d.is_dir() and not d.name.startswith(ASIDE)]

    def _may_build(self, name: DomainName, record: DomainRecord | None) -> None:
        if record is None:
            return
        if record.domain.klass is not DomainClass.TEMPLATE:
            raise Invalid(f"'{name}' exists and is no template; choose another name with --name")
        changed = record.base is not None and self._places.delta(record.domain.uuid, record.base).exists()
        if record.run or changed:
            raise Conflict(
                f"'{name}' runs or has changes that are no version yet; 'bento shutdown {name}' makes them one,"
                f" after 'bento start {name}' if it does not run",
                actual="changed",
                required="unchanged",
            )

    def _new_template(self, name: DomainName) -> DomainRecord:
        domain = Domain(uuid4(), name, DomainClass.TEMPLATE, LabelName("black"), None)
        make_directory(self._places.domain(domain.uuid))
        return DomainRecord(domain, slot=self._inventory.free_slot())

    def _finish(self, record: DomainRecord, directory: Path, built: Built, flavor: str) -> None:
        if record.name in self._inventory:
            record = self._inventory.get(record.name)  # its properties may have changed meanwhile
        number = max((v.number for v in self._inventory.versions(record.name)), default=0) + 1
        version = TemplateVersion(record.name, number, built.digest, built.size, time.time(), flavor, built.packages)
        self._record(replace(record, base=number), version, directory)
        log.info("template %s has version %d, %s", record.name, number, built.digest)

    def _record(self, record: DomainRecord, version: TemplateVersion, directory: Path) -> None:
        """Give `directory`, which is on disk, its name and have the store know it; nothing comes between the two."""
        target = self.directory(version)
        if not target.parent.exists():
            make_directory(target.parent)
        if target.exists():  # a directory that no store knows: named just before a crash
            shutil.rmtree(target)
        os.rename(directory, target)
        try:
            sync(target.parent)
            self._inventory.put(record, version=version)
        except BaseException:
            shutil.rmtree(target, ignore_errors=True)
            with contextlib.suppress(OSError):
                target.parent.rmdir()  # unless it has other versions
            raise

    @contextmanager
    def _aside(self) -> Iterator[Path]:
        """A directory to work in, gone at the end unless it was renamed."""
        directory = self._places.templates / f"{ASIDE}{uuid4()}"
        try:
            directory.mkdir()
            yield directory
        except OSError as error:
            raise Unavailable(f"the template cannot be written ({error}); is the disk full?") from error
        finally:
            shutil.rmtree(directory, ignore_errors=True)


def _put_on_disk(directory: Path) -> None:
    for file in FILES:
        sync(directory / file)
    sync(directory)


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
    last = max((end for _, end in extents(fd)), default=0)
    return min(os.fstat(fd).st_size, -(-last // BLOCK) * BLOCK)
