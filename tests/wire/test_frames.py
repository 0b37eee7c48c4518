"""Frames: any cutting of the stream gives the same frames; what is held is bounded; a wrong seal is noticed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.wire.errors import WireError
from bento.wire.frames import HEADER, MAX_PAYLOAD, FrameReader, OutOfStep, encode_frame
from bento.wire.layout import Message
from bento.wire.rpc import FROM_GUEST, MESSAGES, Data, Drop, Ready
from tests.wire.strategies import cut, one_of

SEAL = b"seal"


def frame(tag: int, payload: bytes, seal: bytes = b"") -> bytes:
    return bytes((tag,)) + len(payload).to_bytes(4, "big") + payload + seal


def read_all(reader: FrameReader, pieces: list[bytes]) -> list[tuple[int, bytes]]:
    return [(tag, bytes(payload)) for piece in pieces for tag, payload in reader.feed(piece)]


def test_a_frame_is_tag_length_payload_and_seal() -> None:
    assert encode_frame(Data(2, 1, b"hi"), SEAL) == b"\x07\0\0\0\x07\0\0\0\x02\x01hiseal"
    assert encode_frame(Ready(1)) == b"\x02\0\0\0\x02\0\x01"


@given(
    frames=st.lists(st.tuples(st.integers(0, 255), st.binary(max_size=30)), max_size=6),
    seal=st.sampled_from([b"", SEAL]),
    data=st.data(),
)
def test_frames_survive_any_cutting(frames: list[tuple[int, bytes]], seal: bytes, data: st.DataObject) -> None:
    stream = b"".join(frame(tag, payload, seal) for tag, payload in frames)
    reader = FrameReader(seal=seal)
    assert read_all(reader, data.draw(cut(stream))) == frames
    assert len(reader.pending) == 0


@given(sent=st.lists(one_of(MESSAGES), max_size=4), data=st.data())
def test_messages_survive_the_way_through_frames(sent: list[Message], data: st.DataObject) -> None:
    stream = b"".join(encode_frame(message, SEAL) for message in sent)
    heard = read_all(FrameReader(seal=SEAL), data.draw(cut(stream)))
    assert heard == [(m.TAG, b"".join(m.parts())) for m in sent]


def test_a_stream_of_single_bytes_is_read_as_well() -> None:
    stream = frame(7, b"x" * 1000, SEAL) + frame(8, b"", SEAL)
    assert read_all(FrameReader(seal=SEAL), [bytes((b,)) for b in stream]) == [(7, b"x" * 1000), (8, b"")]


@given(garbage=st.lists(st.binary(max_size=60), max_size=20), seal=st.sampled_from([b"", b"\0", SEAL]))
def test_any_bytes_are_frames_or_a_wire_error_and_what_is_held_is_bounded(garbage: list[bytes], seal: bytes) -> None:
    reader = FrameReader(seal=seal, limit=40)
    try:
        for piece in garbage:
            for _, payload in reader.feed(piece):
                assert len(payload) <= 40
            assert len(reader.pending) < HEADER + 40 + len(seal)
    except WireError:
        pass


def test_a_frame_of_the_limit_is_read() -> None:
    assert read_all(FrameReader(), [frame(1, bytes(MAX_PAYLOAD))]) == [(1, bytes(MAX_PAYLOAD))]


@pytest.mark.parametrize("length", [MAX_PAYLOAD + 1, 2**32 - 1])
def test_a_frame_above_the_limit_is_refused_at_its_header(length: int) -> None:
    reader = FrameReader()
    with pytest.raises(WireError, match=f"frame of {length} bytes where {MAX_PAYLOAD} are allowed"):
        list(reader.feed(b"\x07" + length.to_bytes(4, "big")))


def test_frames_before_a_bad_one_still_come_out() -> None:
    frames = FrameReader(seal=SEAL).feed(frame(1, b"a", SEAL) + frame(2, b"b", b"sEal"))
    tag, payload = next(frames)
    assert (tag, bytes(payload)) == (1, b"a")
    with pytest.raises(OutOfStep):
        next(frames)


@pytest.mark.parametrize("seal", [b"\0\0\0\0", b"seaL", b"xeal"])
def test_a_frame_with_another_seal_is_out_of_step(seal: bytes) -> None:
    with pytest.raises(OutOfStep):
        list(FrameReader(seal=SEAL).feed(frame(1, b"payload", seal)))


def test_what_follows_a_frame_that_its_reader_rejects_is_still_pending() -> None:
    """The agent looks for the next greeting there."""
    reader = FrameReader()

    def act() -> None:
        for tag, payload in reader.feed(frame(3, b"not a Serve") + b"what follows"):
            FROM_GUEST.decode(tag, payload)

    with pytest.raises(WireError):
        act()
    assert len(reader.pending) == len(b"what follows")


def test_a_frame_with_the_wrong_seal_is_pending_with_all_that_follows() -> None:
    reader = FrameReader(seal=SEAL)
    wrong = frame(1, b"a", b"????") + b"what follows"
    with pytest.raises(OutOfStep):
        list(reader.feed(frame(1, b"a", SEAL) + wrong))
    assert len(reader.pending) == len(wrong)


def test_many_small_frames_in_one_piece_and_one_frame_in_many_pieces_come_out_whole() -> None:
    many = encode_frame(Drop(4), SEAL) * 20_000
    assert len(list(FrameReader(seal=SEAL).feed(many))) == 20_000
    big = encode_frame(Data(4, 1, b"x" * 65_536), SEAL)
    assert len(read_all(FrameReader(seal=SEAL), [big[at : at + 1] for at in range(len(big))])) == 1


def test_a_message_that_no_reader_would_take_is_not_encoded() -> None:
    beside = len(encode_frame(Data(2, 1, b""))) - HEADER
    assert len(encode_frame(Data(2, 1, bytes(MAX_PAYLOAD - beside)))) == HEADER + MAX_PAYLOAD
    with pytest.raises(WireError, match=f"a message of {MAX_PAYLOAD + 1} bytes does not fit a frame"):
        encode_frame(Data(2, 1, bytes(MAX_PAYLOAD - beside + 1)))
