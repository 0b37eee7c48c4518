"""`bento contract`: what is asked of the manager, and how its answers are told."""

import json
import os
from pathlib import Path

import pytest

from bento.cli.files import ROOM
from tests.cli.conftest import Bento
from tests.cli.fake import FakeManager

Capture = pytest.CaptureFixture[str]

FAULT = {"file": "a\x1b.contract", "line": 7, "column": 3, "problem": "expected something"}
LISTED = [
    {"service": "my.Echo", "own": True, "path": "/c/my.Echo.contract", "faults": [FAULT]},
    {"service": "qubes.Gpg", "own": False, "path": "/b/qubes.Gpg.contract", "faults": []},
]


def answer(manager: FakeManager, method: str, value: object) -> None:
    manager.answers[f"bento.contract.{method}"] = json.dumps(value).encode()


def test_contracts_are_listed_with_what_is_wrong_with_them(manager: FakeManager, bento: Bento, capsys: Capture) -> None:
    answer(manager, "List", LISTED)
    assert bento("contract", "ls") == 0
    assert [line.split(None, 2) for line in capsys.readouterr().out.splitlines()] == [
        ["SERVICE", "WHOSE", "STATE"],
        ["my.Echo", "yours", "cannot be called: a^[.contract:7:3: expected something"],
        ["qubes.Gpg", "bento's", "held to"],
    ]
    assert bento("contract", "ls", "--json") == 0
    assert json.loads(capsys.readouterr().out) == LISTED


def test_a_file_to_be_checked_is_read_here_and_sent(
    manager: FakeManager, bento: Bento, capsys: Capture, tmp_path: Path
) -> None:
    answer(manager, "Check", [])
    (tmp_path / "x.contract").write_bytes(b"# \xff\n")
    name = str(tmp_path / "x.contract")
    assert bento("contract", "check", name) == 0
    assert manager.requests[-1].payload == name.encode() + b"\0# \xff\n"
    assert capsys.readouterr().out == "Nothing is wrong.\n"
    assert bento("contract", "check", name, name) == 0
    assert capsys.readouterr().out == "Nothing is wrong with any of them.\n"


def test_what_is_wrong_ends_as_bad_input(manager: FakeManager, bento: Bento, capsys: Capture, tmp_path: Path) -> None:
    answer(manager, "Check", [FAULT, {**FAULT, "column": 0}])
    (tmp_path / "x").write_text("x")
    assert bento("contract", "check", str(tmp_path / "x")) == 2
    assert capsys.readouterr().out == "a^[.contract:7:3: expected something\na^[.contract:7: expected something\n"
    assert bento("contract", "check", "--json", str(tmp_path / "x")) == 2
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_what_is_no_contract_is_said_before_anybody_is_asked(
    manager: FakeManager, bento: Bento, capsys: Capture, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "large").write_bytes(bytes(ROOM + 1))
    for name, problem in {
        "gone": "cannot be read: No such file or directory",
        "fifo": "is not a plain file",
        "large": f"is too long for one request: more than {ROOM} bytes",
    }.items():
        assert bento("contract", "check", str(tmp_path / name)) == 2
        assert capsys.readouterr().err == f"bento: {tmp_path / name} {problem}\n"
    assert not manager.requests


def test_a_contract_is_shown_as_it_was_written(manager: FakeManager, bento: Bento, capsys: Capture) -> None:
    answer(manager, "Show", {**LISTED[1], "text": "# a\x1b[2J\n\nstate x both\n"})
    assert bento("contract", "show", "qubes.Gpg") == 0
    assert capsys.readouterr().out == "# a^[[2J\n\nstate x both\n"
    assert manager.requests[-1].payload == b"qubes.Gpg"
    assert bento("contract", "show", "--json", "qubes.Gpg") == 0
    assert json.loads(capsys.readouterr().out)["text"].endswith("both\n")
    assert bento("contract", "show", "no/service") == 2
