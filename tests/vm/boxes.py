"""A home with real domains, worked with as a person does: by the `bento` command, which starts the manager itself.

What no command shows, and only a test may look at or end (processes, the manager's own socket), comes from the
manager's `Home`. Nothing here judges how long something takes: waits end with what they wait for, or after `PATIENCE`,
which is a hang.
"""

import contextlib
import fcntl
import json
import os
import pty
import secrets
import select
import shutil
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

from bento.host.drivers.sqlite import SqliteStore
from bento.host.drivers.template.manifest import MANIFEST, Manifest, decode_manifest
from bento.host.model.domain import Domain, DomainClass
from bento.host.model.inventory import DomainRecord, TemplateVersion
from bento.wire.names import DomainName, LabelName
from tests.host.manager.home import Home, end_process
from tests.vm.template import built_template

PATIENCE = 240.0
"""Seconds. A domain starts in 5 to 20, depending on who else computes."""

TEMPLATE = "debian-12"
DAMAGED = "damaged"
"""A template whose root image is noise."""
MUTE = "mute"
"""A template whose kernel starts a program that is no agent and says nothing."""

ANSWERS = {"qrexec_timeout": str(round(PATIENCE))}
"""For a guest to answer, or to listen as a seed, which is tried once: as long as anything here may take."""

Said = subprocess.CompletedProcess[str]


class Boxes(Home):
    """`bento(...)` is one command of a person; the rest puts several of them together."""

    def bento(self, *words: str, stdin: bytes | str = b"", **environment: str) -> Said:
        """What a command says, and how it ends."""
        if words[:1] == ("create",):  # what is given beside it comes later, and counts
            more = [word for key, value in ANSWERS.items() for word in ("--property", f"{key}={value}")]
            words = ("create", *more, *words[1:])
        done = subprocess.run(
            [sys.executable, "-m", "bento.cli", *words],
            input=stdin.encode() if isinstance(stdin, str) else stdin,
            capture_output=True,
            check=False,
            cwd=self.path,
            env=self.environment(**environment),
            timeout=PATIENCE,
        )
        return Said(words, done.returncode, *(text.decode(errors="replace") for text in (done.stdout, done.stderr)))

    def do(self, *words: str, stdin: bytes | str = b"") -> str:
        """What a command prints that must succeed."""
        said = self.bento(*words, stdin=stdin)
        assert said.returncode == 0, (words, said.returncode, said.stderr, self.log()[-2000:])
        return said.stdout

    def fail(self, *words: str) -> tuple[int, str]:
        """The exit code and the one sentence of a command that must fail."""
        code, sentence, more = self.fail_at_length(*words)
        assert not more, more
        return code, sentence

    def fail_at_length(self, *words: str) -> tuple[int, str, str]:
        """The same, and what follows the sentence."""
        said = self.bento(*words)
        assert said.returncode != 0, words
        sentence, _, more = said.stderr.partition("\n")
        assert sentence.startswith("bento: "), said.stderr
        return said.returncode, sentence.removeprefix("bento: "), more

    def begin(self, *words: str, **files: int) -> "subprocess.Popen[bytes]":
        """A command that goes on while others are given; `files` as `Popen` takes them."""
        argv = [sys.executable, "-m", "bento.cli", *words]
        # `Popen` cannot tell by its type that these are numbers of files.
        # The type checker cannot choose an overload for keywords that are handed on.
        return subprocess.Popen(argv, env=self.environment(), cwd=self.path, **files)  # type: ignore[call-overload,no-any-return]

    def sh(self, domain: str, script: str, user: str = "user") -> str:
        """What a shell script prints in a domain, in which it must succeed."""
        return self.do("run", "--user", user, domain, "--", "sh", "-c", script).strip()

    def ls(self, *names: str) -> dict[str, dict[str, Any]]:
        return {row["name"]: row for row in json.loads(self.do("ls", "--json", *names))}

    def see(self, domain: str, **values: object) -> None:
        """Wait until `bento ls` shows these of a domain."""
        wait_until(lambda: values.items() <= self.ls(domain)[domain].items(), f"{domain} with {values}")

    @property
    def pid(self) -> int:
        """The manager's, whichever command started it."""
        return int(json.loads(self.do("manager", "status", "--json"))["pid"])

    def end(self) -> None:
        if self.bento("manager", "status").returncode == 0:
            end_process(self.pid)
        super().end()


class Terminal:
    """A command on a terminal. `seen` is all that it printed so far."""

    def __init__(self, boxes: Boxes, *words: str, rows: int = 24, columns: int = 80) -> None:
        self._line, inner = pty.openpty()
        try:
            fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
            self._process = boxes.begin(*words, stdin=inner, stdout=inner, stderr=inner)
        finally:
            os.close(inner)
        self.seen = ""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._line)

    def type(self, text: str) -> None:
        os.write(self._line, text.encode())

    def wait_for(self, text: str) -> None:
        self.wait_for_after(0, text)

    def wait_for_after(self, start: int, text: str) -> None:
        """The same, passing over the first `start` characters."""
        end = time.monotonic() + PATIENCE
        while text not in self.seen[start:]:
            assert self._hear(end), f"no {text!r}, only: {self.seen[start:]}"

    def wait_for_end(self) -> int:
        """The exit code, when all that the command printed is in `seen`."""
        end = time.monotonic() + PATIENCE
        while self._hear(end):
            pass
        return self._process.wait(PATIENCE)

    def _hear(self, end: float) -> bool:
        """Whether there came something before `end`."""
        ready, _, _ = select.select([self._line], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"it hangs after: {self.seen}"
        with contextlib.suppress(OSError):  # EIO: nobody holds the other end any more
            if data := os.read(self._line, 65536):
                self.seen += data.decode(errors="replace").replace("\r", "")
                return True
        return False


def wait_until(happened: Callable[[], bool], what: str) -> None:
    """Ask again and again; each question is a command, so this does not spin."""
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, f"still not: {what}"


@contextmanager
def new_boxes() -> Iterator[Boxes]:
    """A home with the templates above and no manager yet."""
    boxes = Boxes(Path(tempfile.mkdtemp(prefix="bento-b-")))  # short: socket names hold 107 bytes
    try:
        _furnish(boxes.path)
        yield boxes
    finally:
        boxes.end()


def _furnish(home: Path) -> None:
    """Three templates where `bento template build` would have put one, made of the one that tests share."""
    built = built_template().directory
    manifest = decode_manifest((built / MANIFEST).read_text())
    first = home / "templates" / TEMPLATE / "1"
    shutil.copytree(built, first)
    for name in (DAMAGED, MUTE):
        shutil.copytree(first, home / "templates" / name / "1", copy_function=os.link)
    _write_anew(home / "templates" / DAMAGED / "1/root.erofs", secrets.token_bytes(1 << 20))
    mute = replace(manifest, cmdline="console=ttyS0 panic=-1 rdinit=/bin/sleep 1000000")
    _write_anew(home / "templates" / MUTE / "1" / MANIFEST, mute.encode().encode())
    with contextlib.closing(SqliteStore(home / "bento.db")) as store:
        for slot, name in enumerate((TEMPLATE, DAMAGED, MUTE), start=1):
            record = _record(store, DomainName(name), slot, manifest)
            (home / "domains" / str(record.domain.uuid)).mkdir(parents=True)


def _write_anew(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def _record(store: SqliteStore, name: DomainName, slot: int, manifest: Manifest) -> DomainRecord:
    domain = Domain(uuid4(), name, DomainClass.TEMPLATE, LabelName("black"), None)
    version = TemplateVersion(
        name, 1, manifest.digest, manifest.size, time.time(), manifest.flavor, len(manifest.packages)
    )
    record = DomainRecord(domain, slot=slot, base=1, properties=ANSWERS)
    store.put(record, version=version)
    return record
