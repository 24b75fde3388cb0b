"""The last line: the research-use notice, always; and how fast and how completely frames go by.

Owns the notice. Must not measure; it is given a line of figures.
"""

from __future__ import annotations

from PySide6.QtCore import QSize, Qt, QTimer
from PySide6.QtGui import QFont, QPainter, QPaintEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QWidget

from endostream.vocabulary import NOTICE

from . import theme


class _Fitting(QLabel):
    """A line that never widens the window: what has no room is left out at its end."""

    def minimumSizeHint(self) -> QSize:
        """Any width will do."""
        return QSize(0, super().minimumSizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw as much as fits, at the right."""
        painter = QPainter(self)
        metrics = self.fontMetrics()
        text = metrics.elidedText(self.text(), Qt.TextElideMode.ElideRight, self.width())
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, text)
        painter.end()


class Footer(QWidget):
    """The notice at the left, the figures at the right, a passing word between them."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.notice = QLabel(NOTICE)
        self.notice.setFont(theme.font(theme.BODY, QFont.Weight.DemiBold))
        self._word = QLabel("")
        self._figures = _Fitting("")
        self._figures.setObjectName("quiet")
        self._figures.setFont(theme.font(theme.BODY))
        row = QHBoxLayout(self)
        row.setContentsMargins(16, 5, 18, 6)
        row.addWidget(self.notice)
        row.addSpacing(24)
        row.addWidget(self._word)
        row.addWidget(self._figures, 1)
        self._clear = QTimer(self)
        self._clear.setSingleShot(True)
        self._clear.timeout.connect(lambda: self._word.setText(""))

    @property
    def word(self) -> str:
        """The passing word."""
        return self._word.text()

    @property
    def figures(self) -> str:
        """The figures shown."""
        return self._figures.text()

    def set_figures(self, text: str) -> None:
        """Show the figures; called at most four times a second."""
        self._figures.setText(text)
        self._figures.setToolTip(text)

    def say(self, text: str, seconds: float = 4.0) -> None:
        """Say something for a few seconds."""
        self._word.setText(text)
        self._clear.start(round(seconds * 1000))

    def set_short(self, short: bool) -> None:
        """Show the notice alone, for the full screen."""
        self._figures.setVisible(not short)
