"""Hypervisors for tests: each kind with what its machines need, in a home of its own, and nothing left at the end."""

import asyncio
import secrets
import shutil
import tempfile
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

from bento.host.drivers.fake.hypervisor import FakeHypervisor
from bento.host.drivers.qemu.hypervisor import QemuHypervisor
from bento.host.model.machine import Accelerator, Disk, MachineSpec
from bento.host.ports.hypervisor import Hypervisor, Machine
from bento.wire.names import DomainName
from bento.wire.vmexec import encode_command
from tests.guest.harness import Call, Host
from tests.vm.template import Template, built_template

T = TypeVar("T")

PATIENCE_SECONDS = 240.0
"""Until a wait counts as a hang. A machine boots in 4 to 20 seconds, depending on who else computes."""

MEMORY_BYTES = 400 << 20
VOLUME_BYTES = 2 << 30


@dataclass
class World:
    """One kind of hypervisor on this host. `driver()` is a new driver, as a new manager makes it."""

    kind: str
    directory: Path
    new_driver: Callable[[str], Hypervisor]
    template: Callable[[], Template]
    home: str = field(default_factory=lambda: secrets.token_hex(8))
    runner: asyncio.Runner = field(default_factory=asyncio.Runner)
    slots: int = 0

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        async def in_time() -> T:
            async with asyncio.timeout(PATIENCE_SECONDS):
                return await work

        return self.runner.run(in_time())

    def driver(self) -> Hypervisor:
        return self.new_driver(self.home)

    def spec(self, name: str = "work") -> MachineSpec:
        """A machine with blank volumes that has never run."""
        self.slots += 1
        place = self.directory / str(self.slots)
        (place / "run").mkdir(parents=True, mode=0o700)
        private, volatile = place / "private", place / "volatile"
        for volume in (private, volatile):
            with volume.open("wb") as file:
                file.truncate(VOLUME_BYTES)
        template = self.template()
        return MachineSpec(
            uuid=uuid4(),
            name=DomainName(name),
            run_dir=place / "run",
            slot=self.slots,
            memory_bytes=MEMORY_BYTES,
            vcpus=1,
            kernel=template.kernel,
            initrd=template.initrd,
            cmdline=template.cmdline,
            disks=template.disks(private, volatile),
        )

    @contextmanager
    def host(self, machine: Machine) -> Iterator[Host]:
        """The broker's part on a new connection to the channel, up to the agent's `Ready`."""
        with self.run(machine.connect_channel()) as connection:
            host = Host(connection)
            host.identify()
            yield host


def shell(host: Host, script: str) -> Call:
    """The finished call of a shell script in the guest."""
    return host.run("qubes.VMExec", encode_command([b"sh", b"-c", script.encode()]))


def processes_naming(uuid: UUID) -> list[int]:
    """Whatever still runs for a machine; told from arguments, and apart from how drivers look."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(uuid).encode() in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return found


async def until_left(machine: Machine, wanted: int) -> None:
    """Return when its guest has so many bytes."""
    while (memory := await machine.guest_memory()) is None or memory.actual != wanted:  # noqa: ASYNC110  # nothing tells
        await asyncio.sleep(0.05)


@contextmanager
def world_of(kind: str) -> Iterator[World]:
    # Short names: a socket's path holds 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="bento-vm-"))
    world = _fake(directory) if kind == "fake" else _qemu(directory)
    try:
        yield world
    finally:
        world.run(world.driver().adopt({}))
        world.runner.close()
        shutil.rmtree(directory)


def _qemu(directory: Path) -> World:
    return World("qemu", directory, lambda home: QemuHypervisor(home, Accelerator.TCG), built_template)


def _fake(directory: Path) -> World:
    """Its template is four empty files: it looks at nothing in them."""
    template = Template(directory, "")
    for path in (template.kernel, template.initrd, *(Path(d.path) for d in _read_only(template))):
        path.touch()
    return World("fake", directory, FakeHypervisor, lambda: template)


def _read_only(template: Template) -> list[Disk]:
    nothing = Path("/nonexistent")
    return [disk for disk in template.disks(nothing, nothing) if disk.read_only]
