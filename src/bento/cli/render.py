"""What the person sees: aligned tables, labels in their colour on a terminal, sizes for people, JSON for programs."""

import json
import os
import re
import sys
from collections.abc import Mapping, Sequence

from bento.cli.harmless import harmless, speaks_utf8

KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30


def say(text: str) -> None:
    """A line on standard error, beside whatever the command prints as its result."""
    print(f"bento: {harmless(text)}", file=sys.stderr, flush=True)


def print_json(value: object) -> None:
    """ASCII only: valid whatever the locale, and nothing in it can steer a terminal."""
    print(json.dumps(value, indent=2))


def print_table(heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> None:
    for line in table_lines(heads, rows, right=right):
        print(line)


def table_lines(heads: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()) -> list[str]:
    """Columns as wide as they need be; those named in `right` are flush right. Colours do not count as width."""
    lines, shown = [heads, *rows], []
    widths = [max(_width(line[at]) for line in lines) for at in range(len(heads))]
    for line in lines:
        cells = []
        for head, cell, width in zip(heads, line, widths, strict=True):
            fill = " " * (width - _width(cell))
            cells.append(fill + cell if head in right else cell + fill)
        shown.append("  ".join(cells).rstrip())
    return shown


def place(found: Mapping[str, object]) -> str:
    """Where in a file something was found: FILE, FILE:LINE or FILE:LINE:COLUMN, as far as is known."""
    return ":".join(str(found[part]) for part in ("file", "line", "column") if found[part])


def size(count: object) -> str:
    """Bytes for a person, in binary units; - where there is no number."""
    if not isinstance(count, int):
        return "-"
    if count >= 10 * GIB:
        return f"{count / GIB:.1f} GiB"
    if count >= MIB:
        return f"{count / MIB:.1f} MiB" if count < 10 * MIB else f"{count // MIB} MiB"
    return f"{-(-count // KIB)} KiB"


def seconds(count: object) -> str:
    return f"{count:.2f} s" if isinstance(count, (int, float)) else "-"


class Paint:
    """Label colours, where the output is a terminal and the person did not say NO_COLOR (no-color.org)."""

    def __init__(self, environment: Mapping[str, str] = os.environ, *, terminal: bool | None = None) -> None:
        terminal = sys.stdout.isatty() if terminal is None else terminal
        self.on = terminal and not environment.get("NO_COLOR") and environment.get("TERM") != "dumb"
        self._true = environment.get("COLORTERM") in ("truecolor", "24bit")
        self._dot = "\u25cf" if speaks_utf8(environment) else "*"

    def label(self, name: str, rgb: object) -> str:
        """The label's name behind a dot of its colour (`rgb` is #rrggbb); the bare name where there are no colours."""
        if not self.on or not (isinstance(rgb, str) and re.fullmatch("#[0-9a-f]{6}", rgb)):
            return name
        red, green, blue = bytes.fromhex(rgb[1:])
        if self._true:
            colour = f"2;{red};{green};{blue}"
        else:  # the nearest of the 6x6x6 cube of a 256-colour terminal
            colour = f"5;{16 + 36 * round(red / 51) + 6 * round(green / 51) + round(blue / 51)}"
        return f"\x1b[38;{colour}m{self._dot}\x1b[0m {name}"


def _width(cell: str) -> int:
    """Columns of a cell, which holds no escape sequence but those of `Paint`."""
    while (start := cell.find("\x1b[")) >= 0:
        end = cell.index("m", start)
        cell = cell[:start] + cell[end + 1 :]
    return len(cell)
