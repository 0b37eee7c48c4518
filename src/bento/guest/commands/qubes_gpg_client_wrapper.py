"""`qubes-gpg-client-wrapper`: what programs are told to run in place of gpg.

It knows the options of gpg's that mean something on this side only: a file for the output or the log is written here,
what concerns a terminal, a key server or the ways of old versions is left out, what needs no keys is done by this
domain's own gpg, and an import goes to `qubes-gpg-import-key`. All the rest is `qubes-gpg-client`'s. Source: the
field's script of this name.
"""

import os
import re
import sys

from bento.guest.commands import qubes_gpg_client, qubes_gpg_import_key
from bento.wire.gpg import REFUSED
from bento.wire.gpgline import OPTIONS, SHORT, Value

COMMANDS = ("qubes-gpg-client-wrapper",)

LOCAL = frozenset("gen-rand gen-prime enarmor dearmor no-default-keyring print-md print-mds help dump-options".split())
"""Options that need no keys."""

LEFT_OUT = frozenset(
    "disable-dirmngr no-tty yes no-sk-comments use-agent disable-mdc force-mdc force-v3-sigs force-v4-certs"
    " utf8-strings".split()
)
LEFT_OUT_WITH_VALUE = frozenset(
    "keyserver-options photo-viewer ttyname ttytype display charset display-charset lc-ctype lc-messages".split()
)

WITH_VALUE = LEFT_OUT_WITH_VALUE | {"log-file"} | {name for name, kind in OPTIONS.items() if kind is not Value.NOTHING}
STANDARD_OUTPUT = re.compile(r"(0x)?0*1")


class Wrapped:
    """`words` for `qubes-gpg-client`, once `take` has seen all of gpg's."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.local = False
        self.imports = False
        self.output = ""
        self._special = False

    def take(self, arguments: list[str]) -> None:
        """`ValueError` for an option without its value."""
        rest = list(arguments)
        while rest and rest[0].startswith("-") and rest[0] != "-" and not (self._special and rest[0].startswith("-&")):
            word = rest.pop(0)
            if word == "--":
                break
            if word.startswith("--"):
                name, equals, value = word[2:].partition("=")
                self._option(name, value if equals else None, rest)
            else:
                self._letters(word[1:], rest)
        if self._special:
            rest = [f"/proc/self/fd/{name[2:]}" if name.startswith("-&") else name for name in rest]
        self.files = rest
        if rest:
            self.words += ["--", *rest]

    def _letters(self, letters: str, rest: list[str]) -> None:
        while letters:
            letter, letters = letters[0], letters[1:]
            name = {"h": "help"}.get(letter) or SHORT.get(letter)
            if name is None:
                self.words.append(f"-{letter}")
                continue
            value = None
            if name in WITH_VALUE:
                value, letters = letters or None, ""
            self._option(name, value, rest)

    def _option(self, name: str, value: str | None, rest: list[str]) -> None:
        if value is None and name in WITH_VALUE:
            if not rest:
                raise ValueError(f"--{name} needs a value")
            value = rest.pop(0)
        match name:
            case _ if name in LOCAL:
                self.local = True
            case "import":
                self.imports = True
            case "output":
                self.output = value or ""
            case "enable-special-filenames":
                self._special = True
            case "log-file":
                log = os.open(value or "", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
                self.words.append(f"--logger-fd={log}")
            case _ if name in LEFT_OUT or name in LEFT_OUT_WITH_VALUE:
                pass
            case "detach":
                self.words.append("--detach-sign")
            case "status-fd" | "logger-fd" | "attribute-fd" if STANDARD_OUTPUT.fullmatch(value or ""):
                # It stays where it is when the output goes to a file.
                self.words.append(f"--{name}={os.dup(1)}")
            case _:
                self.words.append(f"--{name}" if value is None else f"--{name}={value}")


def main(arguments: list[str]) -> int:
    wrapped = Wrapped()
    try:
        wrapped.take(arguments)
        if wrapped.local:
            os.execv("/usr/bin/gpg", ["gpg", *arguments])
        if wrapped.imports:
            return qubes_gpg_import_key.main(wrapped.files)
        if wrapped.output not in ("", "-"):
            os.dup2(os.open(wrapped.output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666), 1)
    except ValueError as error:
        print(f"{COMMANDS[0]}: {error}.", file=sys.stderr)
        return REFUSED
    except OSError as error:
        print(f"{COMMANDS[0]}: {error.filename or 'gpg'}: {error.strerror}.", file=sys.stderr)
        return REFUSED
    return qubes_gpg_client.main(wrapped.words, COMMANDS[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
