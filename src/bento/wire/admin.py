"""The Admin API's framing: one call a connection, as the field's clients speak it.

    request : METHOD+ARG SRC (name DEST | keyword adminvm) NUL PAYLOAD, then the client shuts down writing;
              DEST is a domain's name or uuid:UUID
    OK      : "0" NUL content
    event   : "1" NUL subject NUL event NUL (key NUL value NUL)* NUL, repeated; the first is connection-established
    failure : "2" NUL class NUL traceback-or-empty NUL format NUL (field NUL)*

At most 65,536 bytes a request. Source: the field's core-admin 4.4 and its
client. An answer to one of Bento's own methods (`bento.*`) may carry an open
file (SCM_RIGHTS) beside its first byte, or go on as events.
"""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from bento.wire.errors import WireError
from bento.wire.names import DomainName, DomainUuid, ServiceArgument, ServiceName, parse_called, printable

MAX_REQUEST = 65_536

EVENT = b"1\0"


class Fault(StrEnum):
    """Exception classes a client knows by name (the field's, then Bento's own exit codes for the command line)."""

    NOT_FOUND = "QubesVMNotFoundError"
    NOT_RUNNING = "QubesVMNotRunningError"
    NOT_STARTED = "QubesVMNotStartedError"
    NO_MEMORY = "QubesMemoryError"
    NOT_PAUSED = "QubesVMNotPausedError"
    NOT_HALTED = "QubesVMNotHaltedError"
    IN_USE = "QubesVMInUseError"
    BAD_VALUE = "QubesValueError"
    BAD_PROPERTY_VALUE = "QubesPropertyValueError"
    NO_SUCH_PROPERTY = "QubesNoSuchPropertyError"
    NO_SUCH_LABEL = "QubesLabelNotFoundError"
    NO_SUCH_TAG = "QubesTagNotFoundError"
    NO_SUCH_FEATURE = "QubesFeatureNotFoundError"
    PROTOCOL = "ProtocolError"
    NO_METHOD = "QubesDaemonAccessError"
    """The field's client makes this of the empty answer that the field gives for a method it does not have, and does
    without what the method would have told; with this class it has a sentence, too."""
    REFUSED = "PermissionDenied"
    GENERAL = "QubesException"


@dataclass(frozen=True, slots=True)
class Request:
    method: ServiceName
    argument: ServiceArgument
    source: DomainName
    destination: DomainName
    payload: bytes

    def encode(self) -> bytes:
        head = f"{self.method}+{self.argument} {self.source} name {self.destination}"
        return head.encode() + b"\0" + self.payload


def _nobody(uuid: DomainUuid) -> DomainName:
    raise WireError(f"no domain has the UUID {uuid}")


def parse_request(
    untrusted: bytes, admin: DomainName, identified: Callable[[DomainUuid], DomainName] = _nobody
) -> Request:
    """The request, or `WireError`. `keyword adminvm` becomes `admin`, and `uuid:UUID` what `identified` has for it.

    What that raises for a UUID that nobody has comes out of here.
    """
    if len(untrusted) > MAX_REQUEST:
        raise WireError(f"request of more than {MAX_REQUEST} bytes")
    untrusted_head, nul, payload = untrusted.partition(b"\0")
    if not nul:
        raise WireError("request without the NUL that ends its head")
    try:
        words = untrusted_head.decode("ascii").split(" ")
    except UnicodeDecodeError:
        raise WireError("head of the request is not ASCII") from None
    if len(words) != 4:
        raise WireError("head of the request is not METHOD+ARG SRC name|keyword DEST")
    called, source, kind, destination = words
    match kind, destination:
        case "keyword", "adminvm":
            target = admin
        case "name", _ if destination.startswith("uuid:"):
            target = identified(DomainUuid.parse(destination.removeprefix("uuid:")))
        case "name", _:
            target = DomainName.parse(destination)
        case _:
            raise WireError(f"destination {printable(f'{kind} {destination}')} is neither a name nor adminvm")
    return Request(*parse_called(called), DomainName.parse(source), target, payload)


@dataclass(frozen=True, slots=True)
class Ok:
    content: bytes


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened. `subject` is a domain's name, or empty for the system."""

    subject: str
    name: str
    details: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """`sentence` is for the person; on the wire it is a %-format with no fields left to fill."""

    fault: str
    sentence: str


def encode_ok(content: bytes) -> bytes:
    return b"0\0" + content


def encode_event(event: Event) -> bytes:
    parts = [event.subject, event.name]
    for key, value in event.details:
        parts += [key, value]
    if any("\0" in part for part in parts) or not all(key for key, _ in event.details):
        raise WireError("an event's words may not contain NUL, nor its keys be empty: that is where it ends")
    return EVENT + b"".join(part.encode(errors="replace") + b"\0" for part in parts) + b"\0"


def encode_failure(failure: Failure) -> bytes:
    """The field's client fills `format % fields`: a literal percent sign goes as two, and no fields follow."""
    sentence = failure.sentence.replace("\0", "?").replace("%", "%%")
    return b"2\0" + failure.fault.encode() + b"\0\0" + sentence.encode(errors="replace") + b"\0"


def parse_reply(data: bytes) -> Ok | Failure:
    """A whole reply (read to its end) that is not events."""
    if not data:
        return Failure(Fault.REFUSED, "The manager refused the request without a reason.")
    if data.startswith(b"0\0"):
        return Ok(data[2:])
    if data.startswith(b"2\0"):
        fields = data[2:].decode(errors="replace").split("\0")
        if len(fields) >= 3:
            return Failure(fields[0], _fill(fields[2], fields[3:-1]))
    raise WireError("the manager's reply is neither OK nor a failure")


def _fill(template: str, fields: list[str]) -> str:
    """`template % fields` where it asks for text; nothing else of the %-language, which can ask for gigabytes."""
    words = iter(fields)
    return re.sub("%[%s]", lambda found: "%" if found[0] == "%%" else next(words, "%s"), template)


class EventReader:
    """Cuts a stream of events. An OK or a failure ends it, and is what `rest` gives."""

    def __init__(self) -> None:
        self._pending = bytearray()
        self._words: list[str] | None = None  # of the event under way

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that `data` completes. Take them all before feeding more."""
        pending = self._pending
        pending += data
        if b"\0" not in data:
            return  # nothing is complete that was not before
        at = 0
        try:
            while True:
                if self._words is None:
                    if not pending.startswith(EVENT, at):
                        return
                    self._words = []
                    at += len(EVENT)
                end = pending.find(0, at)
                if end < 0:
                    return
                word = pending[at:end].decode(errors="replace")
                at = end + 1
                # Subject and name, which may be empty, then pairs until an empty key.
                if word or len(self._words) < 2 or len(self._words) % 2:
                    self._words.append(word)
                else:
                    subject, name, *pairs = self._words
                    self._words = None
                    yield Event(subject, name, tuple(zip(pairs[::2], pairs[1::2], strict=True)))
        finally:
            del pending[:at]

    def rest(self) -> bytes:
        """What came that is no whole event: empty, or a final reply for `parse_reply`."""
        return bytes(self._pending) if self._words is None else EVENT + self._pending
