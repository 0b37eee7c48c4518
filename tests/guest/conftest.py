"""What the tests of the guest half share: the real agent as a process, and its host."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.guest.harness import Agent, Host, Marks, agent


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Agent]:
    """The real agent, in loopback mode, with nobody connected."""
    with agent(tmp_path) as started:
        yield started


@pytest.fixture
def host(running: Agent) -> Iterator[Host]:
    """The host of `running`, in step and past the identity."""
    with running.host() as connected:
        yield connected


@pytest.fixture
def marks(tmp_path: Path) -> Iterator[Marks]:
    made = Marks(tmp_path / "marks")
    yield made
    made.close()
