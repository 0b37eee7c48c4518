"""A screen for all tests of this directory, and where the pictures of it are kept."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import home as home  # the same home, and a manager that a test scripts
from tests.cli.conftest import manager as manager
from tests.desktop.screen import Screen, new_screen


@pytest.fixture(scope="session")
def screen() -> Iterator[Screen]:
    with new_screen() as made:
        yield made


@pytest.fixture
def pictures(tree: Path, tmp_path: Path) -> Path:
    """`build/pictures` in the tree, made by `make setup`; where that was not run, a folder of pytest's."""
    kept = tree / "build/pictures"
    try:
        (kept / ".probe").touch()
        (kept / ".probe").unlink()
    except OSError:
        return tmp_path
    return kept
