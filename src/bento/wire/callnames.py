"""The names that a call is made of: one type and one parser each. `names.py` has all names.

Every name in Bento is parsed here, once, at the door where it comes in; past
the door it carries its type. A parser takes untrusted text and gives a value
of the type or raises `WireError`. Alphabets are ASCII on purpose: two names
that look the same on a screen must be the same name.

Limits follow the field (Qubes OS): 31 characters for a domain, 255 for a
service file, 65,000 for an argument (the field: service and argument together).
"""

import re
from typing import Self

from bento.wire.errors import WireError

MAX_CALL_NAME = 65_000
"""Longest argument of a call, in bytes (the field's qrexec limit, which counts the service in)."""


class Name(str):
    """A parsed name. Subclasses say which alphabet; `parse` is the only way in."""

    __slots__ = ()
    pattern: re.Pattern[str]
    what: str

    @classmethod
    def parse(cls, untrusted: str) -> Self:
        if not cls.pattern.fullmatch(untrusted):
            raise WireError(f"{printable(untrusted)} is not {cls.what}")
        return cls(untrusted)


class DomainName(Name):
    __slots__ = ()
    pattern = re.compile(r"(?!(?:none|default|Domain-0)\Z)(?!.*-dm\Z)[A-Za-z][A-Za-z0-9_.-]{0,30}", re.ASCII)
    what = "a domain name (a letter, then at most 30 of letters, digits, _ . -; not none, default, Domain-0 or *-dm)"


class DomainUuid(Name):
    """A domain's UUID in the one spelling of it that the field knows."""

    __slots__ = ()
    pattern = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)
    what = "a UUID (32 of 0-9 and small a-f, parted by - after the 8th, 12th, 16th and 20th)"


class ServiceName(Name):
    __slots__ = ()
    pattern = re.compile(r"(?!\.)[A-Za-z0-9_.-]{1,255}", re.ASCII)
    what = "a service name (at most 255 letters, digits, or any of _ . -)"


class ServiceArgument(Name):
    """What follows the `+` of a call; may be empty."""

    __slots__ = ()
    pattern = re.compile(rf"[A-Za-z0-9_.+-]{{0,{MAX_CALL_NAME}}}", re.ASCII)
    what = "a service argument (letters, digits, or any of _ . + -)"


class UserName(Name):
    """An account inside a domain."""

    __slots__ = ()
    pattern = re.compile(r"[a-z_][a-z0-9_-]{0,31}", re.ASCII)
    what = "a user name (a small letter or _, then at most 31 small letters, digits, _ or -)"


class TargetName(Name):
    """What a caller may name as its target: a domain, by name or UUID, or a keyword the policy knows.

    Which keywords mean something is the policy's business; here only the shape
    is checked.
    """

    __slots__ = ()
    keyword = r"@[a-z]+(?::@?[A-Za-z0-9_.:-]{1,127})?"
    pattern = re.compile(rf"(?:{DomainName.pattern.pattern})|uuid:{DomainUuid.pattern.pattern}|{keyword}|", re.ASCII)
    what = "a call target (a domain name, uuid:UUID or an @keyword)"


def printable(untrusted: str, limit: int = 64) -> str:
    """`untrusted` quoted for a message to a person: ASCII only, no control characters, bounded."""
    shown = "".join(c if " " <= c <= "~" and c != "'" else "?" for c in untrusted[:limit])
    return f"'{shown}'" + ("..." if len(untrusted) > limit else "")
