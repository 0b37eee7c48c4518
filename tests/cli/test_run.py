"""`bento run` against scripted ends of a leg: streams, their ends, exit codes, and peers that stall or break."""

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bento.wire.admin import Failure, Fault
from bento.wire.frames import encode_frame
from bento.wire.rpc import MAX_DATA, Accepted, Data, Eof, Exit, Refused
from tests.cli.conftest import PROGRAM, SOURCE, Bento, Spawn
from tests.cli.fake import FakeManager, Heard, say

SIZE = 100 << 20


def cat(leg: socket.socket) -> None:
    heard = Heard(leg)
    while True:
        match heard.next():
            case Data(payload=data):
                say(leg, Data(0, 1, data))
            case Eof():
                say(leg, Eof(0, 1), Eof(0, 2), Exit(0, 0))
                return
            case other:
                raise AssertionError(other)


def exits(code: int) -> "tuple[Data, Exit]":
    return Data(0, 2, b"complaint\n"), Exit(0, code)


def test_what_goes_in_comes_out(manager: FakeManager, spawn: Spawn) -> None:
    manager.legs["bento.vm.Call"] = cat
    child = spawn("run", "work", "--", "cat")
    assert child.communicate(b"hi\n") == (b"hi\n", b"")
    assert child.returncode == 0
    assert manager.asked == ["bento.vm.Call+qubes.VMExec+cat work 'autostart=yes\\n'"]


@pytest.mark.parametrize("code", [0, 1, 7, 125, 126, 127, 255])
def test_the_programs_exit_code_is_the_commands(manager: FakeManager, spawn: Spawn, code: int) -> None:
    manager.legs["bento.vm.Call"] = lambda leg: say(leg, *exits(code))
    child = spawn("run", "work", "--", "sh", "-c", f"exit {code}")
    assert child.communicate() == (b"", b"complaint\n")
    assert child.returncode == code


def test_the_words_arrive_as_they_are(manager: FakeManager, spawn: Spawn) -> None:
    manager.legs["bento.vm.Call"] = lambda leg: say(leg, Exit(0, 0))
    spawn("run", "--user", "root", "--no-autostart", "work", "--", "sh", "-c", "exit 7; -- é").communicate()
    assert manager.asked == [
        "bento.vm.Call+qubes.VMExec+sh+--c+exit-207-3B-20-----20-C3-A9 work 'autostart=no\\nuser=root\\n'"
    ]


def test_a_hundred_megabytes_come_out_whole(manager: FakeManager, spawn: Spawn) -> None:
    def zeros(leg: socket.socket) -> None:
        frame = encode_frame(Data(0, 1, bytes(MAX_DATA)))
        for _ in range(SIZE // MAX_DATA):
            leg.sendall(frame)
        say(leg, Exit(0, 0))

    manager.legs["bento.vm.Call"] = zeros
    child = spawn("run", "work", "--", "head", "-c", "100M", "/dev/zero")
    count = subprocess.run(["wc", "-c"], stdin=child.stdout, capture_output=True, check=True).stdout
    assert (child.wait(), int(count)) == (0, SIZE)


def test_a_hundred_megabytes_go_in_whole(manager: FakeManager, spawn: Spawn, tmp_path: Path) -> None:
    heard_bytes = []

    def count(leg: socket.socket) -> None:
        heard, total = Heard(leg), 0
        while isinstance(message := heard.next(), Data):
            total += len(message.payload)
        heard_bytes.append(total)
        say(leg, Exit(0, 0))

    manager.legs["bento.vm.Call"] = count
    big = tmp_path / "big"
    big.touch()
    os.truncate(big, SIZE)
    with open(big, "rb") as file:
        child = spawn("run", "work", "--", "wc", "-c", stdin=file.fileno())
        assert child.wait() == 0
    assert heard_bytes == [SIZE]


def test_input_that_nobody_reads_does_not_hold_up_the_output(manager: FakeManager, spawn: Spawn) -> None:
    def deaf(leg: socket.socket) -> None:
        say(leg, Data(0, 1, b"out"), Exit(0, 3))

    manager.legs["bento.vm.Call"] = deaf
    with open("/dev/zero", "rb") as endless:
        child = spawn("run", "work", "--", "true", stdin=endless.fileno())
        assert child.communicate()[0] == b"out"
        assert child.returncode == 3


def test_output_that_nobody_reads_does_not_hold_up_the_input(manager: FakeManager, spawn: Spawn) -> None:
    """The reader takes no output before all of its input has gone: the far end hears it all the same."""
    asked = 4 << 20

    def both(leg: socket.socket) -> None:
        say(leg, Data(0, 1, bytes(MAX_DATA)))  # more than a pipe holds
        heard, total = Heard(leg), 0
        while isinstance(message := heard.next(), Data):
            total += len(message.payload)
        say(leg, Exit(0, 0 if total == asked else 1))

    manager.legs["bento.vm.Call"] = both
    child = spawn("run", "work", "--", "both")
    assert child.stdin
    assert child.stdout
    child.stdin.write(bytes(asked))
    child.stdin.close()
    assert len(child.stdout.read()) == MAX_DATA
    assert child.wait() == 0


def test_a_reader_that_goes_away_ends_it_quietly(manager: FakeManager, spawn: Spawn) -> None:
    def endless(leg: socket.socket) -> None:
        while True:
            say(leg, Data(0, 1, b"y\n" * 1000))

    manager.legs["bento.vm.Call"] = endless
    child = spawn("run", "work", "--", "yes")
    assert child.stdout
    assert child.stderr
    assert child.stdout.read(2) == b"y\n"
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait() == 128 + signal.SIGPIPE
    assert manager.gone.wait(20)


def test_ctrl_c_drops_the_call(manager: FakeManager, spawn: Spawn) -> None:
    def sleeps(leg: socket.socket) -> None:
        say(leg, Data(0, 1, b"begun"))
        assert Heard(leg).next() is None
        manager.gone.set()

    manager.legs["bento.vm.Call"] = sleeps
    child = spawn("run", "work", "--", "sleep", "1000")
    assert child.stdout
    assert child.stderr
    assert child.stdout.read(5) == b"begun"
    child.send_signal(signal.SIGINT)
    assert child.wait() == 130
    assert child.stderr.read() == b""
    assert manager.gone.wait(20)


@pytest.mark.parametrize(
    "said",
    [b"", b"\x07\0\0", b"\xff\0\0\0\0", b"\x07\xff\xff\xff\xff", encode_frame(Eof(0, 1))],
    ids=["nothing", "half a frame", "an unknown message", "a frame without bounds", "no exit code"],
)
def test_a_call_that_breaks_is_told_apart_from_a_program_that_fails(
    manager: FakeManager, spawn: Spawn, said: bytes
) -> None:
    manager.legs["bento.vm.Call"] = lambda leg: leg.sendall(said)
    child = spawn("run", "work", "--", "true", stdin=subprocess.DEVNULL)
    _, errors = child.communicate()
    assert child.returncode == 125
    assert errors.startswith(b"bento: the call to work broke")
    assert errors.count(b"\n") == 1


def test_a_refusal_over_the_leg_is_an_exit_code(manager: FakeManager, spawn: Spawn) -> None:
    manager.legs["bento.vm.Call"] = lambda leg: say(leg, Accepted(0), Refused(0, 126))
    assert spawn("run", "work", "--", "true").wait() == 126


@pytest.mark.parametrize(
    ("fault", "code"), [(Fault.NOT_FOUND, 2), (Fault.NOT_RUNNING, 3), (Fault.GENERAL, 4), (Fault.REFUSED, 126)]
)
def test_a_call_that_may_not_be_ends_with_the_managers_sentence(
    manager: FakeManager, spawn: Spawn, fault: Fault, code: int
) -> None:
    manager.answers["bento.vm.Call"] = Failure(fault, "'work' is 100% not there.")
    child = spawn("run", "work", "--", "true")
    assert child.communicate() == (b"", b"bento: 'work' is 100% not there.\n")
    assert child.returncode == code


def test_an_answer_without_a_file_is_the_managers_fault(manager: FakeManager, spawn: Spawn) -> None:
    manager.answers["bento.vm.Call"] = b""
    child = spawn("run", "work", "--", "true")
    assert child.communicate()[1].startswith(b"bento: the manager answered bento.vm.Call without the file")
    assert child.returncode == 4


@pytest.mark.parametrize(
    "words",
    [
        ("run", "--disposable=", "--", "ls"),
        ("run", "work"),
        ("run", "work", "ls", "-l"),
        ("run", "work", "ls"),
        ("run", "work", "--"),
    ],
)
def test_the_program_stands_behind_a_double_dash(
    bento: Bento, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    assert bento(*words) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_a_disposable_is_asked_for_as_the_options_say(manager: FakeManager, spawn: Spawn) -> None:
    manager.legs["bento.vm.Call"] = lambda leg: say(leg, Exit(0, 0))
    options = ("--label", "red", "--netvm=none", "--fresh")
    for words in (
        ("--disposable",),
        ("--disposable=web",),
        ("--user=root", "--disposable"),
        ("--disposable=web", *options),
    ):
        assert spawn("run", *words, "--", "true").wait() == 0
    assert manager.asked == [
        "bento.vm.Call+qubes.VMExec+true dom0 'autostart=yes\\ndisposable=yes\\n'",
        "bento.vm.Call+qubes.VMExec+true web 'autostart=yes\\ndisposable=yes\\n'",
        "bento.vm.Call+qubes.VMExec+true dom0 'autostart=yes\\ndisposable=yes\\nuser=root\\n'",
        "bento.vm.Call+qubes.VMExec+true web 'autostart=yes\\nlabel=red\\nnetvm=none\\nfresh=yes\\ndisposable=yes\\n'",
    ]


def test_it_runs_in_a_domain_or_in_a_disposable(bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    assert bento("run", "--disposable", "--fresh", "web", "--", "true") == 2
    sentence = "it runs in web or in a disposable; --disposable=web is one made from that"
    assert capsys.readouterr().err == f"bento: {sentence}\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--disposable", "--"), "put the program behind --, as in: bento run --disposable -- ls -l"),
        (("--disposable=web",), "put the program behind --, as in: bento run --disposable=web -- ls -l"),
        (("--disposable=", "--", "true"), "say what it is made from, as in: bento run --disposable=web -- ls -l"),
        (("--label", "red", "work", "--", "true"), "--label is for a new disposable, and work is none"),
        (("--fresh", "work", "--", "true"), "--fresh is for a new disposable, and work is none"),
    ],
)
def test_what_is_wrong_about_a_disposable_is_said_as_it_was_typed(
    bento: Bento, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    assert bento("run", *words) == 2
    assert capsys.readouterr().err == f"bento: {sentence}\n"


def test_a_domain_that_is_missing_is_all_that_is_missed(bento: Bento, capsys: pytest.CaptureFixture[str]) -> None:
    assert bento("run") == 2
    sentence = "name the domain to run it in, or say --disposable, as in: bento run work -- ls -l"
    assert capsys.readouterr().err == f"bento: {sentence}\n"


def test_closed_standard_files_do_not_become_the_leg(manager: FakeManager) -> None:
    manager.legs["bento.vm.Call"] = lambda leg: say(leg, Data(0, 1, b"lost"), Data(0, 2, b"lost"), Exit(0, 9))
    script = 'exec "$0" -c "$1" run work -- true <&- >&- 2>&-'
    environment = dict(os.environ, PYTHONPATH=str(SOURCE))
    assert subprocess.run(["sh", "-c", script, sys.executable, PROGRAM], env=environment, check=False).returncode == 9
