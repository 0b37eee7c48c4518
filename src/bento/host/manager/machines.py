"""What machine a domain's record asks for: its disks, made where they are missing, and the rest of its shape."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol
from uuid import UUID

from bento.host.manager.inventory import Inventory
from bento.host.manager.places import Places
from bento.host.manager.properties import number
from bento.host.manager.templates import Templates
from bento.host.model.domain import DomainClass
from bento.host.model.errors import Conflict
from bento.host.model.inventory import DomainRecord, Phase, TemplateVersion
from bento.host.model.machine import Disk, Image, MachineSpec
from bento.host.model.memory import MIB
from bento.host.ports.storage import Storage
from bento.wire.boot import PRIVATE_LATER, ROOT_KEPT, SEED
from bento.wire.names import DomainName

PRIVATE_SIZE = 2 << 30
VOLATILE_SIZE = 10 << 30
"""Sizes of new volumes, in bytes (the field's defaults). They are sparse: a blank volume takes no disk."""
SCRATCH_SIZE = 2 << 30
"""The same of a disposable's volatile volume, which lies in memory: no more than that can be filled."""


class SeedFiles(Protocol):
    """What a machine goes on from; see `seeds.py`."""

    @property
    def image(self) -> Image: ...

    @property
    def private(self) -> Path: ...

    @property
    def volatile(self) -> Path: ...


class Machines:
    def __init__(self, inventory: Inventory, places: Places, storage: Storage, templates: Templates) -> None:
        self._inventory = inventory
        self._places = places
        self._storage = storage
        self._templates = templates

    async def prepare(
        self, record: DomainRecord, version: TemplateVersion, seed: SeedFiles | None = None
    ) -> MachineSpec:
        """The machine for one start of the domain, with `version` as its root; its disks are there on return.

        With a `seed` it is one that goes on from there.
        """
        image = self._templates.directory(version)
        if record.domain.klass is DomainClass.DISPOSABLE:
            private, volatile = await self._scratch(record, seed)
            disks = _in_order(image, private, volatile)
        else:
            disks = await self._disks(record, version, image, seed)
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
            disks=disks,
            image=seed.image if seed else None,
            gives_back=seed is None,
        )

    async def prepare_seed(
        self, base: DomainRecord, version: TemplateVersion, directory: Path, uuid: UUID, slot: int, *, for_apps: bool
    ) -> MachineSpec:
        """The machine that becomes a seed, with its memory and its disks in `directory`: for disposables of `base`.

        With `for_apps` it is one for AppVMs like `base`. It lets go of its private volume, which is no part of it then.
        """
        image, run_dir, own = self._templates.directory(version), self._places.machine(uuid), base.domain.uuid
        private, volatile = (run_dir if for_apps else directory) / "private.img", directory / "volatile.img"
        if not for_apps and self._places.private(own).exists():
            await self._storage.clone(self._places.private(own), private)
        else:
            await self._storage.create(private, PRIVATE_SIZE)
        await self._storage.create(volatile, VOLATILE_SIZE if for_apps else SCRATCH_SIZE)
        words = f"{SEED} {PRIVATE_LATER}" if for_apps else SEED
        return MachineSpec(
            uuid=uuid,
            name=DomainName("seed"),
            run_dir=run_dir,
            slot=slot,
            memory_bytes=number(base, "memory") * MIB,
            vcpus=number(base, "vcpus"),
            kernel=image / "kernel",
            initrd=image / "initrd",
            cmdline=f"{self._templates.cmdline(version)} {words}",
            disks=_in_order(image, Disk(private, read_only=False), Disk(volatile, read_only=False)),
            memory_file=directory / "memory",
        )

    async def thin(self, spec: MachineSpec) -> None:
        """Have the memory of a machine that is gone take no more of the disk than is in it: guests clear a lot."""
        assert spec.memory_file
        await self._storage.thin(spec.memory_file)

    def base_at_rest(self, record: DomainRecord) -> AbstractContextManager[None]:
        """Meanwhile nobody starts what a disposable is copied from."""
        base = record.domain.template if record.domain.klass is DomainClass.DISPOSABLE else None
        return self._inventory.copied(base) if base else nullcontext()

    async def take_away(self, record: DomainRecord) -> None:
        """The volumes of one run; the others outlive it."""
        places, uuid = self._places, record.domain.uuid
        for path in (places.volatile(uuid), places.next_root(uuid)):
            await self._storage.remove(path)

    async def _disks(
        self, record: DomainRecord, version: TemplateVersion, image: Path, seed: SeedFiles | None
    ) -> tuple[Disk, ...]:
        """In their order, vda first. With a `seed` the private volume is the domain's own all the same."""
        places, uuid = self._places, record.domain.uuid
        await self._ensure(places.private(uuid), PRIVATE_SIZE)
        if _keeps_root(record):
            changes = places.delta(uuid, version.number)
            await self._ensure(changes, VOLATILE_SIZE)
        else:
            changes = places.volatile(uuid)
            await self._make_anew(changes, seed.volatile if seed else None)
        private = Disk(places.private(uuid), read_only=False)
        disks = _in_order(image, private, Disk(changes, read_only=False))
        if record.domain.klass is DomainClass.TEMPLATE:
            await self._make_anew(places.next_root(uuid))
            disks += (Disk(places.next_root(uuid), read_only=False),)
        return disks

    async def _scratch(self, record: DomainRecord, seed: SeedFiles | None) -> tuple[Disk, Disk]:
        """A disposable's private and volatile volume: what its seed has, or what its base holds and a blank."""
        if seed:
            return _scratch(seed.private), _scratch(seed.volatile)
        assert record.domain.template
        base, run_dir = self._inventory.get(record.domain.template), self._places.machine(record.domain.uuid)
        if base.run:
            now = "is suspended; 'bento resume' and" if base.run.phase is Phase.SUSPENDED else "runs;"
            raise Conflict(
                f"'{record.name}' is made from '{base.name}', which {now} 'bento shutdown --wait {base.name}' first",
                actual="running",
                required="halted",
            )
        private, volatile = self._places.private(base.domain.uuid), run_dir / "volatile.img"
        if not private.exists():
            private = run_dir / "private.img"
            await self._ensure(private, PRIVATE_SIZE)
        await self._ensure(volatile, SCRATCH_SIZE)
        return _scratch(private), _scratch(volatile)

    async def _ensure(self, path: Path, size: int) -> None:
        if not path.exists():
            await self._storage.create(path, size)

    async def _make_anew(self, path: Path, origin: Path | None = None) -> None:
        await self._storage.remove(path)
        if origin:
            await self._storage.clone(origin, path)
        else:
            await self._storage.create(path, VOLATILE_SIZE)


def _in_order(image: Path, private: Disk, volatile: Disk) -> tuple[Disk, ...]:
    """vda first."""
    return (
        Disk(image / "root.erofs", read_only=True),
        private,
        volatile,
        Disk(image / "modules.erofs", read_only=True),
    )


def _scratch(path: Path) -> Disk:
    return Disk(path, read_only=False, scratch=True)


def _keeps_root(record: DomainRecord) -> bool:
    """Whether changes to the root outlive a run."""
    return record.domain.klass in (DomainClass.TEMPLATE, DomainClass.STANDALONE)
