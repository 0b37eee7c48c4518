"""The host's key in a file: what it wraps, it alone unwraps, for the same purpose."""

import os
from pathlib import Path

import pytest

from bento.host.drivers.keyfile import KeyFile
from bento.host.model.errors import Unavailable

KEY = bytes(range(32))


@pytest.fixture
def keys(tmp_path: Path) -> KeyFile:
    return KeyFile(tmp_path / "host.key")


def test_a_key_comes_back_also_from_a_later_driver(keys: KeyFile, tmp_path: Path) -> None:
    wrapped = keys.wrap(KEY, b"this")
    assert KEY not in wrapped
    assert keys.unwrap(wrapped, b"this") == KEY
    assert KeyFile(tmp_path / "host.key").unwrap(wrapped, b"this") == KEY


def test_only_the_person_may_read_it(keys: KeyFile, tmp_path: Path) -> None:
    keys.wrap(KEY, b"this")
    assert (tmp_path / "host.key").stat().st_mode & 0o777 == 0o600
    assert os.listdir(tmp_path) == ["host.key"]


def test_the_same_key_is_wrapped_in_another_way_each_time(keys: KeyFile) -> None:
    assert len({keys.wrap(KEY, b"this") for _ in range(8)}) == 8


def test_what_was_changed_or_is_for_another_purpose_is_refused(keys: KeyFile, tmp_path: Path) -> None:
    wrapped = keys.wrap(KEY, b"this")
    others = [wrapped[:-1], wrapped + b"\0", bytes(len(wrapped)), b""]
    others += [wrapped[:at] + bytes([wrapped[at] ^ 1]) + wrapped[at + 1 :] for at in range(len(wrapped))]
    for other in others:
        with pytest.raises(Unavailable, match="was changed"):
            keys.unwrap(other, b"this")
    with pytest.raises(Unavailable, match="was changed"):
        keys.unwrap(wrapped, b"that")
    with pytest.raises(Unavailable, match=r"missing; bring back .*/other\.key from a backup"):
        KeyFile(tmp_path / "other.key").unwrap(wrapped, b"this")
    assert not (tmp_path / "other.key").exists()


def test_a_damaged_key_is_named_and_not_replaced(keys: KeyFile, tmp_path: Path) -> None:
    path = tmp_path / "host.key"
    path.write_bytes(b"short")
    with pytest.raises(Unavailable, match="damaged"):
        keys.wrap(KEY, b"this")
    assert path.read_bytes() == b"short"


def test_what_a_killed_manager_left_of_making_it_is_no_hindrance(keys: KeyFile, tmp_path: Path) -> None:
    (tmp_path / "host.key.new").write_bytes(b"half")
    assert keys.unwrap(keys.wrap(KEY, b"this"), b"this") == KEY
    assert os.listdir(tmp_path) == ["host.key"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match="missing"):
        KeyFile(tmp_path / "nowhere/host.key").wrap(KEY, b"this")
