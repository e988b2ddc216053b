"""An area drawn with the mouse: freehand, or a box."""

from __future__ import annotations

from collections.abc import Iterable

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QPainter, QPen, QPolygonF

from ctmasknet_gui.view.style import ACCENT

# Points closer than this to the last one add nothing.
_STEP = 0.5
_RIM, _FILL = QColor(0, 0, 0, 150), QColor(ACCENT)
_FILL.setAlpha(38)


class Lasso:
    """The area around which a line was drawn, from its end to its begin; ``boxed``, the box of both ends.

    In whatever coordinates its points are given.
    """

    def __init__(self, start: QPointF, *, boxed: bool = False) -> None:
        self.boxed = boxed
        self._points = [start]

    def add(self, point: QPointF) -> None:
        """Draw on to a point."""
        if self.boxed:
            self._points[1:] = [point]
        elif (point - self._points[-1]).manhattanLength() >= _STEP:
            self._points.append(point)

    @property
    def box(self) -> QRectF:
        """The box of its first and last point."""
        return QRectF(self._points[0], self._points[-1]).normalized()

    @property
    def polygon(self) -> QPolygonF:
        """The area."""
        return QPolygonF(self.box) if self.boxed else QPolygonF(self._points)

    def holds(self, places: Iterable[tuple[float, float]]) -> list[bool]:
        """Return of each place (x, y) whether it lies in the area; what is encircled twice does, too."""
        polygon, rule = self.polygon, Qt.FillRule.WindingFill
        around = polygon.boundingRect()
        return [around.contains(x, y) and polygon.containsPoint(QPointF(x, y), rule) for x, y in places]


def draw_area(painter: QPainter, area: QPolygonF) -> None:
    """Draw an area in screen coordinates: filled lightly, its edge on a dark rim."""
    painter.setBrush(_FILL)
    painter.setPen(QPen(_RIM, 3.0))
    painter.drawPolygon(area, Qt.FillRule.WindingFill)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    painter.setPen(QPen(QColor(ACCENT), 1.4))
    painter.drawPolygon(area, Qt.FillRule.WindingFill)
