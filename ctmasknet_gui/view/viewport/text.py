"""Text over CT: readable on black lung and on white bone alike."""

from __future__ import annotations

from PySide6.QtCore import QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter

_HALO = QColor(0, 0, 0, 185)
_OFFSETS = tuple(QPointF(x, y) for x in (-1, 0, 1) for y in (-1, 0, 1) if x or y)


def sized(font: QFont, pixels: int, *, bold: bool = False) -> QFont:
    """Return the font at a size in screen pixels."""
    result = QFont(font)
    result.setPixelSize(pixels)
    result.setBold(bold)
    return result


def halo_text(painter: QPainter, baseline: QPointF, text: str, colour: str) -> None:
    """Draw text with a dark rim."""
    painter.setPen(_HALO)
    for offset in _OFFSETS:
        painter.drawText(baseline + offset, text)
    painter.setPen(QColor(colour))
    painter.drawText(baseline, text)


def elided(metrics: QFontMetricsF, text: str, width: float) -> str:
    """Shorten text to a width with an ellipsis."""
    return metrics.elidedText(text, Qt.TextElideMode.ElideRight, width)


def pill(painter: QPainter, rect: QRectF, text: str, *, background: str, ink: str) -> None:
    """Draw text on a rounded patch."""
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(background))
    painter.drawRoundedRect(rect, 3, 3)
    painter.setPen(QColor(ink))
    painter.drawText(rect, Qt.AlignmentFlag.AlignCenter, text)
