"""Errors that name the blame. Each carries one sentence for the person, who learns from it what to do.

`WireError` (in `bento.wire.errors`) blames the peer. The others:

- `Invalid`:     what the person asked for makes no sense (unknown name, bad value).
- `Refused`:     the policy, or a rule of the house, says no.
- `Conflict`:    right request, wrong moment: carries the actual and the required state.
- `Unavailable`: the outside world (a full disk, a missing program, a dead QEMU).
"""

from enum import StrEnum


class BentoError(Exception):
    """Any of the below; the text is one sentence, safe to print."""


class Invalid(BentoError):
    """The request names something that does not exist or a value that is none."""


class Kind(StrEnum):
    """What a request can name that does not exist."""

    DOMAIN = "domain"
    PROPERTY = "property"
    LABEL = "label"
    TAG = "tag"
    FEATURE = "feature"


class NoSuch(Invalid):
    """The request names a thing that does not exist."""

    def __init__(self, sentence: str, kind: Kind = Kind.DOMAIN) -> None:
        super().__init__(sentence)
        self.kind = kind


class Refused(BentoError):
    """A policy or a rule of the house forbids it."""


class Conflict(BentoError):
    """The thing exists but is in the wrong state for the request."""

    def __init__(self, sentence: str, *, actual: str, required: str) -> None:
        super().__init__(sentence)
        self.actual = actual
        self.required = required


class Unavailable(BentoError):
    """Something outside of Bento does not work: disk, memory, a program, a guest."""


class Silent(Unavailable):
    """A guest that should have answered did not; its console says more than we know."""


class Exhausted(Unavailable):
    """The host has too little of something just now: whatever asked for it is not to blame."""


class NoMemory(Exhausted):
    """It is memory, and was seen before anything was started."""
