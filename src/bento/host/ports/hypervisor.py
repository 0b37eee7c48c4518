"""The hypervisor port: start machines, find them again, and a handle for each.

Every driver, the fake included, passes the suite in `tests/contracts/`.
"""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol
from uuid import UUID

from bento.host.model.machine import Accelerator, DiskUsage, GuestMemory, Image, MachineSpec, MachineState, MachineUsage


class Machine(Protocol):
    """One running machine. It outlives the manager; `Hypervisor.adopt` finds it again."""

    @property
    def uuid(self) -> UUID: ...

    @property
    def pid(self) -> int:
        """The host process that is the machine (for accounting and for people)."""
        ...

    async def connect_channel(self) -> socket.socket:
        """A new non-blocking connection to the guest's channel; the previous one must be closed first."""
        ...

    async def connect_console(self) -> socket.socket:
        """The same for the serial console."""
        ...

    async def state(self) -> MachineState: ...

    async def listens(self) -> bool:
        """Whether the guest's agent has opened its channel, answered or not."""
        ...

    async def save(self, state: Path) -> None:
        """Stop it and write what it is, but its RAM, which lies in the file its spec named, to the new file `state`.

        It is not to go on after that, only to be killed: its RAM is what others begin from.
        """
        ...

    async def suspend(self, stream: int) -> None:
        """Stop it and write all that it is, its RAM included, to the open file `stream`, a pipe that somebody reads.

        Its disks are as it left them. It goes on with `resume` after that, also where this failed or was not waited
        for: unless somebody goes on from what was written.
        """
        ...

    async def copy_disks(self, places: Sequence[int]) -> list[int]:
        """What its disks at these places hold now, for those that are scratch: open files in memory, the caller's.

        It must be paused.
        """
        ...

    async def pause(self) -> None: ...

    async def resume(self) -> None: ...

    async def kill(self) -> None:
        """End it now; returns when no process of it is left. Killing what is gone is no error."""
        ...

    async def wait(self) -> None:
        """Return when the machine is gone, whoever ended it; cancelling this leaves it running."""
        ...

    async def usage(self) -> MachineUsage: ...

    async def disk_usage(self) -> DiskUsage: ...

    async def guest_memory(self) -> GuestMemory | None:
        """None for a machine that gives nothing back."""
        ...

    async def ask_for_memory(self, left: int | None) -> None:
        """Have the guest make do with `left` bytes, None: with all it began with, in its own time, or not at all.

        Raises `Unavailable` for a machine that gives nothing back.
        """
        ...


class Hypervisor(Protocol):
    @property
    def accelerator(self) -> Accelerator: ...

    @property
    def fingerprint(self) -> str:
        """Of all that a saved machine can only go on with: the program, how it is told, and where it computes."""
        ...

    async def launch(self, spec: MachineSpec) -> Machine:
        """Start a machine; when this returns its sockets can be connected.

        One that boots is under way then. One that goes on from an image is there as it was saved, and paused: no
        instruction of its guest is executed before `Machine.resume`, and it may wait for that as long as it has to.

        Raises `Unavailable` with a sentence, and then leaves no process and no socket behind.
        """
        ...

    async def restore(self, spec: MachineSpec, stream: int, disks: Sequence[int]) -> Machine:
        """The machine that `Machine.suspend` wrote to a file, which is read from the pipe `stream`; it is paused.

        `spec` is the one it ran with; `disks` are open files in place of its scratch disks, in their order. On return
        all has been read, and no instruction of the guest was executed. Raises as `launch` does.
        """
        ...

    async def adopt(self, run_dirs: Mapping[UUID, Path]) -> Mapping[UUID, Machine]:
        """Machines of this home that still run, by uuid; `run_dirs` says where each had its sockets.

        Those not in `run_dirs`, and those that no longer answer, are killed: nobody owns them.
        """
        ...

    async def remember(self, image: Image) -> None:
        """Have in memory what machines will go on from soon: it only saves the first of them time.

        Raises `Unavailable`.
        """
        ...

    def forget(self, image: Image) -> None:
        """Give back what `image` takes of memory; machines that went on from it are not touched."""
        ...

    def answered(self, uuid: UUID) -> None:
        """Told when the guest of a machine that was launched has answered."""
        ...

    def was_silent(self, uuid: UUID) -> bool:
        """Told when it did not, and the machine is gone. True: it is worth launching once more.

        A driver that has another way of running machines goes that way from then on.
        """
        ...
