"""Started as root: what is given up, in which order, and what of root's environment stays behind."""

import os
import pwd
from types import SimpleNamespace

import pytest

from bento.cli import account, command
from bento.cli.exits import Failed


def test_roots_own_directories_and_session_stay_behind() -> None:
    before = {
        "HOME": "/root",
        "USER": "root",
        "LOGNAME": "root",
        "XDG_RUNTIME_DIR": "/run/user/0",
        "XDG_DATA_HOME": "/root/data",
        "DBUS_SESSION_BUS_ADDRESS": "unix:path=/run/user/0/bus",
        "BENTO_HOME": "/srv/bento",
        "TERM": "xterm",
    }
    assert account.as_account(before, "bento", "/home/bento", runtime=None) == {
        "HOME": "/home/bento",
        "USER": "bento",
        "LOGNAME": "bento",
        "BENTO_HOME": "/srv/bento",
        "TERM": "xterm",
    }
    after = account.as_account(before, "bento", "/home/bento", runtime="/run/user/1001")
    assert after["XDG_RUNTIME_DIR"] == "/run/user/1001"


@pytest.fixture
def given_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    done: list[str] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    for name in ("initgroups", "setgid", "setuid"):
        monkeypatch.setattr(os, name, lambda *values, name=name: done.append(f"{name} {values[-1]}"))
    monkeypatch.setattr(os, "environ", dict(os.environ))
    return done


def known(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    entry = SimpleNamespace(pw_name="bento", pw_uid=uid, pw_gid=5002, pw_dir="/home/bento")
    monkeypatch.setattr(pwd, "getpwnam", {"bento": entry}.__getitem__)


def test_root_becomes_the_account_with_the_last_right_given_up_last(
    monkeypatch: pytest.MonkeyPatch, given_up: list[str]
) -> None:
    known(monkeypatch, 5001)
    account.become_ordinary()
    assert given_up == ["initgroups 5002", "setgid 5002", "setuid 5001"]
    assert os.environ["HOME"] == "/home/bento"


def test_an_ordinary_user_stays_who_they_are(monkeypatch: pytest.MonkeyPatch, given_up: list[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    account.become_ordinary()
    assert given_up == []


def test_without_the_account_root_gets_a_sentence(
    monkeypatch: pytest.MonkeyPatch, given_up: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(pwd, "getpwnam", {}.__getitem__)
    assert command.main(["ls"]) == 2
    assert capsys.readouterr().err.startswith("bento: Bento does not run as root; ")
    assert given_up == []


def test_an_account_that_is_root_is_no_way_out(monkeypatch: pytest.MonkeyPatch, given_up: list[str]) -> None:
    known(monkeypatch, 0)
    with pytest.raises(Failed, match="is root"):
        account.become_ordinary()
    assert given_up == []


def test_a_program_that_the_account_cannot_read_is_named(monkeypatch: pytest.MonkeyPatch, given_up: list[str]) -> None:
    known(monkeypatch, 5001)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(Failed, match="install it where everybody may read"):
        account.become_ordinary()
