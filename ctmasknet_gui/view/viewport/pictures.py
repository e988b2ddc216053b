"""Arrays of a slice as Qt images, and drawn overlays kept as one: grey picture, logit map, layer."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QRectF, QSize, Qt
from PySide6.QtGui import QImage, QPainter, QTransform

from ctmasknet_gui.view.viewport.mapping import View
from model_core.base.arrays import ByteArray, FloatArray
from model_core.base.voi import lookup_table
from model_core.base.volume import Volume, Window
from model_core.scene.maps import cividis

# From here on a voxel is large enough to be looked at as such.
NEAREST_ZOOM = 8.0
# Below this a bilinear sampling would skip source pixels.
AVERAGE_BELOW = 0.6
KEPT_PICTURES = 12
_NO_VALUE = 256


def grey_image(pixels: ByteArray) -> QImage:
    """Return (H, W) C-contiguous grey levels as an opaque image that owns its memory."""
    height, width = pixels.shape
    grey = QImage(pixels.data, width, height, width, QImage.Format.Format_Grayscale8)
    # RGB32 is what the raster engine scales fastest; the conversion detaches the image from the array.
    return grey.convertToFormat(QImage.Format.Format_RGB32)


def logit_image(logits: FloatArray, limits: tuple[float, float]) -> QImage:
    """Return (H, W) logits as colours between two logits; transparent where there is no value."""
    height, width = logits.shape
    known = np.isfinite(logits)
    index = np.full((height, width), _NO_VALUE, np.uint16)
    low, high = limits
    levels = np.clip((logits[known] - low) / (high - low) * 255, 0, 255)
    index[known] = np.rint(levels).astype(np.uint16)
    argb = _argb_table()[index]
    image = QImage(argb.data, width, height, width * 4, QImage.Format.Format_ARGB32_Premultiplied)
    return image.copy()


@cache
def _argb_table() -> NDArray[np.uint32]:
    """Colours as 32-bit pixels; the last entry is transparent."""
    colours = cividis().astype(np.uint32)
    opaque = 0xFF000000 | colours[:, 0] << 16 | colours[:, 1] << 8 | colours[:, 2]
    return np.append(opaque, 0).astype(np.uint32)


@lru_cache(maxsize=4)
def _grey_table(window: Window, *, inverted: bool) -> NDArray[np.uint32]:
    """Return 32-bit grey pixels, indexed by the int16 value seen as uint16."""
    levels = lookup_table(window, inverted=inverted).astype(np.uint32)
    return levels * np.uint32(0x010101) | np.uint32(0xFF000000)


class GreyPictures:
    """The last windowed slices, so that a repaint or a cine loop windows nothing twice.

    Each lies in memory of its own that the next one takes over: what is new to the process costs as much as
    the window does.
    """

    def __init__(self) -> None:
        self._volume: Volume | None = None
        self._images: OrderedDict[tuple[int, Window, bool], tuple[QImage, NDArray[np.uint32]]] = OrderedDict()

    def get(self, volume: Volume, index: int, window: Window, *, inverted: bool) -> QImage:
        """Return a slice through a window; ``inverted`` swaps black and white."""
        if volume is not self._volume:
            self.clear()
            self._volume = volume
        # MONOCHROME1 is shown dark for high values, and the user's switch turns that over.
        inverted = inverted != volume.inverted
        key = (index, window, inverted)
        if key in self._images:
            self._images.move_to_end(key)
            return self._images[key][0]
        values = volume.voxels[index].view(np.uint16)
        height, width = values.shape
        if len(self._images) < KEPT_PICTURES:
            pixels = np.empty(values.shape, np.uint32)
        else:
            pixels = self._images.popitem(last=False)[1][1]
        # Every index is inside the table: "clip" clips nothing, but lets numpy write straight to the place.
        np.take(_grey_table(window, inverted=inverted), values, mode="clip", out=pixels)
        # RGB32 is what the raster engine scales fastest.
        image = QImage(pixels.data, width, height, 4 * width, QImage.Format.Format_RGB32)
        self._images[key] = image, pixels
        return image

    def clear(self) -> None:
        """Let go of the volume and its pictures."""
        self._volume = None
        self._images.clear()


def draw_image(painter: QPainter, image: QImage, view: View) -> None:
    """Draw an image of the slice's size on its place: smooth when enlarged, single voxels when much so."""
    across, down = view.scale
    visible = view.picture.intersected(QRectF(0, 0, *view.size))
    if visible.isEmpty():
        return
    if view.flip_horizontal or view.flip_vertical:
        image = _flipped(image, view)
    # Only the part on the screen is drawn, cut on whole pixels with a border for the interpolation.
    picture = view.picture
    x0 = max(0, math.floor((visible.left() - picture.left()) / across) - 2)
    y0 = max(0, math.floor((visible.top() - picture.top()) / down) - 2)
    x1 = min(image.width(), math.ceil((visible.right() - picture.left()) / across) + 2)
    y1 = min(image.height(), math.ceil((visible.bottom() - picture.top()) / down) + 2)
    target = QRectF(
        picture.left() + x0 * across, picture.top() + y0 * down, (x1 - x0) * across, (y1 - y0) * down
    )
    ratio = device_ratio(painter)
    painter.save()
    # Its edges are the same drawn straight to the screen and in a layer, which smooths lines.
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, on=False)
    if min(across, down) * ratio < AVERAGE_BELOW:
        width, height = round(target.width() * ratio), round(target.height() * ratio)
        size = QSize(max(1, width), max(1, height))
        part = image.copy(x0, y0, x1 - x0, y1 - y0)
        scaled = part.scaled(
            size, Qt.AspectRatioMode.IgnoreAspectRatio, Qt.TransformationMode.SmoothTransformation
        )
        painter.drawImage(target, scaled)
    else:
        smooth = view.zoom < NEAREST_ZOOM
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform, smooth)
        painter.drawImage(target, image, QRectF(x0, y0, x1 - x0, y1 - y0))
    painter.restore()


def _flipped(image: QImage, view: View) -> QImage:
    # QImage.flipped is not in every Qt that is allowed, QImage.mirrored no longer in the newest.
    mirror = QTransform.fromScale(-1 if view.flip_horizontal else 1, -1 if view.flip_vertical else 1)
    return image.transformed(mirror)


def device_ratio(painter: QPainter) -> float:
    """Return device pixels per screen pixel of what is painted on, be it another image than the widget."""
    return abs(painter.deviceTransform().m11())


class Layer:
    """A part of a frame as a transparent image, kept while only other parts change.

    It has the viewport's size in device pixels and is drawn again when its key changes.
    """

    def __init__(self) -> None:
        self._key: Hashable = None
        self._image: QImage | None = None

    def paint(
        self,
        painter: QPainter,
        size: tuple[float, float],
        *,
        key: Hashable,
        draw: Callable[[QPainter], None],
        again: bool = False,
    ) -> None:
        """Paint what ``draw`` draws; it is called only when ``key``, size or resolution are new.

        Parameters
        ----------
        size:
            Width and height in screen pixels.
        key:
            Everything the drawing depends on.
        again:
            Keep only what is painted a second time: what moves is drawn straight to its place.
        """
        ratio = device_ratio(painter)
        full = (key, size, ratio)
        if again and self._key != full:
            self._key, self._image = full, None
            painter.save()
            draw(painter)
            painter.restore()
            return
        if self._image is None or self._key != full:
            pixels = QSize(math.ceil(size[0] * ratio), math.ceil(size[1] * ratio))
            image = self._image
            if image is None or image.size() != pixels:
                image = QImage(pixels, QImage.Format.Format_ARGB32_Premultiplied)
            image.setDevicePixelRatio(ratio)
            image.fill(0)
            inner = QPainter(image)
            inner.setRenderHint(QPainter.RenderHint.Antialiasing)
            try:
                draw(inner)
            finally:
                inner.end()
            self._image, self._key = image, full
        painter.drawImage(0, 0, self._image)

    def paint_over(self, former: Hashable, key: Hashable, draw: Callable[[QPainter], None]) -> None:
        """Draw over what is kept, if it is that of the ``former`` key; it is that of ``key`` then."""
        if self._image is None or not isinstance(self._key, tuple) or self._key[0] != former:
            return
        inner = QPainter(self._image)
        try:
            draw(inner)
        finally:
            inner.end()
        self._key = (key, *self._key[1:])

    def clear(self) -> None:
        """Forget the image."""
        self._key = self._image = None
