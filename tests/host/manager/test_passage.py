"""A suspended machine's passage: what the kernel may refuse and it does without."""

import asyncio
import errno
import fcntl
import os
from pathlib import Path

import pytest

from bento.host.manager import passage as passage_module
from bento.host.manager.passage import PIPE, passage
from bento.host.model.errors import Unavailable

PLENTY = bytes(1 << 18)
TOO_LONG = 60.0


@pytest.mark.parametrize("refused", [errno.EPERM, errno.EBUSY])
def test_a_pipe_that_may_not_be_wide_is_a_narrow_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    """An account's pipes share a bound (pipe(7)), which many running domains may have used up."""

    allowed = fcntl.fcntl

    def refuse(fd: int, command: int, argument: int = 0) -> int:
        if command == fcntl.F_SETPIPE_SZ:
            raise OSError(refused, os.strerror(refused))
        return allowed(fd, command, argument)

    monkeypatch.setattr(fcntl, "fcntl", refuse)

    async def through(image: int) -> None:
        async with passage(_copier, "seal", b"key", image, [], bound=1 << 20) as under_way:
            await under_way.beside(asyncio.create_task(asyncio.to_thread(_write, under_way.stream)))

    with open(tmp_path / "image", "w+b") as image:
        asyncio.run(through(image.fileno()))
        image.seek(0)
        assert image.read() == PLENTY


@pytest.mark.parametrize("way", ["seal", "open"])
def test_a_machine_that_says_it_is_done_and_holds_on_to_the_pipe_keeps_nobody_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Its guest has taken it over, say: the process would wait for more, or for room, for ever."""
    monkeypatch.setattr(passage_module, "LET_GO_SECONDS", 0.0)

    async def done() -> None:
        pass

    async def through(image: int) -> None:
        async with passage(_copier, way, b"key", image, [], bound=1 << 30) as under_way:
            held = os.dup(under_way.stream)
            try:
                await under_way.beside(asyncio.create_task(done()))
            finally:
                os.close(held)

    with open(tmp_path / "image", "w+b") as image:
        image.truncate(PIPE + len(PLENTY))  # more than the pipe takes
        with pytest.raises(Unavailable, match="holds on to the pipe"):
            asyncio.run(through(image.fileno()))


def test_a_process_that_says_too_much_keeps_nobody_waiting(tmp_path: Path) -> None:
    """A machine's stream has taken it over, say: a pipe that nobody reads to its end would keep it for ever."""

    def flooder(_arguments: object, _bound: int) -> list[str]:
        return ["sh", "-c", "yes spam | head -c 1000000 >&2; exit 9"]

    async def never() -> None:
        await asyncio.Event().wait()

    async def through(image: int) -> None:
        async with asyncio.timeout(TOO_LONG), passage(flooder, "seal", b"key", image, [], bound=1) as under_way:
            await under_way.beside(asyncio.create_task(never()))

    with open(tmp_path / "image", "w+b") as image, pytest.raises(Unavailable, match=r"^spam.spam"):
        asyncio.run(through(image.fileno()))


def _copier(arguments: object, _bound: int) -> list[str]:
    """In place of the process that seals."""
    match arguments:
        case ["seal", image, stream]:
            return ["sh", "-c", f"exec cat /proc/self/fd/{stream} >/proc/self/fd/{image}"]
        case ["open", image, stream]:
            return ["sh", "-c", f"exec cat /proc/self/fd/{image} >/proc/self/fd/{stream}"]
    raise AssertionError(arguments)


def _write(stream: int) -> None:
    with open(stream, "wb", closefd=False) as pipe:
        pipe.write(PLENTY)
