"""`kill -9` at random moments under load: of the manager, the nursery, a broker, a machine.

BENTO_CRASH_SEED repeats the choices of a run, as far as threads on a busy machine do.
"""

import os
import random
import secrets
import threading
from collections.abc import Iterator, Sequence

import pytest

from tests.crash.invariants import settle
from tests.crash.load import Box, Person, Ticks
from tests.host.manager.home import Home, end_process, new_home

KILLS = 50
PEOPLE = 3
BOXES = 2
REQUESTS = 5
VICTIMS = ("manager", "manager", "manager", "machine", "broker", "nursery")


@pytest.fixture
def home() -> Iterator[Home]:
    with new_home() as made:
        made.start_manager()
        made.build()
        made.policy("* * @anyvm @anyvm allow\n")
        yield made


def kill(home: Home, victim: str, chance: random.Random) -> None:
    """One of those that there are; none may be there."""
    if victim == "manager":
        home.kill_manager()
        return
    pids = {"machine": home.machine_pids, "broker": home.broker_pids, "nursery": home.nursery_pids}[victim]()
    if pids:
        end_process(chance.choice(pids))


def live_through(
    home: Home, people: Sequence[Person], chance: random.Random, kills: int, victims: Sequence[str] = VICTIMS
) -> None:
    for _ in range(kills):
        victim, ticks = chance.choice(victims), Ticks()
        threads = [threading.Thread(target=person.work, args=(REQUESTS, ticks)) for person in people]
        waiter = threading.Thread(target=_end_after, args=(threads, ticks))
        for thread in (*threads, waiter):
            thread.start()
        ticks.wait_for(chance.randint(1, len(people) * REQUESTS - 1))
        kill(home, victim, chance)
        waiter.join()
        assert not [problem for person in people for problem in person.problems], victim
        if victim == "manager":
            home.start_manager()
        settle(home)
        for person in people:
            person.compare(machines_were_killed=victim == "machine")


def people(home: Home, seed: str) -> list[Person]:
    return [
        Person(home, random.Random(f"{seed}{who}"), [Box(f"box{who}-{number}") for number in range(BOXES)])
        for who in range(PEOPLE)
    ]


def _end_after(threads: list[threading.Thread], ticks: Ticks) -> None:
    for thread in threads:
        thread.join()
    ticks.end()


@pytest.mark.slow
def test_what_was_promised_holds_whoever_is_killed_under_load(home: Home) -> None:
    seed = os.environ.get("BENTO_CRASH_SEED") or secrets.token_hex(4)
    print(f"BENTO_CRASH_SEED={seed}")
    live_through(home, people(home, seed), random.Random(seed), KILLS)


@pytest.mark.soak
@pytest.mark.parametrize("part", range(40))
def test_what_was_promised_holds_for_a_long_time(home: Home, part: int) -> None:
    seed = os.environ.get("BENTO_CRASH_SEED") or secrets.token_hex(4)
    print(f"BENTO_CRASH_SEED={seed}")
    live_through(home, people(home, seed), random.Random(seed), KILLS)
