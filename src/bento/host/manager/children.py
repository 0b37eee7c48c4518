"""Processes of Bento's own that the manager starts, each in a box: how one is ended, and what it says at its end."""

import asyncio
import contextlib
import os
import signal
import weakref
from asyncio.subprocess import Process
from collections.abc import Sequence

from bento.host.disk.said import Said
from bento.host.manager.hangups import hung_up
from bento.wire.names import ascii_only

MAX_COMPLAINT = 500
"""Characters of what it says."""

LEFT_SECONDS = 5.0
"""How long what is in a box is waited for when bwrap has ended."""


def kill(process: Process) -> None:
    """End it, started in a session of its own, and all that is in its box; nothing if it has ended.

    bwrap killed while it makes a box leaves a child that waits for it for ever, with the box's files open. That child
    is still of its group; what runs in a box that is made goes with bwrap.
    """
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


class Child:
    """One that reads what a guest wrote, so that it may be the guest's by now.

    Its stdout is a pipe that nobody reads: the manager sees by it whether anybody in the box still lives.
    """

    def __init__(self, process: Process, said: Said, left: int) -> None:
        """`left`: the other end of its stdout."""
        self.stdin = process.stdin
        self._process = process
        self._said = said
        self._left = left
        weakref.finalize(self, os.close, left)

    @classmethod
    async def start(cls, argv: Sequence[str], *, stdin: int, pass_fds: Sequence[int] = ()) -> "Child":
        """`stdin` as for a subprocess. Raises `OSError`."""
        said = Said()
        left, held = os.pipe2(os.O_CLOEXEC)
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=stdin, stdout=held, stderr=said.fd, pass_fds=pass_fds, start_new_session=True
            )
        except BaseException:
            os.close(left)
            raise
        finally:
            os.close(held)
        return cls(process, said, left)

    def kill(self) -> None:
        """All that is in its box goes along."""
        kill(self._process)

    async def wait(self) -> int:
        """Its exit code, when nothing that was in its box is left, unless it is just closing its files.

        What is inside hears of a kill by bwrap's end only, and then may have to finish a write.
        """
        code = await self._process.wait()
        # A bwrap that was killed while it made the box may leave a process inside that nothing ends.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LEFT_SECONDS):
                await hung_up(self._left)
        return code

    def complaint(self) -> str:
        """What it says on stderr; empty if nothing. Nothing is made of its words: a few are shown, as plain text."""
        return ascii_only(self._said.text()[:MAX_COMPLAINT])
