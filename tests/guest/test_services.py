"""Services as a domain has them installed: where they lie, what they are told, how their settings change it.

The cases are those of the field's agent, told again: what its tests expect of a service, a service here gets.
"""

import os
import select
import socket
import threading
from collections.abc import Iterator
from fcntl import LOCK_EX, LOCK_UN, flock
from pathlib import Path

import pytest

from bento.wire.rpc import WINDOW, ExitCode, Stream
from bento.wire.vmexec import encode_command
from tests.guest.harness import PATIENCE, Agent, Host, Marks

RUN, LOCAL, ETC = "run/qubes-rpc", "usr/local/etc/qubes-rpc", "etc/qubes-rpc"


# Where a service lies.


def test_what_runs_now_comes_before_the_persons_own_and_that_before_the_templates(running: Agent, host: Host) -> None:
    for directory in (ETC, LOCAL, RUN):
        running.service("test.Where", f"echo {directory}", directory=directory)
        assert host.run("test.Where").stdout == f"{directory}\n".encode()


def test_a_service_for_one_argument_wins_over_the_general_one_wherever_they_lie(running: Agent, host: Host) -> None:
    running.service("test.Where", "echo general", directory=RUN)
    running.service("test.Where+this", "echo special", directory=ETC)
    assert host.run("test.Where", "this").stdout == b"special\n"
    assert host.run("test.Where", "that").stdout == b"general\n"


def test_a_call_without_argument_finds_the_service_for_the_empty_one(running: Agent, host: Host) -> None:
    running.service("test.Where", "echo general")
    running.service("test.Where+", "echo empty")
    assert host.run("test.Where").stdout == b"empty\n"


def test_a_name_of_255_bytes_is_a_file_and_a_longer_one_is_not_looked_for(running: Agent, host: Host) -> None:
    longest = "x" * (255 - len("test.Where+"))
    running.service(f"test.Where+{longest}", "echo special")
    running.service("test.Where", "echo general")
    assert host.run("test.Where", longest).stdout == b"special\n"
    assert host.run("test.Where", longest + "x").stdout == b"general\n"


def test_a_link_to_a_service_is_that_service(running: Agent, host: Host) -> None:
    running.service(".real", 'echo "$1 $QREXEC_SERVICE_FULL_NAME"')
    running.place("test.Link").symlink_to(".real")
    assert host.run("test.Link", "arg").stdout == b"arg test.Link+arg\n"


def test_a_link_to_nothing_is_no_service(running: Agent, host: Host) -> None:
    running.place("test.Link", LOCAL).symlink_to("not-there")
    assert host.run("test.Link").code == ExitCode.NOT_FOUND
    running.service("test.Link", "echo template")
    assert host.run("test.Link").stdout == b"template\n"


def test_a_link_that_cannot_be_followed_fails_the_call_instead_of_giving_it_to_the_general_service(
    running: Agent, host: Host
) -> None:
    running.place("test.Link+arg", LOCAL).symlink_to("/dev/null/nothing")
    running.service("test.Link", "echo general")
    call = host.run("test.Link", "arg")
    assert (bytes(call.stdout), call.code) == (b"", ExitCode.FAULT)


def test_a_file_that_is_not_executable_is_a_fault_and_does_not_fall_through(running: Agent, host: Host) -> None:
    running.service("test.Data", "echo mine", directory=LOCAL).chmod(0o644)
    running.service("test.Data", "echo template")
    call = host.run("test.Data")
    assert (bytes(call.stdout), call.code) == (b"", ExitCode.FAULT)
    assert b"neither executable nor a socket" in call.stderr


def test_a_script_without_a_first_line_runs_in_a_shell(running: Agent, host: Host) -> None:
    path = running.place("test.Script")
    path.write_text('echo "$0 $1"; exit 3\n')
    path.chmod(0o755)
    assert host.run("test.Script", "arg").outcome == (f"{path} arg\n".encode(), b"", 3)


@pytest.mark.parametrize("content", [b"\0", b"\x7fELF\0\0\n", b"echo no\0\n"])
def test_what_is_neither_a_program_nor_a_script_is_a_fault(running: Agent, host: Host, content: bytes) -> None:
    path = running.place("test.Broken")
    path.write_bytes(content)
    path.chmod(0o755)
    call = host.run("test.Broken")
    assert call.code == ExitCode.FAULT
    assert call.stdout == b""


def test_a_program_whose_interpreter_is_missing_is_a_fault(running: Agent, host: Host) -> None:
    path = running.place("test.Script")
    path.write_text("#!/no/such/interpreter\n")
    path.chmod(0o755)
    assert host.run("test.Script").code == ExitCode.FAULT


def test_only_the_admin_domain_learns_why_a_service_cannot_be_started(running: Agent, host: Host) -> None:
    running.service("test.Data", "").chmod(0o644)
    assert b"test.Data" in host.run("test.Data").stderr
    assert host.run("test.Data", source="random").stderr == b""


def test_a_caller_learns_that_its_own_command_is_unknown(host: Host) -> None:
    call = host.run("qubes.VMExec", "no.such", source="random")
    assert (call.code, b"no.such: command not found" in call.stderr) == (ExitCode.NOT_FOUND, True)


# What it is told.

SHOW = """\
printf '%s|' "${1-none}" "$QREXEC_REMOTE_DOMAIN" "$QREXEC_SERVICE_FULL_NAME" "${QREXEC_SERVICE_ARGUMENT-unset}" \
    "$QREXEC_REQUESTED_TARGET_TYPE" "${QREXEC_REQUESTED_TARGET-unset}" "${QREXEC_REQUESTED_TARGET_KEYWORD-unset}"
"""


def test_a_service_is_told_its_argument_in_both_ways(running: Agent, host: Host) -> None:
    running.service("test.Show", SHOW)
    assert host.run("test.Show", "a+b", source="random").stdout == b"a+b|random|test.Show+a+b|a+b||unset|unset|"


def test_a_call_of_the_admin_domain_without_argument_has_none(running: Agent, host: Host) -> None:
    running.service("test.Show", SHOW)
    assert host.run("test.Show").stdout == b"none|dom0|test.Show|unset||unset|unset|"


def test_a_call_of_another_domain_always_has_an_argument_and_an_empty_one_is_no_word(
    running: Agent, host: Host
) -> None:
    running.service("test.Show", SHOW)
    assert host.run("test.Show", source="random").stdout == b"none|random|test.Show+|||unset|unset|"


def test_a_service_is_told_whom_the_caller_named(running: Agent, host: Host) -> None:
    running.service("test.Show", SHOW)
    named = host.run("test.Show", source="random", target="work")
    assert named.stdout == b"none|random|test.Show+||name|work|unset|"
    keyword = host.run("test.Show", source="random", target="@dispvm:base")
    assert keyword.stdout == b"none|random|test.Show+||keyword|unset|dispvm:base|"


def test_nothing_of_an_agents_own_environment_reaches_a_service(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.guest.harness import agent

    for name in ("QREXEC_SERVICE_ARGUMENT", "QREXEC_REQUESTED_TARGET", "QREXEC_REQUESTED_TARGET_KEYWORD"):
        monkeypatch.setenv(name, "left over")
    with agent(tmp_path) as running, running.host() as host:
        running.service("test.Show", SHOW)
        assert host.run("test.Show").stdout == b"none|dom0|test.Show|unset||unset|unset|"


def test_a_service_can_find_its_neighbours(running: Agent, host: Host) -> None:
    running.service("test.Neighbour", "echo here")
    running.service("test.Ask", 'PATH="$QREXEC_SERVICE_PATH" exec test.Neighbour')
    assert host.run("test.Ask").stdout == b"here\n"


# Settings.


def test_settings_for_one_argument_win_over_the_general_ones(running: Agent, host: Host) -> None:
    running.service("test.Who", "echo $USER")
    running.settings("test.Who", "force-user = 'alice'\n")
    running.settings("test.Who+arg", "force-user = 'bob'\n")
    assert host.run("test.Who", user="carol").stdout == b"alice\n"
    assert host.run("test.Who", "arg", user="carol").stdout == b"bob\n"


def test_settings_of_this_run_come_before_the_persons_and_those_before_the_templates(
    running: Agent, host: Host
) -> None:
    running.service("test.Who", "echo $USER")
    assert host.run("test.Who").stdout == b"user\n"
    for directory in ("etc/qubes/rpc-config", "usr/local/etc/qubes/rpc-config", "run/qubes/rpc-config"):
        name = directory.partition("/")[0]
        running.settings("test.Who", f"force-user = '{name}'\n", directory=directory)
        assert host.run("test.Who").stdout == f"{name}\n".encode()


def test_settings_that_are_malformed_fail_the_call_and_say_where(running: Agent, host: Host) -> None:
    running.service("test.Who", "echo $USER")
    path = running.settings("test.Who+arg", "# why\nwait-for-session = 00\n")
    call = host.run("test.Who", "arg")
    assert (bytes(call.stdout), call.code) == (b"", ExitCode.FAULT)
    assert f"{path}:2: expected".encode() in call.stderr


def test_settings_that_cannot_be_looked_at_fail_the_call(running: Agent, host: Host) -> None:
    running.service("test.Who", "echo $USER")
    running.place("test.Who", "etc/qubes/rpc-config").symlink_to("/dev/null/nothing")
    assert host.run("test.Who").code == ExitCode.FAULT


def test_a_directory_of_settings_that_is_a_broken_link_fails_every_call(running: Agent, host: Host) -> None:
    running.service("test.Who", "echo $USER")
    running.place("rpc-config", "etc/qubes").symlink_to("/dev/null/nothing")
    assert host.run("test.Who").code == ExitCode.FAULT


def test_settings_of_sockets_mean_nothing_to_a_program(running: Agent, host: Host) -> None:
    running.service("test.Cat", "cat")
    running.settings("test.Cat", "exit-on-service-eof = true\nexit-on-client-eof = true\nskip-service-descriptor = 1\n")
    assert host.run("test.Cat", stdin=b"all").outcome == (b"all", b"", 0)


# Waiting for the session.

WAITED = 'read user; echo "$# $QREXEC_REMOTE_DOMAIN ${QREXEC_SERVICE_FULL_NAME-unset} $user" > %s'


@pytest.mark.parametrize("settings_for", ["test.Late", "test.Late+arg"])
def test_a_service_that_wants_the_session_begins_when_waiting_for_it_is_over(
    running: Agent, host: Host, tmp_path: Path, settings_for: str
) -> None:
    log = tmp_path / "log"
    running.service("qubes.WaitForSession", WAITED % log)
    running.service("test.Late", f"cat {log}; read line; echo $line")
    running.settings(settings_for, "wait-for-session = 1 # line comment\nforce-user = 'alice'\n")
    call = host.serve("test.Late", "arg", source="random", stdin=None)
    host.give(call, b"early\n")
    assert host.finish(call).outcome == (b"0 random unset alice\nearly\n", b"", 0), "and needs no end of its stdin"


def test_a_service_begins_even_if_waiting_for_the_session_failed(running: Agent, host: Host) -> None:
    running.service("qubes.WaitForSession", "exit 1")
    running.service("test.Late", "echo begun")
    running.settings("test.Late", "wait-for-session = 1\n")
    assert host.run("test.Late").stdout == b"begun\n"


def test_what_a_caller_says_while_its_service_waits_is_held(running: Agent, host: Host, marks: Marks) -> None:
    gate = running.root / "gate"
    os.mkfifo(gate)
    running.service("qubes.WaitForSession", f"echo waiting >{marks.path}; cat {gate}")
    running.service("test.Late", "cat")
    running.settings("test.Late", "wait-for-session = 1\n")
    data = os.urandom(1 << 20)
    call = host.serve("test.Late", stdin=data)
    host.settle()
    marks.lines(1)
    assert len(call.stdin) == len(data) - WINDOW
    gate.write_bytes(b"")
    assert host.finish(call).outcome == (data, b"", 0)


def test_a_caller_that_goes_while_its_service_waits_ends_the_wait(running: Agent, host: Host, marks: Marks) -> None:
    script = f"trap 'echo hung up >{marks.path}; kill $!; exit' HUP; sleep 1000 & echo waiting >{marks.path}; wait"
    running.service("qubes.WaitForSession", script)
    running.service("test.Late", f"echo begun >{marks.path}")
    running.settings("test.Late", "wait-for-session = 1\n")
    call = host.serve("test.Late", stdin=None)
    host.settle()
    assert marks.lines(1) == ["waiting"]
    host.drop(call)
    host.settle()
    assert marks.lines(1) == ["hung up"]


def test_without_a_session_to_come_nobody_waits(running: Agent, host: Host) -> None:
    running.settings("qubes.VMExecGUI", "wait-for-session = 1\n")
    assert host.run("qubes.VMExecGUI", "echo+hi").stdout == b"hi\n"
    assert host.run("qubes.WaitForSession", stdin=b"user\n").outcome == (b"", b"", 0)


def test_with_a_session_to_come_a_program_waits_until_it_is_there(running: Agent, host: Host) -> None:
    running.settings("qubes.VMExecGUI", "wait-for-session = 1\n")
    with running.place("session", "run/bento").open("w") as session:
        flock(session, LOCK_EX)
        call = host.serve("qubes.VMExecGUI", "echo+hi")
        asked = host.serve("qubes.WaitForSession", stdin=b"user\n")
        host.settle()
        assert (call.code, asked.code) == (None, None)
        flock(session, LOCK_UN)
        assert host.finish(call).stdout == b"hi\n"
        assert host.finish(asked).code == 0


# Sockets.


class Server:
    """A program of the domain that listens where a service is looked for. One connection at a time."""

    def __init__(self, listener: socket.socket, host: Host) -> None:
        self.listener = listener
        self._host = host
        listener.settimeout(PATIENCE)

    def accept(self) -> socket.socket:
        """The connection of the next call that the host has begun."""
        self._host.retry(self._is_wanted)
        connection, _ = self.listener.accept()
        connection.settimeout(PATIENCE)
        return connection

    def _is_wanted(self) -> bool:
        self._host.settle()
        return bool(select.select([self.listener], [], [], 0)[0])


@pytest.fixture
def server(running: Agent, host: Host) -> Iterator[Server]:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(running.place("test.Socket")))
        listener.listen(1)
        yield Server(listener, host)


def received(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        assert more, data
        data += more
    return data


def test_a_socket_is_told_who_calls_what_and_then_gets_the_bytes(host: Host, server: Server) -> None:
    call = host.serve("test.Socket", "arg", source="random", target="work", stdin=b"in")
    with server.accept() as connection:
        expected = b"test.Socket+arg random\0in"
        assert received(connection, len(expected)) == expected
        assert connection.recv(1) == b""
        connection.sendall(b"out")
    assert host.finish(call).outcome == (b"out", b"", 0)
    assert call.ended == {Stream.STDOUT, Stream.STDERR}


@pytest.mark.parametrize(("source", "told"), [("dom0", b"test.Socket dom0\0"), ("random", b"test.Socket+ random\0")])
def test_a_socket_is_told_of_a_missing_argument_as_a_program_is(
    host: Host, server: Server, source: str, told: bytes
) -> None:
    call = host.serve("test.Socket", source=source)
    with server.accept() as connection:
        assert received(connection, len(told)) == told
    assert host.finish(call).code == 0


def test_a_socket_that_wants_no_descriptor_gets_the_bytes_only(running: Agent, host: Host, server: Server) -> None:
    running.settings("test.Socket", "skip-service-descriptor = true\n")
    call = host.serve("test.Socket", "arg", stdin=b"in")
    with server.accept() as connection:
        assert received(connection, 2) == b"in"
        assert connection.recv(1) == b""
    assert host.finish(call).outcome == (b"", b"", 0)


def test_a_socket_has_no_stderr(host: Host, server: Server) -> None:
    call = host.serve("test.Socket", stdin=None)
    host.until(lambda: Stream.STDERR in call.ended)
    host.drop(call)


def test_a_half_closed_socket_stays_usable_either_way(host: Host, server: Server) -> None:
    first = host.serve("test.Socket", stdin=b"")
    with server.accept() as connection:
        while connection.recv(100):
            pass
        connection.sendall(b"after your end")
        host.until(lambda: first.stdout == b"after your end")
    assert host.finish(first).code == 0
    second = host.serve("test.Socket", stdin=None)
    with server.accept() as connection:
        connection.shutdown(socket.SHUT_WR)
        host.until(lambda: Stream.STDOUT in second.ended)
        received(connection, len(b"test.Socket dom0\0"))
        host.give(second, b"after your end")
        host.settle()
        assert received(connection, 14) == b"after your end"
        host.close_stdin(second)
        assert host.finish(second).code == 0


def test_a_server_that_closes_ends_the_call_though_its_caller_does_not(host: Host, server: Server) -> None:
    call = host.serve("test.Socket", stdin=None)
    server.accept().close()
    assert host.finish(call).outcome == (b"", b"", 0)


def test_a_call_may_be_over_when_its_caller_has_sent_everything(running: Agent, host: Host, server: Server) -> None:
    running.settings("test.Socket", "exit-on-client-eof = true\nskip-service-descriptor = true\n")
    call = host.serve("test.Socket", stdin=b"message")
    with server.accept() as connection:
        assert received(connection, 7) == b"message"
        assert host.finish(call).outcome == (b"", b"", 0)
        assert call.ended == {Stream.STDOUT, Stream.STDERR}
        assert connection.recv(1) == b""


def test_a_call_may_be_over_when_its_server_has_sent_everything(running: Agent, host: Host, server: Server) -> None:
    running.settings("test.Socket", "exit-on-service-eof = true\n")
    call = host.serve("test.Socket", stdin=None)
    with server.accept() as connection:
        connection.sendall(b"all")
        connection.shutdown(socket.SHUT_WR)
        assert host.finish(call).outcome == (b"all", b"", 0)


def test_megabytes_go_through_a_socket_both_ways(host: Host, server: Server) -> None:
    def echo() -> None:
        connection, _ = server.listener.accept()
        with connection:
            received(connection, len(b"test.Socket dom0\0"))
            while data := connection.recv(1 << 16):
                connection.sendall(data)

    echoing = threading.Thread(target=echo)
    echoing.start()
    data = os.urandom(1 << 20) * 8
    call = host.run("test.Socket", stdin=data)
    echoing.join(PATIENCE)
    assert bytes(call.stdout) == data


def test_a_socket_nobody_listens_on_is_a_fault(host: Host, server: Server) -> None:
    server.listener.close()
    assert host.run("test.Socket").outcome[::2] == (b"", ExitCode.FAULT)


def test_a_dropped_call_closes_the_servers_connection(host: Host, server: Server) -> None:
    call = host.serve("test.Socket", stdin=None)
    with server.accept() as connection:
        host.drop(call)
        host.settle()
        while connection.recv(100):
            pass


def test_more_callers_than_a_server_lets_wait_are_all_served(host: Host, server: Server) -> None:
    calls = [host.serve("test.Socket", str(number), source="random") for number in range(40)]
    host.settle()
    told = set()
    for _ in calls:
        with server.accept() as connection:
            data = b""
            while more := connection.recv(100):
                data += more
            told.add(data)
    assert told == {f"test.Socket+{number} random\0".encode() for number in range(40)}
    assert [host.finish(call).code for call in calls] == [0] * 40


def test_a_socket_is_reached_however_long_its_path_is(running: Agent, host: Host) -> None:
    name = "test.Socket+" + "x" * 200
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(running.root / "s"))
        listener.listen()
        running.place(name).symlink_to(running.root / "s")
        (running.root / "s").rename(running.root / ("y" * 200))
        running.place(name).unlink()
        running.place(name).symlink_to(running.root / ("y" * 200))
        call = host.serve("test.Socket", "x" * 200)
        Server(listener, host).accept().close()
        assert host.finish(call).code == 0


def test_settings_that_force_a_user_on_a_socket_fail_the_call(running: Agent, host: Host, server: Server) -> None:
    running.settings("test.Socket", "exit-on-client-eof = true\nforce-user = 'root'\n")
    assert host.run("test.Socket").code == ExitCode.FAULT


# Addresses.


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["IPv4", "IPv6"])
def tcp(request: pytest.FixtureRequest, host: Host) -> Iterator[Server]:
    with socket.socket(request.param) as listener:
        listener.bind(("127.0.0.1" if request.param == socket.AF_INET else "::1", 0))
        listener.listen()
        yield Server(listener, host)


def converse(host: Host, tcp: Server, argument: str = "", told: bytes = b"") -> None:
    call = host.serve("test.Tcp", argument, stdin=b"in")
    with tcp.accept() as connection:
        assert received(connection, len(told) + 2) == told + b"in"
        assert connection.recv(1) == b""
        connection.sendall(b"out")
    assert host.finish(call).outcome == (b"out", b"", 0)


def test_a_link_to_a_host_and_port_is_that_server(running: Agent, host: Host, tcp: Server) -> None:
    address, port = tcp.listener.getsockname()[:2]
    running.place("test.Tcp").symlink_to(f"/dev/tcp/{address}/{port}")
    converse(host, tcp, told=b"test.Tcp dom0\0")
    running.settings("test.Tcp", "skip-service-descriptor = true\n")
    converse(host, tcp)


def test_a_link_to_a_host_takes_the_port_from_the_argument(running: Agent, host: Host, tcp: Server) -> None:
    address, port = tcp.listener.getsockname()[:2]
    running.place("test.Tcp").symlink_to(f"/dev/tcp/{address}")
    converse(host, tcp, str(port), f"test.Tcp+{port} dom0\0".encode())


def test_a_link_to_tcp_takes_host_and_port_from_the_argument(running: Agent, host: Host, tcp: Server) -> None:
    address, port = tcp.listener.getsockname()[:2]
    argument = f"{address.replace(':', '+')}+{port}"
    running.place("test.Tcp").symlink_to("/dev/tcp")
    converse(host, tcp, argument, f"test.Tcp+{argument} dom0\0".encode())


@pytest.mark.parametrize(
    ("link", "argument"),
    [
        ("/dev/tcp", ""),
        ("/dev/tcp", "127.0.0.1"),
        ("/dev/tcp", "+80"),
        ("/dev/tcp", "local_host+80"),
        ("/dev/tcp", "localhost+80"),
        ("/dev/tcp/", "127.0.0.1+80"),
        ("/dev/tcp/127.0.0.1", ""),
        ("/dev/tcp/::1", ""),
        ("/dev/tcp/127.0.0.1", "0"),
        ("/dev/tcp/127.0.0.1", "080"),
        ("/dev/tcp/127.0.0.1", "65536"),
        ("/dev/tcp/127.0.0.1", "80x"),
        ("/dev/tcp/127.0.0.1", "127.0.0.1+80"),
        ("/dev/tcp/127.0.0.1/80", "80"),
        ("/dev/tcp/127.0.0.1/80/90", ""),
        ("/dev/tcp//80", ""),
        ("/dev/tcp/localhost/80", ""),
    ],
)
def test_a_link_that_names_no_address_is_a_fault(running: Agent, host: Host, link: str, argument: str) -> None:
    os.symlink(link, running.place("test.Tcp"))
    assert host.run("test.Tcp", argument).outcome[::2] == (b"", ExitCode.FAULT)


def test_a_port_that_nobody_listens_on_is_a_fault(running: Agent, host: Host) -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        running.place("test.Tcp").symlink_to(f"/dev/tcp/127.0.0.1/{reserved.getsockname()[1]}")
        assert host.run("test.Tcp").outcome[::2] == (b"", ExitCode.FAULT)


# Many at once, and callers that misbehave.


@pytest.mark.slow
def test_a_thousand_calls_at_256_at_once_all_end_well(host: Host) -> None:
    for _ in range(4):
        calls = [host.serve("qubes.VMExec", encode_command([b"cat"]), stdin=b"%d" % number) for number in range(256)]
        assert [host.finish(call).outcome for call in calls] == [(b"%d" % number, b"", 0) for number in range(256)]


def test_a_caller_that_stops_reading_one_that_never_closes_and_one_that_goes_harm_only_themselves(host: Host) -> None:
    zeros = encode_command([b"head", b"-c", b"1000000", b"/dev/zero"])
    deaf = host.serve("qubes.VMExec", zeros)
    deaf.reading = False
    open_ended = host.serve("qubes.VMExec", "cat", stdin=None)
    gone = host.serve("qubes.VMExec", zeros)
    host.until(lambda: bool(gone.stdout))
    host.drop(gone)
    for _ in range(20):
        assert len(host.run("qubes.VMExec", zeros).stdout) == 1_000_000
    assert (deaf.code, open_ended.code) == (None, None)
    host.close_stdin(open_ended)
    assert host.finish(open_ended).code == 0
    host.read_again(deaf)
    assert len(host.finish(deaf).stdout) == 1_000_000
