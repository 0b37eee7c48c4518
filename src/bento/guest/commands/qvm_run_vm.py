"""`qvm-run-vm`: runs a command in another domain, by its `qubes.VMShell`, as the field's command of that name.

The first line that the other domain's shell reads is the command; a shell that reads from a pipe takes no byte more
than that line, so all that follows is the command's own input.
"""

import os
import shlex
import signal
import sys

from bento.guest.commands.call import Call, NoCall
from bento.guest.commands.qrexec_client_vm import converse
from bento.wire.rpc import Stream

COMMANDS = ("qvm-run-vm",)

USAGE = """\
usage: qvm-run-vm TARGET COMMAND [ARGUMENT...]
       qvm-run-vm --dispvm COMMAND [ARGUMENT...]    in a new disposable

Run COMMAND in a shell of the domain TARGET. The words are joined by spaces. Its input, output, errors and exit code are
this command's; on a terminal what does not print is replaced.
"""

DISPOSABLE = "@dispvm"


def main(arguments: list[str]) -> int:
    if arguments[:1] in (["-h"], ["--help"]):
        print(USAGE, end="")
        return 0
    if len(arguments) < 2 or not arguments[0]:
        print(USAGE, end="", file=sys.stderr)
        return 1
    target, *words = arguments
    if target == "--dispvm":
        target = DISPOSABLE
    target = target.replace("$", "@")
    disposable = target == DISPOSABLE or target.startswith(f"{DISPOSABLE}:")
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        call = Call(target, "qubes.VMShell+WaitForSession" if disposable else "qubes.VMShell")
        call.wait()
    except NoCall as refused:
        print(f"qvm-run-vm: {refused}", file=sys.stderr)
        return refused.code
    call.send(f"exec bash -c {shlex.quote(' '.join(words))}\n".encode())
    return converse(call, 0, 1, {Stream.STDOUT: os.isatty(1), Stream.STDERR: os.isatty(2)})


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
