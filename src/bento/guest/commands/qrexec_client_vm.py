"""`qrexec-client-vm`: call a service of another domain, as the field's programs and scripts expect it.

Without a local program this program's own streams are the service's, and its exit code is the service's. With one, the
program gets the service's stdout as its stdin and the other way round, and the exit code is the service's, or, if that
is 0, the program's.
What the service writes to a terminal is stripped of all that could steer it. Source: the field's qrexec-client-vm(1).
"""

import os
import signal
import sys
import threading

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
      --buffer-size=BYTES            for old scripts; has no effect
"""


class Options:
    def __init__(self, arguments: list[str]) -> None:
        """`ValueError` when they are not as `USAGE` has them."""
        self.socket = ""
        self.filtered = {Stream.STDOUT: os.isatty(1), Stream.STDERR: os.isatty(2)}
        rest = list(arguments)
        while rest and rest[0].startswith("-"):
            option = rest.pop(0)
            name, _, value = option.partition("=")
            match name:
                case "--":
                    break
                case "-t" | "--filter-escape-chars-stdout":
                    self.filtered[Stream.STDOUT] = True
                case "-T" | "--filter-escape-chars-stderr":
                    self.filtered[Stream.STDERR] = True
                case "--no-filter-escape-chars-stdout":
                    self.filtered[Stream.STDOUT] = False
                case "--no-filter-escape-chars-stderr":
                    self.filtered[Stream.STDERR] = False
                case "-tT" | "-Tt":
                    self.filtered = dict.fromkeys(self.filtered, True)
                case "-a" | "--agent-socket":
                    self.socket = value or rest.pop(0)
                case "--buffer-size":
                    value or rest.pop(0)
                case _:
                    raise ValueError(option)
        self.target, self.service, *self.program = rest


def main(arguments: list[str]) -> int:
    if arguments[:1] in (["-h"], ["--help"]):
        print(USAGE, end="")
        return 0
    try:
        options = Options(arguments)
    except (ValueError, IndexError):
        print(USAGE, end="", file=sys.stderr)
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
    if options.program:
        return with_program(call, options)
    return converse(call, 0, 1, options.filtered)


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
        pid = os.posix_spawnp(options.program[0], options.program, environment, file_actions=actions)
    except OSError as error:
        print(f"qrexec-client-vm: {options.program[0]}: {error.strerror}", file=sys.stderr)
        return ExitCode.FAULT
    for fd in (stdin, stdout, *saved.values()):
        os.close(fd)
    options.filtered[Stream.STDOUT] = False
    remote = converse(call, from_program, to_program, options.filtered, program=True)
    os.close(to_program)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    return remote or (128 - code if code < 0 else code)


def converse(call: Call, source: int, sink: int, filtered: dict[Stream, bool], *, program: bool = False) -> int:
    """Carry the bytes until the call is over; the service's exit code. `program`: they are a local program's."""
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
                os.dup2(os.open(os.devnull, os.O_WRONLY), sink)
            case Exit():
                return message.code
            case _:
                pass
    return ExitCode.FAULT


def feed(call: Call, source: int) -> None:
    try:
        while data := os.read(source, MAX_DATA):
            call.send(data)
        call.end()
    except OSError:
        pass  # the call is over, which the other thread learns too


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
