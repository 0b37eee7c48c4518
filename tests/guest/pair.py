"""Two domains and the test between them, in the host's place: commands typed in one are served by the other."""

import os
import resource
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import bento.host.contract
from bento.host.contract.table import make
from bento.wire.contract import Broken, Follower
from bento.wire.rpc import Data, Role, Stream
from tests.guest.harness import PATIENCE, Agent, Call, Host, agent

SHIPPED = Path(bento.host.contract.__file__).parent / "shipped"

SOURCE = Path(__file__).parents[2] / "src"

PYTHON = f"env PYTHONPATH={SOURCE} {sys.executable} -S"


def type_command(
    root: Path,
    module: str,
    *arguments: str,
    stdin: bytes = b"",
    keep: int = 2,
    file_size: int = resource.RLIM_INFINITY,
    on: socket.socket | None = None,
    **more: str,
) -> "subprocess.Popen[bytes]":
    """A command of the guest half, where an agent may run at `root`.

    `keep` is a file that it has too, `file_size` the most bytes of a file that it may write, and `more` goes into its
    environment. Its input and output are `on` if that is given, else pipes.
    """
    (root / "home").mkdir(exist_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-S", "-m", f"bento.guest.commands.{module}", *arguments],
        env={**os.environ, "PYTHONPATH": str(SOURCE), "BENTO_AGENT": str(root / "run/bento/agent.sock"), **more},
        cwd=root / "home",
        pass_fds=[keep],
        preexec_fn=partial(resource.setrlimit, resource.RLIMIT_FSIZE, (file_size, file_size)),
        stdin=on.fileno() if on else subprocess.PIPE,
        stdout=on.fileno() if on else subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    if process.stdin is not None:
        process.stdin.write(stdin)
        process.stdin.close()
        process.stdin = None
    return process


def ended(process: "subprocess.Popen[bytes]") -> tuple[int, str]:
    """Exit code and stderr."""
    _, stderr = process.communicate(timeout=PATIENCE)
    return process.returncode, stderr.decode()


class Watch:
    """Follows a call by the contract of its service, if Bento brings one along."""

    def __init__(self, service: str, breaches: list[str]) -> None:
        path = SHIPPED / f"{service}.contract"
        self._breaches = breaches
        self._follower = Follower(make(path.name, path.read_bytes())) if path.is_file() else None

    def say(self, side: Role, said: bytes) -> None:
        self._follow(lambda follower: follower.say(side, said))

    def end(self, side: Role) -> None:
        self._follow(lambda follower: follower.end(side))

    def exit(self, code: int, complained: int) -> None:
        self._follow(lambda follower: follower.hear(Role.SERVER, Data(0, Stream.STDERR, bytes(complained))))
        self._follow(lambda follower: follower.exit(code))

    def _follow(self, hear: Callable[[Follower], object]) -> None:
        if self._follower:
            try:
                hear(self._follower)
            except Broken as breach:
                self._breaches.append(str(breach))
                self._follower = None


class Pair:
    """`asking` has the name random where it calls `serving`."""

    def __init__(self, asking: Agent, serving: Agent, from_host: Host, to_host: Host) -> None:
        self.asking = asking
        self.serving = serving
        self.from_host = from_host
        self.to_host = to_host
        self.breaches: list[str] = []
        """What broke the contract of a service that has one. The calls go on, as no broker is here to cut them."""
        self.incoming = serving.root / "home" / "QubesIncoming" / "random"

    def install(self, service: str, module: str) -> None:
        """A service of the guest half in `serving`."""
        self.serving.service(service, f"exec {PYTHON} -m bento.guest.services.{module}")

    def type(
        self,
        module: str,
        *arguments: str,
        stdin: bytes = b"",
        keep: int = 2,
        file_size: int = resource.RLIM_INFINITY,
        on: socket.socket | None = None,
        **more: str,
    ) -> "subprocess.Popen[bytes]":
        """A command of `asking`'s user, at home."""
        return type_command(
            self.asking.root, module, *arguments, stdin=stdin, keep=keep, file_size=file_size, on=on, **more
        )

    def allow(self, *, until: Callable[[], bool] = lambda: False, most: int = 1 << 40) -> Call:
        """Let the next call through to `serving`, to its end; or only `most` bytes of it, and break it off `until`."""
        asking = self.from_host.next_asked()
        assert asking.asked is not None
        self.from_host.accept(asking)
        serving = self.to_host.serve(asking.asked.service, asking.asked.argument, source="random", stdin=None)
        ended = False
        watch = Watch(asking.asked.service, self.breaches)
        while not serving.over and not asking.dropped:
            for host in (self.from_host, self.to_host):
                host.step(0.005)
            watch.say(Role.CALLER, bytes(asking.stdout[:most]))
            self.to_host.give(serving, bytes(asking.stdout[:most]))
            most -= len(asking.stdout[:most])
            asking.stdout.clear()
            if asking.ended and most and not ended:  # a call that breaks off never comes to its end
                ended = True
                watch.end(Role.CALLER)
                self.to_host.close_stdin(serving)
            watch.say(Role.SERVER, bytes(serving.stdout))
            self.from_host.give(asking, bytes(serving.stdout))
            serving.stdout.clear()
            if until():
                self.to_host.drop(serving)
                self.from_host.drop(asking)
        if asking.dropped and not serving.over:
            self.to_host.drop(serving)
        if serving.code is not None and not asking.dropped:
            watch.exit(serving.code, len(serving.stderr))
            self.from_host.exit(asking, serving.code)
        self.from_host.settle()
        self.to_host.settle()
        return asking

    def allow_all(self, process: "subprocess.Popen[bytes]") -> None:
        """Let calls through, one after the other, until the process ends."""
        while process.poll() is None:
            self.from_host.step(0.05)
            if self.from_host.asked:
                self.allow()

    def refuse(self, code: int) -> None:
        self.from_host.refuse(self.from_host.next_asked(), code)
        self.from_host.settle()


@contextmanager
def pair(root: Path) -> Iterator[Pair]:
    with (
        agent(root / "asking") as asking,
        agent(root / "serving") as serving,
        asking.host() as from_host,
        serving.host() as to_host,
    ):
        made = Pair(asking, serving, from_host, to_host)
        yield made
        assert made.breaches == []
