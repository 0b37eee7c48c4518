"""Every fuzz target for a while, and a table of what came of it, also as JSON.

    python -m tests.fuzz [--seconds 600] [--seed 0] [--jobs 2] [--json FILE] [TARGET...]

A target is a module of this folder with a `TARGET`, or with a `target()` that holds what it needs while it is tried.
"""

import argparse
import json
import os
import platform
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from tests.fuzz.engine import Finding, Target, fuzz

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Outcome:
    """`seconds` by the clock, and of a processor at work. `finding` says how to see it again, if there is one."""

    target: str
    seed: int
    seconds: float
    processor_seconds: float
    executions: int
    refused: int
    outcomes: int
    finding: str | None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path)
    parser.add_argument("targets", nargs="*", default=[])
    given = parser.parse_args()
    names = given.targets or target_names()
    with ProcessPoolExecutor(given.jobs) as processes:
        done = list(processes.map(partial(run, seconds=given.seconds, seed=given.seed), names))
    print(f"{'target':18} {'executions':>12} {'a second':>10} {'refused':>12} {'outcomes':>10}  finding")
    for one in done:
        rate = one.executions / one.seconds
        found = one.finding or "none"
        print(f"{one.target:18} {one.executions:12,} {rate:10,.0f} {one.refused:12,} {one.outcomes:10,}  {found}")
    if given.json:
        kept = {
            "machine": f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}",
            "load": round(os.getloadavg()[0], 2),
            "ended": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "targets": [asdict(one) for one in done],
        }
        given.json.parent.mkdir(parents=True, exist_ok=True)
        given.json.write_text(json.dumps(kept, indent=2) + "\n")
    return 1 if any(one.finding for one in done) else 0


def target_names() -> list[str]:
    """The modules of this folder that have a target."""
    modules = sorted(path.stem for path in HERE.glob("*.py") if not path.stem.startswith(("_", "test_")))
    return [name for name in modules if {"TARGET", "target"} & vars(import_module(f"tests.fuzz.{name}")).keys()]


def opened(name: str) -> AbstractContextManager[Target]:
    module = import_module(f"tests.fuzz.{name}")
    held: AbstractContextManager[Target] = module.target() if hasattr(module, "target") else nullcontext(module.TARGET)
    return held


def run(name: str, seconds: float, seed: int) -> Outcome:
    tried = 0

    def budget() -> bool:
        nonlocal tried
        tried += 1
        return time.monotonic() < began + seconds

    began, worked = time.monotonic(), time.process_time()
    refused = outcomes = 0
    finding = None
    try:
        with opened(name) as target:
            began = time.monotonic()  # what it needs has started
            report = fuzz(target, seed, iter(budget, False))
        tried, refused, outcomes = report.tried, report.refused, report.outcomes
    except Finding as found:
        finding = f"{found} ({found.__cause__!r})"
    spent = time.monotonic() - began
    return Outcome(name, seed, spent, time.process_time() - worked, tried, refused, outcomes, finding)


if __name__ == "__main__":
    sys.exit(main())
