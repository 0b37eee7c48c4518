"""What can be set of a domain: one table, the field's names, types and defaults.

Only what this version of Bento acts upon is in it. Values are kept as text, as
the Admin API carries them; `check` says whether a text is a value.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from bento.host.model.domain import DomainClass
from bento.host.model.errors import Invalid, Kind, NoSuch
from bento.host.model.inventory import DomainRecord
from bento.wire.errors import WireError
from bento.wire.names import UserName

RUNNABLE = frozenset(DomainClass) - {DomainClass.ADMIN}


@dataclass(frozen=True, slots=True)
class Property:
    """`kind` is the Admin API's type word. `check` gives the text to keep, or raises `Invalid`."""

    name: str
    kind: str
    default: str
    help: str
    check: Callable[[str], str]
    classes: frozenset[DomainClass] = RUNNABLE


def _between(low: int, high: int, unit: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not (value.isascii() and value.isdecimal() and len(value) < 10 and low <= int(value) <= high):
            raise Invalid(f"must be a whole number of {unit} from {low} to {high}")
        return str(int(value))

    return check


def _truth(value: str) -> str:
    """`True` or `False`, however the field's clients spell them (core-admin, `qubes.property.bool`)."""
    if value.lower() in ("true", "yes", "on", "1"):
        return "True"
    if value.lower() in ("false", "no", "off", "0"):
        return "False"
    raise Invalid("must be True or False")


def _user(value: str) -> str:
    try:
        return UserName.parse(value)
    except WireError as error:
        raise Invalid(str(error)) from None


PROPERTIES: Mapping[str, Property] = {
    p.name: p
    for p in (
        Property(
            "memory", "int", "400", "Memory of the domain at its next start, in MiB.", _between(80, 1 << 20, "MiB")
        ),
        Property("vcpus", "int", "1", "Virtual processors at its next start.", _between(1, 64, "processors")),
        Property("default_user", "str", "user", "Account that services run as when nobody names one.", _user),
        Property(
            "qrexec_timeout",
            "int",
            "60",
            "Seconds that a start waits for the agent's answer.",
            _between(1, 3600, "seconds"),
        ),
        Property(
            "shutdown_timeout",
            "int",
            "60",
            "Seconds that a shutdown waits for the domain to be gone.",
            _between(1, 3600, "seconds"),
        ),
        Property(
            "template_for_dispvms",
            "bool",
            "False",
            "Whether disposables may be made from this domain.",
            _truth,
            frozenset({DomainClass.APP}),
        ),
        Property(
            "fast_start",
            "bool",
            "True",
            "Whether its starts go on from a saved machine of its template, where there is one.",
            _truth,
            frozenset({DomainClass.APP}),
        ),
        Property(
            "auto_cleanup",
            "bool",
            "False",
            "Whether the disposable is removed once it has halted.",
            _truth,
            frozenset({DomainClass.DISPOSABLE}),
        ),
    )
}
"""Properties whose value is text in the record. `name`, `klass`, `uuid`, `label`, `template` and the like are the
domain itself and stand in `methods/properties.py`."""


def find(record: DomainRecord, name: str) -> Property:
    found = PROPERTIES.get(name)
    if found is None or record.domain.klass not in found.classes:
        raise NoSuch(
            f"'{record.name}' has no property '{name}'; 'bento prefs {record.name}' shows those it has", Kind.PROPERTY
        )
    return found


def text(record: DomainRecord, name: str) -> str:
    """A property's value, its default where none was set."""
    return record.properties.get(name, PROPERTIES[name].default)


def number(record: DomainRecord, name: str) -> int:
    return int(text(record, name))


def truth(record: DomainRecord, name: str) -> bool:
    return text(record, name) == "True"


def inherited(base: DomainRecord) -> dict[str, str]:
    """What was set of a disposable template, and is set of its disposables."""
    return {
        name: value
        for name, value in base.properties.items()
        if name in PROPERTIES and DomainClass.DISPOSABLE in PROPERTIES[name].classes
    }


def makes_disposables(record: DomainRecord) -> bool:
    """Whether disposables may be made from it."""
    return record.domain.klass is DomainClass.APP and truth(record, "template_for_dispvms")
