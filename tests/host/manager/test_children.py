"""How the manager ends what it started."""

import asyncio
import os
import signal

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


def test_a_child_has_ended_when_nobody_in_its_box_is_left() -> None:
    """What is inside hears of bwrap's end a moment later than we, and has the call's files open."""
    box = ["bwrap", "--unshare-all", "--new-session", "--die-with-parent", "--ro-bind", "/", "/", "--proc", "/proc"]

    async def begin_and_kill() -> bytes:
        theirs, ours = os.pipe()
        inside = ["sh", "-c", f"echo >/proc/self/fd/{ours}; sleep infinity"]
        child = await Child.start([*box, *inside], stdin=asyncio.subprocess.DEVNULL, pass_fds=(ours,))
        os.close(ours)
        await asyncio.to_thread(os.read, theirs, 1)
        os.set_blocking(theirs, False)
        child.kill()
        assert await child.wait() == -signal.SIGKILL
        try:
            return os.read(theirs, 1)
        finally:
            os.close(theirs)

    for _ in range(20):
        assert asyncio.run(begin_and_kill()) == b"", "the end, at once: nobody has the pipe any more"
