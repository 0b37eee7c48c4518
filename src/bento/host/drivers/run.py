"""The one way by which drivers run a program to its end: an argv list, no shell, a pasteable line in the log.

What the program prints is read, never trusted: lines are bounded and undecodable bytes replaced. A program that fails
raises `Unavailable` with its own last words; one that isn't there is named with the package it comes from.
Programs that live on (QEMU, the broker's nursery) are no business of this module.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shlex
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from bento.host.model.errors import Unavailable

log = logging.getLogger(__name__)

#: Lines of standard error that a failure carries: enough for a cause and its symptom.
LAST_WORDS = 3

#: The longest line that is passed on whole; longer ones arrive in pieces of this size.
LINE_LIMIT = 65536

#: Debian package of each program that a driver may ask for and a small system may lack.
PACKAGES = {
    "mmdebstrap": "mmdebstrap",
    "newuidmap": "uidmap",
    "unshare": "util-linux",
    "setpriv": "util-linux",
}

Listener = Callable[[str], None]


async def run(
    argv: Sequence[str],
    *,
    stdin: bytes = b"",
    environment: Mapping[str, str] | None = None,
    on_output: Listener | None = None,
    on_error: Listener | None = None,
) -> str:
    """Run `argv` to its end and return its standard output, or "" if `on_output` takes it line by line.

    `environment` replaces this process's whole environment if given. Cancelling kills the program and waits for it.
    Raises `Unavailable`, one sentence, when it cannot start or exits other than 0.
    """
    log.info("run: %s", shlex.join(argv))
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=environment,
        )
    except FileNotFoundError as error:
        raise Unavailable(_missing(argv[0])) from error
    except OSError as error:
        raise Unavailable(f"cannot start {argv[0]}: {error.strerror}") from error
    output: list[str] = []
    last_words: deque[str] = deque(maxlen=LAST_WORDS)

    def hear_error(line: str) -> None:
        if line.strip():
            last_words.append(line.strip())
        if on_error:
            on_error(line)

    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_feed(process, stdin))
            tasks.create_task(_listen(process.stdout, on_output or output.append))
            tasks.create_task(_listen(process.stderr, hear_error))
        status = await process.wait()
    except BaseException:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if status:
        raise Unavailable(f"{argv[0]} {_how_it_ended(status)}: {'; '.join(last_words) or 'it said nothing'}")
    return "\n".join(output)


async def _feed(process: asyncio.subprocess.Process, data: bytes) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it need not read what it is given
        process.stdin.write(data)
        await process.stdin.drain()
    process.stdin.close()


async def _listen(stream: asyncio.StreamReader | None, hear: Listener) -> None:
    assert stream is not None
    pending = b""
    while chunk := await stream.read(LINE_LIMIT):
        *lines, pending = (pending + chunk).split(b"\n")
        for line in lines:
            hear(line.decode(errors="replace"))
        if len(pending) > LINE_LIMIT:
            hear(pending.decode(errors="replace"))
            pending = b""
    if pending:
        hear(pending.decode(errors="replace"))


def _missing(program: str) -> str:
    package = PACKAGES.get(program)
    hint = f"; install it with: apt-get install {package}" if package else ""
    return f"the program {program} is missing{hint}"


def _how_it_ended(status: int) -> str:
    return f"was killed by signal {-status}" if status < 0 else f"failed with exit code {status}"
