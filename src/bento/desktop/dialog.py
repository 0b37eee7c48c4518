"""The window of one question.

Nothing in it is the button that Enter would hit, and nothing has the focus
when it appears: to say yes takes a click on it, or a walk to it with Tab. All
text is plain text. While it is not armed (see `prompt.py`) all that takes a key
or a click in it is grey, and its title says so.
"""

from collections.abc import Callable

from PySide6.QtCore import QEvent, QSize, Qt, QTimer
from PySide6.QtGui import QCloseEvent, QColor, QFont, QFontDatabase, QIcon, QKeyEvent, QPainter, QPalette, QPen, QPixmap
from PySide6.QtWidgets import (
    QButtonGroup,
    QFormLayout,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPlainTextEdit,
    QProgressBar,
    QPushButton,
    QRadioButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from bento.desktop.prompt import Prompt, breakable, elided, lastings
from bento.wire.consent import Answer, No, Party

TICK_MILLISECONDS = 50
WIDTH = 540
SWATCH = 18
MANY = 7
"""Targets that are shown without scrolling."""


TERM_STYLE = """
QPushButton { padding: 5px 12px; border: 1px solid rgba(128, 128, 128, 160); border-radius: 4px; }
QPushButton:checked { background: palette(highlight); color: palette(highlighted-text); }
QPushButton:disabled { color: palette(placeholder-text); }
QPushButton:checked:disabled { background: rgba(128, 128, 128, 60); }
QPushButton:focus { border-color: palette(text); }
"""


class Dialog(QWidget):
    def __init__(self, prompt: Prompt, decide: Callable[[Answer], None]) -> None:
        """`decide` is told the answer, once."""
        super().__init__(None, Qt.WindowType.Window | Qt.WindowType.WindowStaysOnTopHint)
        self._prompt = prompt
        self._decide = decide
        self._over = False
        self._was_armed = True
        self._clock = QTimer(self, interval=TICK_MILLISECONDS)
        self._clock.timeout.connect(self._tick)

        self._controls: list[QWidget] = []  # what takes keys and clicks
        self._seconds = _label("")
        self._bar = QProgressBar(self, minimum=0, maximum=1000, textVisible=False)
        self._bar.setFixedHeight(4)
        self._deny = QPushButton("Deny")
        self._allow = QPushButton("Allow")
        for button in (self._deny, self._allow):
            button.setMinimumWidth(96)
            button.setAutoDefault(False)
        self._controls.append(self._deny)
        self._deny.clicked.connect(lambda: self._give(prompt.deny()))
        self._allow.clicked.connect(lambda: self._give(prompt.allow()))
        self._lay_out()
        self._tick()
        self._clock.start()

    def sizeHint(self) -> QSize:
        """As high as it takes for lines that break, which without a width nobody can know."""
        layout = self.layout()
        assert layout
        return QSize(WIDTH, layout.totalHeightForWidth(WIDTH))

    def over(self) -> None:
        """Go away: the question is answered, or is none any more."""
        self._over = True
        self._clock.stop()
        self.close()
        self.deleteLater()

    # What it looks like.

    def _lay_out(self) -> None:
        question = self._prompt.question
        page = QVBoxLayout(self)
        page.setContentsMargins(0, 0, 0, 0)
        page.setSpacing(0)
        page.addWidget(_band(question.source))
        body = QVBoxLayout()
        page.addLayout(body)
        page.addWidget(self._bar)
        body.setContentsMargins(24, 18, 24, 18)
        body.setSpacing(14)
        body.addLayout(_heading(question.source))
        body.addLayout(self._facts())
        body.addWidget(_title("Where may it go?"))
        body.addWidget(self._choices())
        body.addWidget(_title("For how long?"))
        body.addLayout(self._lastings())
        body.addSpacing(4)
        body.addLayout(self._foot())
        self.setFixedWidth(WIDTH)
        self.setFocusPolicy(Qt.FocusPolicy.ClickFocus)

    def _facts(self) -> QFormLayout:
        question = self._prompt.question
        form = QFormLayout()
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        form.setHorizontalSpacing(20)
        form.setVerticalSpacing(6)
        form.addRow(_quiet("Service"), _fixed(question.service))
        if question.argument:
            form.addRow(_quiet("Argument"), self._argument(question.argument))
        named = question.requested not in ("", "@default")
        form.addRow(_quiet("Asked for"), _fixed(question.requested) if named else _label("no domain in particular"))
        if question.user:
            form.addRow(_quiet("Runs as"), _fixed(question.user))
        return form

    def _argument(self, argument: str) -> QWidget:
        short = _fixed(elided(argument))
        if elided(argument) == argument:
            return short
        whole = QPlainTextEdit(argument, readOnly=True)
        whole.setFont(_fixed_font())
        whole.setLineWrapMode(QPlainTextEdit.LineWrapMode.WidgetWidth)
        whole.setWordWrapMode(whole.wordWrapMode().WrapAnywhere)
        whole.setTabChangesFocus(True)
        whole.setFixedHeight(110)
        whole.hide()
        show = QPushButton(f"Show all {len(argument):,} characters")
        show.setAutoDefault(False)

        def reveal() -> None:
            short.hide()
            show.hide()
            whole.show()
            QTimer.singleShot(0, self.adjustSize)

        show.clicked.connect(reveal)
        self._controls.append(show)
        holder = QWidget()
        column = QVBoxLayout(holder)
        column.setContentsMargins(0, 0, 0, 0)
        column.addWidget(short)
        column.addWidget(whole)
        column.addWidget(show, 0, Qt.AlignmentFlag.AlignLeft)
        return holder

    def _choices(self) -> QWidget:
        question = self._prompt.question
        holder = QFrame()
        column = QVBoxLayout(holder)
        column.setContentsMargins(2, 0, 2, 0)
        column.setSpacing(8)
        self._targets = QButtonGroup(self)
        for number, choice in enumerate(question.choices):
            suggested = "   suggested by the policy" if choice.name == question.default else ""
            button = QRadioButton(choice.name + suggested)
            button.setIcon(_swatch(choice))
            button.setIconSize(QSize(SWATCH, SWATCH))
            button.setChecked(choice.name == self._prompt.target)
            self._targets.addButton(button, number)
            self._controls.append(button)
            column.addWidget(button)
        self._targets.idToggled.connect(self._choose)  # by a click or by an arrow key
        if len(question.choices) <= MANY:
            return holder
        scroll = QScrollArea(widgetResizable=True)
        scroll.setWidget(holder)
        scroll.setFixedHeight(MANY * (SWATCH + 12))
        return scroll

    def _lastings(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(6)
        self._terms = QButtonGroup(self)
        for number, lasting in enumerate(lastings(self._prompt.question.source.name)):
            button = QPushButton(lasting.text)
            button.setCheckable(True)
            button.setStyleSheet(TERM_STYLE)
            button.setChecked(lasting == self._prompt.lasting)
            self._terms.addButton(button, number)
            self._controls.append(button)
            row.addWidget(button)
        row.addStretch()
        self._terms.idToggled.connect(self._last)
        return row

    def _foot(self) -> QHBoxLayout:
        row = QHBoxLayout()
        row.setSpacing(10)
        row.addWidget(self._seconds)
        row.addStretch()
        row.addWidget(self._deny)
        row.addWidget(self._allow)
        return row

    # What happens to it.

    def _choose(self, number: int, chosen: bool) -> None:
        if chosen:
            self._prompt.target = self._prompt.question.choices[number].name
            self._tick()

    def _last(self, number: int, chosen: bool) -> None:
        if chosen:
            self._prompt.lasting = lastings(self._prompt.question.source.name)[number]

    def _tick(self) -> None:
        if self._prompt.late:
            self._give(No())
            return
        self._seconds.setText(f"Denied in {self._prompt.seconds_left} s")
        self._bar.setValue(round(1000 * self._prompt.share_left))
        armed = self._prompt.armed
        if armed != self._was_armed:
            self._was_armed = armed
            for control in self._controls:
                control.setEnabled(armed)
            self.setFocus()
            asks = f"{self._prompt.question.source.name} asks"
            self.setWindowTitle(f"Bento: {asks}" if armed else f"Bento: {asks}, wait")
        self._allow.setEnabled(armed and self._prompt.target is not None)

    def _give(self, answer: Answer | None) -> None:
        if answer is not None and not self._over:
            self._over = True
            self._decide(answer)

    def changeEvent(self, event: QEvent) -> None:
        if event.type() == QEvent.Type.ActivationChange:
            self._prompt.front(self.isActiveWindow())
            self._tick()
        super().changeEvent(event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        if event.key() == Qt.Key.Key_Escape and not event.isAutoRepeat():
            self._give(self._prompt.deny())

    def closeEvent(self, event: QCloseEvent) -> None:
        """Closing it is a no, which like any other counts only when it is armed."""
        if self._over:
            event.accept()
        else:
            event.ignore()
            self._give(self._prompt.deny())


def _label(text: str) -> QLabel:
    label = QLabel(text)
    label.setTextFormat(Qt.TextFormat.PlainText)
    return label


def _quiet(text: str) -> QLabel:
    label = _label(text)
    label.setForegroundRole(QPalette.ColorRole.PlaceholderText)
    return label


def _title(text: str) -> QLabel:
    label = _label(text)
    font = label.font()
    font.setWeight(QFont.Weight.DemiBold)
    label.setFont(font)
    return label


def _fixed(text: str) -> QLabel:
    """Words that a guest chose, all of them."""
    label = _label(breakable(text))
    label.setFont(_fixed_font())
    label.setWordWrap(True)
    return label


def _fixed_font() -> QFont:
    return QFontDatabase.systemFont(QFontDatabase.SystemFont.FixedFont)


def _band(source: Party) -> QWidget:
    """The source's colour across the top, as on the frames of its windows."""
    band = QWidget()
    band.setFixedHeight(8)
    band.setAutoFillBackground(True)
    palette = band.palette()
    palette.setColor(QPalette.ColorRole.Window, QColor(source.rgb))
    band.setPalette(palette)
    return band


def _heading(source: Party) -> QHBoxLayout:
    name = _label(source.name)
    font = name.font()
    font.setPointSizeF(font.pointSizeF() * 1.7)
    font.setWeight(QFont.Weight.Bold)
    name.setFont(font)
    words = QVBoxLayout()
    words.setSpacing(2)
    words.addWidget(name)
    words.addWidget(_label("asks to call a service outside of itself"))
    row = QHBoxLayout()
    row.setSpacing(16)
    picture = QLabel()
    picture.setPixmap(_swatch(source, 44).pixmap(44, 44))
    row.addWidget(picture)
    row.addLayout(words)
    row.addStretch()
    return row


def _swatch(party: Party, size: int = SWATCH) -> QIcon:
    """A square of the domain's colour, outlined so that black shows on dark and yellow on light."""
    pixmap = QPixmap(size, size)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QPen(QColor(128, 128, 128), 1.5))
    painter.setBrush(QColor(party.rgb))
    painter.drawRoundedRect(1, 1, size - 2, size - 2, size / 5, size / 5)
    painter.end()
    icon = QIcon(pixmap)
    icon.addPixmap(pixmap, QIcon.Mode.Disabled)  # the colour says whom, also before it can be clicked
    return icon
