"""`qvm-move-to-vm`: moves files to the domain that is named, as the field's command of that name."""

import sys

from bento.guest.commands.copying import run

COMMANDS = ("qvm-move-to-vm",)


def main(arguments: list[str]) -> int:
    return run(COMMANDS[0], arguments, move=True, to=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
