"""Starting and ending programs, as whichever account.

The agent never forks: a fork copies its page tables, which takes longer than all else in an empty call. `posix_spawn`
borrows the parent's memory until the new program runs, and can do little in between. So the agent itself takes on for
a moment what a child inherits: the directory, the limits, the account's groups and real ids. Its effective ids stay
root's; the child drops to the real ones (POSIX_SPAWN_RESETIDS) and `execve` makes that final.
"""

import errno
import os
import signal
from contextlib import suppress
from functools import cache, partial
from resource import RLIMIT_NOFILE, getrlimit, setrlimit

from bento.guest.loop import Loop
from bento.guest.place import OOM, OOM_SPARED, OOM_USUAL, Account

SIGNALS = tuple({*range(1, signal.SIGSYS + 1)} - {signal.SIGKILL, signal.SIGSTOP})
"""Python ignores some, and a shell that put the agent into the background more; programs expect all of them."""

OPEN_FILES = 1024
"""The usual soft limit, for services; the agent's own is higher."""

SHELL = "/bin/sh"

FIRST_LINE = 80
"""Bytes of a script's beginning that tell it from a program."""

Action = tuple[int, int, int] | tuple[int, int, str, int, int]
"""What a child does with its files before it becomes its program, as `os.posix_spawn` wants it."""


class Child:
    """A running program. Its number is its own until `reap`."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        try:
            self.fd = os.pidfd_open(pid)
        except OSError:  # a child that cannot be watched may not live
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise

    @property
    def code(self) -> int | None:
        """As a shell has it; None while it runs."""
        status = os.waitid(os.P_PIDFD, self.fd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if status is None:
            return None
        return status.si_status if status.si_code == os.CLD_EXITED else 128 + status.si_status

    def hang_up(self) -> None:
        """On it and all that it started in its group, as a terminal does that is closed."""
        for number in (signal.SIGHUP, signal.SIGCONT):  # a stopped process must run to see its end
            with suppress(PermissionError):  # in loopback mode, where a program may be set-user-id
                os.killpg(self.pid, number)

    def reap(self, loop: Loop) -> None:
        """Forget it, if it has ended."""
        if os.waitid(os.P_PIDFD, self.fd, os.WEXITED | os.WNOHANG) is not None:
            loop.forget(self.fd)
            os.close(self.fd)


def launch(
    account: Account, paths: list[str], words: list[str] | list[bytes], values: dict[str, str], actions: list[Action]
) -> int:
    """The number of a process that runs the first of `paths` that can be, as `account`; `OSError` if none can."""
    limit = getrlimit(RLIMIT_NOFILE)
    changes = account.groups is not None
    try:
        try:
            os.chdir(account.home)
        except OSError:
            os.chdir("/")
        # Files whose numbers are above the limit cannot be handed on.
        soft = max(OPEN_FILES, 1 + max(number for action in actions for number in action[:2]))
        setrlimit(RLIMIT_NOFILE, (min(soft, limit[1]), limit[1]))
        if account.groups is not None:
            os.write(_own_points(), OOM_USUAL)
            os.setgroups(account.groups)
            os.setresgid(account.gid, -1, -1)
            os.setresuid(account.uid, -1, -1)
        return _spawn(paths, words, values, actions, resetids=changes)
    finally:
        if changes:
            os.setresuid(0, -1, -1)
            os.setresgid(0, -1, -1)
            os.setgroups([])
        setrlimit(RLIMIT_NOFILE, limit)
        os.chdir("/")
        if changes:
            os.write(_own_points(), OOM_SPARED)


@cache
def _own_points() -> int:
    """Stays open: to find a process's own file in /proc takes a forked machine longer than all ids together."""
    return os.open(OOM, os.O_WRONLY)


def _spawn(
    paths: list[str],
    words: list[str] | list[bytes],
    values: dict[str, str],
    actions: list[Action],
    *,
    resetids: bool,
) -> int:
    spawn = partial(
        os.posix_spawn, file_actions=actions, setsid=True, resetids=resetids, setsigdef=SIGNALS, setsigmask=()
    )
    reason: OSError | None = None
    for path in paths:
        try:
            try:
                return spawn(path, words, values)
            except OSError as error:
                if error.errno != errno.ENOEXEC or _is_binary(path):
                    raise
            # No program, and no first line that names one: a shell's script, as a shell would have it.
            return spawn(SHELL, [os.fsencode(word) for word in (SHELL, path, *words[1:])], values)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                reason = reason or error
    raise reason or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))


def _is_binary(path: str) -> bool:
    """As bash judges it: a zero byte in the first line. A shell might do nothing with it, and call that well done."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        return b"\0" in os.read(file, FIRST_LINE).partition(b"\n")[0]
    finally:
        os.close(file)


def onto_streams(stdin: int, stdout: int, stderr: int) -> list[Action]:
    return [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate((stdin, stdout, stderr))]
