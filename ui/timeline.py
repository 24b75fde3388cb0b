"""The timeline that grows: findings, landmarks, preparation, blind time and the probability curve.

Owns what is known over stream time, and the playhead; `lanes` draws the rest. Must not know the pipeline;
emits `seekRequested(seconds)`. The lanes are drawn into a picture when something changed (at most five
times a second); the playhead is drawn over it at every paint, so that it glides.
"""

from __future__ import annotations

import time as clock
from dataclasses import replace

from PySide6.QtCore import QElapsedTimer, QEvent, QPointF, Qt, QTimer, Signal
from PySide6.QtGui import QMouseEvent, QPainter, QPaintEvent, QPen, QPixmap, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QToolTip, QWidget

from endostream.types import BlindSpan, Finding

from . import theme
from .indicator import reason_for_people
from .lanes import AXIS, GUTTER, HEIGHT, RIGHT, Lanes
from .ledger import Key
from .outage import Outage
from .samples import Sample, spoken_time
from .track import ADEQUATE, INADEQUATE, THERAPY, Track

SHORTEST = 60.0
"""Seconds shown at least, when the length is not known."""
BLIND_MINIMUM = 0.4
CONTEXTS = {
    ADEQUATE: "preparation: adequate",
    INADEQUATE: "preparation: inadequate",
    THERAPY: "therapy in progress",
}


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
        self._outage: tuple[BlindSpan, float] | None = None
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
        self._blind_now = self._outage = None
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

    def set_outage(self, outage: Outage | None) -> None:
        """Show the stretch without a live picture while it grows; None ends it."""
        span = self._lasting()
        if outage is not None and span is not None and span.reason == outage.kind:
            span = None  # the same one: only more is known of it
        if span is not None and not any(s.start < span.end and span.start < s.end for s in self._blind):
            self._blind.append(span)  # until the ledger's own takes its place
        self._outage = None
        if outage is not None:
            self._outage = (BlindSpan(outage.time, outage.time, outage.kind), outage.since)
        self._dirty = True

    def _lasting(self) -> BlindSpan | None:
        """The stretch without a live picture up to now."""
        if self._outage is None:
            return None
        span, since = self._outage
        return replace(span, end=span.start + max(0.0, clock.monotonic() - since))

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
        lasting = self._lasting()
        if lasting is not None:
            self._dirty = True
            if self._duration is None:
                self._shown_end = max(self._shown_end, lasting.end * 1.06)
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
        self._lanes_now().draw(painter)
        painter.end()
        return pixmap

    def _lanes_now(self) -> Lanes:
        blind = self._blind_spans()
        if self._blind_now is not None and self._track.end - self._blind_now[0] >= BLIND_MINIMUM:
            blind = [*blind, BlindSpan(self._blind_now[0], self._track.end, self._blind_now[1])]
        return Lanes(
            palette=self._palette,
            width=self.width(),
            height=self.height(),
            shown_end=self._shown_end,
            track=self._track,
            findings=self._findings.values(),
            blind=blind,
            threshold=self._threshold,
        )

    def _blind_spans(self) -> list[BlindSpan]:
        lasting = self._lasting()
        return self._blind if lasting is None else [*self._blind, lasting]

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
        spans = (s for s in self._blind_spans() if s.start <= time <= s.end)
        words += [f"blind: {reason_for_people(s.reason)}" for s in spans]
        return "\n".join(words)

    def leaveEvent(self, event: QEvent) -> None:
        """Take the words away."""
        QToolTip.hideText()
