"""The bytes that a command says and hears in a hurry are those that the declarations mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.wire import caller, rpc
from bento.wire.errors import WireError
from bento.wire.frames import FrameReader, encode_frame
from bento.wire.home import find_home
from bento.wire.layout import Message
from bento.wire.rendezvous import manager_socket
from bento.wire.rpc import FROM_SERVER, Data, Eof, Exit, Refused, Resize
from tests.wire.strategies import one_of


def test_it_may_say_as_much_at_once_as_the_protocol_allows() -> None:
    assert caller.MAX_DATA == rpc.MAX_DATA


@given(st.binary(max_size=100))
def test_stdin_and_its_end_are_said_alike(payload: bytes) -> None:
    assert caller.data(payload) == encode_frame(Data(0, 0, payload))
    assert caller.eof() == encode_frame(Eof(0, 0))


@given(st.integers(0, 65_535), st.integers(0, 65_535))
def test_a_terminals_size_is_said_alike(rows: int, columns: int) -> None:
    assert caller.resize(rows, columns) == encode_frame(Resize(0, rows, columns))


def meant(message: Message) -> tuple[int, bytes] | int | None:
    match message:
        case Data(stream=stream, payload=payload):
            return stream, bytes(payload)
        case Exit(code=code) | Refused(code=code):
            return code
        case _:
            return None


def heard(tag: int, payload: memoryview) -> tuple[int, bytes] | int | None:
    match caller.hear(tag, payload):
        case stream, data:
            return stream, bytes(data)
        case other:
            return other


@given(one_of(rpc.MESSAGES))
def test_whatever_a_server_may_say_is_heard_alike(message: Message) -> None:
    ((tag, payload),) = FrameReader().feed(encode_frame(message))
    try:
        expected = meant(FROM_SERVER.decode(tag, payload))
    except WireError:
        with pytest.raises(WireError):
            caller.hear(tag, payload)
    else:
        assert heard(tag, payload) == expected


@given(st.integers(0, 15), st.binary(max_size=12))
def test_whatever_bytes_come_are_heard_alike_or_a_wire_error_for_both(tag: int, payload: bytes) -> None:
    try:
        expected = meant(FROM_SERVER.decode(tag, payload))
    except WireError:
        with pytest.raises(WireError):
            caller.hear(tag, memoryview(payload))
    else:
        assert heard(tag, memoryview(payload)) == expected


PATHS = st.sampled_from(["", "relative", "/h", "/home/somebody", "/home/" + "x" * 60])


@given(st.dictionaries(st.sampled_from(["BENTO_HOME", "HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME"]), PATHS))
def test_the_manager_is_where_the_home_says(environment: dict[str, str]) -> None:
    found = manager_socket(environment)
    if found is not None:
        assert found == str(find_home(environment).manager_socket)


def test_the_usual_homes_need_no_closer_look() -> None:
    for environment in ({"HOME": "/home/you"}, {"BENTO_HOME": "/srv/b"}, {"XDG_RUNTIME_DIR": "/run/user/1000"}):
        assert manager_socket({"HOME": "/home/you", **environment}) is not None
