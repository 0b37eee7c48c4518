"""Names of files and links for another domain: safe to use there whatever the other side says."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.wire.errors import WireError
from bento.wire.opening import MAX_LINK, NAME_SIZE, decode_link, decode_name, encode_name


@pytest.mark.parametrize("view_only", [False, True])
@pytest.mark.parametrize("name", ["report.pdf", "x", ".profile", "a+b@c-d_e.tar.gz", "x" * (NAME_SIZE - 11)])
def test_a_name_comes_out_as_it_went_in(name: str, view_only: bool) -> None:
    encoded = encode_name(name.encode(), view_only=view_only)
    assert len(encoded) == NAME_SIZE
    assert decode_name(encoded) == (name, view_only)


def test_names_are_laid_out_as_the_field_lays_them_out() -> None:
    assert encode_name(b"a.txt", view_only=False) == b"a.txt" + bytes(251)
    assert encode_name(b"a.txt", view_only=True) == b"view-only-a.txt" + bytes(241)


def test_of_a_long_name_the_end_counts() -> None:
    for view_only in (False, True):
        name, _ = decode_name(encode_name(b"x" * 300 + b".pdf", view_only=view_only))
        assert name.endswith("x.pdf")
        assert len(name) == NAME_SIZE - 1 - (10 if view_only else 0)


def test_a_file_may_be_edited_whatever_its_name() -> None:
    assert decode_name(encode_name(b"view-only-x", view_only=False)) == ("_view-only-x", False)


def test_what_programs_stumble_over_is_replaced() -> None:
    encoded = encode_name("a b$(c);'\"\n\u00e9.txt".encode(), view_only=False)
    assert decode_name(encoded) == ("a_b__c_______.txt", False)


@pytest.mark.parametrize("name", [b"", b".", b"..", b"../x", b"/etc/passwd", b"view-only-", b"view-only-.."])
def test_a_name_that_leads_elsewhere_is_refused(name: bytes) -> None:
    with pytest.raises(WireError):
        decode_name(name.ljust(NAME_SIZE, b"\0"))


@pytest.mark.parametrize("size", [0, NAME_SIZE - 1, NAME_SIZE + 1])
def test_a_name_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(WireError, match="breaks off"):
        decode_name(b"x" * size)


@given(st.binary(max_size=NAME_SIZE))
def test_any_bytes_are_a_safe_name_or_refused(untrusted: bytes) -> None:
    try:
        name, _ = decode_name(untrusted.ljust(NAME_SIZE, b"\0"))
    except WireError as error:
        assert str(error).isprintable()
        return
    assert name not in ("", ".", "..")
    assert "/" not in name
    assert name.isascii()
    assert name.isprintable()
    assert len(name) < NAME_SIZE


@pytest.mark.parametrize("link", ["https://example.org/a?b=c#d", "http://[::1]:8/", "ftp://x"])
def test_a_link_comes_out_as_it_went_in(link: str) -> None:
    assert decode_link(link.encode()) == decode_link(f"{link}\n".encode()) == link


@pytest.mark.parametrize(
    "line",
    [
        b"", b"\n", b"https://", b"file:///etc/passwd", b"javascript:alert(1)", b"-https://x", b" https://x",
        b"https://a b", b"https://a\nhttps://b", b"https://\xc3\xa9", b"HTTPS://x", b"https://x\n\n",
        b"https://" + b"x" * MAX_LINK,
    ],
)  # fmt: skip  # a list to be read across
def test_what_is_no_link_is_refused(line: bytes) -> None:
    with pytest.raises(WireError):
        decode_link(line)
