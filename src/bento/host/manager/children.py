"""Processes of Bento's own that the manager starts, each in a box: how one is ended, and what it says at its end."""

import contextlib
import os
import signal
from asyncio.subprocess import Process

from bento.host.disk.said import Said
from bento.wire.names import ascii_only

MAX_COMPLAINT = 500
"""Characters of what it says."""


def kill(process: Process) -> None:
    """End it, started in a session of its own, and all that is in its box; nothing if it has ended.

    bwrap killed while it makes a box leaves a child that waits for it for ever, with the box's files open. That child
    is still of its group; what runs in a box that is made goes with bwrap.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def complaint(said: Said) -> str:
    """What it says on stderr; empty if nothing.

    It has read what a guest wrote, so nothing is made of its words: a few are shown, as plain text.
    """
    return ascii_only(said.text()[:MAX_COMPLAINT])
