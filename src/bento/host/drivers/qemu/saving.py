"""Saving a machine and going on from what was saved: QEMU's migration, with a file in place of another host.

The RAM of a machine that many go on from stays where it is (`x-ignore-shared`): in the file that it was mapped from,
which each of them maps privately. What QEMU writes and reads itself is the rest: registers and devices, some
hundred KiB. A machine that only one goes on from is written whole. Sources: QEMU's docs/devel/migration.rst (7.2, and
main.rst later) and qapi/migration.json.
"""

import asyncio
import fcntl
import os
from pathlib import Path

from bento.host.drivers.qemu.argv import SCRATCH
from bento.host.drivers.qemu.qmp import Session, session
from bento.host.drivers.sparse import copy_sparse
from bento.host.model.errors import Unavailable

SAVING_SECONDS = 60.0
"""It takes some twenty milliseconds; this is for a busy disk."""

SAME_SIZE = fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL

LARGEST = 1 << 62
"""Bytes; QEMU says of no disk that it is larger, unless a guest speaks for it."""

WHOLE_SECONDS = 600.0
"""The same for a machine with its RAM, which goes at the disk's pace."""

COPIES = 100
"""Numbers of QEMU's file sets for copies of disks; those of the disks themselves are below (`argv.py`)."""

LOOK_SECONDS = 0.002
"""Between two looks at how far QEMU is: it tells of the end only those who listen for events."""

MOST_LOOK_SECONDS = 0.02
"""The same for what takes long."""


async def save(qmp: Path, state: int) -> None:
    """Stop the guest of the QEMU behind the socket `qmp`, and have it written to the file `state` (an open one)."""
    await _write(qmp, state, ram_stays=True, deadline=SAVING_SECONDS)


async def save_whole(qmp: Path, stream: int) -> None:
    """The same with its RAM, to the pipe `stream`."""
    await _write(qmp, stream, ram_stays=False, deadline=WHOLE_SECONDS)


async def _write(qmp: Path, state: int, *, ram_stays: bool, deadline: float) -> None:
    async with session(qmp, deadline=deadline) as words:
        await words.execute("stop")
        await words.execute("migrate-set-capabilities", _ram(stays=ram_stays))
        # No other machine waits: the bound on how fast it may go only costs time here.
        await words.execute("migrate-set-parameters", {"max-bandwidth": 1 << 40})
        await words.give(state, "state")
        await words.execute("migrate", {"uri": "fd:state"})
        await _finish(words)


async def load(qmp: Path, state: int, *, deadline: float) -> None:
    """Have a QEMU that was started to wait for it (`-incoming defer -S`) read `state`, and leave the guest stopped.

    `state` is the number of a file that QEMU itself has open.
    """
    async with session(qmp, deadline=deadline) as words:
        await _read(words, state, ram_stays=True)


async def load_whole(qmp: Path, stream: int) -> None:
    """The same with a machine that has its RAM in `stream`."""
    async with session(qmp, deadline=WHOLE_SECONDS) as words:
        await _read(words, stream, ram_stays=False)


async def resume(qmp: Path, *, deadline: float) -> None:
    """Let a stopped guest go on, also one that is being written just now: that is given up."""
    async with session(qmp, deadline=deadline) as words:
        await words.execute("migrate_cancel")
        await words.execute("cont")


async def copy_disk(qmp: Path, place: int) -> int:
    """A new file in memory with what the stopped guest's scratch disk number `place` holds; the caller closes it.

    QEMU copies it: its own files are out of everybody's reach. (qapi/block-core.json: blockdev-backup; holes stay.)
    """
    disk, name, number = f"{SCRATCH}{place}", f"copy{place}", COPIES + place
    file = {"driver": "file", "filename": f"/dev/fdset/{number}"}
    blank = {"driver": "raw", "node-name": name, "discard": "unmap", "detect-zeroes": "unmap", "file": file}
    copy = os.memfd_create("bento-copy", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        async with session(qmp, deadline=WHOLE_SECONDS) as words:
            os.ftruncate(copy, await _size(words, disk))
            # QEMU may keep it open: what it does while others read must not lead them astray.
            fcntl.fcntl(copy, fcntl.F_ADD_SEALS, SAME_SIZE)
            await words.lend(copy, number)
            await words.execute("blockdev-add", blank)
            job = {"job-id": name, "device": disk, "target": name, "sync": "full", "auto-dismiss": False}
            await words.execute("blockdev-backup", job)
            await _concluded(words, name)
            await words.execute("job-dismiss", {"id": name})
            await words.execute("blockdev-del", {"node-name": name})
            await words.execute("remove-fd", {"fdset-id": number})
    except BaseException:
        os.close(copy)
        raise
    return copy


async def _size(words: Session, disk: str) -> int:
    match await words.execute("query-named-block-nodes", {"flat": True}):
        case [*nodes]:
            for node in nodes:
                match node:
                    case {"node-name": name, "image": {"virtual-size": int(size)}} if name == disk:
                        if 0 <= size < LARGEST:
                            return size
    raise Unavailable(f"QEMU does not know its own {disk}")


async def _concluded(words: Session, job: str) -> None:
    while True:
        match await words.execute("query-jobs"):
            case [{"id": name, "status": "concluded", "error": str()}] if name == job:
                raise Unavailable("QEMU could not copy a disk of its machine")
            case [{"id": name, "status": "concluded"}] if name == job:
                return
            case [{"id": name}] if name == job:
                await asyncio.sleep(LOOK_SECONDS)
            case _:
                raise Unavailable("QEMU gave an answer that makes no sense")


async def _read(words: Session, state: int, *, ram_stays: bool) -> None:
    await words.execute("migrate-set-capabilities", _ram(stays=ram_stays))
    await words.execute("migrate-incoming", {"uri": f"fd:{state}"})
    await _finish(words)


def _ram(*, stays: bool) -> dict[str, object]:
    return {"capabilities": [{"capability": "x-ignore-shared", "state": stays}]}


async def _finish(words: Session) -> None:
    pause = LOOK_SECONDS / 4
    while True:
        match await words.execute("query-migrate"):
            case {"status": "completed"}:
                return
            case {"status": "failed" | "cancelled"}:
                raise Unavailable("QEMU could not save its machine, or not read what was saved")
            case _:
                # A fork is read within milliseconds and waits for each of them; a whole machine takes many seconds.
                await asyncio.sleep(pause)
                pause = min(pause * 2, MOST_LOOK_SECONDS)


def sealed_copy(memory: Path) -> int:
    """A file in memory with what `memory` holds, which nobody can write to any more.

    QEMU opens its RAM for writing, and one that a guest has taken over would write: into what all others begin from.
    """
    copy = os.memfd_create("bento-ram", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(memory, "rb") as original:
            copy_sparse(original.fileno(), copy)
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | SAME_SIZE)
    except BaseException:
        os.close(copy)
        raise
    return copy
