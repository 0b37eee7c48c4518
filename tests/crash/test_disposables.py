"""The manager is killed at each of its deeds for a disposable that a call asked for: the next one leaves nothing of it.

The disposable goes on from a seed, which must be as good afterwards as before.
"""

import json
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.host.manager.home import Failed, Home, new_home

DEEDS = ("audit:1", "fsync:1", "put:1", "put:2", "launch:1", "spawn_broker:1", "put:3", "kill_machine:1", "drop:1")
"""In their order, from the request to the end of its call."""


@pytest.fixture
def based() -> Iterator[Home]:
    """A home with the disposable template `base` and its seed, and no manager."""
    with new_home() as home:
        home.start_manager()
        home.build()
        home.create("base")
        with home.events() as events:
            home.ask("admin.vm.property.Set", "base", "template_for_dispvms", "True")
            events.until("seed-made", "base")
        home.stop_manager()
        yield home


@pytest.mark.slow
def test_a_manager_killed_at_any_step_of_a_call_leaves_no_disposable(based: Home) -> None:
    for deed in (*DEEDS, *(deed.replace(":", ".after:") for deed in DEEDS)):
        based.start_manager(BENTO_TEST_DIE=deed)
        with suppress(OSError, Failed, ValueError):  # it dies before it has answered, or before the program ended
            based.run("base", "true", disposable="yes")
        assert based.wait_for_end() == -9, deed
        based.start_manager()
        assert list(based.states()) == ["dom0", "debian-12", "base"], deed
        assert based.machine_pids() == [], deed
        assert list((based.path / "run/domains").iterdir()) == [], deed
        assert len(list((based.path / "domains").iterdir())) == 2, deed
        (seed,) = json.loads(based.ask("bento.seed.List"))
        assert seed["current"], deed
        based.stop_manager()
    based.start_manager()
    assert based.run("base", "echo", "well", disposable="yes").stdout == b"well\n"
    assert "goes on from an image" in based.log()
