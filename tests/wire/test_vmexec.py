"""A command line survives its way as a service argument; nothing else decodes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.wire.errors import WireError
from bento.wire.names import MAX_CALL_NAME, ServiceArgument
from bento.wire.vmexec import decode_command, encode_command

words = st.binary(max_size=40).filter(lambda word: 0 not in word)


def test_the_encoding_is_the_fields() -> None:
    assert encode_command([b"ls", b"-la", b"/home/user"]) == "ls+--la+-2Fhome-2Fuser"
    assert encode_command([b"echo", b"", "ü+".encode()]) == "echo++-C3-BC-2B"


@given(words.filter(bool), st.lists(words, max_size=5))
def test_a_command_comes_out_as_it_went_in(program: bytes, rest: list[bytes]) -> None:
    assert decode_command(encode_command([program, *rest])) == [program, *rest]


@given(st.from_regex(ServiceArgument.pattern, fullmatch=True).filter(lambda a: len(a) < 100))
def test_any_argument_is_a_command_or_an_error(argument: str) -> None:
    try:
        command = decode_command(argument)
    except WireError:
        return
    assert command[0]


def test_a_byte_may_be_written_in_hex_although_it_need_not() -> None:
    assert decode_command("-6C-73") == [b"ls"]


@pytest.mark.parametrize(
    "argument", ["", "+ls", "a-", "a-2", "a-zz", "a-2f", "a---", "ls+a-00b", "a b", "a/b", "ü", "a\n"]
)
def test_what_is_no_encoded_command_is_refused(argument: str) -> None:
    with pytest.raises(WireError):
        decode_command(argument)


@pytest.mark.parametrize("command", [[], [b""], [b"", b"x"], [b"a\0b"], [b"x", b"\0"], [b"x" * (MAX_CALL_NAME + 1)]])
def test_what_no_call_can_carry_is_refused(command: list[bytes]) -> None:
    with pytest.raises(WireError):
        encode_command(command)
