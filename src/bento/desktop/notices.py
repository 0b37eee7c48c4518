"""A few lines in a corner for what the person wants to be told; they take no focus, and go by themselves."""

from collections import deque

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QColor, QGuiApplication, QPalette
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from bento.wire.consent import Notice

SHOWN = 4
STAY_MILLISECONDS = 8000
WIDTH = 380
MARGIN = 16


class Notices(QWidget):
    def __init__(self) -> None:
        super().__init__(
            None,
            Qt.WindowType.ToolTip | Qt.WindowType.FramelessWindowHint | Qt.WindowType.WindowDoesNotAcceptFocus,
        )
        self.setAttribute(Qt.WidgetAttribute.WA_ShowWithoutActivating)
        self.setAttribute(Qt.WidgetAttribute.WA_TransparentForMouseEvents)
        self.setWindowTitle("Bento: notice")
        self.setFixedWidth(WIDTH)
        self._latest: deque[Notice] = deque(maxlen=SHOWN)
        self._grid = QGridLayout(self)
        self._grid.setColumnStretch(1, 1)
        self._stay = QTimer(self, singleShot=True, interval=STAY_MILLISECONDS)
        self._stay.timeout.connect(self._go)

    def show_one(self, notice: Notice) -> None:
        self._latest.append(notice)
        while item := self._grid.takeAt(0):
            if widget := item.widget():
                widget.deleteLater()
        for row, one in enumerate(self._latest):
            self._grid.addWidget(_colour(one), row, 0)
            text = QLabel(f"{one.source.name}: {one.sentence}", wordWrap=True)
            text.setTextFormat(Qt.TextFormat.PlainText)
            self._grid.addWidget(text, row, 1)
        self.adjustSize()
        room = QGuiApplication.primaryScreen().availableGeometry()
        self.move(room.right() - self.width() - MARGIN, room.bottom() - self.height() - MARGIN)
        self.show()
        self._stay.start()

    def _go(self) -> None:
        self._latest.clear()
        self.hide()


def _colour(notice: Notice) -> QWidget:
    strip = QWidget()
    strip.setFixedWidth(6)
    strip.setAutoFillBackground(True)
    palette = strip.palette()
    palette.setColor(QPalette.ColorRole.Window, QColor(notice.source.rgb))
    strip.setPalette(palette)
    return strip
