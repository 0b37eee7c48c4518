"""`bento top`: what the domains take of this machine, redrawn on a terminal, once elsewhere. Plain ANSI sequences."""

import argparse
import json
import os
import select
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from bento.cli.exits import Code
from bento.cli.manager import Manager, request
from bento.cli.render import Paint, print_json, size, table_lines
from bento.cli.terminal import raw, rows_and_columns, sizes

EVERY_SECONDS = 2.0
ENDS = (b"q", b"Q", b"\x03", b"\x04")
"""Keys: q, Ctrl-C, Ctrl-D."""

OTHER_SCREEN, BACK = "\x1b[?1049h\x1b[?25l", "\x1b[?25h\x1b[?1049l"
HOME, REST_OF_LINE, REST_OF_SCREEN, PLAIN = "\x1b[H", "\x1b[K", "\x1b[J", "\x1b[0m"

HEADS = ("NAME", "STATE", "CPU", "RSS", "PSS", "SHARED", "WRITTEN", "VOLUMES", "MEMORY")

Row = Mapping[str, object]
Usage = Mapping[str, object]


def declare_top(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="once, as where the output is no terminal")
    parser.add_argument("--json", action="store_true", help="once, as an object with every figure")


def top(words: argparse.Namespace, manager: Manager) -> int:
    if words.json:
        print_json(_ask(manager))
    elif words.once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        print("\n".join(page(_ask(manager), None, Paint())))
    else:
        _redraw(manager)
    return Code.DONE


def _ask(manager: Manager) -> Usage:
    found: Usage = json.loads(manager.ask(request("bento.vm.Usage")))
    return found


def _redraw(manager: Manager) -> None:
    """Until a key of `ENDS`. The other screen is left, and the terminal as it was, whatever ends this."""
    paint, before = Paint(), None
    with raw(0), sizes(1) as resized, _other_screen():
        while True:
            now = _ask(manager)
            lines = page(now, before, paint)
            before = now
            while True:
                _show(lines)  # to the size of this moment: not every terminal tells of a new one
                ready, _, _ = select.select([0, resized.fileno()], [], [], EVERY_SECONDS)
                if 0 in ready and os.read(0, 64) in (*ENDS, b""):
                    return
                if resized.fileno() not in ready:
                    break
                resized.read()


def _show(lines: Sequence[str]) -> None:
    rows, columns = rows_and_columns(1)
    shown = [clipped(line, columns) for line in lines]
    if len(shown) > rows:
        shown = [*shown[: rows - 1], clipped(f"... and {len(shown) - rows + 1} more lines", columns)]
    sys.stdout.write(HOME + "\r\n".join(line + REST_OF_LINE for line in shown) + REST_OF_SCREEN)
    sys.stdout.flush()


def page(now: Usage, before: Usage | None, paint: Paint) -> list[str]:
    """The lines to show: the host, the domains, who takes most first, and spares. Rates are since `before`, or ever."""
    host, domains = _host(now), sorted(_rows(now, "domains"), key=lambda row: -(_taken(row)))
    last = {row["name"]: row for row in _rows(before, "domains")} if before else {}
    seconds = _number(host, "at") - _number(_host(before), "at") if before else 0.0
    lines = [
        [
            paint.label(str(row["name"]), row["label_rgb"]),
            str(row["state"]),
            _percent(row, last.get(row["name"]), seconds),
            size(row["resident_bytes"]),
            size(row["proportional_bytes"]),
            size(row["shared_bytes"]),
            size(row["written_bytes"]),
            size(_sum([row], "disk_bytes", "scratch_bytes")),
            size(row["limit_bytes"]),
        ]
        for row in domains
    ]
    spares = _rows(now, "spares")
    lines += [
        [
            f"({row['base']})",  # what waits for its next disposable, and is no domain yet
            "Spare",
            "-",
            size(row["resident_bytes"]),
            size(row["proportional_bytes"]),
            size(row["shared_bytes"]),
            size(row["written_bytes"]),
            size(row["scratch_bytes"]),
            size(row["limit_bytes"]),
        ]
        for row in spares
    ]
    machines = [*domains, *spares]
    # What machines share would be counted more than once in a sum of RSS.
    taken = size(sum(map(_taken, machines)))
    written, volumes = _sum(machines, "written_bytes"), _sum(machines, "disk_bytes", "scratch_bytes")
    total = ["total", "", "", "-", taken, "-", size(written), size(volumes), size(_sum(machines, "limit_bytes"))]
    available, whole = size(host["available_bytes"]), size(host["total_bytes"])
    summary = (
        f"{available} of {whole} memory available, pressure {_number(host, 'pressure'):.1f} %, {_running(domains)}"
    )
    return [summary, "", *table_lines(HEADS, [*lines, total], right=HEADS[2:])]


def clipped(line: str, columns: int) -> str:
    """As much of a line as fits; the sequences that colour it take no room."""
    shown, at, width = [], 0, 0
    while at < len(line) and width < columns:
        if line.startswith("\x1b[", at):
            end = line.index("m", at) + 1
            shown.append(line[at:end])
            at = end
        else:
            shown.append(line[at])
            at, width = at + 1, width + 1
    return "".join(shown) + (PLAIN if "\x1b" in line[:at] else "")


def _percent(row: Row, last: Row | None, seconds: float) -> str:
    """Of one processor: since the last look, or, at the first, since its machine began."""
    worked = _number(row, "cpu_seconds")
    if last is not None and seconds > 0 and worked >= _number(last, "cpu_seconds"):
        return f"{100 * (worked - _number(last, 'cpu_seconds')) / seconds:.1f} %"
    uptime = _number(row, "uptime_seconds")
    return f"{100 * worked / uptime:.1f} %" if uptime > 0 else "-"


def _running(domains: Sequence[Row]) -> str:
    return "one domain runs" if len(domains) == 1 else f"{len(domains)} domains run"


def _taken(row: Row) -> int:
    """Its share of the host's memory, or all it maps where the kernel does not tell."""
    return int(_number(row, "proportional_bytes") or _number(row, "resident_bytes"))


def _sum(rows: Sequence[Row], *names: str) -> int:
    return int(sum(_number(row, name) for row in rows for name in names))


def _number(facts: Row, name: str) -> float:
    """0 for what is not known."""
    value = facts.get(name)
    return value if isinstance(value, (int, float)) else 0.0


def _host(usage: Usage) -> Row:
    host = usage["host"]
    assert isinstance(host, dict)
    return host


def _rows(usage: Usage, what: str) -> list[Row]:
    rows = usage[what]
    assert isinstance(rows, list)
    return rows


@contextmanager
def _other_screen() -> Iterator[None]:
    try:
        sys.stdout.write(OTHER_SCREEN)
        yield
    finally:
        sys.stdout.write(BACK)
        sys.stdout.flush()
