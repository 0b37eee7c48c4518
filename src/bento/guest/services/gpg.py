"""`qubes.Gpg`: lets another domain use this one's keys, as a smart card would: it signs and decrypts, keys never leave.

The domain that asks is hostile. `wire.gpgline` makes a command line for gpg of the little that it may ask for; its data
goes to gpg as gpg would read it from anywhere. It chooses no file, no program and no number of a descriptor here, and
it asks nothing before a person has let it (`accepting.py`). Keys are those of this domain's user, with gpg's own agent.
"""

import contextlib
import os
import select
import signal
import sys
import threading

from bento.guest.pipes import read_exactly, write_all
from bento.guest.services.accepting import Accepting, NotAccepted
from bento.wire.errors import WireError
from bento.wire.gpg import COMMAND, ERROR, MAX_BLOCK, REFUSED, Block, BlockReader, Ended, decode_command, encode_block
from bento.wire.gpgline import Line, parse_remote, renumbered
from bento.wire.names import DomainName

SERVICE = "qubes.Gpg"

GPG = "gpg"

FIRST = (
    "--no-tty",  # nobody sits there; without it gpg blames an ioctl
    "--batch",  # by --command-fd the domain that asks would answer gpg's questions, and one is for the name of a file
    "--disable-dirmngr",  # a domain of keys has no network, and must not look for one on behalf of another
    "--photo-viewer=/bin/true",  # a picture in a key must not start a program
)

CHUNK = 1 << 16


def main() -> int:
    return serve(Accepting())


def serve(accepting: Accepting) -> int:
    """One call on standard input and output; the exit code is gpg's."""
    untrusted = read_exactly(COMMAND.size)
    if len(untrusted) < COMMAND.size:
        print(f"{SERVICE}: the call ended before its command line did", file=sys.stderr)
        return REFUSED
    try:
        source = DomainName.parse(os.environ.get("QREXEC_REMOTE_DOMAIN", ""))
        line = parse_remote(decode_command(untrusted))
        accepting.check(source)
        gpg = Gpg(line)
    except (WireError, NotAccepted) as refusal:
        return refuse(f"{refusal}.")
    except FileNotFoundError:
        return refuse(f"gpg is not installed in {os.uname().nodename}.")
    threading.Thread(target=gpg.feed, daemon=True).start()
    code = gpg.answer()
    write_all(1, encode_block(Ended(code)))
    return code


def refuse(sentence: str) -> int:
    write_all(1, encode_block(Block(ERROR, f"{SERVICE}: {sentence}\n".encode())) + encode_block(Ended(REFUSED)))
    return REFUSED


class Gpg:
    """gpg at work for another domain, and this side's ends of its files in the order of the wire."""

    def __init__(self, line: Line) -> None:
        inputs = {number: os.pipe() for number in line.inputs}
        outputs = {number: os.pipe() for number in line.outputs}
        self._places = len(inputs)
        self._inputs = {place: end for place, (_, end) in enumerate(inputs.values())}
        self._outputs = {end: place for place, (end, _) in enumerate(outputs.values())}
        readers = {number: end for number, (end, _) in inputs.items()}
        writers = {number: end for number, (_, end) in outputs.items()}
        standard = [
            (os.POSIX_SPAWN_DUP2, end, number) for number, end in ((0, readers[0]), (1, writers[1]), (2, writers[2]))
        ]
        try:
            for end in (*readers.values(), *writers.values()):
                os.set_inheritable(end, True)
            own = renumbered(line, readers | {0: 0}, writers | {1: 1, 2: 2})
            self._pid = os.posix_spawnp(
                GPG, [GPG, *FIRST, *own.words], os.environ, file_actions=standard, setsigdef=[signal.SIGPIPE]
            )
        finally:
            for end in (*readers.values(), *writers.values()):
                os.close(end)
        self._pidfd = os.pidfd_open(self._pid)

    def feed(self) -> None:
        """Hand gpg what the other domain sends; that one's end or nonsense is gpg's end too."""
        reader = BlockReader(self._places, answering=False)
        try:
            while untrusted := os.read(0, CHUNK):
                for block in reader.feed(untrusted):
                    assert isinstance(block, Block)
                    self._give(block)
        except WireError as error:
            print(f"{SERVICE}: {error}", file=sys.stderr)
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGTERM)

    def answer(self) -> int:
        """Send what gpg says until all its files are at their ends; its exit code."""
        poll = select.poll()
        for file in self._outputs:
            poll.register(file, select.POLLIN)
        while self._outputs:
            for file, _ in poll.poll():
                data = os.read(file, MAX_BLOCK)
                write_all(1, encode_block(Block(self._outputs[file], data)))
                if not data:
                    poll.unregister(file)
                    os.close(file)
                    del self._outputs[file]
        _, status = os.waitpid(self._pid, 0)
        code = os.waitstatus_to_exitcode(status)
        return 128 - code if code < 0 else code

    def _give(self, block: Block) -> None:
        file = self._inputs.get(block.file)
        if file is None:
            return  # gpg did not want the rest of it
        try:
            write_all(file, block.data)
        except BrokenPipeError:
            del self._inputs[block.file]
            os.close(file)
            return
        if not block.data:
            del self._inputs[block.file]
            os.close(file)


if __name__ == "__main__":
    sys.exit(main())
