"""The follower of a contract's table: each kind of step, what it lets pass, and what it says of who breaks it."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.wire.contract import (
    CODES,
    RANGE,
    STEPS,
    UNHEARD,
    Broken,
    Count,
    Follower,
    Run,
    State,
    Terms,
    Until,
    Value,
    decode,
)
from bento.wire.errors import WireError
from bento.wire.frames import encode_frame
from bento.wire.layout import U64, Message
from bento.wire.rpc import Data, Eof, Exit, Role
from tests.wire.strategies import one_of

CALLER, SERVER = Role.CALLER, Role.SERVER
ENDLESS = U64.limit


def table(*steps: Message, stderr: int = 0) -> bytes:
    return b"".join(map(encode_frame, (Terms(stderr), *steps)))


def state(name: str, caller: int = 0, server: int = 0, ends: tuple[int, int] = (0, 0), codes: str = "\0\0") -> State:
    return State(name, caller, server, *ends, codes.encode("latin-1"))


@given(steps=st.lists(one_of(STEPS), max_size=8))
def test_every_table_survives(steps: list[Message]) -> None:
    assert decode(b"".join(map(encode_frame, steps))) == tuple(steps)


@given(untrusted=st.binary(max_size=300))
def test_any_bytes_are_a_table_or_refused(untrusted: bytes) -> None:
    try:
        decode(untrusted)
    except WireError:
        pass


def broken(what: Callable[[], object]) -> tuple[Role, str]:
    with pytest.raises(Broken) as found:
        what()
    return found.value.blame, str(found.value)


def numbers(*, little: int = 0) -> Follower:
    """The caller says two numbers of two bytes, of which the first says which may follow; then the server may exit."""
    return Follower(
        table(
            state("first", caller=3, codes=""),
            state("over"),
            Value("kind", 2, little, 0, RANGE.pack(1, 1, 4) + RANGE.pack(5, 9, 2)),
            Value("more", 2, little, 1, RANGE.pack(0, 65535, 2)),
        )
    )


def test_a_number_decides_what_follows() -> None:
    follower = numbers()
    assert follower.say(CALLER, b"\0\1\3\3") == b"\0\1\3\3"
    follower.exit(0)
    follower = numbers()
    assert follower.say(CALLER, b"\0\5") == b"\0\5"
    assert broken(lambda: follower.say(CALLER, b"\3")) == (CALLER, "in state over the caller spoke out of turn")


def test_a_number_may_be_little_endian() -> None:
    assert numbers(little=1).say(CALLER, b"\5\0") == b"\5\0"
    assert broken(lambda: numbers(little=1).say(CALLER, b"\0\5")) == (
        CALLER,
        "in state first the caller said 1280 for kind, which is not allowed there",
    )


def test_a_number_in_pieces_is_judged_when_it_is_whole() -> None:
    follower = numbers()
    assert follower.say(CALLER, b"\xff") == b"\xff"
    assert broken(lambda: follower.say(CALLER, b"\xff"))[0] is CALLER


def test_who_breaks_off_in_a_message_is_to_blame() -> None:
    follower = numbers()
    follower.say(CALLER, b"\0")
    assert broken(lambda: follower.end(CALLER)) == (
        CALLER,
        "in state first the caller ended where there should be kind",
    )


def lines(limit: int = 5, alphabet: bytes = b"abc") -> Follower:
    """The server says lines, with one more count of them allowed than of their bounds; the caller may end."""
    return Follower(
        table(
            state("lines", server=2, ends=(1, 1)),
            Run("line", Until.NEWLINE, limit, 0, 0, alphabet, 3),
            Count("lines", 0, 0, 0, 2, 1),
            stderr=4,
        )
    )


def test_lines_have_an_alphabet_a_length_and_a_number() -> None:
    follower = lines()
    assert follower.say(SERVER, b"abc\naaaaa\n") == b"abc\naaaaa\n"
    assert broken(lambda: follower.say(SERVER, b"a\n")) == (
        SERVER,
        "in state lines the server said more than 2 in all of lines",
    )
    assert broken(lambda: lines().say(SERVER, b"aaaaaa")) == (
        SERVER,
        "in state lines the server said more than 5 bytes for line",
    )
    assert broken(lambda: lines().say(SERVER, b"aad")) == (
        SERVER,
        "in state lines the server has characters in line that are not allowed",
    )
    assert lines(alphabet=b"").say(SERVER, b"\0\xff\n") == b"\0\xff\n"


def test_what_comes_first_in_the_bytes_is_what_is_complained_of() -> None:
    assert "characters" in broken(lambda: lines().say(SERVER, b"aadaaaa"))[1]
    assert "more than 5" in broken(lambda: lines().say(SERVER, b"aaaaaad"))[1]


def test_a_server_that_exits_in_a_message_is_to_blame() -> None:
    follower = lines()
    follower.say(SERVER, b"ab")
    assert broken(lambda: follower.exit(0)) == (SERVER, "in state lines the server exited where there should be line")


def test_an_exit_code_is_one_of_the_states() -> None:
    lines().exit(0)
    assert broken(lambda: lines().exit(1)) == (
        SERVER,
        "in state lines the server exited with 1, which is not for this state",
    )
    follower = Follower(table(state("x", codes=(CODES.pack(3, 5) + CODES.pack(9, 9)).decode("latin-1"))))
    for code in (3, 5, 9):
        follower.exit(code)


def test_stderr_has_a_sum_and_its_end_means_nothing() -> None:
    follower = lines()
    for said in (Data(0, 2, b"abc"), Data(0, 2, b"d"), Eof(0, 2)):
        assert follower.hear(SERVER, said) is said
    assert broken(lambda: follower.hear(SERVER, Data(0, 2, b"!"))) == (
        SERVER,
        "in state lines the server wrote more to stderr than is allowed",
    )


def test_messages_of_the_channel_are_judged_as_what_they_are() -> None:
    follower = lines()
    for role, said in ((SERVER, Data(0, 1, b"a\n")), (CALLER, Eof(0, 0)), (SERVER, Eof(0, 1)), (SERVER, Exit(0, 0))):
        assert follower.hear(role, said) is said
    assert broken(lambda: lines().hear(SERVER, Exit(0, 7)))[0] is SERVER
    assert broken(lambda: lines().hear(CALLER, Data(0, 0, b"!")))[0] is CALLER


def counted(limit: int = 100) -> Follower:
    """The caller says how many bytes less 2 follow, of at most `limit` in all; again and again."""
    return Follower(
        table(
            state("counted", caller=2, ends=(1, 0)),
            Value("size", 1, 0, 0, RANGE.pack(2, 255, 3)),
            Count("bytes", 7, 1, 0, limit, 4),
            Run("bytes", Until.COUNT, 0, 0, 3, b"", 1),
        )
    )


def test_bytes_are_as_many_as_a_number_says() -> None:
    follower = counted()
    said = b"\x05abc" + b"\x02" + b"\x03\0"
    assert follower.say(CALLER, said) == said
    follower.end(CALLER)
    assert broken(lambda: counted().say(CALLER, b"\1")) == (
        CALLER,
        "in state counted the caller said 1 for size, which is not allowed there",
    )


def test_bytes_have_a_sum() -> None:
    follower = counted(limit=5)
    follower.say(CALLER, b"\3x\2")
    assert broken(lambda: follower.say(CALLER, b"\2")) == (
        CALLER,
        "in state counted the caller said more than 5 in all of bytes",
    )


def bodies() -> Follower:
    """The caller says all up to its end, at most 6 bytes, and then the server without bound."""
    return Follower(
        table(
            state("asking", caller=4, codes=""),
            state("answering", server=5, ends=(2, 0), codes=""),
            state("over", ends=(3, 3)),
            Run("question", Until.EOF, 6, 0, 0, b"", 2),
            Run("answer", Until.EOF, ENDLESS, 0, 0, b"", 3),
        )
    )


@pytest.mark.parametrize("ended", [True, False])
def test_a_body_goes_to_the_end_of_its_stream_or_of_its_server(ended: bool) -> None:
    follower = bodies()
    assert follower.say(CALLER, b"what") == b"what"
    follower.end(CALLER)
    assert follower.say(SERVER, bytes(100_000)) == bytes(100_000)
    if ended:
        follower.end(SERVER)
    follower.exit(0)


def test_a_body_has_a_bound() -> None:
    follower = bodies()
    follower.say(CALLER, b"whatis")
    assert broken(lambda: follower.say(CALLER, b"?")) == (
        CALLER,
        "in state asking the caller said more than 6 bytes for question",
    )


def dialogue() -> Follower:
    """A byte of the caller, a byte of the server, and so on, until the caller ends."""
    return Follower(
        table(
            state("asking", caller=4, ends=(3, 0), codes=""),
            state("answering", server=5, codes=""),
            state("over"),
            Run("question", Until.COUNT, 1, 0, 0, b"", 2),
            Run("answer", Until.COUNT, 1, 0, 0, b"", 1),
        )
    )


def test_who_ends_while_the_other_has_its_turn_has_ended_when_it_is_its_own() -> None:
    follower = dialogue()
    follower.say(CALLER, b"?")
    follower.end(CALLER)
    assert broken(lambda: follower.exit(0))[0] is SERVER
    follower = dialogue()
    follower.say(CALLER, b"?")
    follower.end(CALLER)
    follower.say(SERVER, b"!")
    follower.exit(0)


def test_who_ended_and_should_say_more_is_to_blame_when_its_turn_comes() -> None:
    follower = dialogue()
    follower.end(SERVER)
    assert broken(lambda: follower.say(CALLER, b"?")) == (
        SERVER,
        "in state answering the server ended where there should be answer",
    )


def interrupted() -> Follower:
    """The caller says runs of four bytes; the server, at any time, one of three, and the caller is heard no more."""
    return Follower(
        table(
            state("talking", caller=3, server=4, codes=""),
            state("stopped", caller=UNHEARD, server=UNHEARD),
            Run("four", Until.COUNT, 4, 0, 0, b"", 1),
            Run("three", Until.COUNT, 3, 0, 0, b"", 2),
        )
    )


def test_who_is_interrupted_is_not_heard_from_then_on() -> None:
    follower = interrupted()
    assert follower.say(CALLER, b"12345") == b"12345"
    assert follower.say(SERVER, b"ab") == b"ab"
    assert follower.say(CALLER, b"67812") == b"67812"  # a message is complete, but the server goes on in its own
    assert follower.say(SERVER, b"cdef") == b"c"
    assert follower.say(CALLER, b"349999") == b""
    dropped = follower.hear(CALLER, Data(4, 0, b"5"))
    assert dropped == Data(4, 0, b"")
    follower.end(CALLER)
    follower.exit(0)


def test_an_end_that_waited_for_its_turn_takes_effect_once() -> None:
    follower = Follower(
        table(
            state("answering", server=3, codes=""),
            state("talking", caller=4, ends=(2, 0)),
            Run("answer", Until.COUNT, 1, 0, 0, b"", 2),
            Run("question", Until.COUNT, 1, 0, 0, b"", 2),
        )
    )
    follower.end(CALLER)
    follower.say(SERVER, b"!")
    follower.exit(0)
