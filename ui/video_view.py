"""The picture and its overlays; the picture keeps its aspect and nothing ever covers it.

Owns painting frame, heat map, contour, corner marks and the line under the picture that states the
overlay's age. Must not know the pipeline; it is given frames and analyses.
"""

from __future__ import annotations

from PySide6.QtCore import QEasingCurve, QPointF, QRectF, Qt, QVariantAnimation, Signal
from PySide6.QtGui import (
    QColor,
    QDragEnterEvent,
    QDropEvent,
    QFont,
    QImage,
    QMouseEvent,
    QPainter,
    QPainterPath,
    QPaintEvent,
    QPen,
)
from PySide6.QtWidgets import QSizePolicy, QWidget

from endostream.types import Analysis, Frame
from endostream.vocabulary import term

from . import icons, theme
from .overlay_picture import FILL_OPACITY, as_qimage, heat_picture, outline, scaled
from .samples import STALE, Layers, carried_age, freshness, overlay_age, spoken_age, tenths

MARGIN, FOOT = 12, 32
RING_MS = 400


class VideoView(QWidget):
    """The picture with heat map and contour; emits `fileDropped(path)` and `doubleClicked()`."""

    fileDropped = Signal(str)
    doubleClicked = Signal()

    def __init__(self, palette: theme.Palette = theme.DARK) -> None:
        super().__init__()
        self._palette = palette
        self._frame: Frame | None = None
        self._analysis: Analysis | None = None
        self._layers = Layers()
        self._background: frozenset[str] = frozenset()
        self._marked = False
        self._message = ("Drop a video here", "or choose a source with Ctrl+O, the sample with Ctrl+D")
        self._picture: tuple[object, QImage] | None = None
        self._heat: tuple[object, QImage] | None = None
        self._outline: tuple[object, QPainterPath] | None = None
        self._stated_age: tuple[int, float | None] = (0, None)
        self._ring = QVariantAnimation(self)
        self._ring.setDuration(RING_MS)
        self._ring.setStartValue(0.0)
        self._ring.setEndValue(1.0)
        self._ring.setEasingCurve(QEasingCurve.Type.OutCubic)
        self._ring.valueChanged.connect(self.update)
        self.setAcceptDrops(True)
        self.setMinimumSize(320, 240)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)

    # What it is given

    def set_frame(self, frame: Frame | None) -> None:
        """Show this picture."""
        self._frame = frame
        self.update()

    def set_analysis(self, analysis: Analysis | None) -> None:
        """Draw the overlays of this analysis while they are fresh enough for the picture shown."""
        self._analysis = analysis
        self.update()

    def set_layers(self, layers: Layers) -> None:
        """Choose the overlays."""
        self._layers = layers
        self.update()

    def set_background(self, labels: frozenset[str]) -> None:
        """Name the classes whose class map means nothing and is not drawn."""
        self._background = labels
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
        """The age in seconds that the line states, given at most four times a second."""
        self._stated_age = (self._stated_age[0] + 1, age)
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
    def age(self) -> float | None:
        """Seconds between the picture shown and the one its overlay belongs to."""
        return overlay_age(self._frame, self._analysis)

    @property
    def frame_shown(self) -> Frame | None:
        """The picture shown."""
        return self._frame

    @property
    def analysis_shown(self) -> Analysis | None:
        """The analysis whose overlay is drawn, or None when it is too old or of another epoch."""
        return self._analysis if freshness(self.age) > 0 else None

    def picture_rect(self) -> QRectF:
        """Where the picture lies in the widget, in logical pixels; empty without a picture."""
        if self._frame is None:
            return QRectF()
        height, width = self._frame.image.shape[:2]
        room = QRectF(self.rect()).adjusted(MARGIN, MARGIN, -MARGIN, -FOOT)
        scale = min(room.width() / width, room.height() / height)
        w, h = max(1, round(width * scale)), max(1, round(height * scale))
        left, top = room.x() + (room.width() - w) / 2, room.y() + (room.height() - h) / 2
        return QRectF(round(left), round(top), w, h)

    def overlay_line(self) -> str:
        """What the line under the picture says of the overlay: never silent about a missing one."""
        age = self._stated_age[1] if self._stated_age[0] else self.age
        if self._frame is None:
            return ""
        if self._analysis is None or self.age is None or age is None:
            return "not analysed"
        if self._layers.hidden:
            return "overlays hidden"
        if freshness(self.age) == 0:
            return f"overlay hidden, {spoken_age(max(age, 1.0))} old"
        if age > STALE:
            return f"overlay {spoken_age(age)}, fading"
        return f"overlay {spoken_age(age)}"

    # Painting

    def paintEvent(self, event: QPaintEvent) -> None:
        """Draw ground, picture, overlays, corner marks and the line under the picture."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), QColor(theme.DARK.ground))
        if self._frame is None:
            self._paint_message(painter)
        else:
            box = self.picture_rect()
            painter.drawImage(box.topLeft(), self._display_picture(self._frame, box))
            strength = freshness(self.age)
            if strength > 0 and self._analysis is not None:
                painter.save()
                painter.setClipRect(box)
                self._paint_overlays(painter, box, self._analysis, strength)
                painter.restore()
            self._paint_corners(painter, box)
            self._paint_line(painter, box)
        painter.end()

    def _display_picture(self, frame: Frame, box: QRectF) -> QImage:
        ratio = self.devicePixelRatioF()
        width, height = round(box.width() * ratio), round(box.height() * ratio)
        key = (id(frame), frame.index, frame.epoch, width, height)
        if self._picture is None or self._picture[0] != key:
            picture = as_qimage(scaled(frame.image, width, height))
            picture.setDevicePixelRatio(ratio)
            self._picture = (key, picture)
        return self._picture[1]

    def _paint_overlays(self, painter: QPainter, box: QRectF, analysis: Analysis, strength: float) -> None:
        if self._layers.shows_heatmap and analysis.heatmap is not None and self._heat_label(analysis):
            painter.setOpacity(strength)
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            painter.drawImage(box, self._heat_picture(analysis, box))
        if self._layers.shows_contour and analysis.mask is not None:
            path = self._mask_outline(analysis, box).translated(box.topLeft())
            if not path.isEmpty():
                self._paint_contour(painter, path, analysis, strength)

    def _paint_contour(
        self, painter: QPainter, path: QPainterPath, analysis: Analysis, strength: float
    ) -> None:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        acting = analysis.acting
        role = term(acting.label).role if acting else "finding"
        colour = QColor(theme.DARK.therapy if role == "therapy" else theme.CONTOUR)
        fill = QColor(colour)
        fill.setAlphaF(FILL_OPACITY * self._layers.opacity * strength)
        painter.setOpacity(1.0)
        painter.fillPath(path, fill)
        painter.setOpacity(strength)
        edge = QColor(theme.EDGE)
        edge.setAlphaF(0.8)
        line = QPen(colour, 2.0)
        if analysis.mask_source == "tracked":
            line.setDashPattern([4.0, 3.0])
        for pen in (QPen(edge, 4.0), line):
            pen.setCosmetic(True)
            pen.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
            painter.strokePath(path, pen)
        if self._ring.state() == QVariantAnimation.State.Running:
            progress = float(self._ring.currentValue())
            bounds = path.boundingRect()
            reach = 0.75 * max(bounds.width(), bounds.height()) * (1.8 - 0.8 * progress)
            colour.setAlphaF(1.0 - 0.6 * progress)
            painter.setPen(QPen(colour, 3.0))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawEllipse(bounds.center(), reach, reach)

    def _heat_label(self, analysis: Analysis) -> str | None:
        """The class whose map is drawn; a background class has nothing to show."""
        acting = analysis.acting
        if acting is None or not analysis.visible or acting.label in self._background:
            return None
        return None if term(acting.label).role == "background" else acting.label

    def _heat_picture(self, analysis: Analysis, box: QRectF) -> QImage:
        assert analysis.heatmap is not None
        key = (id(analysis), analysis.frame.index, box.width(), box.height(), self._layers.opacity)
        if self._heat is None or self._heat[0] != key:
            size = (int(box.width()), int(box.height()))
            self._heat = (key, heat_picture(analysis.heatmap, *size, self._layers.opacity))
        return self._heat[1]

    def _mask_outline(self, analysis: Analysis, box: QRectF) -> QPainterPath:
        assert analysis.mask is not None
        key = (id(analysis), analysis.frame.index, box.width(), box.height())
        if self._outline is None or self._outline[0] != key:
            self._outline = (key, outline(analysis.mask, box.width(), box.height()))
        return self._outline[1]

    def _paint_corners(self, painter: QPainter, box: QRectF) -> None:
        if not self._marked:
            return
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        pen = QPen(QColor(theme.CONTOUR), 4.0)
        pen.setCapStyle(Qt.PenCapStyle.FlatCap)
        pen.setJoinStyle(Qt.PenJoinStyle.MiterJoin)
        painter.setPen(pen)
        frame = box.adjusted(-6, -6, 6, 6)
        arm = min(48.0, frame.height() / 5)
        for corner, dx, dy in (
            (frame.topLeft(), arm, arm),
            (frame.topRight(), -arm, arm),
            (frame.bottomRight(), -arm, -arm),
            (frame.bottomLeft(), arm, -arm),
        ):
            painter.drawPolyline([corner + QPointF(dx, 0), corner, corner + QPointF(0, dy)])
        painter.restore()

    def _paint_line(self, painter: QPainter, box: QRectF) -> None:
        painter.setFont(theme.font(theme.BODY))
        painter.setPen(QColor(theme.DARK.secondary))
        line = QRectF(box.left(), box.bottom() + 8, max(box.width(), 300), FOOT - 10)
        line.moveRight(min(line.right(), self.width() - MARGIN))
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        left = Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter
        if self.age is not None and self.age > STALE:
            painter.setPen(QColor(theme.DARK.text))
        painter.drawText(line, right, self.overlay_line())
        painter.setPen(QColor(theme.DARK.secondary))
        painter.drawText(line, left, self._legend())

    def _legend(self) -> str:
        if self._layers.hidden:
            return "bare picture"
        shown = self.analysis_shown
        parts = []
        if self._layers.contour:
            carried = carried_age(shown)
            parts.append("contour" if carried is None else f"contour, tracked for {tenths(carried)}")
        if self._layers.heatmap:
            label = self._heat_label(shown) if shown is not None else None
            parts.append(f"heat map: {label}" if label else "heat map: nothing to show")
        return "  ·  ".join(parts) or "bare picture"

    def _paint_message(self, painter: QPainter) -> None:
        title, hint = self._message
        middle = QPointF(self.rect().center())
        edge = 72.0
        box = QRectF(middle.x() - edge / 2, middle.y() - 96, edge, edge)
        icons.draw(painter, "film", box, QColor(theme.DARK.hairline))
        painter.setPen(QColor(theme.DARK.text))
        painter.setFont(theme.font(theme.FAR, QFont.Weight.DemiBold))
        wide = QRectF(16, middle.y() - 8, self.width() - 32, 32)
        painter.drawText(wide, Qt.AlignmentFlag.AlignCenter, title)
        painter.setPen(QColor(theme.DARK.secondary))
        painter.setFont(theme.font(theme.BODY))
        flags = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop | Qt.TextFlag.TextWordWrap
        painter.drawText(wide.translated(0, 34).adjusted(0, 0, 0, 60), flags, hint)

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
