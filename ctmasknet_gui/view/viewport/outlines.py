"""Contours of pixel masks along the pixel edges, as painter paths in slice coordinates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PySide6.QtGui import QPainterPath

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
    # Not 0 at the corners of the borders; summed along a row, +1 where the pixel below the edge is inside and
    # -1 where the one above is, and down a column the same of the right and the left one.
    corners = np.diff(np.diff(padded, axis=0), axis=1)
    y, x = np.divmod(np.flatnonzero(corners != 0), corners.shape[1])
    steps = corners[y, x]
    places = list(zip((x + left).tolist(), (y + top).tolist(), strict=True))
    following: dict[Point, list[Point]] = {}
    for k, sign in _edges(steps):
        a, b = places[k], places[k + 1]
        following.setdefault(a if sign > 0 else b, []).append(b if sign > 0 else a)
    down = np.lexsort((y, x))
    places = [places[k] for k in down.tolist()]
    for k, sign in _edges(steps[down]):
        a, b = places[k], places[k + 1]
        following.setdefault(b if sign > 0 else a, []).append(a if sign > 0 else b)
    return _chain(following)


def contour_path(mask: BoolArray) -> QPainterPath:
    """Return the borders of a mask as a path in slice coordinates; filling it fills the mask's pixels."""
    path = QPainterPath()
    for first, *others in trace(mask):
        path.moveTo(*first)
        for corner in others:
            path.lineTo(*corner)
        path.closeSubpath()
    return path


def _edges(steps: NDArray[np.int8]) -> list[tuple[int, int]]:
    """Return after which corners an edge begins, which the next one ends, and its sign."""
    sides = np.cumsum(steps)
    begins = np.flatnonzero(sides)
    return list(zip(begins.tolist(), sides[begins].tolist(), strict=True))


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
