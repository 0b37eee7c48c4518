"""A suspended machine's passage: what the kernel may refuse and it does without."""

import asyncio
import errno
import fcntl
import os
from pathlib import Path

import pytest

from bento.host.manager.passage import passage

PLENTY = bytes(1 << 18)


@pytest.mark.parametrize("refused", [errno.EPERM, errno.EBUSY])
def test_a_pipe_that_may_not_be_wide_is_a_narrow_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refused: int
) -> None:
    """An account's pipes share a bound (pipe(7)), which many running domains may have used up."""

    def refuse(*_: object) -> int:
        raise OSError(refused, os.strerror(refused))

    monkeypatch.setattr(fcntl, "fcntl", refuse)

    async def through(image: int) -> None:
        async with passage(_copier, "seal", b"key", image, [], bound=1 << 20) as under_way:
            await under_way.beside(asyncio.create_task(asyncio.to_thread(_write, under_way.stream)))

    with open(tmp_path / "image", "w+b") as image:
        asyncio.run(through(image.fileno()))
        image.seek(0)
        assert image.read() == PLENTY


def _copier(arguments: object, _bound: int) -> list[str]:
    """In place of the process that seals."""
    match arguments:
        case ["seal", image, stream]:
            return ["sh", "-c", f"exec cat /proc/self/fd/{stream} >/proc/self/fd/{image}"]
    raise AssertionError(arguments)


def _write(stream: int) -> None:
    with open(stream, "wb", closefd=False) as pipe:
        pipe.write(PLENTY)
