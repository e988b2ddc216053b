"""Which detection lies under the mouse."""

from __future__ import annotations

import math

import numpy as np

from model_core.base.results import ShownSlice


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
    A detection contains the point where its box or its mask does; smaller is by the area of the box.
    """
    boxes = shown.detections.boxes
    if len(boxes) == 0:
        return None
    widened = boxes + np.array([-tolerance, -tolerance, tolerance, tolerance], np.float32)
    inside = (widened[:, 0] <= x) & (x <= widened[:, 2]) & (widened[:, 1] <= y) & (y <= widened[:, 3])
    row, column = math.floor(y), math.floor(x)
    _, height, width = shown.masks.shape
    if 0 <= row < height and 0 <= column < width:
        inside |= shown.masks[:, row, column]
    hits = np.flatnonzero(inside)
    if hits.size == 0:
        return None
    area = (boxes[hits, 2] - boxes[hits, 0]) * (boxes[hits, 3] - boxes[hits, 1])
    return int(shown.detections.indices[hits[np.argmin(area)]])
