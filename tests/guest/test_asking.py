"""Calls that local programs ask for: placing them, their bytes, and what a hostile program can and cannot do."""

import os
import resource
import signal
from collections.abc import Callable, Iterator

import pytest

from bento.wire.frames import FrameReader, encode_frame
from bento.wire.layout import Message
from bento.wire.names import ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import (
    FROM_SERVER,
    MAX_CALLS,
    MAX_DATA,
    WINDOW,
    Accepted,
    Ask,
    Data,
    Eof,
    Exit,
    ExitCode,
    Refused,
    Resize,
    Stream,
    Window,
)
from tests.guest.harness import Agent, Host

ASK = Ask(0, ServiceName("test.Service"), ServiceArgument("arg"), TargetName("work"))


class Program:
    """A local program's connection."""

    def __init__(self, agent: Agent) -> None:
        self.socket = agent.client()
        self._reader = FrameReader()
        self._heard: Iterator[Message] = self._hear()

    def say(self, *messages: Message) -> None:
        self.socket.sendall(b"".join(map(encode_frame, messages)))

    def hear(self) -> Message | None:
        """The next message; None when the agent has closed."""
        return next(self._heard, None)

    def _hear(self) -> Iterator[Message]:
        while True:
            try:
                received = self.socket.recv(1 << 16)
            except ConnectionResetError:
                return
            if not received:
                return
            for frame in self._reader.feed(received):
                yield FROM_SERVER.decode(*frame)


@pytest.fixture
def join(running: Agent) -> Iterator[Callable[[], Program]]:
    """Connects programs, as many as are wanted."""
    made: list[Program] = []

    def connect() -> Program:
        made.append(Program(running))
        return made[-1]

    yield connect
    for program in made:
        program.socket.close()


@pytest.fixture
def program(host: Host, join: Callable[[], Program]) -> Program:
    return join()


def test_a_call_is_asked_accepted_and_carried(host: Host, program: Program) -> None:
    program.say(ASK, Data(0, 0, b"in"), Eof(0, 0))
    call = host.next_asked()
    assert call.asked == Ask(call.number, ASK.service, ASK.argument, ASK.target)
    host.accept(call)
    host.until(lambda: Stream.STDIN in call.ended)
    assert call.stdout == b"in"
    host.give(call, b"out")
    host.exit(call, 7)
    host.settle()
    heard = [program.hear() for _ in range(5)]
    assert heard == [Accepted(0), Data(0, Stream.STDOUT, b"out"), Eof(0, 1), Eof(0, 2), Exit(0, 7)]
    assert program.hear() is None


def test_a_refused_call_says_its_code(host: Host, program: Program) -> None:
    program.say(ASK)
    host.refuse(host.next_asked(), 126)
    host.settle()
    assert [program.hear(), program.hear()] == [Refused(0, 126), None]


def test_what_a_program_sends_early_waits_for_the_answer(host: Host, program: Program) -> None:
    program.say(ASK, Data(0, 0, b"early"))
    call = host.next_asked()
    host.settle()
    assert call.stdout == b""
    host.accept(call)
    host.until(lambda: call.stdout == b"early")


def test_more_than_the_window_arrives_piece_by_piece(host: Host, program: Program) -> None:
    program.socket.settimeout(None)
    program.say(ASK)
    call = host.next_asked()
    call.reading = False
    host.accept(call)
    data = bytes(range(256)) * (MAX_DATA // 256)
    program.socket.setblocking(False)
    sent = 0
    frame = encode_frame(Data(0, 0, data))
    stream = frame * (4 * WINDOW // MAX_DATA)
    while sent < len(stream):
        try:
            sent += program.socket.send(stream[sent : sent + 8192])
        except BlockingIOError:
            if len(call.stdout) == WINDOW:
                host.read_again(call)
            host.settle()
    host.until(lambda: len(call.stdout) == 4 * WINDOW)
    assert call.stdout == data * (4 * WINDOW // MAX_DATA)


def test_a_program_that_dies_drops_its_call(host: Host, program: Program) -> None:
    program.say(ASK, Data(0, 0, b"x"))
    call = host.next_asked()
    host.accept(call)
    host.until(lambda: call.stdout == b"x")
    program.socket.close()
    host.until(lambda: call.dropped)


def test_a_program_that_dies_while_nobody_reads_it_drops_its_call(host: Host, program: Program) -> None:
    program.say(ASK, Data(0, 0, b"held, since the call is not accepted"))
    call = host.next_asked()
    program.socket.close()
    host.until(lambda: call.dropped)


def test_a_host_that_drops_a_call_breaks_it_off(host: Host, program: Program) -> None:
    program.say(ASK)
    call = host.next_asked()
    host.accept(call)
    host.drop(call)
    host.settle()
    assert [program.hear(), program.hear()] == [Accepted(0), None]


def test_a_program_whose_call_was_dropped_takes_nobody_along_who_comes_as_it_dies(
    running: Agent, host: Host, program: Program, join: Callable[[], Program]
) -> None:
    program.say(ASK)
    call = host.next_asked()
    call.reading = False
    host.accept(call)
    program.say(*[Data(0, 0, bytes(MAX_DATA))] * (WINDOW // MAX_DATA), Data(0, 0, b"held: the host reads no more"))
    host.until(lambda: len(call.stdout) == WINDOW)
    host.settle()
    os.kill(running.process.pid, signal.SIGSTOP)  # so that it hears of all three at once
    os.waitid(os.P_PID, running.process.pid, os.WSTOPPED | os.WNOWAIT)
    host.drop(call)
    host.step(0)
    innocent = join()
    program.socket.close()
    os.kill(running.process.pid, signal.SIGCONT)
    host.settle()
    innocent.say(ASK)
    host.accept(host.next_asked())
    host.settle()
    assert innocent.hear() == Accepted(0)


def test_a_program_that_does_not_read_stalls_nobody_else(
    host: Host, program: Program, join: Callable[[], Program]
) -> None:
    program.say(ASK)
    call = host.next_asked()
    host.accept(call)
    host.give(call, bytes(8 * WINDOW))
    other = join()
    other.say(ASK)
    second = host.next_asked()
    host.accept(second)
    host.give(second, b"hi")
    host.exit(second, 0)
    host.settle()
    assert [other.hear(), other.hear()] == [Accepted(0), Data(0, 1, b"hi")]
    assert call.stdin


def test_the_most_calls_are_open_at_once_and_the_rest_wait_their_turn(host: Host, join: Callable[[], Program]) -> None:
    programs = [join() for _ in range(MAX_CALLS + 20)]
    for one in programs:
        one.say(ASK)
    calls = [host.next_asked() for _ in range(MAX_CALLS)]
    host.settle()
    assert not host.asked
    for call in calls[:20]:
        host.refuse(call, 126)
    calls += [host.next_asked() for _ in range(20)]
    for call in calls[20:]:
        host.refuse(call, 126)
    host.settle()
    assert [one.hear() for one in programs] == [Refused(0, 126)] * len(programs)


def test_programs_wait_while_there_is_no_host(running: Agent, join: Callable[[], Program]) -> None:
    with running.host():
        pass
    one = join()
    one.say(ASK)
    with running.host() as host:
        host.refuse(host.next_asked(), 126)
        host.settle()
        assert one.hear() == Refused(0, 126)


def test_a_lost_host_breaks_the_calls_of_programs_off(running: Agent, join: Callable[[], Program]) -> None:
    with running.host() as host:
        one = join()
        one.say(ASK)
        host.accept(host.next_asked())
        host.settle()
    assert [one.hear(), one.hear()] == [Accepted(0), None]


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n" * 100,
        b"\xff" * 1000,
        encode_frame(Data(0, 0, b"before the ask")),
        encode_frame(ASK) * 2,
        encode_frame(Ask(5, ASK.service, ASK.argument, ASK.target)),
        encode_frame(ASK) + encode_frame(Data(0, 1, b"x")),
        encode_frame(ASK) + encode_frame(Data(3, 0, b"x")),
        encode_frame(ASK) + encode_frame(Eof(0, 0)) * 2,
        encode_frame(ASK) + encode_frame(Eof(0, 0)) + encode_frame(Data(0, 0, b"x")),
        encode_frame(ASK) + encode_frame(Resize(0, 1, 1)),
        encode_frame(ASK) + encode_frame(Window(0, 1, 1)),
        encode_frame(ASK) + encode_frame(Exit(0, 0)),
        encode_frame(ASK).replace(b"test", b"t\0st"),
    ],
)
def test_a_program_that_breaks_the_protocol_loses_its_own_connection_only(
    host: Host, program: Program, join: Callable[[], Program], garbage: bytes
) -> None:
    program.say(ASK)
    call = host.next_asked()
    host.accept(call)
    hostile = join()
    hostile.socket.sendall(garbage)
    while hostile.hear() is not None:
        pass
    host.settle()
    for asked in host.asked:
        assert asked.dropped
    program.say(Data(0, 0, b"fine"))
    host.until(lambda: call.stdout == b"fine")


def test_a_program_that_asks_and_leaves_a_thousand_times_costs_nobody_else(running: Agent, host: Host) -> None:
    for _ in range(1000):
        with running.client() as hostile:
            hostile.sendall(encode_frame(ASK)[:7])
        with running.client() as hostile:
            hostile.sendall(encode_frame(ASK))
        host.settle()
    assert host.run("qubes.VMExec", "echo+well").stdout == b"well\n"


def test_answers_that_nobody_reads_count_against_the_most_calls(host: Host, join: Callable[[], Program]) -> None:
    program = join()
    program.say(ASK)
    call = host.next_asked()
    host.accept(call)
    host.give(call, bytes(WINDOW))
    host.exit(call, 0)
    others = [join() for _ in range(MAX_CALLS)]
    for other in others:
        other.say(ASK)
    for _ in range(MAX_CALLS - 1):
        host.next_asked()
    host.settle()
    assert not host.asked, "the program that does not read still holds its place"
    while program.hear() is not None:
        pass
    host.next_asked()


def test_programs_that_use_up_all_files_are_outlived(running: Agent, host: Host) -> None:
    resource.prlimit(running.process.pid, resource.RLIMIT_NOFILE, (24, 24))
    hoard = [running.client() for _ in range(40)]
    host.retry(lambda: host.run("qubes.VMExec", "true").code == ExitCode.FAULT)
    for connection in hoard:
        connection.close()
    host.retry(lambda: host.run("qubes.VMExec", "true").code == 0)
    with running.client() as late:
        late.sendall(encode_frame(ASK))
        host.refuse(host.next_asked(), ExitCode.REFUSED)
