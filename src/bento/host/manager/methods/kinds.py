"""What a method is given and what it may answer."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from bento.host.manager.audit import Audit
from bento.host.manager.calls import Calls
from bento.host.manager.consent import Consent
from bento.host.manager.contracts import Contracts
from bento.host.manager.disposables import Disposables
from bento.host.manager.events import Events
from bento.host.manager.grants import Grants
from bento.host.manager.invariants import Invariants
from bento.host.manager.inventory import Inventory
from bento.host.manager.journals import Journals
from bento.host.manager.lifecycle import Lifecycle
from bento.host.manager.notices import Notices
from bento.host.manager.places import Places
from bento.host.manager.seeds import Seeds
from bento.host.manager.spares import Spares
from bento.host.manager.templates import Templates
from bento.host.model.domain import ADMIN, DomainClass
from bento.host.model.errors import Invalid, Refused
from bento.host.model.inventory import DomainRecord
from bento.host.model.memory import HostMemory
from bento.host.ports.storage import Storage
from bento.wire.admin import Event, Request
from bento.wire.errors import WireError


@dataclass(frozen=True, slots=True)
class File:
    """An open file to hand to the client beside an empty OK; closed once it was sent."""

    fd: int


@dataclass(frozen=True, slots=True)
class Stream:
    """Events for as long as the client stays; ends with an empty OK. Closed when the client hangs up."""

    events: AsyncGenerator[Event, None]


Reply = bytes | File | Stream


@dataclass(frozen=True, slots=True)
class Manager:
    """All that methods work with. `stop` ends the manager, after the answer to the request that asked for it."""

    inventory: Inventory
    lifecycle: Lifecycle
    calls: Calls
    contracts: Contracts
    audit: Audit
    invariants: Invariants
    journals: Journals
    disposables: Disposables
    consent: Consent
    grants: Grants
    seeds: Seeds
    spares: Spares
    templates: Templates
    storage: Storage
    places: Places
    events: Events
    notices: Notices
    memory: Callable[[], HostMemory]
    doctor: Callable[[], Awaitable[list[dict[str, object]]]]
    stop: Callable[[], None]


Method = Callable[[Manager, Request], Awaitable[Reply]]


def subject(manager: Manager, request: Request) -> DomainRecord:
    """The domain a `.vm.` method is about."""
    return manager.inventory.get(request.destination)


def guest(manager: Manager, request: Request) -> DomainRecord:
    """The same for methods that make no sense for the admin domain."""
    record = subject(manager, request)
    if record.domain.klass is DomainClass.ADMIN:
        raise Refused(f"'{ADMIN}' is this machine itself; that cannot be done to it")
    return record


def lines(payload: bytes, *allowed: str) -> dict[str, str]:
    """`key=value` lines as Bento's own methods take them."""
    try:
        text = payload.decode()
    except UnicodeDecodeError:
        raise Invalid("the request's payload is not UTF-8") from None
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        if not equals or key not in allowed or key in found:
            raise Invalid(f"the request's payload may hold one each of: {', '.join(allowed)}")
        found[key] = value
    return found


T = TypeVar("T")


def parsed(parse: Callable[[str], T], untrusted: str) -> T:
    """What a name's parser makes of it; `Invalid` where that is nothing."""
    try:
        return parse(untrusted)
    except WireError as error:
        raise Invalid(str(error)) from None


def yes(fields: Mapping[str, str], key: str, *, default: str = "no") -> bool:
    """Whether a field of `lines` says yes."""
    if (value := fields.get(key, default)) not in ("yes", "no"):
        raise Invalid(f"{key} is yes or no")
    return value == "yes"


def plain(payload: bytes) -> str:
    """A payload that is one value: printable ASCII."""
    text = payload.decode("ascii", errors="replace")
    if not text.isprintable() or not text.isascii():
        raise Invalid("a value here is printable ASCII text")
    return text
