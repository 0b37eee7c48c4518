"""Starting a service as the field's services know it: its environment, its argument, three pipes."""

import os
import signal
from dataclasses import dataclass

from bento.wire.control import Open
from bento.wire.environment import call_environment

HOME = "/home/user"

SIGNALS = tuple({*range(1, signal.SIGSYS + 1)} - {signal.SIGKILL, signal.SIGSTOP})
"""All that a process might have been told to ignore: a service expects none to be."""


@dataclass(frozen=True, slots=True)
class Program:
    """A service that runs, and our ends of its streams, which do not block. `end` is readable once it has ended."""

    end: int
    stdin: int
    stdout: int
    stderr: int


def start(path: str, call: Open) -> Program:
    """`OSError` if it cannot be started."""
    stdin, our_stdin = os.pipe()
    our_stdout, stdout = os.pipe()
    our_stderr, stderr = os.pipe()
    theirs = (stdin, stdout, stderr)
    pid = os.posix_spawn(
        path,
        [path, call.argument] if call.argument else [path],
        environment(call),
        file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(theirs)],
        setsigdef=SIGNALS,
        setsigmask=(),
    )
    for fd in theirs:
        os.close(fd)
    for fd in (our_stdin, our_stdout, our_stderr):
        os.set_blocking(fd, False)
    return Program(os.pidfd_open(pid), our_stdin, our_stdout, our_stderr)


def environment(call: Open) -> dict[str, str]:
    return {
        "HOME": HOME,
        "USER": "user",
        "LOGNAME": "user",
        "SHELL": "/bin/sh",
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "LANG": "C.UTF-8",
        **call_environment(call.service, call.argument, call.source, call.target),
    }
