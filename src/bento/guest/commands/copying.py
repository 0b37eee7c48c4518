"""Copying and moving files to another domain: what all the commands for it do.

The other domain takes the files by its `qubes.Filecopy` and says at the end what it got. It is not trusted: its answer
is a number, a checksum to compare, and a name of ours to show. Files are only removed after an answer that fits.
"""

import errno
import os
import sys
import threading
import time
from collections.abc import Iterator
from zlib import crc32

from bento.guest.commands.call import Call, NoCall
from bento.guest.commands.packing import CannotCopy, pack, remove, survey
from bento.wire import filecopy
from bento.wire.errors import WireError
from bento.wire.filecopy import MAX_RESULT, Result, decode_result
from bento.wire.names import printable
from bento.wire.rpc import Data, Exit, ExitCode, Stream

SERVICE = "qubes.Filecopy"

FAILED = 1
BAD_USAGE = 2

REFRESH = 0.2
"""Seconds between two lines of progress."""


def run(command: str, arguments: list[str], *, move: bool, to: bool) -> int:
    """The field's command lines: `[--without-progress] [--] [TARGET] FILE...`, with TARGET if `to`."""
    usage = f"usage: {command} [--without-progress] [--] {'TARGET ' if to else ''}FILE..."
    progress = True
    rest = list(arguments)
    while rest and rest[0].startswith("-"):
        option = rest.pop(0)
        if option == "--":
            break
        if option in ("-h", "--help"):
            print(usage)
            print(f"{'Move' if move else 'Copy'} files and directories into ~/QubesIncoming/ of another domain.")
            print(f"The policy decides {'whether they may go there' if to else 'which one'}.")
            return 0
        if option != "--without-progress":
            print(usage, file=sys.stderr)
            return BAD_USAGE
        progress = False
    target = rest.pop(0) if to and rest else ""
    if not rest:
        print(usage, file=sys.stderr)
        return BAD_USAGE
    return transfer(command, target, rest, move=move, progress=progress)


def transfer(command: str, target: str, paths: list[str], *, move: bool, progress: bool = True) -> int:
    """Copy or move `paths`; the exit code. Failures are told in one sentence on stderr."""
    try:
        entries = survey(paths, follow=not move)
    except CannotCopy as reason:
        return complain(command, str(reason), BAD_USAGE)
    where = target if target not in ("", "@default", "$default") else "the other domain"
    total = sum(entry.size for entry in entries)
    shown = Progress(where, total) if progress and os.isatty(2) else None
    try:
        call = Call(target, SERVICE)
        call.wait()
        checksum, answer = send(call, pack(entries), shown)
        judge(answer, checksum, where)
        if move:
            remove(entries)
    except NoCall as refused:
        return complain(command, why_not(refused, where), refused.code)
    except CannotCopy as reason:
        return complain(command, str(reason), FAILED)
    finally:
        if shown is not None:
            shown.end()
    return 0


def send(call: Call, pieces: Iterator[bytes], progress: "Progress | None") -> tuple[int, "Answer"]:
    """Send everything, or as much as the receiver takes; the checksum of all, and the answer."""
    answer = Answer(call)
    checksum = 0
    try:
        for piece in pieces:
            checksum = crc32(piece, checksum)
            call.send(piece)
            if progress is not None:
                progress.add(len(piece))
        call.end()
    except OSError:
        pass  # the receiver has ended early, and says why
    answer.wait()
    return checksum, answer


class Answer:
    """What comes back, collected in a thread of its own: a receiver may answer before all is sent."""

    def __init__(self, call: Call) -> None:
        self.untrusted = b""
        self.code: int | None = None
        self._thread = threading.Thread(target=self._collect, args=(call,), daemon=True)
        self._thread.start()

    def wait(self) -> None:
        self._thread.join()

    def _collect(self, call: Call) -> None:
        for message in call.messages():
            match message:
                case Data(stream=Stream.STDOUT):
                    self.untrusted = (self.untrusted + message.payload)[:MAX_RESULT]
                case Exit():
                    self.code = message.code
                case _:
                    pass


def judge(answer: Answer, checksum: int, where: str) -> None:
    """`NoCall` or `CannotCopy` unless all has arrived."""
    if answer.code is None:
        raise NoCall(ExitCode.FAULT, f"The copy to {where} broke off; what arrived is marked as partial there.")
    if answer.code in (ExitCode.NOT_FOUND, ExitCode.FAULT) and not answer.untrusted:
        raise NoCall(answer.code, f"Nothing was copied: {where} cannot receive files.")
    try:
        result = decode_result(answer.untrusted)
    except WireError:
        raise CannotCopy(f"{where} did not say how the copy went; look in its QubesIncoming.") from None
    if result.code:
        raise CannotCopy(failure(result, where))
    if result.checksum != checksum or answer.code:
        raise CannotCopy(f"What arrived in {where} is not what was sent; look in its QubesIncoming.")


def failure(result: Result, where: str) -> str:
    name = printable(result.last_name.decode(errors="replace"), 200)
    match result.code:
        case errno.EEXIST:
            return f"{name} already exists in {where}, in its QubesIncoming; rename or remove it there."
        case errno.ENOSPC | errno.EDQUOT:
            return f"There is not enough space in {where} for {name}."
        case errno.EINVAL | errno.EILSEQ | errno.ENOLINK | errno.ENAMETOOLONG:
            return f"{where} does not take {name}, the file or its name."
        case errno.EREMOTEIO | filecopy.BROKEN_OFF:
            return f"The copy to {where} broke off at {name}; it is marked as partial there."
        case _:
            reason = os.strerror(result.code) if result.code in errno.errorcode else f"code {result.code}"
            return f"{where} could not store {name}: {reason}."


def why_not(refused: NoCall, where: str) -> str:
    if refused.code == ExitCode.REFUSED:
        return f"Nothing was copied: refused by policy for {where}."
    return str(refused)


class Progress:
    """One line on the terminal, rewritten."""

    def __init__(self, where: str, total: int) -> None:
        self._where = where
        self._total = max(total, 1)
        self._sent = 0
        self._next = time.monotonic() + REFRESH

    def add(self, size: int) -> None:
        self._sent += size
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + REFRESH
            share = min(100, 100 * self._sent // self._total)
            print(f"\r{share:3} % of {self._total / 1e6:.1f} MB to {self._where} ", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Leave the line to the next who prints."""
        print("\r\033[K", end="", file=sys.stderr, flush=True)


def complain(command: str, sentence: str, code: int) -> int:
    print(f"{command}: {sentence}", file=sys.stderr)
    return code
