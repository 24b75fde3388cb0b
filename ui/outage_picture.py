"""A picture that is not live, drawn so that nobody takes it for live: dimmed with large words, or framed.

Owns the drawing. Must not know when there is an outage.
"""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QImage, QPainter

from . import icons, theme
from .indicator import CHECK
from .outage import Outage

DIM = 0.16
"""What is left of the last picture: enough to know it again, too dark to be taken for live."""
FRAME = 7.0
"""Logical pixels of the hatched frame around a frozen picture; it lies outside the picture."""


def dimmed(picture: QImage) -> QImage:
    """The last picture without its colours; it is drawn with an opacity of `DIM`."""
    return picture.convertToFormat(QImage.Format.Format_Grayscale8)


def paint_no_signal(painter: QPainter, room: QRectF, outage: Outage, now: float) -> None:
    """Draw the words in the middle of `room`: what, why, for how long; `now` is the monotonic clock."""
    scale = min(room.width() / 900, room.height() / 560)
    word = theme.font(round(min(max(72 * scale, 34), 132)), QFont.Weight.Bold)
    line = theme.font(round(min(max(24 * scale, 15), 44)))
    quiet = theme.font(round(min(max(20 * scale, 13), 36)))
    heights = [QFontMetricsF(f).height() for f in (word, line, quiet)]
    edge, gap = heights[0] * 0.95, heights[1] * 0.55
    top = room.center().y() - (edge + sum(heights) + 2.5 * gap) / 2
    mark = QRectF(room.center().x() - edge / 2, top, edge, edge)
    icons.draw(painter, "no-signal", mark, QColor(theme.DARK.failure))
    top += edge + gap
    texts = (
        (word, theme.DARK.text, "NO SIGNAL"),
        (line, theme.DARK.text, outage.reason or CHECK),
        (quiet, theme.DARK.secondary, f"for {outage.lasted(now)}, trying again"),
    )
    for (font, colour, text), height in zip(texts, heights, strict=True):
        painter.setFont(font)
        painter.setPen(QColor(colour))
        elided = QFontMetricsF(font).elidedText(text, Qt.TextElideMode.ElideRight, room.width() - 32)
        box = QRectF(room.left(), top, room.width(), height)
        painter.drawText(box, Qt.AlignmentFlag.AlignCenter, elided)
        top += height + gap * 0.5


def paint_frozen_frame(painter: QPainter, box: QRectF) -> None:
    """Draw the hatch that means `could not be judged` around the picture in `box`."""
    outer = box.adjusted(-FRAME, -FRAME, FRAME, FRAME)
    colour = QColor(theme.DARK.secondary)
    corner = QPointF(FRAME, FRAME)
    for side in (
        QRectF(outer.topLeft(), box.topRight() + QPointF(FRAME, 0)),
        QRectF(box.bottomLeft() - QPointF(FRAME, 0), outer.bottomRight()),
        QRectF(box.topLeft() - QPointF(FRAME, 0), box.bottomLeft()),
        QRectF(box.topRight(), box.bottomRight() + QPointF(corner.x(), 0)),
    ):
        icons.hatch(painter, side, colour)
