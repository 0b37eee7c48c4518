"""Messages: decoding is total, every field has its limit, nobody may say what the other side says."""

from typing import Annotated

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bento.wire import control, rpc
from bento.wire.errors import WireError
from bento.wire.frames import MAX_PAYLOAD
from bento.wire.layout import U8, U16, Blob, Codec, Message, Number, Rest, Sender, Text, message
from bento.wire.names import DomainName
from tests.wire.strategies import MESSAGES, a, one_of

CODECS = {
    "FROM_GUEST": rpc.FROM_GUEST,
    "FROM_HOST": rpc.FROM_HOST,
    "FROM_CALLER": rpc.FROM_CALLER,
    "FROM_SERVER": rpc.FROM_SERVER,
    "FROM_BROKER": control.FROM_BROKER,
    "FROM_MANAGER": control.FROM_MANAGER,
}
PROTOCOLS = {"rpc": rpc.MESSAGES, "control": control.MESSAGES}


def everyones(kind: type[Message]) -> Codec:
    return Codec([kind], sender=Sender.BOTH)


def payload_of(sent: Message) -> bytes:
    return b"".join(sent.parts())


@message(tag=9, sender=Sender.GUEST)
class Sample(Message):
    small: Annotated[int, Number(2, limit=1000)]
    seed: Annotated[bytes, Blob(4, exact=True)]
    blob: Annotated[bytes, Blob(3)]
    name: Annotated[DomainName, Text(DomainName.parse, 31)]
    rest: Annotated[bytes, Rest(5)]


SAMPLE = Sample(258, b"seed", b"xy", DomainName("work"), b"rest")
SAMPLE_PAYLOAD = b"\x01\x02\0\0\0\x04seed\0\0\0\x02xy\0\0\0\x04workrest"
FROM_GUEST = Codec([Sample], sender=Sender.GUEST)


def test_a_message_is_its_fields_in_order_big_endian_with_nothing_between() -> None:
    assert payload_of(SAMPLE) == SAMPLE_PAYLOAD
    assert FROM_GUEST.decode(9, SAMPLE_PAYLOAD) == SAMPLE


def test_a_message_cannot_be_changed_and_takes_no_other_attributes() -> None:
    with pytest.raises(AttributeError):
        SAMPLE.small = 5  # type: ignore[misc]  # that is what is tried
    assert not hasattr(SAMPLE, "__dict__")


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
@settings(max_examples=30)
@given(data=st.data())
def test_every_message_survives_encoding(kind: type[Message], data: st.DataObject) -> None:
    sent = data.draw(a(kind))
    assert everyones(kind).decode(kind.TAG, payload_of(sent)) == sent


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
@settings(max_examples=30)
@given(data=st.data())
def test_every_message_cut_short_is_refused(kind: type[Message], data: st.DataObject) -> None:
    payload = payload_of(data.draw(a(kind)))
    for size in range(min(len(payload), 100)):
        try:
            shorter = everyones(kind).decode(kind.TAG, payload[:size])
        except WireError:
            continue
        # Only data, which ends where its message ends, can lose bytes and still be data.
        assert isinstance(shorter, rpc.Data)


@pytest.mark.parametrize("codec", CODECS.values(), ids=CODECS)
@given(tag=st.integers(0, 255), payload=st.binary(max_size=200))
def test_any_bytes_are_a_message_or_a_wire_error(codec: Codec, tag: int, payload: bytes) -> None:
    try:
        codec.decode(tag, payload)
    except WireError as error:
        complaint = str(error)
    else:
        complaint = ""
    assert complaint.isprintable()


@given(sent=one_of(MESSAGES), data=st.data())
def test_a_message_with_bytes_changed_is_a_message_or_a_wire_error(sent: Message, data: st.DataObject) -> None:
    payload = bytearray(payload_of(sent))
    for at in data.draw(st.lists(st.integers(0, max(0, min(len(payload), 64) - 1)), max_size=4)):
        payload[at : at + 1] = bytes((data.draw(st.integers(0, 255)),))
    try:
        heard = everyones(type(sent)).decode(sent.TAG, bytes(payload))
    except WireError:
        return
    # What differs on the wire differs in meaning; only a sentence is made harmless, and then stays as it is.
    again = payload_of(heard)
    assert again == payload or isinstance(heard, control.Begin | control.Ended | control.Over)
    assert everyones(type(sent)).decode(sent.TAG, again) == heard


@pytest.mark.parametrize("kinds", PROTOCOLS.values(), ids=PROTOCOLS)
def test_each_tag_of_a_protocol_is_one_byte_never_zero_and_means_one_message(kinds: tuple[type[Message], ...]) -> None:
    tags = [kind.TAG for kind in kinds]
    assert len(set(tags)) == len(tags)
    assert all(1 <= tag <= 255 for tag in tags)  # zero is padding


def largest(kind: type[Message]) -> int:
    """Bytes of the longest payload that `kind` allows."""

    def size(layout: object) -> int:
        match layout:
            case Number(size=size):
                return size
            case Rest(limit=limit):
                return limit
            case Blob(limit=limit) | Text(blob=Blob(limit=limit)):
                return 4 + limit
            case _:
                raise AssertionError(layout)

    return sum(size(layout) for _, layout in kind.LAYOUT)


def test_the_longest_message_fits_a_frame_and_a_packet() -> None:
    assert max(map(largest, rpc.MESSAGES)) <= MAX_PAYLOAD
    assert max(map(largest, control.MESSAGES)) < control.MAX_PACKET


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: f"{kind.__module__}.{kind.__name__}")
def test_only_the_last_field_may_take_all_that_is_left(kind: type[Message]) -> None:
    assert not any(isinstance(layout, Rest) for _, layout in kind.LAYOUT[:-1])


HOSTS = [kind for kind in rpc.MESSAGES if kind.SENDER is Sender.HOST]
GUESTS = [kind for kind in rpc.MESSAGES if kind.SENDER is Sender.GUEST]
MANAGERS = [kind for kind in control.MESSAGES if kind.SENDER is Sender.HOST]
BROKERS = [kind for kind in control.MESSAGES if kind.SENDER is Sender.GUEST]


def refuse(codec: Codec, kind: type[Message], data: st.DataObject) -> None:
    sent = data.draw(a(kind))
    with pytest.raises(WireError, match=f"message {kind.TAG} does not exist or does not come from this side"):
        codec.decode(kind.TAG, payload_of(sent))


@pytest.mark.parametrize("kind", HOSTS)
@settings(max_examples=5)
@given(data=st.data())
def test_guest_may_not_send_a_host_message(kind: type[Message], data: st.DataObject) -> None:
    refuse(rpc.FROM_GUEST, kind, data)


@pytest.mark.parametrize("kind", GUESTS)
@settings(max_examples=5)
@given(data=st.data())
def test_host_may_not_send_a_guest_message(kind: type[Message], data: st.DataObject) -> None:
    refuse(rpc.FROM_HOST, kind, data)


@pytest.mark.parametrize("kind", MANAGERS)
@settings(max_examples=5)
@given(data=st.data())
def test_broker_may_not_send_a_manager_message(kind: type[Message], data: st.DataObject) -> None:
    refuse(control.FROM_BROKER, kind, data)


@pytest.mark.parametrize("kind", BROKERS)
@settings(max_examples=5)
@given(data=st.data())
def test_manager_may_not_send_a_broker_message(kind: type[Message], data: st.DataObject) -> None:
    refuse(control.FROM_MANAGER, kind, data)


def test_who_may_say_what_on_the_channel_is_this_and_no_more() -> None:
    assert {kind.__name__ for kind in HOSTS} == {"Identity", "Serve", "Accepted", "Refused", "Resize", "Shutdown"}
    assert {kind.__name__ for kind in GUESTS} == {"Ready", "Ask"}


def change(old: bytes, new: bytes) -> bytes:
    assert SAMPLE_PAYLOAD.count(old) == 1
    return SAMPLE_PAYLOAD.replace(old, new)


@pytest.mark.parametrize(
    ("payload", "complaint"),
    [
        (b"\x01", "ends inside a number"),
        (change(b"\x01\x02\0", b"\x03\xe9\0"), "number 1001 is above its limit 1000"),
        (change(b"\x04seed", b"\x03see"), "field of 3 bytes where 4 are allowed"),
        (change(b"\x04seed", b"\x05seedy"), "field of 5 bytes where 4 are allowed"),
        (change(b"\x02xy", b"\x04wxyz"), "field of 4 bytes where 3 are allowed"),
        (SAMPLE_PAYLOAD[:4], "field of 0 bytes where 4 are allowed"),
        (SAMPLE_PAYLOAD[:8], "ends inside a field"),
        (change(b"work", b"w\xffrk"), "'w.rk' is not a domain name"),
        (change(b"work", b"w/rk"), "'w/rk' is not a domain name"),
        (SAMPLE_PAYLOAD + b"of", "field of 6 bytes where 5 are allowed"),
    ],
)
def test_a_field_beyond_its_layout_is_refused_with_the_reason(payload: bytes, complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        FROM_GUEST.decode(9, payload)


@pytest.mark.parametrize("length", [2**31, 2**32 - 1])
def test_a_length_that_lies_takes_no_memory(length: int) -> None:
    with pytest.raises(WireError, match="where 3 are allowed"):
        FROM_GUEST.decode(9, change(b"\0\0\0\x02xy", length.to_bytes(4, "big")))


def test_bytes_after_the_last_field_are_refused() -> None:
    with pytest.raises(WireError, match="3 bytes too many after message 5"):
        rpc.FROM_HOST.decode(rpc.Accepted.TAG, b"\0\0\0\x01abc")


def test_limits_themselves_are_allowed() -> None:
    edge = Sample(1000, b"seed", b"xyz", DomainName("a" * 31), b"12345")
    assert FROM_GUEST.decode(9, payload_of(edge)) == edge


@pytest.mark.parametrize(("number", "limit"), [(U8, 255), (U16, 65_535), (Number(3), 2**24 - 1)])
def test_a_number_without_a_limit_uses_all_its_bytes(number: Number, limit: int) -> None:
    assert number.limit == limit
    assert number.decode(memoryview(number.encode(limit)), 0) == (limit, number.size)
