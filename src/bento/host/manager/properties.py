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
