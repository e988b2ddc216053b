"""Contours of pixel masks along the pixel edges, as painter paths in slice coordinates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PySide6.QtCore import QPointF
from PySide6.QtGui import QPainterPath, QPolygonF

from model_core.base.arrays import BoolArray

Point = tuple[int, int]


def trace(mask: BoolArray) -> list[list[Point]]:
    """Trace every border of a mask along pixel edges.

    Parameters
    ----------
    mask:
        (H, W) bool.

    Returns
    -------
    list of closed loops
        Corners (x, y) in order, the first not repeated; borders run clockwise on the screen, holes the
        other way round. The area enclosed is exactly that of the mask's pixels.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if rows.size == 0:
        return []
    top, left = int(rows[0]), int(columns[0])
    inner = mask[top : rows[-1] + 1, left : columns[-1] + 1]
    padded = np.zeros((inner.shape[0] + 2, inner.shape[1] + 2), np.int8)
    padded[1:-1, 1:-1] = inner
    # +1 where the pixel below (right of) the edge is inside, -1 where the one above (left) is.
    across = padded[1:, 1:-1] - padded[:-1, 1:-1]
    down = (padded[1:-1, 1:] - padded[1:-1, :-1]).T
    following: dict[Point, list[Point]] = {}
    for line, start, stop, sign in _runs(across):
        a, b = (start + left, line + top), (stop + left, line + top)
        following.setdefault(a if sign > 0 else b, []).append(b if sign > 0 else a)
    for line, start, stop, sign in _runs(down):
        a, b = (line + left, start + top), (line + left, stop + top)
        following.setdefault(b if sign > 0 else a, []).append(a if sign > 0 else b)
    return _chain(following)


def contour_path(mask: BoolArray) -> QPainterPath:
    """Return the borders of a mask as a path in slice coordinates; filling it fills the mask's pixels."""
    path = QPainterPath()
    for loop in trace(mask):
        path.addPolygon(QPolygonF([QPointF(x, y) for x, y in loop]))
        path.closeSubpath()
    return path


def _runs(edges: NDArray[np.int8]) -> list[tuple[int, int, int, int]]:
    """Merge equal neighbouring edges of each line into (line, start, stop, sign)."""
    # np.pad costs more than everything else here.
    padded = np.zeros((edges.shape[0], edges.shape[1] + 2), np.int8)
    padded[:, 1:-1] = edges
    change = padded[:, 1:] != padded[:, :-1]
    lines, starts = np.nonzero(change & (padded[:, 1:] != 0))
    _, stops = np.nonzero(change & (padded[:, :-1] != 0))
    signs = edges[lines, starts]
    return list(zip(lines.tolist(), starts.tolist(), stops.tolist(), signs.tolist(), strict=True))


def _chain(following: dict[Point, list[Point]]) -> list[list[Point]]:
    loops = []
    while following:
        start = next(iter(following))
        loop, here = [], start
        while True:
            loop.append(here)
            ends = following[here]
            step = ends.pop()
            if not ends:
                del following[here]
            here = step
            # Where two pixels touch at a corner only, a loop may pass its start; it ends there.
            if here == start:
                break
        loops.append(loop)
    return loops
