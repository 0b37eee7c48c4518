"""Any client and any server of the Admin API: requests, replies and events."""

from collections.abc import Hashable

from bento.wire.admin import (
    Event,
    EventReader,
    Failure,
    Fault,
    Ok,
    encode_event,
    encode_failure,
    encode_ok,
    parse_reply,
    parse_request,
)
from bento.wire.names import DomainName
from tests.fuzz.engine import Target, main, pieces

DOM0 = DomainName("dom0")
EVENTS = encode_event(Event("", "connection-established")) + encode_event(Event("work", "e", (("k", "v"), ("l", ""))))


def request(data: bytes) -> Hashable:
    parsed = parse_request(data, DOM0)
    assert parse_request(parsed.encode(), DOM0) == parsed
    return bool(parsed.argument), bool(parsed.payload), parsed.destination == DOM0


def reply(data: bytes) -> Hashable:
    parsed = parse_reply(data)
    match parsed:
        case Ok(content):
            assert encode_ok(content) == data
        case Failure() as failure:
            assert parse_reply(encode_failure(failure)) == failure
    return type(parsed).__name__


def events(data: bytes) -> Hashable:
    reader = EventReader()
    found = [event for piece in pieces(data) for event in reader.feed(piece)]
    again = b"".join(map(encode_event, found))
    assert list(EventReader().feed(again)) == found
    return tuple(min(len(event.details), 3) for event in found[:3]), reader.rest()[:1]


KINDS = {b"q": request, b"r": reply, b"e": events}


def check(data: bytes) -> Hashable:
    """The first byte says what the rest is to be read as."""
    kind = KINDS.get(data[:1], events)
    return kind.__name__, kind(data[1:])


TARGET = Target(
    check,
    seeds=(
        b"qadmin.vm.property.Set+netvm dom0 name work\0sys-net",
        b"qadmin.vm.List+ dom0 keyword adminvm\0",
        b"r" + encode_ok(b"work class=AppVM state=Running\n"),
        b"r" + encode_failure(Failure(Fault.NOT_FOUND, "there is no 100 % domain")),
        b"r2\0E\0traceback\0no %s in %s\0a\0b\0",
        b"e" + EVENTS,
        b"e" + EVENTS + encode_ok(b""),
    ),
    words=(b"\0", b"\0\0", b"1\0", b"2\0", b" ", b"%s", b"%%", b"%999999999s", b"%(a)s", b"name", b"keyword"),
)

if __name__ == "__main__":
    main("tests.fuzz.admin", TARGET)
