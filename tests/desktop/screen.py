"""A screen of the test's own (Xvfb), a person at it (xdotool), and pictures of it.

There is no window manager there: windows take the focus themselves, or the person gives it. What happens is waited
for by the windows' titles, which say whether a question may be answered.
"""

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE = 120
"""Seconds, which is a hang."""

PICTURE = """
import sys
from PySide6.QtGui import QGuiApplication
application = QGuiApplication([])
sys.exit(not QGuiApplication.primaryScreen().grabWindow(0).save(sys.argv[1]))
"""

ELSEWHERE = """
from PySide6.QtWidgets import QApplication, QPlainTextEdit
application = QApplication([])
window = QPlainTextEdit("what the person works at")
window.setWindowTitle("elsewhere")
window.setGeometry(700, 500, 300, 200)
window.show()
window.activateWindow()
application.exec()
"""


class Screen:
    def __init__(self, display: str) -> None:
        self.environment = {
            **{name: value for name, value in os.environ.items() if name not in ("WAYLAND_DISPLAY", "XAUTHORITY")},
            "DISPLAY": display,
            "QT_QPA_PLATFORM": "xcb",
        }

    def do(self, *words: str) -> str:
        """What a person does, as xdotool puts it."""
        done = subprocess.run(
            ["xdotool", *words], env=self.environment, capture_output=True, text=True, timeout=PATIENCE, check=True
        )
        return done.stdout.strip()

    def window(self, title: str) -> str:
        """The number of the window with just that title, once there is one to be seen."""
        end = time.monotonic() + PATIENCE
        while not (found := self._search(f"^{re.escape(title)}$")):
            assert time.monotonic() < end, f"there is no window {title!r}"
        return found[0]

    def is_there(self, title: str) -> bool:
        return bool(self._search(f"^{re.escape(title)}"))

    def wait_until_gone(self, title: str) -> None:
        end = time.monotonic() + PATIENCE
        while self.is_there(title):
            assert time.monotonic() < end, f"{title!r} does not go"

    def _search(self, pattern: str) -> list[str]:
        """Windows that can be seen now. Its own --sync gives up when another window goes at the wrong moment."""
        words = ["xdotool", "search", "--onlyvisible", "--name", pattern]
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        return done.stdout.split()

    def keep_picture(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        self.run(PICTURE, str(path)).wait(PATIENCE)
        assert path.stat().st_size > 1000

    def run(self, program: str, *words: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, "-c", program, *words], env=self.environment)

    @contextmanager
    def elsewhere(self) -> Iterator[str]:
        """Another window of the person's; its number."""
        process = self.run(ELSEWHERE)
        try:
            yield self.window("elsewhere")
        finally:
            process.kill()
            process.wait()


@contextmanager
def new_screen() -> Iterator[Screen]:
    listen, tell = os.pipe()
    words = ["Xvfb", "-displayfd", str(tell), "-screen", "0", "1024x768x24", "-nolisten", "tcp", "-dpi", "96"]
    words.append("-noreset")  # else it starts anew whenever the last window is gone, and hears nobody meanwhile
    with subprocess.Popen(words, pass_fds=[tell], stderr=subprocess.DEVNULL) as server:
        os.close(tell)
        try:
            with open(listen, "rb") as told:
                yield Screen(f":{told.readline().decode().strip()}")
        finally:
            server.terminate()
