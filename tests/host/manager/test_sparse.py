"""Sparse files: data is found, holes are passed over, and a digest does not depend on which zeros are holes."""

import os
from pathlib import Path

import pytest

from bento.host.manager.seedfiles import CHUNK, _digest
from bento.host.manager.sparse import extents

SIZE = 8 * CHUNK


def written(path: Path, *pieces: tuple[int, bytes]) -> Path:
    with open(path, "wb") as file:
        file.truncate(SIZE)
        for at, data in pieces:
            os.pwrite(file.fileno(), data, at)
    return path


@pytest.mark.parametrize("places", [[], [0], [3 * CHUNK], [0, 5 * CHUNK], [SIZE - 4096]])
def test_all_that_was_written_is_found_and_holes_are_passed_over(tmp_path: Path, places: list[int]) -> None:
    path = written(tmp_path / "file", *((at, b"x" * 4096) for at in places))
    with open(path, "rb") as file:
        found = list(extents(file.fileno()))
    assert all(any(start <= at and at + 4096 <= end for start, end in found) for at in places)
    assert sum(end - start for start, end in found) < SIZE, "a file system that has no holes shows nothing here"
    assert found == sorted(found)


def test_a_digest_is_of_the_content_not_of_its_holes(tmp_path: Path) -> None:
    holes = written(tmp_path / "holes", (CHUNK + 5, b"word"), (CHUNK + 70_000, b"more"))
    zeros = written(tmp_path / "zeros", (0, bytes(SIZE)), (CHUNK + 5, b"word"), (CHUNK + 70_000, b"more"))
    assert _digest(holes) == _digest(zeros)


@pytest.mark.parametrize("at", [0, CHUNK + 70_000, 2 * CHUNK - 1, SIZE - 1])
def test_a_digest_sees_every_byte(tmp_path: Path, at: int) -> None:
    one = written(tmp_path / "one", (CHUNK + 5, b"word"))
    other = written(tmp_path / "other", (CHUNK + 5, b"word"), (at, b"!"))
    assert _digest(one) != _digest(other)
