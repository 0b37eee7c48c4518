"""Requests to an ssh-agent: two kinds come out as they went in, others by their number only, nonsense not at all."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.wire.errors import WireError
from bento.wire.sshagent import (
    FAILURE,
    MAX_FLAGS,
    MAX_MESSAGE,
    List,
    MessageReader,
    Other,
    Sign,
    decode_request,
    encode_message,
    encode_request,
)


def read(data: bytes, chunk: int = 1 << 20) -> list[bytes]:
    reader = MessageReader()
    return [message for at in range(0, len(data), chunk) for message in reader.feed(data[at : at + chunk])]


@pytest.mark.parametrize("chunk", [1, 3, 1 << 20])
def test_requests_come_out_as_they_went_in(chunk: int) -> None:
    requests: list[List | Sign] = [List(), Sign(b"key", b"data", 2), Sign(b"", bytes(1000), MAX_FLAGS), List()]
    sent = b"".join(map(encode_request, requests))
    assert [decode_request(message) for message in read(sent, chunk)] == requests


def test_requests_are_laid_out_as_openssh_lays_them_out() -> None:
    assert encode_request(List()) == bytes.fromhex("00000001 0b")
    assert encode_request(Sign(b"k", b"dd", 4)) == bytes.fromhex("00000010 0d 00000001 6b 00000002 6464 00000004")
    assert encode_message(b"\x05") == FAILURE == bytes.fromhex("00000001 05")


@pytest.mark.parametrize("kind", [1, 9, 17, 18, 19, 20, 22, 23, 25, 26, 27])
def test_what_changes_an_agent_is_known_by_its_number_only(kind: int) -> None:
    assert decode_request(bytes((kind,)) + b"anything") == Other(kind)


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        (b"\x0b1", "no contents"),
        (b"\x0d", "inside a string"),
        (b"\x0d\0\0\0\1", "inside a string"),
        (b"\x0d\0\0\0\1k\0\0", "inside a string"),
        (b"\x0d\0\0\0\1k\xff\xff\xff\xffd", "inside a string"),
        (b"\x0d\0\0\0\1k\0\0\0\1d\0\0\0", "where it should not"),
        (b"\x0d\0\0\0\1k\0\0\0\1d\0\0\0\0\0", "where it should not"),
        (b"\x0d\0\0\0\1k\0\0\0\1d\0\0\0\x08", "unknown flags 8"),
    ],
)
def test_a_request_that_is_not_what_it_says_is_refused(message: bytes, sentence: str) -> None:
    with pytest.raises(WireError, match=sentence):
        decode_request(message)


@pytest.mark.parametrize("length", [0, MAX_MESSAGE + 1, (1 << 32) - 1])
def test_a_length_out_of_bounds_is_refused_before_the_message_has_come(length: int) -> None:
    with pytest.raises(WireError):
        read(length.to_bytes(4, "big"))


def test_the_longest_message_is_read() -> None:
    assert read(encode_message(bytes(MAX_MESSAGE))) == [bytes(MAX_MESSAGE)]


@given(st.binary(max_size=200), st.integers(1, 30))
def test_any_bytes_are_requests_or_refused(untrusted: bytes, chunk: int) -> None:
    try:
        requests = [decode_request(message) for message in read(untrusted, chunk)]
    except WireError:
        return
    if not any(isinstance(request, Other) for request in requests):
        assert untrusted.startswith(b"".join(encode_request(r) for r in requests if not isinstance(r, Other)))


@given(st.binary(min_size=1, max_size=60).map(lambda rest: b"\x0d" + rest))
def test_any_request_to_sign_is_one_or_refused(untrusted: bytes) -> None:
    try:
        request = decode_request(untrusted)
    except WireError:
        return
    assert isinstance(request, Sign)
    assert encode_request(request)[4:] == untrusted
