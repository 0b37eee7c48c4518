"""`bento top`: what domains take, on a terminal until a key, elsewhere once."""

import json
import signal
from typing import Any

import pytest

from bento.cli.render import Paint
from bento.cli.top import BACK, OTHER_SCREEN, clipped, page
from tests.cli.conftest import At, Bento
from tests.cli.fake import FakeManager

MIB = 1 << 20


def row(name: str, **more: object) -> dict[str, object]:
    return {
        "name": name,
        "class": "AppVM",
        "label": "red",
        "label_rgb": "#cc0000",
        "state": "Running",
        "uptime_seconds": 100.0,
        "cpu_seconds": 5.0,
        "resident_bytes": 200 * MIB,
        "proportional_bytes": 150 * MIB,
        "shared_bytes": 60 * MIB,
        "written_bytes": 20 * MIB,
        "scratch_bytes": 0,
        "disk_bytes": 30 * MIB,
        "limit_bytes": 400 * MIB,
        **more,
    }


def usage(*rows: dict[str, object], at: float = 1000.0) -> dict[str, Any]:
    host = {"at": at, "processors": 2, "total_bytes": 16 << 30, "available_bytes": 12 << 30, "kept_bytes": 1 << 30}
    return {"host": {**host, "pressure": 1.25}, "domains": list(rows), "spares": []}


USAGE = usage(row("work"), row("disp7", proportional_bytes=300 * MIB, scratch_bytes=70 * MIB, disk_bytes=0))


@pytest.fixture(autouse=True)
def _usage(manager: FakeManager) -> None:
    manager.answers["bento.vm.Usage"] = json.dumps(USAGE).encode()


def test_elsewhere_than_on_a_terminal_it_is_shown_once(bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    assert bento("top") == 0
    assert capsys.readouterr().out == (
        "12.0 GiB of 16.0 GiB memory available, pressure 1.2 %, 2 domains run\n"
        "\n"
        "NAME   STATE      CPU      RSS      PSS  SHARED  WRITTEN  VOLUMES   MEMORY\n"
        "disp7  Running  5.0 %  200 MiB  300 MiB  60 MiB   20 MiB   70 MiB  400 MiB\n"
        "work   Running  5.0 %  200 MiB  150 MiB  60 MiB   20 MiB   30 MiB  400 MiB\n"
        "total                        -  450 MiB       -   40 MiB  100 MiB  800 MiB\n"
    )


def test_a_spare_counts_and_is_told_apart_from_domains(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    bytes_of = dict.fromkeys(("resident", "proportional", "shared", "written", "scratch", "limit"), 10 * MIB)
    spare = {"base": "web", **{f"{name}_bytes": size for name, size in bytes_of.items()}}
    manager.answers["bento.vm.Usage"] = json.dumps({**usage(row("work")), "spares": [spare]}).encode()
    assert bento("top", "--once") == 0
    assert capsys.readouterr().out == (
        "12.0 GiB of 16.0 GiB memory available, pressure 1.2 %, one domain runs\n"
        "\n"
        "NAME   STATE      CPU      RSS      PSS  SHARED  WRITTEN  VOLUMES   MEMORY\n"
        "work   Running  5.0 %  200 MiB  150 MiB  60 MiB   20 MiB   30 MiB  400 MiB\n"
        "(web)  Spare        -   10 MiB   10 MiB  10 MiB   10 MiB   10 MiB   10 MiB\n"
        "total                        -  160 MiB       -   30 MiB   40 MiB  410 MiB\n"
    )


def test_json_has_every_figure(bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    assert bento("top", "--json") == 0
    assert json.loads(capsys.readouterr().out) == USAGE


def test_nothing_that_runs_is_a_page_too(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    manager.answers["bento.vm.Usage"] = json.dumps(usage()).encode()
    assert bento("top", "--once") == 0
    assert "0 domains run" in capsys.readouterr().out


PLAIN = Paint({}, terminal=False)


def cell(lines: list[str], name: str, head: str) -> str:
    """The cell of a table whose columns are flush right."""
    end = lines[2].index(head) + len(head)
    line = next(line for line in lines if line.startswith(name))
    return line[:end].rpartition("  ")[2]


def test_processor_time_is_since_the_look_before() -> None:
    before = usage(row("work", cpu_seconds=5.0), at=1000.0)
    now = usage(row("work", cpu_seconds=6.0), at=1004.0)
    assert cell(page(now, before, PLAIN), "work", "CPU") == "25.0 %"
    assert cell(page(now, None, PLAIN), "work", "CPU") == "6.0 %", "of its 100 seconds"


def test_a_domain_that_was_started_anew_meanwhile_has_no_negative_rate() -> None:
    before, now = usage(row("work", cpu_seconds=50.0)), usage(row("work", cpu_seconds=1.0), at=1002.0)
    assert cell(page(now, before, PLAIN), "work", "CPU") == "1.0 %"


def test_what_is_not_known_is_a_dash_and_its_whole_memory_counts() -> None:
    lines = page(usage(row("work", proportional_bytes=None, shared_bytes=None)), None, PLAIN)
    assert (cell(lines, "work", "PSS"), cell(lines, "work", "SHARED")) == ("-", "-")
    assert cell(lines, "total", "PSS") == "200 MiB"


def test_who_takes_most_comes_first() -> None:
    lines = page(usage(row("small", proportional_bytes=1), row("large")), None, PLAIN)
    assert [line.split()[0] for line in lines[3:]] == ["large", "small", "total"]


def test_labels_have_their_colour_on_a_terminal() -> None:
    assert "\x1b[38;5;160m" in page(usage(row("work")), None, Paint({}, terminal=True))[3]
    assert "\x1b" not in "".join(page(usage(row("work")), None, Paint({"NO_COLOR": "1"}, terminal=True)))


@pytest.mark.parametrize(
    ("line", "columns", "shown"),
    [
        ("plain", 3, "pla"),
        ("plain", 9, "plain"),
        ("\x1b[38;5;160m*\x1b[0m work", 3, "\x1b[38;5;160m*\x1b[0m w\x1b[0m"),
        ("\x1b[38;5;160m*\x1b[0m work", 1, "\x1b[38;5;160m*\x1b[0m"),
        ("", 5, ""),
    ],
)
def test_a_line_is_cut_where_the_terminal_ends(line: str, columns: int, shown: str) -> None:
    assert clipped(line, columns) == shown


@pytest.mark.parametrize("key", [b"q", b"\x03"])
def test_on_a_terminal_it_is_redrawn_until_a_key_and_leaves_that_as_it_was(at: At, key: bytes) -> None:
    terminal = at("top")
    shown = terminal.until(b"\x1b[J")
    assert OTHER_SCREEN.encode() in shown
    assert b"disp7" in shown
    terminal.type(key)
    terminal.until(BACK.encode())
    assert terminal.child.wait(60) == 0
    assert terminal.is_as_before()


def test_it_fits_the_terminal_whatever_that_becomes(at: At) -> None:
    terminal = at("top")
    terminal.until(b"\x1b[J")
    terminal.resize(4, 20)
    terminal.child.send_signal(signal.SIGWINCH)  # from the kernel, if it were the terminal of a session
    shown = terminal.until(b"more lines").rpartition(b"\x1b[H")[2]
    assert all(len(line.replace(b"\x1b[K", b"")) <= 20 for line in shown.split(b"\r\n")[:3])
    terminal.type(b"q")
    assert terminal.child.wait(60) == 0


def test_a_manager_that_ends_is_a_sentence_and_the_terminal_is_as_before(manager: FakeManager, at: At) -> None:
    manager.answers["bento.vm.Usage"] = b"no JSON"
    terminal = at("top")
    terminal.until(BACK.encode())
    assert terminal.child.wait(60) != 0
    assert terminal.is_as_before()
