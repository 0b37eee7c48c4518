"""A guest's bytes on a terminal: shown, never obeyed."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from bento.cli.harmless import Harmless, harmless, speaks_utf8


def shown(untrusted: bytes, *, utf8: bool = True) -> str:
    stream = Harmless(utf8=utf8)
    return stream.feed(untrusted) + stream.end()


@pytest.mark.parametrize(
    ("untrusted", "expected"),
    [
        (b"plain text\tand\nlines", "plain text\tand\nlines"),
        (b"\x1b[2J\x1b]0;title\x07", "^[[2J^[]0;title^G"),
        (b"line of a console\r\n", "line of a console\n"),
        (b"good\rbad", "good^Mbad"),
        (b"at the end\r", "at the end^M"),
        (b"\r\r\n", "^M\n"),
        (b"\x08\x7f\x00", "^H^?^@"),
        ("grün 日本".encode(), "grün 日本"),
        ("\u009b31m".encode(), "<U+009B>31m"),
        ("\u202eevil".encode(), "<U+202E>evil"),
        (b"\x9b31m", "\\x9b31m"),
        (b"cut \xe2\x82", "cut \\xe2\\x82"),
    ],
)
def test_what_would_steer_a_terminal_is_shown(untrusted: bytes, expected: str) -> None:
    assert shown(untrusted) == expected


def test_beyond_ascii_nothing_passes_to_a_terminal_of_another_encoding() -> None:
    assert shown("ě".encode(), utf8=False) == "\\xc4\\x9b"  # 9B alone is a control character to an 8-bit terminal


@given(some.binary(max_size=60), some.booleans())
def test_no_bytes_at_all_give_a_control_character(untrusted: bytes, utf8: bool) -> None:
    assert all(c.isprintable() or c in "\n\t" for c in shown(untrusted, utf8=utf8))


@given(some.lists(some.binary(max_size=6), max_size=12), some.booleans())
def test_how_the_bytes_are_cut_changes_nothing(pieces: list[bytes], utf8: bool) -> None:
    stream = Harmless(utf8=utf8)
    assert "".join([*map(stream.feed, pieces), stream.end()]) == shown(b"".join(pieces), utf8=utf8)


def test_a_sentence_that_quotes_a_guest_keeps_its_lines_only() -> None:
    assert harmless("console said:\n\x1b[31mred\u202e") == "console said:\n^[[31mred<U+202E>"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"LANG": "en_US.UTF-8"}, True),
        ({"LANG": "C.utf8"}, True),
        ({"LANG": "C", "LC_ALL": "C.UTF-8"}, True),
        ({"LC_CTYPE": "C.UTF-8"}, False),
        ({"LC_CTYPE": "C.UTF-8", "LANG": "C"}, False),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, False),
        ({}, False),
    ],
)
def test_the_persons_locale_says_what_the_terminal_speaks(environment: dict[str, str], expected: bool) -> None:
    assert speaks_utf8(environment) is expected
