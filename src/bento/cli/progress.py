"""One line on standard error that says how far something is: redrawn on a terminal, silent elsewhere."""

import os
import sys
from types import TracebackType

from bento.cli.harmless import harmless


class Progress:
    """`show` redraws the line; the block's end takes it away, whatever ended it."""

    def __init__(self) -> None:
        self._terminal = sys.stderr.isatty()
        self._shown = False

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.clear()

    def show(self, text: str, fraction: float | None = None) -> None:
        if not self._terminal:
            return
        line = harmless(text) if fraction is None else f"{harmless(text)}  {100 * min(max(fraction, 0.0), 1.0):3.0f} %"
        try:
            columns = os.get_terminal_size(2).columns or 80
        except OSError:
            columns = 80
        self._write(f"\r{line[: columns - 1]}\x1b[K")
        self._shown = True

    def clear(self) -> None:
        """Take the line away, until there is something to show again."""
        if self._shown:
            self._write("\r\x1b[K")
        self._shown = False

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
