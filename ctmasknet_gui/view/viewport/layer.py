"""The drawn overlays of one frame, kept while only the grey picture or the text changes."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable

from PySide6.QtGui import QImage, QPainter


def device_ratio(painter: QPainter) -> float:
    """Return device pixels per screen pixel of what is painted on, be it another image than the widget."""
    return abs(painter.deviceTransform().m11())


class Layer:
    """A transparent image of the viewport's size in device pixels, drawn again when its key changes."""

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
    ) -> None:
        """Paint what ``draw`` draws; it is called only when ``key``, size or resolution are new.

        Parameters
        ----------
        size:
            Width and height in screen pixels.
        key:
            Everything the drawing depends on.
        """
        ratio = device_ratio(painter)
        full = (key, size, ratio)
        if self._image is None or self._key != full:
            image = QImage(
                math.ceil(size[0] * ratio),
                math.ceil(size[1] * ratio),
                QImage.Format.Format_ARGB32_Premultiplied,
            )
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

    def clear(self) -> None:
        """Forget the image."""
        self._key = self._image = None
