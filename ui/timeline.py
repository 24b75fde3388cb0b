"""The timeline that grows: findings, landmarks, preparation, blind time and the probability curve.

Owns their drawing over stream time. Must not know the pipeline; emits `seekRequested(seconds)`.
The lanes are drawn into a picture when something changed (at most five times a second); the playhead
is drawn over it at every paint, so that it glides.
"""

from __future__ import annotations

import math
from itertools import pairwise

from PySide6.QtCore import QElapsedTimer, QEvent, QPointF, QRectF, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from endostream.types import BlindSpan, Finding

from . import icons, theme
from .findings_panel import colour_role
from .indicator import reason_for_people
from .ledger import Key
from .samples import Sample, spoken_time
from .track import ADEQUATE, BLIND, INADEQUATE, JUDGED, THERAPY, UNSEEN, Columns, Track

GUTTER, RIGHT = 92, 18
HEIGHT = 146
LANES = {"findings": (8, 16), "landmarks": (28, 14), "preparation": (47, 9), "blind": (60, 11)}
CURVE = (76, 44)
AXIS = 122
SHORTEST = 60.0
"""Seconds shown at least, when the length is not known."""
BLIND_MINIMUM = 0.4
CONTEXTS = {
    ADEQUATE: "preparation: adequate",
    INADEQUATE: "preparation: inadequate",
    THERAPY: "therapy in progress",
}
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


class Timeline(QWidget):
    """Findings, landmarks, preparation, blind time and curve over stream time."""

    seekRequested = Signal(float)

    def __init__(self, palette: theme.Palette = theme.DARK) -> None:
        super().__init__()
        self._palette = palette
        self._track = Track()
        self._findings: dict[Key, tuple[Finding, bool]] = {}
        self._blind: list[BlindSpan] = []
        self._blind_now: tuple[float, str] | None = None
        self._time: float | None = None
        self._duration: float | None = None
        self._shown_end = SHORTEST
        self._seekable = False
        self._threshold: float | None = None
        self._lanes: QPixmap | None = None
        self._dirty = True
        self._since = QElapsedTimer()
        self._timer = QTimer(self)
        self._timer.setInterval(200)
        self._timer.timeout.connect(self._redraw)
        self._timer.start()
        self.setMouseTracking(True)
        self.setFixedHeight(HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setAccessibleName("Timeline")

    # What it is given

    def start(self, duration: float | None, seekable: bool, step: float = 0.1) -> None:
        """Begin a run of this length in seconds (None: unknown), forgetting the one before."""
        self._track = Track(step)
        self._findings.clear()
        self._blind.clear()
        self._blind_now = None
        self._time, self._duration, self._seekable = None, duration, seekable
        self._shown_end = duration or SHORTEST
        self._dirty = True
        self.setCursor(Qt.CursorShape.PointingHandCursor if seekable else Qt.CursorShape.ArrowCursor)
        self.update()

    def add(self, sample: Sample) -> None:
        """Take in what one analysed frame says."""
        self._track.add(sample)
        if sample.visible:
            self._blind_now = None
        elif self._blind_now is None or sample.time < self._blind_now[0]:
            self._blind_now = (sample.time, sample.reason or "")
        self._dirty = True

    def put(self, finding: Finding, landmark: bool) -> None:
        """Show a finding or landmark as it is now."""
        self._findings[finding.id, landmark] = (finding, landmark)
        self._dirty = True

    def remove(self, key: Key) -> None:
        """Take a finding off."""
        self._findings.pop(key, None)
        self._dirty = True

    def add_blind(self, span: BlindSpan) -> None:
        """Show a stretch that could not be judged."""
        self._blind = [s for s in self._blind if s.end <= span.start or s.start >= span.end]
        self._blind.append(span)
        self._dirty = True

    def set_time(self, time: float) -> None:
        """Move the playhead."""
        before = self.x_of(self._time or 0.0)
        self._time = time
        if self._duration is None:
            self._shown_end = max(SHORTEST, time * 1.06, self._shown_end)
        elif time > self._shown_end:
            self._shown_end = time
        after = self.x_of(time)
        if abs(after - before) >= 0.25 or not time:
            left, right = sorted((before, after))
            self.update(int(left) - 8, 0, int(right - left) + 18, self.height())

    def set_threshold(self, threshold: float | None) -> None:
        """Draw the score at which a finding may open."""
        self._threshold = threshold
        self._dirty = True

    def set_palette(self, palette: theme.Palette) -> None:
        """Take the colours of another theme."""
        self._palette = palette
        self._lanes = None
        self.update()

    # What it can be asked

    @property
    def track(self) -> Track:
        """The scores it has taken in."""
        return self._track

    @property
    def shown_end(self) -> float:
        """Stream time in seconds at its right end."""
        return self._shown_end

    def x_of(self, time: float) -> float:
        """The x of a stream time."""
        return GUTTER + (self.width() - GUTTER - RIGHT) * time / max(self._shown_end, 1e-6)

    def time_at(self, x: float) -> float:
        """The stream time at an x, within what is shown."""
        share = (x - GUTTER) / max(1, self.width() - GUTTER - RIGHT)
        return min(max(share, 0.0), 1.0) * self._shown_end

    # Painting

    def _redraw(self) -> None:
        if self._dirty and self.isVisible():
            self._dirty = False
            self._lanes = None
            self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw the lanes and the playhead."""
        ratio = self.devicePixelRatioF()
        if self._lanes is None or self._lanes.size() != self.size() * ratio:
            self._lanes = self._draw_lanes(ratio)
        painter = QPainter(self)
        painter.drawPixmap(0, 0, self._lanes)
        if self._time is None:
            painter.end()
            return
        x = self.x_of(self._time)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setPen(QPen(self._palette.colour("text"), 1.5))
        painter.drawLine(QPointF(x, 6), QPointF(x, AXIS))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._palette.colour("text"))
        painter.drawPolygon(QPolygonF([QPointF(x - 5, 1), QPointF(x + 5, 1), QPointF(x, 8)]))
        painter.end()

    def _draw_lanes(self, ratio: float) -> QPixmap:
        pixmap = QPixmap(self.size() * ratio)
        pixmap.setDevicePixelRatio(ratio)
        painter = QPainter(pixmap)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        whole = QRectF(0, 0, self.width(), self.height())
        painter.fillRect(whole, self._palette.colour("panel"))
        painter.fillRect(QRectF(0, 0, self.width(), 1), self._palette.colour("hairline"))
        self._draw_names(painter)
        self._draw_axis(painter)
        painter.setClipRect(QRectF(GUTTER - 8, 0, self.width() - GUTTER - RIGHT + 16, self.height()))
        self._draw_curve(painter)
        self._draw_blind(painter)
        self._draw_findings(painter)
        painter.end()
        return pixmap

    def _draw_names(self, painter: QPainter) -> None:
        painter.setFont(theme.font(theme.TINY))
        lanes = {**LANES, "probability": (CURVE[0], CURVE[1])}
        for name, (top, height) in lanes.items():
            painter.setPen(self._palette.colour("secondary"))
            box = QRectF(16, top - 4, GUTTER - 24, height + 8)
            painter.drawText(box, Qt.AlignmentFlag.AlignVCenter, name)
            if name != "probability":
                lane = QRectF(GUTTER, top + height / 2 - 0.5, self.width() - GUTTER - RIGHT, 1)
                painter.fillRect(lane, self._palette.colour("hairline"))

    def _draw_axis(self, painter: QPainter) -> None:
        room = self.width() - GUTTER - RIGHT
        step = next((s for s in STEPS if room * s / self._shown_end >= 84), STEPS[-1])
        painter.setFont(theme.font(theme.TINY))
        painter.fillRect(QRectF(GUTTER, AXIS, room, 1), self._palette.colour("hairline"))
        for place in range(math.floor(self._shown_end / step) + 1):
            x = self.x_of(place * step)
            painter.fillRect(QRectF(x, AXIS, 1, 4), self._palette.colour("secondary"))
            painter.setPen(self._palette.colour("secondary"))
            box = QRectF(x - 40, AXIS + 4, 80, 16)
            box.moveRight(min(box.right(), self.width() - 2.0))
            if place * step < self._shown_end - 0.2 * step or room * step / self._shown_end >= 84:
                painter.drawText(box, Qt.AlignmentFlag.AlignCenter, spoken_time(place * step))

    def _draw_curve(self, painter: QPainter) -> None:
        top, height = CURVE
        if self._threshold is not None:
            pen = QPen(self._palette.colour("secondary", 0.6), 1.0, Qt.PenStyle.DotLine)
            painter.setPen(pen)
            y = top + height * (1 - self._threshold)
            painter.drawLine(QPointF(GUTTER, y), QPointF(self.width() - RIGHT, y))
        columns = self._track.columns(0.0, self._shown_end, max(1, self.width() - GUTTER - RIGHT))
        gap, last = self._track.gap(columns), -math.inf
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
            painter.setPen(QPen(self._palette.colour("text", 0.85), 2.5))
            painter.drawPoint(line[0])
        if len(line) < 2:
            return
        base = CURVE[0] + CURVE[1]
        area = [QPointF(line[0].x(), base), *line, QPointF(line[-1].x(), base)]
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(self._palette.colour("finding", 0.14))
        painter.drawPolygon(QPolygonF(area))
        painter.setPen(QPen(self._palette.colour("text", 0.85), 1.4))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        painter.drawPolyline(QPolygonF(line))

    def _draw_context(self, painter: QPainter, columns: Columns, gap: float) -> None:
        """Preparation (inadequate is full, adequate is faint) and therapy, each up to the next analysis."""
        looks = {
            ADEQUATE: ("preparation", self._palette.colour("text", 0.28)),
            INADEQUATE: ("preparation", self._palette.colour("text", 0.75)),
            THERAPY: ("findings", self._palette.colour("therapy", 0.8)),
        }
        met = [
            (time, value)
            for time, value, seen in zip(
                columns.times.tolist(), columns.context.tolist(), columns.seen.tolist(), strict=True
            )
            if seen != UNSEEN
        ]
        for value, start, end in stretches(met, self._track.end, gap, self._track.bucket):
            if value in looks:
                lane, colour = looks[value]
                top, height = LANES[lane]
                width = max(1.5, self.x_of(end) - self.x_of(start))
                painter.fillRect(QRectF(self.x_of(start), top, width, height), colour)

    def _draw_blind(self, painter: QPainter) -> None:
        top, height = LANES["blind"]
        spans = [(span.start, span.end) for span in self._blind]
        if self._blind_now is not None and self._track.end - self._blind_now[0] >= BLIND_MINIMUM:
            spans.append((self._blind_now[0], self._track.end))
        for start, end in spans:
            left = self.x_of(start)
            box = QRectF(left, top, max(3.0, self.x_of(end) - left), height)
            icons.hatch(painter, box, self._palette.colour("blind"))

    def _draw_findings(self, painter: QPainter) -> None:
        for finding, landmark in self._findings.values():
            colour = self._palette.colour(colour_role(finding, landmark))
            if landmark:
                top, height = LANES["landmarks"]
                box = QRectF(self.x_of(finding.peak.time) - height / 2, top, height, height)
                icons.draw(painter, "diamond", box, colour)
                continue
            self._draw_bar(painter, finding, colour)

    def _draw_bar(self, painter: QPainter, finding: Finding, colour: QColor) -> None:
        top, height = LANES["findings"]
        end = finding.end if finding.end is not None else max(self._track.end, finding.start)
        left = self.x_of(finding.start)
        box = QRectF(left, top, max(4.0, self.x_of(end) - left), height)
        if finding.review == "rejected":
            painter.setPen(QPen(self._palette.colour("secondary"), 1.2))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawRoundedRect(box.adjusted(0.5, 0.5, -0.5, -0.5), 2, 2)
            painter.drawLine(QPointF(box.left(), box.center().y()), QPointF(box.right(), box.center().y()))
            return
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour)
        painter.drawRoundedRect(box, 2, 2)
        if finding.review == "confirmed" and box.width() >= 12:
            mark = QRectF(box.center().x() - 5, box.center().y() - 5, 10, 10)
            icons.draw(painter, "check", mark, self._palette.colour("ground"))

    # Input

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Emit the time under the pointer, for sources that can go there."""
        if self._seekable and event.button() == Qt.MouseButton.LeftButton:
            self.seekRequested.emit(self.time_at(event.position().x()))

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Say what lies under the pointer; drag the playhead."""
        time = self.time_at(event.position().x())
        if self._seekable and event.buttons() & Qt.MouseButton.LeftButton and self._may_drag():
            self.seekRequested.emit(time)
        QToolTip.showText(event.globalPosition().toPoint(), self.described(time), self)

    def _may_drag(self) -> bool:
        """Ten seeks a second are enough while dragging."""
        if self._since.isValid() and self._since.elapsed() < 100:
            return False
        self._since.start()
        return True

    def described(self, time: float) -> str:
        """What lies at a time, in words."""
        score, context = self._track.at(time)
        words = [spoken_time(time)]
        if score is not None:
            words[0] += f"   probability {score:.2f}"
        words += [CONTEXTS[context]] if context in CONTEXTS else []
        slack = 4 * self._shown_end / max(1, self.width() - GUTTER - RIGHT)
        for finding, landmark in self._findings.values():
            end = finding.end if finding.end is not None else self._track.end
            near = abs(finding.peak.time - time) < 2 * slack if landmark else False
            if near or finding.start - slack <= time <= end + slack:
                words.append(f"{finding.label} {finding.peak.confidence:.2f}")
        words += [f"blind: {reason_for_people(s.reason)}" for s in self._blind if s.start <= time <= s.end]
        return "\n".join(words)

    def leaveEvent(self, event: QEvent) -> None:
        """Take the words away."""
        QToolTip.hideText()
