"""The manager is killed at each of its deeds for a disposable that a call asked for: the next one leaves nothing of it.

The disposable goes on from a seed, which must be as good afterwards as before.
"""

import json
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.crash.invariants import eventually
from tests.host.manager.home import Failed, Home, new_home

DEEDS = (
    "audit:1",
    "fsync:1",
    "put:1",
    "put:2",
    "launch:1",
    "resume:1",
    "spawn_broker:1",
    "put:3",
    "kill_machine:1",
    "drop:1",
)
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


AHEAD = ("launch:2", "put:4", "put:5", "resume:2", "spawn_broker:2", "put:6", "kill_machine:2", "drop:2")
"""The same of a second one that was forked ahead, from its making on."""


@pytest.mark.slow
def test_a_manager_killed_at_any_step_of_a_call_leaves_no_disposable(based: Home) -> None:
    for deed in (*DEEDS, *(deed.replace(":", ".after:") for deed in DEEDS)):
        based.start_manager(BENTO_TEST_DIE=deed)
        with suppress(OSError, Failed, ValueError):  # it dies before it has answered, or before the program ended
            based.run("base", "true", disposable="yes")
        look_after(based, deed)
    based.start_manager()
    assert based.run("base", "echo", "well", disposable="yes").stdout == b"well\n"
    assert "goes on from an image" in based.log()


@pytest.mark.slow
def test_a_manager_killed_while_a_spare_is_made_waits_or_is_adopted_leaves_none(based: Home) -> None:
    for deed in (*AHEAD, *(deed.replace(":", ".after:") for deed in AHEAD)):
        based.start_manager(BENTO_TEST_DIE=deed, BENTO_TEST_SETTLE="0")
        with suppress(OSError, Failed, ValueError, AssertionError):
            with based.events() as events:
                based.run("base", "true", disposable="yes")
                events.until("spare-made", "base")
            eventually(lambda: none_is_left(based))
            based.run("base", "true", disposable="yes")
        look_after(based, deed)
    based.start_manager(BENTO_TEST_SETTLE="0")
    assert based.run("base", "echo", "well", disposable="yes").stdout == b"well\n"


def none_is_left(home: Home) -> None:
    assert len(home.states()) == 3


def look_after(home: Home, deed: str) -> None:
    """What the next manager finds after one that was killed at this deed; nobody holds the home on return."""
    assert home.wait_for_end() == -9, deed
    home.start_manager()
    assert list(home.states()) == ["dom0", "debian-12", "base"], deed
    assert home.machine_pids() == [], deed
    assert list((home.path / "run/domains").iterdir()) == [], deed
    assert len(list((home.path / "domains").iterdir())) == 2, deed
    (seed,) = json.loads(home.ask("bento.seed.List"))
    assert seed["current"], deed
    home.stop_manager()
