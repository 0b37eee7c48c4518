"""The messages of a call: who may say them on a leg, and limits the field's callers rely on."""

import pytest

from bento.wire import rpc
from bento.wire.errors import WireError
from bento.wire.frames import FrameReader, encode_frame
from bento.wire.layout import Codec, Message
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import (
    FROM_CALLER,
    FROM_GUEST,
    FROM_HOST,
    FROM_SERVER,
    MAX_DATA,
    WINDOW,
    Accepted,
    Ask,
    Data,
    Drop,
    Eof,
    Exit,
    ExitCode,
    Identity,
    Ready,
    Refused,
    Resize,
    Serve,
    Shutdown,
    Stream,
    Window,
)

DOM0 = DomainName("dom0")
ASK = Ask(0, ServiceName("qubes.Filecopy"), ServiceArgument(""), TargetName(""))
SERVE = Serve(0, ServiceName("qubes.Filecopy"), ServiceArgument(""), DOM0, TargetName(""), "", 0, 0)
EVERY: tuple[Message, ...] = (
    Identity(DOM0, "AppVM", bytes(32), 0),
    Ready(1),
    SERVE,
    ASK,
    Accepted(0),
    Refused(0, 126),
    Data(0, 0, b"x"),
    Eof(0, 0),
    Exit(0, 0),
    Drop(0),
    Window(0, 0, 1),
    Resize(0, 24, 80),
    Shutdown(),
)


def hear(codec: Codec, message: Message) -> Message:
    ((tag, payload),) = FrameReader().feed(encode_frame(message))
    return codec.decode(tag, payload)


def heard_by(codec: Codec) -> set[type[Message]]:
    heard = set()
    for message in EVERY:
        try:
            heard.add(type(hear(codec, message)))
        except WireError:
            pass
    return heard


def test_these_are_all_messages() -> None:
    assert tuple(map(type, EVERY)) == rpc.MESSAGES


def test_a_caller_on_a_leg_may_ask_and_give_input() -> None:
    assert heard_by(FROM_CALLER) == {Ask, Data, Eof, Resize}


def test_a_server_on_a_leg_may_answer_and_give_output() -> None:
    assert heard_by(FROM_SERVER) == {Accepted, Refused, Data, Eof, Exit}


def test_a_grant_never_goes_over_a_leg_and_neither_does_who_a_guest_is() -> None:
    for codec in (FROM_CALLER, FROM_SERVER):
        assert not heard_by(codec) & {Window, Identity, Ready, Serve, Shutdown, Drop}


@pytest.mark.parametrize("kind", [Data, Eof, Window])
def test_there_are_three_streams(kind: type[Data] | type[Eof] | type[Window]) -> None:
    made: dict[type[Message], Message] = {Data: Data(1, 3, b""), Eof: Eof(1, 3), Window: Window(1, 3, 1)}
    with pytest.raises(WireError, match="number 3 is above its limit 2"):
        hear(FROM_GUEST, made[kind])
    assert [stream.value for stream in Stream] == [0, 1, 2]


def test_data_has_a_limit() -> None:
    assert hear(FROM_GUEST, Data(1, 1, bytes(MAX_DATA))) == Data(1, 1, bytes(MAX_DATA))
    with pytest.raises(WireError, match=f"field of {MAX_DATA + 1} bytes where {MAX_DATA} are allowed"):
        hear(FROM_GUEST, Data(1, 1, bytes(MAX_DATA + 1)))


def test_a_grant_is_at_most_the_whole_window() -> None:
    assert hear(FROM_GUEST, Window(1, 1, WINDOW)) == Window(1, 1, WINDOW)
    with pytest.raises(WireError, match="above its limit"):
        hear(FROM_GUEST, Window(1, 1, WINDOW + 1))


@pytest.mark.parametrize("klass", ["App\nVM", "\x1b[2J", "AppVM\xa0", "x" * 32])
def test_a_guest_learns_its_class_as_a_word_that_prints(klass: str) -> None:
    with pytest.raises(WireError, match=r"is not a domain name|where 31 are allowed"):
        hear(FROM_HOST, Identity(DOM0, klass, bytes(32), 0))


@pytest.mark.parametrize("user", ["Root", "a b", "-x", "x" * 33])
def test_a_call_runs_as_a_user_whose_name_is_one(user: str) -> None:
    with pytest.raises(WireError, match=r"is not a user name|where 32 are allowed"):
        hear(FROM_HOST, Serve(0, SERVE.service, SERVE.argument, DOM0, SERVE.target, user, 0, 0))


def test_the_longest_argument_of_the_field_passes() -> None:
    longest = Ask(1, ServiceName("s" * 255), ServiceArgument("a" * 65_000), TargetName(""))
    assert hear(FROM_GUEST, longest) == longest


def test_exit_codes_are_the_fields() -> None:
    assert (ExitCode.FAULT, ExitCode.REFUSED, ExitCode.NOT_FOUND) == (125, 126, 127)
