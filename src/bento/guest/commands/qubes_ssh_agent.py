"""`qubes-ssh-agent`: another domain's ssh keys for the programs of this one, by a socket as ssh-agent makes one.

Each connection to the socket is one call of `qubes.SshAgent`; its bytes are carried both ways and never parsed here.
The command line is ssh-agent's where that has the same: `eval "$(qubes-ssh-agent vault)"`, or a command to run with it.
"""

import errno
import os
import shlex
import signal
import socket
import sys
import tempfile
import threading
from typing import NoReturn

from bento.guest.commands.call import Call, NoCall
from bento.guest.commands.shown import PRINTABLE, write_all
from bento.wire.rpc import MAX_DATA, Data, Exit, Stream

COMMANDS = ("qubes-ssh-agent",)

SERVICE = "qubes.SshAgent"

USAGE = """\
usage: qubes-ssh-agent [-a SOCKET] [--agent NAME] [TARGET] [-- COMMAND [ARGUMENT...]]

Let the programs of this domain use the ssh keys of TARGET, as far as the policy allows; without TARGET it says whose.
With COMMAND, as long as that runs; otherwise in the background, and what is printed is for the shell:

    eval "$(qubes-ssh-agent vault)"

  -a SOCKET       where to listen, in place of a new name in /tmp
  --agent NAME    one of several agents of TARGET: the keys in its ~/.ssh/identities.d/NAME
"""

MOST = 64
"""Connections at once; others wait."""

BAD_USAGE = 2
FAILED = 1


class Options:
    def __init__(self, arguments: list[str]) -> None:
        """`ValueError` when they are not as `USAGE` has them."""
        self.path = ""
        self.service = SERVICE
        rest, self.command = list(arguments), list[str]()
        if "--" in rest:
            at = rest.index("--")
            rest, self.command = rest[:at], rest[at + 1 :]
        while rest and rest[0].startswith("-"):
            option, *rest = rest
            name, equals, value = option.partition("=")
            if name not in ("-a", "--agent"):
                raise ValueError(option)
            if not equals:
                value, *rest = rest
            if name == "-a":
                self.path = value
            else:
                self.service = f"{SERVICE}+{value}"
        (self.target,) = rest or [""]


def main(arguments: list[str]) -> int:
    if arguments[:1] in (["-h"], ["--help"]):
        print(USAGE, end="")
        return 0
    try:
        options = Options(arguments)
    except ValueError:
        print(USAGE, end="", file=sys.stderr)
        return BAD_USAGE
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        with Listener(options.path) as listener:
            return with_command(listener, options) if options.command else in_background(listener, options)
    except OSError as error:
        print(f"{COMMANDS[0]}: {error.filename or options.path}: {error.strerror}.", file=sys.stderr)
        return FAILED


def with_command(listener: "Listener", options: Options) -> int:
    threading.Thread(target=serve, args=(listener.socket, options), daemon=True).start()
    environment = os.environ | {"SSH_AUTH_SOCK": listener.path}
    pid = os.posix_spawnp(options.command[0], options.command, environment, setsigdef=[signal.SIGPIPE])
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


def in_background(listener: "Listener", options: Options) -> int:
    pid = os.fork()
    listener.belongs_to(pid or os.getpid())
    if pid == 0:
        leave_terminal()
        serve(listener.socket, options)
    for name, value in (("SSH_AUTH_SOCK", listener.path), ("SSH_AGENT_PID", str(pid))):
        print(f"{name}={shlex.quote(value)}; export {name};")
    return 0


def leave_terminal() -> None:
    os.setsid()
    os.chdir("/")
    nothing = os.open(os.devnull, os.O_RDWR)
    for file in range(3):
        os.dup2(nothing, file)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def serve(listener: socket.socket, options: Options) -> NoReturn:
    room = threading.BoundedSemaphore(MOST)
    while True:
        room.acquire()
        connection, _ = listener.accept()
        threading.Thread(target=carry, args=(connection, options, room), daemon=True).start()


def carry(connection: socket.socket, options: Options, room: threading.BoundedSemaphore) -> None:
    """One connection, to its end or the call's."""
    try:
        with connection:
            converse(connection, options)
            # Closing alone would leave it open for as long as the other thread waits for it.
            connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # the program has gone
    finally:
        room.release()


def converse(connection: socket.socket, options: Options) -> None:
    try:
        call = Call(options.target, options.service)
        call.wait()
    except NoCall as refused:
        print(f"{COMMANDS[0]}: {refused}", file=sys.stderr)
        # What it still asks is taken: a program whose question nobody takes dies of SIGPIPE, without a word.
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(MAX_DATA):
            pass
        return
    threading.Thread(target=feed, args=(connection, call), daemon=True).start()
    for message in call.messages():
        match message:
            case Data(stream=Stream.STDOUT):
                connection.sendall(message.payload)
            case Data():
                write_all(2, bytes(message.payload).translate(PRINTABLE))
            case Exit():
                return
            case _:
                pass


def feed(connection: socket.socket, call: Call) -> None:
    try:
        while data := connection.recv(MAX_DATA):
            call.send(data)
        call.end()
    except OSError:
        pass  # the call is over, which the other thread learns too


class Listener:
    """A socket for this user only, gone from the disk at the end."""

    def __init__(self, path: str) -> None:
        """At `path`, in place of one where nobody listens any more; or in a new directory in /tmp."""
        self._directory = "" if path else tempfile.mkdtemp(prefix="qubes-ssh-")
        self.path = path or f"{self._directory}/agent"
        self.socket = socket.socket(socket.AF_UNIX)
        self._owner = os.getpid()

    def __enter__(self) -> "Listener":
        with socket.socket(socket.AF_UNIX) as before:
            try:
                before.connect(self.path)
            except ConnectionRefusedError:
                os.unlink(self.path)
            except FileNotFoundError:
                pass
            else:
                raise OSError(errno.EADDRINUSE, "another agent listens there", self.path)
        mask = os.umask(0o177)
        self.socket.bind(self.path)
        os.umask(mask)
        self.socket.listen()
        return self

    def __exit__(self, *_: object) -> None:
        if self._owner == os.getpid():
            os.unlink(self.path)
            if self._directory:
                os.rmdir(self._directory)

    def belongs_to(self, pid: int) -> None:
        """Another process serves there now."""
        self._owner = pid


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
