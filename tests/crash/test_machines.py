"""The same with real machines: fewer kills, since each start takes seconds."""

import os
import random
import secrets
from collections.abc import Iterator

import pytest

from tests.crash.invariants import eventually, settle
from tests.crash.load import RUNNING, Box, Facts, Person
from tests.crash.test_random import live_through
from tests.host.manager.home import QEMU, Home, end_process, new_home
from tests.vm.furniture import furnish

pytestmark = pytest.mark.vm

KILLS = 8


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """Two domains that run, and a manager."""
    with new_home(QEMU) as made:
        furnish(made.path)
        made.start_manager()
        made.policy("* * @anyvm @anyvm allow\n")
        for name in ("box0-0", "box1-0"):
            create(made, name)
            made.start(name)
        yield made


def create(home: Home, name: str) -> None:
    """Of which no manager makes a seed, which would be one machine more whenever things are to settle."""
    home.create(name)
    home.ask("admin.vm.property.Set", name, "fast_start", "False")


def people(home: Home, seed: str) -> list[Person]:
    return [
        Person(home, random.Random(f"{seed}{who}"), [Box(f"box{who}-0", frozenset({Facts()}), RUNNING)], restless=0.05)
        for who in range(2)
    ]


def test_machines_run_on_whoever_of_the_managers_side_is_killed(home: Home) -> None:
    seed = os.environ.get("BENTO_CRASH_SEED") or secrets.token_hex(4)
    print(f"BENTO_CRASH_SEED={seed}")
    live_through(home, people(home, seed), random.Random(seed), KILLS, ("manager", "manager", "broker", "nursery"))


def test_what_a_guest_has_on_disk_outlives_its_machines_death(home: Home) -> None:
    name = next((name for name, state in home.states().items() if name.startswith("box") and state == "Running"), "")
    if not name:
        name = "box0-0"
        home.start(name)
    assert home.run(name, "sh", "-c", "echo lost > /etc/changed", user="root").code == 0
    assert home.run(name, "sh", "-c", "echo kept > letter; sync").code == 0
    pid = home.row(name)["pid"]
    with home.events() as events:
        end_process(pid)
        events.until("domain-shutdown", name)
    settle(home)
    home.start(name)
    assert home.run(name, "sh", "-c", "cat letter; ls /etc/changed").stdout == b"kept\n"


def test_a_manager_that_dies_while_a_machine_boots_leaves_none(home: Home) -> None:
    create(home, "booting")
    uuid = home.row("booting")["uuid"]
    with home.send("admin.vm.Start", "booting"):
        eventually(lambda: home.machine_pids_of(uuid) != [])
        home.kill_manager()
    home.start_manager()
    assert home.state("booting") == "Halted"
    assert home.machine_pids_of(uuid) == []
    settle(home)
