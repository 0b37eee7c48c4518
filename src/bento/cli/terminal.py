"""The person's terminal: raw while a program or a console has it, and always given back as it was."""

import os
import signal
import sys
import termios
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from bento.cli.harmless import Harmless, speaks_utf8


@contextmanager
def raw(file: int) -> Iterator[None]:
    """`file` passes every key, Ctrl-C too, until the block ends, however it ends. Does nothing if it is no terminal."""
    if not os.isatty(file):
        yield
        return

    before = termios.tcgetattr(file)
    with tidied_up():
        try:
            tty.setraw(file, termios.TCSADRAIN)
            yield
        finally:
            termios.tcsetattr(file, termios.TCSADRAIN, before)


@contextmanager
def tidied_up() -> Iterator[None]:
    """In the block a terminal that is closed, and a plain `kill`, are an exception: what is undone at the end, is."""

    def leave(number: int, _: FrameType | None) -> NoReturn:
        sys.exit(128 + number)

    handlers = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)


def rows_and_columns(file: int) -> tuple[int, int]:
    """The terminal's size; 24 and 80 where it does not know (0 would mean no terminal at all to the guest)."""
    try:
        size = os.get_terminal_size(file)
    except OSError:
        return 24, 80
    return size.lines or 24, size.columns or 80


class Sizes:
    """`fileno` becomes readable whenever the size of the terminal `file` changes (or another signal came)."""

    def __init__(self, file: int, changes: int) -> None:
        self._file = file
        self._changes = changes

    def fileno(self) -> int:
        return self._changes

    def read(self) -> tuple[int, int]:
        """Rows and columns as they are now."""
        os.read(self._changes, 4096)
        return rows_and_columns(self._file)


@contextmanager
def sizes(file: int) -> Iterator[Sizes]:
    listen, say = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    before = signal.signal(signal.SIGWINCH, lambda *_: None)
    wakeup = signal.set_wakeup_fd(say, warn_on_full_buffer=False)
    try:
        yield Sizes(file, listen)
    finally:
        signal.set_wakeup_fd(wakeup)
        signal.signal(signal.SIGWINCH, before)
        os.close(listen)
        os.close(say)


class Harmlessly:
    """A sink that shows a guest's bytes on the terminal `file` without obeying them."""

    def __init__(self, file: int) -> None:
        self._file = file
        self._stream = Harmless(utf8=speaks_utf8(os.environ))

    def fileno(self) -> int:
        return self._file

    def write(self, data: memoryview) -> int:
        self._print(self._stream.feed(bytes(data)))
        return len(data)

    def end(self) -> None:
        self._print(self._stream.end())

    def _print(self, text: str) -> None:
        shown = memoryview(text.encode())
        while shown:
            shown = shown[os.write(self._file, shown) :]
