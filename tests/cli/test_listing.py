"""`bento ls`: the table, its colours, and JSON that holds nothing else."""

import json
import re

import pytest

from bento.cli import listing
from bento.cli.render import Paint, size
from tests.cli.conftest import Bento
from tests.cli.fake import FakeManager


def row(name: str, **more: object) -> dict[str, object]:
    return {
        "name": name,
        "class": "AppVM",
        "label": "red",
        "label_rgb": "#cc0000",
        "state": "Halted",
        "template": "debian-12",
        "netvm": None,
        "memory_bytes": 0,
        "disk_bytes": 4096,
        "start_seconds": None,
        **more,
    }


TABLE = [
    row("dom0", **{"class": "AdminVM"}, label="black", label_rgb="#000000", template=None, state="Running"),
    row("work", state="Running", memory_bytes=200 << 20, start_seconds=3.456),
    row("vault"),
]


@pytest.fixture(autouse=True)
def _table(manager: FakeManager) -> None:
    manager.answers["bento.vm.Table"] = json.dumps(TABLE).encode()


def test_columns_are_aligned(bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    assert bento("ls", "--disk") == 0
    assert capsys.readouterr().out == (
        "NAME   CLASS    LABEL  STATE    TEMPLATE   NETVM   MEMORY   DISK   START\n"
        "dom0   AdminVM  black  Running  -          -            -  4 KiB       -\n"
        "work   AppVM    red    Running  debian-12  -      200 MiB  4 KiB  3.46 s\n"
        "vault  AppVM    red    Halted   debian-12  -            -  4 KiB       -\n"
    )


def test_disk_space_is_shown_when_asked_for(bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    assert bento("ls") == 0
    assert "DISK" not in capsys.readouterr().out


def test_json_is_the_whole_output(bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    assert bento("ls", "--json") == 0
    assert json.loads(capsys.readouterr().out) == TABLE


def test_names_choose_rows_in_their_order(bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    assert bento("ls", "--json", "vault", "work", "vault") == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == ["vault", "work"]


def test_an_unknown_name_is_one_sentence_and_no_rows(bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    assert bento("ls", "--json", "work", "wrok") == 2
    assert capsys.readouterr() == ("", "bento: there is no domain 'wrok'; 'bento ls' shows those there are\n")


TERMINAL = {"TERM": "xterm-256color", "LANG": "en_US.UTF-8"}


def test_a_terminal_shows_labels_behind_a_dot_of_their_colour() -> None:
    assert Paint(TERMINAL, terminal=True).label("red", "#cc0000") == "\x1b[38;5;160m●\x1b[0m red"
    assert (
        Paint({**TERMINAL, "COLORTERM": "truecolor"}, terminal=True).label("red", "#cc0000")
        == "\x1b[38;2;204;0;0m●\x1b[0m red"
    )
    assert Paint({"TERM": "xterm"}, terminal=True).label("red", "#cc0000") == "\x1b[38;5;160m*\x1b[0m red"


@pytest.mark.parametrize(
    ("environment", "terminal"),
    [({**TERMINAL, "NO_COLOR": "1"}, True), ({**TERMINAL, "TERM": "dumb"}, True), (TERMINAL, False)],
    ids=["NO_COLOR", "a dumb terminal", "no terminal"],
)
def test_no_colours_where_they_are_not_wanted(environment: dict[str, str], terminal: bool) -> None:
    assert Paint(environment, terminal=terminal).label("red", "#cc0000") == "red"


def test_a_label_without_a_colour_is_a_name() -> None:
    assert Paint(TERMINAL, terminal=True).label("red", None) == "red"
    assert Paint(TERMINAL, terminal=True).label("red", "\x1b[31m") == "red"


@pytest.mark.parametrize(
    ("count", "expected"),
    [
        (0, "0 KiB"),
        (1, "1 KiB"),
        (1 << 20, "1.0 MiB"),
        (300 << 20, "300 MiB"),
        (9 << 30, "9216 MiB"),
        (20 << 30, "20.0 GiB"),
        (None, "-"),
    ],
)
def test_sizes_are_for_people(count: int | None, expected: str) -> None:
    assert size(count) == expected


def test_colours_do_not_disturb_the_columns(
    bento: Bento, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bento("ls") == 0
    plain = capsys.readouterr().out
    monkeypatch.setattr(listing, "Paint", lambda: Paint({"TERM": "xterm"}, terminal=True))
    assert bento("ls") == 0
    coloured = re.sub("\x1b\\[[0-9;]*m", "", capsys.readouterr().out)
    assert [line.index("Running") for line in coloured.splitlines() if "Running" in line] == [25, 25]
    assert [line.split() for line in coloured.replace("* ", "").splitlines()] == [
        line.split() for line in plain.splitlines()
    ]
