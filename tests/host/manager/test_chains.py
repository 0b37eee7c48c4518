"""The audit log's files: whatever end a process or a disk comes to, the chain goes on and says what happened."""

import os
from hashlib import sha256
from pathlib import Path
from stat import S_IMODE

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bento.host.manager.chains import Chain
from bento.host.model.audit import (
    Began,
    Broken,
    Dropped,
    Entry,
    Head,
    Repaired,
    Sound,
    parse_line,
    verify,
)
from tests.examples import examples
from tests.host.model.test_audit import CALL

SMALL = 2500
"""Bytes of a file here: it holds four or five lines."""


def lines(chain: Chain) -> list[bytes]:
    with chain.read() as snapshot:
        return list(snapshot.lines())


def entries(chain: Chain) -> list[Entry]:
    return [parse_line(line).entry for line in lines(chain)]


def verified(chain: Chain, *kept: Head) -> Sound | Broken:
    with chain.read() as snapshot:
        return verify(snapshot.lines(), snapshot.first, [snapshot.head, *kept])


def filled(directory: Path, calls: int) -> Chain:
    chain = Chain(directory, 1, SMALL)
    for _ in range(calls):
        chain.append(CALL)
    return chain


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "random"


def test_a_chain_begins_with_a_line_that_says_so(place: Path) -> None:
    assert entries(Chain(place, 7)) == [Began(7)]


def test_only_the_person_may_look_into_it(place: Path) -> None:
    chain = filled(place, 1)
    assert S_IMODE(place.stat().st_mode) == 0o700
    assert {S_IMODE(segment.path.stat().st_mode) for segment in chain.segments} == {0o600}


def test_a_chain_goes_on_over_files_and_over_ends_of_the_process(place: Path) -> None:
    first = filled(place, 30)
    assert len(first.segments) > 5
    assert all(segment.size <= SMALL for segment in first.segments)
    second = Chain(place, 9, SMALL)
    assert second.head == first.head
    second.append(CALL)
    assert entries(second) == [Began(1), *[CALL] * 31]
    assert verified(second, first.head) == Sound(1, second.head)


def test_lines_are_read_backwards_as_forwards(place: Path) -> None:
    chain = filled(place, 30)
    with chain.read() as snapshot:
        backwards = list(snapshot.backwards())
    assert backwards == lines(chain)[::-1]


def test_a_snapshot_stays_what_it_is_whatever_the_chain_does(place: Path) -> None:
    chain = filled(place, 12)
    with chain.read() as snapshot:
        oldest = chain.fall_off(2)
        assert oldest
        oldest.unlink()
        for _ in range(5):
            chain.append(CALL)
        assert verify(snapshot.lines(), snapshot.first, [snapshot.head]) == Sound(1, snapshot.head)


@examples(60)
@given(st.data())
def test_wherever_the_log_is_cut_off_it_is_mended_says_so_and_goes_on(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A power cut keeps any beginning of what was not synced, and of a file that grew maybe zeros."""
    place = tmp_path_factory.mktemp("chains") / "random"
    chain = filled(place, data.draw(st.integers(0, 12)))
    before = lines(chain)
    log = b"".join(before)
    kept = data.draw(st.integers(0, len(log)))
    left = kept
    for segment in chain.segments:
        here = min(left, segment.size)
        os.truncate(segment.path, here)
        left -= here
    zeros = data.draw(st.sampled_from([0, 0, 1, 600, 5000]))
    if zeros:
        with chain.segments[-1].path.open("ab") as file:
            file.write(bytes(zeros))
    again = Chain(place, 9, SMALL)
    again.append(CALL)
    whole = before[: log.count(b"\n", 0, kept)]
    cut = log[len(b"".join(whole)) : kept] + bytes(zeros)
    expected = [parse_line(line).entry for line in whole] or [Began(9)]
    if cut:
        expected.append(Repaired(9, len(cut), sha256(cut).hexdigest()))
    assert entries(again) == [*expected, CALL]
    assert verified(again) == Sound(1, again.head)


def test_a_last_line_that_was_changed_is_cut_off_as_no_line(place: Path) -> None:
    chain = filled(place, 3)
    path = chain.segments[0].path
    path.write_bytes(path.read_bytes()[:-3] + b"?}\n")
    assert [type(entry).__name__ for entry in entries(Chain(place, 9))] == ["Began", "Decided", "Decided", "Repaired"]


def test_a_line_that_the_disk_does_not_take_whole_is_no_line(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chain = filled(place, 2)
    with monkeypatch.context() as full:
        write = os.write
        full.setattr(os, "write", lambda fd, data: write(fd, data[:10]))
        with pytest.raises(OSError, match="No space left"):
            chain.append(CALL)
    chain.append(CALL)
    kinds = [type(entry).__name__ for entry in entries(chain)]
    assert kinds == ["Began", "Decided", "Decided", "Repaired", "Decided"]
    assert verified(chain) == Sound(1, chain.head)


def test_the_oldest_lines_fall_off_and_the_chain_says_so(place: Path) -> None:
    chain = filled(place, 12)
    second = chain.segments[1]
    gone = parse_line(lines(chain)[second.first - 2])
    oldest = chain.fall_off(9)
    assert oldest
    assert verified(chain) == Sound(second.first, chain.head)
    (said,) = [entry for entry in entries(chain) if isinstance(entry, Dropped)]
    assert said.last == gone.number
    assert Chain(place, 10, SMALL).segments[0].path == oldest, "until it is removed it may come back"
    oldest.unlink()
    again = Chain(place, 10, SMALL)
    assert verified(again, chain.head) == Sound(second.first, chain.head)


def test_the_file_that_is_written_to_does_not_fall_off(place: Path) -> None:
    chain = filled(place, 1)
    assert chain.fall_off(9) is None
    assert entries(chain) == [Began(1), CALL]


def test_a_file_that_was_taken_away_is_missed(place: Path) -> None:
    for number in range(3):
        chain = filled(place.with_name(f"number{number}"), 12)
        chain.segments[number].path.unlink()
        found = verified(chain)
        assert isinstance(found, Broken)
        assert found.number == (chain.segments[number].first)


def test_a_log_that_was_taken_away_is_begun_anew_and_missed_against_a_kept_head(place: Path) -> None:
    kept = filled(place, 3).head
    for path in place.iterdir():
        path.unlink()
    chain = Chain(place, 9)
    assert entries(chain) == [Began(9)]
    assert isinstance(verified(chain, kept), Broken)


def test_what_is_not_of_the_log_is_left_alone(place: Path) -> None:
    filled(place, 1)
    for name in ("notes.log", "0000000000000001.bak", "README"):
        (place / name).write_text("mine")
    assert entries(Chain(place, 9)) == [Began(1), CALL]
    assert (place / "notes.log").read_text() == "mine"


def test_a_log_that_is_somebody_elses_file_is_not_written_to(place: Path, tmp_path: Path) -> None:
    chain = filled(place, 1)
    path = chain.segments[0].path
    target = tmp_path / "elsewhere"
    path.rename(target)
    path.symlink_to(target)
    with pytest.raises(OSError, match="symbolic"):
        Chain(place, 9)
