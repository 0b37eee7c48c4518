"""The audit log as values: what a line says, how it is written, and whether one line follows from another.

The log is a number of chains, one for each source of calls (`manager/audit.py`
says why). A line of a chain is

    SHA-256 of the rest of the line, a space, a JSON object with sorted keys, a newline

in ASCII, and its object holds its number in the chain, from 1, and the hash of
the line before. So nothing can be changed, taken out or put in without a line
that does not follow, unless all lines after it are written anew; and that shows
against a `Head` that was kept elsewhere. What is read here may have been written by anybody: parsing is total.
"""

import json
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from hashlib import sha256
from typing import Any

from bento.wire.errors import WireError
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName, ascii_only

MAX_LINE = 4096
"""Bytes of a line, its newline counted in."""

MAX_TEXT = 400
"""Characters of a sentence in a line."""

GENESIS = "0" * 64
"""What the first line of a chain has for the hash of the line before."""


class Damaged(Exception):
    """This is no line, or not the next one. The text is one sentence about the line, safe to print."""


# ---- what a line can say -------------------------------------------------------------------------


class Verdict(StrEnum):
    """What became of a call."""

    ALLOWED = "allow"
    CONSENTED = "consent"
    """A rule asks, and the person, or a grant of theirs, agreed."""
    DENIED = "deny"
    WITHHELD = "withhold"
    """A rule asks, and nobody agreed."""
    ADMIN = "admin"
    """The person at the host commands a domain, which the policy is not asked about."""

    CUT = "cut"
    """Not a decision, but what became of one: the call proceeded, and a side of it broke the service's contract."""

    @property
    def proceeds(self) -> bool:
        return self not in (Verdict.DENIED, Verdict.WITHHELD, Verdict.CUT)


@dataclass(frozen=True, slots=True)
class Decided:
    """One call, written before it proceeds. `time`, here and below, is microseconds since 1970, UTC.

    `argument` is `argument_digest` of the call's argument; `asked` is the target that the caller named, `chosen` the
    one that it got ("" where it got none; `@dispvm:BASE` for a disposable that is yet to be). `rule` is the place of
    the rule that decided (FILE:LINE, "" for none), `policy` the digest of the policy in force (64 hex digits, "" where
    none was asked), `grant` what the person agreed to, and `reason` a sentence.
    """

    time: int
    source: DomainName
    service: ServiceName
    argument: str
    asked: TargetName
    chosen: TargetName
    verdict: Verdict
    rule: str
    policy: str
    grant: str
    reason: str


@dataclass(frozen=True, slots=True)
class Counted:
    """So many more calls of `source` came to nothing between `since` and `time`, too many for a line each."""

    time: int
    source: DomainName
    since: int
    calls: int


@dataclass(frozen=True, slots=True)
class Began:
    """The first line of a chain."""

    time: int


@dataclass(frozen=True, slots=True)
class Repaired:
    """After a crash, `size` bytes behind the last line were no line; they were cut off. `digest`: their SHA-256."""

    time: int
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Dropped:
    """The lines up to number `last`, whose hash is `hash`, fell off, because the log has a bound."""

    time: int
    last: int
    hash: str


Entry = Decided | Counted | Began | Repaired | Dropped


def argument_digest(argument: ServiceArgument) -> str:
    """What the log keeps of an argument, which may be a secret, such as the name of a file."""
    return sha256(argument.encode()).hexdigest()


def plain(text: str) -> str:
    """`text` as a line can hold it: printable ASCII, bounded."""
    return ascii_only(text[:MAX_TEXT])


# ---- a line --------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Head:
    """Where a chain ends: after `count` lines, the last of which has `hash`."""

    count: int
    hash: str


START = Head(0, GENESIS)


_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Line:
    """`entry` as what follows `before` in a chain."""

    before: Head
    entry: Entry

    @property
    def number(self) -> int:
        return self.before.count + 1

    def encode(self) -> bytes:
        said = {name: getattr(self.entry, name) for name in self.entry.__match_args__}
        chained = {"kind": KIND[type(self.entry)], "number": self.number, "before": self.before.hash}
        text = _JSON.encode({**said, **chained}).encode()
        return b"%s %s\n" % (sha256(text).hexdigest().encode(), text)


def head_after(number: int, encoded: bytes) -> Head:
    """Where a chain ends whose last line is `encoded`, which has that number."""
    return Head(number, encoded[:64].decode("ascii"))


def parse_line(untrusted: bytes) -> Line:
    """The line, or `Damaged`. What is not written just as `Line.encode` writes it is no line."""
    if len(untrusted) > MAX_LINE:
        raise Damaged("is too long")
    if not untrusted.endswith(b"\n"):
        raise Damaged("has no end")
    untrusted_hash, _, untrusted_object = untrusted[:-1].partition(b" ")
    if sha256(untrusted_object).hexdigest().encode() != untrusted_hash:
        raise Damaged("does not have the hash of what it says")
    try:
        line = _line(json.loads(untrusted_object.decode("ascii")))
    except (ValueError, RecursionError, WireError):
        raise Damaged("says nothing that this log can say") from None
    if line.encode() != untrusted:
        raise Damaged("is not written as this log writes")
    return line


def _line(untrusted: object) -> Line:
    if not isinstance(untrusted, dict):
        raise ValueError
    kind = next((kind for kind, name in KIND.items() if name == untrusted.get("kind")), None)
    if kind is None:
        raise ValueError
    # A number of 0 fails here, too: no natural one comes before it.
    before = Head(_natural(_natural(untrusted.get("number")) - 1), _digest(untrusted.get("before")))
    values: dict[str, Any] = {field.name: FIELDS[field.name](untrusted.get(field.name)) for field in fields(kind)}
    return Line(before, kind(**values))


def _text(untrusted: object) -> str:
    if not isinstance(untrusted, str) or plain(untrusted) != untrusted:
        raise ValueError
    return untrusted


def _natural(untrusted: object) -> int:
    if type(untrusted) is not int or not 0 <= untrusted < 1 << 63:
        raise ValueError
    return untrusted


def _digest(untrusted: object) -> str:
    text = _text(untrusted)
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise ValueError
    return text


def _digest_or_none(untrusted: object) -> str:
    return _digest(untrusted) if untrusted != "" else ""


FIELDS: Mapping[str, Callable[[object], object]] = {
    "time": _natural,
    "source": lambda untrusted: DomainName.parse(_text(untrusted)),
    "service": lambda untrusted: ServiceName.parse(_text(untrusted)),
    "argument": _digest,
    "asked": lambda untrusted: TargetName.parse(_text(untrusted)),
    "chosen": lambda untrusted: TargetName.parse(_text(untrusted)),
    "verdict": lambda untrusted: Verdict(_text(untrusted)),
    "rule": _text,
    "policy": _digest_or_none,
    "grant": _text,
    "reason": _text,
    "since": _natural,
    "calls": _natural,
    "size": _natural,
    "digest": _digest,
    "last": _natural,
    "hash": _digest,
}
"""How each field of an entry is read; a name means the same in all entries."""

KIND: Mapping[type[Entry], str] = {
    Decided: "decided",
    Counted: "counted",
    Began: "began",
    Repaired: "repaired",
    Dropped: "dropped",
}


# ---- a chain -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sound:
    """Every line follows from the one before. `first` is the number of the first one that is still there."""

    first: int
    head: Head


@dataclass(frozen=True, slots=True)
class Broken:
    """`number` is the first line that is not what it must be; `why` completes "line N ..."."""

    number: int
    why: str


def verify(untrusted_lines: Iterable[bytes], first: int = 1, kept: Collection[Head] = ()) -> Sound | Broken:
    """Whether these lines, each with its newline, are a chain from line `first` on, which went by all of `kept`.

    What a chain proves: if its end is known from elsewhere, its lines are those that were written up to there, in their
    order. By itself it proves only that nobody changed it who did not know how to write it all anew.
    """
    known: dict[int, set[Head]] = {}
    for each in kept:
        known.setdefault(each.count, set()).add(each)
    head: Head | None = None
    missing: Head | None = None
    for untrusted in untrusted_lines:
        expected = head.count + 1 if head else first
        try:
            line = parse_line(untrusted)
            if line.number != expected:
                raise Damaged(f"says that it is line {line.number}")
            if head is None:
                missing = _missing_before(line)
                _goes_by(line.before, known)
            elif line.before != head:
                raise Damaged("does not have the hash of the line before")
            head = head_after(line.number, untrusted)
            _goes_by(head, known)
        except Damaged as damaged:
            return Broken(expected, str(damaged))
        if isinstance(line.entry, Dropped) and Head(line.entry.last, line.entry.hash) == missing:
            missing = None
    if head is None:
        return Broken(first, "is missing")
    if missing:
        return Broken(first, "follows lines that are missing, and no line says that they fell off")
    if (last := max(known, default=0)) > head.count:
        return Broken(head.count + 1, f"is missing, and so are all others up to line {last}, which was kept")
    if (oldest := min(known, default=first)) < first - 1:
        return Broken(first, f"is the oldest left: that line {oldest}, which was kept, came before is not proved")
    return Sound(first, head)


def _goes_by(head: Head, known: Mapping[int, Collection[Head]]) -> None:
    if any(each != head for each in known.get(head.count, ())):
        raise Damaged(f"does not go with line {head.count} as it was kept")


def _missing_before(line: Line) -> Head | None:
    """What must have fallen off if `line` is the first that is left."""
    if line.number > 1:
        return line.before
    if line.before != START or not isinstance(line.entry, Began):
        raise Damaged("is not the beginning of a log")
    return None
