"""All names that cross a boundary: those that a call is made of (`callnames.py`, which says how), and these.

Apart from them because no guest says these, and what a broker does not need is not to be audited with it.
"""

import re

from bento.wire.callnames import (
    MAX_CALL_NAME,
    DomainName,
    DomainUuid,
    Name,
    ServiceArgument,
    ServiceName,
    TargetName,
    UserName,
    printable,
)

__all__ = [
    "ADMIN",
    "MAX_CALL_NAME",
    "DomainName",
    "DomainUuid",
    "FeatureName",
    "LabelName",
    "Name",
    "ServiceArgument",
    "ServiceName",
    "Tag",
    "TargetName",
    "UserName",
    "ascii_only",
    "parse_called",
    "printable",
]


ADMIN = DomainName("dom0")
"""The admin domain: the host itself, where policy and state live (the field's name for it)."""


def ascii_only(untrusted: str) -> str:
    """`untrusted` for a log or a person: one line of printable ASCII, with ? for all else."""
    return "".join(c if " " <= c <= "~" else "?" for c in untrusted)


def parse_called(untrusted: str) -> tuple[ServiceName, ServiceArgument]:
    """SERVICE or SERVICE+ARGUMENT, as people and the field spell what is called; or `WireError`."""
    service, _, argument = untrusted.partition("+")
    return ServiceName.parse(service), ServiceArgument.parse(argument)


class Tag(Name):
    __slots__ = ()
    pattern = re.compile(r"[A-Za-z0-9_.-]{1,127}", re.ASCII)
    what = "a tag (at most 127 letters, digits, or any of _ . -)"


class FeatureName(Name):
    __slots__ = ()
    pattern = re.compile(r"[A-Za-z0-9_.-]{1,127}", re.ASCII)
    what = "a feature name (at most 127 letters, digits, or any of _ . -)"


class LabelName(Name):
    __slots__ = ()
    pattern = re.compile(r"[A-Za-z0-9_.-]{1,31}", re.ASCII)
    what = "a label name (at most 31 letters, digits, or any of _ . -)"
