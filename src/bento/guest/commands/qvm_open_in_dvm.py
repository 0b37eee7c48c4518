"""`qvm-open-in-dvm`: opens a file or a link in a disposable made for it, as the field's command of that name."""

import sys

from bento.guest.commands.opening import run

COMMANDS = ("qvm-open-in-dvm",)


def main(arguments: list[str]) -> int:
    return run(COMMANDS[0], arguments, "@dispvm")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
