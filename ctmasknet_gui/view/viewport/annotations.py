"""Draws what surrounds the anatomy: corner text, orientation letters, scale bar, colour bar."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QImage, QLinearGradient, QPainter, QPen

from ctmasknet_gui.view.viewport.mapping import View
from ctmasknet_gui.view.viewport.pictures import device_ratio
from model_core.base.geometry import Geometry
from model_core.scene import Corners, EdgeLetters, Line
from model_core.scene.corners import signed
from model_core.scene.palette import AMBER, CIVIDIS, INK, LETTER, MUTED, WHITE
from model_core.scene.scale import SCALE_SHARE, scale_bar

MARGIN = 10.0
# Free width in the middle of the upper and lower edge, for the letters.
_CENTRE = 44.0
_SWATCH = 10.0
_BAR_WIDTH = 12.0
_PATCH = QColor(0, 0, 0, 150)
_HALO = QColor(0, 0, 0, 185)
_OFFSETS = tuple(QPointF(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y)


def sized(font: QFont, pixels: int, *, bold: bool = False) -> QFont:
    """Return the font at a size in screen pixels."""
    result = QFont(font)
    result.setPixelSize(pixels)
    result.setBold(bold)
    return result


def halo_text(painter: QPainter, baseline: QPointF, text: str, colour: str, *, face: str = "") -> None:
    """Draw text with a dark rim, on whole pixels; ``face`` is the font of the painter as text, if known."""
    ratio = device_ratio(painter)
    image, place = _haloed(text, colour, face or painter.font().toString(), ratio)
    at = baseline + place
    painter.drawImage(QPointF(round(at.x() * ratio) / ratio, round(at.y() * ratio) / ratio), image)


# Most texts of a frame are those of the one before it, and the rim takes eight times the drawing of the text.
@lru_cache(maxsize=256)
def _haloed(text: str, colour: str, font: str, ratio: float) -> tuple[QImage, QPointF]:
    """Return text with its rim as an image, and where its top left is from the baseline's begin."""
    face = QFont()
    face.fromString(font)
    metrics = QFontMetricsF(face)
    whole = metrics.boundingRect(text).united(QRectF(0, 0, metrics.horizontalAdvance(text), 0))
    whole = QRectF(whole.adjusted(-3, -3, 3, 3).toAlignedRect())
    image = QImage((whole.size() * ratio).toSize(), QImage.Format.Format_ARGB32_Premultiplied)
    image.setDevicePixelRatio(ratio)
    image.fill(0)
    inner = QPainter(image)
    try:
        inner.setFont(face)
        inner.setPen(_HALO)
        for offset in _OFFSETS:
            inner.drawText(offset - whole.topLeft(), text)
        inner.setPen(QColor(colour))
        inner.drawText(-whole.topLeft(), text)
    finally:
        inner.end()
    return image, whole.topLeft()


@lru_cache(maxsize=256)
def _fitted(text: str, room: float, font: str) -> tuple[str, float]:
    """Return text cut to fit into so many pixels, and its width."""
    face = QFont()
    face.fromString(font)
    metrics = QFontMetricsF(face)
    text = metrics.elidedText(text, Qt.TextElideMode.ElideRight, room)
    return text, metrics.horizontalAdvance(text)


def pill(painter: QPainter, rect: QRectF, text: str, *, background: str, ink: str) -> None:
    """Draw text on a rounded patch."""
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(background))
    painter.drawRoundedRect(rect, 3, 3)
    painter.setPen(QColor(ink))
    painter.drawText(rect, Qt.AlignmentFlag.AlignCenter, text)


class Annotations:
    """Lays out and draws the annotations of one frame; tells which rectangles they take.

    With ``backed`` each text stands on a dark patch, for pictures that are bright at the edges.
    """

    def __init__(self, font: QFont, size: tuple[float, float], *, backed: bool = False) -> None:
        self._backed = backed
        self._width, self._height = size
        small = min(size) < 420
        self._font = sized(font, 11 if small else 12)
        self._letter_font = sized(font, 14 if small else 16, bold=True)
        self._face, self._letter_face = self._font.toString(), self._letter_font.toString()
        self._metrics = QFontMetricsF(self._font)
        self._line, self._ascent = self._metrics.height() + 1, self._metrics.ascent()
        self._room = max(20.0, self._width / 2 - _CENTRE / 2 - MARGIN)
        self.taken: list[QRectF] = []

    def corners(self, painter: QPainter, corners: Corners) -> None:
        """Draw the text of the four corners."""
        painter.setFont(self._font)
        bottom = self._height - MARGIN
        self._block(painter, corners.top_left, MARGIN, right=False)
        self._block(painter, corners.top_right, MARGIN, right=True)
        self._block(painter, corners.bottom_left, bottom - len(corners.bottom_left) * self._line, right=False)
        self._block(
            painter, corners.bottom_right, bottom - len(corners.bottom_right) * self._line, right=True
        )

    def height_of(self, lines: int) -> float:
        """Return the height of some lines of corner text."""
        return lines * self._line

    def note_place(self, text: str) -> QRectF:
        """Return where `note` stands: above the read-out and the slice number."""
        top = self._height - MARGIN - 3 * self._line
        return QRectF(MARGIN, top, self._metrics.horizontalAdvance(text), self._line)

    def note(self, painter: QPainter, text: str) -> None:
        """Draw a remark on what is drawn."""
        place = self.note_place(text)
        self._back(painter, place)
        painter.setFont(self._font)
        halo_text(painter, QPointF(place.left(), place.top() + self._ascent), text, MUTED)
        self.taken.append(place)

    def letters(self, painter: QPainter, letters: EdgeLetters) -> None:
        """Draw the orientation letters at the middle of the edges."""
        painter.setFont(self._letter_font)
        metrics = QFontMetricsF(self._letter_font)
        high = metrics.height()
        right, low = self._width - MARGIN, self._height - MARGIN - high
        middle_x, middle_y = self._width / 2, (self._height - high) / 2
        # Left end, share of the width that lies left of it, and top of each letter.
        places = (
            (letters.left, MARGIN, 0.0, middle_y),
            (letters.right, right, 1.0, middle_y),
            (letters.top, middle_x, 0.5, MARGIN),
            (letters.bottom, middle_x, 0.5, low),
        )
        for text, x, share, top in places:
            if not text:
                continue
            width = metrics.horizontalAdvance(text)
            rect = QRectF(x - share * width, top, width, high)
            self._back(painter, rect)
            at = QPointF(rect.left(), top + metrics.ascent())
            halo_text(painter, at, text, LETTER, face=self._letter_face)
            self.taken.append(rect)

    def scale_bar(
        self,
        painter: QPainter,
        view: View,
        geometry: Geometry,
        *,
        bottom: float,
    ) -> None:
        """Draw a bar of a round length above ``bottom`` at the right edge; nothing where unknown."""
        bar = scale_bar(geometry, view.scale[0], min(self._room, self._width * SCALE_SHARE))
        if bar is None:
            return
        pixels, text = bar
        right, y = self._width - MARGIN, bottom - 6
        left = right - pixels
        width = self._metrics.horizontalAdvance(text)
        first = right - max(width, pixels)
        whole = QRectF(first, y - 8 - self._line, right - first, self._line + 14)
        self._back(painter, whole)
        ticks = ((left, y - 4, left, y + 4), (left, y, right, y), (right, y - 4, right, y + 4))
        for pen in (QPen(QColor(0, 0, 0, 165), 4.0), QPen(QColor(WHITE), 1.6)):
            painter.setPen(pen)
            for x1, y1, x2, y2 in ticks:
                painter.drawLine(QPointF(x1, y1), QPointF(x2, y2))
        painter.setFont(self._font)
        at = QPointF(right - (pixels + width) / 2, y - 6 - self._metrics.descent())
        if width > pixels:
            at.setX(right - width)
        halo_text(painter, at, text, WHITE)
        self.taken.append(whole)

    def colour_bar(
        self,
        painter: QPainter,
        limits: tuple[float, float],
        *,
        title: str,
        top: float,
        threshold: float | None,
        colours: Callable[[QRectF], QLinearGradient] | None = None,
    ) -> None:
        """Draw the colour bar of a map below ``top`` at the right edge.

        Parameters
        ----------
        limits:
            Logits at the ends; the map may go beyond them.
        threshold:
            The logit that masks begin at, marked on the bar; None where the scale is another one.
        colours:
            Of the bar in its place; by default those of the logit map.
        """
        height = min(180.0, self._height / 2 - 24 - top - self._line)
        if height < 60:
            return
        right = self._width - MARGIN
        painter.setFont(self._font)
        width = self._metrics.horizontalAdvance(title)
        whole = QRectF(right - width, top, width, self._line + 12 + height)
        self._back(painter, whole)
        halo_text(painter, QPointF(right - width, top + self._ascent), title, WHITE)
        bar = QRectF(right - _BAR_WIDTH, top + self._line + 6, _BAR_WIDTH, height)
        gradient = (colours or _cividis)(bar)
        painter.setPen(QPen(QColor(0, 0, 0, 200), 1))
        painter.setBrush(gradient)
        painter.drawRect(bar)
        low, high = limits
        digits = 1 if max(map(abs, limits)) >= 1 else 4 if max(map(abs, limits)) < 0.01 else 2
        ends = ((high, f"≥ {_logit(high, digits)}", WHITE), (low, f"≤ {_logit(low, digits)}", WHITE))
        inner = [(threshold, _logit(threshold), AMBER)] if threshold else []
        written: list[float] = []
        for value, text, colour in (*ends, *inner, (0.0, "0", MUTED)):
            y = bar.bottom() - (value - low) / (high - low) * bar.height()
            # One that would lie on another, or beyond the bar, is left out.
            if bar.top() <= y <= bar.bottom() and all(abs(y - other) >= self._line for other in written):
                self._tick(painter, bar, y, text, colour)
                written.append(y)
        self.taken.append(whole)

    def _tick(self, painter: QPainter, bar: QRectF, y: float, text: str, colour: str) -> None:
        width = self._metrics.horizontalAdvance(text)
        painter.setPen(QPen(QColor(colour), 1.5))
        painter.drawLine(QPointF(bar.left() - 4, y), QPointF(bar.left(), y))
        baseline = y + self._ascent / 2 - 1
        halo_text(painter, QPointF(bar.left() - 8 - width, baseline), text, colour)

    def _block(self, painter: QPainter, lines: tuple[Line, ...], top: float, *, right: bool) -> None:
        for k, line in enumerate(lines):
            y = top + k * self._line
            indent = _SWATCH + 5 if line.swatch else 0.0
            padding = 5.0 if line.patch else 0.0
            text, width = _fitted(line.text, self._room - indent - 2 * padding, self._face)
            width += indent + 2 * padding
            left = self._width - MARGIN - width if right else MARGIN
            rect = QRectF(left, y, width, self._line)
            self._back(painter, rect)
            if line.patch:
                pill(painter, rect.adjusted(0, 0.5, 0, -0.5), text, background=AMBER, ink=INK)
            else:
                place = QRectF(left, y + (self._line - _SWATCH) / 2, _SWATCH, _SWATCH)
                if line.dashed:
                    self._dashes(painter, place, line.swatch)
                elif line.swatch:
                    self._swatch(painter, place, line.swatch)
                at = QPointF(left + indent, y + self._ascent)
                halo_text(painter, at, text, line.colour, face=self._face)
            self.taken.append(rect)

    def _back(self, painter: QPainter, rect: QRectF) -> None:
        if self._backed:
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(_PATCH)
            painter.drawRect(rect.adjusted(-4, 0, 4, 0))
            painter.setBrush(Qt.BrushStyle.NoBrush)

    @staticmethod
    def _dashes(painter: QPainter, rect: QRectF, colour: str) -> None:
        y = rect.center().y()
        for pen in (QPen(QColor(0, 0, 0, 165), 4.0), QPen(QColor(colour), 2.0)):
            painter.setPen(pen)
            for left, right in ((rect.left() - 1, rect.left() + 4), (rect.right() - 4, rect.right() + 1)):
                painter.drawLine(QPointF(left, y), QPointF(right, y))

    @staticmethod
    def _swatch(painter: QPainter, rect: QRectF, colour: str) -> None:
        painter.setPen(QPen(QColor(0, 0, 0, 165), 1))
        painter.setBrush(QColor(colour))
        painter.drawRoundedRect(rect, 2, 2)
        painter.setBrush(Qt.BrushStyle.NoBrush)


def _cividis(bar: QRectF) -> QLinearGradient:
    gradient = QLinearGradient(bar.bottomLeft(), bar.topLeft())
    for k, colour in enumerate(CIVIDIS):
        gradient.setColorAt(k / (len(CIVIDIS) - 1), QColor(colour))
    return gradient


def _logit(value: float, digits: int = 1) -> str:
    return f"{'+' if value > 0 else ''}{signed(value, digits)}"
