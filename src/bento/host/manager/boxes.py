"""Boxes for services of the admin domain: each serves one call and is gone, and some are made before they are needed.

To make a box takes ten times as long as a call. So for each of the last few
calls, a box for its service waits with its walls up, where nobody reaches it
but the manager. A box sees one service's file and no other, whoever calls; so a
box that waits is for that one file, and thrown away if another took its place.
"""

import asyncio
import contextlib
import logging
import socket
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bento.host.manager.children import Child
from bento.host.model.errors import Unavailable
from bento.wire.control import FROM_BROKER, MAX_PACKET, Blame, Open, Over, decode_packet, encode_packet
from bento.wire.errors import WireError

log = logging.getLogger(__name__)

SPARES = 3
"""Boxes that wait. Each is a process of some 10 MiB."""

Argv = Callable[[Path], list[str]]
"""The command line of a box for the service in that file; its stdin is the manager's socket."""


@dataclass(frozen=True, slots=True)
class File:
    """What a box has bound: not a path but the file that was there, whose number stays taken as long as the box is."""

    program: Path
    device: int
    inode: int

    @classmethod
    def at(cls, program: Path) -> "File":
        found = program.stat()
        return cls(program, found.st_dev, found.st_ino)


class Box:
    def __init__(self, file: File, child: Child, control: socket.socket) -> None:
        self.file = file
        self._child = child
        self._control = control
        self.ended = asyncio.create_task(self._end())
        """With who is to blame for how the call did, and why; a service that was taken over has a say in that."""

    def give(self, call: Open, leg: socket.socket) -> None:
        """The one call that it serves. Raises `OSError` if it is gone already."""
        socket.send_fds(self._control, [encode_packet(call)], [leg.fileno()])

    def kill(self) -> None:
        self._child.kill()

    async def _end(self) -> tuple[Blame, str]:
        with self._control:
            await self._child.wait()
            with contextlib.suppress(OSError, WireError):  # it said nothing, or nothing that counts
                match decode_packet(FROM_BROKER, self._control.recv(MAX_PACKET, socket.MSG_DONTWAIT)):
                    case Over(blame=blame, sentence=sentence):
                        return Blame(blame), sentence
        words = self._child.complaint()
        return Blame.SERVER if words else Blame.NOBODY, words


class Boxes:
    def __init__(self, argv: Argv) -> None:
        self._argv = argv
        self._all: set[Box] = set()
        self._spares: list[Box] = []
        self._lately: deque[Path] = deque(maxlen=SPARES)
        """The services of the last calls: a box waits for each of these, or will."""
        self._filling: asyncio.Task[None] | None = None

    async def begin(self, program: Path, call: Open, leg: socket.socket) -> Box:
        """A box that serves `call` with that file. Raises `Unavailable`."""
        try:
            file = File.at(program)
            for spare in [spare for spare in self._spares if spare.file.program == program]:
                self._spares.remove(spare)
                if spare.file == file:
                    with contextlib.suppress(OSError):
                        spare.give(call, leg)
                        return spare
                spare.kill()
            box = await self._make(file)
            try:
                box.give(call, leg)
            except OSError:
                box.kill()
                raise
        except OSError as error:
            raise Unavailable(f"the box of {call.service} does not start ({error}); run 'bento doctor'") from error
        return box

    def expect(self, program: Path) -> None:
        """There was a call of this service: see to a box for the next, in the background."""
        self._lately.append(program)
        if self._filling is None or self._filling.done():
            self._filling = asyncio.create_task(self._fill())

    async def close(self) -> None:
        if self._filling:
            self._filling.cancel()
            await asyncio.wait({self._filling})
        for box in self._all:
            box.kill()
        if self._all:
            await asyncio.wait({box.ended for box in self._all})

    async def _fill(self) -> None:
        """Until one waits for each of the last calls, and no other."""
        while True:
            wanted = Counter(self._lately)
            for spare in self._spares[:]:
                if wanted[spare.file.program]:
                    wanted[spare.file.program] -= 1
                else:
                    self._spares.remove(spare)
                    spare.kill()
            program = next(wanted.elements(), None)
            if program is None:
                return
            try:
                self._spares.append(await self._make(File.at(program)))
            except OSError as error:
                log.info("no box was made ahead for %s: %s", program, error)  # who calls it next hears more
                self._lately = deque((other for other in self._lately if other != program), SPARES)

    async def _make(self, file: File) -> Box:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                child = await Child.start(self._argv(file.program), stdin=theirs.fileno())
            except BaseException:
                ours.close()
                raise
        ours.setblocking(False)
        box = Box(file, child, ours)
        self._all.add(box)
        box.ended.add_done_callback(lambda _: self._all.discard(box))
        return box
