"""Anchors, decoded boxes and proposals in NumPy: what torchvision's RPN and box coder compute, in float32."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from model_core.base.arrays import FloatArray, IntArray
from model_core.base.settings import DetectorSettings
from model_core.engine import roi_align
from model_core.ranking import class_nms

RPN_BOX_WEIGHTS = (1.0, 1.0, 1.0, 1.0)
# A box grows to 1000 / 16 of its anchor at most.
_MOST_GROWTH = np.float32(math.log(1000.0 / 16))
# torchvision moves the levels apart up to so many numbers, and looks at each by itself beyond.
_MOVED_APART = 4000


def anchors(
    sizes: Sequence[float], ratios: Sequence[float], grid: tuple[int, int], *, size: int
) -> FloatArray:
    """Return the (rows * columns * A, 4) anchors of a map, cell by cell: ratios outside, sizes inside."""
    high = np.sqrt(np.array(ratios, np.float32))
    scales = np.array(sizes, np.float32)
    widths, heights = ((side[:, None] * scales).ravel() for side in (np.float32(1) / high, high))
    corners: FloatArray = np.stack((-widths, -heights, widths, heights), axis=1)
    base = np.round(corners / np.float32(2))
    step_y, step_x = size // grid[0], size // grid[1]
    y, x = np.meshgrid(np.arange(grid[0]) * step_y, np.arange(grid[1]) * step_x, indexing="ij")
    shifts = np.stack((x, y, x, y), axis=-1).reshape(-1, 1, 4).astype(np.float32)
    cells: FloatArray = (shifts + base).reshape(-1, 4)
    return cells


def decode(boxes: FloatArray, deltas: FloatArray, weights: Sequence[float], *, size: int) -> FloatArray:
    """Return the (n, k, 4) boxes that (n, k, 4) deltas make of (n, 4) boxes, clipped to the picture."""
    sides = boxes[:, 2:] - boxes[:, :2]
    centres = boxes[:, :2] + np.float32(0.5) * sides
    scaled = deltas / np.array(weights, np.float32)
    middle = scaled[..., :2] * sides[:, None] + centres[:, None]
    half = np.float32(0.5) * (np.exp(np.minimum(scaled[..., 2:], _MOST_GROWTH)) * sides[:, None])
    decoded: FloatArray = np.concatenate((middle - half, middle + half), axis=-1)
    return decoded.clip(0, size, out=decoded)


def propose(
    levels: Sequence[tuple[FloatArray, FloatArray]],
    cells: Sequence[FloatArray],
    settings: DetectorSettings,
    *,
    size: int,
) -> FloatArray:
    """Return the (P, 4) proposals of the RPN, best first (`networks.mask_rcnn.PaperRPN`).

    Parameters
    ----------
    levels:
        Of each map (A, h, w) objectness and (4 A, h, w) shifts.
    cells:
        Its (h * w * A, 4) anchors.
    """
    found: list[tuple[FloatArray, FloatArray]] = []
    for (objectness, shifts), boxes in zip(levels, cells, strict=True):
        scores = objectness.transpose(1, 2, 0).ravel()
        best = _best(scores, settings.rpn_pre_nms)
        place, anchor = np.divmod(best, len(objectness))
        deltas = shifts.reshape(len(objectness), 4, -1)[anchor, :, place]
        decoded = decode(boxes[best], deltas[:, None], RPN_BOX_WEIGHTS, size=size)[:, 0]
        sides = decoded[:, 2:] - decoded[:, :2]
        large = (sides >= settings.rpn_min_size).all(axis=1)
        found.append((decoded[large], scores[best][large]))
    return _without_overlaps(found, settings)


def _without_overlaps(
    found: Sequence[tuple[FloatArray, FloatArray]], settings: DetectorSettings
) -> FloatArray:
    boxes, scores = (np.concatenate(parts) for parts in zip(*found, strict=True))
    limit = settings.rpn_post_nms
    compiled = roi_align.compiled()
    if compiled is None:
        level = np.repeat(np.arange(len(found)), [len(one) for one, _ in found])
        some: FloatArray = boxes[class_nms(boxes, scores, level, iou=settings.rpn_nms_iou, limit=limit)]
        return some
    if len(found) > 1 and boxes.size <= _MOVED_APART:
        # Each level on its own ground, which rounds the overlaps.
        ground = boxes.max() + np.float32(1)
        found = [(one + np.float32(number) * ground, of) for number, (one, of) in enumerate(found)]
    starts = np.cumsum([0, *(len(one) for one, _ in found)])
    kept = np.concatenate(
        [
            start + compiled.nms(one, settings.rpn_nms_iou, limit)
            for start, (one, _) in zip(starts, found, strict=False)
        ]
    )
    best: FloatArray = boxes[kept[np.argsort(-scores[kept], kind="stable")][:limit]]
    return best


def _best(scores: FloatArray, count: int) -> IntArray:
    """Return the indices of the ``count`` greatest, greatest first; equal ones in their order."""
    if count < len(scores):
        least = np.partition(scores, len(scores) - count)[len(scores) - count]
        above = np.flatnonzero(scores > least)
        level = np.flatnonzero(scores == least)[: count - len(above)]
        chosen = np.sort(np.concatenate((above, level)))
    else:
        chosen = np.arange(len(scores))
    ordered: IntArray = chosen[np.argsort(-scores[chosen], kind="stable")]
    return ordered
