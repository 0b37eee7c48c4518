"""Domains, labels and their lifecycle: frozen values and one transition table.

The words are the field's (Qubes OS), so that its users and tools find them.
"""

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from bento.wire.names import ADMIN as ADMIN  # as part of this module: it is the model's word, too
from bento.wire.names import DomainName, LabelName

ADMIN_UUID = UUID(int=0)
"""The field's: the admin domain is `uuid:00000000-0000-0000-0000-000000000000`."""


class DomainClass(StrEnum):
    ADMIN = "AdminVM"
    TEMPLATE = "TemplateVM"
    APP = "AppVM"
    STANDALONE = "StandaloneVM"
    DISPOSABLE = "DispVM"


class PowerState(StrEnum):
    """The field's power states. `TRANSIENT` covers starting and stopping."""

    HALTED = "Halted"
    TRANSIENT = "Transient"
    RUNNING = "Running"
    PAUSED = "Paused"
    SUSPENDED = "Suspended"
    """It has no machine: all that it was lies in a file, and goes on from there."""


class Step(StrEnum):
    """What can happen to a domain's power."""

    LAUNCH = "launch"
    READY = "ready"
    PAUSE = "pause"
    UNPAUSE = "unpause"
    STOP = "stop"
    SUSPEND = "suspend"
    REST = "rest"
    GONE = "gone"


TRANSITIONS: dict[tuple[PowerState, Step], PowerState] = {
    (PowerState.HALTED, Step.LAUNCH): PowerState.TRANSIENT,
    (PowerState.TRANSIENT, Step.READY): PowerState.RUNNING,
    (PowerState.RUNNING, Step.PAUSE): PowerState.PAUSED,
    (PowerState.PAUSED, Step.UNPAUSE): PowerState.RUNNING,
    (PowerState.RUNNING, Step.STOP): PowerState.TRANSIENT,
    (PowerState.RUNNING, Step.SUSPEND): PowerState.TRANSIENT,
    (PowerState.TRANSIENT, Step.REST): PowerState.SUSPENDED,
    (PowerState.SUSPENDED, Step.LAUNCH): PowerState.TRANSIENT,
    (PowerState.TRANSIENT, Step.GONE): PowerState.HALTED,
    (PowerState.RUNNING, Step.GONE): PowerState.HALTED,
    (PowerState.PAUSED, Step.GONE): PowerState.HALTED,
}
"""Every legal change of power; a pair that is not here is a `Conflict`."""


@dataclass(frozen=True, slots=True)
class Label:
    """A domain's colour, the one thing a person reads trust from. `rgb` is 0xRRGGBB."""

    name: LabelName
    index: int
    rgb: int


def _label(index: int, name: str, rgb: int) -> Label:
    return Label(LabelName(name), index, rgb)


LABELS: tuple[Label, ...] = (
    _label(1, "red", 0xCC0000),
    _label(2, "orange", 0xF57900),
    _label(3, "yellow", 0xEDD400),
    _label(4, "green", 0x73D216),
    _label(5, "gray", 0x555753),
    _label(6, "blue", 0x3465A4),
    _label(7, "purple", 0x75507B),
    _label(8, "black", 0x000000),
)
"""The field's eight labels with its indices and colours (core-admin, `qubes/app.py`)."""

RGB = {label.name: label.rgb for label in LABELS}


@dataclass(frozen=True, slots=True)
class Domain:
    """What is recorded of a domain, apart from properties, tags and features.

    `template` is a TemplateVM's name for an AppVM, else None.
    """

    uuid: UUID
    name: DomainName
    klass: DomainClass
    label: LabelName
    template: DomainName | None
