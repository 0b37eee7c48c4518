"""The process beside a service, in its box: what a caller may say on the leg, and what becomes of the rest."""

import select
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest

from bento.host.contract.table import make
from bento.host.manager.__main__ import service_argv
from bento.host.service.call import FAULT
from bento.wire.contract import BROKEN
from bento.wire.control import FROM_BROKER, MAX_PACKET, Blame, Open, Over, decode_packet, encode_packet
from bento.wire.frames import encode_frame
from bento.wire.layout import Message
from bento.wire.names import MAX_CALL_NAME, DomainName, ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import MAX_DATA, Accepted, Ask, Data, Drop, Eof, Exit, Resize, Serve, Stream, Window
from tests.host.manager.home import PATIENCE, Leg, Outcome

NAMES = (ServiceName("test.Add"), ServiceArgument(""), DomainName("work"), TargetName("dom0"))
CALL = Open(*NAMES, user="", rows=0, columns=0)
LONGEST = Open(NAMES[0], ServiceArgument("x" * MAX_CALL_NAME), *NAMES[2:], user="", rows=0, columns=0)


class Served:
    def __init__(self, process: "subprocess.Popen[bytes]", control: socket.socket, leg: socket.socket) -> None:
        self.process = process
        self.control = control
        self.leg = Leg(leg)

    def say(self, *messages: Message) -> None:
        self.leg.sock.sendall(b"".join(map(encode_frame, messages)))

    def ended(self) -> Over | None:
        """What the process tells the manager at its end, if anything."""
        _, words = self.process.communicate(timeout=PATIENCE)
        assert words == b""
        told = self.control.recv(MAX_PACKET)
        assert self.process.returncode == (FAULT if told else 0)
        return cast(Over, decode_packet(FROM_BROKER, told)) if told else None


@contextmanager
def waiting(program: Path) -> Iterator[tuple["subprocess.Popen[bytes]", socket.socket]]:
    """A box that waits for its call."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        process = subprocess.Popen(
            service_argv(program), stdin=theirs.fileno(), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        theirs.close()
        try:
            yield process, ours
        finally:
            process.kill()
            process.communicate()


@contextmanager
def served(program: Path, call: Open = CALL) -> Iterator[Served]:
    ours, theirs = socket.socketpair()
    with waiting(program) as (process, control), ours:
        socket.send_fds(control, [encode_packet(call)], [theirs.fileno()])
        theirs.close()
        yield Served(process, control, ours)


def script(folder: Path, text: str) -> Path:
    path = folder / "test.Add"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def cat(tmp_path: Path) -> Iterator[Served]:
    with served(script(tmp_path, "cat")) as one:
        yield one


CONTRACT = b"""
message word
    line text at most 5 of [a-z]
state asking caller
    caller says word -> answering
state answering server
    server says word -> told
state told server
    exit 0
"""
HELD = replace(CALL, contract=make("test.Add", CONTRACT))


def test_a_call_that_keeps_its_contract_passes(tmp_path: Path) -> None:
    with served(script(tmp_path, "read -r word; echo $word"), HELD) as one:
        one.say(Data(0, Stream.STDIN, b"hello\n"), Eof(0, Stream.STDIN))
        assert one.leg.outcome() == Outcome(0, b"hello\n", b"")
        assert one.ended() is None


@pytest.mark.parametrize(
    ("said", "does", "blame", "words"),
    [
        ([Data(0, 0, b"HELLO\n")], "cat", Blame.CALLER, "in state asking the caller has characters"),
        ([Eof(0, 0)], "cat", Blame.CALLER, "in state asking the caller ended where there should be text"),
        ([Data(0, 0, b"hello\n")], "read -r word; echo OH", Blame.SERVER, "in state answering the server has"),
        ([Data(0, 0, b"hello\n")], "exit 3", Blame.SERVER, "in state "),
    ],
)
def test_who_breaks_the_contract_ends_the_call(
    tmp_path: Path, said: list[Message], does: str, blame: Blame, words: str
) -> None:
    with served(script(tmp_path, does), HELD) as one:
        one.say(*said)
        with pytest.raises(ConnectionError):
            one.leg.outcome()
        told = one.ended()
        assert told
        assert told.blame == blame
        assert told.sentence.startswith(f"{BROKEN}{words}")


def test_what_is_said_arrives_and_the_end_is_told(cat: Served) -> None:
    cat.say(Data(0, Stream.STDIN, b"a"), Resize(0, 24, 80), Data(0, Stream.STDIN, b""), Data(0, Stream.STDIN, b"b"))
    cat.say(Eof(0, Stream.STDIN))
    assert cat.leg.outcome() == Outcome(0, b"ab", b"")
    assert cat.ended() is None


def test_the_longest_argument_arrives_whole(tmp_path: Path) -> None:
    with served(script(tmp_path, 'printf "$1" | wc -c; printf "$QREXEC_SERVICE_ARGUMENT" | wc -c'), LONGEST) as one:
        one.leg.give(b"")
        assert one.leg.outcome().stdout.split() == [b"65000", b"65000"]


@pytest.mark.parametrize(
    "messages",
    [
        [Data(0, Stream.STDOUT, b"x")],
        [Data(2, Stream.STDIN, b"x")],
        [Eof(0, Stream.STDERR)],
        [Eof(0, Stream.STDIN), Eof(0, Stream.STDIN)],
        [Eof(0, Stream.STDIN), Data(0, Stream.STDIN, b"x")],
        [Resize(2, 1, 1)],
        [Ask(0, NAMES[0], NAMES[1], NAMES[3])],
        [Exit(0, 0)],
        [Accepted(0)],
        [Drop(0)],
        [Window(0, 0, 1)],
        [Serve(0, *NAMES, "", 0, 0)],
    ],
    ids=lambda messages: " ".join(type(message).__name__ for message in messages),
)
def test_what_a_caller_may_not_say_ends_its_call(cat: Served, messages: list[Message]) -> None:
    cat.say(*messages)
    with pytest.raises(ConnectionError):
        cat.leg.outcome()
    told = cat.ended()
    assert told
    assert told.blame == Blame.CALLER
    assert told.sentence.startswith("work broke the protocol: ")


@pytest.mark.parametrize(
    "garbage", [b"\xff" * 100, b"\x07\xff\xff\xff\xff", b"\x07\x00\x00\x00\x02\x00\x00", b"GET / HTTP/1.0"]
)
def test_garbage_ends_the_call(cat: Served, garbage: bytes) -> None:
    cat.leg.sock.sendall(garbage)
    with pytest.raises(ConnectionError):
        cat.leg.outcome()
    told = cat.ended()
    assert told
    assert told.blame == Blame.CALLER


def test_a_frame_in_small_pieces_is_one_frame(cat: Served) -> None:
    for byte in encode_frame(Data(0, Stream.STDIN, b"slowly")) + encode_frame(Eof(0, Stream.STDIN)):
        cat.leg.sock.sendall(bytes((byte,)))
    assert cat.leg.outcome().stdout == b"slowly"


def test_half_a_frame_and_then_nothing_is_a_call_that_ends_when_its_caller_goes(cat: Served) -> None:
    cat.leg.sock.sendall(encode_frame(Data(0, Stream.STDIN, b"x" * 100))[:50])
    cat.leg.sock.close()
    assert cat.ended() is None


def test_a_caller_that_writes_to_a_service_that_reads_nothing_is_held_up_and_not_remembered(tmp_path: Path) -> None:
    with served(script(tmp_path, "echo here; exec sleep 1000")) as one:
        assert one.leg.sock.recv(1, socket.MSG_PEEK)
        one.leg.sock.setblocking(False)
        frame, sent = encode_frame(Data(0, Stream.STDIN, bytes(MAX_DATA))), 0
        # What the kernel and the process hold between them is well below this.
        while sent < 100 * len(frame) and select.select([], [one.leg.sock], [], 1.0)[1]:
            sent += one.leg.sock.send(frame[sent % len(frame) :])
        assert sent < 20 * len(frame)
        one.leg.sock.close()
        assert one.ended() is None


def test_a_service_that_cannot_be_started_is_a_fault_with_a_sentence_for_the_host(tmp_path: Path) -> None:
    path = script(tmp_path, "")
    path.write_text("#!/nowhere\n")
    with served(path) as one:
        one.leg.give(b"")
        assert one.leg.outcome().code == 125
        assert one.ended() == Over(0, Blame.SERVER, "test.Add cannot be started: No such file or directory")


def test_a_service_has_its_three_streams_and_no_other_file(tmp_path: Path) -> None:
    with served(script(tmp_path, "exec ls /proc/self/fd")) as one:
        one.leg.give(b"")
        assert one.leg.outcome().stdout.split() == [b"0", b"1", b"2", b"3"]  # the last is that of ls


def test_a_box_whose_call_never_comes_ends_with_the_manager(tmp_path: Path) -> None:
    with waiting(script(tmp_path, "echo here")) as (process, control):
        control.shutdown(socket.SHUT_WR)
        _, words = process.communicate(timeout=PATIENCE)
    assert (process.returncode, words) == (0, b"")


def test_it_is_not_for_use_by_hand() -> None:
    argv = service_argv(Path("/bin/true"))
    by_hand = [*argv[: argv.index("--control-fd")], "--help"]
    done = subprocess.run(by_hand, capture_output=True, text=True, check=False)
    assert (done.returncode, "started by the manager" in done.stderr) == (1, True)
