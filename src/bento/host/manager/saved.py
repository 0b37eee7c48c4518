"""What there is of a suspended domain: two files in its directory, and the machines that become them and come of them.

`suspended.img` is the machine, sealed by a process (`passage.py`) under a key of its own. `suspended.json` says how to
go on, and holds that key, wrapped by the host's for just these words: neither another domain's image nor other words
fit it. It goes first when the two go: without it the image is noise. Whether they count is not for here to say: the
domain's run does (`model.inventory.Phase`).
"""

import asyncio
import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

from bento.host.disk.durable import sync
from bento.host.manager.passage import Argv, Damaged, Progress, passage, told
from bento.host.manager.places import Places
from bento.host.model.errors import Conflict, Unavailable
from bento.host.model.inventory import DomainRecord
from bento.host.model.machine import Disk, MachineSpec
from bento.host.ports.hypervisor import Hypervisor, Machine
from bento.host.ports.keys import Keys
from bento.wire.names import DomainName
from bento.wire.sealing import KEY_SIZE

FORMAT = 1
NOTE = "machine.json"
"""In a machine's run directory: what it was started as."""

MORE = 64 << 20
"""Bytes that an image may be larger than the machine's memory and disks in memory: devices, and what seals it."""


@dataclass(frozen=True, slots=True)
class Rest:
    """How to go on from an image. `disks`: the sizes of those that lay in memory, in bytes, in their order."""

    fingerprint: str
    spec: MachineSpec
    disks: tuple[int, ...]


class Saved:
    def __init__(self, places: Places, hypervisor: Hypervisor, keys: Keys, argv: Argv) -> None:
        self._places = places
        self._hypervisor = hypervisor
        self._keys = keys
        self._argv = argv

    def note(self, spec: MachineSpec) -> None:
        """Keep beside a machine, for as long as it runs, what it was started as: settings may change meanwhile."""
        (spec.run_dir / NOTE).write_text(json.dumps(_encode(spec)))

    def is_there(self, uuid: UUID) -> bool:
        return self._places.suspended(uuid).exists() and self._places.suspended_facts(uuid).exists()

    async def save(self, record: DomainRecord, machine: Machine, progress: Progress) -> None:
        """Stop the machine and write all that it is, on disk on return. It may go on if this raises."""
        uuid = record.domain.uuid
        spec = self._noted(record)
        usual = (await machine.usage()).memory_bytes
        await machine.pause()
        disks = await machine.copy_disks([place for place, disk in enumerate(spec.disks) if disk.scratch])
        try:
            sizes = tuple(os.fstat(disk).st_size for disk in disks)
            key = os.urandom(KEY_SIZE)
            self._describe(uuid, Rest(self._fingerprint(), spec, sizes), key)
            # Not the sizes, which are QEMU's word: what the copies hold lies in memory by now.
            bound = spec.memory_bytes + sum(os.fstat(disk).st_blocks * 512 for disk in disks) + MORE
            with _open(self._places.suspended(uuid), os.O_RDWR | os.O_CREAT | os.O_EXCL) as image:
                async with (
                    told(progress, image, usual),
                    passage(self._argv, "seal", key, image, disks, bound=bound) as under_way,
                ):
                    await under_way.beside(asyncio.create_task(machine.suspend(under_way.stream)))
            sync(self._places.domain(uuid))
        finally:
            _close(disks)

    async def restore(self, record: DomainRecord, progress: Progress) -> Machine:
        """The machine again, all of it sound, and stopped: nothing of its guest has run since. What is saved stays."""
        name, uuid = record.name, record.domain.uuid
        rest, key = self._read(record)
        if rest.fingerprint != self._fingerprint():
            raise Conflict(
                f"'{name}' was suspended by another QEMU, or another version of Bento, and cannot go on with this one;"
                f" put that back, or throw the saved state away with 'bento kill {name}'",
                actual="changed",
                required="unchanged",
            )
        rest.spec.run_dir.mkdir(parents=True, mode=0o700, exist_ok=True)
        self.note(rest.spec)
        disks = [_blank(size) for size in rest.disks]
        machines: list[Machine] = []

        async def load(stream: int) -> None:
            machines.append(await self._hypervisor.restore(rest.spec, stream, disks))

        try:
            with _open(self._places.suspended(uuid), os.O_RDONLY) as image:
                bound, size = max(rest.disks, default=0) + MORE, os.fstat(image).st_size
                async with (
                    told(progress, image, size),
                    passage(self._argv, "open", key, image, disks, bound=bound) as under_way,
                ):
                    await under_way.beside(asyncio.create_task(load(under_way.stream)))
            return machines.pop()
        except Damaged as error:
            raise Unavailable(_not_whole(name, str(error))) from error
        finally:
            _close(disks)
            for machine in machines:  # it was loaded, but what it was loaded from is not whole
                await machine.kill()

    def discard(self, uuid: UUID) -> None:
        """The key first, so that the rest is noise whenever this is interrupted. Removing what is gone is no error."""
        facts = self._places.suspended_facts(uuid)
        with contextlib.suppress(FileNotFoundError):
            size = facts.stat().st_size
            with open(facts, "r+b") as file:  # where the disk writes in place, nothing of it stays
                file.write(bytes(size))
                file.flush()
                os.fsync(file.fileno())
            facts.unlink()
            sync(facts.parent)
        self._places.suspended(uuid).unlink(missing_ok=True)

    def _noted(self, record: DomainRecord) -> MachineSpec:
        try:
            return _decode(json.loads((self._places.machine(record.domain.uuid) / NOTE).read_text()))
        except FileNotFoundError:
            raise Conflict(
                f"'{record.name}' was started by an earlier version of Bento; it can be suspended after its next start",
                actual="running",
                required="started anew",
            ) from None

    def _describe(self, uuid: UUID, rest: Rest, key: bytes) -> None:
        about = {
            "format": FORMAT,
            "fingerprint": rest.fingerprint,
            "machine": _encode(rest.spec),
            "disks": list(rest.disks),
        }
        wrapped = self._keys.wrap(key, _purpose(uuid, about))
        with (
            _open(self._places.suspended_facts(uuid), os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as fd,
            open(fd, "wb", closefd=False) as file,  # which writes all of it, or raises
        ):
            file.write(json.dumps({"about": about, "key": wrapped.hex()}).encode())
            file.flush()
            os.fsync(fd)

    def _read(self, record: DomainRecord) -> tuple[Rest, bytes]:
        uuid = record.domain.uuid
        try:
            read = json.loads(self._places.suspended_facts(uuid).read_bytes())
            about, wrapped = read["about"], bytes.fromhex(read["key"])
            key = self._keys.unwrap(wrapped, _purpose(uuid, about))
            rest = Rest(about["fingerprint"], _decode(about["machine"]), tuple(map(int, about["disks"])))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Unavailable(_not_whole(record.name, str(error))) from error
        except Unavailable as error:
            raise Unavailable(f"'{record.name}' cannot go on: {error}") from error
        return rest, key

    def _fingerprint(self) -> str:
        return sha256(self._hypervisor.fingerprint.encode()).hexdigest()


def _not_whole(name: DomainName, why: str) -> str:
    return f"the saved state of '{name}' is not what was written ({why}); 'bento kill {name}' throws it away"


def _purpose(uuid: UUID, about: object) -> bytes:
    return f"bento suspended {uuid} {json.dumps(about, sort_keys=True)}".encode()


def _encode(spec: MachineSpec) -> dict[str, object]:
    """All of it, but for where it began: it goes on from where it is."""
    return {
        "uuid": str(spec.uuid),
        "name": spec.name,
        "run_dir": str(spec.run_dir),
        "slot": spec.slot,
        "memory_bytes": spec.memory_bytes,
        "vcpus": spec.vcpus,
        "kernel": str(spec.kernel),
        "initrd": str(spec.initrd),
        "cmdline": spec.cmdline,
        "disks": [[str(disk.path), disk.read_only, disk.scratch] for disk in spec.disks],
        "gives_back": spec.gives_back,
    }


def _decode(read: Mapping[str, Any]) -> MachineSpec:
    """Of what `_encode` gave. Raises `KeyError`, `TypeError` or `ValueError` for anything else."""
    return MachineSpec(
        uuid=UUID(read["uuid"]),
        name=DomainName(read["name"]),
        run_dir=Path(read["run_dir"]),
        slot=int(read["slot"]),
        memory_bytes=int(read["memory_bytes"]),
        vcpus=int(read["vcpus"]),
        kernel=Path(read["kernel"]),
        initrd=Path(read["initrd"]),
        cmdline=read["cmdline"],
        disks=tuple(Disk(Path(path), read_only, scratch) for path, read_only, scratch in read["disks"]),
        gives_back=read["gives_back"],
    )


def _blank(size: int) -> int:
    fd = os.memfd_create("bento-disk", os.MFD_CLOEXEC)
    os.ftruncate(fd, size)
    return fd


def _close(files: Iterable[int]) -> None:
    for file in files:
        os.close(file)


@contextlib.contextmanager
def _open(path: Path, flags: int) -> Iterator[int]:
    fd = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield fd
    finally:
        os.close(fd)
