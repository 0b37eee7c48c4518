"""A running QEMU machine: the port's `Machine`, from a box of processes and the sockets in its run directory.

The same object whether this manager started the machine or found it again; it keeps no state of its own.
"""

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from bento.host.disk.said import Said
from bento.host.drivers.boxed import Box, connect, usage_of
from bento.host.drivers.qemu import memory, qmp, saving
from bento.host.model.errors import Unavailable
from bento.host.model.machine import DiskUsage, GuestMemory, MachineState, MachineUsage

log = logging.getLogger(__name__)

CHANNEL = "channel.sock"
CONSOLE = "console.sock"
QMP = "qmp.sock"
ENDING_SECONDS = 2.0
SOCKETS = (CHANNEL, CONSOLE, QMP)


class QemuMachine:
    """`patience`: seconds that QEMU may take to answer. `said`: what it prints, where this manager started it."""

    def __init__(self, box: Box, pid: int, run_dir: Path, patience: float, said: Said | None = None) -> None:
        self._box = box
        self._pid = pid
        self._run_dir = run_dir
        self._patience = patience
        self._said = said

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
        try:
            return await qmp.query_state(self._run_dir / QMP, deadline=self._patience)
        except Unavailable:
            # QEMU closes its sockets a moment before it has ended.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ENDING_SECONDS):
                    await self._box.wait()
                    return MachineState.GONE
            raise

    async def answers(self) -> bool:
        """Whether its QEMU still does what it is told."""
        try:
            await qmp.query_state(self._run_dir / QMP, deadline=self._patience)
        except Unavailable:
            return False
        return True

    async def listens(self) -> bool:
        match await qmp.execute(self._run_dir / QMP, "query-chardev", deadline=self._patience):
            case [*devices]:
                return any(
                    d == {**d, "label": "channel", "frontend-open": True} for d in devices if isinstance(d, dict)
                )
            case _:
                raise Unavailable("QEMU gave an answer that makes no sense")

    async def save(self, state: Path) -> None:
        fd = os.open(state, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            await saving.save(self._run_dir / QMP, fd)
            os.fsync(fd)
        finally:
            os.close(fd)

    async def suspend(self, stream: int) -> None:
        await saving.save_whole(self._run_dir / QMP, stream)

    async def copy_disks(self, places: Sequence[int]) -> list[int]:
        with contextlib.ExitStack() as undo:
            copies = []
            for place in places:
                copies += [await saving.copy_disk(self._run_dir / QMP, place)]
                undo.callback(os.close, copies[-1])
            undo.pop_all()
        return copies

    async def pause(self) -> None:
        await self._tell("stop")

    async def resume(self) -> None:
        await saving.resume(self._run_dir / QMP, deadline=self._patience)

    async def kill(self) -> None:
        await self._box.kill()

    async def wait(self) -> None:
        await self._box.wait()
        if self._said and (words := self._said.text()):
            log.warning("QEMU of machine %s has ended; its last words: %s", self.uuid, words.splitlines()[-1])

    async def usage(self) -> MachineUsage:
        return await usage_of([self._pid])

    async def disk_usage(self) -> DiskUsage:
        async with qmp.session(self._run_dir / QMP, deadline=self._patience) as words:
            return await memory.disk_usage(words)

    async def guest_memory(self) -> GuestMemory | None:
        async with qmp.session(self._run_dir / QMP, deadline=self._patience) as words:
            return await memory.guest_memory(words)

    async def ask_for_memory(self, left: int | None) -> None:
        # QEMU takes more than it has for all of it.
        value = memory.LARGEST if left is None else left
        await qmp.execute(self._run_dir / QMP, "balloon", {"value": value}, deadline=self._patience)

    async def _tell(self, command: str) -> None:
        await qmp.execute(self._run_dir / QMP, command, deadline=self._patience)
