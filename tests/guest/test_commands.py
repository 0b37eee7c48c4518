"""Commands of a domain that call services of another: `qvm-run-vm`, `qvm-connect-tcp`, `qrexec-client-vm`."""

import os
import select
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bento.guest.commands.qrexec_client_vm import Options
from bento.wire.rpc import Stream
from tests.guest.harness import PATIENCE
from tests.guest.pair import Pair, ended, pair


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with pair(tmp_path_factory.mktemp("pair")) as made:
        yield made


def outcome(process: "subprocess.Popen[bytes]") -> tuple[bytes, bytes, int]:
    stdout, stderr = process.communicate(timeout=PATIENCE)
    return stdout, stderr, process.returncode


# qvm-run-vm.


def test_a_command_runs_in_the_other_domains_shell(two: Pair) -> None:
    process = two.type("qvm_run_vm", "work", "echo", "a  b;", "echo", "'it''s';", "exit", "7")
    asked = two.allow().asked
    assert asked is not None
    assert (asked.service, asked.argument, asked.target) == ("qubes.VMShell", "", "work")
    assert outcome(process) == (b"a b\nits\n", b"", 7), "the words are joined by spaces, and the shell's to interpret"


def test_what_follows_the_command_is_its_input_to_the_byte(two: Pair) -> None:
    data = os.urandom(1 << 15) + b"\nexit 9\n"
    process = two.type("qvm_run_vm", "work", "cat", stdin=data)
    reader = threading.Thread(target=lambda: results.append(outcome(process)))
    results: list[tuple[bytes, bytes, int]] = []
    reader.start()
    two.allow()
    reader.join(PATIENCE)
    assert results == [(data, b"", 0)]


@pytest.mark.parametrize(
    ("typed", "target"),
    [("--dispvm", "@dispvm"), ("@dispvm", "@dispvm"), ("$dispvm", "@dispvm"), ("@dispvm:base", "@dispvm:base")],
)
def test_in_a_disposable_the_shell_waits_for_the_session(two: Pair, typed: str, target: str) -> None:
    process = two.type("qvm_run_vm", typed, "true")
    asking = two.from_host.next_asked()
    assert asking.asked is not None
    assert (asking.asked.service, asking.asked.argument, asking.asked.target) == (
        "qubes.VMShell",
        "WaitForSession",
        target,
    )
    two.from_host.refuse(asking, 126)
    two.from_host.settle()
    assert ended(process) == (126, "qvm-run-vm: The call was refused.\n")


@pytest.mark.parametrize("words", [(), ("work",), ("", "true")])
def test_a_command_line_that_names_no_command_is_told_how_it_goes(two: Pair, words: tuple[str, ...]) -> None:
    code, said = ended(two.type("qvm_run_vm", *words))
    assert (code, said.startswith("usage: qvm-run-vm")) == (1, True)


# qrexec-client-vm.


@pytest.mark.parametrize(
    ("words", "stripped"),
    [
        (["work", "test.Service"], True),
        (["work", "test.Service", "program"], False),
        (["--use-stdin-socket", "work", "test.Service"], False),
        (["--use-stdin-socket", "-t", "work", "test.Service"], True),
    ],
)
def test_what_a_terminal_does_not_show_is_not_stripped(
    monkeypatch: pytest.MonkeyPatch, words: list[str], stripped: bool
) -> None:
    monkeypatch.setattr(os, "isatty", lambda _number: True)
    assert Options(words).filtered == {Stream.STDOUT: stripped, Stream.STDERR: True}


def test_a_reader_sees_the_end_of_output_while_the_call_goes_on(two: Pair) -> None:
    process = two.type("qrexec_client_vm", "work", "test.Service")
    asking = two.from_host.next_asked()
    two.from_host.accept(asking)
    two.from_host.give(asking, b"all")
    two.from_host.close_stdin(asking)
    two.from_host.settle()
    with process:
        assert process.stdout is not None
        assert process.stdout.read() == b"all"
        two.from_host.exit(asking, 42)
        two.from_host.settle()
        assert process.wait(PATIENCE) == 42


def test_one_socket_can_be_input_and_output(two: Pair) -> None:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            process = two.type("qrexec_client_vm", "--use-stdin-socket", "work", "test.Service", on=theirs)
        asking = two.from_host.next_asked()
        two.from_host.accept(asking)
        two.from_host.give(asking, b"all")
        two.from_host.close_stdin(asking)
        two.from_host.settle()
        with ours.makefile("rb") as said:
            assert said.read() == b"all"
        ours.sendall(b"answer")
        ours.shutdown(socket.SHUT_WR)
        two.from_host.until(lambda: bool(asking.ended))
        assert asking.stdout == b"answer"
        two.from_host.exit(asking, 42)
        two.from_host.settle()
        assert outcome(process)[2] == 42


def test_a_refused_call_is_told_in_the_fields_words(two: Pair) -> None:
    process = two.type("qrexec_client_vm", "work", "test.Service")
    two.refuse(126)
    assert outcome(process) == (b"", b"Request refused\n", 126)


def test_a_failed_service_is_the_outcome_whatever_the_local_program_says(two: Pair) -> None:
    two.serving.service("test.Fails", "exit 5")
    process = two.type("qrexec_client_vm", "work", "test.Fails", "/bin/cat")
    two.allow()
    assert outcome(process) == (b"", b"", 5)


def test_a_local_program_that_fails_is_the_outcome_of_a_service_that_does_not(two: Pair) -> None:
    two.serving.service("test.Works", "exit 0")
    process = two.type("qrexec_client_vm", "work", "test.Works", "/bin/false")
    two.allow()
    assert outcome(process)[2] == 1


def test_a_local_program_finds_the_persons_own_streams(two: Pair) -> None:
    two.serving.service("test.Cat", "cat")
    script = 'cat <&"$SAVED_FD_0"; exec 1>&-; cat >&"$SAVED_FD_1"'
    process = two.type("qrexec_client_vm", "work", "test.Cat", "/bin/bash", "-c", script, stdin=b"typed")
    two.allow()
    assert outcome(process) == (b"typed", b"", 0)


# qvm-connect-tcp.


@pytest.fixture
def port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_a_port_of_another_domain_becomes_one_of_this_domain(two: Pair, port: int) -> None:
    two.serving.settings("qubes.ConnectTCP", "skip-service-descriptor = true\n")
    link = two.serving.place("qubes.ConnectTCP")
    link.unlink(missing_ok=True)
    link.symlink_to("/dev/tcp/127.0.0.1")
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        there.listen()
        process = two.type("qvm_connect_tcp", "--foreground", f"{port}:work:{there.getsockname()[1]}")
        try:
            assert process.stdout is not None
            assert f"Port {port} of this domain" in process.stdout.readline().decode()
            for _ in range(2):
                talk_to(two, port, there)
        finally:
            process.kill()
            process.communicate()


def talk_to(two: Pair, port: int, there: socket.socket) -> None:
    """A question and its answer through the call, each side ending its own."""

    def answer() -> None:
        connection, _ = there.accept()
        with connection:
            while data := connection.recv(1 << 16):
                received.append(data)
            connection.sendall(b"answer")

    received: list[bytes] = []
    answering = threading.Thread(target=answer)
    answering.start()
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as here:
        here.sendall(b"question")
        here.shutdown(socket.SHUT_WR)
        asked = two.allow().asked
        assert asked is not None
        assert (asked.service, asked.target) == ("qubes.ConnectTCP", "work")
        assert here.recv(100) == b"answer"
        assert here.recv(100) == b""
    answering.join(PATIENCE)
    assert b"".join(received) == b"question"


def test_a_refused_connection_is_closed_and_the_port_stays(two: Pair, port: int) -> None:
    process = two.type("qvm_connect_tcp", "--foreground", f"{port}::80")
    try:
        assert process.stdout is not None
        process.stdout.readline()
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port), PATIENCE) as here:
                two.refuse(126)
                assert here.recv(100) == b""
    finally:
        process.kill()
        process.communicate()


def test_without_foreground_the_command_returns_and_the_port_stays(two: Pair, port: int) -> None:
    process = two.type("qvm_connect_tcp", f":@default:{port}")
    stdout, stderr, code = outcome(process)
    assert (stderr, code) == (b"", 0)
    assert b"the domain" in stdout or b"@default" in stdout
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as here:
        two.refuse(126)
        assert here.recv(100) == b""
    (background,) = [pid for pid in map(int, filter(str.isdigit, os.listdir("/proc"))) if listens(pid, port)]
    ending = os.pidfd_open(background)
    os.kill(background, 15)
    assert select.select([ending], [], [], PATIENCE)[0]
    os.close(ending)


def listens(pid: int, port: int) -> bool:
    """Whether it is the command in the background that was told of this port."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return f":@default:{port}".encode() in words


@pytest.mark.parametrize("words", [(), ("80",), ("work:80",), ("1:work:0",), ("70000:work:80",), ("1:work:80", "x")])
def test_a_command_line_that_names_no_port_is_told_how_it_goes(two: Pair, words: tuple[str, ...]) -> None:
    code, said = ended(two.type("qvm_connect_tcp", *words))
    assert (code, said.startswith("usage: qvm-connect-tcp")) == (1, True)


def test_a_port_that_is_taken_is_one_sentence(two: Pair) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, said = ended(two.type("qvm_connect_tcp", f"{port}:work:80"))
    assert (code, said) == (1, f"qvm-connect-tcp: port {port} of this domain cannot be used: Address already in use.\n")
