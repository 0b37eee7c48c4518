"""`make bench-disposable`: a disposable forked from its template's seed, beside a cold start of the same template.

Forks and cold starts take turns, so that a change of the machine's load meets both. What is timed is what a person
waits for: the clock starts before the first byte of the request and stops at the program's exit code; no client process
is in it. "To its identity" is what the manager records of a start: all that it does, from the request until the agent
has said that it is the domain it is told to be.

A person who opens one now and then meets a manager that has forked the machine ahead (a spare), and so does who opens
another one right after it; the third in a row does without, and its machine is spawned for it. All are measured, each
by its name, and the same targets stand beside all.

What a disposable costs the host is measured twice, over many that are alive and idle: what the processes of each have
for themselves plus their share of what they share (PSS; QEMU, its box, its broker), and what the host says it has less.

First emulated, always; then once more where this machine has a KVM that works, kept apart from it.
"""

import asyncio
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from bench import restart
from bench.report import Row, report, timed
from bench.start import choose_accelerator
from bento.host.manager.spares import MOST, USUAL
from bento.host.model.machine import Accelerator
from tests.host.manager.home import QEMU, Home, new_home
from tests.vm.furniture import furnish

ROUNDS = int(os.environ.get("BENTO_BENCH_ROUNDS", "20"))
AT_ONCE = 10
AHEAD, NEXT, NONE = IN_TURN = "forked ahead", "right after another", "with none left"
ALIVE = int(os.environ.get("BENTO_BENCH_ALIVE", "100"))
IDLE_SECONDS = 15
EMULATED = ("bench.emulated",)
TEMPLATE, BASE, COLD = "debian-12", "base", "cold"
MIB = 1 << 20


def main() -> int:
    with home(EMULATED) as emulated:
        report("disposable", Accelerator.TCG, list(rows(emulated)))
    if asyncio.run(choose_accelerator()) is Accelerator.KVM:
        with home(QEMU) as on_kvm:
            report("disposable-kvm", Accelerator.KVM, list(rows(on_kvm)))
    return 0


@contextmanager
def home(module: tuple[str, ...]) -> Iterator[Home]:
    """With a template that domains of this Bento boot, built if there is none, and nothing else in it."""
    with new_home(module) as fresh:
        furnish(fresh.path, TEMPLATE)
        fresh.start_manager()
        yield fresh
        fresh.stop_manager()


def rows(home: Home) -> Iterator[Row]:
    for name in (BASE, COLD):
        home.create(name, TEMPLATE)
    home.ask("admin.vm.property.Set", COLD, "fast_start", "False")
    seed_seconds = make_seed(home)
    run_forked(home)  # for templates that nobody uses nothing is forked ahead
    turns: list[tuple[float, ...]] = []
    print(f"  cold s | fork ms: {', '.join(IN_TURN)} | to its identity ms: the same", flush=True)
    for turn in range(ROUNDS + 1):
        took = run_cold(home), *in_turn(home, run_forked), *in_turn(home, start_forked), work_of_one(home)
        note = "  (not counted: the first fills caches)" if turn == 0 else ""
        print("  {:.2f} | {:.0f} {:.0f} {:.0f} | {:.0f} {:.0f} {:.0f}".format(*took) + note, flush=True)
        turns += [took] if turn else []
    cold, *forks, work = (list(figures) for figures in zip(*turns, strict=True))
    programs, identities = forks[: len(IN_TURN)], forks[len(IN_TURN) :]
    for which, figures in zip(IN_TURN, identities, strict=True):
        yield from spread(f"request to the agent's identity, {which}", figures, "<= 200 (median)")
    yield Row(f"request to the agent's identity, {NONE}", "its machine's processor", "ms", statistics.median(work))
    program = "a program in a new disposable, request to exit code"
    cases = [(f"{program}, {which}", figures) for which, figures in zip(IN_TURN, programs, strict=True)]
    for case, figures in cases:
        yield from spread(case, figures, "<= 350 (median), 700 (p95)")
    yield from timed("the same in a domain that boots cold", "ms", (1000 * seconds for seconds in cold))
    for case, figures in cases:
        ratio = 1000 * statistics.median(cold) / statistics.median(figures)
        yield Row(case, "cold / fork", "times", ratio, target=">= 15")
    case, figure = f"{AT_ONCE} requested at once", "until the last is answered"
    for which in ("", ", once more"):  # as many wait then as ever do
        wait_for_spares(home, MOST if which else USUAL)
        yield Row(case + which, figure, "s", at_once(home), target="<= 2")
    bound = statistics.median(cold) + 3
    yield Row("a seed, from the change to its use", "once", "s", seed_seconds, target=f"<= {bound:.1f}")
    yield seed_size(home)
    yield from restart.rows(home, TEMPLATE, ROUNDS)
    yield from alive(home)


def in_turn(home: Home, measure: Callable[[Home], float]) -> Iterator[float]:
    """What it takes for each of the disposables that are `IN_TURN`."""
    wait_for_spares(home, USUAL)
    for left in reversed(range(len(IN_TURN))):
        if spares(home) != left:
            raise SystemExit("bench: a machine was forked ahead sooner than this bench can ask for a disposable")
        yield measure(home)


def wait_for_spares(home: Home, count: int) -> None:
    with home.events() as events:
        while spares(home) < count:
            events.until("spare-made", BASE)


def spares(home: Home) -> int:
    return len(json.loads(home.ask("bento.vm.Usage"))["spares"])


def spread(case: str, milliseconds: list[float], target: str) -> Iterator[Row]:
    ordered = sorted(milliseconds)
    yield Row(case, "median", "ms", statistics.median(ordered), target=target)
    yield Row(case, "p95", "ms", ordered[min(len(ordered) - 1, len(ordered) * 95 // 100)])
    yield Row(case, "min", "ms", ordered[0])
    yield Row(case, "max", "ms", ordered[-1])


def make_seed(home: Home) -> float:
    """Seconds from the change that wants one."""
    began = time.perf_counter()
    with home.events() as events:
        home.ask("admin.vm.property.Set", BASE, "template_for_dispvms", "True")
        events.until("seed-made", BASE)
    return time.perf_counter() - began


def run_cold(home: Home) -> float:
    """Seconds from the request for a program in a halted domain to its exit code."""
    began = time.perf_counter()
    succeed(home, COLD)
    took = time.perf_counter() - began
    home.kill(COLD)
    return took


def run_forked(home: Home) -> float:
    """Milliseconds of the same in a disposable that is made for it."""
    with home.events() as events:
        began = time.perf_counter()
        succeed(home, BASE, disposable="yes")
        took = time.perf_counter() - began
        events.until("domain-delete")
    return 1000 * took


def start_forked(home: Home) -> float:
    """Milliseconds until it is the domain it is told to be."""
    name = disposable(home)
    row = home.row(name)
    home.kill(name)
    return 1000 * float(row["start_seconds"])


def work_of_one(home: Home) -> float:
    """Milliseconds of a processor that a disposable's machine has used from its beginning to its start."""
    name = disposable(home)
    row = home.row(name)
    home.kill(name)
    return 1000 * float(row["cpu_seconds"])


def at_once(home: Home) -> float:
    with home.events() as events, ThreadPoolExecutor(AT_ONCE) as callers:
        began = time.perf_counter()
        for done in [callers.submit(succeed, home, BASE, disposable="yes") for _ in range(AT_ONCE)]:
            done.result()
        took = time.perf_counter() - began
        for _ in range(AT_ONCE):
            events.until("domain-delete")
    return took


def seed_size(home: Home) -> Row:
    """The file against what a guest of the same template has touched when its agent has just answered."""
    home.start(COLD)
    touched = guest_memory(int(home.row(COLD)["pid"]))
    home.kill(COLD)
    (memory,) = home.path.glob("seeds/*/memory")
    size = memory.stat().st_blocks * 512
    reference = "touched by a guest that has just booted"
    return Row("a seed's memory on disk", "once", "MiB", size / MIB, touched / MIB, reference, touched / size)


def alive(home: Home) -> Iterator[Row]:
    print(f"  starting {ALIVE} that stay", flush=True)
    case = f"{ALIVE} alive and idle, what each adds"
    before, own = available(), shares(home)
    began = time.perf_counter()
    with ThreadPoolExecutor(2) as callers:
        names = list(callers.map(lambda _: disposable(home), range(ALIVE)))
    took = time.perf_counter() - began
    time.sleep(IDLE_SECONDS)
    with_all, after = shares(home), available()
    for name in names:
        home.kill(name)
    yield Row(case, "PSS of its processes", "MiB", (with_all - own) / ALIVE / MIB, target="<= 45")
    yield Row(case, "less on the host (MemAvailable)", "MiB", (before - after) / ALIVE / MIB)
    yield Row(f"{ALIVE} started, two at a time", "each", "ms", 1000 * took / ALIVE)


def disposable(home: Home) -> str:
    name = home.ask("admin.vm.CreateDisposable", BASE)
    home.start(name)
    return name


def succeed(home: Home, name: str, *, disposable: str = "no") -> None:
    outcome = home.run(name, "true", disposable=disposable)
    if outcome.code:
        raise SystemExit(f"bench: `true` ended with {outcome.code}: {outcome.stderr.decode(errors='replace')}")


def shares(home: Home) -> int:
    """Bytes that the machines and the brokers of this home have (PSS), in all."""
    return sum(map(share, {*home.machine_pids(), *home.broker_pids()}))


def share(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))


def guest_memory(pid: int) -> int:
    """Resident bytes of the largest mapping of a QEMU, which is its guest's memory."""
    sizes: list[int] = []
    resident: list[int] = []
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        match line.split():
            case ["Size:", size, "kB"]:
                sizes.append(int(size))
            case ["Rss:", size, "kB"]:
                resident.append(int(size))
    return resident[sizes.index(max(sizes))] << 10


def available() -> int:
    subprocess.run(["sync"], check=True)
    lines = Path("/proc/meminfo").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))


if __name__ == "__main__":
    sys.exit(main())
