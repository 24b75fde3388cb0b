"""The lanes of the timeline as a picture: findings, landmarks, preparation, blind time, curve and axis.

Owns where each lane lies and how it is drawn. Must not know the widget, nor what changes them.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import pairwise

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QPolygonF

from endostream.types import BlindSpan, Finding

from . import icons, theme
from .findings_panel import colour_role
from .samples import spoken_time
from .track import ADEQUATE, BLIND, INADEQUATE, JUDGED, THERAPY, UNSEEN, Columns, Track

GUTTER, RIGHT = 92, 18
HEIGHT = 146
LANES = {"findings": (8, 16), "landmarks": (28, 14), "preparation": (47, 9), "blind": (60, 11)}
CURVE = (76, 44)
AXIS = 122
STEPS = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600)


def stretches(
    met: list[tuple[float, int]], until: float, gap: float, least: float
) -> list[tuple[int, float, float]]:
    """Value, start and end of what was met at some times, each holding up to the next time within `gap`."""
    found: list[tuple[int, float, float]] = []
    for (time, value), (after, _) in pairwise([*met, (until, 0)]):
        end = after if 0 < after - time <= gap else time + least
        if found and found[-1][0] == value and found[-1][2] >= time:
            found[-1] = (value, found[-1][1], end)
        else:
            found.append((value, time, end))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Lanes:
    """Everything that the timeline shows at one moment."""

    palette: theme.Palette
    """Colours."""
    width: int
    """Logical pixels."""
    height: int
    """Logical pixels."""
    shown_end: float
    """Stream time in seconds at the right end."""
    track: Track
    """Scores over stream time."""
    findings: Collection[tuple[Finding, bool]]
    """Findings, each with whether it is a landmark."""
    blind: Sequence[BlindSpan]
    """Stretches that could not be judged."""
    threshold: float | None
    """Score at which a finding may open."""

    def x_of(self, time: float) -> float:
        """The x of a stream time."""
        return GUTTER + (self.width - GUTTER - RIGHT) * time / max(self.shown_end, 1e-6)

    def draw(self, painter: QPainter) -> None:
        """Draw ground, names, axis and every lane."""
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(QRectF(0, 0, self.width, self.height), self.palette.colour("panel"))
        painter.fillRect(QRectF(0, 0, self.width, 1), self.palette.colour("hairline"))
        self._draw_names(painter)
        self._draw_axis(painter)
        painter.setClipRect(QRectF(GUTTER - 8, 0, self.width - GUTTER - RIGHT + 16, self.height))
        self._draw_curve(painter)
        self._draw_blind(painter)
        self._draw_findings(painter)

    def _draw_names(self, painter: QPainter) -> None:
        painter.setFont(theme.font(theme.TINY))
        lanes = {**LANES, "probability": (CURVE[0], CURVE[1])}
        for name, (top, height) in lanes.items():
            painter.setPen(self.palette.colour("secondary"))
            box = QRectF(16, top - 4, GUTTER - 24, height + 8)
            painter.drawText(box, Qt.AlignmentFlag.AlignVCenter, name)
            if name != "probability":
                lane = QRectF(GUTTER, top + height / 2 - 0.5, self.width - GUTTER - RIGHT, 1)
                painter.fillRect(lane, self.palette.colour("hairline"))

    def _draw_axis(self, painter: QPainter) -> None:
        room = self.width - GUTTER - RIGHT
        step = next((s for s in STEPS if room * s / self.shown_end >= 84), STEPS[-1])
        painter.setFont(theme.font(theme.TINY))
        painter.fillRect(QRectF(GUTTER, AXIS, room, 1), self.palette.colour("hairline"))
        for place in range(math.floor(self.shown_end / step) + 1):
            x = self.x_of(place * step)
            painter.fillRect(QRectF(x, AXIS, 1, 4), self.palette.colour("secondary"))
            painter.setPen(self.palette.colour("secondary"))
            box = QRectF(x - 40, AXIS + 4, 80, 16)
            box.moveRight(min(box.right(), self.width - 2.0))
            if place * step < self.shown_end - 0.2 * step or room * step / self.shown_end >= 84:
                painter.drawText(box, Qt.AlignmentFlag.AlignCenter, spoken_time(place * step))

    def _draw_curve(self, painter: QPainter) -> None:
        top, height = CURVE
        if self.threshold is not None:
            pen = QPen(self.palette.colour("secondary", 0.6), 1.0, Qt.PenStyle.DotLine)
            painter.setPen(pen)
            y = top + height * (1 - self.threshold)
            painter.drawLine(QPointF(GUTTER, y), QPointF(self.width - RIGHT, y))
        columns = self.track.columns(0.0, self.shown_end, max(1, self.width - GUTTER - RIGHT))
        gap, last = self.track.gap(columns), -math.inf
        self._draw_context(painter, columns, gap)
        line: list[QPointF] = []
        for time, score, seen in zip(
            columns.times.tolist(), columns.scores.tolist(), columns.seen.tolist(), strict=True
        ):
            if seen == UNSEEN:
                continue
            if time - last > gap or seen == BLIND:
                self._stroke(painter, line)
                line = []
            if seen == JUDGED:
                line.append(QPointF(self.x_of(time), top + height * (1 - score)))
                last = time
        self._stroke(painter, line)

    def _stroke(self, painter: QPainter, line: list[QPointF]) -> None:
        if len(line) == 1:  # one analysis far from any other
            painter.setPen(QPen(self.palette.colour("text", 0.85), 2.5))
            painter.drawPoint(line[0])
        if len(line) < 2:
            return
        base = CURVE[0] + CURVE[1]
        area = [QPointF(line[0].x(), base), *line, QPointF(line[-1].x(), base)]
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self.palette.colour("finding", 0.14))
        painter.drawPolygon(QPolygonF(area))
        painter.setPen(QPen(self.palette.colour("text", 0.85), 1.4))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPolyline(QPolygonF(line))

    def _draw_context(self, painter: QPainter, columns: Columns, gap: float) -> None:
        """Preparation (inadequate is full, adequate is faint) and therapy, each up to the next analysis."""
        looks = {
            ADEQUATE: ("preparation", self.palette.colour("text", 0.28)),
            INADEQUATE: ("preparation", self.palette.colour("text", 0.75)),
            THERAPY: ("findings", self.palette.colour("therapy", 0.8)),
        }
        met = [
            (time, value)
            for time, value, seen in zip(
                columns.times.tolist(), columns.context.tolist(), columns.seen.tolist(), strict=True
            )
            if seen != UNSEEN
        ]
        for value, start, end in stretches(met, self.track.end, gap, self.track.bucket):
            if value in looks:
                lane, colour = looks[value]
                top, height = LANES[lane]
                width = max(1.5, self.x_of(end) - self.x_of(start))
                painter.fillRect(QRectF(self.x_of(start), top, width, height), colour)

    def _draw_blind(self, painter: QPainter) -> None:
        top, height = LANES["blind"]
        spans = [(span.start, span.end) for span in self.blind]
        for start, end in spans:
            left = self.x_of(start)
            box = QRectF(left, top, max(3.0, self.x_of(end) - left), height)
            icons.hatch(painter, box, self.palette.colour("blind"))

    def _draw_findings(self, painter: QPainter) -> None:
        for finding, landmark in self.findings:
            colour = self.palette.colour(colour_role(finding, landmark))
            if landmark:
                top, height = LANES["landmarks"]
                box = QRectF(self.x_of(finding.peak.time) - height / 2, top, height, height)
                icons.draw(painter, "diamond", box, colour)
                continue
            self._draw_bar(painter, finding, colour)

    def _draw_bar(self, painter: QPainter, finding: Finding, colour: QColor) -> None:
        top, height = LANES["findings"]
        end = finding.end if finding.end is not None else max(self.track.end, finding.start)
        left = self.x_of(finding.start)
        box = QRectF(left, top, max(4.0, self.x_of(end) - left), height)
        if finding.review == "rejected":
            painter.setPen(QPen(self.palette.colour("secondary"), 1.2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(box.adjusted(0.5, 0.5, -0.5, -0.5), 2, 2)
            painter.drawLine(QPointF(box.left(), box.center().y()), QPointF(box.right(), box.center().y()))
            return
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        painter.drawRoundedRect(box, 2, 2)
        if finding.review == "confirmed" and box.width() >= 12:
            mark = QRectF(box.center().x() - 5, box.center().y() - 5, 10, 10)
            icons.draw(painter, "check", mark, self.palette.colour("ground"))
