"""Sparse files: data is found and holes are passed over."""

import os
from pathlib import Path

import pytest

from bento.host.disk.sparse import extents

PIECE = 1 << 20
SIZE = 8 * PIECE


def written(path: Path, *pieces: tuple[int, bytes]) -> Path:
    with open(path, "wb") as file:
        file.truncate(SIZE)
        for at, data in pieces:
            os.pwrite(file.fileno(), data, at)
    return path


@pytest.mark.parametrize("places", [[], [0], [3 * PIECE], [0, 5 * PIECE], [SIZE - 4096]])
def test_all_that_was_written_is_found_and_holes_are_passed_over(tmp_path: Path, places: list[int]) -> None:
    path = written(tmp_path / "file", *((at, b"x" * 4096) for at in places))
    with open(path, "rb") as file:
        found = list(extents(file.fileno()))
    assert all(any(start <= at and at + 4096 <= end for start, end in found) for at in places)
    assert sum(end - start for start, end in found) < SIZE, "a file system that has no holes shows nothing here"
    assert found == sorted(found)
