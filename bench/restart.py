"""The part of `make bench-disposable` about AppVMs: one that goes on from a seed of its template, beside its own boot.

What is timed is what the manager records of a start: all that it does, from the request until the agent has answered,
which it does with the domain's private volume mounted. Both ways take turns, and each run ends in order, so that
neither has a volume to check that the other would not.
"""

import os
import statistics
from collections.abc import Iterator

from bench.report import Row, timed
from tests.host.manager.home import Home

NAME = "own"
CASE = "an AppVM with its own private volume, to its agent's answer"


def rows(home: Home, template: str, rounds: int) -> Iterator[Row]:
    home.create(NAME, template)
    with home.events() as events:
        start(home, fresh=False)
        print("  waiting for the template's seed", flush=True)
        events.until("seed-made", template)
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for turn in range(rounds + 1):
        for fresh, figures in seconds.items():
            took = start(home, fresh=fresh)
            note = "  (not counted: the first reads the seed)" if turn == 0 else ""
            print(f"  AppVM, {'booted' if fresh else 'from a seed'}: {took:.2f} s{note}", flush=True)
            figures += [took] if turn else []
    fast, boots = (statistics.median(figures) for figures in seconds.values())
    yield Row(CASE, "median", "s", fast, target="<= 1")
    yield from timed("the same domain booted", "s", seconds[True])
    yield Row(CASE, f"booted / from a seed, load {os.getloadavg()[0]:.1f}", "times", boots / fast, target=">= 8")


def start(home: Home, *, fresh: bool) -> float:
    """Seconds of one start; the domain is halted after it."""
    home.ask("admin.vm.Start", NAME, payload="fresh=yes\n" if fresh else "")
    took = float(home.row(NAME)["start_seconds"])
    home.shutdown(NAME)
    return took
