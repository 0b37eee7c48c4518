"""Doctor, events, templates, status and version; and how the command itself ends."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import bento as package
from bento.cli import listing
from bento.wire.admin import Event, Failure, Fault
from tests.cli.conftest import SOURCE, Bento, Spawn
from tests.cli.fake import FakeManager

FINDINGS = [
    {"key": "kvm", "status": "warn", "value": {"usable": False}, "sentence": "No KVM.", "remedy": "sudo modprobe kvm"},
    {"key": "disk", "status": "ok", "value": {}, "sentence": "1 TiB free.\x1b[2J", "remedy": None},
]


def test_the_doctor_says_what_follows(manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    manager.answers["bento.Doctor"] = json.dumps(FINDINGS).encode()
    assert bento("doctor") == 0
    assert capsys.readouterr().out == ("warn  No KVM.\n        -> sudo modprobe kvm\nok    1 TiB free.^[[2J\n")
    assert bento("doctor", "--json") == 0
    assert json.loads(capsys.readouterr().out) == FINDINGS


EVENTS = [
    Event("", "connection-established"),
    Event("work", "domain-start", (("start_guid", "None"),)),
    Event("work", "property-set:label", (("newvalue", "a\nb\x1b[2J"),)),
]


def test_events_are_lines_until_the_manager_ends(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    manager.answers["admin.Events"] = [*EVENTS]
    assert bento("events") == 4
    assert capsys.readouterr() == (
        "- connection-established\nwork domain-start start_guid=None\nwork property-set:label newvalue=a^Jb^[[2J\n",
        "bento: the manager ended the connection\n",
    )


def test_events_are_an_object_a_line(manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    manager.answers["admin.Events"] = [*EVENTS, Failure(Fault.GENERAL, "that was all")]
    assert bento("events", "--json") == 4
    out, err = capsys.readouterr()
    assert [json.loads(line)["event"] for line in out.splitlines()] == [event.name for event in EVENTS]
    assert err == "bento: that was all\n"


def progress(phase: str, fraction: str = "") -> Event:
    return Event("debian-12", "progress", (("phase", phase), ("fraction", fraction)))


def test_a_build_is_silent_unwatched(manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    steps = [progress("fetching"), progress("fetching", "0.5"), progress("packing")]
    manager.answers["bento.template.Build"] = [*steps, b"0\0"]
    assert bento("template", "build", "debian-12", "--flavor", "minimal", "--name", "deb") == 0
    assert capsys.readouterr() == ("", "")
    assert manager.asked == ["bento.template.Build+debian-12 dom0 'flavor=minimal\\nname=deb\\n'"]


def test_a_build_that_fails_says_why(manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    manager.answers["bento.template.Build"] = [progress("fetching"), Failure(Fault.GENERAL, "the disk is full")]
    assert bento("template", "build", "debian-12") == 4
    assert capsys.readouterr().err.endswith("bento: the disk is full\n")


def test_a_build_that_the_manager_forgets_has_failed(manager: FakeManager, bento: Bento) -> None:
    manager.answers["bento.template.Build"] = [progress("fetching")]
    assert bento("template", "build", "debian-12") == 4


TEMPLATE = {
    "name": "debian-12",
    "flavor": "minimal",
    "version": 2,
    "digest": "ab" * 32,
    "size_bytes": 100 << 20,
    "created": 1_700_000_000.0,
    "packages": 120,
    "used_by": ["vault", "work"],
    "state": "Halted",
}
VERSIONS = [{"version": 2, "digest": "ab" * 32, "size_bytes": 100 << 20, "created": 1_700_000_000.0}]


def test_templates_are_listed(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.answers["bento.template.List"] = json.dumps([TEMPLATE, {**TEMPLATE, "name": "b", "used_by": []}]).encode()
    assert bento("template", "ls") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "FLAVOR", "VERSION", "SIZE", "PACKAGES", "BUILT", "USED", "BY"]
    assert lines[1].endswith("vault work")
    assert lines[2].endswith("-")
    assert bento("template", "ls", "--json") == 0
    assert json.loads(capsys.readouterr().out)[0] == TEMPLATE


def test_a_template_tells_all(manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    manager.answers["bento.template.Info+debian-12 dom0"] = json.dumps({**TEMPLATE, "versions": VERSIONS}).encode()
    assert bento("template", "info", "debian-12") == 0
    assert "ab" * 32 in capsys.readouterr().out
    assert bento("template", "info", "debian-12", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {**TEMPLATE, "versions": VERSIONS}


def test_only_a_template_is_removed_as_one(manager: FakeManager, bento: Bento) -> None:
    manager.answers["bento.template.Info"] = json.dumps(TEMPLATE).encode()
    manager.answers["admin.vm.Remove"] = b""
    assert bento("template", "rm", "debian-12") == 0
    assert manager.asked == ["bento.template.Info+debian-12 dom0", "admin.vm.Remove+ debian-12"]
    manager.requests.clear()
    manager.answers["bento.template.Info"] = Failure(Fault.NOT_FOUND, "'work' is no template")
    assert bento("template", "rm", "work") == 2
    assert manager.asked == ["bento.template.Info+work dom0"]


def test_the_managers_status(manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    manager.answers["bento.manager.Status"] = b'{"pid": 7, "data": "/d"}'
    assert bento("manager", "status") == 0
    assert capsys.readouterr().out == "MANAGER\nrunning  True\npid      7\ndata     /d\n"
    assert bento("manager", "status", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"running": True, "pid": 7, "data": "/d"}


def test_the_version(bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    assert bento("version") == bento("--version") == 0
    assert capsys.readouterr().out == f"bento {package.__version__}\n" * 2


def test_output_that_nobody_reads_any_more_ends_it_quietly(manager: FakeManager, spawn: Spawn) -> None:
    manager.answers["admin.Events"] = [Event("", f"event-{number}") for number in range(100_000)]
    child = spawn("events")
    assert child.stdout
    assert child.stderr
    assert child.stdout.readline() == b"- event-0\n"
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait() == 128 + signal.SIGPIPE


def test_a_short_answer_that_nobody_reads_is_no_error_either(manager: FakeManager, spawn: Spawn) -> None:
    manager.answers["bento.vm.Table"] = b"[]"
    read, write = os.pipe()
    os.close(read)
    child = spawn("ls", "--json", stdout=write)
    os.close(write)
    assert child.stderr
    assert child.stderr.read() == b""
    assert child.wait() == 128 + signal.SIGPIPE


@pytest.mark.parametrize("answer", [b"", b"9\0", b"garbage", b"2\0half"])
def test_an_answer_without_sense_is_one_sentence(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str], answer: bytes
) -> None:
    manager.answers["admin.vm.Start"] = [answer]
    assert bento("start", "work") == (4 if answer else 126)
    assert capsys.readouterr().err.count("\n") == 1


def test_a_mistake_of_bentos_own_is_a_sentence_and_a_log(
    home: Path, bento: Bento, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def mistaken(*_: object) -> int:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(listing, "ls", mistaken)
    assert bento("ls") == 4
    assert capsys.readouterr().err == (
        f"bento: Bento made a mistake (ZeroDivisionError); the details are in {home}/command.log\n"
    )
    assert "oops" in (home / "command.log").read_text()
    monkeypatch.setenv("BENTO_HOME", str(home / "not there"))
    assert bento("ls") == 4
    assert "BENTO_DEBUG=1" in capsys.readouterr().err
    monkeypatch.setenv("BENTO_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        bento("ls")


def test_every_command_explains_itself(bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    from bento.cli.verbs import VERBS

    assert bento("--help") == 0
    overview = capsys.readouterr().out
    for name in VERBS:
        assert name in overview
        with pytest.raises(SystemExit) as ending:
            bento(*name.split(), "--help")
        assert ending.value.code == 0
        assert f"usage: bento {name}" in capsys.readouterr().out


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_a_group_of_commands_explains_itself(bento: Bento, capsys: pytest.CaptureFixture[str], word: str) -> None:
    assert bento("manager", word) == 0
    assert capsys.readouterr().out == (
        "usage: bento manager COMMAND ...\n\n"
        "  manager status  show whether the manager runs\n"
        "  manager stop    stop the manager; domains run on\n\n"
        "bento manager COMMAND --help tells more about one of them.\n"
    )


def test_running_a_program_at_once_loads_hardly_anything() -> None:
    script = "import sys, bento.cli.__main__; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", f"import sys; sys.path.append({str(SOURCE)!r}); {script}"],
        capture_output=True,
        check=True,
    )
    loaded = set(done.stdout.decode().split())
    assert not loaded & {"argparse", "dataclasses", "inspect", "json", "pathlib", "re", "typing", "bento.wire.rpc"}
    assert not loaded & {"collections", "contextlib", "enum", "functools", "signal", "socket"}


def test_running_a_program_does_not_load_what_other_commands_need(spawn: Spawn, home: Path) -> None:
    script = "import sys, bento.cli.command, bento.cli.run; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], env=dict(os.environ, PYTHONPATH=str(SOURCE)), capture_output=True, check=True
    )
    loaded = set(done.stdout.decode().split())
    assert not loaded & {"subprocess", "asyncio", "logging", "datetime", "bento.cli.launch", "bento.cli.templates"}
