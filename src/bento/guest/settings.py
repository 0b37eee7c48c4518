"""What a file of rpc-config says about how its service is served: text in, settings out. No I/O.

The field's format, a part of TOML: `KEY = VALUE` lines, comments after `#`, values `true`, `false`, a number or a word
in single quotes. What is not that is refused as a whole, with its line: a setting that is overlooked may be the one
that takes rights away. Only a key that nobody knows is passed over, so that files for later versions still do.
Source: the field's `libqrexec/toml.c` and the page on socket services.
"""

import re
from dataclasses import dataclass, fields

MAX_SIZE = 1 << 16
"""Bytes of a settings file."""

LINE = re.compile(
    r"(?P<key>[A-Za-z][A-Za-z0-9._-]*)[ \t]*=[ \t]*"
    r"(?:(?P<plain>0|[1-9][0-9]*|true|false)|'(?P<quoted>[^']*)')[ \t]*(?:#.*)?"
)
SWITCH = {"true": True, "1": True, "false": False, "0": False}


class Malformed(Exception):
    """One line of the file is not as the format has it."""

    def __init__(self, line: int, why: str) -> None:
        super().__init__(why)
        self.line = line


@dataclass(frozen=True, slots=True)
class Settings:
    wait_for_session: bool = False
    """Begin only when the domain's graphical session is there."""
    force_user: str = ""
    """Whom the service runs as, whatever the policy says; empty: no one in particular."""
    skip_service_descriptor: bool = False
    """A socket gets the caller's bytes only, and is not told who calls what."""
    exit_on_client_eof: bool = False
    """A socket's call is over when its caller has sent everything."""
    exit_on_service_eof: bool = False
    """A socket's call is over when its server has sent everything."""


NAMES = {field.name.replace("_", "-"): field.name for field in fields(Settings)}
OF_SOCKETS = ("skip_service_descriptor", "exit_on_client_eof", "exit_on_service_eof")


def parse(text: str) -> Settings:
    """`Malformed` for what the field's agent refuses too."""
    found: dict[str, bool | str] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        statement = line.removesuffix("\r").rstrip(" \t")
        if not statement or statement.startswith("#"):
            continue
        match = LINE.fullmatch(statement)
        if match is None or "\0" in statement:
            raise Malformed(number, "expected KEY = VALUE, where VALUE is true, false, a number or a 'quoted' word")
        name = NAMES.get(match["key"])
        if name is None:
            continue
        if name in found:
            raise Malformed(number, f"{match['key']} is there twice")
        found[name] = _value(number, name, match["plain"], match["quoted"])
        if found.get("force_user") and any(found.get(other) for other in OF_SOCKETS):
            raise Malformed(number, "force-user is for programs only, and this file has a setting for sockets only")
    return Settings(**found)  # type: ignore[arg-type]  # `_value` gives each name its own type


def _value(line: int, name: str, plain: str | None, quoted: str | None) -> bool | str:
    if name == "force_user":
        if not quoted:
            raise Malformed(line, "force-user takes a user's name in single quotes")
        return quoted
    if plain not in SWITCH:
        raise Malformed(line, f"{name.replace('_', '-')} is either true or false")
    return SWITCH[plain]
