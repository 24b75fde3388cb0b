"""What the AI sees now: the five most probable classes as bars.

Owns the bars. Must not know the pipeline or the pack; it is given samples and the names of the
unreliable classes. Order, bars and numbers change together, at most four times a second.
"""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QElapsedTimer, QRectF, Qt, QTimer
from PySide6.QtGui import QFont, QFontMetricsF, QPainter, QPaintEvent
from PySide6.QtWidgets import QSizePolicy, QWidget

from endostream.vocabulary import term

from . import icons, theme
from .indicator import reason_for_people
from .samples import Sample

ROWS, ROW, FIRST, HEAD = 5, 30, 42, 40
"""Five rows; the first is read from afar and higher. Pixels."""
PACE_MS = 250
KNOWN = 0.5
"""Below this smoothed probability no class is claimed (`Prediction.known`)."""
ROLE_COLOURS = {
    "finding": "finding",
    "landmark": "landmark",
    "therapy": "therapy",
    "preparation": "secondary",
    "background": "secondary",
}


class Scores(QWidget):
    """Top-5 smoothed probabilities."""

    def __init__(self, palette: theme.Palette = theme.DARK) -> None:
        super().__init__()
        self._palette = palette
        self._sample: Sample | None = None
        self._live = True
        self._outage = ""
        self._rows: tuple[tuple[str, float], ...] = ()
        self._unreliable: frozenset[str] = frozenset()
        self._threshold: float | None = None
        self._timer = QTimer(self)
        self._timer.setInterval(PACE_MS)
        self._timer.timeout.connect(self._settle)
        self._timer.start()
        self._since = QElapsedTimer()
        self.setFixedHeight(HEAD + FIRST + (ROWS - 1) * ROW + 14)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    @property
    def heading(self) -> str:
        """The heading: what is seen, or why nothing is."""
        if self._outage:
            return self._outage
        if self._sample is None:
            return "NOT ANALYSED"
        if not self._sample.visible:
            return f"NOT JUDGED: {reason_for_people(self._sample.reason)}"
        if self._live and self._sample.confidence < KNOWN:
            return "what the AI sees now: unknown"
        return "what the AI sees now" if self._live else "what the AI saw last"

    @property
    def rows(self) -> tuple[tuple[str, float], ...]:
        """The classes and the numbers shown."""
        return self._rows

    def set_sample(self, sample: Sample | None) -> None:
        """Show this sample; None says that nothing is analysed."""
        first = (self._sample is None) != (sample is None)
        self._sample = sample
        if first or not self._since.isValid() or self._since.elapsed() >= PACE_MS:
            self._settle()
        self.update()

    def set_outage(self, heading: str) -> None:
        """Say this instead of any numbers while there is no picture to judge; empty ends it."""
        if heading != self._outage:
            self._outage = heading
            self._settle()
            self.update()

    def set_live(self, live: bool) -> None:
        """Say whether the numbers are of now, or the last of a run that has ended."""
        self._live = live
        self.update()

    def set_classes(self, unreliable: frozenset[str], threshold: float | None) -> None:
        """Name the classes to mark, and the score at which a finding may open."""
        self._unreliable, self._threshold = unreliable, threshold
        self.update()

    def set_palette(self, palette: theme.Palette) -> None:
        """Take the colours of another theme."""
        self._palette = palette
        self.update()

    def _settle(self) -> None:
        """Choose the rows and the numbers, at most four times a second."""
        self._since.start()
        sample = self._sample
        if sample is None or self._outage or not len(sample.scores):
            rows: tuple[tuple[str, float], ...] = ()
        else:
            order = np.argsort(-sample.scores, kind="stable")[:ROWS]
            rows = tuple((sample.labels[int(i)], round(float(sample.scores[i]), 2)) for i in order)
        if rows != self._rows:
            self._rows = rows
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the heading and the bars."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), self._palette.colour("panel"))
        painter.setFont(theme.font(theme.BODY, QFont.Weight.DemiBold))
        quiet = self._sample is not None and self._sample.visible and not self._outage
        painter.setPen(self._palette.colour("secondary" if quiet else "text"))
        head = QRectF(16, 8, self.width() - 32, HEAD - 8)
        painter.drawText(head, Qt.AlignmentFlag.AlignVCenter, self.heading)
        for place, (label, number) in enumerate(self._rows):
            self._paint_row(painter, place, label, number)
        if self._sample is not None and not self._rows and not self._outage:
            painter.setPen(self._palette.colour("secondary"))
            box = QRectF(16, HEAD, self.width() - 32, ROW)
            painter.drawText(box, Qt.AlignmentFlag.AlignVCenter, "this pack has no classifier")
        painter.end()

    def _paint_row(self, painter: QPainter, place: int, label: str, number: float) -> None:
        sample = self._sample
        assert sample is not None
        judged = sample.visible
        first = place == 0
        top = HEAD + (0 if first else FIRST + (place - 1) * ROW)
        tall = 26 if first else 18
        left, right = 16.0, self.width() - 16.0
        role = ROLE_COLOURS[term(label).role]
        unreliable = label in self._unreliable
        painter.setFont(theme.font(theme.FAR, QFont.Weight.DemiBold) if first else theme.font(theme.BODY))
        metrics = QFontMetricsF(painter.font())
        painter.setPen(self._palette.colour("text" if judged else "secondary"))
        shown = f"{label}  (unreliable)" if unreliable else label
        text = metrics.elidedText(shown, Qt.TextElideMode.ElideRight, right - left - 62)
        middle = Qt.AlignmentFlag.AlignVCenter
        painter.drawText(QRectF(left, top, right - left - 56, tall), middle, text)
        right_middle = middle | Qt.AlignmentFlag.AlignRight
        painter.drawText(QRectF(right - 56, top, 56, tall), right_middle, f"{number:.2f}")
        bar = QRectF(left, top + tall + 2, right - left, 8 if first else 5)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._palette.colour("raised"))
        painter.drawRoundedRect(bar, bar.height() / 2, bar.height() / 2)
        filled = QRectF(bar.x(), bar.y(), bar.width() * min(max(number, 0.0), 1.0), bar.height())
        if unreliable or not judged:
            icons.hatch(painter, filled, self._palette.colour("blind"))
        elif filled.width() > 1:
            painter.setBrush(self._palette.colour(role, 1.0 if first else 0.75))
            painter.drawRoundedRect(filled, bar.height() / 2, bar.height() / 2)
        if self._threshold is not None and role == "finding":
            x = bar.x() + bar.width() * self._threshold
            painter.fillRect(
                QRectF(x - 0.75, bar.y() - 3, 1.5, bar.height() + 6), self._palette.colour("secondary")
            )
