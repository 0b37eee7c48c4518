"""Services of the admin domain, called from a domain: what they are told, what they find, and who may hold them up."""

import contextlib
import os
import select
import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from bento.host.manager.boxes import SPARES
from bento.host.manager.services import MAX_AT_ONCE
from bento.wire.rpc import ExitCode
from tests.crash.invariants import eventually
from tests.host.manager.home import PATIENCE, Home, Leg, Outcome, end_process, new_home

MINE = os.getpid()
"""Tests look for processes of this host, on which others may run the same tests now."""


def own(name: str) -> str:
    return f"{name}-{MINE}"


@pytest.fixture(scope="module")
def two() -> Iterator[Home]:
    """`work` and `random` run and may call whatever the host serves."""
    with new_home() as home:
        home.start_manager()
        home.build()
        for name in ("work", "random"):
            home.create(name)
            home.start(name)
        home.policy("* * @anyvm @adminvm allow\n")
        yield home


def serve(home: Home, service: str, script: str, first: str = "#!/bin/sh") -> Path:
    path = home.path / "config/qubes-rpc" / service
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"{first}\n{script}\n")
    path.chmod(0o755)
    return path


def said(home: Home, service: str, script: str, stdin: bytes = b"") -> str:
    serve(home, service.partition("+")[0], script)
    outcome = home.run_from("random", "dom0", service, stdin)
    assert outcome.code == 0, outcome
    return outcome.stdout.decode()


def test_the_hosts_date_is_served(two: Home) -> None:
    before = datetime.now(UTC).replace(microsecond=0)
    outcome = two.run_from("random", "dom0", "qubes.GetDate")
    assert outcome.code == 0
    assert before <= datetime.fromisoformat(outcome.stdout.decode().strip()) <= datetime.now(UTC)


def test_streams_and_exit_code_are_carried(two: Home) -> None:
    serve(two, "test.Echo", "cat; echo oh >&2; exit 7")
    assert two.run_from("random", "dom0", "test.Echo", b"some words") == Outcome(7, b"some words", b"oh\n")
    data = os.urandom(3_000_000)
    assert said(two, "test.Sum", "sha256sum", data).split()[0] == sha256(data).hexdigest()
    assert said(two, "test.Zeros", "head -c 3000000 /dev/zero") == "\0" * 3_000_000
    serve(two, "test.Killed", "kill -9 $$")
    assert two.run_from("random", "dom0", "test.Killed").code == 128 + 9


def test_a_service_that_closes_its_input_still_gets_its_output_through(two: Home) -> None:
    assert (
        said(two, "test.Deaf", "exec <&-; head -c 300000 /dev/zero | wc -c; sleep 0.1", bytes(3_000_000)) == "300000\n"
    )


def test_what_a_service_leaves_behind_is_ended_with_the_call(two: Home) -> None:
    assert said(two, "test.Daemon", f"sleep {1000 + MINE} >/dev/null 2>&1 & echo started") == "started\n"
    eventually(lambda: none_of(two, f"sleep {1000 + MINE}"))


# ---- hostile callers -----------------------------------------------------------------------------


@contextlib.contextmanager
def calling(home: Home, source: str, service: str) -> Iterator[Leg]:
    """Somebody in `source` who holds the call for as long as this block lasts."""
    with home.call_from(source, "dom0", service) as leg:
        yield leg


def none_of(home: Home, what: str) -> None:
    assert not home.running(what), "a service outlived its call"


def test_a_caller_that_never_reads_holds_up_nobody_and_takes_its_service_along(two: Home) -> None:
    flood = f"head -c {MINE}G /dev/zero"
    serve(two, "test.Flood", f"exec {flood}")
    with calling(two, "random", "test.Flood") as leg:
        assert leg.sock.recv(1, socket.MSG_PEEK)
        assert two.run_from("work", "dom0", "qubes.GetDate").code == 0
        assert two.running(flood)
    eventually(lambda: none_of(two, flood))


def test_a_caller_that_hangs_up_ends_a_service_that_does_not_listen(two: Home) -> None:
    serve(two, own("test.Stubborn"), "trap '' HUP TERM INT PIPE; echo here; while :; do sleep 1000; done")
    with calling(two, "random", own("test.Stubborn")) as leg:
        assert leg.sock.recv(1, socket.MSG_PEEK)
    eventually(lambda: none_of(two, f"/bin/sh /etc/qubes-rpc/{own('test.Stubborn')}"))


def test_a_caller_that_never_closes_has_so_many_calls_and_others_have_theirs(two: Home) -> None:
    serve(two, own("test.Wait"), "echo here; cat")
    with contextlib.ExitStack() as held:
        legs = [held.enter_context(calling(two, "random", own("test.Wait"))) for _ in range(MAX_AT_ONCE + 1)]
        for _ in range(MAX_AT_ONCE):
            ready, _, _ = select.select([leg.sock for leg in legs], [], [], PATIENCE)
            assert ready
            legs = [leg for leg in legs if leg.sock is not ready[0]]
        (last,) = legs
        assert two.run_from("work", "dom0", "qubes.GetDate").code == 0
        assert not select.select([last.sock], [], [], 0)[0], "more are served at once than may be"
        held.pop_all().close()
    eventually(lambda: none_of(two, f"/bin/sh /etc/qubes-rpc/{own('test.Wait')}"))
    assert two.run_from("random", "dom0", "qubes.GetDate").code == 0


# ---- boxes made ahead ----------------------------------------------------------------------------


def waiting(home: Home, service: str = "") -> list[int]:
    """Boxes, from outside, that are for one call of a service and wait for it or serve it."""
    return [pid for pid in home.running(f"--control-fd 0 /etc/qubes-rpc/{service}") if is_child(pid, home.pid)]


def is_child(pid: int, parent: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1]) == parent
    return False


def wait_for_boxes(home: Home, expected: dict[str, int]) -> None:
    def they_wait() -> None:
        assert {service: len(waiting(home, service)) for service in expected} == expected
        assert len(waiting(home)) == sum(expected.values())

    eventually(they_wait)


@pytest.fixture
def alone() -> Iterator[Home]:
    """Nobody has called anything of the host yet; `random` may."""
    with new_home() as home:
        home.start_manager()
        home.build()
        home.create("random")
        home.start("random")
        home.policy("* * @anyvm @adminvm allow\n")
        yield home


def test_a_box_is_made_ahead_for_each_of_the_last_calls(alone: Home) -> None:
    assert not waiting(alone), "nobody has called anything"
    serve(alone, own("test.One"), "exit 0")
    serve(alone, own("test.Two"), "exit 0")
    assert alone.run_from("random", "dom0", "test.Nothing").code == ExitCode.NOT_FOUND
    alone.run_from("random", "dom0", own("test.One"))
    wait_for_boxes(alone, {own("test.One"): 1})
    for _ in range(SPARES):
        alone.run_from("random", "dom0", own("test.One"))
    wait_for_boxes(alone, {own("test.One"): SPARES})
    alone.run_from("random", "dom0", own("test.Two"))
    wait_for_boxes(alone, {own("test.One"): SPARES - 1, own("test.Two"): 1})
    alone.stop_manager()
    eventually(lambda: none_of(alone, f"/etc/qubes-rpc/{own('test.One')}"))


def test_a_box_serves_one_call_and_is_gone(alone: Home) -> None:
    serve(alone, own("test.One"), "cat")
    alone.run_from("random", "dom0", own("test.One"))
    wait_for_boxes(alone, {own("test.One"): 1})
    (ahead,) = waiting(alone)
    with calling(alone, "random", own("test.One")) as leg:
        leg.write(b"x")
        assert leg.sock.recv(1, socket.MSG_PEEK), "it is served"
        assert waiting(alone) == [ahead], "by the box that was made ahead"
    wait_for_boxes(alone, {own("test.One"): 2})
    assert ahead not in waiting(alone)


def test_a_box_is_not_used_for_a_file_that_took_the_place_of_its_own(alone: Home) -> None:
    path = serve(alone, own("test.One"), "echo old")
    assert alone.run_from("random", "dom0", own("test.One")).stdout == b"old\n"
    wait_for_boxes(alone, {own("test.One"): 1})
    path.unlink()
    assert alone.run_from("random", "dom0", own("test.One")).code == ExitCode.NOT_FOUND
    serve(alone, own("test.One"), "echo new")
    assert alone.run_from("random", "dom0", own("test.One")).stdout == b"new\n"


def end_all_of(home: Home, program: str) -> None:
    """Each by itself: a bwrap that has not made its box yet leaves a child."""
    left = home.running(program)
    for pid in left:
        end_process(pid)
    assert left == []


def test_a_call_that_finds_its_box_killed_gets_another(alone: Home) -> None:
    serve(alone, own("test.Spare"), "exit 0")
    alone.run_from("random", "dom0", own("test.Spare"))
    wait_for_boxes(alone, {own("test.Spare"): 1})
    eventually(lambda: end_all_of(alone, f"/etc/qubes-rpc/{own('test.Spare')}"))
    assert alone.run_from("random", "dom0", own("test.Spare")).code == 0


def test_a_manager_that_is_killed_takes_its_boxes_along(alone: Home) -> None:
    serve(alone, own("test.Held"), "echo here; cat")
    alone.run_from("random", "dom0", own("test.Held"))
    wait_for_boxes(alone, {own("test.Held"): 1})
    with calling(alone, "random", own("test.Held")) as leg, calling(alone, "random", own("test.Held")) as other:
        assert leg.sock.recv(1, socket.MSG_PEEK)
        assert other.sock.recv(1, socket.MSG_PEEK)
        alone.kill_manager()
    eventually(lambda: none_of(alone, f"/etc/qubes-rpc/{own('test.Held')}"))


# ---- what it is told -----------------------------------------------------------------------------


def test_a_service_is_told_of_its_call_as_the_field_tells_it(two: Home) -> None:
    found = said(two, "test.Told+some+arg", 'echo "$0 $*"; env | sort')
    assert found.splitlines() == [
        "/etc/qubes-rpc/test.Told some+arg",
        "HOME=/home/user",
        "LANG=C.UTF-8",
        "LOGNAME=user",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "PWD=/code",
        "QREXEC_REMOTE_DOMAIN=random",
        "QREXEC_REQUESTED_TARGET=dom0",
        "QREXEC_REQUESTED_TARGET_TYPE=name",
        "QREXEC_SERVICE_ARGUMENT=some+arg",
        "QREXEC_SERVICE_FULL_NAME=test.Told+some+arg",
        "SHELL=/bin/sh",
        "USER=user",
    ]


def test_a_file_for_the_argument_comes_before_the_services_own(two: Home) -> None:
    serve(two, "test.Which", "echo any")
    serve(two, "test.Which+one", "echo one")
    assert two.run_from("random", "dom0", "test.Which+one").stdout == b"one\n"
    assert two.run_from("random", "dom0", "test.Which+two").stdout == b"any\n"
    assert two.run_from("random", "dom0", f"test.Which+{'x' * 300}").stdout == b"any\n"


def test_the_persons_own_file_comes_before_what_bento_brings(two: Home) -> None:
    path = serve(two, "qubes.GetDate", "echo 1999-12-31T23:59:59+00:00")
    assert two.run_from("random", "dom0", "qubes.GetDate").stdout == b"1999-12-31T23:59:59+00:00\n"
    path.unlink()


def test_what_is_not_there_is_not_found(two: Home) -> None:
    assert two.run_from("random", "dom0", "test.Nothing").code == ExitCode.NOT_FOUND
    assert "dom0 has no service test.Nothing, which random asked for" in two.log()


@pytest.mark.parametrize("broken", ["not executable", "a directory", "no interpreter", "no program"])
def test_what_cannot_be_run_is_a_fault_and_the_log_says_which(two: Home, broken: str) -> None:
    name = f"test.{broken.title().replace(' ', '')}"
    path = serve(two, name, "echo here")
    match broken:
        case "not executable":
            path.chmod(0o644)
        case "a directory":
            path.unlink()
            path.mkdir()
        case "no interpreter":
            path.write_text("#!/nowhere/at/all\n")
        case _:
            path.write_bytes(b"\x7fELF and no more")
    assert two.run_from("random", "dom0", name).code == ExitCode.FAULT
    eventually(lambda: said_in_log(two, name))  # the caller need not wait for it


def said_in_log(home: Home, words: str) -> None:
    assert words in home.log(), "the log does not say it"


# ---- the box -------------------------------------------------------------------------------------


def test_a_service_finds_nothing_of_the_host_but_programs(two: Home) -> None:
    found = said(
        two, "test.Look", "ls / /home /home/user /tmp /etc /etc/qubes-rpc /code 2>&1; ls /proc | grep -c '^[0-9]'"
    )
    assert found.split() == [
        *("/:", "bin", "code", "dev", "etc", "home", "lib", "lib64", "proc", "sbin", "tmp", "usr"),
        *("/code:", "bento", "/etc:", "alternatives", "qubes-rpc", "/etc/qubes-rpc:", "test.Look"),
        *("/home:", "user", "/home/user:", "/tmp:", found.split()[-1]),
    ]
    assert int(found.split()[-1]) <= 6


def test_a_service_has_a_home_of_its_own_that_is_gone_with_the_call(two: Home) -> None:
    for _ in range(2):
        assert (
            said(two, "test.Write", "ls $HOME; echo x >$HOME/x && cat $HOME/x; echo y >/tmp/y && cat /tmp/y")
            == "x\ny\n"
        )


@pytest.mark.parametrize(
    "attempt",
    [
        "socket.socket(socket.AF_UNIX).connect({sock!r})",
        "socket.socket(socket.AF_INET)",
        "socket.socket(40)",
        "open({sock!r})",
        "open({secret!r})",
        "open('/usr/new', 'w')",
        "open(sys.argv[0], 'w')",
        "os.kill({pid}, 0)",
        "os.setuid(0)",
        "os.chroot('/tmp')",
        "libc(ctypes.CDLL(None, use_errno=True).unshare(0x10000000))",
        "libc(ctypes.CDLL(None, use_errno=True).mount(b'x', b'/tmp', b'tmpfs', 0, None))",
        "libc(ctypes.CDLL(None, use_errno=True).ptrace(16, os.getppid(), 0, 0))",
        "open(f'/proc/{{os.getppid()}}/mem', 'r+b', 0)",
        "os.readlink(f'/proc/{{os.getppid()}}/fd/0')",
        "libc(ctypes.CDLL(None, use_errno=True).syscall(438, os.pidfd_open(os.getppid()), 0, 0))",
        "os.kill(os.getppid(), 9)",
        "open('/tmp/large', 'wb', 0).write(bytes(64 << 20)); open('/tmp/larger', 'wb', 0).write(b'x')",
        "[os.fork() or (os.closerange(0, 9), signal.pause()) for _ in range(400)]",
    ],
)
def test_a_service_that_was_taken_over_gets_nowhere(two: Home, attempt: str) -> None:
    (two.path / "secret").write_text("mine")
    script = f"""
import ctypes, os, signal, socket, sys, time
def libc(result):
    if result < 0: raise OSError(ctypes.get_errno(), "refused")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
try:
    {attempt.format(sock=str(two.path / "run/manager.sock"), secret=str(two.path / "secret"), pid=two.pid)}
except OSError as error:
    print("refused")
    sys.stdout.flush()
    os._exit(0)
print("done")
"""
    serve(two, "test.Attack", script, first="#!/usr/bin/python3")
    outcome = two.run_from("random", "dom0", "test.Attack")
    if "getppid(), 9" in attempt:  # its own relay: it ends its own call
        assert outcome.code == ExitCode.FAULT
    else:
        assert outcome.stdout == b"refused\n", outcome
    assert two.run_from("work", "dom0", "qubes.GetDate").code == 0
