"""The people of these tests: a manager that starts a real nursery, guests that say what the test wants, and callers.

All reads have a deadline, so that a test that waits for what never comes fails
and does not hang; nothing else here knows the time.
"""

import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fcntl import ioctl
from pathlib import Path
from termios import TIOCOUTQ
from types import TracebackType
from typing import Self, TypeVar

from bento.wire.channel import answer, seal_of
from bento.wire.control import (
    FROM_BROKER,
    MAX_PACKET,
    Asked,
    Begin,
    Connect,
    Ended,
    Open,
    OpenConsole,
    Spawn,
    Spawned,
    Up,
    Withdrawn,
    decode_packet,
    encode_packet,
)
from bento.wire.frames import FrameReader, encode_frame
from bento.wire.greeting import GreetingHunter
from bento.wire.layout import Codec, Message
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import FROM_CALLER, FROM_HOST, FROM_SERVER, MAX_DATA, Data, Eof, Exit, Identity, Ready

TREE = Path(__file__).parents[3]
DEADLINE = 60.0
"""Seconds after which a read gives up: the test has failed."""

USUAL_BUFFER = 212_992
"""Bytes that wait in a socket at most, whatever this host's default is: some tests want more to wait elsewhere."""


M = TypeVar("M", bound=Message)


class Gone(Exception):
    """The other end closed its socket."""


class Listener:
    """Somebody who hears messages one after another."""

    def hear(self) -> Message:
        raise Gone

    def expect(self, kind: type[M]) -> M:
        message = self.hear()
        assert isinstance(message, kind), message
        return message


class Nursery:
    """A real one, in a process of its own."""

    def __init__(self, *program: str) -> None:
        """`program`: another one that becomes a nursery, as arguments of Python."""
        self.control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.control.settimeout(DEADLINE)
        self._stderr = _unnamed_file()
        with theirs:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-S", "-E", "-B", *(program or ("-m", "bento.host.broker"))),
                    *("--control-fd", str(theirs.fileno())),
                ],
                pass_fds=[theirs.fileno()],
                cwd=TREE / "src",
                stdin=subprocess.DEVNULL,
                stderr=self._stderr,
            )

    def spawn(self, name: str = "work", *, agent: bool = False, log: int | None = None) -> "Domain":
        """A broker; with `agent`, a guest in a process of its own at the other end, up already."""
        ours, theirs = _pair(socket.SOCK_SEQPACKET)
        guest, channel = _pair()
        machine, console = _pair()
        log = _unnamed_file() if log is None else os.dup(log)
        with theirs, channel, console:
            files = [theirs.fileno(), channel.fileno(), console.fileno(), log]
            socket.send_fds(self.control, [encode_packet(Spawn(DomainName.parse(name)))], files)
        spawned = decode_packet(FROM_BROKER, self.control.recv(MAX_PACKET))
        assert isinstance(spawned, Spawned)
        domain = Domain(name, spawned.pid, ours, Guest(guest), machine, log)
        if agent:
            try:
                domain.attach_agent()
            except BaseException:
                domain.close()
                raise
        return domain

    def said(self) -> str:
        """What nursery and brokers wrote on stderr so far."""
        return os.pread(self._stderr, 1 << 20, 0).decode()

    def close(self) -> None:
        self.control.close()
        self.process.wait(DEADLINE)
        os.close(self._stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass
class Domain(Listener):
    """A broker with the ends that belong to its manager and its machine."""

    name: str
    pid: int
    control: socket.socket
    guest: "Guest"
    machine: socket.socket
    """The machine's end of the console."""
    log: int
    agent: subprocess.Popen[bytes] | None = None
    ends: list[socket.socket] = field(default_factory=list)
    """The test's ends of calls and terminals, to be closed with the rest."""

    def attach_agent(self) -> None:
        channel = self.guest.sock
        channel.setblocking(True)
        self.agent = subprocess.Popen(
            [sys.executable, "-m", "tests.host.broker.agent", str(channel.fileno())],
            pass_fds=[channel.fileno()],
            cwd=TREE,
            env={**os.environ, "PYTHONPATH": str(TREE / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        channel.close()
        self.tell(self.begin_message())
        assert self.hear() == Up(1)

    def begin_message(self) -> Begin:
        return Begin(os.urandom(16), 0, DomainName.parse(self.name), "AppVM", bytes(32), 0)

    def begin(self) -> "Guest":
        """A guest of the test's own, up."""
        self.tell(self.begin_message())
        self.guest.greet()
        assert isinstance(self.guest.hear(), Identity)
        self.guest.say(Ready(1))
        assert self.hear() == Up(1)
        return self.guest

    def tell(self, message: Message, *files: int) -> None:
        socket.send_fds(self.control, [encode_packet(message)], files)

    def hear(self) -> Message:
        try:
            packet = self.control.recv(MAX_PACKET)
        except ConnectionError:
            packet = b""
        if not packet:
            raise Gone
        return decode_packet(FROM_BROKER, packet)

    def open(
        self, service: str, argument: str = "", *, source: str = "random", token: int = 0, contract: bytes = b""
    ) -> "Leg":
        """Call a service of the guest; the test is the caller."""
        ours, theirs = _pair()
        with theirs:
            self.ends.append(ours)
            request = open_message(service, argument, source=source, token=token, contract=contract)
            self.tell(request, theirs.fileno())
        return Leg(ours)

    def connect(self, token: int) -> "Leg":
        """Let the guest's call be; the test serves it."""
        ours, theirs = _pair()
        with theirs:
            self.ends.append(ours)
            self.tell(Connect(token), theirs.fileno())
        return Leg(ours)

    def join_console(self) -> socket.socket:
        ours, theirs = _pair()
        with theirs:
            self.ends.append(ours)
            self.tell(OpenConsole(), theirs.fileno())
        return ours

    def files(self) -> int:
        """How many files the broker has open."""
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def memory(self) -> int:
        """Bytes of memory that the broker alone uses."""
        with open(f"/proc/{self.pid}/smaps_rollup") as rollup:
            return sum(int(line.split()[1]) << 10 for line in rollup if line.startswith("Private_"))

    def logged(self) -> bytes:
        return os.pread(self.log, 1 << 24, 0)

    def settle(self) -> None:
        """Returns once the broker has looked at all that was there for it before.

        A terminal is joined and types: the broker looks at that last in each of its rounds.
        """
        with self.join_console() as terminal:
            for _ in range(2):
                terminal.sendall(b"?")
                assert self.machine.recv(1) == b"?"

    def says_now(self, guest: "Guest") -> bool:
        """Whether the broker has anything to say to its manager or its guest, with what they told it so far."""
        self.settle()
        return bool(guest.heard) or is_readable(self.control) or is_readable(guest.sock)

    def fill(self, leg: "Leg") -> None:
        """Write to the leg until the broker takes no more of it."""
        while is_writable(leg.sock):
            while is_writable(leg.sock):
                leg.write(bytes(1 << 16))  # which a socket that is writable takes at once
            self.settle()

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """The broker does nothing meanwhile, and finds all at once that happened."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            while status(self.pid)["State"][0] != "T":
                pass
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    @contextmanager
    def flooded_console(self) -> Iterator[None]:
        """The machine prints without end meanwhile, from a process of its own."""
        flood = "import socket, sys\ns = socket.socket(fileno=int(sys.argv[1]))\nwhile True: s.sendall(bytes(65536))"
        self.machine.setblocking(True)
        argv = [sys.executable, "-c", flood, str(self.machine.fileno())]
        with subprocess.Popen(argv, pass_fds=[self.machine.fileno()]) as flooding:
            while not self.logged():
                pass
            try:
                yield
                assert flooding.poll() is None
            finally:
                flooding.kill()

    def end(self) -> Ended:
        """The broker's last message, which must come, and nothing after it."""
        while not isinstance(message := self.hear(), Ended):
            assert isinstance(message, Asked | Withdrawn), message
        with_rest: list[Message] = []
        try:
            while True:
                with_rest.append(self.hear())
        except Gone:
            assert not with_rest
        return message

    def close(self) -> None:
        for sock in (self.control, self.guest.sock, self.machine, *self.ends):
            sock.close()
        os.close(self.log)
        if self.agent:
            self.agent.wait(DEADLINE)


class Guest(Listener):
    """The guest's end of a channel, which says what the test wants."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.seal = b""
        self.reader = FrameReader()
        self.heard: list[Message] = []

    def hunt(self) -> bytes:
        """The host's greeting: the nonce in it."""
        hunter = GreetingHunter()
        while (found := hunter.feed(self._recv())) is None:
            pass
        _, nonce, rest = found
        assert not rest
        return nonce

    def greet(self) -> None:
        nonce = self.hunt()
        self.seal = seal_of(nonce)
        self.reader = FrameReader(seal=self.seal)
        self.sock.sendall(answer(nonce))

    def say(self, *messages: Message) -> None:
        self.sock.sendall(b"".join(encode_frame(message, self.seal) for message in messages))

    def hear(self) -> Message:
        while not self.heard:
            self._keep(self._recv())
        return self.heard.pop(0)

    def is_heard(self) -> bool:
        """Whether the broker has read all that was said."""
        return all_read(self.sock)

    def _keep(self, data: bytes) -> None:
        self.heard += [FROM_HOST.decode(tag, payload) for tag, payload in self.reader.feed(data)]

    def _recv(self) -> bytes:
        data = self.sock.recv(1 << 18)
        if not data:
            raise Gone
        return data


class Leg(Listener):
    """The test's end of a call."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.reader = FrameReader()
        self.heard: list[Message] = []
        self.taken = b""

    def say(self, *messages: Message) -> None:
        self.sock.sendall(b"".join(map(encode_frame, messages)))

    def write(self, data: bytes, stream: int = 0) -> None:
        for at in range(0, len(data), MAX_DATA):
            self.say(Data(0, stream, data[at : at + MAX_DATA]))

    def eof(self, stream: int = 0) -> None:
        self.say(Eof(0, stream))

    def hear(self) -> Message:
        """For a caller: what the server said."""
        return self._hear(FROM_SERVER)

    def hear_caller(self) -> Message:
        """For a server: what the caller said."""
        return self._hear(FROM_CALLER)

    def _hear(self, codec: Codec) -> Message:
        while not self.heard:
            self.take(1 << 18)
            self.heard += [codec.decode(tag, payload) for tag, payload in self.reader.feed(self.taken)]
        return self.heard.pop(0)

    def take(self, size: int) -> None:
        """Read, and leave for later what it means."""
        try:
            self.taken = self.sock.recv(size)
        except ConnectionResetError:
            self.taken = b""
        if not self.taken:
            raise Gone

    def outcome(self) -> tuple[bytes, bytes, int]:
        """For a caller: stdout, stderr and the exit code; `Gone` if there is none."""
        out = {1: bytearray(), 2: bytearray()}
        while True:
            match self.hear():
                case Data(0, stream, payload):
                    out[stream] += payload
                case Exit(0, code):
                    return bytes(out[1]), bytes(out[2]), code
                case Eof(0, _):
                    pass
                case other:
                    raise AssertionError(other)

    def close(self) -> None:
        self.sock.close()


def open_message(
    service: str, argument: str = "", *, source: str = "random", token: int = 0, contract: bytes = b""
) -> Open:
    return Open(
        ServiceName.parse(service),
        ServiceArgument.parse(argument),
        DomainName.parse(source),
        TargetName.parse(""),
        "",
        0,
        0,
        token,
        contract,
    )


def _pair(kind: socket.SocketKind = socket.SOCK_STREAM) -> tuple[socket.socket, socket.socket]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, kind)
    ours.settimeout(DEADLINE)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, USUAL_BUFFER // 2)  # socket(7): it is doubled
    return ours, theirs


def read_until(sock: socket.socket, wanted: bytes) -> bytes:
    """What comes until it ends with `wanted`."""
    data = b""
    while not data.endswith(wanted):
        more = sock.recv(1 << 18)
        if not more:
            raise Gone
        data += more
    return data


def status(pid: int) -> dict[str, str]:
    """What proc(5) says of a process."""
    with open(f"/proc/{pid}/status") as lines:
        return dict(line.rstrip("\n").split(":\t", 1) for line in lines)


def all_read(sock: socket.socket) -> bool:
    """Whether the other end has read all that was written to it (unix(7): SIOCOUTQ, which is TIOCOUTQ)."""
    return not int.from_bytes(ioctl(sock, TIOCOUTQ, bytes(4)), sys.byteorder)


def is_readable(sock: socket.socket) -> bool:
    return bool(select.select([sock], [], [], 0)[0])


def is_writable(sock: socket.socket) -> bool:
    return bool(select.select([], [sock], [], 0)[1])


def _unnamed_file() -> int:
    fd, name = tempfile.mkstemp()
    os.unlink(name)
    return fd


@contextmanager
def domain(nursery: Nursery, name: str = "work", *, agent: bool = False, log: int | None = None) -> Iterator[Domain]:
    made = nursery.spawn(name, agent=agent, log=log)
    try:
        yield made
    finally:
        made.close()
