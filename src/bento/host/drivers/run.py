"""The one way by which drivers run a program to its end: an argv list, no shell, a pasteable line in the log.

What the program prints is read, never trusted: lines are bounded and undecodable bytes replaced. A program that fails
raises `Unavailable` with its own last words; one that isn't there is named with the package it comes from.
Programs that live on (QEMU, the broker's nursery) are no business of this module.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shlex
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import BinaryIO

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

    `environment` replaces this process's whole environment if given. Cancelling kills the program and waits for it, but
    not for what it has started. Raises `Unavailable`, one sentence, when it cannot start or exits other than 0.
    """
    log.info("run: %s", shlex.join(argv))
    output: list[str] = []
    last_words: deque[str] = deque(maxlen=LAST_WORDS)

    def hear_error(line: str) -> None:
        if line.strip():
            last_words.append(line.strip())
        if on_error:
            on_error(line)

    with contextlib.ExitStack() as ours, contextlib.ExitStack() as theirs:
        try:
            # Files of our own. Until pipes of asyncio's have come to their ends it calls no program ended: one that is
            # read no more never does, nor one that somebody holds who outlives a killed program.
            given = _in_memory(stdin, theirs)
            said, saying = _pipe(ours, theirs)
            complaint, complaining = _pipe(ours, theirs)
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=given, stdout=saying, stderr=complaining, env=environment
            )
        except FileNotFoundError as error:
            raise Unavailable(_missing(argv[0])) from error
        except OSError as error:
            raise Unavailable(f"cannot start {argv[0]}: {error.strerror}") from error
        theirs.close()
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(_listen(said, on_output or output.append))
                tasks.create_task(_listen(complaint, hear_error))
            status = await process.wait()
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise
    if status:
        raise Unavailable(f"{argv[0]} {_how_it_ended(status)}: {'; '.join(last_words) or 'it said nothing'}")
    return "\n".join(output)


def _in_memory(content: bytes, theirs: contextlib.ExitStack) -> int:
    fd = os.memfd_create("bento-stdin", os.MFD_CLOEXEC)
    theirs.callback(os.close, fd)
    os.pwrite(fd, content, 0)
    return fd


def _pipe(ours: contextlib.ExitStack, theirs: contextlib.ExitStack) -> tuple[BinaryIO, BinaryIO]:
    read, write = os.pipe2(os.O_CLOEXEC)
    return ours.enter_context(open(read, "rb", buffering=0)), theirs.enter_context(open(write, "wb", buffering=0))


async def _listen(pipe: BinaryIO, hear: Listener) -> None:
    stream = asyncio.StreamReader()
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(stream), pipe
    )
    try:
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
    finally:
        transport.close()


def _missing(program: str) -> str:
    package = PACKAGES.get(program)
    hint = f"; install it with: apt-get install {package}" if package else ""
    return f"the program {program} is missing{hint}"


def _how_it_ended(status: int) -> str:
    return f"was killed by signal {-status}" if status < 0 else f"failed with exit code {status}"
