"""One suspended machine's passage to the disk or back, as the manager sees it: a jailed process (`host/sealing/`).

The manager hands it a key and open files and reads nothing of what passes. What the process says at its end is words.
"""

import asyncio
import contextlib
import fcntl
import os
from collections.abc import AsyncIterator, Callable, Sequence

from bento.host.manager.children import Child
from bento.host.manager.hangups import hung_up
from bento.host.model.errors import Unavailable
from bento.wire.sealing import Failure

Argv = Callable[[Sequence[str], int], list[str]]
"""The command line of one passage: the arguments of `bento.host.sealing`, and how large its files may grow in bytes."""

Progress = Callable[[float], None]
"""Told how much is done, from 0 to 1."""

PIPE = 1 << 20
"""Bytes on their way between the machine and the process: a few turns of either."""

LOOK_SECONDS = 0.1
END_SECONDS = 5.0
"""How long the process has to end when the other side gave up."""

LET_GO_SECONDS = 20.0
"""How long a machine that says that it is done may keep its end of the pipe: QEMU closes it at once."""


class Damaged(Unavailable):
    """What lies on the disk is not what was written."""


class Passage:
    """A process under way between `stream`, the machine's end of a pipe, and the image.

    `its_end` is that pipe's other end, which shows whether the machine still holds its own.
    """

    def __init__(self, child: Child, stream: int, its_end: int) -> None:
        self._child = child
        self.stream = stream
        self._its_end = its_end

    async def beside(self, machine_side: asyncio.Task[None]) -> None:
        """Until both have done their part; raises what kept them from it, the process's own trouble first."""
        ended, letting_go = asyncio.create_task(self._ended()), asyncio.create_task(self._let_go())
        try:
            await asyncio.wait({machine_side, ended}, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                ended.result()
            failed = (await asyncio.gather(machine_side, return_exceptions=True))[0]
            self.hang_up()
            # A machine that failed, or is its guest's by now, may never close its end of the pipe.
            await asyncio.wait({ended, letting_go}, timeout=LET_GO_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if letting_go.done():
                await asyncio.wait({ended}, timeout=END_SECONDS if failed else None)
            if ended.done():
                ended.result()
            machine_side.result()
            if not ended.done():
                raise Unavailable("its machine says that it is done, and yet holds on to the pipe")
        finally:
            # QEMU waits without an end for the first byte of a stream that ends before it.
            tasks = machine_side, ended, letting_go
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def hang_up(self) -> None:
        if self.stream >= 0:
            os.close(self.stream)
            self.stream = -1

    async def end(self) -> None:
        self.hang_up()
        self._drop()
        self._child.kill()
        await self._child.wait()

    def _drop(self) -> None:
        if self._its_end >= 0:
            os.close(self._its_end)
            self._its_end = -1

    async def _let_go(self) -> None:
        """Returns when nobody has the machine's end of the pipe any more, nor we."""
        if self._its_end >= 0:
            await hung_up(self._its_end)

    async def _ended(self) -> None:
        code = await self._child.wait()
        self._drop()  # held by nobody else now: the machine learns that nothing more comes
        words = self._child.complaint()
        match code:
            case 0:
                return
            case Failure.DAMAGED:
                raise Damaged(words)
            case Failure.STREAM:
                return  # the machine's side knows why it takes no more
            case Failure.FULL:
                raise Unavailable("the disk is full; 'bento ls --disk' shows what takes it")
            case code:
                raise Unavailable(words or f"the process beside it ended with code {code}; run 'bento doctor'")


@contextlib.asynccontextmanager
async def passage(
    argv: Argv, way: str, key: bytes, image: int, disks: Sequence[int], *, bound: int
) -> AsyncIterator[Passage]:
    """`way`: `seal`, a machine's stream and disks to the new file `image`, or `open`, the way back. No process is left.

    The image's position is shared with the process: it tells how far that is.
    """
    read, write = os.pipe2(os.O_CLOEXEC)
    with contextlib.suppress(OSError):  # an account's pipes may take so much (pipe(7)); a small one is only slower
        fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, PIPE)
    theirs, ours = (read, write) if way == "seal" else (write, read)
    files = (image, theirs, *disks)
    try:
        child = await Child.start(argv([way, *map(str, files)], bound), stdin=asyncio.subprocess.PIPE, pass_fds=files)
    except BaseException as error:
        os.close(ours)
        os.close(theirs)
        if isinstance(error, OSError):
            raise Unavailable(f"no box can be made ({error.strerror}); run 'bento doctor'") from error
        raise
    under_way = Passage(child, ours, theirs)
    try:
        assert child.stdin
        child.stdin.write(key)
        child.stdin.close()
        yield under_way
    finally:
        await under_way.end()


@contextlib.asynccontextmanager
async def told(progress: Progress, image: int, size: int) -> AsyncIterator[None]:
    """Meanwhile `progress` hears how far the image's position is on its way to `size`, which may be a guess."""

    async def look() -> None:
        while True:
            progress(min(1.0, os.lseek(image, 0, os.SEEK_CUR) / max(size, 1)))
            await asyncio.sleep(LOOK_SECONDS)

    looking = asyncio.create_task(look())
    try:
        yield
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
