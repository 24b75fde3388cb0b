"""What is drawn beside the picture: the corner marks of an open finding, and the words while there is none.

Owns the drawing. Must not know when it is due.
"""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QPainter, QPen

from . import icons, theme


def paint_corners(painter: QPainter, box: QRectF) -> None:
    """Draw the corner marks around the picture in `box`, never on it."""
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


def paint_message(painter: QPainter, room: QRectF, title: str, hint: str) -> None:
    """Draw what is said in the middle of `room` while there is no picture."""
    middle = room.center()
    edge = 72.0
    box = QRectF(middle.x() - edge / 2, middle.y() - 96, edge, edge)
    icons.draw(painter, "film", box, QColor(theme.DARK.hairline))
    painter.setPen(QColor(theme.DARK.text))
    painter.setFont(theme.font(theme.FAR, QFont.Weight.DemiBold))
    wide = QRectF(16, middle.y() - 8, room.width() - 32, 32)
    painter.drawText(wide, Qt.AlignmentFlag.AlignCenter, title)
    painter.setPen(QColor(theme.DARK.secondary))
    painter.setFont(theme.font(theme.BODY))
    flags = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignTop | Qt.TextFlag.TextWordWrap
    painter.drawText(wide.translated(0, 34).adjusted(0, 0, 0, 80), flags, hint)
