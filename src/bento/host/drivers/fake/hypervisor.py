"""The fake driver: starts pretended machines, finds them again, and treats them as the real driver treats its own."""

import asyncio
import logging
import os
import shlex
import shutil
import signal
import socket
import stat
import sys
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import BinaryIO, Literal
from uuid import UUID

import bento
from bento.host.disk.said import Said
from bento.host.drivers.boxed import Box, Mark, connect, find_boxes, kill_boxes, listen, spawn, usage_of
from bento.host.drivers.fake.machine import RUN_DIR
from bento.host.drivers.template.tree import add_settings, declared
from bento.host.model.errors import Unavailable
from bento.host.model.machine import (
    Accelerator,
    DiskUsage,
    GuestMemory,
    Image,
    MachineSpec,
    MachineState,
    MachineUsage,
)

log = logging.getLogger(__name__)

LAUNCH_DEADLINE_SECONDS = 30
SOURCE = str(Path(bento.__file__).parents[1])
PYTHON = os.path.realpath(sys.executable)
STOPPED, WAITING = "T", "D"
CHANNEL = "channel.sock"
GUEST = "guest"
"""Below the run directory: what the machine's agent takes for `/`."""
CONSOLE = "console.sock"
BALLOON = "balloon"
"""The file that holds what it is left of its memory, and what it began with, in bytes."""
IN_MEMORY = "scratch"


class FakeMachine:
    def __init__(self, box: Box, pid: int, run_dir: Path) -> None:
        self._box = box
        self._pid = pid
        self._run_dir = run_dir

    @property
    def uuid(self) -> UUID:
        return self._box.uuid

    @property
    def pid(self) -> int:
        return self._pid

    async def connect_channel(self) -> socket.socket:
        return connect(self._run_dir / CHANNEL)

    async def connect_console(self) -> socket.socket:
        return connect(self._run_dir / CONSOLE)

    async def state(self) -> MachineState:
        if self._box.has_ended():
            return MachineState.GONE
        return MachineState.PAUSED if _is_stopped(self._pid) else MachineState.RUNNING

    async def listens(self) -> bool:
        return True  # it is not found before

    async def save(self, state: Path) -> None:
        await self._stop(True)
        state.touch(exist_ok=False)

    async def suspend(self, stream: int) -> None:
        """What it remembers is its files."""
        await self._stop(True)
        try:
            await asyncio.to_thread(_pack, self._run_dir / GUEST, _own(stream, "wb"))
        except OSError as error:
            raise Unavailable(f"the pretended machine could not be written: {error.strerror}") from error

    async def copy_disks(self, places: Sequence[int]) -> list[int]:
        return [os.memfd_create("bento-copy", os.MFD_CLOEXEC) for _ in places]

    async def pause(self) -> None:
        await self._stop(True)

    async def resume(self) -> None:
        await self._stop(False)

    async def kill(self) -> None:
        await self._box.kill()

    async def wait(self) -> None:
        await self._box.wait()

    async def usage(self) -> MachineUsage:
        return await usage_of(_members(self._pid))

    async def disk_usage(self) -> DiskUsage:
        """Its volumes are its directory; they lie in memory where it was given scratch disks."""
        written = sum(map(_size_on_disk, (self._run_dir / GUEST).rglob("*")))
        return DiskUsage(written, written if (self._run_dir / IN_MEMORY).exists() else 0)

    async def guest_memory(self) -> GuestMemory | None:
        """All but what it was asked for; it says that half of that lies idle."""
        with suppress(FileNotFoundError):
            actual, _ = map(int, (self._run_dir / BALLOON).read_text().split())
            return GuestMemory(actual, actual // 2)
        return None

    async def ask_for_memory(self, left: int | None) -> None:
        try:
            _, most = map(int, (self._run_dir / BALLOON).read_text().split())
        except FileNotFoundError:
            raise Unavailable("the pretended machine gives nothing back") from None
        (self._run_dir / BALLOON).write_text(f"{most if left is None else left} {most}")

    async def _stop(self, stopped: bool) -> None:
        number = signal.SIGSTOP if stopped else signal.SIGCONT
        told: set[int] = set()
        if not stopped:  # also those that have not stopped yet, and would when they go on
            for pid in _members(self._pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
        # Again and again: a process takes a moment to stop, and may start another in it. One that waits in the kernel
        # for a child that is stopped itself, as posix_spawn does, stops when that goes on; until then it does nothing.
        while wrong := [
            pid
            for pid in _members(self._pid)
            if _is_stopped(pid) != stopped and not (stopped and pid in told and _state(pid) == WAITING)
        ]:
            for pid in wrong:
                with suppress(ProcessLookupError):
                    os.kill(pid, number)
            told.update(wrong)
            await asyncio.sleep(0)


class FakeHypervisor:
    """Machines of one home, as the real driver's."""

    def __init__(self, home: str) -> None:
        self._home = home
        self._owners = {os.getuid()}
        self._remembered: set[Image] = set()

    @property
    def accelerator(self) -> Accelerator:
        return Accelerator.TCG

    @property
    def fingerprint(self) -> str:
        return "pretended"

    async def launch(self, spec: MachineSpec) -> FakeMachine:
        saved = (spec.image.memory, spec.image.state) if spec.image else ()
        for path in (spec.kernel, spec.initrd, *(disk.path for disk in spec.disks), *saved):
            if not path.is_file():
                raise Unavailable(f"{spec.name} cannot start: {path} is missing")
        if spec.image:
            log.info("%s goes on from an image", spec.name)
        if spec.memory_file:
            spec.memory_file.touch(exist_ok=False)
        return await self._begin(spec, paused=spec.image is not None)

    async def restore(self, spec: MachineSpec, stream: int, disks: Sequence[int]) -> FakeMachine:
        for name in (CHANNEL, CONSOLE):  # of the machine that this one was
            (spec.run_dir / name).unlink(missing_ok=True)
        try:
            await asyncio.to_thread(_unpack, _own(stream, "rb"), spec.run_dir / GUEST)
        except (OSError, tarfile.TarError) as error:
            raise Unavailable(f"the pretended {spec.name} is not whole: {error}") from error
        return await self._begin(spec, paused=True)

    async def _begin(self, spec: MachineSpec, *, paused: bool) -> FakeMachine:
        for name in (BALLOON, IN_MEMORY):
            (spec.run_dir / name).unlink(missing_ok=True)
        if spec.gives_back:
            (spec.run_dir / BALLOON).write_text(f"{spec.memory_bytes} {spec.memory_bytes}")
        if any(disk.scratch for disk in spec.disks):
            (spec.run_dir / IN_MEMORY).touch()
        said = Said()
        try:
            (spec.run_dir / CHANNEL).unlink(missing_ok=True)
            # Another machine in the same place: what one keeps for as long as it runs is gone with it.
            shutil.rmtree(spec.run_dir / GUEST / "run", ignore_errors=True)
            _install_services(spec.run_dir / GUEST / "etc/qubes-rpc")
            add_settings(spec.run_dir / GUEST, Path(bento.__file__).parent)
            with listen(spec.run_dir / CONSOLE) as console:
                argv = partial(self._argv, spec, console.fileno())
                await spawn(argv, inherit=[console.fileno()], said=said)
            async with asyncio.timeout(LAUNCH_DEADLINE_SECONDS):
                machine = await self._find(spec)
                if paused:
                    await machine.pause()
                return machine
        except BaseException as error:
            await kill_boxes(self._home, self._owners, spec.uuid)
            for name in (CHANNEL, CONSOLE):
                (spec.run_dir / name).unlink(missing_ok=True)
            if isinstance(error, TimeoutError | Unavailable):
                raise Unavailable(f"the pretended {spec.name} did not start: {said.text()}") from error
            raise

    async def adopt(self, run_dirs: Mapping[UUID, Path]) -> dict[UUID, FakeMachine]:
        adopted: dict[UUID, FakeMachine] = {}
        for box in await find_boxes(self._home, self._owners):
            if box.pid is None or box.uuid not in run_dirs or box.uuid in adopted:
                await box.kill()
            else:
                adopted[box.uuid] = FakeMachine(box, box.pid, run_dirs[box.uuid])
        return adopted

    async def remember(self, image: Image) -> None:
        self._remembered.add(image)
        log.info("%s is kept in memory", image.memory)

    def forget(self, image: Image) -> None:
        if image in self._remembered:
            self._remembered.remove(image)
            log.info("%s is given back", image.memory)

    def answered(self, uuid: UUID) -> None:
        pass

    def was_silent(self, uuid: UUID) -> bool:
        return False

    async def _find(self, spec: MachineSpec) -> FakeMachine:
        """The machine once its agent listens."""
        while True:
            boxes = [box for box in await find_boxes(self._home, self._owners) if box.uuid == spec.uuid]
            for box in boxes:
                with suppress(Unavailable):
                    connect(spec.run_dir / CHANNEL).close()
                    if box.pid is not None:
                        return FakeMachine(box, box.pid, spec.run_dir)
            if not boxes:
                raise Unavailable("it ended at once")
            await asyncio.sleep(0.01)

    def _argv(self, spec: MachineSpec, console: int, ready: int) -> list[str]:
        argv = ["bwrap", "--unshare-all", "--as-pid-1", "--new-session", "--clearenv", "--info-fd", str(ready)]
        argv += ["--setenv", "PYTHONPATH", SOURCE, "--setenv", "PATH", "/usr/bin:/bin"]
        argv += ["--ro-bind", "/usr", "/usr", "--ro-bind", "/etc", "/etc", "--proc", "/proc", "--dev", "/dev"]
        for name in ("bin", "lib", "lib64", "sbin"):
            argv += ["--symlink", f"usr/{name}", f"/{name}"]
        argv += ["--tmpfs", "/tmp"]
        # Python itself may live elsewhere, and so does Bento.
        for path in {sys.base_prefix, SOURCE} - {"/usr"}:
            argv += ["--ro-bind", path, path]
        argv += ["--bind", str(spec.run_dir), RUN_DIR]
        who = f"{spec.name}/{Mark(self._home, spec.uuid)}"
        return [*argv, "--", PYTHON, "-S", "-m", "bento.host.drivers.fake.machine", who, str(console)]


def _own(stream: int, mode: Literal["rb", "wb"]) -> BinaryIO:
    """For a thread, which goes on when nobody waits for it any more and `stream` is closed; it closes its own."""
    return open(os.dup(stream), mode)


def _pack(directory: Path, stream: BinaryIO) -> None:
    with stream, tarfile.open(fileobj=stream, mode="w|") as archive:
        archive.add(directory, arcname=".", filter=lambda member: None if member.name == "./run" else member)


def _unpack(stream: BinaryIO, directory: Path) -> None:
    with stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        archive.extraction_filter = lambda member, _: member  # packed here, by `_pack`
        archive.extractall(directory)
        while stream.read(1 << 16):  # what pads it
            pass


def _install_services(directory: Path) -> None:
    """What a template has in /etc/qubes-rpc: a launcher for each service of the guest half."""
    directory.mkdir(parents=True, exist_ok=True)
    for module, names in declared(Path(bento.__file__).parent / "guest/services", "SERVICE").items():
        program = shlex.join(["env", f"PYTHONPATH={SOURCE}", PYTHON, "-S", "-m", f"bento.guest.services.{module}"])
        for name in names:
            (directory / name).write_text(f'#!/bin/sh\nexec {program} "$@"\n')
            (directory / name).chmod(0o755)


def _members(pid: int) -> list[int]:
    """All processes in the pid namespace of `pid`."""
    try:
        namespace = os.stat(f"/proc/{pid}/ns/pid").st_ino
    except (FileNotFoundError, ProcessLookupError):
        return []
    found = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(FileNotFoundError, ProcessLookupError, PermissionError):
            if os.stat(f"/proc/{name}/ns/pid").st_ino == namespace:
                found.append(int(name))
    return found


def _size_on_disk(path: Path) -> int:
    with suppress(FileNotFoundError):
        status = path.lstat()
        return status.st_blocks * 512 if stat.S_ISREG(status.st_mode) else 0
    return 0


def _is_stopped(pid: int) -> bool:
    return _state(pid) == STOPPED


def _state(pid: int) -> str:
    """The letter that proc(5) has for it; empty for one that is gone."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    return ""
