"""Places for the tags of boxes: inside the visible picture and clear of each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from PySide6.QtCore import QPointF, QRectF, QSizeF

_GAP = 3.0


def place_label(box: QRectF, size: QSizeF, *, area: QRectF, taken: Sequence[QRectF]) -> QRectF | None:
    """Return a free place for the tag of a box near it, or None where all is crowded.

    Parameters
    ----------
    box, area, taken:
        Screen rectangles: the box, where tags may be, and what they must not touch.
    size:
        Size of the tag.
    """
    if size.width() > area.width() or size.height() > area.height():
        return None
    for corner in _corners(box, size):
        x = min(max(corner.x(), area.left()), area.right() - size.width())
        y = min(max(corner.y(), area.top()), area.bottom() - size.height())
        place = QRectF(QPointF(x, y), size)
        if not any(place.intersects(other) for other in taken):
            return place
    return None


def _corners(box: QRectF, size: QSizeF) -> Iterator[QPointF]:
    """Top left corners to try, the best first: above, below, beside, then further up and down."""
    width, height = size.width(), size.height()
    left, right = box.left(), box.right() - width
    above, below = box.top() - height - _GAP, box.bottom() + _GAP
    yield QPointF(left, above)
    yield QPointF(left, below)
    yield QPointF(right, above)
    yield QPointF(right, below)
    for y in (box.top(), box.bottom() - height):
        yield QPointF(box.right() + _GAP, y)
        yield QPointF(box.left() - width - _GAP, y)
    for step in (1, 2, 3):
        shift = step * (height + 1)
        for x in (left, right):
            yield QPointF(x, above - shift)
            yield QPointF(x, below + shift)
