"""The agent as a whole: the manager's line on one side, windows on the other."""

import sys
import time

from PySide6.QtCore import QCoreApplication, QObject, QSocketNotifier, QTimer
from PySide6.QtGui import QGuiApplication

from bento.desktop import OUTSIDE
from bento.desktop.dialog import Dialog
from bento.desktop.line import Attendance, Ended, answer
from bento.desktop.notices import Notices
from bento.desktop.prompt import Prompt
from bento.wire.consent import Answer, Attending, Notice, Question, Settled
from bento.wire.errors import WireError
from bento.wire.home import Home

LOOK_AGAIN_MILLISECONDS = 1000
"""Between two looks for a manager, while there is none."""


class Desk(QObject):
    def __init__(self, home: Home) -> None:
        """Attends at once; raises `Ended` where there is no manager."""
        super().__init__()
        self._home = home
        self._notices = Notices()
        self._dialog: Dialog | None = None
        self._prompt: Prompt | None = None
        self._attend()

    def _attend(self) -> None:
        self._line = Attendance(self._home)
        self._watch = QSocketNotifier(self._line.fileno(), QSocketNotifier.Type.Read, self)
        self._watch.activated.connect(self._hear)

    def _attend_again(self) -> None:
        try:
            self._attend()
        except Ended:
            QTimer.singleShot(LOOK_AGAIN_MILLISECONDS, self._attend_again)

    def _hear(self) -> None:
        try:
            for told in self._line.take():
                self._react(told)
        except WireError as error:
            print(f"bento: the manager says what makes no sense: {error}", file=sys.stderr)
            QCoreApplication.exit(OUTSIDE)
        except Ended:
            self._watch.setEnabled(False)
            self._watch.deleteLater()
            self._line.close()
            self._close()
            self._attend_again()

    def _react(self, told: Attending | Question | Settled | Notice) -> None:
        match told:
            case Attending():
                print("bento: you are asked in a window from now on", flush=True)
            case Question():
                self._open(told)
            case Settled(number) if self._prompt and self._prompt.question.id == number:
                self._close()
            case Settled():
                pass
            case Notice():
                self._notices.show_one(told)

    def _open(self, question: Question) -> None:
        self._close()
        self._prompt = Prompt(question, time.monotonic)
        self._dialog = Dialog(self._prompt, self._answer)
        self._dialog.adjustSize()
        room = QGuiApplication.primaryScreen().availableGeometry()
        place = self._dialog.frameGeometry()
        place.moveCenter(room.center())
        self._dialog.move(place.topLeft())
        self._dialog.show()
        self._dialog.raise_()
        self._dialog.activateWindow()

    def _answer(self, given: Answer) -> None:
        if self._prompt is None:
            return
        number = self._prompt.question.id
        self._close()
        try:
            answer(self._home, number, given)
        except Ended:
            pass  # the manager is gone, and the question with it; the attendance says so too

    def _close(self) -> None:
        if self._dialog:
            self._dialog.over()
        self._dialog = self._prompt = None
