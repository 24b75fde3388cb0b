"""The last line: the research-use notice, always; and how fast and how completely frames go by.

Owns the notice. Must not measure; it is given a line of figures.
"""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer
from PySide6.QtGui import QFont
from PySide6.QtWidgets import QHBoxLayout, QLabel, QWidget

from . import theme

NOTICE = "Research use only. Not for diagnosis."


class Footer(QWidget):
    """The notice at the left, the figures at the right, a passing word between them."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("panel")
        self.setAttribute(Qt.WidgetAttribute.WA_StyledBackground)
        self.notice = QLabel(NOTICE)
        self.notice.setFont(theme.font(theme.BODY, QFont.Weight.DemiBold))
        self._word = QLabel("")
        self._figures = QLabel("")
        self._figures.setObjectName("quiet")
        self._figures.setFont(theme.font(theme.BODY))
        row = QHBoxLayout(self)
        row.setContentsMargins(16, 5, 18, 6)
        row.addWidget(self.notice)
        row.addSpacing(24)
        row.addWidget(self._word)
        row.addStretch()
        row.addWidget(self._figures)
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
