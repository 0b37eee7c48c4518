"""Homes for the manager's tests: one of its own for each test, or one that a module's tests share."""

from collections.abc import Iterator

import pytest

from tests.host.manager.home import Home, new_home


@pytest.fixture
def home() -> Iterator[Home]:
    """An empty home whose manager does not run yet."""
    with new_home() as made:
        yield made


@pytest.fixture
def served(home: Home) -> Home:
    """A home with a running manager and the template `debian-12`."""
    home.start_manager()
    home.build()
    return home


@pytest.fixture(scope="module")
def shared() -> Iterator[Home]:
    """The same for all tests of a module, which leave behind what harms no other."""
    with new_home() as made:
        made.start_manager()
        made.build()
        yield made
