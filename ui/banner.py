"""The banner: a line under the status strip that says what happened and what to do.

Owns one line at a time; it moves the picture a little and never covers it. Never modal.
"""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, QTimer, Signal
from PySide6.QtGui import QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSizePolicy, QToolButton, QWidget

from . import icons, theme
from .actions import BY_KEY
from .samples import Level, Notice

COLOURS: dict[Level, str] = {"info": "landmark", "warning": "text", "failure": "failure"}
SHAPES: dict[Level, str] = {"info": "open-dot", "warning": "clock", "failure": "failed"}
ORDER: tuple[Level, ...] = ("info", "warning", "failure")


class Banner(QWidget):
    """One notice with an action and a way to put it away; emits `actionRequested(key)`."""

    actionRequested = Signal(str)

    def __init__(self, palette: theme.Palette = theme.DARK) -> None:
        super().__init__()
        self._palette = palette
        self._notice: Notice | None = None
        self._text = QLabel("")
        self._text.setFont(theme.font(15))
        self._text.setWordWrap(True)
        self._text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self._text.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self._button = QPushButton("")
        self._button.clicked.connect(self._act)
        self._away = QToolButton()
        self._away.setObjectName("flat")
        self._away.setIconSize(QSize(14, 14))
        self._away.setToolTip("Put this line away")
        self._away.setAccessibleName("Put this line away")
        self._away.clicked.connect(self.clear)
        row = QHBoxLayout(self)
        row.setContentsMargins(58, 8, 14, 8)
        row.setSpacing(10)
        row.addWidget(self._text)
        row.addWidget(self._button)
        row.addWidget(self._away)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.clear)
        self.set_palette(palette)
        self.hide()

    @property
    def notice(self) -> Notice | None:
        """What it says."""
        return self._notice

    def show_notice(self, notice: Notice, seconds: float | None = None) -> None:
        """Say this; a graver line is not replaced by a lighter one."""
        if self._notice is not None and ORDER.index(notice.level) < ORDER.index(self._notice.level):
            return
        self._notice = notice
        self._text.setText(notice.text)
        self._button.setVisible(notice.action is not None)
        if notice.action is not None:
            self._button.setText(BY_KEY[notice.action].text)
            self._button.setToolTip(BY_KEY[notice.action].hint)
        self._timer.stop()
        if seconds is not None:
            self._timer.start(round(seconds * 1000))
        self.show()
        self.update()

    def clear(self) -> None:
        """Put the line away."""
        self._notice = None
        self.hide()

    def set_palette(self, palette: theme.Palette) -> None:
        """Take the colours of another theme."""
        self._palette = palette
        self._away.setIcon(icons.icon("cross", palette.colour("secondary"), palette.colour("blind"), 14))
        self.update()

    def _act(self) -> None:
        if self._notice is not None and self._notice.action is not None:
            self.actionRequested.emit(self._notice.action)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw ground, stripe and shape."""
        if self._notice is None:
            return
        painter = QPainter(self)
        painter.fillRect(self.rect(), self._palette.colour("raised"))
        colour = self._palette.colour(COLOURS[self._notice.level])
        painter.fillRect(0, 0, 4, self.height(), colour)
        box = self.rect().toRectF()
        box.setRect(20, self.height() / 2 - 9, 18, 18)
        icons.draw(painter, SHAPES[self._notice.level], box, colour)
        painter.end()
