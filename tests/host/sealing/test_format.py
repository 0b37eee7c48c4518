"""The file of a suspended machine opens whole and in order, under its own key, or not at all."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.host.sealing.format import END, MAGIC, STREAM, Damaged, Piece, Sealer, pieces

KEY = bytes(range(32))
SOME = [Piece(STREAM, 0, b"registers"), Piece(STREAM, 9, b"memory"), Piece(1, 4096, b"a disk's"), Piece(2, 0, b"")]


def sealed(*some: Piece, key: bytes = KEY) -> list[bytes]:
    """The parts of a file: its beginning, a part for each piece, its end."""
    sealer = Sealer(key)
    return [MAGIC, *(sealer.seal(piece) for piece in some), sealer.end()]


def opened(data: bytes, key: bytes = KEY) -> list[Piece]:
    return list(pieces(key, io.BytesIO(data).read))


def test_what_was_sealed_comes_back() -> None:
    assert opened(b"".join(sealed(*SOME))) == SOME


@given(st.lists(st.builds(Piece, st.integers(0, END - 1), st.integers(0, 2**64 - 1), st.binary(max_size=64))))
def test_whatever_was_sealed_comes_back(some: list[Piece]) -> None:
    assert opened(b"".join(sealed(*some))) == some


def test_nothing_can_be_read_in_it() -> None:
    assert not any(piece.plain in b"".join(sealed(*SOME)) for piece in SOME if piece.plain)


@given(st.data())
def test_a_file_with_any_bit_changed_is_found_out(data: st.DataObject) -> None:
    whole = bytearray(b"".join(sealed(*SOME)))
    at = data.draw(st.integers(0, len(whole) * 8 - 1))
    whole[at // 8] ^= 1 << at % 8
    with pytest.raises(Damaged):
        opened(bytes(whole))


@given(st.integers(0, len(b"".join(sealed(*SOME))) - 1))
def test_a_file_that_was_cut_anywhere_is_found_out(size: int) -> None:
    with pytest.raises(Damaged):
        opened(b"".join(sealed(*SOME))[:size])


def test_a_file_that_goes_on_behind_its_end_is_found_out() -> None:
    with pytest.raises(Damaged, match="follows its end"):
        opened(b"".join(sealed(*SOME)) + b"\0")


@pytest.mark.parametrize("order", [(0, 2, 1, 3, 4, 5), (0, 1, 1, 2, 3, 4, 5), (0, 1, 3, 4, 5), (0, 5), (1, 2, 3, 4, 5)])
def test_pieces_that_were_swapped_doubled_or_dropped_are_found_out(order: tuple[int, ...]) -> None:
    parts = sealed(*SOME)
    with pytest.raises(Damaged):
        opened(b"".join(parts[at] for at in order))


def test_a_piece_of_another_file_is_found_out() -> None:
    ours, theirs = sealed(*SOME), sealed(*SOME, key=bytes(32))
    with pytest.raises(Damaged):
        opened(b"".join([*ours[:2], theirs[2], *ours[3:]]))
    with pytest.raises(Damaged):
        opened(b"".join(theirs))


@given(st.binary(max_size=200))
def test_any_other_bytes_are_damaged(data: bytes) -> None:
    for untrusted in (data, MAGIC + data):
        with pytest.raises(Damaged):
            opened(untrusted)


def test_only_sound_pieces_are_given_out_before_the_damage_is_found() -> None:
    parts = sealed(*SOME)
    reading = pieces(KEY, io.BytesIO(b"".join([*parts[:3], b"\0" * 100])).read)
    assert [next(reading), next(reading)] == SOME[:2]
    with pytest.raises(Damaged):
        next(reading)
