"""Two running domains that the benches call from and to, with a manager of their own.

In `loopback` they have no machine: their agents are plain processes on this host's kernel, and the hypervisor is the
tests' fake (`bento.host.drivers.fake`); the manager, its policy, the nursery and the brokers in their jail are what a
person runs. In `machines` everything is.
"""

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import caller
from bento.wire.rpc import MAX_DATA
from bento.wire.vmexec import encode_command
from tests.host.manager.home import FAKE, QEMU, TREE, Home, Leg, new_home
from tests.vm.furniture import furnish

CALLER, SERVER, DOM0 = "alpha", "beta", "dom0"
POLICY = "* * @anyvm @anyvm allow notify=no\n* * @anyvm @adminvm allow notify=no\n"
SERVICES = {
    caller.ECHO: "exec cat",
    caller.SINK: "exec cat >/dev/null",
    caller.SOURCE: 'exec dd if=/dev/zero bs=1M count="$1" status=none',
}
"""And `caller.EMPTY`, which is /usr/bin/true itself."""
PYTHON = ("/usr/bin/python3", "-I", "-S")
COMMAND = "import sys; sys.path.append({src!r}); from bento.cli.__main__ import main; sys.exit(main())"
TEMPLATE = "debian-12"


@dataclass(frozen=True, slots=True)
class Costs:
    """What those who carry calls have used so far: seconds of processors in all, bytes of memory by who it is."""

    seconds: float
    memory: dict[str, int]

    def __sub__(self, before: "Costs") -> "Costs":
        memory = {who: size - before.memory[who] for who, size in self.memory.items()}
        return Costs(self.seconds - before.seconds, memory)


class Domains:
    def __init__(self, home: Home, *, library: str, services: str) -> None:
        """`library` is where `bento` lies as a domain sees it, `services` where services do."""
        self._home = home
        self._services = services
        self._library = library
        self._program = (Path(__file__).parent / "caller.py").read_text()
        script = [f"mkdir -p {services}; cd {services}; ln -sf /usr/bin/true {caller.EMPTY}"]
        script += [f"printf '#!/bin/sh\\n%s\\n' '{line}' >{name}; chmod 755 {name}" for name, line in SERVICES.items()]
        outcome = home.run(SERVER, "sh", "-c", "; ".join(script), user="root")
        if outcome.code:
            raise SystemExit(f"bench: its services cannot be installed: {outcome.stderr.decode(errors='replace')}")

    @property
    def from_admin(self) -> caller.Door:
        return caller.by_manager(SERVER, str(self._home.path / "run/manager.sock"))

    def in_domain(self, what: str, count: int, size: int = 1, target: str = SERVER) -> Any:
        """What a program in `CALLER` measures (see `caller.WORK`)."""
        with self.program(what, count, size, target) as leg:
            leg.give(b"")
            outcome = leg.outcome()
        if outcome.code:
            raise SystemExit(f"bench: {what} in a domain: {outcome.stderr.decode(errors='replace')}")
        return json.loads(outcome.stdout)

    @contextlib.contextmanager
    def program(
        self, what: str, count: int = 1, size: int = 1, target: str = SERVER, *, where: str = CALLER, user: str = ""
    ) -> Iterator[Leg]:
        """It runs meanwhile; its stdin is open."""
        argv = ["env", f"PYTHONPATH={self._library}", "/usr/bin/python3", "-S", "-c", self._program]
        argv += [what, target, str(count), str(size)]
        service = f"qubes.VMExec+{encode_command([word.encode() for word in argv])}"
        with self._home.call(where, service, **({"user": user} if user else {})) as leg:
            yield leg

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """`caller.SOCKET` is served meanwhile."""
        socket = f"{self._services}/{caller.SOCKET}"
        with self.program("listen", target=socket, where=SERVER, user="root") as leg:
            leg.sock.recv(MAX_DATA)  # it says when it has begun
            yield
            leg.give(b"")
            leg.outcome()

    def costs(self) -> Costs:
        """Of the manager, the brokers, and the agents where they are processes here. What bench and callers use is not
        in it, but for callers in domains, once they ended."""
        carriers = {"manager": [self._home.pid], "brokers": self._home.broker_pids(), "agents": self._agents()}
        seconds = sum(_cpu_seconds(pid) for pids in carriers.values() for pid in pids)
        return Costs(seconds, {who: sum(map(_memory, pids)) for who, pids in carriers.items()})

    def command(self, *words: str) -> float:
        """Milliseconds of the `bento` command, started as the launcher of `make setup` does."""
        cache = ("-X", f"pycache_prefix={self._home.path / 'pycache'}")  # the checkout may not be ours to write
        argv = [*PYTHON, *cache, "-c", COMMAND.format(src=str(TREE / "src")), *words]
        environment = self._home.environment()
        del environment["PYTHONDONTWRITEBYTECODE"]
        began = time.perf_counter()
        subprocess.run(argv, env=environment, stdin=subprocess.DEVNULL, check=True)
        return (time.perf_counter() - began) * 1000

    def _agents(self) -> list[int]:
        running = (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        machines = set(self._home.machine_pids())
        return [pid for pid in running if b"\0bento.guest\0--listen\0" in _cmdline(pid) and _parent(pid) in machines]


@contextlib.contextmanager
def loopback() -> Iterator[Domains]:
    with new_home(FAKE) as home:
        home.start_manager()
        home.build(TEMPLATE)
        _install_in_admin(home.path / "config/qubes-rpc")
        with _running(home):
            yield Domains(home, library=str(TREE / "src"), services="/machine/guest/etc/qubes-rpc")
        home.stop_manager()


def _install_in_admin(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, line in {**SERVICES, caller.EMPTY: "exit 0"}.items():
        (directory / name).write_text(f"#!/bin/sh\n{line}\n")
        (directory / name).chmod(0o755)


@contextlib.contextmanager
def machines() -> Iterator[Domains]:
    """With a template of this state of the guest's half, built if there is none."""
    with new_home(QEMU) as home:
        furnish(home.path, TEMPLATE)
        home.start_manager()
        with _running(home):
            yield Domains(home, library="/usr/lib/bento", services="/usr/local/etc/qubes-rpc")
        home.stop_manager()


@contextlib.contextmanager
def _running(home: Home) -> Iterator[None]:
    home.policy(POLICY)
    _remove(home)
    for name in (CALLER, SERVER):
        home.create(name, TEMPLATE)
        home.start(name)
    try:
        yield
    finally:
        _remove(home)


def _remove(home: Home) -> None:
    for name, state in home.states().items():
        if name in (CALLER, SERVER):
            if state != "Halted":
                home.kill(name)
            home.ask("admin.vm.Remove", name)


def interpreter() -> float:
    """Milliseconds that starting and ending Python takes, which no client in Python can be below."""
    began = time.perf_counter()
    subprocess.run([*PYTHON, "-c", "pass"], check=True)
    return (time.perf_counter() - began) * 1000


def _cpu_seconds(pid: int) -> float:
    """Of a process and of its children that ended (proc(5): utime, stime, cutime, cstime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


def _memory(pid: int) -> int:
    """Bytes that are of no file (proc(5): RssAnon)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("RssAnon:"))


def _cmdline(pid: int) -> bytes:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
