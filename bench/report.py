"""What every bench prints and keeps: one table, and the same as `bench/results/NAME.json`.

A row compares one figure with one reference where there is one; `ratio` is
the reference's value over ours for times (larger is better for us), ours over
the reference's for rates. Timing under emulation is named so and compared
only with what ran under emulation in the same run, unless the reference's name
says otherwise.
"""

import json
import os
import platform
import statistics
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

RESULTS = Path(os.environ.get("BENTO_BENCH_RESULTS", Path(__file__).parent / "results"))


@dataclass(frozen=True, slots=True)
class Row:
    """`reference` and `ratio` are None where nothing is compared, `target` is what the value shall be."""

    case: str
    figure: str
    unit: str
    value: float
    reference: float | None = None
    reference_name: str | None = None
    ratio: float | None = None
    target: str | None = None


def timed(case: str, unit: str, values: Iterable[float], reference: Iterable[float] = (), name: str = "") -> list[Row]:
    """Median, smallest and largest of `values`; the median against the reference's."""
    ours, theirs = sorted(values), sorted(reference)
    median = statistics.median(ours)
    rows = [Row(case, "min", unit, ours[0]), Row(case, "max", unit, ours[-1])]
    if not theirs:
        return [Row(case, "median", unit, median), *rows]
    against = statistics.median(theirs)
    return [Row(case, "median", unit, median, against, name, against / median), *rows]


def report(bench: str, accelerator: str, rows: list[Row]) -> None:
    """Print the table and keep the JSON."""
    machine = (
        f"{platform.machine()}, {os.cpu_count()} CPUs, Linux {platform.release()}, Python {platform.python_version()}"
    )
    load = os.getloadavg()[0]
    print(f"\n{bench}: {machine}; accelerator {accelerator}; load {load:.1f}")
    head = ("case", "figure", "value", "target", "reference", "ratio")
    lines = [head]
    for row in rows:
        against = "" if row.reference is None else f"{row.reference:.4g} ({row.reference_name})"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        lines.append((row.case, row.figure, f"{row.value:.4g} {row.unit}", row.target or "", against, ratio))
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
    RESULTS.mkdir(parents=True, exist_ok=True)
    kept = {
        "bench": bench,
        "machine": machine,
        "accelerator": accelerator,
        "load": round(load, 2),
        "measured": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "rows": [asdict(row) for row in rows],
    }
    aside = RESULTS / f".{bench}.json.new"
    aside.write_text(json.dumps(kept, indent=2) + "\n")
    aside.replace(RESULTS / f"{bench}.json")
    print(f"  kept in {RESULTS / f'{bench}.json'}")
