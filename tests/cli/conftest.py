"""A Bento home with a scripted manager in it, and the command run inside of this process or beside it."""

import fcntl
import os
import pty
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bento.cli import command
from tests.cli.fake import FakeManager

SOURCE = Path(__file__).parents[2] / "src"
# The command as its own process, but as whoever runs the tests: becoming another account has tests of its own.
PROGRAM = (
    "import os, sys, bento.cli.__main__ as entry, bento.cli.command as command;"
    " command.become_ordinary = lambda: None; os.geteuid = lambda: 1000; sys.exit(entry.main())"
)


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    path = tempfile.mkdtemp(prefix="bento-cli-")  # short: socket names hold 107 bytes
    monkeypatch.setenv("BENTO_HOME", path)
    for name in ("BENTO_DEBUG", "NO_COLOR", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(command, "become_ordinary", lambda: None)
    yield Path(path)
    shutil.rmtree(path)


@pytest.fixture
def manager(home: Path) -> Iterator[FakeManager]:
    with FakeManager(home / "run" / "manager.sock") as fake:
        yield fake


Bento = Callable[..., int]


@pytest.fixture
def bento(home: Path) -> Bento:
    """`bento("ls", "--json")` inside of this process; capsys has what it printed."""
    return lambda *words: command.main(words)


Spawn = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def spawn(home: Path) -> Iterator[Spawn]:
    """`spawn("run", "work", "--", "cat")`: the command as a process, its three standard files pipes unless told."""
    children: list[subprocess.Popen[bytes]] = []

    def start(*words: str, stdin: int = subprocess.PIPE, stdout: int = subprocess.PIPE) -> "subprocess.Popen[bytes]":
        environment = dict(os.environ, PYTHONPATH=str(SOURCE))
        child = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, *words],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=environment,
        )
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe:
                pipe.close()


class Terminal:
    """A person's terminal with the command on it."""

    def __init__(self, home: Path, *words: str, size: tuple[int, int] = (30, 90), program: str = PROGRAM) -> None:
        self.outer, self.inner = pty.openpty()
        self.resize(*size)
        self.before = termios.tcgetattr(self.inner)
        environment = dict(os.environ, PYTHONPATH=str(SOURCE), LANG="C.UTF-8", LC_ALL="C.UTF-8")
        self.child = subprocess.Popen(
            [sys.executable, "-c", program, *words],
            stdin=self.inner,
            stdout=self.inner,
            stderr=self.inner,
            env=environment,
        )

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.inner, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until(self, text: bytes) -> bytes:
        shown = b""
        while text not in shown:
            shown += os.read(self.outer, 4096)
        return shown

    def type(self, keys: bytes) -> None:
        os.write(self.outer, keys)

    def is_as_before(self) -> bool:
        return termios.tcgetattr(self.inner) == self.before


@pytest.fixture
def at(home: Path) -> Iterator[Callable[..., Terminal]]:
    terminals: list[Terminal] = []

    def sit(*words: str) -> Terminal:
        terminals.append(Terminal(home, *words))
        return terminals[-1]

    yield sit
    for one in terminals:
        one.child.kill()
        one.child.wait()
        os.close(one.outer)
        os.close(one.inner)


At = Callable[..., Terminal]
