"""A seed's files: the digest that it is read against is of every byte, and not of which zeros are holes."""

import os
from pathlib import Path

import pytest

from bento.host.manager.seedfiles import CHUNK, _digest

SIZE = 8 * CHUNK


def written(path: Path, *pieces: tuple[int, bytes]) -> Path:
    with open(path, "wb") as file:
        file.truncate(SIZE)
        for at, data in pieces:
            os.pwrite(file.fileno(), data, at)
    return path


def test_a_digest_is_of_the_content_not_of_its_holes(tmp_path: Path) -> None:
    holes = written(tmp_path / "holes", (CHUNK + 5, b"word"), (CHUNK + 70_000, b"more"))
    zeros = written(tmp_path / "zeros", (0, bytes(SIZE)), (CHUNK + 5, b"word"), (CHUNK + 70_000, b"more"))
    assert _digest(holes) == _digest(zeros)


@pytest.mark.parametrize("at", [0, CHUNK + 70_000, 2 * CHUNK - 1, SIZE - 1])
def test_a_digest_sees_every_byte(tmp_path: Path, at: int) -> None:
    one = written(tmp_path / "one", (CHUNK + 5, b"word"))
    other = written(tmp_path / "other", (CHUNK + 5, b"word"), (at, b"!"))
    assert _digest(one) != _digest(other)
