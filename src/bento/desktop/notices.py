"""A few lines in a corner for what the person wants to be told; they take no focus, and go by themselves."""

from collections import deque

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QColor, QGuiApplication, QPainter, QPaintEvent, QPalette
from PySide6.QtWidgets import QGridLayout, QLabel, QWidget

from bento.wire.consent import Notice

SHOWN = 4
STAY_MILLISECONDS = 8000
TEXT_WIDTH = 340
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
        self._latest: deque[Notice] = deque(maxlen=SHOWN)
        self._grid = QGridLayout(self)
        self._grid.setContentsMargins(14, 12, 14, 12)
        self._grid.setHorizontalSpacing(12)
        self._grid.setVerticalSpacing(10)
        self._stay = QTimer(self, singleShot=True, interval=STAY_MILLISECONDS)
        self._stay.timeout.connect(self._go)

    def show_one(self, notice: Notice) -> None:
        self._latest.append(notice)
        while item := self._grid.takeAt(0):
            if widget := item.widget():
                widget.hide()
                widget.deleteLater()
        for row, one in enumerate(self._latest):
            text = QLabel(f"{one.source.name}: {one.sentence}", wordWrap=True)
            text.setTextFormat(Qt.TextFormat.PlainText)
            text.setFixedSize(TEXT_WIDTH, text.heightForWidth(TEXT_WIDTH))  # lines that wrap have no height else
            for column, widget in enumerate((_colour(one), text)):
                self._grid.addWidget(widget, row, column)
                widget.show()  # what is hidden takes no room
        self._grid.activate()
        self.setFixedSize(self._grid.totalSizeHint())
        room = QGuiApplication.primaryScreen().availableGeometry()
        self.move(room.right() - self.width() - MARGIN, room.bottom() - self.height() - MARGIN)
        self.show()
        self._stay.start()

    def paintEvent(self, event: QPaintEvent) -> None:
        super().paintEvent(event)
        painter = QPainter(self)
        painter.setPen(self.palette().color(QPalette.ColorRole.Mid))
        painter.drawRect(self.rect().adjusted(0, 0, -1, -1))
        painter.end()

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
