"""Saving a machine and going on from what was saved: QEMU's migration, with a file in place of another host.

A machine's RAM stays where it is (`x-ignore-shared`): in the file that it was mapped from, which whoever goes on from
it maps privately, however many they are. What QEMU writes and reads itself is the rest: registers and devices, some
hundred KiB. Sources: QEMU's docs/devel/migration.rst (7.2, and main.rst later) and qapi/migration.json.
"""

import asyncio
import fcntl
import os
from pathlib import Path

from bento.host.drivers.qemu.qmp import Session, session
from bento.host.drivers.sparse import copy_sparse
from bento.host.model.errors import Unavailable

SAVING_SECONDS = 60.0
"""It takes some twenty milliseconds; this is for a busy disk."""

SEALS = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL

RAM_STAYS = {"capabilities": [{"capability": "x-ignore-shared", "state": True}]}

LOOK_SECONDS = 0.002
"""Between two looks at how far QEMU is: it tells of the end only those who listen for events."""


async def save(qmp: Path, state: int) -> None:
    """Stop the guest of the QEMU behind the socket `qmp`, and have it written to the file `state` (an open one)."""
    async with session(qmp, deadline=SAVING_SECONDS) as words:
        await words.execute("stop")
        await words.execute("migrate-set-capabilities", RAM_STAYS)
        # No other machine waits: the bound on how fast it may go only costs time here.
        await words.execute("migrate-set-parameters", {"max-bandwidth": 1 << 40})
        await words.give(state, "state")
        await words.execute("migrate", {"uri": "fd:state"})
        await _finish(words)


async def go_on(qmp: Path, state: int, *, deadline: float) -> None:
    """Have a QEMU that was started to wait for it (`-incoming defer -S`) read `state`, and let its guest go on.

    `state` is the number of a file that QEMU itself has open.
    """
    async with session(qmp, deadline=deadline) as words:
        await words.execute("migrate-set-capabilities", RAM_STAYS)
        await words.execute("migrate-incoming", {"uri": f"fd:{state}"})
        await _finish(words)
        await words.execute("cont")


async def _finish(words: Session) -> None:
    while True:
        match await words.execute("query-migrate"):
            case {"status": "completed"}:
                return
            case {"status": "failed" | "cancelled"}:
                raise Unavailable("QEMU could not save its machine, or not read what was saved")
            case _:
                await asyncio.sleep(LOOK_SECONDS)


def sealed_copy(memory: Path) -> int:
    """A file in memory with what `memory` holds, which nobody can write to any more.

    QEMU opens its RAM for writing, and one that a guest has taken over would write: into what all others begin from.
    """
    copy = os.memfd_create("bento-ram", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(memory, "rb") as original:
            copy_sparse(original.fileno(), copy)
        fcntl.fcntl(copy, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(copy)
        raise
    return copy
