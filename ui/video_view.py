"""The picture and its overlays; the picture keeps its aspect and nothing ever covers it while it is live.

Owns which picture is painted with whose overlay, and the line under it that states the overlay's age.
Must not know the pipeline; it is given frames and analyses.
"""

from __future__ import annotations

import time

from PySide6.QtCore import QEasingCurve, QRectF, Qt, QTimer, QVariantAnimation, Signal
from PySide6.QtGui import (
    QColor,
    QDragEnterEvent,
    QDropEvent,
    QImage,
    QMouseEvent,
    QPainter,
    QPaintEvent,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from endostream.types import Analysis, Frame

from . import theme
from .ages import LATE, freshness, live_age, overlay_age, shown_frame, waited
from .marks import paint_corners, paint_message
from .outage import Outage
from .outage_picture import DIM, dimmed, paint_frozen_frame, paint_no_signal
from .overlay_line import Shown, legend, overlay_line
from .overlay_painter import OverlayPainter
from .overlay_picture import as_qimage, scaled
from .samples import Layers

MARGIN, FOOT = 12, 32
RING_MS = 400
FADE_MS = 16
"""Milliseconds between two paints while an overlay fades because no picture comes any more."""
STEADY = 0.008
"""Seconds by which the age stated for a live picture may be wrong before it is stated anew."""


class VideoView(QWidget):
    """The picture with heat map and contour; emits `fileDropped(path)`, `doubleClicked()` and `painted`."""

    fileDropped = Signal(str)
    doubleClicked = Signal()
    painted = Signal(object, object)
    """A picture on its first paint, and the analysis whose overlay was drawn on it, or None."""

    def __init__(self, palette: theme.Palette = theme.DARK) -> None:
        super().__init__()
        self._palette = palette
        self._newest: Frame | None = None
        self._analysis: Analysis | None = None
        self._told: Frame | None = None
        self._outage: Outage | None = None
        self._live = self._synced = self._marked = False
        self._overlays = OverlayPainter()
        self._message = ("Drop a video here", "or choose a source with Ctrl+O, the sample with Ctrl+D")
        self._picture: tuple[object, QImage] | None = None
        self._grey: tuple[object, QImage] | None = None
        self._stated: float | None = None
        self._given: tuple[int, float | None] = (0, None)
        self._ring = QVariantAnimation(self)
        self._ring.setDuration(RING_MS)
        self._ring.setStartValue(0.0)
        self._ring.setEndValue(1.0)
        self._ring.setEasingCurve(QEasingCurve.Type.OutCubic)
        self._ring.valueChanged.connect(self.update)
        self._fade = QTimer(self, singleShot=True, timerType=Qt.TimerType.PreciseTimer)
        self._fade.timeout.connect(self.update)
        self.setAcceptDrops(True)
        self.setMinimumSize(320, 240)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)

    # What it is given

    def set_frame(self, frame: Frame | None) -> None:
        """Show this picture; in synced mode only know that it is the newest."""
        before, self._newest = self.frame_shown, frame
        if frame is None or self.frame_shown is not before:
            self.update()

    def set_analysis(self, analysis: Analysis | None) -> None:
        """Draw the overlays of this analysis while they are fresh enough for the picture shown."""
        self._analysis = analysis
        self.update()

    def set_live(self, live: bool) -> None:
        """Say whether pictures come at their own pace: then ages go on while none comes."""
        self._live = live
        self.update()

    def set_synced(self, synced: bool) -> None:
        """Show the picture that was analysed, with its own overlay, or the newest one."""
        self._synced = synced
        self.update()

    def set_outage(self, outage: Outage | None) -> None:
        """Say that the picture is lost or frozen, or is as it should be again."""
        self._outage = outage
        self.update()

    def set_layers(self, layers: Layers) -> None:
        """Choose the overlays."""
        self._overlays.layers = layers
        self.update()

    def set_background(self, labels: frozenset[str]) -> None:
        """Name the classes whose class map means nothing and is not drawn."""
        self._overlays.background = labels
        self.update()

    def set_marked(self, marked: bool) -> None:
        """Show the corner marks that say: a finding is open."""
        if marked != self._marked:
            self._marked = marked
            self.update()

    def set_message(self, title: str, hint: str) -> None:
        """What is said while there is no picture."""
        self._message = (title, hint)
        self.update()

    def set_stated_age(self, age: float | None) -> None:
        """The age in seconds that the line states of a file, given at most four times a second.

        For a live picture the line states the age at the moment of painting.
        """
        self._given = (self._given[0] + 1, age)
        self.update()

    def set_palette(self, palette: theme.Palette) -> None:
        """Take the colours of another theme."""
        self._palette = palette
        self.update()

    def play_ring(self) -> None:
        """The one animation: a ring around a finding that has just opened."""
        self._ring.stop()
        self._ring.start()

    # What it can be asked

    @property
    def behind(self) -> float | None:
        """Seconds between the newest picture and the analysis; by the clock once no picture comes."""
        if self._live:
            return live_age(self._newest, self._analysis, time.monotonic())
        return overlay_age(self._newest, self._analysis)

    @property
    def age(self) -> float | None:
        """Seconds between the picture shown and the one its overlay belongs to."""
        behind = self.behind
        if self._synced and behind is not None and self._analysis is not None:
            shown = shown_frame(self._newest, self._analysis, behind)
            return 0.0 if shown is self._analysis.frame else behind
        return behind

    @property
    def frame_shown(self) -> Frame | None:
        """The picture shown."""
        return shown_frame(self._newest, self._analysis, self.behind) if self._synced else self._newest

    @property
    def analysis_shown(self) -> Analysis | None:
        """The analysis whose overlay is drawn, or None when it is too old, of another epoch, or not live."""
        lost = self._outage is not None and self._outage.kind == "no-signal"
        return self._analysis if freshness(self.age) > 0 and not lost else None

    def picture_rect(self) -> QRectF:
        """Where the picture lies in the widget, in logical pixels; empty without a picture."""
        frame = self.frame_shown
        if frame is None:
            return QRectF()
        height, width = frame.image.shape[:2]
        room = QRectF(self.rect()).adjusted(MARGIN, MARGIN, -MARGIN, -FOOT)
        scale = min(room.width() / width, room.height() / height)
        w, h = max(1, round(width * scale)), max(1, round(height * scale))
        left, top = room.x() + (room.width() - w) / 2, room.y() + (room.height() - h) / 2
        return QRectF(round(left), round(top), w, h)

    def overlay_line(self) -> str:
        """What the line under the picture says of the overlay: never silent about a missing one."""
        return overlay_line(self._shown(), self._overlays.layers, self._outage, time.monotonic())

    def _shown(self) -> Shown:
        return Shown(
            frame=self.frame_shown,
            analysis=self._analysis,
            age=self.age,
            behind=self.behind,
            stated=self._stated_now(),
            synced=self._synced,
        )

    def _stated_now(self) -> float | None:
        """The age that the line states: true when it is painted, and steady while it stays nearly true."""
        behind = self.behind
        if not self._live and self._given[0] and not self._synced:
            return self._given[1]
        if behind is None or self._stated is None or abs(self._stated - behind) > STEADY:
            self._stated = behind
        return self._stated

    # Painting

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw ground, picture, overlays, corner marks and the line under the picture."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(theme.DARK.ground))
        frame, outage = self.frame_shown, self._outage
        if outage is not None and outage.kind == "no-signal":
            self._paint_lost(painter, outage)
        elif frame is None:
            paint_message(painter, QRectF(self.rect()), *self._message)
        else:
            self._paint_picture(painter, frame)
        painter.end()

    def _paint_picture(self, painter: QPainter, frame: Frame) -> None:
        box, age = self.picture_rect(), self.age
        painter.drawImage(box.topLeft(), self._display_picture(frame, box))
        strength = freshness(age)
        drawn = self._analysis if strength > 0 else None
        if drawn is not None:
            running = self._ring.state() == QVariantAnimation.State.Running
            self._overlays.ring = float(self._ring.currentValue()) if running else None
            painter.save()
            painter.setClipRect(box)
            self._overlays.paint(painter, box, drawn, strength)
            painter.restore()
        if self._outage is not None:
            paint_frozen_frame(painter, box)
        elif self._marked:
            paint_corners(painter, box)
        self._paint_line(painter, box)
        if drawn is not None and self._live:
            self._fade.start(self._until_stale())
        if frame is not self._told:
            self._told = frame
            layers = self._overlays.layers
            seen = layers.shows_contour or layers.shows_heatmap
            self.painted.emit(frame, drawn if seen else None)

    def _until_stale(self) -> int:
        """Milliseconds until this paint may be no longer true though no picture comes."""
        now = time.monotonic()
        if self._newest is None or waited(self._newest, now):
            return FADE_MS
        return max(FADE_MS, round((self._newest.captured + LATE - now) * 1000) + 1)

    def _paint_lost(self, painter: QPainter, outage: Outage) -> None:
        """The last picture, dimmed, and over it that there is none."""
        frame, box = self.frame_shown, self.picture_rect()
        if frame is not None:
            picture = self._display_picture(frame, box)
            if self._grey is None or self._grey[0] is not picture:
                self._grey = (picture, dimmed(picture))
            painter.setOpacity(DIM)
            painter.drawImage(box.topLeft(), self._grey[1])
            painter.setOpacity(1.0)
            self._paint_line(painter, box)
        paint_no_signal(painter, QRectF(self.rect()).adjusted(0, 0, 0, -FOOT), outage, time.monotonic())

    def _display_picture(self, frame: Frame, box: QRectF) -> QImage:
        ratio = self.devicePixelRatioF()
        width, height = round(box.width() * ratio), round(box.height() * ratio)
        key = (id(frame), frame.index, frame.epoch, width, height)
        if self._picture is None or self._picture[0] != key:
            picture = as_qimage(scaled(frame.image, width, height))
            picture.setDevicePixelRatio(ratio)
            self._picture = (key, picture)
        return self._picture[1]

    def _paint_line(self, painter: QPainter, box: QRectF) -> None:
        shown = self._shown()
        painter.setFont(theme.font(theme.BODY))
        line = QRectF(box.left(), box.bottom() + 8, max(box.width(), 300), FOOT - 10)
        line.moveRight(min(line.right(), self.width() - MARGIN))
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        left = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        loud = self._outage is not None or shown.late
        painter.setPen(QColor(theme.DARK.text if loud else theme.DARK.secondary))
        text = overlay_line(shown, self._overlays.layers, self._outage, time.monotonic())
        painter.drawText(line, right, text)
        painter.setPen(QColor(theme.DARK.secondary))
        if self._outage is None or self._outage.kind == "frozen":
            painter.drawText(line, left, legend(self.analysis_shown, self._overlays))

    # Input

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Emit that full screen is wanted."""
        self.doubleClicked.emit()

    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Accept one local file."""
        urls = event.mimeData().urls()
        if len(urls) == 1 and urls[0].isLocalFile():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Emit the path of the file."""
        self.fileDropped.emit(event.mimeData().urls()[0].toLocalFile())
        event.acceptProposedAction()
