"""One nursery for a file of tests: brokers of the same parent are each other's neighbours, as in life."""

from collections.abc import Iterator

import pytest

from tests.host.broker.house import Nursery


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    with Nursery() as made:
        yield made
