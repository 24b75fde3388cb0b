"""The strip above the picture: the indicator, the source and the pack, the clock.

Owns what is read from three metres. Must not decide the state; it is given an `Indicator`.
"""

from __future__ import annotations

from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QFont, QFontMetricsF, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QHBoxLayout, QSizePolicy, QToolButton, QWidget

from . import icons, theme
from .indicator import Indicator, Kind
from .samples import spoken_time

HEIGHT = 60


class StatusStrip(QWidget):
    """State, source, pack, clock; holds the menu button."""

    def __init__(self, palette: theme.Palette = theme.DARK) -> None:
        super().__init__()
        self._palette = palette
        self._indicator = Indicator(Kind.READY, "choose a source")
        self._subject = ""
        self._recording = ""
        self._time: float | None = None
        self._duration: float | None = None
        self._short = False
        self.menu_button = QToolButton(self)
        self.menu_button.setObjectName("flat")
        self.menu_button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        self.menu_button.setIconSize(QSize(20, 20))
        self.menu_button.setAccessibleName("Menu")
        self.menu_button.setToolTip("Menu: every action")
        row = QHBoxLayout(self)
        row.setContentsMargins(10, 0, 16, 0)
        row.addWidget(self.menu_button)
        row.addStretch()
        self.setFixedHeight(HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.set_palette(palette)

    @property
    def indicator(self) -> Indicator:
        """What it shows now."""
        return self._indicator

    def set_indicator(self, indicator: Indicator) -> None:
        """Show this state."""
        if indicator != self._indicator:
            self._indicator = indicator
            self.setAccessibleName(f"{indicator.look.word} {indicator.detail}")
            self.setToolTip(indicator.detail)
            self.update()

    def set_subject(self, text: str) -> None:
        """Name source and pack."""
        self._subject = text
        self.update()

    @property
    def recording(self) -> str:
        """What it says of the recording; empty without one."""
        return self._recording

    def set_recording(self, words: str) -> None:
        """Show the ring and these words, or nothing while nothing is recorded."""
        if words != self._recording:
            self._recording = words
            self.update()

    def set_time(self, time: float | None, duration: float | None) -> None:
        """Show this stream time; repaints only when the shown second changes."""
        before = (self._shown(self._time), self._duration)
        self._time, self._duration = time, duration
        if before != (self._shown(time), duration):
            self.update()

    def set_short(self, short: bool) -> None:
        """Show indicator and clock only, for the full screen."""
        self._short = short
        self.menu_button.setVisible(not short)
        self.update()

    def set_palette(self, palette: theme.Palette) -> None:
        """Take the colours of another theme."""
        self._palette = palette
        ink, faint = palette.colour("secondary"), palette.colour("blind")
        self.menu_button.setIcon(icons.icon("menu", ink, faint, 20))
        self.update()

    def _shown(self, time: float | None) -> str:
        return "" if time is None else spoken_time(time, hours=True)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the indicator at the left, the clock at the right, the subject between them."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), self._palette.colour("panel"))
        painter.fillRect(QRectF(0, self.height() - 1, self.width(), 1), self._palette.colour("hairline"))
        right = self._paint_recording(painter, self._paint_clock(painter))
        self._paint_indicator(painter, 16.0 if self._short else 58.0, right)
        painter.end()

    def _paint_clock(self, painter: QPainter) -> float:
        """Draw the clock; return the x left of it."""
        right = self.width() - 18.0
        if self._time is None:
            return right
        small = theme.font(theme.BODY)
        if self._duration:
            painter.setFont(small)
            painter.setPen(self._palette.colour("secondary"))
            text = f"/ {spoken_time(self._duration, hours=True)}"
            width = QFontMetricsF(small).horizontalAdvance(text)
            box = QRectF(right - width, 0, width + 2, self.height() + 7)
            painter.drawText(box, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, text)
            right -= width + 8
        big = theme.font(theme.CLOCK, QFont.Weight.DemiBold)
        painter.setFont(big)
        painter.setPen(self._palette.colour("text"))
        width = QFontMetricsF(big).horizontalAdvance("00:00:00")
        box = QRectF(right - width, 0, width + 2, self.height())
        painter.drawText(
            box, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, self._shown(self._time)
        )
        return right - width - 24

    def _paint_recording(self, painter: QPainter, right: float) -> float:
        """Draw ring and words, in the colour of text: red is for failures; return the x left of them."""
        if not self._recording:
            return right
        font = theme.font(theme.FAR, QFont.Weight.DemiBold)
        painter.setFont(font)
        colour = self._palette.colour("text")
        painter.setPen(colour)
        width, size, height = QFontMetricsF(font).horizontalAdvance(self._recording), 22.0, self.height()
        box = QRectF(right - width, 0, width + 2, height)
        painter.drawText(box, Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter, self._recording)
        left = right - width - size - 10
        icons.draw(painter, "record", QRectF(left, (height - size) / 2, size, size), colour)
        return left - 28

    def _paint_indicator(self, painter: QPainter, left: float, right: float) -> None:
        look, height = self._indicator.look, float(self.height())
        colour = self._palette.colour(look.role)
        size = 24.0
        icons.draw(painter, look.shape, QRectF(left, (height - size) / 2, size, size), colour)
        word = theme.font(theme.FAR, QFont.Weight.Bold)
        painter.setFont(word)
        painter.setPen(colour)
        middle = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        x = left + size + 12
        width = QFontMetricsF(word).horizontalAdvance(look.word)
        painter.drawText(QRectF(x, 0, width + 4, height), middle, look.word)
        x += width + 14
        subject = "" if self._short else self._subject
        small = theme.font(theme.BODY)
        subject_width = min(QFontMetricsF(small).horizontalAdvance(subject) + 8, max(0.0, (right - x) * 0.5))
        if self._indicator.kind is Kind.FAILED:
            subject_width = 0.0
        detail = theme.font(theme.FAR if self._indicator.kind is not Kind.FAILED else 15)
        painter.setFont(detail)
        painter.setPen(self._palette.colour("text" if self._indicator.kind in _LOUD else "secondary"))
        room = max(0.0, right - x - subject_width - (24 if subject_width else 0))
        text = QFontMetricsF(detail).elidedText(self._indicator.detail, Qt.TextElideMode.ElideRight, room)
        painter.drawText(QRectF(x, 0, room, height), middle, text)
        if subject_width > 0:
            painter.setFont(small)
            painter.setPen(QPen(self._palette.colour("secondary")))
            text = QFontMetricsF(small).elidedText(subject, Qt.TextElideMode.ElideMiddle, subject_width)
            box = QRectF(right - subject_width, 0, subject_width, height)
            painter.drawText(box, Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter, text)


_LOUD = {Kind.FINDING, Kind.BLIND, Kind.DELAYED, Kind.NO_SIGNAL, Kind.FROZEN, Kind.FAILED}
