"""Split GPG's bytes: a command and blocks come out as they went in; what breaks the rules is refused."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.wire.errors import WireError
from bento.wire.gpg import (
    BLOCK,
    COMMAND,
    MAX_BLOCK,
    MAX_COMMAND,
    Block,
    BlockReader,
    Ended,
    decode_command,
    encode_block,
    encode_command,
)

WORDS = st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20), max_size=9)


def read(data: bytes, *, files: int = 3, answering: bool = True, chunk: int = 1 << 16) -> list[Block | Ended]:
    reader = BlockReader(files, answering=answering)
    return [block for at in range(0, len(data), chunk) for block in reader.feed(data[at : at + chunk])]


@given(WORDS)
def test_a_command_comes_out_as_it_went_in(words: list[str]) -> None:
    assert decode_command(encode_command(words)) == words


def test_a_command_is_laid_out_as_the_field_lays_it_out() -> None:
    encoded = encode_command(["--sign", "-u", "me"])
    assert encoded[:4] == (3 + 1 + 6 + 1 + 2 + 1 + 2).to_bytes(4, "little")
    assert encoded[4:].rstrip(b"\0") == b"gpg\0--sign\0-u\0me"
    assert len(encoded) == 1028


def test_the_longest_command_fits_and_a_longer_one_is_refused() -> None:
    longest = "x" * (MAX_COMMAND - 4)
    assert decode_command(encode_command([longest])) == [longest]
    with pytest.raises(WireError, match="too long"):
        encode_command([longest + "x"])


@pytest.mark.parametrize(
    ("command", "sentence"),
    [
        (bytes(COMMAND.size - 1), "1027 bytes"),
        (bytes(COMMAND.size + 1), "1029 bytes"),
        (COMMAND.pack(MAX_COMMAND + 1, b"gpg"), "1025 bytes"),
        (COMMAND.pack(6, b"gpg\0\xff\xff"), "UTF-8"),
    ],
)
def test_what_is_no_command_is_refused(command: bytes, sentence: str) -> None:
    with pytest.raises(WireError, match=sentence):
        decode_command(command)


def test_a_command_without_any_words_is_one() -> None:
    assert decode_command(bytes(COMMAND.size)) == []


@given(st.binary(max_size=1200))
def test_any_bytes_are_a_command_or_refused(untrusted: bytes) -> None:
    try:
        words = decode_command(untrusted.ljust(COMMAND.size, b"\0"))
    except WireError:
        return
    assert all("\0" not in word for word in words)


BLOCKS: Sequence[Block | Ended] = (
    Block(0, b"some data"), Block(2, bytes(MAX_BLOCK)), Block(2, b""), Block(0, b""), Ended(255),
)  # fmt: skip  # a list to be read across


@pytest.mark.parametrize("chunk", [1, 7, 4096, 1 << 16])
def test_blocks_come_out_as_they_went_in(chunk: int) -> None:
    assert read(b"".join(map(encode_block, BLOCKS)), chunk=chunk) == list(BLOCKS)


def test_blocks_are_laid_out_as_the_field_lays_them_out() -> None:
    assert encode_block(Block(1, b"hi")) == bytes.fromhex("01000000 02000000") + b"hi"
    assert encode_block(Ended(0)) == bytes.fromhex("ffffffff 00000000")
    assert encode_block(Ended(2)) == bytes.fromhex("fdffffff 00000000")


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (BLOCK.pack(3, 1), "file 3"),
        (BLOCK.pack(0, MAX_BLOCK + 1), "4097 bytes"),
        (BLOCK.pack(0, 0) + BLOCK.pack(0, 0), "at its end"),
        (BLOCK.pack(0, 0) + BLOCK.pack(0, 1), "at its end"),
        (BLOCK.pack(-1, 1), "no exit code"),
        (BLOCK.pack(-257, 0), "no exit code"),
        (BLOCK.pack(-1, 0) + BLOCK.pack(0, 1), "follows"),
        (BLOCK.pack(-1, 0) + BLOCK.pack(-1, 0), "follows"),
    ],
)
def test_a_block_that_breaks_the_rules_is_refused(data: bytes, sentence: str) -> None:
    with pytest.raises(WireError, match=sentence):
        read(data)


def test_a_block_that_is_too_large_is_refused_before_it_has_come() -> None:
    with pytest.raises(WireError):
        read(BLOCK.pack(0, 1 << 31))


def test_the_side_that_asks_has_no_exit_code() -> None:
    with pytest.raises(WireError, match="exit code"):
        read(encode_block(Ended(0)), answering=False)


@given(st.binary(max_size=300), st.booleans(), st.integers(0, 5), st.integers(1, 50))
def test_any_bytes_are_blocks_or_refused(untrusted: bytes, answering: bool, files: int, chunk: int) -> None:
    try:
        blocks = read(untrusted, files=files, answering=answering, chunk=chunk)
    except WireError:
        return
    for block in blocks:
        assert isinstance(block, Ended) or 0 <= block.file < files
    assert untrusted.startswith(b"".join(map(encode_block, blocks)))
