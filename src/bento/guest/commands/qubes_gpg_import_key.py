"""`qubes-gpg-import-key`: gives keys from files, or from standard input, to the domain that `qubes-gpg-client` uses."""

import os
import signal
import sys
import threading

from bento.guest.commands.call import Call, NoCall
from bento.guest.commands.qubes_gpg_client import BadFile, domain, opened
from bento.guest.commands.shown import PRINTABLE, write_all
from bento.wire.rpc import MAX_DATA, Data, Exit, ExitCode, Stream

COMMANDS = ("qubes-gpg-import-key",)

SERVICE = "qubes.GpgImportKey"

USAGE = "usage: qubes-gpg-import-key [FILE...]\n"

FAILED = 1


def main(arguments: list[str]) -> int:
    if [word for word in arguments if word.startswith("-")]:
        print(USAGE, end="", file=sys.stdout if arguments == ["--help"] else sys.stderr)
        return 0 if arguments == ["--help"] else 2
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        files = [opened(name) for name in arguments] or [0]
        call = Call(domain(), SERVICE)
        call.wait()
    except BadFile as error:
        print(f"{COMMANDS[0]}: {error}.", file=sys.stderr)
        return FAILED
    except NoCall as refused:
        print(f"{COMMANDS[0]}: {refused}", file=sys.stderr)
        return refused.code
    threading.Thread(target=feed, args=(call, files), daemon=True).start()
    for message in call.messages():
        match message:
            case Data():
                write_all(1 if message.stream == Stream.STDOUT else 2, bytes(message.payload).translate(PRINTABLE))
            case Exit():
                return message.code
            case _:
                pass
    print(f"{COMMANDS[0]}: The other domain broke off.", file=sys.stderr)
    return ExitCode.FAULT


def feed(call: Call, files: list[int]) -> None:
    try:
        for file in files:
            while data := os.read(file, MAX_DATA):
                call.send(data)
        call.end()
    except OSError:
        pass  # the call is over, which the other thread learns too


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
