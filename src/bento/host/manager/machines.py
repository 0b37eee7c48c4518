"""What machine a domain's record asks for: its disks, made where they are missing, and the rest of its shape."""

from pathlib import Path

from bento.host.manager.inventory import Inventory
from bento.host.manager.places import Places
from bento.host.manager.properties import number
from bento.host.manager.templates import Templates
from bento.host.model.domain import DomainClass
from bento.host.model.errors import Conflict
from bento.host.model.inventory import DomainRecord, TemplateVersion
from bento.host.model.machine import Disk, MachineSpec
from bento.host.ports.storage import Storage
from bento.host.ports.templates import ROOT_KEPT

MIB = 1 << 20
PRIVATE_SIZE = 2 << 30
VOLATILE_SIZE = 10 << 30
"""Sizes of new volumes, in bytes (the field's defaults). They are sparse: a blank volume takes no disk."""


class Machines:
    def __init__(self, inventory: Inventory, places: Places, storage: Storage, templates: Templates) -> None:
        self._inventory = inventory
        self._places = places
        self._storage = storage
        self._templates = templates

    async def prepare(self, record: DomainRecord, version: TemplateVersion) -> MachineSpec:
        """The machine for one start of the domain, with `version` as its root; its disks are there on return."""
        image = self._templates.directory(version)
        return MachineSpec(
            uuid=record.domain.uuid,
            name=record.name,
            run_dir=self._places.machine(record.domain.uuid),
            slot=record.slot,
            memory_bytes=number(record, "memory") * MIB,
            vcpus=number(record, "vcpus"),
            kernel=image / "kernel",
            initrd=image / "initrd",
            cmdline=self._templates.cmdline(version) + (f" {ROOT_KEPT}" if _keeps_root(record) else ""),
            disks=await self._disks(record, version, image),
        )

    async def take_away(self, record: DomainRecord) -> None:
        """The volumes of one run; the others outlive it."""
        places, uuid = self._places, record.domain.uuid
        paths = [places.volatile(uuid), places.next_root(uuid)]
        if record.domain.klass is DomainClass.DISPOSABLE:
            paths.append(places.private(uuid))
        for path in paths:
            await self._storage.remove(path)

    async def _disks(self, record: DomainRecord, version: TemplateVersion, image: Path) -> tuple[Disk, ...]:
        """In their order, vda first."""
        places, uuid = self._places, record.domain.uuid
        if record.domain.klass is DomainClass.DISPOSABLE:
            await self._copy_private(record)
        await self._ensure(places.private(uuid), PRIVATE_SIZE)
        if _keeps_root(record):
            changes = places.delta(uuid, version.number)
            await self._ensure(changes, VOLATILE_SIZE)
        else:
            changes = places.volatile(uuid)
            await self._make_anew(changes)
        disks: tuple[Disk, ...] = (
            Disk(image / "root.erofs", read_only=True),
            Disk(places.private(uuid), read_only=False),
            Disk(changes, read_only=False),
            Disk(image / "modules.erofs", read_only=True),
        )
        if record.domain.klass is DomainClass.TEMPLATE:
            await self._make_anew(places.next_root(uuid))
            disks += (Disk(places.next_root(uuid), read_only=False),)
        return disks

    async def _copy_private(self, record: DomainRecord) -> None:
        """A disposable begins with what its base holds. A base that was never started holds nothing yet."""
        assert record.domain.template
        base = self._inventory.get(record.domain.template)
        if base.run:
            raise Conflict(
                f"'{record.name}' is made from '{base.name}', which runs; 'bento shutdown --wait {base.name}' first",
                actual="running",
                required="halted",
            )
        private = self._places.private(record.domain.uuid)
        await self._storage.remove(private)
        if self._places.private(base.domain.uuid).exists():
            with self._inventory.copied(base.name):
                await self._storage.clone(self._places.private(base.domain.uuid), private)

    async def _ensure(self, path: Path, size: int) -> None:
        if not path.exists():
            await self._storage.create(path, size)

    async def _make_anew(self, path: Path) -> None:
        await self._storage.remove(path)
        await self._storage.create(path, VOLATILE_SIZE)


def _keeps_root(record: DomainRecord) -> bool:
    """Whether changes to the root outlive a run."""
    return record.domain.klass in (DomainClass.TEMPLATE, DomainClass.STANDALONE)
