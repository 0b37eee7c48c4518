"""Manager and broker: packets, and sentences that a broker cannot use against the person who reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.wire.control import (
    FROM_BROKER,
    FROM_MANAGER,
    MESSAGES,
    Asked,
    Begin,
    Deny,
    Ended,
    Ending,
    Open,
    PowerOff,
    Up,
    decode_packet,
    encode_packet,
)
from bento.wire.errors import WireError
from bento.wire.layout import Message, Sender
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName
from tests.wire.strategies import one_of


@given(sent=one_of(MESSAGES))
def test_every_message_survives_as_a_packet(sent: Message) -> None:
    codec = FROM_MANAGER if sent.SENDER is Sender.HOST else FROM_BROKER
    assert decode_packet(codec, encode_packet(sent)) == sent


def test_a_packet_is_a_tag_and_a_payload() -> None:
    assert encode_packet(Deny(7, 126)) == b"\x08\0\0\0\x07\x7e"
    assert encode_packet(PowerOff()) == b"\x0a"


def test_an_empty_packet_is_refused() -> None:
    with pytest.raises(WireError, match="empty packet"):
        decode_packet(FROM_BROKER, b"")


def test_nothing_may_follow_a_message_in_its_packet() -> None:
    with pytest.raises(WireError, match="1 bytes too many"):
        decode_packet(FROM_BROKER, encode_packet(Up(1)) + b"x")


def test_a_broker_ends_in_one_of_the_known_ways() -> None:
    for ending in Ending:
        assert decode_packet(FROM_BROKER, encode_packet(Ended(ending, "so"))) == Ended(ending, "so")
    with pytest.raises(WireError, match="above its limit"):
        decode_packet(FROM_BROKER, encode_packet(Ended(len(Ending), "so")))


@given(sentence=st.text(max_size=100))
def test_a_brokers_sentence_is_made_harmless_and_keeps_what_prints(sentence: str) -> None:
    packet = encode_packet(Ended(Ending.VIOLATION, sentence.encode(errors="replace").decode()))
    heard = decode_packet(FROM_BROKER, packet)
    assert isinstance(heard, Ended)
    assert heard.sentence.isascii()
    assert heard.sentence.isprintable()
    assert len(heard.sentence) == len(sentence)
    assert all(after in (before, "?") for before, after in zip(sentence, heard.sentence, strict=True))


def test_a_brokers_sentence_keeps_its_quotation_marks() -> None:
    ended = Ended(Ending.VIOLATION, "'../etc' is not a service name")
    assert decode_packet(FROM_BROKER, encode_packet(ended)) == ended


def test_a_brokers_sentence_has_a_limit() -> None:
    longest = Ended(Ending.CLOSED, "x" * 400)
    assert decode_packet(FROM_BROKER, encode_packet(longest)) == longest
    with pytest.raises(WireError, match="field of 401 bytes"):
        decode_packet(FROM_BROKER, encode_packet(Ended(Ending.CLOSED, "x" * 401)))


@pytest.mark.parametrize("target", ["../x", "work\n", "@tag:", "none"])
def test_a_question_with_a_bad_name_is_refused(target: str) -> None:
    question = Asked(1, ServiceName("s"), ServiceArgument(""), TargetName(target))
    with pytest.raises(WireError, match="is not a call target"):
        decode_packet(FROM_BROKER, encode_packet(question))


@pytest.mark.parametrize(("user", "taken"), [("", True), ("user", True), ("Root", False), ("a:b", False)])
def test_a_call_is_for_a_user_or_for_the_default_one(user: str, taken: bool) -> None:
    name = DomainName("work")
    request = Open(ServiceName("s"), ServiceArgument(""), name, TargetName(""), user, 0, 0)
    if taken:
        assert decode_packet(FROM_MANAGER, encode_packet(request)) == request
    else:
        with pytest.raises(WireError, match="is not a user name"):
            decode_packet(FROM_MANAGER, encode_packet(request))


@pytest.mark.parametrize("size", [0, 15, 17])
def test_a_greetings_nonce_has_one_size(size: int) -> None:
    packet = encode_packet(Begin(bytes(size), 1, DomainName("work"), "AppVM", bytes(32), 0))
    with pytest.raises(WireError, match="where 16 are allowed"):
        decode_packet(FROM_MANAGER, packet)
