"""Services of the admin domain: found here, run elsewhere. Each call has a process of its own, in a box (`boxes.py`).

The process reads the calling guest's frames, so it is treated like a broker: it
gets the leg and the service's file and nothing else, what it says is shown as
words and no more, and it is ended with the call, whether or not it agrees. A
service that needs more of the host than /usr and three streams is not for here.
"""

import asyncio
import logging
import os
import socket
import stat
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import bento
from bento.host.manager import legs
from bento.host.manager.boxes import Argv, Box, Boxes
from bento.host.manager.brokers import OnOver
from bento.host.manager.hangups import hung_up
from bento.host.manager.reports import Reports
from bento.host.model.errors import Unavailable
from bento.wire.contract import BROKEN
from bento.wire.control import Open
from bento.wire.names import DomainName, ServiceArgument, ServiceName

SHIPPED = Path(bento.__file__).parent / "host/service/rpc"
"""What Bento brings; a file of the person's of the same name comes first."""

MAX_AT_ONCE = 8
"""Calls of one source that are served at once. Its further ones wait, and it waits for nobody but itself."""

NAME_MAX = 255

END_SECONDS = 5.0
"""How long a process has to end when its caller has hung up."""


class Services:
    def __init__(self, directories: Sequence[Path], argv: Argv, reports: Reports) -> None:
        """`directories` come before `SHIPPED`."""
        self._directories = (*directories, SHIPPED)
        self._boxes = Boxes(argv)
        self._reports = reports
        self._slots: dict[DomainName, asyncio.Semaphore] = {}
        self._running: set[asyncio.Task[None]] = set()

    def find(self, service: ServiceName, argument: ServiceArgument) -> Path | None:
        """The service's file, SERVICE+ARGUMENT before SERVICE. Raises `Unavailable` for one that nobody can run."""
        names = [name for name in (f"{service}+{argument}", service) if len(name) <= NAME_MAX]
        for name, directory in product(names, self._directories):
            path = directory / name
            try:
                mode = path.stat().st_mode
            except FileNotFoundError:
                continue
            except OSError as error:
                raise Unavailable(f"{path} cannot be looked at: {error.strerror}") from error
            if not stat.S_ISREG(mode) or not os.access(path, os.X_OK):
                raise Unavailable(f"{path} is no executable file; 'chmod +x' makes a program one")
            return path
        return None

    async def open(self, program: Path, call: Open, over: OnOver) -> socket.socket:
        """The caller's leg of a call that `program` now serves; waits while the source has too many.

        `over` hears, once, how it ended, if that was not by an exit code and does not go into the log here.
        """
        slots = self._slots.setdefault(call.source, asyncio.Semaphore(MAX_AT_ONCE))
        await slots.acquire()
        callers, servers = legs.pair()
        try:
            box = await self._boxes.begin(program, call, servers)
        except BaseException:
            callers.close()
            servers.close()
            slots.release()
            raise
        serving = asyncio.create_task(self._attend(box, call, servers, over))
        self._running.add(serving)
        serving.add_done_callback(self._running.discard)
        serving.add_done_callback(lambda _: slots.release())
        return callers

    async def close(self) -> None:
        for serving in self._running:
            serving.cancel()
        if self._running:
            await asyncio.wait(self._running)
        await self._boxes.close()

    async def _attend(self, box: Box, call: Open, leg: socket.socket, over: OnOver) -> None:
        """Until the box is gone; nothing of it may outlive the call, which is over when the caller hangs up.

        The leg's own end is kept open meanwhile, to see that; nothing is read from it.
        """
        hang_up = asyncio.create_task(hung_up(leg))
        try:
            await asyncio.wait({box.ended, hang_up}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({box.ended}, timeout=END_SECONDS)
        finally:
            hang_up.cancel()
            leg.close()
            if not box.ended.done():
                box.kill()
            self._boxes.expect(box.file.program)
        blame, sentence = await box.ended
        if sentence.startswith(BROKEN):
            over(blame, sentence)
        elif sentence:
            self._reports.say(call.source, logging.WARNING, f"{call.service} for {call.source}: {sentence}")
