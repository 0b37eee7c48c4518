"""Copies of files as bytes: what an honest sender packs comes out as it went in, a hostile one's is refused."""

import errno
import stat
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.wire import filecopy
from bento.wire.errors import WireError
from bento.wire.filecopy import (
    END,
    HEADER,
    MAX_BYTES,
    MAX_DEPTH,
    MAX_NAME,
    SECOND,
    BadCopy,
    Complete,
    Content,
    End,
    Enter,
    File,
    Leave,
    Link,
    Result,
    Step,
    Times,
    Unpacker,
    check_name,
    decode_result,
    encode_entry,
    encode_result,
)

NOW = Times(1_700_000_000_000_000_123, 1_600_000_000_000_000_456)
REGULAR = stat.S_IFREG | 0o644
DIRECTORY = stat.S_IFDIR | 0o755
LINK = stat.S_IFLNK | 0o777


def file(name: bytes, content: bytes = b"") -> bytes:
    return encode_entry(name, REGULAR, len(content), NOW) + content


def directory(name: bytes, *content: bytes) -> bytes:
    entry = encode_entry(name, DIRECTORY, 0, NOW)
    return entry + b"".join(content) + entry


def link(name: bytes, target: bytes) -> bytes:
    return encode_entry(name, LINK, len(target), NOW) + target


def unpack(copy: bytes, chunk: int = 1 << 16) -> list[Step]:
    """The steps, with neighbouring pieces of content joined."""
    unpacker = Unpacker()
    steps: list[Step] = []
    for at in range(0, len(copy), chunk):
        for step in unpacker.feed(copy[at : at + chunk]):
            match steps, step:
                case [*_, Content(before)], Content(data):
                    steps[-1] = Content(before + data)
                case _:
                    steps.append(step)
    return steps


def refused(copy: bytes) -> int:
    """The code with which a copy is refused."""
    with pytest.raises(BadCopy) as caught:
        unpack(copy)
    return caught.value.code


def test_a_copy_comes_out_as_it_went_in() -> None:
    copy = directory(b"photos", file(b"photos/a b.jpg", b"12345"), link(b"photos/new", b"a b.jpg")) + file(b"x") + END
    assert unpack(copy) == [
        Enter(b"photos"),
        File(b"a b.jpg", 5, 0o644, NOW),
        Content(b"12345"),
        Complete(),
        Link(b"new", b"a b.jpg"),
        Leave(0o755, NOW),
        File(b"x", 0, 0o644, NOW),
        Complete(),
        End(),
    ]


def test_the_checksum_is_of_all_bytes_to_the_end_and_of_none_after_it() -> None:
    copy = file(b"x", b"123456789") + END
    unpacker = Unpacker()
    assert list(unpacker.feed(copy + b"more"))[-1] == End()
    assert list(unpacker.feed(b"and more")) == []
    assert unpacker.checksum == crc32(copy)


def test_the_layout_is_the_fields() -> None:
    entry = encode_entry(b"x", 0o100644, 3, Times(1 * SECOND + 2, 3 * SECOND + 4))
    assert entry == bytes.fromhex("02000000 a4810000 0300000000000000 01000000 02000000 03000000 04000000") + b"x\0"
    assert (
        encode_result(Result(17, 0xCBF43926, b"x"))
        == bytes.fromhex("11000000 00000000 2639f4cb00000000 01000000") + b"x"
    )


def test_times_out_of_range_go_as_the_nearest() -> None:
    copy = encode_entry(b"x", REGULAR, 0, Times(-5, 1 << 80)) + END
    assert unpack(copy)[0] == File(b"x", 0, 0o644, Times(0, (1 << 32) * SECOND - 1))


names = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=20).filter(
    lambda name: name.isprintable() and name not in (".", "..")
)


@st.composite
def trees(draw: st.DrawFn, prefix: bytes = b"", depth: int = 2) -> bytes:
    packed = b""
    for name in draw(st.lists(names, max_size=3, unique=True)):
        path = prefix + name.encode()
        if depth and draw(st.booleans()):
            packed += directory(path, draw(trees(path + b"/", depth - 1)))
        elif prefix and draw(st.booleans()):
            packed += link(path, name.encode())
        else:
            packed += file(path, draw(st.binary(max_size=100)))
    return packed


@given(trees(), st.integers(1, 200))
def test_it_does_not_matter_how_the_bytes_are_cut(tree: bytes, chunk: int) -> None:
    assert unpack(tree + END, chunk) == unpack(tree + END)


@given(trees(), st.integers(0, 5000), st.binary(max_size=40), st.integers(1, 64))
def test_any_bytes_give_steps_or_a_bad_copy(tree: bytes, at: int, noise: bytes, chunk: int) -> None:
    copy = bytearray(tree + END)
    copy[at % len(copy) : at % len(copy) + len(noise)] = noise
    try:
        steps = unpack(bytes(copy), chunk)
    except BadCopy:
        return
    for step in steps:
        if isinstance(step, Enter | File | Link):
            assert b"/" not in step.name
            assert b"\0" not in step.name
            assert step.name not in (b"", b".", b"..")


@pytest.mark.parametrize(
    "name", [b"..", b"../x", b"a/../../x", b"/etc/passwd", b"a//b", b"a/", b".", b"./a", b"", b"a/./b", b"/"]
)
def test_a_name_may_not_leave_the_copy(name: bytes) -> None:
    assert refused(directory(b"a") + file(name) + END) == errno.EILSEQ


@pytest.mark.parametrize(
    "name", [b"a\nb", b"a\x1b[2Jb", b"a\0b", b"\xff\xfe", "a\u202egpj.exe".encode(), "a\u200bb".encode(), b"\x7f"]
)
def test_a_name_may_not_have_characters_that_do_not_print(name: bytes) -> None:
    assert refused(file(name)) == errno.EILSEQ


def test_a_name_may_have_letters_of_any_language() -> None:
    name = "Grüße 世界 שלום.txt".encode()
    assert unpack(file(name))[0] == File(name, 0, 0o644, NOW)


def test_a_huge_name_is_refused_before_it_is_kept() -> None:
    header = HEADER.pack(0xFFFFFFFF, REGULAR, 0, 0, 0, 0, 0)
    assert refused(header) == errno.ENAMETOOLONG


def test_long_names_and_deep_ones_are_refused() -> None:
    with pytest.raises(BadCopy, match="longer than 255"):
        check_name(b"x" * 256)
    with pytest.raises(BadCopy, match="4097 bytes"):
        check_name(b"x/" * 2048 + b"x")
    with pytest.raises(BadCopy, match="directories deep"):
        check_name(b"/".join([b"x"] * (MAX_DEPTH + 1)))
    assert len(check_name(b"/".join([b"x"] * MAX_DEPTH))) == MAX_DEPTH


@pytest.mark.parametrize("kind", [stat.S_IFCHR, stat.S_IFBLK, stat.S_IFIFO, stat.S_IFSOCK, 0, 0o170000])
def test_only_files_directories_and_links_are_taken(kind: int) -> None:
    assert refused(encode_entry(b"x", kind | 0o644, 0, NOW)) == errno.EINVAL


def test_setuid_and_sticky_bits_are_taken_off() -> None:
    steps = unpack(
        encode_entry(b"x", stat.S_IFREG | 0o7755, 0, NOW) + directory(b"d").replace(b"\xed\x41", b"\xed\x4f")
    )
    assert steps[0] == File(b"x", 0, 0o755, NOW)
    assert steps[-1] == Leave(0o755, NOW)


@pytest.mark.parametrize("size", [MAX_BYTES + 1, (1 << 64) - 1, 1 << 63])
def test_a_huge_or_negative_size_is_refused(size: int) -> None:
    assert refused(encode_entry(b"x", REGULAR, size, NOW)) == errno.EDQUOT


def test_many_files_may_not_add_up_to_more_than_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filecopy, "MAX_BYTES", 10)
    assert refused(file(b"x", b"123456") + file(b"y", b"12345")) == errno.EDQUOT


def test_too_many_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filecopy, "MAX_ENTRIES", 3)
    assert unpack(directory(b"d", file(b"d/x")) + END)[-1] == End()
    assert refused(file(b"x") * 4) == errno.EDQUOT


def test_a_directory_has_no_content_of_its_own() -> None:
    assert refused(encode_entry(b"d", DIRECTORY, 1, NOW)) == errno.EINVAL


def test_a_time_has_no_more_nanoseconds_than_a_second() -> None:
    assert refused(HEADER.pack(2, REGULAR, 0, 0, SECOND, 0, 0)) == errno.EINVAL
    assert refused(HEADER.pack(2, REGULAR, 0, 0, 0, 0, 0xFFFFFFFF)) == errno.EINVAL


@pytest.mark.parametrize(
    "copy",
    [
        file(b"d/x"),
        directory(b"d") + file(b"d/x"),
        encode_entry(b"d", DIRECTORY, 0, NOW) + file(b"x"),
        encode_entry(b"d", DIRECTORY, 0, NOW) + file(b"e/x"),
        encode_entry(b"d", DIRECTORY, 0, NOW) + END,
        directory(b"d", link(b"d/l", b"e")) + file(b"d/l/x"),
        encode_entry(b"d", DIRECTORY, 0, NOW) + link(b"d/l", b"e") + file(b"d/l/x"),
    ],
)
def test_an_entry_lies_in_the_directory_that_is_being_copied(copy: bytes) -> None:
    assert refused(copy) == errno.EINVAL


@pytest.mark.parametrize("target", [b"/etc/passwd", b"../x", b"x/../../y", b"x/..", b"..", b"./../x"])
def test_a_link_may_not_lead_out_of_the_copy(target: bytes) -> None:
    assert refused(encode_entry(b"d", DIRECTORY, 0, NOW) + link(b"d/l", target)) == errno.ENOLINK


@pytest.mark.parametrize("target", [b"../x", b"..", b"x", b"x/y/", b"./x", b"../x/y"])
def test_a_link_may_lead_anywhere_below_the_outermost_directory(target: bytes) -> None:
    copy = directory(b"d", directory(b"d/e", link(b"d/e/l", target)))
    assert Link(b"l", target) in unpack(copy)


def test_a_link_may_not_be_outermost() -> None:
    assert refused(link(b"l", b"x")) == errno.ENOLINK


def test_a_link_needs_a_target_of_reasonable_length_that_prints() -> None:
    inside = encode_entry(b"d", DIRECTORY, 0, NOW)
    assert refused(inside + encode_entry(b"d/l", LINK, 0, NOW)) == errno.ENAMETOOLONG
    assert refused(inside + encode_entry(b"d/l", LINK, 1 << 40, NOW)) == errno.ENAMETOOLONG
    assert refused(inside + link(b"d/l", b"a\nb")) == errno.EILSEQ
    with pytest.raises(BadCopy, match="4097 bytes"):
        filecopy.check_target(b"x" * (MAX_NAME + 1), 2)


def test_it_is_known_whether_the_end_would_break_something_off() -> None:
    copy = file(b"x", b"123")
    unpacker = Unpacker()
    broken = [unpacker.in_file]
    for piece in (copy[:5], copy[5:-1], copy[-1:]):
        assert list(unpacker.feed(piece)) is not None
        broken.append(unpacker.in_file)
    assert broken == [False, True, True, False]
    assert unpacker.last_name == b"x"


def test_a_result_comes_out_as_it_went_in() -> None:
    result = Result(errno.EEXIST, 0xDEADBEEF, b"d/x")
    assert decode_result(encode_result(result)) == result


def test_a_result_without_a_name_is_one_too() -> None:
    assert decode_result(filecopy.RESULT.pack(0, 0, 5)) == Result(0, 5, b"")


@given(st.binary(max_size=40))
def test_any_bytes_are_a_result_or_an_error(untrusted: bytes) -> None:
    if len(untrusted) < filecopy.RESULT.size:
        with pytest.raises(WireError):
            decode_result(untrusted)
    else:
        assert len(decode_result(untrusted).last_name) <= MAX_NAME
