"""Programs that drivers run: what they say is passed on, and how they fail becomes a sentence."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from bento.host.drivers.run import LAST_WORDS, LINE_LIMIT, run
from bento.host.model.errors import Unavailable

PATIENCE_SECONDS = 20.0
"""Until a wait counts as a hang."""


def python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def test_what_a_program_prints_is_the_answer() -> None:
    assert asyncio.run(run(["cat"], stdin=b"one\ntwo\n")) == "one\ntwo"


def test_a_program_may_leave_its_input_unread() -> None:
    assert asyncio.run(run(["true"], stdin=bytes(1 << 20))) == ""


def test_lines_are_heard_while_the_program_runs(tmp_path: Path) -> None:
    """The program goes on only when its first line was heard."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    heard: list[str] = []

    def hear(line: str) -> None:
        heard.append(line)
        if line == "ready":
            gate.write_text("go")

    asyncio.run(run(["sh", "-c", 'echo ready; cat "$1"', "sh", str(gate)], on_output=hear))
    assert heard == ["ready", "go"]


def test_a_failure_carries_the_programs_last_words() -> None:
    script = (
        "import sys; [print('line', n, file=sys.stderr) for n in range(9)]; print('\\n\\n', file=sys.stderr); exit(3)"
    )
    with pytest.raises(Unavailable, match=r"failed with exit code 3: line 6; line 7; line 8$"):
        asyncio.run(run(python(script)))
    assert LAST_WORDS == 3


def test_a_silent_failure_says_that_it_was_silent() -> None:
    with pytest.raises(Unavailable, match="false failed with exit code 1: it said nothing"):
        asyncio.run(run(["false"]))


def test_a_killed_program_is_said_to_be_killed() -> None:
    with pytest.raises(Unavailable, match="was killed by signal 9"):
        asyncio.run(run(["sh", "-c", "kill -9 $$"]))


def test_a_missing_program_is_named_with_its_package() -> None:
    with pytest.raises(Unavailable, match="mmdebstrap is missing; install it with: apt-get install mmdebstrap"):
        asyncio.run(run(["mmdebstrap"], environment={"PATH": "/nonexistent"}))
    with pytest.raises(Unavailable, match=r"the program /nonexistent/x is missing$"):
        asyncio.run(run(["/nonexistent/x"]))


def test_an_endless_line_is_passed_on_in_pieces() -> None:
    pieces: list[str] = []
    asyncio.run(run(["head", "-c", str(5 * LINE_LIMIT), "/dev/zero"], on_output=pieces.append))
    assert max(map(len, pieces)) <= 2 * LINE_LIMIT
    assert sum(map(len, pieces)) == 5 * LINE_LIMIT


def test_cancelling_ends_the_program() -> None:
    async def cancel() -> int:
        started = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(
            run(["sh", "-c", "echo $$; exec sleep infinity"], on_output=lambda line: started.set_result(int(line)))
        )
        pid: int = await started
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return pid

    with pytest.raises(ProcessLookupError):
        os.kill(asyncio.run(cancel()), 0)


async def cancelled(task: asyncio.Task[str]) -> bool:
    """Whether it is over once it is cancelled, in time."""
    task.cancel()
    await asyncio.wait({task}, timeout=PATIENCE_SECONDS)
    return task.cancelled()


def test_cancelling_ends_a_program_that_has_said_more_than_anybody_heard(tmp_path: Path) -> None:
    """More than an asyncio reader takes unasked, in one piece."""
    told = tmp_path / "told"
    os.mkfifo(told)
    much = 1 << 18
    script = f"""
import fcntl, os, signal, sys
told = open(sys.argv[1], "w")
fcntl.fcntl(1, fcntl.F_SETPIPE_SZ, {much})
os.write(1, bytes({much}))
told.write("said")
told.close()
signal.pause()
"""

    async def cancel() -> bool:
        task = asyncio.create_task(run([*python(script), str(told)]))
        await asyncio.sleep(0)
        assert told.read_text() == "said"  # the loop stands still meanwhile
        return await cancelled(task)

    assert asyncio.run(cancel())


@pytest.mark.parametrize("begun", [False, True])
def test_cancelling_does_not_wait_for_what_outlives_the_program(tmp_path: Path, begun: bool) -> None:
    """`begun`: it has been heard; or else it has only just been started."""
    told = tmp_path / "told"
    os.mkfifo(told)
    survivors: list[int] = []

    async def cancel() -> int:
        heard = asyncio.Event()
        script = 'sleep infinity & echo; echo $$ $! > "$1"; exec sleep infinity'
        task = asyncio.create_task(run(["sh", "-c", script, "sh", str(told)], on_output=lambda _: heard.set()))
        await (heard.wait() if begun else asyncio.sleep(0))
        program, survivor = map(int, told.read_text().split())  # the loop stands still meanwhile
        survivors.append(survivor)
        assert await cancelled(task)
        return program

    try:
        program = asyncio.run(cancel())
        with pytest.raises(ProcessLookupError):
            os.kill(program, 0)
    finally:
        for survivor in survivors:
            os.kill(survivor, signal.SIGKILL)


def test_nothing_is_left_open_behind_a_program() -> None:
    async def count() -> tuple[int, int]:
        await run(["true"])
        before = len(os.listdir("/proc/self/fd"))
        await run(["cat"], stdin=b"words")
        with pytest.raises(Unavailable):
            await run(["/nonexistent/x"])
        return before, len(os.listdir("/proc/self/fd"))

    before, after = asyncio.run(count())
    assert after == before
