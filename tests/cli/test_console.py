"""Consoles and terminals: joined raw and given back, logs read without being obeyed, a program on a terminal."""

import os
import pty
import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bento.cli import console, launch, terminal
from bento.wire.admin import Failure, Fault, Request, encode_failure
from bento.wire.rpc import Data, Exit, Resize
from tests.cli.conftest import At, Bento, Spawn
from tests.cli.fake import FakeManager, Heard, say

HOSTILE = b"boot\r\n\x1b[2Jlogin: \xff\n"
HARMLESS = "boot\n^[[2Jlogin: \\xff\n"


@pytest.fixture
def log(manager: FakeManager, home: Path) -> Iterator[Path]:
    path = home / "console.log"
    path.write_bytes(HOSTILE)
    files: list[int] = []

    def opened(_: Request) -> int:
        files.append(os.open(path, os.O_RDONLY))
        return files[-1]

    manager.files["bento.vm.Log"] = opened
    yield path
    for file in files:
        os.close(file)


def test_a_log_is_shown_and_not_obeyed(log: Path, bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    assert bento("logs", "work") == 0
    assert capsys.readouterr().out == HARMLESS


def test_a_log_is_raw_when_the_person_says_so(
    log: Path, bento: Bento, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert bento("logs", "--raw", "work") == 0
    assert capsysbinary.readouterr().out == HOSTILE


def test_a_log_of_a_domain_that_never_ran_is_a_sentence(
    manager: FakeManager, bento: Bento, capsys: pytest.CaptureFixture[str]
) -> None:
    manager.answers["bento.vm.Log"] = Failure(Fault.NOT_RUNNING, "'work' never ran, so it has no log")
    assert bento("logs", "work") == 3
    assert capsys.readouterr() == ("", "bento: 'work' never ran, so it has no log\n")


def test_a_log_is_followed_where_it_grows_where_it_is_cut_and_where_it_is_replaced(log: Path, spawn: Spawn) -> None:
    child = spawn("logs", "--follow", "work")
    assert child.stdout
    assert child.stdout.read(len(HARMLESS)) == HARMLESS.encode()
    with open(log, "ab") as file:
        file.write(b"more\n")
    assert child.stdout.readline() == b"more\n"
    log.write_bytes(b"cut\n")
    assert child.stdout.readline() == b"cut\n"
    new = log.with_name("new.log")
    new.write_bytes(b"new\n")
    new.rename(log)
    assert child.stdout.readline() == b"new\n"
    child.send_signal(signal.SIGINT)
    assert child.wait() == 130


def test_a_log_that_is_followed_ends_with_the_managers_sentence_once_the_domain_is_removed(
    manager: FakeManager, log: Path, spawn: Spawn
) -> None:
    child = spawn("logs", "--follow", "work")
    assert child.stdout
    assert child.stdout.read(len(HARMLESS)) == HARMLESS.encode()
    del manager.files["bento.vm.Log"]
    manager.answers["bento.vm.Log"] = Failure(Fault.NOT_FOUND, "there is no domain called 'work'")
    log.unlink()
    assert child.communicate() == (b"", b"bento: there is no domain called 'work'\n")
    assert child.returncode == 2


@pytest.fixture
def memory() -> Iterator[int]:
    """A disposable's log, as the manager has it: it has no name in any directory, from the first."""
    fd = os.memfd_create("console")
    os.write(fd, HOSTILE)
    yield fd
    os.close(fd)


def test_a_log_in_memory_is_followed_where_it_grows_and_where_it_is_replaced_and_to_its_last_words(
    manager: FakeManager, memory: int, spawn: Spawn
) -> None:
    replaced = os.memfd_create("console")
    given: list[int] = []

    def opened(_: Request) -> int:
        match len(given):
            case 3:
                os.write(memory, b"more\n")
            case 5:
                os.write(replaced, b"new\n")
            case 8:
                del manager.files["bento.vm.Log"]
        now = memory if len(given) < 5 else replaced
        given.append(os.open(f"/proc/self/fd/{now}", os.O_RDONLY))
        return given[-1]

    def gone(_: Request) -> bytes:
        os.write(replaced, b"last words\n")
        return encode_failure(Failure(Fault.NOT_FOUND, "there is no domain called 'disp1'"))

    manager.files["bento.vm.Log"] = opened
    manager.answers["bento.vm.Log"] = gone
    child = spawn("logs", "--follow", "disp1")
    shown, complaint = child.communicate()
    for fd in (*given, replaced):
        os.close(fd)
    assert shown.decode() == f"{HARMLESS}more\nnew\nlast words\n"
    assert complaint == b"bento: there is no domain called 'disp1'\n"
    assert child.returncode == 2


def test_who_follows_a_log_in_memory_does_not_start_a_manager_that_was_stopped(
    manager: FakeManager,
    memory: int,
    home: Path,
    bento: Bento,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    started: list[object] = []
    monkeypatch.setattr(launch, "launch", started.append)

    def opened(_: Request) -> int:
        (home / "run" / "manager.sock").unlink()
        return reading

    reading = os.open(f"/proc/self/fd/{memory}", os.O_RDONLY)
    manager.files["bento.vm.Log"] = opened
    assert bento("logs", "--follow", "disp1") == 3
    os.close(reading)
    assert capsys.readouterr() == (HARMLESS, "bento: the manager is not running\n")
    assert started == []


def test_a_console_carries_bytes_both_ways(manager: FakeManager, spawn: Spawn) -> None:
    def echo(line: socket.socket) -> None:
        line.sendall(b"login: \x1b[1m")
        while data := line.recv(4096):
            line.sendall(data.upper())

    manager.legs["bento.vm.Console"] = echo
    child = spawn("console", "work")
    assert child.communicate(b"me\x1d\n") == (b"login: \x1b[1mME\x1d\n", b"")
    assert child.returncode == 0


def test_a_program_on_a_terminal_gets_every_key_and_the_size(manager: FakeManager, at: At) -> None:
    typed: list[bytes] = []

    def vi(leg: socket.socket) -> None:
        say(leg, Data(0, 1, b"\x1b[2Jraw"))
        message = Heard(leg).next()
        assert isinstance(message, Data)
        typed.append(bytes(message.payload))
        say(leg, Exit(0, 5))

    manager.legs["bento.vm.Call"] = vi
    person = at("run", "work", "--", "vi")
    person.until(b"\x1b[2Jraw")
    assert not person.is_as_before()
    person.type(b"\x03\x1d\x1a")
    assert person.child.wait() == 5
    assert typed == [b"\x03\x1d\x1a"]
    assert person.is_as_before()
    assert manager.asked == ["bento.vm.Call+qubes.VMExec+vi work 'autostart=yes\\nrows=30\\ncolumns=90\\n'"]


def test_a_new_size_of_the_terminal_is_passed_on(manager: FakeManager, at: At) -> None:
    sizes: list[tuple[int, int]] = []

    def top(leg: socket.socket) -> None:
        say(leg, Data(0, 1, b"ready"))
        message = Heard(leg).next()
        assert isinstance(message, Resize)
        sizes.append((message.rows, message.columns))
        say(leg, Exit(0, 0))

    manager.legs["bento.vm.Call"] = top
    person = at("run", "work", "--", "top")
    person.until(b"ready")
    person.resize(50, 132)
    person.child.send_signal(signal.SIGWINCH)  # from the kernel, if it were the terminal of a session
    assert person.child.wait() == 0
    assert sizes == [(50, 132)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminal_is_given_back_when_the_command_is_ended(manager: FakeManager, at: At, number: int) -> None:
    def sleeps(leg: socket.socket) -> None:
        say(leg, Data(0, 1, b"ready"))
        assert Heard(leg).next() is None

    manager.legs["bento.vm.Call"] = sleeps
    person = at("run", "work", "--", "sleep", "1000")
    person.until(b"ready")
    person.child.send_signal(number)
    assert person.child.wait() == 128 + number
    assert person.is_as_before()


def test_a_terminal_is_given_back_when_the_call_breaks(manager: FakeManager, at: At) -> None:
    manager.legs["bento.vm.Call"] = lambda leg: say(leg, Data(0, 1, b"ready"))
    person = at("run", "work", "--", "sleep", "1000")
    assert b"bento: the call to work broke" in person.until(b"its program ended")
    assert person.child.wait() == 125
    assert person.is_as_before()


def test_without_a_terminal_in_the_domain_the_persons_is_not_steered(manager: FakeManager, at: At) -> None:
    def hostile(leg: socket.socket) -> None:
        say(leg, Data(0, 1, b"\x1b[2J\xc3"), Data(0, 1, b"\xa9\n"), Data(0, 2, b"\x1b]0;x\x07 end\r"), Exit(0, 0))

    manager.legs["bento.vm.Call"] = hostile
    person = at("run", "--no-tty", "work", "--", "cat", "mail")
    shown = person.until(b"end^M")
    assert person.child.wait() == 0
    assert shown == "^[[2Jé\r\n^[]0;x^G end^M".encode()
    assert manager.asked == ["bento.vm.Call+qubes.VMExec+cat+mail work 'autostart=yes\\n'"]


def test_without_the_filter_the_persons_terminal_gets_it_all(manager: FakeManager, at: At) -> None:
    manager.legs["bento.vm.Call"] = lambda leg: say(leg, Data(0, 1, b"\x1b[1mbold"), Exit(0, 0))
    person = at("run", "--no-tty", "--no-filter", "work", "--", "ls", "--color")
    assert b"\x1b[1mbold" in person.until(b"bold")
    assert person.child.wait() == 0


def test_a_terminal_in_the_domain_can_be_had_without_one_here(manager: FakeManager, spawn: Spawn) -> None:
    manager.legs["bento.vm.Call"] = lambda leg: say(leg, Exit(0, 0))
    assert spawn("run", "--tty", "work", "--", "top").wait() == 0
    assert "rows=24\\ncolumns=80" in manager.asked[0]


def test_ctrl_bracket_leaves_a_console(manager: FakeManager, at: At) -> None:
    typed: list[bytes] = []

    def getty(line: socket.socket) -> None:
        line.sendall(b"login:")
        while data := line.recv(4096):
            typed.append(data)
            line.sendall(b"again:")

    manager.legs["bento.vm.Console"] = getty
    person = at("console", "work")
    assert b"Ctrl-] leaves it" in person.until(b"login:")
    person.type(b"\x03")
    person.until(b"again:")
    person.type(b"\x1d")
    assert person.child.wait() == 0
    assert typed == [b"\x03"]
    assert person.is_as_before()


def test_a_console_ends_with_its_domain(manager: FakeManager, at: At) -> None:
    manager.legs["bento.vm.Console"] = lambda line: line.sendall(b"reboot: Power down")
    person = at("console", "work")
    person.until(b"Power down")
    assert person.child.wait() == 0
    assert person.is_as_before()


def test_a_build_on_a_terminal_shows_how_far_it_is_and_takes_the_line_away(manager: FakeManager, at: At) -> None:
    from bento.wire.admin import Event

    details = (("phase", "fetching\x1b[2J"), ("fraction", "0.5"))
    manager.answers["bento.template.Build"] = [Event("deb", "progress", details), b"0\0"]
    person = at("template", "build", "debian-12")
    shown = person.until(b"\r\x1b[K")
    assert person.child.wait() == 0
    assert shown == b"\rdeb: fetching^[[2J   50 %\x1b[K\r\x1b[K"


def test_ctrl_c_gives_up_a_build(manager: FakeManager, at: At) -> None:
    from bento.wire.admin import Event

    news = [Event("deb", "progress", (("phase", f"phase {number}"), ("fraction", ""))) for number in range(100_000)]
    manager.answers["bento.template.Build"] = [*news]
    person = at("template", "build", "debian-12")
    person.until(b"phase 0")
    person.child.send_signal(signal.SIGINT)
    assert person.child.wait() == 130
    assert manager.gone.wait(20)


def test_a_terminal_that_does_not_know_its_size_has_the_usual_one() -> None:
    with open(os.devnull) as nothing:
        assert terminal.rows_and_columns(nothing.fileno()) == (24, 80)
    outer, inner = pty.openpty()
    try:
        assert terminal.rows_and_columns(inner) == (24, 80)
    finally:
        os.close(outer)
        os.close(inner)


def test_the_key_that_leaves_a_console_is_the_one_it_names() -> None:
    assert bytes([ord("]") & 0x1F]) == console.LEAVE
