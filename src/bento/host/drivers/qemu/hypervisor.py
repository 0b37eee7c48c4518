"""The QEMU driver: opens what a machine needs, starts QEMU in its box, and finds running ones again.

Everything QEMU may touch is opened here, by the person's user, and handed over as an open file; QEMU itself runs as a
user that could open none of it.
"""

import asyncio
import errno
import os
import pwd
import shlex
import shutil
import stat
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID

from bento.host.disk.said import Said
from bento.host.drivers.boxed import Box, find_boxes, kill_boxes, listen, spawn
from bento.host.drivers.qemu import qmp, saving
from bento.host.drivers.qemu.argv import Fds, qemu_argv, ram_bytes, shape
from bento.host.drivers.qemu.confine import KVM_DEVICE, Owners, SubUsers, confined, sub_users
from bento.host.drivers.qemu.machine import QMP, SOCKETS, QemuMachine
from bento.host.drivers.qemu.sieve import sieve
from bento.host.drivers.qemu.tsc import TscMeter
from bento.host.drivers.sparse import copy_sparse
from bento.host.model.errors import Exhausted, Unavailable
from bento.host.model.machine import Accelerator, Disk, Image, MachineSpec

PROGRAM = "qemu-system-x86_64"
PATIENCE_SECONDS = 20
"""QEMU answers within milliseconds once it has started, which takes a tenth of a second; this is for a busy host."""

SHORT_OF = {errno.ENOMEM, errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.EAGAIN}


@dataclass(frozen=True, slots=True)
class Suspended:
    """Open files of the caller's to restore a machine from: see the port."""

    stream: int
    disks: tuple[int, ...]


class QemuHypervisor:
    """Machines of one home. `home` (letters and digits) tells them from those of others on this host.

    A QEMU that does not answer for `patience` seconds is given up.
    """

    def __init__(self, home: str, accelerator: Accelerator, *, patience: float = PATIENCE_SECONDS) -> None:
        self._home = home
        self._patience = patience
        self._accelerator = accelerator
        users = find_sub_users()
        # Also those of an earlier manager that could use KVM, or could not.
        self._owners = Owners(os.getuid(), users)
        self._users = users if accelerator is Accelerator.TCG or is_open_to_all(Path(KVM_DEVICE)) else None
        self._tsc = TscMeter()
        self._memories: dict[Path, asyncio.Task[int]] = {}

    @property
    def accelerator(self) -> Accelerator:
        return self._accelerator

    @property
    def fingerprint(self) -> str:
        return fingerprint(shutil.which(PROGRAM) or PROGRAM, self._accelerator)

    @property
    def separate_users(self) -> bool:
        """Whether each machine runs as a host user of its own, which needs subordinate ids (subuid(5))."""
        return self._users is not None

    async def launch(self, spec: MachineSpec) -> QemuMachine:
        return await self._launch(spec, None)

    async def restore(self, spec: MachineSpec, stream: int, disks: Sequence[int]) -> QemuMachine:
        return await self._launch(spec, Suspended(stream, tuple(disks)))

    async def _launch(self, spec: MachineSpec, suspended: Suspended | None) -> QemuMachine:
        said = Said()
        try:
            state = await self._start(spec, suspended, said)
            try:
                # Both take their time: the one in QEMU, the other in looking through all processes.
                machine, _ = await asyncio.gather(self._find(spec, said), self._loaded(spec, suspended, state))
                return machine
            except Unavailable as error:
                raise explain(spec, said.text() or str(error)) from error
        except BaseException:
            await kill_boxes(self._home, self._owners, spec.uuid)
            for name in SOCKETS:
                (spec.run_dir / name).unlink(missing_ok=True)
            raise

    async def adopt(self, run_dirs: Mapping[UUID, Path]) -> dict[UUID, QemuMachine]:
        claimed: dict[UUID, QemuMachine] = {}
        unowned: list[Box] = []
        for box in await find_boxes(self._home, self._owners):
            if box.pid is None or box.uuid not in run_dirs or box.uuid in claimed:
                unowned.append(box)
            else:
                claimed[box.uuid] = QemuMachine(box, box.pid, run_dirs[box.uuid], self._patience)
        answering = await asyncio.gather(*(machine.answers() for machine in claimed.values()))
        silent = [machine for machine, answers in zip(claimed.values(), answering, strict=True) if not answers]
        await asyncio.gather(*(box.kill() for box in unowned), *(machine.kill() for machine in silent))
        return {machine.uuid: machine for machine in claimed.values() if machine not in silent}

    def answered(self, uuid: UUID) -> None:
        pass

    def was_silent(self, uuid: UUID) -> bool:
        return False

    async def remember(self, image: Image) -> None:
        await self._memory(image)

    def forget(self, image: Image) -> None:
        if copying := self._memories.pop(image.memory, None):
            if copying.done():
                _close_copy(copying)
            else:
                copying.add_done_callback(_close_copy)

    async def _start(self, spec: MachineSpec, suspended: Suspended | None, said: Said) -> int | None:
        """QEMU's number of the file with the state that it is to go on from, if it is."""
        program = shutil.which(PROGRAM)
        if program is None:
            raise Unavailable(f"{PROGRAM} is missing; install it with: sudo apt-get install qemu-system-x86")
        if os.getuid() == 0:
            raise Unavailable("machines never run as root; use Bento as an ordinary user")
        tsc_khz = await self._tsc.khz()
        memory = await self._memory(spec.image) if spec.image and not suspended else None
        with ExitStack() as ours:
            fds = _open_all(spec, ours, memory, suspended, foreign_user=self.separate_users)
            command = qemu_argv(program, spec, fds, home=self._home, accelerator=self._accelerator, tsc_khz=tsc_khz)
            filters = _in_memory(sieve(), ours)
            largest = max(os.fstat(fd).st_size for fd in (*fds.disks, *([] if fds.ram is None else [fds.ram])))
            devices = _devices(self._accelerator)
            box = partial(confined, command, user=self._user(spec), devices=devices, sieve=filters, file_size=largest)
            # Our copies close when the box has its own: a socket of a dead QEMU must refuse connections.
            await spawn(lambda ready: box(ready=ready), inherit=(*fds.all(), filters), said=said)
            return fds.state

    async def _memory(self, image: Image) -> int:
        """What all machines that go on from `image` map, each for itself. Read from the disk once."""
        copying = self._memories.get(image.memory)
        if copying is None or (copying.done() and copying.exception()):
            copying = self._memories[image.memory] = asyncio.create_task(_copied(image.memory))
        # Ten may wait for the one that copies; it goes on, as its thread does, when they wait no more.
        copy = await asyncio.shield(copying)
        if self._memories.get(image.memory) is not copying:
            raise Unavailable(f"{image.memory} is gone")
        return copy

    def _user(self, spec: MachineSpec) -> tuple[int, int] | None:
        try:
            return self._users.of(spec.slot) if self._users else None
        except ValueError as error:
            raise Unavailable(f"no host user is left for {spec.name}; give yourself more in /etc/subuid") from error

    async def _loaded(self, spec: MachineSpec, suspended: Suspended | None, state: int | None) -> None:
        """Return when QEMU says that the guest boots, or is loaded as it was saved or suspended."""
        if suspended:
            await saving.load_whole(spec.run_dir / QMP, suspended.stream)
        elif state is None:
            await qmp.query_state(spec.run_dir / QMP, deadline=self._patience)
        else:
            await saving.load(spec.run_dir / QMP, state, deadline=self._patience)

    async def _find(self, spec: MachineSpec, said: Said) -> QemuMachine:
        for box in await find_boxes(self._home, self._owners):
            if box.uuid == spec.uuid and box.pid is not None:
                return QemuMachine(box, box.pid, spec.run_dir, self._patience, said)
        raise Unavailable(f"QEMU of {spec.name} ended at once")


def find_sub_users() -> SubUsers | None:
    """The host users that machines can run as here; None if this account has none."""
    if shutil.which("newuidmap") is None:
        return None
    try:
        login = pwd.getpwuid(os.getuid()).pw_name
        return sub_users(Path("/etc/subuid").read_text(), Path("/etc/subgid").read_text(), login, os.getuid())
    except (OSError, KeyError):
        return None


def is_open_to_all(device: Path) -> bool:
    """Whether a subordinate user may use it: the person's groups and access lists don't count for one."""
    return stat.S_IMODE(device.stat().st_mode) & 0o006 == 0o006


def fingerprint(program: str, accelerator: Accelerator) -> str:
    """As the port has it, for one QEMU on this host. An emulated processor is the same everywhere."""
    try:
        status = os.stat(program)
        build = [os.path.realpath(program), status.st_size, status.st_mtime_ns]
    except OSError:
        build = []
    where = _processor() if accelerator is Accelerator.KVM else ""
    return repr((build, shape(accelerator), where))


def _processor() -> str:
    """What the kernel says of the first one, but for how fast it runs just now."""
    first = Path("/proc/cpuinfo").read_text().partition("\n\n")[0]
    return "\n".join(line for line in first.splitlines() if "MHz" not in line)


def explain(spec: MachineSpec, words: str) -> Unavailable:
    """The sentence for a QEMU that did not start, from what it printed."""
    if "annot allocate memory" in words or "set up guest memory" in words:
        return Exhausted(f"there is not enough memory for {spec.name}; stop another domain or give this one less")
    if 'Failed to get "write" lock' in words:
        return Unavailable(f"a disk of {spec.name} is in use by another machine; shut that down first")
    return Unavailable(f"QEMU did not start {spec.name}: {words.splitlines()[-1]}")


async def _copied(memory: Path) -> int:
    try:
        return await asyncio.to_thread(saving.sealed_copy, memory)
    except OSError as error:
        raise _blame(error)(f"{memory} cannot be read: {error.strerror}") from error


def _close_copy(copying: asyncio.Task[int]) -> None:
    if not copying.cancelled() and not copying.exception():
        os.close(copying.result())


def _blame(error: OSError) -> type[Unavailable]:
    """A copy in memory finds no room in it, or there are too many open files: no file is to blame for that."""
    return Exhausted if error.errno in SHORT_OF else Unavailable


def _open_all(
    spec: MachineSpec, ours: ExitStack, memory: int | None, suspended: Suspended | None, *, foreign_user: bool
) -> Fds:
    """Everything that QEMU inherits; `ours` closes our copies. `memory` is what it is to map privately, if so."""
    ram: int | None
    state: int | None

    def kept(fd: int) -> int:
        ours.callback(os.close, fd)
        return fd

    try:
        # QEMU opens these two again by name, as its own user.
        kernel, initrd = (kept(_open(spec, path, os.O_RDONLY)) for path in (spec.kernel, spec.initrd))
        for path, fd in ((spec.kernel, kernel), (spec.initrd, initrd)):
            if foreign_user and not os.fstat(fd).st_mode & stat.S_IROTH:
                raise Unavailable(f"{path} must be readable by all; run: chmod a+r {shlex.quote(str(path))}")
        scratch = iter(suspended.disks if suspended else ())
        disks = [next(scratch) if suspended and disk.scratch else kept(_open_disk(spec, disk)) for disk in spec.disks]
        if suspended:
            ram, state = None, suspended.stream
        else:
            ram = kept(_new_ram(spec, spec.memory_file)) if spec.memory_file else None
            if memory is not None:
                # A copy of the number: an image that is forgotten meanwhile is still there for this one.
                ram = kept(os.dup(memory))
            state = kept(_open(spec, spec.image.state, os.O_RDONLY)) if spec.image else None
        channel, console, monitor = (ours.enter_context(listen(spec.run_dir / name)).fileno() for name in SOCKETS)
    except OSError as error:
        where = error.filename or spec.run_dir
        raise _blame(error)(f"{spec.name} cannot start: {error.strerror}: {where}") from error
    return Fds(ram, kernel, initrd, tuple(disks), channel, console, monitor, state)


def _open_disk(spec: MachineSpec, disk: Disk) -> int:
    if not disk.scratch:
        return _open(spec, disk.path, os.O_RDONLY if disk.read_only else os.O_RDWR)
    original, copy = _open(spec, disk.path, os.O_RDONLY), os.memfd_create(f"bento-disk-{spec.name}", os.MFD_CLOEXEC)
    try:
        copy_sparse(original, copy)
    except BaseException:
        os.close(copy)
        raise
    finally:
        os.close(original)
    return copy


def _new_ram(spec: MachineSpec, path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.fchmod(fd, 0o666)  # QEMU opens it again as its own user; who else could is for the directory to say
    os.ftruncate(fd, ram_bytes(spec))
    return fd


def _in_memory(content: bytes, ours: ExitStack) -> int:
    """A file to read `content` from."""
    fd = os.memfd_create("bento-sieve", os.MFD_CLOEXEC)
    ours.callback(os.close, fd)
    os.pwrite(fd, content, 0)
    return fd


def _open(spec: MachineSpec, path: Path, mode: int) -> int:
    try:
        return os.open(path, mode | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise Unavailable(f"{spec.name} cannot start: {path} is missing") from error


def _devices(accelerator: Accelerator) -> tuple[str, ...]:
    return (KVM_DEVICE,) if accelerator is Accelerator.KVM else ()
