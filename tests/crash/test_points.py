"""The manager is killed before and after each of its deeds that leave a trace, one after the other.

`make test` takes a sample, another one each time; BENTO_CRASH_SEED repeats one. `make soak` takes them all.
"""

import os
import random
import secrets
from collections import Counter
from pathlib import Path

import pytest

from tests.crash.story import Teller
from tests.host.manager.home import new_home
from tests.host.manager.launcher import CRASH_POINTS

SAMPLE = 16


@pytest.fixture(scope="module")
def points(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """All points that the story passes, as the launcher wants them."""
    counted: Path = tmp_path_factory.mktemp("crash") / "counted"
    with new_home() as home:
        teller = Teller(home)
        home.start_manager(BENTO_TEST_COUNT=str(counted))
        teller.tell(started=True)
    names = list(CRASH_POINTS)
    times = Counter(names[place] for place in counted.read_bytes())
    assert set(times) == set(names), "a crash point that the story never passes"
    return [f"{name}{after}:{n + 1}" for name in names for after in ("", ".after") for n in range(times[name])]


@pytest.mark.slow
def test_a_manager_killed_at_some_points_loses_nothing_and_leaves_nothing(points: list[str]) -> None:
    seed = os.environ.get("BENTO_CRASH_SEED") or secrets.token_hex(4)
    chance = random.Random(seed)
    chosen, deaths = chance.sample(points, SAMPLE), 0
    print(f"BENTO_CRASH_SEED={seed}: {' '.join(chosen)}")
    while chosen:
        # Some die twice: the second time as likely as not in the middle of putting the first time's traces away.
        dying = [chosen.pop() for _ in range(min(len(chosen), chance.choice((1, 1, 2))))]
        with new_home() as home:
            teller = Teller(home, *dying)
            teller.tell()
            deaths += teller.deaths
    # A point may be passed in one telling and not in the next: who comes first at the end of a machine is chance.
    assert deaths > SAMPLE // 2


@pytest.mark.soak
@pytest.mark.parametrize("name", CRASH_POINTS)
def test_a_manager_killed_at_every_point_loses_nothing_and_leaves_nothing(points: list[str], name: str) -> None:
    for point in points:
        if point.partition(":")[0].partition(".")[0] == name:
            with new_home() as home:
                Teller(home, point).tell()
