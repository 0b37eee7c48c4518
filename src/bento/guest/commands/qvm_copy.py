"""`qvm-copy`: copies files to whichever domain the policy names, as the field's command of that name."""

import sys

from bento.guest.commands.copying import run

COMMANDS = ("qvm-copy",)


def main(arguments: list[str]) -> int:
    return run(COMMANDS[0], arguments, move=False, to=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
