"""Getting and keeping in step with the host: greetings, broken connections, hosts that are replaced or misbehave."""

import os
import socket
from pathlib import Path

import pytest

from bento.wire.calls import GRANT_AT
from bento.wire.channel import GREETING, NONCE_SIZE, PADDING, VERSION, greeting, seal_of
from bento.wire.errors import WireError
from bento.wire.frames import FrameReader, encode_frame
from bento.wire.layout import Message
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import (
    MAX_CALLS,
    WINDOW,
    Accepted,
    Data,
    Eof,
    Exit,
    Identity,
    Ready,
    Resize,
    Serve,
    Stream,
    Window,
)
from tests.guest.harness import PATIENCE, Agent, Host, Marks, agent, connect

IDENTITY = Identity(DomainName("work"), "AppVM", bytes(32), 0)


def serve(call: int, service: str = "qubes.VMExec", argument: str = "cat") -> Serve:
    names = ServiceName(service), ServiceArgument(argument), DomainName("dom0"), TargetName("")
    return Serve(call, *names, "", 0, 0)


def test_the_agent_says_it_is_ready_only_after_its_identity(running: Agent) -> None:
    with running.host(identified=False) as host:
        assert host.ready is None
        host.identify()
        assert host.ready == Ready(VERSION)


def noticed(host: Host) -> bool:
    """Does the host see that the agent has lost step? It then greets again and all is well."""
    try:
        host.until(lambda: False)
    except WireError:
        host.greet()
        host.identify()
        return host.run("qubes.VMExec", "echo+well").stdout == b"well\n"
    return False


@pytest.mark.parametrize("early", [serve(0), Data(0, 0, b"x"), Window(1, 0, 1)])
def test_nothing_is_served_before_the_identity(running: Agent, early: Message) -> None:
    with running.host(identified=False) as host:
        host.send(early)
        assert noticed(host)


@pytest.mark.parametrize(
    "illegal",
    [
        [IDENTITY],
        [serve(1)],
        [serve(4), serve(4)],
        [serve(4), serve(2)],
        [Data(0, Stream.STDIN, b"x")],
        [serve(0), Data(0, Stream.STDOUT, b"x")],
        [serve(0), Eof(0, Stream.STDIN), Eof(0, Stream.STDIN)],
        [serve(0), Eof(0, Stream.STDIN), Data(0, Stream.STDIN, b"x")],
        [serve(0), Exit(0, 0)],
        [serve(0), Accepted(0)],
        [serve(0), Window(0, Stream.STDOUT, 1)],
        [serve(0), Window(0, Stream.STDIN, 1)],
        [serve(0, "qubes.VMExec", "sleep+1000"), *[Data(0, Stream.STDIN, bytes(GRANT_AT))] * (WINDOW // GRANT_AT + 2)],
        [Resize(1, 1, 1)],
        [Accepted(1)],
        [serve(2 * number, "qubes.VMExec", "sleep+1000") for number in range(MAX_CALLS + 1)],
        [Ready(1)],
    ],
    ids=lambda messages: "+".join(dict.fromkeys(type(message).__name__ for message in messages)),
)
def test_a_host_that_says_what_it_may_not_is_waited_out(host: Host, illegal: list[Message]) -> None:
    for message in illegal:
        host.send(message)
    assert noticed(host)


@pytest.mark.parametrize("cut", [1, 4, 6, 40, 4000])
def test_a_host_replaced_in_the_middle_of_a_frame_is_answered(host: Host, cut: int) -> None:
    frame = encode_frame(Data(0, 0, GREETING + os.urandom(5000)), bytes(4))
    host.write(frame[:cut])
    host.greet()
    host.identify()
    assert host.run("qubes.VMExec", "echo+well").stdout == b"well\n"


def test_a_greeting_ends_the_calls_of_the_conversation_before(running: Agent, host: Host, marks: Marks) -> None:
    running.service("test.Wait", f"trap 'echo over >{marks.path}; kill $!; exit' HUP; sleep 1000 & echo ready; wait")
    call = host.serve("test.Wait", stdin=None)
    host.until(lambda: call.stdout == b"ready\n")
    host.greet()
    assert marks.lines(1) == ["over"]
    host.identify()
    assert host.run("qubes.VMExec", "true").code == 0


def test_a_greeting_inside_of_a_calls_data_is_data(host: Host) -> None:
    call = host.run("qubes.VMExec", "cat", stdin=greeting(os.urandom(NONCE_SIZE)))
    assert call.stdout[: len(PADDING)] == PADDING
    assert GREETING in call.stdout


def test_a_new_connection_finds_the_agent_waiting(running: Agent) -> None:
    for _ in range(3):
        with running.host() as host:
            host.serve("qubes.VMExec", "sleep+1000", stdin=None)
            assert host.run("qubes.VMExec", "echo+well").stdout == b"well\n"


def test_frames_of_another_seal_are_not_heard(host: Host) -> None:
    host.write(encode_frame(serve(0), seal_of(bytes(NONCE_SIZE))))
    assert noticed(host)


def test_noise_before_a_greeting_is_thrown_away(running: Agent) -> None:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(running.channel))
        connection.sendall(os.urandom(300_000))
        host = Host(connection)
        host.identify()
        assert host.run("qubes.VMExec", "true").code == 0


def test_a_shutdown_ends_the_agent_and_its_services(running: Agent, host: Host, marks: Marks) -> None:
    running.service("test.Wait", f"trap 'echo over >{marks.path}; kill $!; exit' HUP; sleep 1000 & echo ready; wait")
    call = host.serve("test.Wait", stdin=None)
    host.until(lambda: call.stdout == b"ready\n")
    host.shut_down()
    with pytest.raises(OSError, match=r"closed|reset"):
        host.until(lambda: False)
    assert marks.lines(1) == ["over"]
    assert running.process.wait() == 0


def test_an_agent_that_follows_a_crashed_one_makes_the_host_greet_again(tmp_path: Path) -> None:
    with agent(tmp_path) as first:
        with first.host() as host:
            assert host.run("qubes.VMExec", "true").code == 0
        first.process.kill()
        first.process.wait()
    (tmp_path / "channel.sock").unlink()
    with agent(tmp_path) as second:
        with connect(second.channel, second.process) as connection:
            connection.settimeout(PATIENCE)
            reader = FrameReader(seal=seal_of(os.urandom(NONCE_SIZE)))
            with pytest.raises(WireError):
                list(reader.feed(connection.recv(1 << 18)))
        with second.host() as host:
            assert host.run("qubes.VMExec", "true").code == 0
