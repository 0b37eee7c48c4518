"""subuid(5): the further host ids that an account may give to what it confines. Its text, read in one way; no I/O.

An account stands there by name or by number, and may stand there more than once.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass

FIRST = 100_000
"""Where Debian's useradd begins (SUB_UID_MIN in login.defs(5))."""

NEEDED = 65_536
"""What mmdebstrap maps into a template build; domains share them."""


@dataclass(frozen=True, slots=True)
class Span:
    """One entry: `count` ids from `first` on."""

    owner: str
    first: int
    count: int


def parse(text: str) -> list[Span]:
    """The entries of /etc/subuid or /etc/subgid; a line that is none counts for nobody."""
    spans = []
    for line in text.splitlines():
        match line.split(":"):
            case [owner, first, count] if re.fullmatch("[0-9]{1,10} [0-9]{1,10}", f"{first} {count}"):
                spans.append(Span(owner, int(first), int(count)))
    return spans


def free(spans: Collection[Span]) -> int:
    """The first id behind everybody's."""
    return max(FIRST, *(span.first + span.count for span in spans), 0)
