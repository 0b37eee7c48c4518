"""All of `bento`, and every way out of it. Whatever happens ends as an exit code and at most one sentence."""

import os
import sys
from collections.abc import Sequence

from bento.cli.account import become_ordinary
from bento.cli.exits import Code, Failed
from bento.cli.render import say
from bento.cli.verbs import perform
from bento.wire.errors import WireError
from bento.wire.home import Home, find_home


def main(words: Sequence[str]) -> int:
    """Do what the command line says; the exit code (see `exits.Code`, or a program's own with `bento run`)."""
    _open_standard_files()
    try:
        become_ordinary()
        code = perform(words, _home)
        sys.stdout.flush()
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # every way out is told in one way
        return explain(error)
    return code


def explain(error: BaseException) -> int:
    """Tell the person what went wrong; the code to end with."""
    match error:
        case Failed():
            say(error.sentence)
            return error.code
        case WireError():  # a name that the person typed; the manager's mistakes are `Failed` by now
            say(str(error))
            return Code.BAD_INPUT
        case KeyboardInterrupt():
            return Code.INTERRUPTED
        case BrokenPipeError():
            # Nobody reads any more. What Python still holds for them must not become an error at the very end.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            return Code.CLOSED
        case _:  # a mistake in Bento itself: a sentence for the person, the rest in a log
            if os.environ.get("BENTO_DEBUG") == "1":
                raise error
            say(_report(error))
            return Code.OUTSIDE


def _home() -> Home:
    return find_home(os.environ)


def _open_standard_files() -> None:
    """A socket of ours must never become file 0, 1 or 2 because the caller had closed it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stdout is None:
        sys.stdout = os.fdopen(1, "w", closefd=False)
    if sys.stderr is None:
        sys.stderr = os.fdopen(2, "w", closefd=False)


def _report(error: BaseException) -> str:
    import traceback

    what = f"Bento made a mistake ({type(error).__name__})"
    try:
        log = _home().data / "command.log"
        with open(log, "a", encoding="utf-8", errors="backslashreplace") as file:
            traceback.print_exception(error, file=file)
    except (OSError, WireError):
        return f"{what}; with BENTO_DEBUG=1 it shows the details"
    return f"{what}; the details are in {log}"
