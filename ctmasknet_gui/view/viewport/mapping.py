"""Where a slice lies on the screen: aspect, zoom, pan, flips, and the way back.

Slice coordinates are pixel edges: the voxel of column c, row r covers c..c+1, r..r+1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from PySide6.QtCore import QPointF, QRectF, QSizeF
from PySide6.QtGui import QTransform

# The limits the controller keeps to as well, so that the point under the cursor stays put at them.
MIN_ZOOM, MAX_ZOOM = 0.05, 64.0
# Screen pixels of the picture that panning always leaves visible.
KEPT_VISIBLE = 48.0


def pixel_aspect(spacing_mm: Sequence[float | None], stated: float | None = None) -> tuple[float, float]:
    """Return height and width of a pixel, the smaller one being 1.

    Parameters
    ----------
    spacing_mm:
        Steps along slices, rows and columns; unknown or senseless ones give square pixels.
    stated:
        Height over width where the steps are unknown (`Geometry.stated_aspect`).
    """
    row, column = spacing_mm[1], spacing_mm[2]
    if row is None or column is None:
        row, column = stated or 1.0, 1.0
    if not (math.isfinite(row) and math.isfinite(column) and row > 0 and column > 0):
        return 1.0, 1.0
    smaller = min(row, column)
    return row / smaller, column / smaller


@dataclass(frozen=True, kw_only=True)
class View:
    """One placement of a slice in the viewport.

    Attributes
    ----------
    shape:
        Rows and columns of the slice.
    aspect:
        Height and width of a pixel (`pixel_aspect`).
    size:
        Width and height of the viewport in screen (device-independent) pixels.
    zoom:
        Screen pixels per aspect-corrected slice pixel.
    pan:
        Shift of the picture's centre from the viewport's centre in screen pixels.
    """

    shape: tuple[int, int]
    aspect: tuple[float, float]
    size: tuple[float, float]
    zoom: float
    pan: tuple[float, float] = (0.0, 0.0)
    flip_horizontal: bool = False
    flip_vertical: bool = False

    @property
    def scale(self) -> tuple[float, float]:
        """Screen pixels per slice pixel across and down (always positive)."""
        return self.zoom * self.aspect[1], self.zoom * self.aspect[0]

    @property
    def picture(self) -> QRectF:
        """The rectangle of the whole slice on the screen."""
        across, down = self.scale
        size = QSizeF(self.shape[1] * across, self.shape[0] * down)
        centre = QPointF(self.size[0] / 2 + self.pan[0], self.size[1] / 2 + self.pan[1])
        return QRectF(centre - QPointF(size.width() / 2, size.height() / 2), size)

    @property
    def transform(self) -> QTransform:
        """The map from slice to screen coordinates."""
        picture = self.picture
        across, down = self.scale
        if self.flip_horizontal:
            across, left = -across, picture.right()
        else:
            left = picture.left()
        if self.flip_vertical:
            down, top = -down, picture.bottom()
        else:
            top = picture.top()
        return QTransform(across, 0, 0, down, left, top)

    def to_screen(self, x: float, y: float) -> QPointF:
        """Map slice coordinates to the screen."""
        return self.transform.map(QPointF(x, y))

    def to_slice(self, point: QPointF) -> tuple[float, float]:
        """Map a screen point to slice coordinates (x, y), perhaps outside the slice."""
        back, _ = self.transform.inverted()
        mapped = back.map(point)
        return mapped.x(), mapped.y()

    def box_to_screen(self, box: Sequence[float]) -> QRectF:
        """Map ``x1, y1, x2, y2`` pixel edges to a normalised rectangle on the screen."""
        return QRectF(self.to_screen(box[0], box[1]), self.to_screen(box[2], box[3])).normalized()

    def voxel_at(self, point: QPointF) -> tuple[int, int] | None:
        """Return row and column of the voxel under a screen point, or None beside the slice."""
        x, y = self.to_slice(point)
        row, column = math.floor(y), math.floor(x)
        inside = 0 <= row < self.shape[0] and 0 <= column < self.shape[1]
        return (row, column) if inside else None

    def zoomed(self, zoom: float, anchor: QPointF) -> View:
        """Return the view at another zoom with the picture fixed under ``anchor``."""
        zoom = min(MAX_ZOOM, max(MIN_ZOOM, zoom))
        ratio = zoom / self.zoom
        from_centre = (anchor.x() - self.size[0] / 2, anchor.y() - self.size[1] / 2)
        pan = tuple(f - (f - p) * ratio for f, p in zip(from_centre, self.pan, strict=True))
        return replace(self, zoom=zoom, pan=(pan[0], pan[1])).kept_visible()

    def panned(self, right: float, down: float) -> View:
        """Return the view with the picture moved by screen pixels."""
        return replace(self, pan=(self.pan[0] + right, self.pan[1] + down)).kept_visible()

    def kept_visible(self) -> View:
        """Return the view with the pan limited so that the picture cannot be lost."""
        picture = self.picture
        extents = (picture.width(), picture.height())
        pan = []
        for size, extent, shift in zip(self.size, extents, self.pan, strict=True):
            limit = max(0.0, (size + extent) / 2 - min(KEPT_VISIBLE, extent, size))
            pan.append(min(limit, max(-limit, shift)))
        return replace(self, pan=(pan[0], pan[1]))


def fit_zoom(
    shape: tuple[int, int], aspect: tuple[float, float], size: tuple[float, float], *, margin: float = 4.0
) -> float:
    """Return the zoom at which the whole slice just fits into the viewport."""
    width = max(1.0, size[0] - 2 * margin) / (shape[1] * aspect[1])
    height = max(1.0, size[1] - 2 * margin) / (shape[0] * aspect[0])
    return min(MAX_ZOOM, max(MIN_ZOOM, min(width, height)))
