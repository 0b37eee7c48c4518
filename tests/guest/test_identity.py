"""Becoming a domain: what an identity changes. What it does to a machine's clock and random pool, `tests/vm` sees."""

import os
from pathlib import Path

import pytest

from bento.guest.identity import OWN_ADDRESS, replace, with_own_name

HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost\n"


def test_the_name_is_added_to_the_hosts() -> None:
    assert with_own_name(HOSTS, "work") == HOSTS + f"{OWN_ADDRESS}\twork\n"


def test_a_second_start_changes_nothing() -> None:
    once = with_own_name(HOSTS, "work")
    assert with_own_name(once, "work") == once


def test_the_name_of_the_template_gives_way_and_other_lines_stay() -> None:
    before = "# mine\n127.0.1.1 debian-12\n" + HOSTS + "127.0.1.10 printer\n"
    assert with_own_name(before, "work") == "# mine\n" + HOSTS + f"127.0.1.10 printer\n{OWN_ADDRESS}\twork\n"


def test_a_file_is_replaced_as_a_whole_and_only_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    replace(str(path), lambda text: text + "one\n")
    first = os.stat(path).st_ino
    replace(str(path), lambda text: text)
    assert os.stat(path).st_ino == first
    replace(str(path), lambda text: text + "two\n")
    assert path.read_text() == "one\ntwo\n"
    assert [entry.name for entry in tmp_path.iterdir()] == ["hosts"]


def test_a_change_that_fails_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("kept\n")

    def fail(_: str) -> str:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        replace(str(path), fail)
    assert path.read_text() == "kept\n"
