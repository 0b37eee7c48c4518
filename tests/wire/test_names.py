"""Names: what each parser takes and refuses, and that nothing else can be made of an accepted name."""

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.wire.errors import WireError
from bento.wire.names import (
    DomainName,
    FeatureName,
    LabelName,
    Name,
    ServiceArgument,
    ServiceName,
    Tag,
    TargetName,
    UserName,
    ascii_only,
    parse_called,
    printable,
)
from tests.wire.strategies import SPELLING, WORD

KINDS = (DomainName, FeatureName, LabelName, ServiceArgument, ServiceName, Tag, TargetName, UserName)

ACCEPTED: dict[type[Name], list[str]] = {
    DomainName: ["w", "work", "Work-2_b.c", "a" * 31, "dom0", "nones", "xdefault", "a-dm-b", "a-dmx", "domain-0"],
    ServiceName: ["qubes.Filecopy", "a", "_", "-x", "admin.vm.property.Get", "a" * 255],
    ServiceArgument: ["", "a+b", "+", "..", "-2Fetc", "a" * 65_000],
    Tag: ["created-by-dom0", "1", "a" * 127],
    FeatureName: ["gui-default", "a" * 127],
    LabelName: ["red", "0x", "a" * 31],
    UserName: ["user", "root", "_apt", "a-1", "a" * 32],
    TargetName: ["", "work", "dom0", "@default", "@dispvm:fedora", "@dispvm:@tag:a.b", "@tag:x_y-z", "@type:AppVM"],
}
REFUSED: dict[type[Name], list[str]] = {
    DomainName: ["", "none", "default", "Domain-0", "a-dm", "work-dm", "1a", "-a", ".a", "_a", "a b", "a/b", "a" * 32],
    ServiceName: ["", ".", "..", ".hidden", "a/b", "a+b", "a b", "a" * 256],
    ServiceArgument: ["a/b", "a b", "a=b", "$x", "a\\b", "a" * 65_001],
    Tag: ["", "a b", "a:b", "a/b", "a" * 128],
    FeatureName: ["", "a b", "a/b", "a" * 128],
    LabelName: ["", "a b", "a/b", "a" * 32],
    UserName: ["", "User", "0root", "-x", "a.b", "root:", "a$", "a" * 33],
    TargetName: [
        "none",
        "a-dm",
        "@",
        "@:x",
        "@Tag:x",
        "@tag:",
        "@tag:@",
        "@tag:@@x",
        "@a:b/c",
        "a|b",
        "@t:" + "a" * 128,
    ],
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind in KINDS for text in ACCEPTED[kind]])
def test_a_name_is_accepted_and_carries_its_type(kind: type[Name], text: str) -> None:
    parsed = kind.parse(text)
    assert parsed == text
    assert type(parsed) is kind


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind in KINDS for text in REFUSED[kind]])
def test_what_is_no_name_is_refused_with_a_sentence_that_says_what_one_is(kind: type[Name], text: str) -> None:
    with pytest.raises(WireError) as refusal:
        kind.parse(text)
    assert str(refusal.value) == f"{printable(text)} is not {kind.what}"
    assert str(refusal.value).isprintable()


@pytest.mark.parametrize("kind", KINDS)
@given(foreign=st.sampled_from(["\n", "\r", "\0", " ", "\u2028", "\u0301", "é", "ａ", "ſ", "٣"]), data=st.data())
def test_nothing_may_stand_around_or_inside_a_name(kind: type[Name], foreign: str, data: st.DataObject) -> None:
    """Above all no newline at the end, which `$` in a pattern would let pass; and no letter that looks like another."""
    name = data.draw(SPELLING[kind])
    at = data.draw(st.integers(0, len(name)))
    for text in (name + foreign, foreign + name, name[:at] + foreign + name[at:]):
        with pytest.raises(WireError):
            kind.parse(text)


@given(text=st.text(max_size=40) | st.text(WORD + "@:+/", max_size=40))
def test_any_text_is_a_name_or_a_wire_error(text: str) -> None:
    for kind in KINDS:
        try:
            parsed = kind.parse(text)
        except WireError:
            continue
        assert set(parsed) <= set(WORD + "@:+")


@given(text=SPELLING[DomainName] | st.text(WORD + "@:", max_size=40) | st.sampled_from(REFUSED[DomainName]))
def test_a_target_is_a_domain_or_begins_with_an_at_sign_or_is_empty(text: str) -> None:
    """Nothing can be a keyword for the one who checks it and a domain for the one who calls it."""
    domain = DomainName.pattern.fullmatch(text) is not None
    target = TargetName.pattern.fullmatch(text) is not None
    if text and not text.startswith("@"):
        assert domain == target
    else:
        assert not domain


@given(data=st.data(), kind=st.sampled_from([DomainName, ServiceName, UserName]))
def test_a_name_that_becomes_a_file_stays_where_it_is_put(kind: type[Name], data: st.DataObject) -> None:
    name = data.draw(SPELLING[kind])
    assert name not in (".", "..")
    assert "/" not in name
    assert not name.startswith(".")


@given(text=st.text(), limit=st.integers(0, 80))
def test_printable_prints_and_is_bounded_and_shows_where_the_quotation_ends(text: str, limit: int) -> None:
    shown = printable(text, limit)
    assert shown.isascii()
    assert shown.isprintable()
    quoted, dots = (shown[:-3], True) if len(text) > limit else (shown, False)
    assert shown.endswith("...") or not dots
    assert quoted[0] == quoted[-1] == "'"
    assert quoted.count("'") == 2
    assert len(quoted) == min(len(text), limit) + 2


def test_printable_leaves_what_prints_as_it_is() -> None:
    every = string.ascii_letters + string.digits + string.punctuation.replace("'", "") + " "
    assert printable(every, 200) == f"'{every}'"
    assert printable("a'b\x1b[2J\ud800\xe9") == "'a?b?[2J??'"


@pytest.mark.parametrize(
    ("text", "called"), [("a.B", ("a.B", "")), ("a.B+", ("a.B", "")), ("a.B+c", ("a.B", "c")), ("a+b+c", ("a", "b+c"))]
)
def test_what_is_called_ends_at_its_first_plus(text: str, called: tuple[str, str]) -> None:
    assert parse_called(text) == called


@pytest.mark.parametrize("text", ["", "+a", "a b+c", "a+b c"])
def test_what_is_called_is_refused_if_a_part_of_it_is_no_name(text: str) -> None:
    with pytest.raises(WireError):
        parse_called(text)


@given(st.text())
def test_a_line_for_the_log_has_as_many_characters_all_of_which_print(text: str) -> None:
    shown = ascii_only(text)

    assert len(shown) == len(text)
    assert shown.isascii()
    assert not shown or shown.isprintable()
    assert all(after in (before, "?") for before, after in zip(text, shown, strict=True))
