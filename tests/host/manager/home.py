"""A home with a manager in it, as a client of the Admin API sees it; and what only a test may look at.

`Home` starts managers as processes, asks them over their socket, and at the end sees to it that nothing is left of it:
no process and no file. Waits end with an answer, an event, or a failure after `PATIENCE` seconds, which is a hang.
"""

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from bento.wire.admin import Event, EventReader, Failure, Ok, Request, parse_reply
from bento.wire.frames import FrameReader, encode_frame
from bento.wire.names import DomainName, ServiceArgument, ServiceName
from bento.wire.rpc import FROM_SERVER, MAX_DATA, Data, Eof, Exit, Stream
from bento.wire.vmexec import encode_command

TREE = Path(__file__).parents[3]
PATIENCE = 240.0
FAKE = ("tests.host.manager.launcher",)
QEMU = ("bento.host.manager",)


class Failed(Exception):
    """The manager's answer was a failure."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"{failure.fault}: {failure.sentence}")
        self.fault = failure.fault
        self.sentence = failure.sentence


class Home:
    def __init__(self, path: Path, module: Sequence[str] = FAKE) -> None:
        self.path = path
        self.module = module
        self.process: subprocess.Popen[bytes] | None = None
        self.mark = f"bento-{sha256(str(path).encode()).hexdigest()[:16]}-"

    # The manager's process.

    def start_manager(self, **environment: str) -> None:
        """Returns when it serves; `AssertionError` with its sentence if it does not start."""
        line = self.try_manager(**environment)
        assert line == "ready", line

    def try_manager(self, **environment: str) -> str:
        """Start one, and give the line it says: `ready`, `error: ...`, or nothing if it died before."""
        self.process, ready = self.begin_manager(**environment)
        with open(ready, "rb") as told:
            return told.read().decode().strip()

    def begin_manager(self, **environment: str) -> tuple["subprocess.Popen[bytes]", int]:
        """A manager that may not serve yet, and the pipe that it will tell on."""
        ready, tell = os.pipe()
        try:
            with open(self.path / "stderr", "ab") as stderr:
                process = subprocess.Popen(
                    [sys.executable, "-m", *self.module, "--ready-fd", str(tell)],
                    env=self.environment(**environment),
                    pass_fds=(tell,),
                    stdin=subprocess.DEVNULL,
                    stdout=stderr,
                    stderr=stderr,
                    start_new_session=True,
                )
        finally:
            os.close(tell)
        return process, ready

    def environment(self, **more: str) -> dict[str, str]:
        path = os.pathsep.join((str(TREE / "src"), str(TREE)))
        return {**os.environ, "BENTO_HOME": str(self.path), "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **more}

    def kill_manager(self) -> None:
        assert self.process
        self.process.kill()
        self.process.wait(PATIENCE)

    def wait_for_end(self) -> int:
        assert self.process
        return self.process.wait(PATIENCE)

    def stop_manager(self) -> None:
        self.ask("bento.manager.Stop")
        assert self.wait_for_end() == 0, self.log()

    @property
    def pid(self) -> int:
        assert self.process
        return self.process.pid

    def log(self) -> str:
        return "".join(
            (self.path / name).read_text() for name in ("manager.log", "stderr") if (self.path / name).exists()
        )

    # What a client does.

    def connect(self) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # A deadline would make it fail where it has to wait for a place in the backlog.
            connection.connect(str(self.path / "run/manager.sock"))
        except OSError:
            connection.close()
            raise
        connection.settimeout(PATIENCE)
        return connection

    def send(
        self, method: str, destination: str = "dom0", argument: str = "", payload: str | bytes = b""
    ) -> socket.socket:
        """The connection on which the answer will come."""
        content = payload.encode() if isinstance(payload, str) else payload
        asked = Request(
            ServiceName(method), ServiceArgument(argument), DomainName("dom0"), DomainName(destination), content
        )
        connection = self.connect()
        try:
            connection.sendall(asked.encode())
            connection.shutdown(socket.SHUT_WR)
        except OSError:
            connection.close()
            raise
        return connection

    def ask(self, method: str, destination: str = "dom0", argument: str = "", payload: str | bytes = b"") -> str:
        """The content of the answer, or `Failed`."""
        with self.send(method, destination, argument, payload) as connection:
            return answer(connection)

    def refused(self, method: str, destination: str = "dom0", argument: str = "", payload: str | bytes = b"") -> Failed:
        """The failure that must be the answer."""
        try:
            content = self.ask(method, destination, argument, payload)
        except Failed as failed:
            assert "\n" not in failed.sentence, "one sentence"
            assert failed.sentence, "a sentence"
            return failed
        raise AssertionError(f"{method} of {destination} was done: {content!r}")

    def take_file(self, method: str, destination: str, argument: str = "", payload: str = "") -> int:
        """The open file that comes with the answer."""
        with self.send(method, destination, argument, payload) as connection:
            data, files, _, _ = socket.recv_fds(connection, 65_536, 1)
            while piece := connection.recv(65_536):
                data += piece
        _content(data)
        (file,) = files
        return file

    @contextlib.contextmanager
    def events(self, of: str = "dom0") -> Iterator["Listener"]:
        """Listens from now on, to what happens to one domain or to all."""
        with self.send("admin.Events", of) as connection:
            listener = Listener(connection)
            listener.until("connection-established")
            yield listener

    # Domains.

    def build(self, distribution: str = "debian-12", **fields: str) -> list[Event]:
        payload = "".join(f"{key}={value}\n" for key, value in fields.items())
        with self.send("bento.template.Build", argument=distribution, payload=payload) as connection:
            return Listener(connection).rest()

    def create(self, name: str, template: str = "", klass: str = "AppVM", label: str = "red") -> None:
        self.ask(f"admin.vm.Create.{klass}", argument=template, payload=f"name={name} label={label}")

    def start(self, name: str) -> None:
        self.ask("admin.vm.Start", name)

    def shutdown(self, name: str) -> None:
        self.ask("admin.vm.Shutdown", name, "wait")

    def kill(self, name: str) -> None:
        self.ask("admin.vm.Kill", name)

    def state(self, name: str) -> str:
        return self.states()[name]

    def states(self) -> dict[str, str]:
        return {row["name"]: row["state"] for row in self.table()}

    def table(self) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(self.ask("bento.vm.Table"))
        return rows

    def row(self, name: str) -> dict[str, Any]:
        return next(row for row in self.table() if row["name"] == name)

    def run_dir(self, name: str) -> Path:
        return self.path / "run/domains" / str(self.row(name)["uuid"])

    def data_dir(self, name: str) -> Path:
        return self.path / "domains" / str(self.row(name)["uuid"])

    def call(self, name: str, service: str, **fields: str) -> "Leg":
        payload = "".join(f"{key}={value}\n" for key, value in fields.items())
        return Leg(socket.socket(fileno=self.take_file("bento.vm.Call", name, service, payload)))

    def run(self, name: str, *argv: str, stdin: bytes = b"", **fields: str) -> "Outcome":
        """A program in a domain, from beginning to end."""
        with self.call(name, f"qubes.VMExec+{encode_command([word.encode() for word in argv])}", **fields) as leg:
            leg.give(stdin)
            return leg.outcome()

    def install(self, name: str, service: str, script: str) -> None:
        """A service in a pretended domain that runs: a shell script without its first line."""
        path = self.run_dir(name) / "guest/etc/qubes-rpc" / service
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def run_from(self, name: str, target: str, service: str, stdin: bytes = b"") -> "Outcome":
        """What a program in a pretended domain gets that calls `service` of `target`."""
        with self.call_from(name, target, service) as leg:
            leg.give(stdin)
            return leg.outcome()

    def call_from(self, name: str, target: str, service: str) -> "Leg":
        """A program in a pretended domain that calls `service` of `target`, under way."""
        program = ("/usr/bin/python3", "-S", "-m", "bento.guest.commands.qrexec_client_vm")
        words = ("env", f"PYTHONPATH={TREE / 'src'}", *program, target, service)
        return self.call(name, f"qubes.VMExec+{encode_command([word.encode() for word in words])}")

    def policy(self, text: str, name: str = "30-user.policy") -> None:
        aside = self.path / "config/policy.d" / f".{name}"
        aside.write_text(text)
        aside.rename(aside.with_name(name))

    # What no client sees.

    def broker_pid(self, name: str) -> int:
        """The broker of a domain, which calls itself after it."""
        title = f"bento:{name}"[:15]
        (found,) = [pid for pid in _descendants(self.pid) if _comm(pid) == title]
        return found

    def running(self, what: str) -> list[int]:
        """Processes of whoever's whose command line has these words."""
        return [pid for pid in _pids() if what in _cmdline(pid)]

    def broker_pids(self) -> list[int]:
        return [pid for pid in _descendants(self.pid) if _comm(pid).startswith("bento:")]

    def nursery_pid(self) -> int:
        """The nursery itself, in its box; its children are the brokers."""
        return self.nursery_pids()[0]

    def nursery_pids(self) -> list[int]:
        """It and its box, if there is one, from the inside."""
        return [pid for pid in _descendants(self.pid) if " -m bento.host.broker" in f" {_cmdline(pid)}"]

    def machine_pids(self) -> list[int]:
        """Every process that bears this home's mark: of domains, of spares, and of what is to be a seed."""
        return [pid for pid in _pids() if self.mark in _cmdline(pid)]

    def machine_pids_of(self, uuid: str) -> list[int]:
        """Every process of one domain's machine."""
        return [pid for pid in _pids() if f"{self.mark}{uuid}" in _cmdline(pid)]

    def brokers(self) -> list[str]:
        """The names of the domains that brokers of this home serve, whoever started these."""
        return [served for pid in _pids() if (served := self._served_by(pid))]

    def _served_by(self, pid: int) -> str:
        title = _comm(pid)
        if not title.startswith("bento:"):
            return ""
        # A broker says its domain's name, cut short, and nothing of its home; its log is a file of the home, or one in
        # memory that is called after the domain's uuid.
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                link = os.readlink(f"/proc/{pid}/fd/{fd}")
                uuid = link.removeprefix("/memfd:bento-console-").removesuffix(" (deleted)")
                if link.startswith(f"{self.path}/domains/") or (
                    uuid != link and (self.path / "domains" / uuid).exists()
                ):
                    return title.removeprefix("bento:")
        return ""

    def end(self) -> None:
        """Take everything away."""
        if self.process and self.process.poll() is None:
            self.kill_manager()
        while pids := self.machine_pids():
            for pid in pids:
                end_process(pid)
        shutil.rmtree(self.path)


@contextlib.contextmanager
def new_home(module: Sequence[str] = FAKE) -> Iterator[Home]:
    home = Home(Path(tempfile.mkdtemp(prefix="bento-m-")), module)  # short: socket names hold 107 bytes
    try:
        yield home
    finally:
        home.end()


class Listener:
    """Events as they come."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = EventReader()
        self._heard: list[Event] = []

    def next(self) -> Event | None:
        """None at the end."""
        while not self._heard:
            data = self._connection.recv(65_536)
            if not data:
                return None
            self._heard += self._reader.feed(data)
        return self._heard.pop(0)

    def until(self, name: str, subject: str | None = None) -> list[Event]:
        """All events up to the one of that name, which is the last."""
        heard: list[Event] = []
        while event := self.next():
            heard.append(event)
            if event.name == name and subject in (None, event.subject):
                return heard
        raise AssertionError(f"the stream ended without {name}: {heard}")

    def rest(self) -> list[Event]:
        """All events to the end; `Failed` if that is a failure."""
        heard = []
        while event := self.next():
            heard.append(event)
        _content(self._reader.rest())
        return heard


@dataclass(frozen=True, slots=True)
class Outcome:
    code: int
    stdout: bytes
    stderr: bytes


class Leg:
    """The caller's end of a call."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self.received = {Stream.STDOUT: bytearray(), Stream.STDERR: bytearray()}

    def __enter__(self) -> "Leg":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def write(self, data: bytes) -> None:
        for at in range(0, len(data), MAX_DATA):
            self.sock.sendall(encode_frame(Data(0, Stream.STDIN, data[at : at + MAX_DATA])))

    def give(self, data: bytes) -> None:
        """All of stdin. A server that ended already takes none."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.write(data)
            self.sock.sendall(encode_frame(Eof(0, Stream.STDIN)))

    def outcome(self) -> Outcome:
        """`ConnectionError` if the call broke before its program ended; `received` has what came until then."""
        out = self.received
        reader = FrameReader()
        while data := self.sock.recv(1 << 17):
            for tag, payload in reader.feed(data):
                match FROM_SERVER.decode(tag, payload):
                    case Data(stream=stream, payload=piece):
                        out[Stream(stream)] += piece
                    case Exit(code=code):
                        return Outcome(code, bytes(out[Stream.STDOUT]), bytes(out[Stream.STDERR]))
                    case _:
                        pass
        raise ConnectionError("the call broke before its program ended")


def answer(connection: socket.socket) -> str:
    """The content of the answer that comes on it, or `Failed`."""
    data = b""
    while piece := connection.recv(65_536):
        data += piece
    return _content(data)


def _content(data: bytes) -> str:
    match parse_reply(data):
        case Ok(content):
            return content.decode()
        case Failure() as failure:
            raise Failed(failure)


def end_process(pid: int) -> None:
    """Kill any process of ours and wait until it is gone."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(handle, signal.SIGKILL)
        gone, _, _ = select.select([handle], [], [], PATIENCE)
        assert gone, f"process {pid} does not end"
    finally:
        os.close(handle)


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _children(pid: int) -> list[int]:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def _descendants(pid: int) -> list[int]:
    found = []
    for child in _children(pid):
        found += [*_descendants(child), child]
    return found


def _cmdline(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):
        return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
    return ""


def _comm(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""
