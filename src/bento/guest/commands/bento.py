"""`bento` inside a domain: the few things that a person can do from there."""

import sys

from bento.guest.commands.copying import BAD_USAGE, transfer

COMMANDS = ("bento",)

USAGE = """\
usage: bento copy [--to DOMAIN] [--] FILE...    copy files into ~/QubesIncoming of another domain
       bento move [--to DOMAIN] [--] FILE...    the same, and remove them here once they have arrived

Without --to the policy says where they go. Domains are managed on the host, with the command of the same name.
"""


def main(arguments: list[str]) -> int:
    if not arguments or {"-h", "--help", "help"} & set(arguments[:2]):
        print(USAGE, end="")
        return 0
    verb, *rest = arguments
    target = ""
    if rest[:1] == ["--to"]:
        target, rest = "".join(rest[1:2]), rest[2:]
    if rest[:1] == ["--"]:
        del rest[0]
    elif rest and rest[0].startswith("-"):
        rest.clear()
    if verb not in ("copy", "move") or not rest:
        print(USAGE, end="", file=sys.stderr)
        return BAD_USAGE
    return transfer(f"bento {verb}", target, rest, move=verb == "move")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
