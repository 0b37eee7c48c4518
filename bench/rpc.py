"""`make bench-rpc`: empty calls, bytes both ways, and calls in great numbers, through manager, brokers and agents.

First in loopback: the agents are plain processes of this host (`domains.py`), as they were where the reference was
measured, on a like machine. Then, unless `BENTO_BENCH_VM=no`, between two real domains under whatever accelerator this
machine has; that has no reference, and under emulation says how much the emulated guests cost.

Beside times by the clock stand the processors' (user and system, all processes of Bento, services included): a machine
that does other things meanwhile stretches the former and hardly the latter.
"""

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from bench import caller, policy
from bench.domains import DOM0, SERVER, Domains, interpreter, loopback, machines
from bench.report import Row, report
from bench.start import choose_accelerator
from bento.wire.rpc import MAX_DATA

CALLS = int(os.environ.get("BENTO_BENCH_CALLS", "1000"))
COMMANDS = 30
PAUSE = 1.0
"""Seconds in which a box for the next call is made."""
ROUNDS = 5
MEGABYTES = 512
CROWDS = ((10_000, 32), (1_000, 256))
"""Calls in all, and how many of them at once."""
BYSTANDERS = (1_000, 4)
"""The same, of those whom somebody's misbehaviour must not touch."""
CALLS_OF_MACHINES, MEGABYTES_OF_MACHINES = 200, 64
MISBEHAVIOURS = ("stops-reading", "never-closes", "dies")
LATE = 10
"""Times the median, beyond which a call counts as late."""

ADMIN, GUEST, BACK = "admin to domain", "domain to domain", "domain to admin"
FIELD = {
    ("empty", ADMIN): (5.4, "5.4-6.5"),
    ("empty", GUEST): (7.4, "7.4-9.4"),
    ("echo", ADMIN): (6.2, "6.2-7.1"),
    ("echo", GUEST): (7.7, "7.7-9.4"),
    ("empty", BACK): (6.0, "6.0-6.9"),
    ("echo", BACK): (5.8, "5.8-6.8"),
    ("sink", BACK): (469.0, "179-469"),
    ("source", BACK): (104.0, "86-104"),
    ("sink", ADMIN): (354.0, "317-354"),
    ("sink", GUEST): (451.0, "256-451"),
    ("source", ADMIN): (174.0, "95-174"),
    ("source", GUEST): (156.0, "97-156"),
}
"""The field's reference over sockets, without a machine: what was best for it, and the range of its medians."""
TARGETS = {
    ("empty", ADMIN): "<= 2",
    ("empty", GUEST): "<= 3",
    **{("sink", path): ">= 600" for path in (ADMIN, GUEST)},
    **{("source", path): ">= 400" for path in (ADMIN, GUEST)},
}
NAMES = {"empty": "empty call", "echo": "echo of 1 KiB", "sink": "stdin to sink", "source": "source to stdout"}

Measure = Callable[[str, int, int], Any]
"""Do what `caller.WORK` calls so: how often, and how many MiB each."""


def main() -> int:
    with loopback() as domains:
        rows = [row for path, measure in paths(domains).items() for row in one_path(domains, path, measure, CALLS)]
        to_admin = partial(domains.in_domain, target=DOM0)
        rows += one_path(domains, BACK, to_admin, CALLS // 10)
        rows += apart(to_admin)
        rows += commands(domains)
        rows += rates(domains)
        rows += [row for count, at_once in CROWDS for row in crowd(domains, count, at_once)]
        rows += [row for what in MISBEHAVIOURS for row in misbehaviour(domains, what)]
    rows += policy.rows()
    report("rpc-loopback", "none: agents as plain processes", rows)
    if os.environ.get("BENTO_BENCH_VM") != "no":
        with machines() as domains:
            rows = [row for path, measure in paths(domains).items() for row in one_path_of_machines(path, measure)]
        # At the end, so that its probe disturbs no figure.
        report("rpc", asyncio.run(choose_accelerator()), rows)
    return 0


def paths(domains: Domains) -> dict[str, Measure]:
    return {
        ADMIN: lambda what, count, size: caller.WORK[what](domains.from_admin, count, size),
        GUEST: domains.in_domain,
    }


def one_path(domains: Domains, path: str, measure: Measure, calls: int) -> Iterator[Row]:
    measure("empty", 20, 0)  # the first calls warm
    for what in ("empty", "echo"):
        before = domains.costs()
        times = measure(what, calls, 0)
        used = domains.costs() - before
        first, *rest = spread(f"{NAMES[what]}, {path}", times)
        yield compared(first, what, path)
        yield from rest
        yield Row(first.case, "processors", "ms", 1000 * used.seconds / calls)
    for what in ("sink", "source"):
        before = domains.costs()
        row = Row(f"{NAMES[what]}, {path}", "median", "MiB/s", statistics.median(measure(what, ROUNDS, MEGABYTES)))
        used = domains.costs() - before
        yield compared(row, what, path)
        yield Row(row.case, "processors", "ms/MiB", 1000 * used.seconds / (ROUNDS * MEGABYTES))


def apart(to_admin: Measure) -> Iterator[Row]:
    """As people and their programs call the host: now and then, and not one call on the heels of another."""
    times = []
    for _ in range(COMMANDS):
        time.sleep(PAUSE)
        times += to_admin("empty", 1, 0)
    first, *rest = spread(f"empty call, {BACK}, {PAUSE:g} s after the last", times)
    yield compared(first, "empty", BACK)
    yield from rest


def one_path_of_machines(path: str, measure: Measure) -> Iterator[Row]:
    """The same, fewer of each, and compared with nothing."""
    measure("empty", 5, 0)
    for what in ("empty", "echo"):
        yield from spread(f"{NAMES[what]}, {path}", measure(what, CALLS_OF_MACHINES, 0))
    for what in ("sink", "source"):
        rate = statistics.median(measure(what, ROUNDS, MEGABYTES_OF_MACHINES))
        yield Row(f"{NAMES[what]}, {path}", "median", "MiB/s", rate)


def commands(domains: Domains) -> list[Row]:
    """What a person waits for who types it. Python's own start is in it, and stands beside it."""
    times = [domains.command("run", "--no-tty", SERVER, "--", "true") for _ in range(COMMANDS + 1)][1:]
    first, *rest = spread("empty call by our command line", times)
    bare = statistics.median(interpreter() for _ in range(COMMANDS))
    return [replace(first, target="<= 20"), *rest, Row(first.case, "of it Python itself, p50", "ms", bare)]


def rates(domains: Domains) -> Iterator[Row]:
    """From inside one program, through its domain's broker."""
    with domains.listening():
        for what, name in (("many", "a process for each"), ("many-socket", "served on a socket")):
            for at_once in (1, 8, 32):
                before = domains.costs()
                done = [domains.in_domain(what, 2 * CALLS, at_once) for _ in range(ROUNDS)]
                used = domains.costs() - before
                case = f"empty calls from one program, {name}, {at_once} at once"
                target = ">= 2000" if (what, at_once) == ("many-socket", 32) else None
                all_rates = sorted(len(one["times"]) / one["seconds"] for one in done)
                yield Row(case, "median", "calls/s", statistics.median(all_rates), target=target)
                yield Row(case, "max", "calls/s", all_rates[-1])
                yield Row(case, "processors", "ms", 1000 * used.seconds / (2 * CALLS * ROUNDS))


def crowd(domains: Domains, count: int, at_once: int) -> Iterator[Row]:
    case = f"{count:,} empty calls, {at_once} at once, {GUEST}"
    domains.in_domain("many", 1000, at_once)  # so that what is kept for so many is there before
    before = domains.costs()
    done = domains.in_domain("many", count, at_once)
    used = domains.costs() - before
    yield from outcome(case, done)
    for who, growth in used.memory.items():
        yield Row(case, f"memory of {who} before", "KiB", before.memory[who] / 1024)
        yield Row(case, f"memory of {who} grew by", "KiB", growth / 1024)


def misbehaviour(domains: Domains, what: str) -> Iterator[Row]:
    """Calls from and to the same domains as those of another caller who does `what` meanwhile."""
    with domains.program(what, 200, MEGABYTES) as leg:
        leg.sock.recv(MAX_DATA)  # it says when it has begun
        done = domains.in_domain("many", *BYSTANDERS)
        leg.give(b"")
        if (code := leg.outcome().code) != 0:
            raise SystemExit(f"bench: the caller who {what} ended with {code}")
    yield from outcome(f"{BYSTANDERS[0]:,} empty calls beside a caller who {what}", done)


def outcome(case: str, done: dict[str, Any]) -> list[Row]:
    times: list[float] = done["times"]
    late = sum(one > LATE * statistics.median(times) for one in times)
    return [
        Row(case, "lost", "calls", done["lost"], target="0"),
        Row(case, f"later than {LATE} x p50", "calls", late, target="0"),
        Row(case, "rate", "calls/s", len(times) / done["seconds"]),
        *spread(case, times),
    ]


def spread(case: str, times: list[float]) -> list[Row]:
    times = sorted(times)
    figures = {"p50": statistics.median(times)}
    figures |= {f"p{percent}": times[len(times) * percent // 100] for percent in (95, 99)}
    figures |= {"min": times[0], "max": times[-1]}
    return [Row(case, figure, "ms", value) for figure, value in figures.items()]


def compared(row: Row, what: str, path: str) -> Row:
    best, medians = FIELD[what, path]
    ratio = best / row.value if row.unit == "ms" else row.value / best
    return replace(
        row, reference=best, reference_name=f"the field: {medians}", ratio=ratio, target=TARGETS.get((what, path))
    )


if __name__ == "__main__":
    sys.exit(main())
