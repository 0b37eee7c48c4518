"""`qubes-open`: opens a file or a link with the program that this domain has for it, and waits for that program.

A domain that wants another way puts its own `qubes-open` into /usr/local/bin, which comes first everywhere.
"""

import os
import sys

COMMANDS = ("qubes-open",)

WAYS = ("xdg-open", "run-mailcap")
"""Programs that know which program opens what; the first that is installed."""

NOT_FOUND = 127
BAD_USAGE = 2


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or arguments[0].startswith("-"):
        print("usage: qubes-open FILE|LINK", file=sys.stderr)
        return BAD_USAGE
    for way in WAYS:
        try:
            os.execvp(way, [way, arguments[0]])
        except OSError:
            continue
    print(
        "qubes-open: Nothing here opens files: install xdg-utils in the template, or write a script for it,"
        " /usr/local/bin/qubes-open.",
        file=sys.stderr,
    )
    return NOT_FOUND


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
