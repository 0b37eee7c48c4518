"""Whom services of a domain run as. The machine that runs the tests lends its accounts."""

import os
import pwd
from pathlib import Path

import pytest

from bento.guest import place
from bento.guest.place import Account, Domain

ME = pwd.getpwuid(os.getuid())


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """The names that were looked up so far, in a domain whose default user is who runs the tests."""
    names: list[str] = []
    look_up = place._look_up

    def counting(name: str) -> Account:
        names.append(name)
        return look_up(name)

    (tmp_path / "passwd").write_text("one")
    monkeypatch.setattr(place, "_look_up", counting)
    monkeypatch.setattr(place, "DEFAULT_USER", ME.pw_name)
    monkeypatch.setattr(place, "ACCOUNTS", (str(tmp_path / "passwd"), str(tmp_path / "missing")))
    return names


def test_the_default_user_is_looked_up_once(looked_up: list[str]) -> None:
    domain = Domain()
    account = domain.account("")
    assert (account.name, account.uid, account.gid, account.home) == (ME.pw_name, ME.pw_uid, ME.pw_gid, ME.pw_dir)
    assert account.groups is not None
    assert ME.pw_gid in account.groups
    assert domain.account(ME.pw_name) is account
    assert looked_up == [ME.pw_name]


def test_a_change_of_the_accounts_is_noticed(looked_up: list[str], tmp_path: Path) -> None:
    domain = Domain()
    domain.account("")
    (tmp_path / "passwd").write_text("another")
    domain.account("")
    (tmp_path / "missing").touch()
    domain.account("")
    assert looked_up == [ME.pw_name] * 3


def test_other_users_are_looked_up_each_time(looked_up: list[str]) -> None:
    domain = Domain()
    assert domain.account("root").uid == 0
    assert domain.account("root").home == "/root"
    assert looked_up == ["root", "root"]


def test_there_may_be_no_such_user(looked_up: list[str]) -> None:
    with pytest.raises(KeyError):
        Domain().account("no-such-user-4711")
    assert looked_up
