"""Draws the overlays of an analysis on its picture: heat map, contour, the ring of a new finding.

Owns what of them is kept between two paints. Must not know the widget or which picture is shown.
"""

from __future__ import annotations

from PySide6.QtCore import QRectF, Qt
from PySide6.QtGui import QColor, QImage, QPainter, QPainterPath, QPen

from endostream.types import Analysis
from endostream.vocabulary import term

from . import theme
from .overlay_picture import FILL_OPACITY, heat_picture, outline
from .samples import Layers


class OverlayPainter:
    """Heat map and contour at display size."""

    def __init__(self) -> None:
        self.layers = Layers()
        """Which overlays are wanted."""
        self.background: frozenset[str] = frozenset()
        """Classes whose class map means nothing."""
        self.ring: float | None = None
        """How far the ring around a new finding has run, 0..1; None without one."""
        self._heat: tuple[object, QImage] | None = None
        self._outline: tuple[object, QPainterPath] | None = None

    def paint(self, painter: QPainter, box: QRectF, analysis: Analysis, strength: float) -> None:
        """Draw heat map and contour of `analysis` on the picture in `box`, with a strength of 0..1."""
        if self.layers.shows_heatmap and analysis.heatmap is not None and self.heat_label(analysis):
            painter.setOpacity(strength)
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            painter.drawImage(box, self._heat_picture(analysis, box))
        if self.layers.shows_contour and analysis.mask is not None:
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
        fill.setAlphaF(FILL_OPACITY * self.layers.opacity * strength)
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
        if self.ring is not None:
            progress = self.ring
            bounds = path.boundingRect()
            reach = 0.75 * max(bounds.width(), bounds.height()) * (1.8 - 0.8 * progress)
            colour.setAlphaF(1.0 - 0.6 * progress)
            painter.setPen(QPen(colour, 3.0))
            painter.setBrush(Qt.BrushStyle.NoBrush)
            painter.drawEllipse(bounds.center(), reach, reach)

    def heat_label(self, analysis: Analysis) -> str | None:
        """The class whose map is drawn; a background class has nothing to show."""
        acting = analysis.acting
        if acting is None or not analysis.visible or acting.label in self.background:
            return None
        return None if term(acting.label).role == "background" else acting.label

    def _heat_picture(self, analysis: Analysis, box: QRectF) -> QImage:
        assert analysis.heatmap is not None
        key = (id(analysis), analysis.frame.index, box.width(), box.height(), self.layers.opacity)
        if self._heat is None or self._heat[0] != key:
            size = (int(box.width()), int(box.height()))
            self._heat = (key, heat_picture(analysis.heatmap, *size, self.layers.opacity))
        return self._heat[1]

    def _mask_outline(self, analysis: Analysis, box: QRectF) -> QPainterPath:
        assert analysis.mask is not None
        key = (id(analysis), analysis.frame.index, box.width(), box.height())
        if self._outline is None or self._outline[0] != key:
            self._outline = (key, outline(analysis.mask, box.width(), box.height()))
        return self._outline[1]
