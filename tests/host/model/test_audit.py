"""The audit log's lines: what is written is read again, and whatever was changed shows."""

import json
from dataclasses import fields, replace
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.host.model.audit import (
    FIELDS,
    GENESIS,
    KIND,
    MAX_LINE,
    MAX_TEXT,
    START,
    Began,
    Broken,
    Counted,
    Damaged,
    Decided,
    Dropped,
    Entry,
    Head,
    Line,
    Repaired,
    Sound,
    Verdict,
    argument_digest,
    head_after,
    parse_line,
    plain,
    verify,
)
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName
from tests.wire.strategies import SPELLING

NATURAL = st.integers(0, (1 << 63) - 1)
TEXT = st.text(max_size=MAX_TEXT).map(plain)
DIGEST = st.binary(max_size=8).map(lambda data: sha256(data).hexdigest())
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "time": NATURAL,
    "source": SPELLING[DomainName].map(DomainName),
    "service": SPELLING[ServiceName].map(ServiceName),
    "argument": DIGEST,
    "asked": SPELLING[TargetName].map(TargetName),
    "chosen": SPELLING[TargetName].map(TargetName),
    "verdict": st.sampled_from(Verdict),
    "rule": TEXT,
    "policy": DIGEST | st.just(""),
    "grant": TEXT,
    "reason": TEXT,
    "since": NATURAL,
    "calls": NATURAL,
    "size": NATURAL,
    "digest": DIGEST,
    "last": NATURAL,
    "hash": DIGEST,
}
ENTRIES: st.SearchStrategy[Entry] = st.one_of(
    *[st.builds(kind, **{field.name: VALUES[field.name] for field in fields(kind)}) for kind in KIND]
)
HEADS = st.builds(Head, st.integers(0, (1 << 62)), DIGEST)

CALL = Decided(
    1_700_000_000_000_000,
    DomainName("random"),
    ServiceName("qubes.Filecopy"),
    argument_digest(ServiceArgument("")),
    TargetName("work"),
    TargetName("work"),
    Verdict.ALLOWED,
    "30-user.policy:3",
    sha256(b"the policy").hexdigest(),
    "",
    "",
)


def chain(*entries: Entry, after: Head = START) -> list[bytes]:
    lines = []
    for entry in entries:
        line = Line(after, entry)
        lines.append(line.encode())
        after = head_after(line.number, lines[-1])
    return lines


CHAINS = st.lists(ENTRIES, max_size=6).map(lambda entries: chain(Began(7), *entries))


def end(lines: list[bytes], first: int = 1) -> Head:
    return head_after(first + len(lines) - 1, lines[-1])


def rewritten(line: bytes, **said: object) -> bytes:
    """The line with other words and the hash that goes with them."""
    text = json.dumps({**json.loads(line[65:]), **said}, sort_keys=True, separators=(",", ":")).encode()
    return sha256(text).hexdigest().encode() + b" " + text + b"\n"


@given(HEADS, ENTRIES)
def test_a_line_is_read_as_it_was_written(before: Head, entry: Entry) -> None:
    written = Line(before, entry).encode()
    assert written.isascii()
    assert written.count(b"\n") == 1
    assert parse_line(written) == Line(before, entry)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_line_or_damaged(untrusted: bytes) -> None:
    for each in (untrusted, sha256(untrusted).hexdigest().encode() + b" " + untrusted + b"\n"):
        with pytest.raises(Damaged):
            parse_line(each)


@pytest.mark.parametrize(
    "said",
    [
        {"kind": "told"},
        {"kind": ["decided"]},
        {"number": 0},
        {"number": True},
        {"number": 1.0},
        {"number": 1 << 63},
        {"before": GENESIS[1:]},
        {"before": "G" * 64},
        {"time": -1},
        {"time": "1"},
        {"source": "-"},
        {"source": ""},
        {"service": None},
        {"argument": ""},
        {"asked": "@"},
        {"verdict": "maybe"},
        {"policy": "0"},
        {"reason": "two\nlines"},
        {"reason": "\u2026"},
        {"reason": "x" * (MAX_TEXT + 1)},
        {"more": 1},
    ],
)
def test_what_the_log_cannot_say_is_no_line(said: dict[str, object]) -> None:
    (line,) = chain(CALL)
    with pytest.raises(Damaged):
        parse_line(rewritten(line, **said))


@pytest.mark.parametrize("text", [b"[" * 3000, b"[]", b"null", b"{}", b'{"kind":"began"}', b"\xff"])
def test_what_is_no_object_of_ours_is_no_line(text: bytes) -> None:
    with pytest.raises(Damaged, match="says nothing"):
        parse_line(sha256(text).hexdigest().encode() + b" " + text + b"\n")


def test_a_line_in_another_spelling_is_no_line() -> None:
    (line,) = chain(CALL)
    text = json.dumps(json.loads(line[65:])).encode()
    with pytest.raises(Damaged, match="not written as"):
        parse_line(sha256(text).hexdigest().encode() + b" " + text + b"\n")


def test_the_longest_line_is_not_too_long() -> None:
    worst = '"' * MAX_TEXT
    longest = replace(
        CALL,
        time=(1 << 63) - 1,
        source=DomainName("d" * 31),
        service=ServiceName("s" * 255),
        asked=TargetName(f"@dispvm:@{'t' * 127}"),
        chosen=TargetName(f"@dispvm:@{'t' * 127}"),
        verdict=Verdict.CONSENTED,
        rule=worst,
        grant=worst,
        reason=worst,
    )
    line = Line(Head((1 << 63) - 2, GENESIS), longest).encode()
    assert len(line) <= MAX_LINE
    assert parse_line(line).entry == longest
    with pytest.raises(Damaged, match="too long"):
        parse_line(line + b" " * MAX_LINE)


def test_every_field_of_every_entry_can_be_read() -> None:
    assert {field.name for kind in KIND for field in fields(kind)} == set(FIELDS) == set(VALUES)


@pytest.mark.parametrize("verdict", Verdict)
def test_a_call_proceeds_unless_it_was_denied_or_consent_was_withheld_or_is_over(verdict: Verdict) -> None:
    assert verdict.proceeds is (verdict.value not in ("deny", "withhold", "cut"))


# ---- chains --------------------------------------------------------------------------------------


@given(CHAINS)
def test_a_chain_that_nobody_touched_is_sound(lines: list[bytes]) -> None:
    assert verify(lines) == Sound(1, end(lines))


@given(CHAINS, st.data())
def test_whatever_byte_is_changed_a_line_at_or_before_it_is_named(lines: list[bytes], data: st.DataObject) -> None:
    log = b"".join(lines)
    at = data.draw(st.integers(0, len(log) - 1))
    changed = log[:at] + bytes((log[at] ^ data.draw(st.integers(1, 255)),)) + log[at + 1 :]
    found = verify(split(changed))
    assert isinstance(found, Broken)
    assert found.number <= log.count(b"\n", 0, at) + 1


def split(log: bytes) -> list[bytes]:
    """At newlines only."""
    return [line + b"\n" for line in log.split(b"\n")[:-1]] + ([rest] if (rest := log.split(b"\n")[-1]) else [])


@given(CHAINS, st.data())
def test_a_line_taken_out_shows_the_last_one_against_a_kept_head(lines: list[bytes], data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(lines) - 1))
    left = lines[:at] + lines[at + 1 :]
    last = at == len(lines) - 1
    assert isinstance(verify(left), Sound if left and last else Broken)
    assert isinstance(verify(left, kept=[end(lines)]), Broken)


@given(CHAINS, st.data())
def test_lines_that_changed_places_show(lines: list[bytes], data: st.DataObject) -> None:
    one, other = (data.draw(st.integers(0, len(lines) - 1)) for _ in range(2))
    mixed = list(lines)
    mixed[one], mixed[other] = mixed[other], mixed[one]
    assert isinstance(verify(mixed), Sound if one == other else Broken)


def test_a_line_written_anew_shows_at_the_next_and_a_tail_written_anew_against_a_kept_head() -> None:
    lines = chain(Began(1), CALL, CALL)
    forged = rewritten(lines[1], source="vault")
    assert verify([lines[0], forged, lines[2]]) == Broken(3, "does not have the hash of the line before")
    anew = chain(Began(1), replace(CALL, source=DomainName("vault")), CALL, CALL)
    assert verify(anew) == Sound(1, end(anew))
    assert verify(anew, kept=[end(lines)]) == Broken(3, "does not go with line 3 as it was kept")


def test_heads_that_contradict_each_other_are_not_both_believed() -> None:
    lines = chain(Began(1), CALL)
    for kept in ([end(lines), Head(2, GENESIS)], [Head(2, GENESIS), end(lines)]):
        assert verify(lines, kept=kept) == Broken(2, "does not go with line 2 as it was kept")


def test_a_chain_that_grew_since_its_head_was_kept_is_sound_and_one_that_shrank_is_not() -> None:
    lines = chain(Began(1), CALL, CALL, CALL)
    assert verify(lines, kept=[end(lines[:2])]) == Sound(1, end(lines))
    assert verify(lines, kept=[end(lines)]) == Sound(1, end(lines))
    assert verify(lines, kept=[START]) == Sound(1, end(lines))
    shrunk = verify(lines[:2], kept=[end(lines)])
    assert isinstance(shrunk, Broken)
    assert (shrunk.number, "up to line 4" in shrunk.why) == (3, True)


def test_lines_may_be_missing_at_the_beginning_if_a_line_says_that_they_fell_off() -> None:
    lines = chain(Began(1), CALL, CALL, CALL)
    gone = end(lines[:2])
    whole = [*lines, *chain(Dropped(9, gone.count, gone.hash), CALL, after=end(lines))]
    assert verify(whole) == Sound(1, end(whole)), "it says so before they do"
    assert verify(whole[2:], first=3) == Sound(3, end(whole))
    for left, first in ((lines[2:], 3), (whole[1:], 2), (whole[3:], 4)):
        found = verify(left, first)
        assert isinstance(found, Broken)
        assert found.number == first
    assert verify(whole[2:], 3, kept=[end(lines[:3])]) == Sound(3, end(whole))
    assert verify(whole[2:], 3, kept=[gone]) == Sound(3, end(whole))
    assert isinstance(verify(whole[2:], 3, kept=[Head(2, GENESIS)]), Broken)
    unproved = verify(whole[2:], 3, kept=[end(lines[:1])])
    assert isinstance(unproved, Broken), "a log that begins after the kept head may have been written anew"
    assert verify(whole[2:]) == Broken(1, "says that it is line 3")


def test_a_chain_begins_with_its_beginning_and_has_at_least_that() -> None:
    assert verify(chain(CALL)) == Broken(1, "is not the beginning of a log")
    assert verify(chain(Began(1), after=Head(0, "1" * 64))) == Broken(1, "is not the beginning of a log")
    assert verify([]) == Broken(1, "is missing")


def test_what_other_lines_say_does_not_change_what_is_sound() -> None:
    lines = chain(Began(1), Counted(2, DomainName("random"), 1, 5), Repaired(3, 10, GENESIS), Dropped(4, 9, GENESIS))
    assert verify(lines) == Sound(1, end(lines))
