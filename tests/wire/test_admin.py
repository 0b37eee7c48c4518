"""The Admin API's framing: requests are parsed strictly, replies and events survive any cutting."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.wire.admin import (
    MAX_REQUEST,
    Event,
    EventReader,
    Failure,
    Fault,
    Ok,
    Request,
    encode_event,
    encode_failure,
    encode_ok,
    parse_reply,
    parse_request,
)
from bento.wire.errors import WireError
from bento.wire.names import DomainName, DomainUuid, ServiceArgument, ServiceName
from tests.wire.strategies import DOMAINS, SPELLING, cut

DOM0 = DomainName("dom0")
REQUESTS = st.builds(
    Request,
    SPELLING[ServiceName].map(ServiceName),
    SPELLING[ServiceArgument].map(ServiceArgument),
    DOMAINS.map(DomainName),
    DOMAINS.map(DomainName),
    st.binary(max_size=200),
)
WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)
KEYS = WORDS.filter(bool)
EVENTS = st.builds(Event, WORDS, WORDS, st.lists(st.tuples(KEYS, WORDS), max_size=4).map(tuple))


@given(request=REQUESTS)
def test_a_request_survives_encoding(request: Request) -> None:
    assert parse_request(request.encode(), DOM0) == request


def test_a_request_as_the_fields_client_sends_it() -> None:
    assert parse_request(b"admin.vm.property.Set+netvm dom0 name work\0sys-net\0", DOM0) == Request(
        ServiceName("admin.vm.property.Set"), ServiceArgument("netvm"), DOM0, DomainName("work"), b"sys-net\0"
    )


def test_the_keyword_for_the_admin_domain_becomes_its_name() -> None:
    assert parse_request(b"admin.vm.List+ dom0 keyword adminvm\0", DOM0).destination == DOM0


def test_a_domain_may_be_meant_by_its_uuid() -> None:
    uuid = "6d7a02b5-532b-467f-b9fb-6596bae03c33"
    request = f"m+ dom0 name uuid:{uuid}\0".encode()
    assert parse_request(request, DOM0, {DomainUuid(uuid): DomainName("work")}.__getitem__).destination == "work"
    with pytest.raises(WireError, match=f"no domain has the UUID {uuid}"):
        parse_request(request, DOM0)


def test_a_method_may_stand_without_the_plus_of_its_argument() -> None:
    assert parse_request(b"admin.vm.List dom0 name dom0\0", DOM0).argument == ""


def test_only_the_first_plus_ends_the_method() -> None:
    assert parse_request(b"m+a+b dom0 name dom0\0", DOM0).argument == "a+b"


@pytest.mark.parametrize(
    ("request_bytes", "complaint"),
    [
        (b"", "without the NUL"),
        (b"m+ dom0 name work", "without the NUL"),
        (b"m\xff+ dom0 name work\0", "not ASCII"),
        ("ｍ+ dom0 name work\0".encode(), "not ASCII"),
        (b"m+ dom0 work\0", "is not METHOD"),
        (b"m+ dom0 name work x\0", "is not METHOD"),
        (b"m+  name work\0", "is not a domain name"),
        (b"m+\tdom0 dom0 name work\0", "is not a service argument"),
        (b"m+ dom0 keyword default\0", "'keyword default' is neither"),
        (b"m+ dom0 name uuid:work\0", "is not a UUID"),
        (b"m+ dom0 keyword uuid:work\0", "is neither"),
        (b"m+ dom0 uuid work\0", "'uuid work' is neither"),
        (b"m+ dom0 Name work\0", "is neither"),
        (b"m+ dom0 name adminvm/\0", "is not a domain name"),
        (b"m+ dom0 name @adminvm\0", "is not a domain name"),
        (b"m+ d/om0 name work\0", "is not a domain name"),
        (b"m/+ dom0 name work\0", "is not a service name"),
        (b"+a dom0 name work\0", "is not a service name"),
        (b"m+a/b dom0 name work\0", "is not a service argument"),
        (b"m+ dom0 name work\n\0", "is not a domain name"),
    ],
)
def test_a_request_that_is_none_is_refused_with_the_reason(request_bytes: bytes, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        parse_request(request_bytes, DOM0)


def test_a_request_of_the_limit_is_taken_and_a_longer_one_is_not() -> None:
    head = b"m+ dom0 name work\0"
    longest = head + bytes(MAX_REQUEST - len(head))
    assert len(parse_request(longest, DOM0).payload) == MAX_REQUEST - len(head)
    with pytest.raises(WireError, match="request of more than 65536 bytes"):
        parse_request(longest + b"x", DOM0)


@given(data=st.binary(max_size=100) | st.lists(st.sampled_from(b"m+ dom0 name\0\n%")).map(bytes))
def test_any_bytes_are_a_request_or_a_wire_error(data: bytes) -> None:
    try:
        request = parse_request(data, DOM0)
    except WireError as error:
        complaint = str(error)
    else:
        complaint = ""
        assert parse_request(request.encode(), DOM0) == request
    assert complaint.isprintable()


@given(content=st.binary(max_size=200))
def test_an_ok_survives(content: bytes) -> None:
    assert parse_reply(encode_ok(content)) == Ok(content)


@given(fault=st.sampled_from(Fault), sentence=WORDS | st.text("%s0d(a)*.", max_size=20))
def test_a_failure_survives_with_every_percent_sign(fault: Fault, sentence: str) -> None:
    encoded = encode_failure(Failure(fault, sentence))
    assert parse_reply(encoded) == Failure(fault, sentence)
    # The field's client takes the same words apart and fills the format itself.
    kind, _traceback, template, *fields = encoded[2:].decode().split("\0")
    assert (kind, template % tuple(fields[:-1])) == (fault, sentence)


def test_a_sentence_that_is_no_text_still_arrives_and_cannot_add_fields() -> None:
    assert parse_reply(encode_failure(Failure(Fault.GENERAL, "a\0b\udcff"))) == Failure(Fault.GENERAL, "a?b?")


@pytest.mark.parametrize(
    ("template", "fields", "sentence"),
    [
        ("no %s in %s", ["a", "b"], "no a in b"),
        ("100 %% of %s", ["%s"], "100 % of %s"),
        ("%s and %s", ["one"], "one and %s"),
        ("%s", ["one", "too many"], "one"),
        ("%d %(x)s %", ["one"], "%d %(x)s %"),
        ("%9999999999s", ["gigabytes"], "%9999999999s"),
    ],
)
def test_a_failures_fields_stand_where_it_asks_for_text(template: str, fields: list[str], sentence: str) -> None:
    reply = b"2\0" + "\0".join(["E", "", template, *fields, ""]).encode()
    assert parse_reply(reply) == Failure("E", sentence)


def test_a_failure_without_fields_may_end_with_its_sentence() -> None:
    assert parse_reply(b"2\0E\0\0no") == parse_reply(b"2\0E\0\0no\0") == Failure("E", "no")


def test_an_empty_reply_is_a_refusal() -> None:
    reply = parse_reply(b"")
    assert isinstance(reply, Failure)
    assert reply.fault == Fault.REFUSED


@pytest.mark.parametrize("data", [b"0", b"3\0", b"1\0s\0n\0\0", b"2\0", b"2\0E", b"2\0E\0", b"\xff"])
def test_a_reply_that_is_none_is_refused(data: bytes) -> None:
    with pytest.raises(WireError, match="neither OK nor a failure"):
        parse_reply(data)


@given(data=st.binary(max_size=60) | st.binary(max_size=60).map(b"2\0".__add__))
def test_any_bytes_are_a_reply_or_a_wire_error(data: bytes) -> None:
    try:
        parse_reply(data)
    except WireError as error:
        complaint = str(error)
    else:
        complaint = ""
    assert complaint.isprintable()


def test_an_event_as_the_fields_server_sends_it() -> None:
    assert encode_event(Event("work", "domain-start", (("start_guid", "False"),))) == (
        b"1\0work\0domain-start\0start_guid\0False\0\0"
    )


@given(events=st.lists(EVENTS, max_size=5), end=st.sampled_from([b"", encode_ok(b""), b"2\0E\0\0no\0"]), data=st.data())
def test_events_survive_any_cutting_and_what_ends_them_is_handed_out(
    events: list[Event], end: bytes, data: st.DataObject
) -> None:
    reader = EventReader()
    stream = b"".join(map(encode_event, events)) + end
    assert [event for piece in data.draw(cut(stream)) for event in reader.feed(piece)] == events
    assert reader.rest() == end


def test_the_first_event_has_no_subject_and_one_may_have_no_name() -> None:
    events = [Event("", "connection-established"), Event("", ""), Event("", "", (("k", ""),))]
    assert list(EventReader().feed(b"".join(map(encode_event, events)))) == events


@given(events=st.lists(EVENTS, min_size=1, max_size=3), data=st.data())
def test_events_cut_off_are_not_taken_for_a_reply(events: list[Event], data: st.DataObject) -> None:
    """Not even where a word of the event looks like one."""
    stream = b"".join(map(encode_event, [*events, Event("0", "0", (("2", "E"),))]))
    reader = EventReader()
    list(reader.feed(stream[: data.draw(st.integers(1, len(stream) - 1))]))
    if rest := reader.rest():
        with pytest.raises(WireError):
            parse_reply(rest)


@given(pieces=st.lists(st.binary(max_size=30) | st.just(b"1\0") | st.just(b"\0\0"), max_size=10))
def test_any_bytes_are_events_or_a_rest(pieces: list[bytes]) -> None:
    reader = EventReader()
    for piece in pieces:
        for event in reader.feed(piece):
            assert all(key for key, _ in event.details)
    assert isinstance(reader.rest(), bytes)


def test_ten_thousand_events_in_one_piece_and_a_long_one_in_many_come_out_whole() -> None:
    event = Event("work", "progress", (("line", "unpacking"),))
    assert list(EventReader().feed(encode_event(event) * 10_000)) == [event] * 10_000
    long = Event("work", "progress", (("line", "x" * 100_000),))
    reader = EventReader()
    stream = encode_event(long)
    assert [e for at in range(len(stream)) for e in reader.feed(stream[at : at + 1])] == [long]


@pytest.mark.parametrize(
    "event",
    [
        Event("a\0b", "n"),
        Event("", "n\0"),
        Event("", "n", (("k\0", "v"),)),
        Event("", "n", (("k", "\0v"),)),
        Event("", "n", (("", "v"),)),
    ],
)
def test_an_event_that_would_be_read_as_another_is_not_encoded(event: Event) -> None:
    with pytest.raises(WireError, match="may not contain NUL, nor its keys be empty"):
        encode_event(event)


def test_an_event_whose_words_are_no_text_still_arrives() -> None:
    assert list(EventReader().feed(encode_event(Event("", "n", (("file", "a\udcff"),))))) == [
        Event("", "n", (("file", "a?"),))
    ]
