"""The host's side of the agent's channel, for tests: greets, identifies, begins and answers calls. No threads.

`agent(root)` runs the real agent in loopback mode; `Host` talks to it (or to any other agent's socket). Every wait has
a deadline so that a hang fails instead of hanging the run.
"""

import os
import select
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bento.wire.calls import Calls
from bento.wire.channel import NONCE_SIZE, AnswerHunter, greeting, seal_of
from bento.wire.frames import FrameReader, encode_frame
from bento.wire.layout import Message, Sender
from bento.wire.names import DomainName, ServiceArgument, ServiceName, TargetName
from bento.wire.rpc import (
    FROM_GUEST,
    MAX_DATA,
    Accepted,
    Ask,
    Data,
    Drop,
    Eof,
    Exit,
    Identity,
    Ready,
    Refused,
    Resize,
    Serve,
    Shutdown,
    Stream,
    Window,
)

PATIENCE = 240.0
"""Seconds until a wait counts as a hang."""


@dataclass(slots=True)
class Call:
    """One call as the host sees it. What came, what is still to be sent, and how it ended."""

    number: int
    stdout: bytearray = field(default_factory=bytearray)
    stderr: bytearray = field(default_factory=bytearray)
    stdin: bytearray = field(default_factory=bytearray)
    ended: set[Stream] = field(default_factory=set)
    code: int | None = None
    dropped: bool = False
    reading: bool = True
    unread: list[tuple[Stream, int]] = field(default_factory=list)
    asked: Ask | None = None
    closing: bool = False
    closed: bool = False

    @property
    def outcome(self) -> tuple[bytes, bytes, int | None]:
        return bytes(self.stdout), bytes(self.stderr), self.code

    @property
    def over(self) -> bool:
        return self.code is not None or self.dropped


class Host:
    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self.socket.setblocking(False)
        self.calls: dict[int, Call] = {}
        self.asked: list[Call] = []
        self.ready: Ready | None = None
        self._unwritten = bytearray()
        self._hunter: AnswerHunter | None = None
        self.greet()

    def greet(self) -> None:
        """Begin a conversation, whatever was before; returns when the agent has answered."""
        nonce = os.urandom(NONCE_SIZE)
        self._seal = seal_of(nonce)
        self._rules = Calls(Sender.HOST)
        self._hunter = AnswerHunter(nonce)
        self._reader = FrameReader(seal=self._seal)
        self.calls.clear()
        self.asked.clear()
        self.ready = None
        self.write(greeting(nonce))
        self.until(lambda: self._hunter is None)

    def identify(self, name: str = "work", seed: bytes = bytes(32)) -> None:
        self.send(Identity(DomainName(name), "AppVM", seed, time.time_ns()))
        self.until(lambda: self.ready is not None)

    def write(self, data: bytes) -> None:
        self._unwritten += data

    def send(self, message: Message) -> None:
        self.write(encode_frame(message, self._seal))

    def serve(
        self,
        service: str,
        argument: str = "",
        *,
        stdin: bytes | None = b"",
        source: str = "dom0",
        target: str = "",
        user: str = "",
        size: tuple[int, int] = (0, 0),
    ) -> Call:
        """Begin a call. `stdin` None: leave it open."""
        call = Call(self._rules.begin())
        self.calls[call.number] = call
        names = ServiceName(service), ServiceArgument(argument), DomainName(source), TargetName(target)
        self.send(Serve(call.number, *names, user, *size))
        if stdin is not None:
            self.give(call, stdin)
            self.close_stdin(call)
        return call

    def run(self, service: str, argument: str = "", **more: bytes | str | tuple[int, int]) -> Call:
        """A whole call, from beginning to end."""
        call = self.serve(service, argument, **more)  # type: ignore[arg-type]  # checked by `serve` itself
        return self.finish(call)

    def finish(self, call: Call) -> Call:
        self.until(lambda: call.over)
        return call

    def give(self, call: Call, data: bytes) -> None:
        """To the stdin of a call the host began, or to the stdout of one the guest asked for."""
        call.stdin += data
        self._push(call)

    def crumble(self, call: Call, count: int) -> None:
        """To its stdin as many bytes, which the window must hold, in as many messages."""
        self._rules.sent(Data(call.number, Stream.STDIN, bytes(count)))
        self.write(encode_frame(Data(call.number, Stream.STDIN, b"x"), self._seal) * count)

    def close_stdin(self, call: Call) -> None:
        call.closing = True
        self._push(call)

    def resize(self, call: Call, rows: int, columns: int) -> None:
        self.send(Resize(call.number, rows, columns))

    def drop(self, call: Call) -> None:
        self._say(Drop(call.number))
        call.dropped = True

    def next_asked(self) -> Call:
        self.until(lambda: bool(self.asked))
        return self.asked.pop(0)

    def accept(self, call: Call) -> None:
        self._say(Accepted(call.number))

    def refuse(self, call: Call, code: int) -> None:
        self._say(Refused(call.number, code))

    def exit(self, call: Call, code: int) -> None:
        """End an asked call once all its output is sent, or its caller takes no more."""
        self.until(lambda: not call.stdin or call.dropped)
        if call.dropped:
            return
        for stream in (Stream.STDERR,) if call.closed else (Stream.STDOUT, Stream.STDERR):
            self._say(Eof(call.number, stream))
        self._say(Exit(call.number, code))
        call.code = code

    def shut_down(self) -> None:
        self.send(Shutdown())
        self.until(lambda: not self._unwritten)

    def read_again(self, call: Call) -> None:
        """Take what was left unread while `reading` was off."""
        call.reading = True
        for stream, size in call.unread:
            self._consume(call, stream, size)
        call.unread.clear()

    def until(self, satisfied: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not satisfied():
            assert time.monotonic() < deadline, "the agent did not do it in time"
            self.step(deadline - time.monotonic())

    def retry(self, succeeds: Callable[[], bool]) -> None:
        """Again and again, each time with something of its own to wait for."""
        deadline = time.monotonic() + PATIENCE
        while not succeeds():
            assert time.monotonic() < deadline, "it did not come about in time"

    def settle(self) -> None:
        """Until the agent has acted on all that it was told before: it answers in order."""
        self.run("no.SuchService")

    def step(self, patience: float) -> None:
        readable, writable, _ = select.select(
            [self.socket], [self.socket] if self._unwritten else [], [], max(0.0, patience)
        )
        if writable:
            sent = self.socket.send(self._unwritten)
            del self._unwritten[:sent]
        if readable:
            data = self.socket.recv(1 << 18)
            if not data:
                raise ConnectionError("the agent closed the channel")
            self._hear(data)

    def _hear(self, data: bytes) -> None:
        if self._hunter is not None:
            rest = self._hunter.feed(data)
            if rest is None:
                return
            self._hunter = None
            data = rest
        for tag, payload in self._reader.feed(data):
            self._act(FROM_GUEST.decode(tag, payload))

    def _act(self, message: Message) -> None:
        if isinstance(message, Ready):
            self.ready = message
            return
        if not self._rules.receive(message):
            return
        if isinstance(message, Ask):
            call = Call(message.call, asked=message)
            self.calls[message.call] = call
            self.asked.append(call)
            return
        assert isinstance(message, Data | Eof | Exit | Drop | Window)
        call = self.calls[message.call]
        match message:
            case Data():
                stream = Stream(message.stream)
                (call.stderr if stream is Stream.STDERR else call.stdout).extend(message.payload)
                if call.reading:
                    self._consume(call, stream, len(message.payload))
                else:
                    call.unread.append((stream, len(message.payload)))
            case Eof():
                call.ended.add(Stream(message.stream))
            case Exit():
                call.code = message.code
            case Drop():
                call.dropped = True
            case Window():
                self._push(call)

    def _push(self, call: Call) -> None:
        stream = Stream.STDIN if call.asked is None else Stream.STDOUT
        while call.stdin and (room := self._rules.sendable(call.number, stream)):
            piece = bytes(call.stdin[: min(room, MAX_DATA)])
            del call.stdin[: len(piece)]
            self._say(Data(call.number, stream, piece))
        if call.closing and not call.stdin and not call.over:
            call.closing, call.closed = False, True
            self._say(Eof(call.number, stream))

    def _consume(self, call: Call, stream: Stream, size: int) -> None:
        grant = self._rules.consumed(call.number, stream, size)
        if grant is not None:
            self.send(grant)

    def _say(self, message: Data | Eof | Accepted | Refused | Exit | Drop) -> None:
        self._rules.sent(message)
        self.send(message)


@dataclass(frozen=True, slots=True)
class Agent:
    """A running agent in loopback mode."""

    root: Path
    process: "subprocess.Popen[bytes]"

    @property
    def channel(self) -> Path:
        return self.root / "channel.sock"

    def service(self, name: str, script: str, *, directory: str = "etc/qubes-rpc") -> Path:
        """Install a service: a shell script without its first line."""
        path = self.place(name, directory)
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def settings(self, name: str, text: str, *, directory: str = "etc/qubes/rpc-config") -> Path:
        """Install a file about how a service is served."""
        path = self.place(name, directory)
        path.write_text(text)
        return path

    def place(self, name: str, directory: str = "etc/qubes-rpc") -> Path:
        """Where a file of the agent's machine goes."""
        path = self.root / directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @contextmanager
    def host(self, *, identified: bool = True) -> Iterator[Host]:
        with connect(self.channel, self.process) as connection:
            host = Host(connection)
            if identified:
                host.identify()
            yield host

    def client(self) -> socket.socket:
        """A local program's connection to the agent, which opens its socket only after it has said it is ready."""
        connection = connect(self.root / "run/bento/agent.sock", self.process)
        connection.settimeout(PATIENCE)
        return connection


class Marks:
    """A fifo that programs under test write lines to: `echo ran >PATH` never blocks, and the test can wait for it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        # Open for writing too, so that it is never at its end.
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._read = b""

    def lines(self, count: int) -> list[str]:
        """The next `count` lines."""
        deadline = time.monotonic() + PATIENCE
        while self._read.count(b"\n") < count:
            ready, _, _ = select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, "no program made its mark in time"
            self._read += os.read(self._fd, 4096)
        *lines, self._read = self._read.split(b"\n", count)
        return [line.decode() for line in lines]

    def close(self) -> None:
        os.close(self._fd)


@contextmanager
def agent(root: Path) -> Iterator[Agent]:
    """The agent with `root` as its machine; ended when the block ends."""
    (root / "etc/qubes-rpc").mkdir(parents=True, exist_ok=True)
    source = Path(__file__).parents[2] / "src"
    command = [sys.executable, "-S", "-m", "bento.guest", "--listen", str(root / "channel.sock"), "--root", str(root)]
    process = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(source)})
    try:
        connect(root / "channel.sock", process).close()
        started = Agent(root, process)
        yield started
        if process.poll() is None:
            with started.host() as host:
                host.shut_down()
            process.wait(PATIENCE)
    finally:
        process.kill()
        process.wait()


def connect(path: Path, process: "subprocess.Popen[bytes]") -> socket.socket:
    """A connection to the socket that `process` opens there, now or soon."""
    deadline = time.monotonic() + PATIENCE
    while True:
        assert process.poll() is None, f"the agent ended with {process.returncode}"
        assert time.monotonic() < deadline, "the agent does not listen"
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            connection.close()
            os.sched_yield()
        else:
            return connection
