"""The manager, or the machine it works with, is killed at each step of making a seed and of forking from one.

Afterwards there is one seed, which is today's and whole, and what is forked from it works; and of what was under way
nothing is left: no process, no name, no file. `make test` takes a sample; `make soak` every step.
"""

import os
import random
import secrets
import signal
from collections.abc import Iterator

import pytest

from tests.crash.invariants import check, eventually
from tests.crash.story import NO_ANSWER
from tests.host.manager.home import Failed, Home, new_home
from tests.host.manager.test_seeds import bases, seeds, went_on

STEPS = (
    *("mkdir", "create_volume", "clone_volume", "launch", "listens", "save", "kill_machine", "chmod", "fsync"),
    *("rename", "put", "spawn_broker", "spawn_broker.after", "drop", "drop.after", "rmtree", "rmtree.after"),
)
KILLED = ("listens", "save", "kill_machine", "spawn_broker", "put", "rename")
"""Where the machine is killed under the manager's hands."""

FILES = {"manifest.json", "memory", "state", "private.img", "volatile.img"}
SAMPLE = 10


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """A home with a disposable template and no manager."""
    with new_home() as made:
        made.start_manager()
        made.build()
        made.create("base")
        made.start("base")  # which gives it a volume
        made.shutdown("base")
        made.ask("admin.vm.property.Set", "base", "template_for_dispvms", "True")
        made.stop_manager()
        yield made


def live_through(home: Home, point: str) -> bool:
    """Have a seed made and a disposable forked by a manager that `point` is prepared for; whether it lived."""
    if home.try_manager(BENTO_TEST_DIE=point) == "ready":
        try:
            work(home)
            home.ask("bento.manager.Stop")
        except (OSError, Failed) as error:
            # A machine that is killed under its hands is its concern, and what was asked for may fail.
            if isinstance(error, Failed) and error.sentence != NO_ANSWER and ".machine" not in point:
                raise
            if ".machine" in point:
                home.stop_manager()
    end = home.wait_for_end()
    assert end in (0, -signal.SIGKILL), home.log()
    if end or ".machine" in point:
        home.start_manager()
        check_all(home)
        home.stop_manager()
    return end == 0


def work(home: Home) -> None:
    before = home.ask("admin.vm.property.Get", "base", "memory").split()[-1]
    home.ask("admin.vm.property.Set", "base", "memory", str(int(before) + 1))
    eventually(lambda: settled(home))
    assert home.run("base", "true", disposable="yes").code == 0
    eventually(lambda: none_is_left(home))


def none_is_left(home: Home) -> None:
    assert [row["name"] for row in home.table() if row["class"] == "DispVM"] == []


def settled(home: Home) -> None:
    """The seeds there are are of today, and one is of the disposable template; nothing else lies there."""
    rows = seeds(home)
    names = {path.name for path in (home.path / "seeds").iterdir() if path.is_dir()}
    if "base" not in bases(home):
        home.ask("admin.vm.tag.Set", "base", "touched")  # news: what failed is tried again
    assert all(row["current"] for row in rows)
    assert names == {row["key"] for row in rows}
    assert [row["base"] for row in rows].count("base") == 1


def check_all(home: Home) -> None:
    """What must hold whatever was killed."""
    eventually(lambda: settled(home))
    (key,) = (str(row["key"]) for row in seeds(home) if row["base"] == "base")
    assert {path.name for path in (home.path / "seeds" / key).iterdir()} == FILES
    none_is_left(home)
    name = home.ask("admin.vm.CreateDisposable", "base")
    home.start(name)
    assert went_on(home, name)
    assert home.run(name, "true").code == 0
    home.kill(name)
    eventually(lambda: check(home))


@pytest.mark.slow
def test_a_manager_or_a_machine_killed_in_the_middle_leaves_no_seed_that_lies(home: Home) -> None:
    seed = os.environ.get("BENTO_CRASH_SEED") or secrets.token_hex(4)
    chance = random.Random(seed)
    steps = chance.sample(STEPS, SAMPLE)
    sure = [f"{step}:1" for step in steps[: SAMPLE // 2]]  # each is passed once, and not each a second time
    points = sure + [f"{step}:{chance.randint(2, 4)}" for step in steps[SAMPLE // 2 :]]
    points += [f"{step}.machine:1" for step in chance.sample(KILLED, 2)]
    print(f"BENTO_CRASH_SEED={seed}: {' '.join(points)}")
    survived = [point for point in points if live_through(home, point)]
    assert not set(survived) & set(sure), "a step that is never passed"


@pytest.mark.soak
@pytest.mark.parametrize("step", STEPS)
def test_a_manager_killed_at_every_step_leaves_no_seed_that_lies(home: Home, step: str) -> None:
    number = 1
    while not live_through(home, f"{step}:{number}"):
        number += 1
    assert number > 1, "a step that is never passed"


@pytest.mark.soak
@pytest.mark.parametrize("step", KILLED)
def test_a_machine_killed_at_every_step_leaves_no_seed_that_lies(home: Home, step: str) -> None:
    for number in range(1, 6):
        assert live_through(home, f"{step}.machine:{number}"), "the manager lives"
