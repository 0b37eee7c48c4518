"""What a call's service is started as: which program with which words, environment, and pipes or terminal.

Source of the environment and of the built-in services' meaning: the field's page on the execution of RPC services.
"""

import errno
import os
from contextlib import suppress
from fcntl import F_SETPIPE_SZ, fcntl, ioctl

from bento.guest import session
from bento.guest.child import Action, Child, launch, onto_streams
from bento.guest.lookup import CannotServe
from bento.guest.place import Account, Place
from bento.wire.environment import call_environment, full_name
from bento.wire.errors import WireError
from bento.wire.rpc import ExitCode, Serve
from bento.wire.vmexec import decode_command

VMEXEC = "qubes.VMExec"
VMEXEC_GUI = "qubes.VMExecGUI"
VMSHELL = "qubes.VMShell"
BUILT_IN = (VMEXEC, VMEXEC_GUI, VMSHELL, session.SERVICE)
"""Served by the agent itself unless a file overrides it: a program in between would only cost time."""

TIOCSWINSZ = 0x5414

PIPE_SIZE = 1 << 19


class Service(Child):
    """A running service, and the agent's ends of its streams."""

    def __init__(self, pid: int, stdin: int, stdout: int, stderr: int | None) -> None:
        super().__init__(pid)
        self.stdin = stdin
        self.stdout = stdout
        self.stderr = stderr
        """None on a terminal."""


def environment(place: Place, account: Account, call: Serve) -> dict[str, str]:
    values = account.environment()
    values["BENTO_AGENT"] = place.socket
    values["QREXEC_SERVICE_PATH"] = ":".join(place.services)
    values |= call_environment(call.service, call.argument, call.source, call.target)
    if call.rows and call.columns:
        values["TERM"] = "xterm-256color"
    return values


def descriptor(call: Serve) -> bytes:
    """What a socket is told first. The field tells a domain's sockets no target, and theirs expect two words."""
    return f"{full_name(call.service, call.argument, call.source)} {call.source}\0".encode()


def start(place: Place, account: Account, call: Serve, path: str | None) -> Service:
    """The service whose program is `path`, or one of `BUILT_IN`. `CannotServe`."""
    values = environment(place, account, call)
    try:
        files = Files(call, account)
        try:
            paths, words = _program(place, account, call, path, on_terminal=files.terminal)
            return Service(launch(account, paths, words, values, files.actions), *files.keep())
        finally:
            files.close()
    except OSError as error:
        if path is None and call.service in (VMEXEC, VMEXEC_GUI):
            raise _no_command(call, error) from None
        raise CannotServe(f"{call.service} cannot be started: {error.strerror}") from None


def _program(
    place: Place, account: Account, call: Serve, path: str | None, *, on_terminal: bool
) -> tuple[list[str], list[str] | list[bytes]]:
    """Where the program may lie, and the words it is called with."""
    if path is not None:
        return [path], [path, call.argument] if call.argument else [path]
    if call.service == session.SERVICE:
        program = session.program(place)
        return program[:1], program
    if call.service == VMSHELL and on_terminal:
        # It is a login, which a shell knows by the minus sign.
        return [account.shell], [f"-{os.path.basename(account.shell)}"]
    if call.service == VMSHELL:
        # As in the field: bash takes no byte more than the line it runs, so that what follows is its program's input.
        return ["/bin/bash", account.shell], ["bash"]
    words = _command(call)
    name = os.fsdecode(words[0])
    if "/" in name:
        return [name], words
    paths = [f"{directory}/{name}" for directory in account.environment()["PATH"].split(":")]
    return list(filter(os.path.exists, paths)), words


def _command(call: Serve) -> list[bytes]:
    try:
        return decode_command(call.argument)
    except WireError as error:
        raise CannotServe(f"{call.service}: {error}", public=True) from None


def _no_command(call: Serve, error: OSError) -> CannotServe:
    """What a shell says and what its exit code is."""
    name = os.fsdecode(_command(call)[0])
    match error.errno:
        case errno.ENOENT:
            return CannotServe(f"{name}: command not found", ExitCode.NOT_FOUND, public=True)
        case errno.EACCES | errno.EISDIR:
            return CannotServe(f"{name}: {error.strerror}", ExitCode.REFUSED, public=True)
        case _:
            return CannotServe(f"{name}: {error.strerror}")


class Files:
    """The pipes or the terminal of a process to be, and the agent's ends of them, which do not block."""

    def __init__(self, call: Serve, account: Account) -> None:
        self._open: list[int] = []
        self.terminal = bool(call.rows and call.columns)
        self.actions: list[Action]
        """What the child does to have its own ends as its standard streams."""
        try:
            if self.terminal:
                outer, inner = self._add(os.openpty())
                resize(outer, call.rows, call.columns)
                if account.groups is not None:
                    os.fchown(inner, account.uid, -1)
                # A session's first process that opens a terminal makes it the one that controls the session.
                self.actions = [(os.POSIX_SPAWN_OPEN, 0, os.ttyname(inner), os.O_RDWR, 0)]
                self.actions += [(os.POSIX_SPAWN_DUP2, 0, number) for number in (1, 2)]
                # One number to read and one to write, as with pipes.
                writer = os.dup(outer)
                self._open.append(writer)
                self._outer: tuple[int, int, int | None] = (writer, outer, None)
            else:
                stdin, stdin_outer = self._add(_wide(os.pipe()))
                stdout_outer, stdout = self._add(_wide(os.pipe()))
                stderr_outer, stderr = self._add(os.pipe())
                if account.groups is not None:
                    # Else they stay the agent's, and a script could not open its own /dev/stderr.
                    for inner in (stdin, stdout, stderr):
                        os.fchown(inner, account.uid, -1)
                self.actions = onto_streams(stdin, stdout, stderr)
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


def _wide(pipe: tuple[int, int]) -> tuple[int, int]:
    """With room for more than the usual 64 KiB, if the kernel grants it: fewer and larger pieces."""
    with suppress(OSError):
        fcntl(pipe[0], F_SETPIPE_SZ, PIPE_SIZE)
    return pipe


def resize(terminal: int, rows: int, columns: int) -> None:
    ioctl(terminal, TIOCSWINSZ, rows.to_bytes(2, "little") + columns.to_bytes(2, "little") + bytes(4))
