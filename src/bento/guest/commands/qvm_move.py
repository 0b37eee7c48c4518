"""`qvm-move`: moves files to whichever domain the policy names, as the field's command of that name."""

import sys

from bento.guest.commands.copying import run

COMMANDS = ("qvm-move",)


def main(arguments: list[str]) -> int:
    return run(COMMANDS[0], arguments, move=True, to=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
