"""`qvm-open-in-vm`: opens a file or a link in another domain, as the field's command of that name."""

import sys

from bento.guest.commands.opening import run

COMMANDS = ("qvm-open-in-vm",)


def main(arguments: list[str]) -> int:
    return run(COMMANDS[0], arguments, None)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
