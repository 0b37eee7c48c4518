"""`qrexec-client-vm`: call a service of another domain, as the field's programs and scripts expect it.

Without a local program this program's own streams are the service's, and its exit code is the service's. With one, the
program gets the service's stdout as its stdin and the other way round, and the exit code is the service's, or, if that
is 0, the program's.
What the service writes to a terminal is stripped of all that could steer it. Source: the field's qrexec-client-vm(1).
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress

from bento.guest.commands.call import Call, NoCall
from bento.guest.commands.shown import PRINTABLE, write_all
from bento.wire.rpc import MAX_DATA, Data, Eof, Exit, ExitCode, Stream

COMMANDS = ("qrexec-client-vm",)

USAGE = """\
usage: qrexec-client-vm [OPTION...] [--] TARGET SERVICE[+ARGUMENT] [PROGRAM [ARGUMENT...]]

Call SERVICE of the domain TARGET, as far as the policy allows; @default leaves the target to the policy.

  -t, --filter-escape-chars-stdout   replace what does not print on stdout (the default on a terminal)
  -T, --filter-escape-chars-stderr   the same for stderr
      --no-filter-escape-chars-stdout, --no-filter-escape-chars-stderr
  -a, --agent-socket=PATH            the agent's socket, if it is not the usual one
  -p, --prefix-data=DATA             what the service reads first
      --use-stdin-socket             stdin is a stream socket, and takes the output, too
      --buffer-size=BYTES            for old scripts; has no effect
"""

STDOUT, STDERR = "filter-escape-chars-stdout", "filter-escape-chars-stderr"
FILTERS = {
    STDOUT: (Stream.STDOUT, True),
    STDERR: (Stream.STDERR, True),
    f"no-{STDOUT}": (Stream.STDOUT, False),
    f"no-{STDERR}": (Stream.STDERR, False),
}
VALUED = {"agent-socket", "prefix-data", "buffer-size"}
LONG = {*FILTERS, *VALUED, "use-stdin-socket", "help"}
LETTERS = {"t": STDOUT, "T": STDERR, "a": "agent-socket", "p": "prefix-data", "h": "help"}


class Options:
    """As getopt_long(3) reads them, which the field's program does: a long one may be cut short."""

    def __init__(self, arguments: list[str]) -> None:
        """`ValueError` or `LookupError` when they are not as `USAGE` has them."""
        self.socket = ""
        self.prefix: str | None = None
        self.one_socket = self.help = False
        filtered: dict[Stream, bool] = {}
        self.rest = list(arguments)
        for name, value in self._named():
            match name:
                case "agent-socket":
                    self.socket = value
                case "prefix-data" if self.prefix is not None:
                    raise ValueError(name)
                case "prefix-data":
                    self.prefix = value
                case "use-stdin-socket":
                    self.one_socket = True
                case "help":
                    self.help = True
                    return
                case _ if name in FILTERS:
                    stream, yes = FILTERS[name]
                    filtered[stream] = yes
        self.target, self.service, *self.program = self.rest
        if self.program and self.one_socket:
            raise ValueError("no program has the socket")
        # What goes to a local program, or into a socket, is for no terminal.
        shown = not self.program and not self.one_socket and os.isatty(1)
        self.filtered = {Stream.STDOUT: shown, Stream.STDERR: os.isatty(2), **filtered}

    def _named(self) -> Iterator[tuple[str, str]]:
        """Each option and its value; `rest` is what follows them."""
        while self.rest and self.rest[0].startswith("-") and self.rest[0] not in ("-", "--"):
            word = self.rest.pop(0)
            if word.startswith("--"):
                name, equals, value = word[2:].partition("=")
                (name,) = {name} & LONG or {long for long in LONG if long.startswith(name)}
                if equals and name not in VALUED:
                    raise ValueError(word)
                yield name, value if equals or name not in VALUED else self.rest.pop(0)
                continue
            letters = word[1:]
            while letters:
                name, letters = LETTERS[letters[0]], letters[1:]
                if name in VALUED:
                    yield name, letters or self.rest.pop(0)
                    break
                yield name, ""
        if self.rest[:1] == ["--"]:
            del self.rest[0]


def main(arguments: list[str]) -> int:
    try:
        options = Options(arguments)
    except (ValueError, LookupError):
        print(USAGE, end="", file=sys.stderr)
        return 2
    if options.help:
        print(USAGE, end="")
        return 0
    if options.one_socket and not is_stream_socket(0):
        print("qrexec-client-vm: --use-stdin-socket: stdin is no stream socket", file=sys.stderr)
        return 2
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        call = Call(options.target, options.service, options.socket)
        call.wait()
    except NoCall as refused:
        # Scripts of the field look for its words.
        denied = refused.code == ExitCode.REFUSED
        print("Request refused" if denied else f"qrexec-client-vm: {refused}", file=sys.stderr)
        return refused.code
    with suppress(OSError):  # where it is over already, its messages tell
        call.send(os.fsencode(options.prefix or ""))
    if options.program:
        return with_program(call, options)
    return converse(call, 0, 0 if options.one_socket else 1, options.filtered)


def is_stream_socket(number: int) -> bool:
    try:
        with socket.socket(fileno=os.dup(number)) as connection:
            return connection.type == socket.SOCK_STREAM
    except OSError:
        return False


def with_program(call: Call, options: Options) -> int:
    stdin, to_program = os.pipe()
    from_program, stdout = os.pipe()
    actions = [(os.POSIX_SPAWN_DUP2, stdin, 0), (os.POSIX_SPAWN_DUP2, stdout, 1)]
    # Programs made for this find here the streams that their person types and reads on.
    saved = {number: os.dup(number) for number in ((0, 1, 2) if os.environ.get("PASS_LOCAL_STDERR") else (0, 1))}
    for fd in saved.values():
        os.set_inheritable(fd, True)
    environment = {**os.environ, **{f"SAVED_FD_{number}": str(fd) for number, fd in saved.items()}}
    try:
        words = [os.path.basename(options.program[0]), *options.program[1:]]
        pid = os.posix_spawnp(options.program[0], words, environment, file_actions=actions)
    except OSError as error:
        print(f"qrexec-client-vm: {options.program[0]}: {error.strerror}", file=sys.stderr)
        return ExitCode.FAULT
    for fd in (stdin, stdout, *saved.values()):
        os.close(fd)
    remote = converse(call, from_program, to_program, options.filtered, program=True)
    os.close(to_program)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return remote or (128 - code if code < 0 else code)


def converse(call: Call, source: int, sink: int, filtered: dict[Stream, bool], *, program: bool = False) -> int:
    """Carry the bytes until the call is over; the service's exit code. `program`: they are a local program's.

    If `source` is `sink`, it is a stream socket.
    """
    threading.Thread(target=feed, args=(call, source), daemon=True).start()
    outputs = {Stream.STDOUT: sink, Stream.STDERR: 2}
    for message in call.messages():
        match message:
            case Data():
                stream = Stream(message.stream)
                data = bytes(message.payload)
                if filtered[stream]:
                    data = data.translate(PRINTABLE)
                if not write_all(outputs[stream], data) and not program:
                    return 128 + signal.SIGPIPE
            case Eof(stream=Stream.STDOUT):
                # Whoever reads there waits for the end; the call may go on.
                end_output(sink, shared=sink == source)
            case Exit():
                return message.code
            case _:
                pass
    return ExitCode.FAULT


def end_output(sink: int, *, shared: bool) -> None:
    if shared:
        with socket.socket(fileno=os.dup(sink)) as connection, suppress(OSError):
            connection.shutdown(socket.SHUT_WR)
    else:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sink)


def feed(call: Call, source: int) -> None:
    try:
        while data := os.read(source, MAX_DATA):
            call.send(data)
        call.end()
    except OSError:
        pass  # the call is over, which the other thread learns too


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
