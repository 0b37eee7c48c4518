"""`qubes-gpg-client`: gpg with the keys of another domain. Its data, its status and its exit code are one's own.

The domain with the keys is QUBES_GPG_DOMAIN, or what /rw/config/gpg-split-domain says, or else left to the policy. The
command line is checked here only to know which files it names; what may be done decides the other side. What comes
back goes to the files that the command line named, as gpg itself would write it.
"""

import os
import select
import signal
import sys
import threading
from dataclasses import replace

from bento.guest.commands.call import Call, NoCall
from bento.guest.commands.shown import PRINTABLE, write_all
from bento.wire.errors import WireError
from bento.wire.gpg import MAX_BLOCK, REFUSED, Block, BlockReader, Ended, encode_block, encode_command
from bento.wire.gpgline import FILE_PATH, Line, Takes, parse
from bento.wire.rpc import MAX_DATA, Data, Exit, ExitCode, Stream

COMMANDS = ("qubes-gpg-client",)

SERVICE = "qubes.Gpg"
DOMAIN_FILE = "/rw/config/gpg-split-domain"

USAGE = """\
usage: qubes-gpg-client [GPG OPTION...] [FILE]

Use the keys of the domain QUBES_GPG_DOMAIN: sign, verify, encrypt, decrypt and list them as gpg does. Without FILE the
data comes from standard input. `qubes-gpg-client-wrapper` takes more of gpg's options, for programs that want gpg.
"""


class BadFile(Exception):
    """A file of this side cannot be used; the text says which and why."""


def main(arguments: list[str], command: str = COMMANDS[0]) -> int:
    if arguments == ["--help"]:
        print(USAGE, end="")
        return 0
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        line = connected(parse(arguments))
        asked = encode_command(line.words)
        call = Call(domain(), SERVICE)
        call.wait()
    except (WireError, BadFile) as error:
        print(f"{command}: {error}.", file=sys.stderr)
        return REFUSED
    except NoCall as refused:
        print(f"{command}: {refused}", file=sys.stderr)
        return refused.code
    threading.Thread(target=feed, args=(call, asked, line), daemon=True).start()
    try:
        return hear(call, line)
    except WireError as error:
        print(f"{command}: What came back is not split GPG: {error}.", file=sys.stderr)
    except NoCall as broken:
        print(f"{command}: {broken}", file=sys.stderr)
        return broken.code
    return ExitCode.FAULT


def domain() -> str:
    """The target of the call."""
    named = os.environ.get("QUBES_GPG_DOMAIN", "")
    if not named:
        try:
            with open(DOMAIN_FILE, encoding="utf-8", errors="replace") as file:
                named = file.read().strip()
        except OSError:
            pass
    return named


def connected(line: Line) -> Line:
    """`line` with its files opened: data becomes standard input, a signature a number. `BadFile` if that cannot be."""
    match line.takes, line.arguments:
        case Takes.DATA, (data,):
            become_input(data)
            line = replace(line, arguments=())
        case Takes.SIGNATURE, (signature, *data):
            # Standard input itself is for the data.
            number = os.dup(0) if signature == "-" else opened(signature)
            for name in data:
                become_input(name)
            line = replace(line, arguments=(f"{FILE_PATH}{number}", *("-" for _ in data)))
        case _:
            pass
    for number in line.outputs:
        try:
            os.fstat(number)
        except OSError:
            raise BadFile(f"file {number}, which the command line names, is not open") from None
    return line


def become_input(name: str) -> None:
    if name != "-":
        number = opened(name)
        os.dup2(number, 0)
        os.close(number)


def opened(name: str) -> int:
    try:
        return os.open(name, os.O_RDONLY)
    except OSError as error:
        raise BadFile(f"{name}: {error.strerror}") from None


def feed(call: Call, asked: bytes, line: Line) -> None:
    """Send the command line and what its files say; those it names first, since gpg reads a signature before data."""
    waiting = {file: place for place, file in enumerate(line.inputs)}
    poll = select.poll()
    for file in waiting:
        poll.register(file, select.POLLIN)
    try:
        call.send(asked)
        if line.takes is Takes.USERS and len(waiting) == 1:
            # Nothing is read from standard input then; what waits there is for whoever comes next.
            call.send(encode_block(Block(waiting.pop(0), b"")))
        while waiting:
            ready = [file for file, _ in poll.poll()]
            file = max(ready, key=waiting.__getitem__)
            data = read(file)
            place = waiting[file]
            pieces = [data[at : at + MAX_BLOCK] for at in range(0, len(data), MAX_BLOCK)] or [b""]
            call.send(b"".join(encode_block(Block(place, piece)) for piece in pieces))
            if not data:
                poll.unregister(file)
                del waiting[file]
    except OSError:
        pass  # the call is over, which the other thread learns too


def read(file: int) -> bytes:
    try:
        return os.read(file, MAX_DATA // 2)
    except OSError:
        return b""  # never opened, or a terminal that hung up: nothing comes from there


def hear(call: Call, line: Line) -> int:
    """gpg's exit code, after all that it says is written. `NoCall` if it says none."""
    files = line.outputs
    untrusted = BlockReader(len(files), answering=True)
    for message in call.messages():
        match message:
            case Data(stream=Stream.STDOUT):
                for block in untrusted.feed(bytes(message.payload)):
                    if isinstance(block, Ended):
                        return block.code
                    write_all(files[block.file], block.data)
            case Data():
                write_all(2, bytes(message.payload).translate(PRINTABLE))
            case Exit(code=ExitCode.NOT_FOUND):
                raise NoCall(message.code, "The other domain has no split GPG.")
            case Exit():
                break
            case _:
                pass
    raise NoCall(ExitCode.FAULT, "The other domain broke off.")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
