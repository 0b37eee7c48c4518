"""A manager that answers what a test scripts, over a real socket, and the ends of legs that it hands out.

It speaks the Admin API with `wire/admin.py`, one thread a connection, and keeps
every request for the test to look at.
"""

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from bento.wire.admin import Event, Failure, Request, encode_event, encode_failure, encode_ok, parse_request
from bento.wire.frames import FrameReader, encode_frame
from bento.wire.layout import Message
from bento.wire.names import DomainName
from bento.wire.rpc import FROM_CALLER, MAX_DATA, Data, Exit
from bento.wire.vmexec import decode_command

Serve = Callable[[socket.socket], None]
Guest = Callable[[socket.socket, Request], None]


class FakeManager:
    """Listens at `path` in a `with` block. `answers` maps METHOD or `METHOD+ARG DEST` to what comes back."""

    def __init__(self, path: Path) -> None:
        self.answers: dict[str, bytes | Failure | list[Event | Failure | bytes] | Callable[[Request], bytes]] = {}
        self.files: dict[str, Callable[[Request], int]] = {}
        """Method -> the file that goes with its answer; who opens it closes it."""
        self.legs: dict[str, Serve] = {}
        """Method -> what the serving end of the leg does with it, in a thread of its own."""
        self.streams: dict[str, Callable[[], Iterator[Event]]] = {}
        """Method -> events as the test comes to them."""
        self.guest: Guest | None = None
        """Serves every `bento.vm.Call` for which there is nothing in `legs`."""
        self.requests: list[Request] = []
        self.gone = threading.Event()
        """Set when a client went away before the fake was done with it."""
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> "FakeManager":
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(20)
            assert not thread.is_alive()

    @property
    def asked(self) -> list[str]:
        """The requests as text: METHOD+ARG DEST PAYLOAD."""
        return [_text(one) + (f" {one.payload.decode()!r}" if one.payload else "") for one in self.requests]

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments)
        thread.start()
        self._threads.append(thread)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            data = b""
            while piece := connection.recv(65_536):
                data += piece
            if not data:
                return
            asked = parse_request(data, DomainName("dom0"))
            self.requests.append(asked)
            try:
                self._answer(asked, connection)
            except (BrokenPipeError, ConnectionResetError):
                self.gone.set()

    def _answer(self, asked: Request, connection: socket.socket) -> None:
        guest = self.guest
        serve = self.legs.get(asked.method)
        if serve is None and guest and asked.method == "bento.vm.Call":
            serve = partial(_served, guest, asked)
        if serve:
            ours, theirs = socket.socketpair()
            socket.send_fds(connection, [encode_ok(b"")], [theirs.fileno()])
            theirs.close()
            self._start(self._leg, serve, ours)
            return
        if opened := self.files.get(asked.method):
            socket.send_fds(connection, [encode_ok(b"")], [opened(asked)])
            return
        if events := self.streams.get(asked.method):
            for event in events():
                connection.sendall(encode_event(event))
            return
        match self.answers.get(_text(asked), self.answers.get(asked.method)):
            case bytes(content):
                connection.sendall(encode_ok(content))
            case Failure() as failure:
                connection.sendall(encode_failure(failure))
            case list(things):
                for thing in things:
                    match thing:
                        case Event():
                            connection.sendall(encode_event(thing))
                        case Failure():
                            connection.sendall(encode_failure(thing))
                        case bytes(raw):
                            connection.sendall(raw)
            case None:
                raise AssertionError(f"the test has no answer for {_text(asked)}")
            case answer:
                connection.sendall(answer(asked))

    def _leg(self, serve: Serve, leg: socket.socket) -> None:
        with leg:
            try:
                serve(leg)
            except (BrokenPipeError, ConnectionResetError):
                self.gone.set()


def _served(guest: Guest, asked: Request, leg: socket.socket) -> None:
    guest(leg, asked)


def _text(asked: Request) -> str:
    return f"{asked.method}+{asked.argument} {asked.destination}"


def say(leg: socket.socket, *messages: Message) -> None:
    for message in messages:
        leg.sendall(encode_frame(message))


class Heard:
    """What the caller said over a leg, message by message; None once it has hung up."""

    def __init__(self, leg: socket.socket) -> None:
        self._leg = leg
        self._reader = FrameReader()
        self._messages: list[Message] = []

    def next(self) -> Message | None:
        while not self._messages:
            data = self._leg.recv(65_536)
            if not data:
                return None
            self._messages = [FROM_CALLER.decode(tag, payload) for tag, payload in self._reader.feed(data)]
        return self._messages.pop(0)


def run_here(directory: Path) -> Guest:
    """A guest whose home is `directory`: it runs the commands of `qubes.VMExec` as programs of this machine."""

    def serve(leg: socket.socket, asked: Request) -> None:
        service, _, argument = asked.argument.partition("+")
        assert service == "qubes.VMExec"
        heard, given = Heard(leg), b""
        while isinstance(message := heard.next(), Data):
            given += message.payload
        done = subprocess.run(decode_command(argument), cwd=directory, input=given, capture_output=True, check=False)
        for stream, data in ((1, done.stdout), (2, done.stderr)):
            for at in range(0, len(data), MAX_DATA):
                say(leg, Data(0, stream, data[at : at + MAX_DATA]))
        say(leg, Exit(0, done.returncode))

    return serve
