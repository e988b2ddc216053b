"""What the mouse means: window and zoom of a drag, slices of the wheel, the detection under a click."""

from __future__ import annotations

import math

import numpy as np

from model_core.base.results import ShownSlice
from model_core.base.volume import Window

# A drag this long doubles the zoom, or moves width and level by the width it began with.
ZOOM_PIXELS, WINDOW_PIXELS = 150.0, 300.0
# Wheel delta of one notch (QWheelEvent.angleDelta is in eighths of a degree).
NOTCH = 120
NOTCH_ZOOM = 1.2


def dragged_window(start: Window, right: float, down: float) -> tuple[float, float]:
    """Return (width, level) after a drag: right is wider, up is a lower level, thus brighter.

    The step follows the width, so that brain and lung windows are equally easy to set. Wide windows
    move in whole units.
    """
    step = max(1.0, start.width) / WINDOW_PIXELS
    width = max(1.0, start.width + right * step)
    level = start.level + down * step
    if start.width >= 50:
        return float(max(1, round(width))), float(round(level))
    return round(width, 2), round(level, 2)


def dragged_zoom(start: float, down: float) -> float:
    """Return the zoom after a vertical drag: up enlarges."""
    return start * math.pow(2.0, -down / ZOOM_PIXELS)


def wheel_zoom(delta: float) -> float:
    """Return the zoom factor of a wheel delta; away from the user enlarges."""
    return math.pow(NOTCH_ZOOM, delta / NOTCH)


class WheelSteps:
    """Collects the small deltas of touch pads and fine wheels into whole slices."""

    def __init__(self) -> None:
        self._rest = 0

    def add(self, delta: int) -> int:
        """Add a vertical delta; return the slices to move by (away from the user goes up)."""
        if self._rest * delta < 0:
            self._rest = 0
        self._rest += delta
        notches = int(self._rest / NOTCH)
        self._rest -= notches * NOTCH
        return -notches


def candidate_at(shown: ShownSlice, x: float, y: float, *, tolerance: float = 0.0) -> int | None:
    """Return the candidate of the smallest detection that contains a point, or None.

    Parameters
    ----------
    x, y:
        Slice coordinates.
    tolerance:
        Slice pixels that boxes are widened by, so that tiny ones can be hit.

    Notes
    -----
    A detection contains the point where its box or its mask does; smaller is by the area of the box. So does
    a region that was asked about, by its box.
    """
    asked = [row for _, row in shown.asked_rois()]
    boxes = np.array([*shown.detections.boxes, *(row.box for row in asked)], np.float32).reshape(-1, 4)
    if len(boxes) == 0:
        return None
    widened = boxes + np.array([-tolerance, -tolerance, tolerance, tolerance], np.float32)
    inside = (widened[:, 0] <= x) & (x <= widened[:, 2]) & (widened[:, 1] <= y) & (y <= widened[:, 3])
    row, column = math.floor(y), math.floor(x)
    _, height, width = shown.masks.shape
    if 0 <= row < height and 0 <= column < width:
        inside[: len(shown.masks)] |= shown.masks[:, row, column]
    hits = np.flatnonzero(inside)
    if hits.size == 0:
        return None
    area = (boxes[hits, 2] - boxes[hits, 0]) * (boxes[hits, 3] - boxes[hits, 1])
    hit, found = int(hits[np.argmin(area)]), shown.detections.indices
    return int(found[hit]) if hit < len(found) else asked[hit - len(found)].candidate
