"""How the manager ends what it started."""

import asyncio
import os

from bento.host.manager.children import kill


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
