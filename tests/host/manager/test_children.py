"""How the manager ends what it started."""

import asyncio
import os
import signal

import pytest

from bento.host.manager import children
from bento.host.manager.children import Child, kill


def test_what_a_killed_process_had_begun_goes_with_it() -> None:
    """As bwrap does, which has a child that waits for it before there is a box."""
    read, write = os.pipe()

    async def begin_and_kill() -> bytes:
        script = "sleep 1000 & echo begun; wait"
        process = await asyncio.create_subprocess_exec("sh", "-c", script, stdout=write, start_new_session=True)
        os.close(write)
        said = await asyncio.to_thread(os.read, read, 64)
        kill(process)
        await process.wait()
        kill(process)  # once more is no error
        return said + await asyncio.to_thread(os.read, read, 64)

    assert asyncio.run(begin_and_kill()) == b"begun\n", "and then the end: nobody has the pipe any more"
    os.close(read)


def test_what_nothing_ends_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "LEFT_SECONDS", 0.0)

    async def outlived() -> int:
        child = await Child.start(["sh", "-c", "exec 3<&0; cat <&3 & exec true"], stdin=theirs)
        return await child.wait()

    theirs, ours = os.pipe()  # `cat` ends when this does
    assert asyncio.run(outlived()) == 0
    os.close(theirs)
    os.close(ours)


def test_a_child_has_not_ended_while_somebody_in_its_box_is_left() -> None:
    """What is inside hears of bwrap's end a moment later than we, and has the call's files open."""

    async def outlived() -> tuple[bool, int]:
        theirs, ours = os.pipe()
        script = f"sleep infinity & echo $! >/proc/self/fd/{ours}"
        child = await Child.start(["sh", "-c", script], stdin=asyncio.subprocess.DEVNULL, pass_fds=(ours,))
        os.close(ours)
        inside = int(await asyncio.to_thread(os.read, theirs, 64))
        os.close(theirs)
        waiting = asyncio.create_task(child.wait())
        await child._process.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        gone = waiting.done()
        os.kill(inside, signal.SIGKILL)
        return gone, await waiting

    assert asyncio.run(outlived()) == (False, 0)
