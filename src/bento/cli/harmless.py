"""Making a guest's bytes harmless to a terminal: what would steer it is shown instead of obeyed.

A terminal that prints a guest's bytes as they are lets the guest move the
cursor, rewrite what the person read, set the title, and with some terminals
type. So only characters that print, newlines and tabs pass; a control
character becomes ^X, a character that does not print <U+202E>, a byte that is
no text \\xff. Where the person's terminal does not speak UTF-8 everything
beyond ASCII counts as such, because there a byte of a letter may be a control.
"""

import codecs
from collections.abc import Mapping


class Harmless:
    """One stream of a guest. `feed` it in any pieces; `end` gives what an unfinished character still holds."""

    def __init__(self, *, utf8: bool) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8" if utf8 else "ascii")("backslashreplace")
        self._return = False

    def feed(self, untrusted: bytes) -> str:
        return self._show(self._decoder.decode(untrusted))

    def end(self) -> str:
        return self._show(self._decoder.decode(b"", True)) + ("^M" if self._return else "")

    def _show(self, untrusted: str) -> str:
        # A carriage return passes before a newline only (the end of a console's line): alone it overwrites the line.
        if self._return:
            untrusted = "\r" + untrusted
        self._return = untrusted.endswith("\r")
        if self._return:
            untrusted = untrusted[:-1]
        untrusted = untrusted.replace("\r\n", "\n")
        if untrusted.isprintable():
            return untrusted
        return "".join(c if c.isprintable() or c in "\n\t" else _shown(c) for c in untrusted)


def harmless(untrusted: str) -> str:
    """A whole text, such as a sentence that may quote a guest."""
    return "".join(c if c.isprintable() or c in "\n\t" else _shown(c) for c in untrusted)


def _shown(character: str) -> str:
    if character == "\x7f":
        return "^?"
    if character < " ":
        return "^" + chr(ord(character) + 64)
    return f"<U+{ord(character):04X}>"


def speaks_utf8(environment: Mapping[str, str]) -> bool:
    """Whether the person's locale, and so most likely the terminal, is UTF-8."""
    value = environment.get("LC_ALL") or environment.get("LC_CTYPE") or environment.get("LANG", "")
    # Python itself sets LC_CTYPE=C.UTF-8 where the locale is plain C (PEP 538); that says nothing about the terminal.
    coerced = value == "C.UTF-8" and not environment.get("LC_ALL") and environment.get("LANG", "") in ("", "C", "POSIX")
    return not coerced and value.lower().replace("-", "").endswith("utf8")
