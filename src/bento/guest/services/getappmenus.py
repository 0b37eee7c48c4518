"""`qubes.GetAppmenus`: the programs that this domain's menu would show, as the keys of their desktop entries.

A line for each key, `FILE:KEY=VALUE`, and an empty one after each file. Of a file counts what stands before its second
section; `Exec` is replaced by a command that starts the entry, so that nobody outside interprets a command line of
this domain; entries that are not to be shown are left out. What is not text, or more than a menu can hold, is passed
over: the asking side has its limits, and would refuse the whole. Source: the field's service and the Desktop Entry
and Base Directory specifications.
"""

import os
import sys
from collections.abc import Iterator

SERVICE = "qubes.GetAppmenus"

MAX_ENTRIES = 1000
MAX_FILE = 1 << 18
"""Bytes of a desktop entry; the largest have hundreds of translations."""
MAX_LINE = 4096
"""Bytes of one line of the answer."""

START = "qubes-desktop-run"


def main() -> int:
    for number, path in enumerate(desktop_files(directories())):
        if number == MAX_ENTRIES:
            break
        lines = entry(path)
        if lines:
            print(*lines, "", sep="\n")
    return 0


def directories() -> list[str]:
    """Where desktop entries lie, the person's own last."""
    named = os.environ.get("XDG_DATA_DIRS") or "/usr/share:/usr/local/share"
    own = os.environ.get("XDG_DATA_HOME") or f"{os.environ.get('HOME', '')}/.local/share"
    return [f"{directory.rstrip('/')}/applications" for directory in (*named.split(":"), own) if directory[:1] == "/"]


def desktop_files(roots: list[str]) -> Iterator[str]:
    for root in roots:
        for directory, inner, names in os.walk(root):
            inner.sort()
            for name in sorted(names):
                path = f"{directory}/{name}"
                if name.endswith(".desktop") and path.isprintable() and ":" not in path:
                    yield path


def entry(path: str) -> list[str]:
    """Its lines; none for what is not to be shown, or is no desktop entry."""
    try:
        with open(path, "rb") as file:
            content = file.read(MAX_FILE).decode(errors="replace")
    except OSError:
        return []
    lines = []
    for line in content.split("\n"):
        if line.startswith("["):
            if line.rstrip().lower() != "[desktop entry]":
                break
            continue
        key, separator, value = line.partition("=")
        if not separator or line.startswith("#"):
            continue
        if key.rstrip() == "NoDisplay" and value.strip() == "true":
            return []
        shown = f"{path}:Exec={START} {path}" if key.rstrip() == "Exec" else f"{path}:{line.rstrip()}"
        if shown.isprintable() and len(shown.encode()) <= MAX_LINE:
            lines.append(shown)
    return lines


if __name__ == "__main__":
    sys.stdout.reconfigure(encoding="utf-8", newline="\n")  # type: ignore[union-attr]  # it is a text stream
    sys.exit(main())
