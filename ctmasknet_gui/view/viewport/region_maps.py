"""Draws a map of what the logit of a region hangs on, on the slice and in small: colours, lines, place."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QImage, QLinearGradient, QPainter, QPainterPath, QPen, QTransform

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.viewport.annotations import Annotations
from ctmasknet_gui.view.viewport.mapping import View
from ctmasknet_gui.view.viewport.outlines import contour_path
from model_core.base.results import RoiRow
from model_core.scene.maps import Kind, RegionMap
from model_core.scene.palette import AMBER, LETTER, SELECTED, SKY, WHITE

_RIM = QColor(0, 0, 0, 150)
_GAP = 5.0


class MapPictures:
    """The maps of one region as images and lines, each made when it is first drawn."""

    def __init__(self) -> None:
        self._of: tuple[RegionMap, ...] = ()
        self._made: dict[Kind, tuple[QImage, QPainterPath, QPainterPath]] = {}

    def get(self, maps: tuple[RegionMap, ...], kind: Kind) -> tuple[QImage, QPainterPath, QPainterPath]:
        """Return the image of one of the maps, and its lines above and below in cells of the map."""
        if maps is not self._of:
            self._of, self._made = maps, {}
        if kind not in self._made:
            one = next(item for item in maps if item.kind == kind)
            above, below = (contour_path(mask) for mask in one.beyond())
            self._made[kind] = _image(one), above, below
        return self._made[kind]


def _image(one: RegionMap) -> QImage:
    colours = np.ascontiguousarray(one.picture())
    height, width = one.values.shape
    return QImage(colours.data, width, height, 4 * width, QImage.Format.Format_RGBA8888).copy()


def draw_region_map(painter: QPainter, one: RegionMap, pictures: MapPictures, maps: tuple[RegionMap, ...],
                    view: View) -> None:  # fmt: skip
    """Draw a map on its place of the slice, and lines where it has half of its strongest colour."""
    image, above, below = pictures.get(maps, one.kind)
    left, top, right, bottom = (float(edge) for edge in one.box)
    rows, columns = one.values.shape
    painter.save()
    painter.setRenderHint(
        QPainter.RenderHint.SmoothPixmapTransform, one.interpolated or (one.kind == "mask" and view.zoom < 8)
    )
    painter.setTransform(view.transform, True)
    painter.drawImage(QRectF(left, top, right - left, bottom - top), image)
    painter.restore()
    place = QTransform((right - left) / columns, 0, 0, (bottom - top) / rows, left, top) * view.transform
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for path, colour in ((above, AMBER if one.kind != "mask" else WHITE), (below, SKY)):
        mapped = place.map(path)
        for pen in (QPen(_RIM, 2.4), QPen(QColor(colour), 1.1)):
            painter.setPen(pen)
            painter.drawPath(mapped)


def draw_boxes(painter: QPainter, proposal: tuple[float, ...], roi: RoiRow, view: View) -> None:
    """Draw the box that is held fixed, dashed, and that of the region."""
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for box, style in ((proposal, Qt.PenStyle.DashLine), (roi.box, Qt.PenStyle.SolidLine)):
        rect = view.box_to_screen(box)
        painter.setPen(QPen(_RIM, 2.6))
        painter.drawRect(rect)
        painter.setPen(QPen(QColor(SELECTED), 1.0, style))
        painter.drawRect(rect)


def draw_cursor(painter: QPainter, place: tuple[float, float], view: View, area: QRectF) -> None:
    """Draw a cross through a place of the slice, open in its middle."""
    at = view.to_screen(*place)
    lines = (
        (QPointF(area.left(), at.y()), QPointF(at.x() - _GAP, at.y())),
        (QPointF(at.x() + _GAP, at.y()), QPointF(area.right(), at.y())),
        (QPointF(at.x(), area.top()), QPointF(at.x(), at.y() - _GAP)),
        (QPointF(at.x(), at.y() + _GAP), QPointF(at.x(), area.bottom())),
    )
    for pen in (QPen(_RIM, 2.4), QPen(QColor(LETTER), 1.0)):
        painter.setPen(pen)
        for start, end in lines:
            painter.drawLine(start, end)


class PixelOverlay:
    """The map of the selected region that lies on the slice."""

    def __init__(self, state: AppState) -> None:
        self._state = state
        self._pictures = MapPictures()

    @property
    def shown(self) -> RegionMap | None:
        """What is drawn; None for nothing."""
        pixels = self._state.pixels
        maps = () if pixels.found is None else pixels.found.maps
        return next((one for one in maps if one.kind == pixels.overlay), None)

    def paint(self, painter: QPainter, view: View) -> None:
        """Draw map, proposal and region."""
        found, one = self._state.pixels.found, self.shown
        if found is None or one is None:
            return
        draw_region_map(painter, one, self._pictures, found.maps, view)
        draw_boxes(painter, tuple(found.proposal.tolist()), found.roi, view)

    def paint_cursor(self, painter: QPainter, view: View) -> None:
        """Draw the place that is pointed at on another map."""
        if (place := self._state.pixels.cursor) is not None:
            draw_cursor(painter, place, view, view.picture.intersected(QRectF(0, 0, *view.size)))

    def legend(self, painter: QPainter, notes: Annotations, *, top: float) -> None:
        """Draw what the colours mean."""
        if (one := self.shown) is not None:
            notes.colour_bar(
                painter,
                (-one.largest, one.largest),
                title=one.legend,
                top=top,
                threshold=None,
                colours=lambda bar: gradient_of(one, bar),
            )


def gradient_of(one: RegionMap, area: QRectF) -> QLinearGradient:
    """Return the colours of a map from the bottom of an area to its top, as they lie on black."""
    gradient = QLinearGradient(area.bottomLeft(), area.topLeft())
    for k in range(0, 256, 15):
        red, green, blue, opacity = (int(value) for value in one.colours[k])
        share = opacity / 255
        gradient.setColorAt(k / 255, QColor(round(red * share), round(green * share), round(blue * share)))
    return gradient
