"""Shapes drawn from paths: the indicator's states, transport buttons, review marks.

Owns outlines in a unit square. Must not know colours of meaning or what a shape is used for.
Drawn rather than typed, because fonts differ in which symbols they hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import (
    QBrush,
    QColor,
    QIcon,
    QPainter,
    QPainterPath,
    QPainterPathStroker,
    QPen,
    QPixmap,
    QPolygonF,
    QTransform,
)

UNIT = 100.0
"""Shapes are built this large: joining paths flattens curves to a fixed fineness."""


def _polygon(*points: tuple[float, float]) -> QPainterPath:
    path = QPainterPath()
    path.addPolygon(QPolygonF([QPointF(x, y) * UNIT for x, y in points]))
    path.closeSubpath()
    return path


def _box(x: float, y: float, w: float, h: float) -> QRectF:
    return QRectF(x * UNIT, y * UNIT, w * UNIT, h * UNIT)


def _rect(x: float, y: float, w: float, h: float, r: float = 0.0) -> QPainterPath:
    path = QPainterPath()
    path.addRoundedRect(_box(x, y, w, h), r * UNIT, r * UNIT)
    return path


def _circle(r: float, cx: float = 0.5, cy: float = 0.5) -> QPainterPath:
    path = QPainterPath()
    path.addEllipse(QPointF(cx, cy) * UNIT, r * UNIT, r * UNIT)
    return path


def _line(width: float, *points: tuple[float, float]) -> QPainterPath:
    path = QPainterPath(QPointF(*points[0]) * UNIT)
    for point in points[1:]:
        path.lineTo(QPointF(*point) * UNIT)
    return _stroked(path, width)


def _stroked(path: QPainterPath, width: float) -> QPainterPath:
    stroker = QPainterPathStroker()
    stroker.setWidth(width * UNIT)
    stroker.setCapStyle(Qt.PenCapStyle.RoundCap)
    stroker.setJoinStyle(Qt.PenJoinStyle.RoundJoin)
    return stroker.createStroke(path).simplified()


def _spinner() -> QPainterPath:
    path = QPainterPath()
    path.arcMoveTo(_box(0.14, 0.14, 0.72, 0.72), 90)
    path.arcTo(_box(0.14, 0.14, 0.72, 0.72), 90, -270)
    return _stroked(path, 0.15)


def _replay() -> QPainterPath:
    box = _box(0.16, 0.18, 0.68, 0.68)
    path = QPainterPath()
    path.arcMoveTo(box, 120)
    path.arcTo(box, 120, 290)
    return _stroked(path, 0.12).united(_polygon((0.02, 0.30), (0.44, 0.30), (0.30, 0.02)))


def _octagon() -> QPainterPath:
    corners = [(0.5 + 0.5 * math.cos(a), 0.5 + 0.5 * math.sin(a)) for a in _angles(8, math.pi / 8)]
    return _polygon(*corners).subtracted(_cross(0.12, 0.32))


def _angles(count: int, first: float) -> list[float]:
    return [first + i * 2 * math.pi / count for i in range(count)]


def _cross(width: float, inset: float) -> QPainterPath:
    far = 1 - inset
    return _line(width, (inset, inset), (far, far)).united(_line(width, (far, inset), (inset, far)))


def _hatched_square() -> QPainterPath:
    frame = _rect(0.06, 0.06, 0.88, 0.88, 0.08)
    hole = _rect(0.15, 0.15, 0.70, 0.70)
    stripes = QPainterPath()
    for offset in (-0.5, -0.17, 0.16, 0.49):
        stripes = stripes.united(_line(0.11, (offset, 1.0), (offset + 1.0, 0.0)))
    return frame.subtracted(hole).united(stripes.intersected(hole))


def _no_signal() -> QPainterPath:
    ring = _circle(0.47).subtracted(_circle(0.35))
    return ring.united(_line(0.12, (0.2, 0.8), (0.8, 0.2)))


def _record() -> QPainterPath:
    return _circle(0.47).subtracted(_circle(0.36)).united(_circle(0.2))


def _frozen() -> QPainterPath:
    star = QPainterPath()
    for turn in (0.0, 60.0, 120.0):
        arm = _line(0.1, (0.5, 0.05), (0.5, 0.95))
        for y, way in ((0.3, -1), (0.7, 1)):
            arm = arm.united(_line(0.08, (0.36, y + 0.13 * way), (0.5, y), (0.64, y + 0.13 * way)))
        about = QTransform().translate(UNIT / 2, UNIT / 2).rotate(turn).translate(-UNIT / 2, -UNIT / 2)
        star = star.united(about.map(arm))
    return star


def _clock() -> QPainterPath:
    ring = _circle(0.47).subtracted(_circle(0.36))
    return ring.united(_line(0.11, (0.5, 0.26), (0.5, 0.53), (0.68, 0.62)))


def _menu() -> QPainterPath:
    bars = QPainterPath()
    for y in (0.25, 0.5, 0.75):
        bars = bars.united(_line(0.09, (0.14, y), (0.86, y)))
    return bars


def _pause() -> QPainterPath:
    return _rect(0.16, 0.08, 0.24, 0.84, 0.04).united(_rect(0.60, 0.08, 0.24, 0.84, 0.04))


def _flipped(path: QPainterPath) -> QPainterPath:
    return QTransform(-1, 0, 0, 1, UNIT, 0).map(path)


def _next() -> QPainterPath:
    return _polygon((0.10, 0.12), (0.68, 0.5), (0.10, 0.88)).united(_rect(0.72, 0.12, 0.16, 0.76))


def _step() -> QPainterPath:
    return _polygon((0.42, 0.16), (0.92, 0.5), (0.42, 0.84)).united(_rect(0.18, 0.16, 0.12, 0.68))


def _expand() -> QPainterPath:
    corners = QPainterPath()
    for x, y in ((0.12, 0.12), (0.88, 0.12), (0.88, 0.88), (0.12, 0.88)):
        dx, dy = (0.26 if x < 0.5 else -0.26), (0.26 if y < 0.5 else -0.26)
        corners = corners.united(_line(0.1, (x + dx, y), (x, y), (x, y + dy)))
    return corners


_SHAPES: dict[str, Callable[[], QPainterPath]] = {
    "dot": lambda: _circle(0.42),
    "open-dot": lambda: _circle(0.44).subtracted(_circle(0.31)),
    "spinner": _spinner,
    "triangle": lambda: _polygon((0.5, 0.03), (1.0, 0.93), (0.0, 0.93)),
    "diamond": lambda: _polygon((0.5, 0.0), (1.0, 0.5), (0.5, 1.0), (0.0, 0.5)),
    "hatched": _hatched_square,
    "clock": _clock,
    "no-signal": _no_signal,
    "frozen": _frozen,
    "record": _record,
    "pause": _pause,
    "replay": _replay,
    "failed": _octagon,
    "check": lambda: _line(0.14, (0.12, 0.54), (0.40, 0.82), (0.88, 0.20)),
    "cross": lambda: _cross(0.14, 0.18),
    "play": lambda: _polygon((0.18, 0.06), (0.92, 0.5), (0.18, 0.94)),
    "next": _next,
    "previous": lambda: _flipped(_next()),
    "step": _step,
    "step-back": lambda: _flipped(_step()),
    "menu": _menu,
    "chevron": lambda: _line(0.14, (0.16, 0.34), (0.5, 0.68), (0.84, 0.34)),
    "expand": _expand,
    "film": lambda: _rect(0.04, 0.14, 0.92, 0.72, 0.08).subtracted(
        _polygon((0.38, 0.30), (0.70, 0.5), (0.38, 0.70))
    ),
}


def shape(name: str, box: QRectF) -> QPainterPath:
    """The outline `name` placed in `box`."""
    return QTransform(box.width() / UNIT, 0, 0, box.height() / UNIT, box.x(), box.y()).map(_SHAPES[name]())


def draw(painter: QPainter, name: str, box: QRectF, colour: QColor) -> None:
    """Fill the outline `name` in `box` with `colour`."""
    painter.save()
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.fillPath(shape(name, box), colour)
    painter.restore()


def hatch(painter: QPainter, box: QRectF, colour: QColor) -> None:
    """Fill `box` with the diagonal hatch that means: could not be judged."""
    painter.save()
    painter.setClipRect(box)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    ground = QColor(colour)
    ground.setAlphaF(0.28)
    painter.fillRect(box, QBrush(ground))
    painter.setPen(QPen(colour, 1.6))
    x = math.floor(box.left() / 6) * 6 - box.height()
    while x < box.right():
        painter.drawLine(QPointF(x, box.bottom()), QPointF(x + box.height(), box.top()))
        x += 6
    painter.restore()


def icon(name: str, colour: QColor, disabled: QColor, size: int = 18) -> QIcon:
    """A shape as an icon with its disabled look, sharp on screens of double density."""
    result = QIcon()
    for mode, ink in ((QIcon.Mode.Normal, colour), (QIcon.Mode.Disabled, disabled)):
        pixmap = QPixmap(QSize(size * 2, size * 2))
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        draw(painter, name, QRectF(2, 2, size * 2 - 4, size * 2 - 4), ink)
        painter.end()
        pixmap.setDevicePixelRatio(2)
        result.addPixmap(pixmap, mode)
    return result
