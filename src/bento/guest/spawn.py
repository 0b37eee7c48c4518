"""Finding the program of a service and starting it as the right user, with the environment the field's services know.

Only executables are services here. A file called SERVICE+ARGUMENT wins over SERVICE, wherever it lies; the argument,
unless empty, is the program's first argument. Source: the field's page on the execution of RPC services.
"""

import os
import signal
from fcntl import ioctl
from resource import RLIMIT_NOFILE, getrlimit, setrlimit
from typing import NoReturn

from bento.guest.place import Account, Place
from bento.wire.errors import WireError
from bento.wire.rpc import ExitCode, Serve
from bento.wire.vmexec import decode_command

VMEXEC = "qubes.VMExec"
VMSHELL = "qubes.VMShell"
BUILT_IN = (VMEXEC, VMSHELL)
"""Served by the agent itself unless a file overrides it: a program in between would only cost time."""

TIOCSWINSZ = 0x5414

NAME_MAX = 255

SIGNALS = tuple({*range(1, signal.SIGSYS + 1)} - {signal.SIGKILL, signal.SIGSTOP})

OPEN_FILES = 1024
"""The usual soft limit, for services; the agent's own is higher."""


class Process:
    """A running service, and the agent's ends of its streams."""

    def __init__(self, pid: int, pidfd: int, stdin: int, stdout: int, stderr: int | None) -> None:
        self.pid = pid
        self.pidfd = pidfd
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        """None on a terminal."""


def find(directories: tuple[str, ...], service: str, argument: str) -> str | None:
    """The path of the service's program, or None."""
    names = [f"{service}+{argument}", service]
    for name in names:
        if len(name) > NAME_MAX:
            continue
        for directory in directories:
            path = f"{directory}/{name}"
            if os.path.lexists(path):
                return path
    return None


def environment(place: Place, account: Account, call: Serve) -> dict[str, str]:
    values = account.environment()
    values["BENTO_AGENT"] = place.socket
    values["QREXEC_REMOTE_DOMAIN"] = call.source
    values["QREXEC_SERVICE_FULL_NAME"] = f"{call.service}+{call.argument}"
    values["QREXEC_SERVICE_ARGUMENT"] = call.argument
    if call.target.startswith("@"):
        values["QREXEC_REQUESTED_TARGET_TYPE"] = "keyword"
        values["QREXEC_REQUESTED_TARGET_KEYWORD"] = call.target[1:]
    elif call.target:
        values["QREXEC_REQUESTED_TARGET_TYPE"] = "name"
        values["QREXEC_REQUESTED_TARGET"] = call.target
    else:
        values["QREXEC_REQUESTED_TARGET_TYPE"] = ""
    if call.rows and call.columns:
        values["TERM"] = "xterm-256color"
    return values


def start(place: Place, call: Serve) -> Process | None:
    """The running service, or None if there is no such service. `OSError` or `KeyError` if it cannot be started."""
    path = find(place.services, call.service, call.argument)
    if path is None and call.service not in BUILT_IN:
        return None
    account = place.account(call.user)
    values = environment(place, account, call)
    opened = Files(call, account)
    try:
        pid = os.fork()
        if pid == 0:
            _become(path, call, account, values, opened)
        return Process(pid, _watchable(pid), *opened.keep())
    finally:
        opened.close()


class Files:
    """The pipes or the terminal of a process to be: `inner` ones for it, the others for the agent, non-blocking."""

    def __init__(self, call: Serve, account: Account) -> None:
        self._open: list[int] = []
        self.terminal = bool(call.rows and call.columns)
        try:
            if self.terminal:
                outer, inner = self._add(os.openpty())
                resize(outer, call.rows, call.columns)
                if account.groups is not None:
                    os.fchown(inner, account.uid, -1)
                self.inner = (inner, inner, inner)
                # One number to read and one to write, as with pipes.
                writer = os.dup(outer)
                self._open.append(writer)
                self._outer: tuple[int, int, int | None] = (writer, outer, None)
            else:
                stdin, stdin_outer = self._add(os.pipe())
                stdout_outer, stdout = self._add(os.pipe())
                stderr_outer, stderr = self._add(os.pipe())
                self.inner = (stdin, stdout, stderr)
                self._outer = (stdin_outer, stdout_outer, stderr_outer)
            for fd in self._outer:
                if fd is not None:
                    os.set_blocking(fd, False)
        except OSError:
            self.close()
            raise

    def keep(self) -> tuple[int, int, int | None]:
        """The agent's ends, which `close` then leaves open."""
        self._open = [fd for fd in self._open if fd not in self._outer]
        return self._outer

    def close(self) -> None:
        for fd in self._open:
            os.close(fd)
        self._open = []

    def _add(self, pair: tuple[int, int]) -> tuple[int, int]:
        self._open += pair
        return pair


def resize(terminal: int, rows: int, columns: int) -> None:
    ioctl(terminal, TIOCSWINSZ, rows.to_bytes(2, "little") + columns.to_bytes(2, "little") + bytes(4))


def _watchable(pid: int) -> int:
    """A file that tells of the end of a child; a child that cannot be watched may not live."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _become(path: str | None, call: Serve, account: Account, values: dict[str, str], files: Files) -> NoReturn:
    """In the child: give up what the agent has and become the service. Never returns, never raises."""
    code = int(ExitCode.FAULT)
    try:
        if files.terminal:
            os.login_tty(files.inner[0])
        else:
            os.setsid()
            for target, fd in enumerate(files.inner):
                os.dup2(fd, target)
        # Python ignores some, and a shell that put the agent into the background more; programs expect all of them.
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        most = getrlimit(RLIMIT_NOFILE)[1]
        setrlimit(RLIMIT_NOFILE, (min(OPEN_FILES, most), most))
        if account.groups is not None:
            with open("/proc/self/oom_score_adj", "w") as file:
                file.write("0")
            os.setgroups(account.groups)
            os.setresgid(account.gid, account.gid, account.gid)
            os.setresuid(account.uid, account.uid, account.uid)
        try:
            os.chdir(account.home)
        except OSError:
            os.chdir("/")
        if path is not None:
            os.execve(path, [path, call.argument] if call.argument else [path], values)
        elif call.service == VMEXEC:
            code = _run_command(call.argument, values)
        else:
            shell = account.shell
            # With a terminal it is a login, which a shell knows by the minus sign.
            os.execve(shell, [f"-{os.path.basename(shell)}" if files.terminal else shell], values)
    except OSError as error:
        _complain(f"{call.service} cannot be started: {error.strerror}")
    finally:
        os._exit(code)


def _run_command(argument: str, values: dict[str, str]) -> int:
    """Become the command that a VMExec argument encodes, or say why not; the exit codes of a shell."""
    try:
        command = decode_command(argument)
    except WireError as error:
        _complain(str(error))
        return ExitCode.FAULT
    name = os.fsdecode(command[0])
    places = [""] if "/" in name else [f"{place}/" for place in values["PATH"].split(":")]
    reason: OSError | None = None
    for place in places:
        try:
            os.execve(place + name, command, values)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            reason = reason or error
    if reason is None:
        _complain(f"{name}: command not found")
        return ExitCode.NOT_FOUND
    _complain(f"{name}: {reason.strerror}")
    return ExitCode.REFUSED


def _complain(sentence: str) -> None:
    os.write(2, f"bento: {sentence}\n".encode(errors="replace"))
