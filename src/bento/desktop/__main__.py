"""`python -m bento.desktop`: what `bento agent --desktop` becomes. Ends with one sentence if it cannot show windows."""

import os
import signal
import sys

from bento.desktop import OUTSIDE
from bento.wire.errors import WireError
from bento.wire.home import find_home

NO_LIBRARY = "PySide6 is missing, which draws the window; install bento-os[desktop], or use 'bento agent' on a terminal"
NO_DISPLAY = "no window can be shown here (is DISPLAY or WAYLAND_DISPLAY set?); use 'bento agent' on a terminal"


def main() -> int:
    if sentence := _obstacle():
        print(f"bento: {sentence}", file=sys.stderr)
        return OUTSIDE
    from PySide6.QtWidgets import QApplication

    from bento.desktop.desk import Desk
    from bento.desktop.line import Ended

    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python would not hear of it while Qt waits
    application = QApplication(["bento"])
    application.setStyle("Fusion")
    application.setQuitOnLastWindowClosed(False)
    application.setDesktopFileName("bento-agent")
    try:
        desk = Desk(find_home(os.environ))
    except (Ended, WireError) as error:
        print(f"bento: the manager cannot be reached: {error}", file=sys.stderr)
        return OUTSIDE
    desk.setParent(application)
    return application.exec()


def _obstacle() -> str:
    """Why there will be no window, or nothing. A child tries: what Qt does not find there, it ends its process for."""
    try:
        import PySide6  # noqa: F401  # only whether it is there
    except ImportError:
        return NO_LIBRARY
    child = os.fork()
    if child == 0:
        _try()
    return "" if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 else NO_DISPLAY


def _try() -> None:
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        from PySide6.QtWidgets import QApplication

        QApplication(["bento"])
        code = 0
    finally:
        os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
