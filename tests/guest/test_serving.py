"""Calls that a domain serves, seen from the host: programs, their streams, their ends."""

import os
import signal
from pathlib import Path

import pytest

from bento.wire.rpc import MAX_CALLS, WINDOW, ExitCode, Stream
from bento.wire.vmexec import encode_command
from tests.guest.harness import Agent, Host, Marks


def command(*words: str) -> tuple[str, str]:
    return "qubes.VMExec", encode_command([os.fsencode(word) for word in words])


def shell(script: str) -> tuple[str, str]:
    return command("sh", "-c", script)


def test_a_command_runs_and_its_output_and_code_come_back(host: Host) -> None:
    call = host.run(*shell("echo out; echo err >&2; exit 7"))
    assert call.outcome == (b"out\n", b"err\n", 7)
    assert call.ended == {Stream.STDOUT, Stream.STDERR}


def test_stdin_goes_in_and_its_end_is_seen(host: Host) -> None:
    call = host.run(*command("cat"), stdin=b"hi\n")
    assert call.outcome == (b"hi\n", b"", 0)


def test_ten_megabytes_go_both_ways_unchanged(host: Host) -> None:
    data = os.urandom(1 << 20) * 10
    call = host.run(*command("cat"), stdin=data)
    assert bytes(call.stdout) == data


def test_a_half_closed_call_stays_usable(host: Host) -> None:
    call = host.serve(*shell("exec 1>&-; cat >&2"), stdin=None)
    host.until(lambda: Stream.STDOUT in call.ended)
    host.give(call, b"still there")
    host.close_stdin(call)
    assert host.finish(call).stderr == b"still there"


def test_a_service_may_go_on_writing_after_its_stdin_has_ended(host: Host) -> None:
    assert host.run(*shell("cat; echo after"), stdin=b"before ").stdout == b"before after\n"


def test_a_program_ended_by_a_signal_gives_128_and_its_number(host: Host) -> None:
    assert host.run(*shell("kill -KILL $$")).code == 128 + signal.SIGKILL


def test_an_unknown_service_is_not_found(host: Host) -> None:
    assert host.run("no.SuchService").code == ExitCode.NOT_FOUND


def test_an_unknown_command_is_not_found_and_says_so(host: Host) -> None:
    call = host.run(*command("no-such-command"))
    assert call.code == ExitCode.NOT_FOUND
    assert b"no-such-command" in call.stderr


def test_a_file_that_is_not_executable_cannot_be_a_command(host: Host, tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_text("echo no\n")
    call = host.run(*command(str(file)))
    assert (call.code, str(file).encode() in call.stderr) == (126, True)


def test_an_argument_that_encodes_no_command_is_a_fault(host: Host) -> None:
    call = host.run("qubes.VMExec", "-zz")
    assert (call.code, b"qubes.VMExec" in call.stderr) == (ExitCode.FAULT, True)


def test_a_shell_reads_its_commands_from_stdin(host: Host) -> None:
    assert host.run("qubes.VMShell", stdin=b"echo $((6*7))\n").stdout == b"42\n"


def test_a_service_with_argument_wins_over_one_without(running: Agent, host: Host) -> None:
    running.service("test.Echo", 'echo "plain $*"')
    running.service("test.Echo+special", 'echo "special $*"')
    assert host.run("test.Echo", "special").stdout == b"special special\n"
    assert host.run("test.Echo", "else").stdout == b"plain else\n"
    assert host.run("test.Echo").stdout == b"plain \n"


def test_an_argument_too_long_for_a_file_name_is_still_passed_on(running: Agent, host: Host) -> None:
    running.service("test.Echo", 'echo "$1"')
    assert host.run("test.Echo", "x" * 1000).stdout == b"x" * 1000 + b"\n"


def test_a_file_may_override_a_service_of_the_agent_itself(running: Agent, host: Host) -> None:
    running.service("qubes.VMExec", "echo mine")
    assert host.run(*command("true")).stdout == b"mine\n"


def test_a_service_that_is_no_program_is_a_fault(running: Agent, host: Host) -> None:
    (running.root / "etc/qubes-rpc/test.Data").write_text("no program")
    assert host.run("test.Data").code == ExitCode.FAULT


def test_a_service_knows_who_calls_what(running: Agent, host: Host) -> None:
    running.service("test.Env", "env; pwd")
    lines = host.run("test.Env", "a+b", source="random", target="@default").stdout.decode().splitlines()
    assert lines[-1] == str(running.root / "home")
    values = dict(line.split("=", 1) for line in lines[:-1])
    assert values["QREXEC_REMOTE_DOMAIN"] == "random"
    assert values["QREXEC_SERVICE_FULL_NAME"] == "test.Env+a+b"
    assert values["QREXEC_SERVICE_ARGUMENT"] == "a+b"
    assert values["QREXEC_REQUESTED_TARGET_TYPE"] == "keyword"
    assert values["QREXEC_REQUESTED_TARGET_KEYWORD"] == "default"
    assert "PYTHONPATH" not in values, "the agent's own environment must not reach services"


def test_a_service_knows_the_name_it_was_called_by(running: Agent, host: Host) -> None:
    running.service("test.Env", 'echo "$QREXEC_REQUESTED_TARGET_TYPE $QREXEC_REQUESTED_TARGET"')
    assert host.run("test.Env", target="work").stdout == b"name work\n"
    assert host.run("test.Env").stdout == b" \n"


def test_a_service_inherits_no_file_but_its_three(host: Host) -> None:
    others = [host.serve(*command("cat"), stdin=None) for _ in range(3)]
    listed = host.run(*shell("exec ls /proc/self/fd")).stdout.decode().split()
    assert set(listed) <= {"0", "1", "2", "3"}, "3 is the directory being listed"
    for call in others:
        host.close_stdin(call)
        host.finish(call)


def test_a_service_ignores_no_signal_that_the_agent_ignores(host: Host) -> None:
    line = bytes(host.run(*command("grep", "SigIgn", "/proc/self/status")).stdout).decode()
    ignored = int(line.split()[1], 16)  # a bit a signal; others may be ignored by whoever runs the tests
    assert not ignored & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1)


def test_a_service_that_leaves_its_stdout_to_a_daemon_keeps_its_caller_waiting(running: Agent, host: Host) -> None:
    gate = running.root / "gate"
    os.mkfifo(gate)
    call = host.serve(*shell(f"(cat {gate}; echo late) & echo early"))
    host.until(lambda: call.stdout == b"early\n")
    host.settle()
    assert call.code is None
    gate.write_bytes(b"")
    assert host.finish(call).outcome == (b"early\nlate\n", b"", 0)


def test_a_process_that_never_reads_does_not_stall_another_call(host: Host) -> None:
    deaf = host.serve(*command("sleep", "1000"), stdin=None)
    host.give(deaf, bytes(4 * WINDOW))
    assert host.run(*command("cat"), stdin=b"x" * WINDOW * 4).code == 0
    assert len(deaf.stdin) > 0, "the agent took more than the window"
    host.drop(deaf)


def resident(running: Agent) -> int:
    """Bytes of the agent's memory."""
    fields = dict(line.split(":") for line in Path(f"/proc/{running.process.pid}/status").read_text().splitlines())
    return int(fields["VmRSS"].split()[0]) << 10


@pytest.mark.slow
@pytest.mark.parametrize("late", ["test.Count", "qubes.WaitForSession"])
def test_input_in_tiny_pieces_takes_no_more_memory_than_it_has_bytes(
    running: Agent, host: Host, tmp_path: Path, late: str
) -> None:
    """Whatever it is that takes its time; else each call of a hostile domain could cost this one 100 MB."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    running.settings("test.Count", "wait-for-session = true\n")
    running.service("qubes.WaitForSession", "exit 0")
    running.service("test.Count", "exec wc -c")
    running.service(late, f"cat {gate}; exec wc -c")
    before = resident(running)
    call = host.serve("test.Count", stdin=None)
    host.crumble(call, WINDOW)
    assert host.run(*command("true")).code == 0, "all was heard"
    assert resident(running) - before < 32 * WINDOW
    gate.write_bytes(b"")
    host.close_stdin(call)
    assert host.finish(call).stdout == b"%d\n" % WINDOW


def test_a_caller_that_does_not_read_does_not_stall_another_call(host: Host) -> None:
    unread = host.serve(*command("head", "-c", "5000000", "/dev/zero"))
    unread.reading = False
    host.until(lambda: len(unread.stdout) == WINDOW)
    assert len(host.run(*command("head", "-c", "5000000", "/dev/zero")).stdout) == 5_000_000
    assert len(unread.stdout) == WINDOW
    host.read_again(unread)
    assert len(host.finish(unread).stdout) == 5_000_000


def test_input_for_a_service_that_closed_its_stdin_is_thrown_away(host: Host) -> None:
    call = host.serve(*shell("exec 0<&-; echo closed; exec sleep 1000"), stdin=None)
    host.until(lambda: call.stdout == b"closed\n")
    host.give(call, bytes(8 * WINDOW))
    host.until(lambda: not call.stdin)
    host.drop(call)


def test_the_most_calls_at_once_are_all_served(host: Host) -> None:
    calls = [host.serve(*command("cat"), stdin=None) for _ in range(MAX_CALLS)]
    for number, call in enumerate(calls):
        host.give(call, b"%d" % number)
        host.close_stdin(call)
    for number, call in enumerate(calls):
        assert host.finish(call).outcome == (b"%d" % number, b"", 0)


def test_a_call_that_is_dropped_before_its_turn_starts_nothing(running: Agent, host: Host) -> None:
    running.service("test.Touch", 'touch "$HOME/touched"')
    dropped = [host.serve("test.Touch") for _ in range(10)]
    for call in dropped:
        host.drop(call)
    host.settle()
    assert not (running.root / "home/touched").exists()
    assert host.run("test.Touch").code == 0
    assert (running.root / "home/touched").exists()


def test_a_dropped_call_hangs_up_on_the_whole_group(host: Host, marks: Marks) -> None:
    outer, inner = (f"trap 'echo $$ >{marks.path}; {last}exit' HUP" for last in ("", "kill $!; "))
    script = f"{outer}; ({inner}; sleep 1000 & echo ready; wait) & wait"
    call = host.serve(*shell(script), stdin=None)
    host.until(lambda: call.stdout == b"ready\n")
    host.drop(call)
    host.settle()
    assert len(marks.lines(2)) == 2


def test_nothing_is_left_of_calls_that_are_over(running: Agent, host: Host) -> None:
    def files() -> int:
        return len(os.listdir(f"/proc/{running.process.pid}/fd"))

    def children() -> str:
        return Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children").read_text()

    host.run(*command("true"))
    host.settle()
    before = files()
    dropped = host.serve(*command("sleep", "1000"), stdin=None)
    for _ in range(20):
        host.run(*command("true"))
        host.run(*command("true"), size=(24, 80))
        host.run("no.SuchService")
    host.drop(dropped)

    def all_reaped() -> bool:
        host.settle()
        return not children()

    host.retry(all_reaped)
    assert files() == before


def test_a_terminal_has_the_size_it_was_asked_for_and_follows_it(host: Host) -> None:
    call = host.serve(
        *shell("stty size; trap 'stty size; exit 3' WINCH; echo ready; while :; do sleep 0.01; done"),
        stdin=None,
        size=(24, 80),
    )
    host.until(lambda: call.stdout.endswith(b"ready\r\n"))
    host.resize(call, 50, 132)
    assert host.finish(call).outcome == (b"24 80\r\nready\r\n50 132\r\n", b"", 3)


def test_a_terminal_is_the_controlling_one_and_has_a_type(host: Host) -> None:
    call = host.run(*shell("echo $TERM >/dev/tty; test -t 0 && test -t 1 && test -t 2"), size=(24, 80))
    assert call.outcome == (b"xterm-256color\r\n", b"", 0)


@pytest.mark.parametrize("_", range(10))
def test_the_end_of_stdin_ends_input_on_a_terminal_and_the_program_ends_well(host: Host, _: int) -> None:
    call = host.run(*command("cat"), stdin=b"hi\n", size=(24, 80))
    assert call.outcome == (b"hi\r\nhi\r\n", b"", 0)


def test_control_c_interrupts_on_a_terminal(host: Host) -> None:
    call = host.serve(*command("cat"), stdin=None, size=(24, 80))
    host.give(call, b"hi\n")
    host.until(lambda: call.stdout == b"hi\r\nhi\r\n")
    host.give(call, b"\x03")
    assert host.finish(call).code == 128 + signal.SIGINT


def test_all_a_program_wrote_to_a_terminal_arrives(host: Host) -> None:
    call = host.run(*command("head", "-c", "1000000", "/dev/zero"), size=(24, 80))
    assert len(call.stdout) == 1_000_000


def test_a_job_left_behind_on_a_terminal_does_not_keep_the_caller(running: Agent, host: Host) -> None:
    gate = running.root / "gate"
    os.mkfifo(gate)
    call = host.run(*shell(f"trap '' HUP; cat {gate} & echo done"), size=(24, 80))
    assert call.outcome == (b"done\r\n", b"", 0)
    gate.write_bytes(b"")


def test_a_shell_on_a_terminal_is_a_login_shell(host: Host) -> None:
    call = host.run("qubes.VMShell", stdin=b"echo $0\n", size=(24, 80))
    assert b"-sh" in call.stdout
