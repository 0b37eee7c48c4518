"""Starting the manager: the first command that needs it does, and waits until it says that it is ready.

The manager runs on in a session of its own, in `/`, with its output in its
log. It tells how it went in one line on a file it inherits: `ready`, or
`error: SENTENCE`. A lock makes a second command that comes meanwhile wait for
the first one's manager instead of starting another.
"""

import fcntl
import os
import select
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import bento
from bento.cli.connect import listens
from bento.cli.exits import Code, Failed
from bento.wire.home import Home

DEADLINE = 30.0
"""Seconds that the manager has to say that it is ready."""

MANAGER = (sys.executable, "-I" if sys.flags.isolated else "-P", "-m", "bento.host.manager")
"""As isolated as this command is, and at least so that the directory where the person stands chooses no modules."""


def launch(home: Home, command: Sequence[str] | None = None, deadline: float = DEADLINE) -> None:
    """See to it that a manager listens, started now or by another command in the meantime; `Failed` with its reason."""
    try:
        for directory in (home.data, home.run):
            Path(directory).mkdir(mode=0o700, parents=True, exist_ok=True)
        with open(home.run / "starting.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # whoever holds it gives up after the same deadline
            if listens(home):
                return
            verdict = _start(home, command or MANAGER, time.monotonic() + deadline)
    except OSError as error:
        raise Failed(f"cannot start the manager: {error.filename or ''}: {error.strerror}", Code.OUTSIDE) from None
    if not listens(home):
        raise Failed(
            verdict or f"the manager said that it is ready, but nobody listens at {home.manager_socket}", Code.OUTSIDE
        )


def _start(home: Home, command: Sequence[str], until: float) -> str:
    """Start it; what it complained of, empty if nothing."""
    listen, say = os.pipe()
    try:
        with open(home.manager_log, "ab") as log:
            subprocess.Popen(
                [*command, "--ready-fd", str(say)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=environment(isolated=bool(sys.flags.isolated)),
                pass_fds=(say,),
                start_new_session=True,
            )
    except BaseException:
        os.close(listen)
        raise
    finally:
        os.close(say)
    with open(listen, "rb", buffering=0) as ready:
        return _verdict(home, _line(ready.fileno(), until))


def _verdict(home: Home, line: bytes | None) -> str:
    match line:
        case b"ready":
            return ""
        case None:
            return f"the manager was not ready after {DEADLINE:.0f} seconds; its log is {home.manager_log}"
        case _ if line.startswith(b"error: "):
            return line.removeprefix(b"error: ").decode(errors="replace")
        case _:
            return f"the manager ended before it was ready; its log is {home.manager_log}"


def _line(file: int, until: float) -> bytes | None:
    """One line, what there was of it at the end of the file, or None at the deadline."""
    line = b""
    while not line.endswith(b"\n"):
        left = until - time.monotonic()
        if left <= 0 or not select.select([file], [], [], left)[0]:
            return None
        piece = os.read(file, 4096)
        if not piece:
            break
        line += piece
    return line.removesuffix(b"\n")


def environment(*, isolated: bool) -> dict[str, str]:
    """The manager's. It finds this very Bento although it runs in `/`: installed, or by paths made absolute."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if isolated:
        return kept
    root = str(Path(bento.__file__).resolve().parent.parent)
    others = [str(Path(entry).absolute()) for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry]
    return kept | {"PYTHONPATH": os.pathsep.join(dict.fromkeys([root, *others]))}
