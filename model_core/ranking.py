"""The ranked RoI batch: what COVID-CT-Mask-Net makes of the detector's output (P1, P2; spec §5.2-5.3).

In NumPy, for training as in use: only the numbers of the chosen rows need a gradient, their choice has none.
"""

from __future__ import annotations

import numpy as np

from model_core.base.arrays import BoolArray, FloatArray, IntArray
from model_core.base.results import RoiBatch
from model_core.base.settings import Replication

# Boxes that NMS compares at once: many more cost time where few are wanted.
_BLOCK = 64
# torchvision moves the boxes of each class apart up to so many numbers (`batched_nms` on a CPU), which rounds
# their overlaps; beyond it looks at each class by itself.
_MOVED_APART = 4000


def class_nms(
    boxes: FloatArray,
    scores: FloatArray,
    labels: IntArray,
    *,
    iou: float | None,
    limit: int | None = None,
) -> IntArray:
    """Return the indices that class-wise NMS keeps, by decreasing score; the first ``limit`` of them.

    A box is removed where its IoU with a better one of its class is greater than ``iou``; None removes
    nothing. Equal scores keep their order: slices without lesions have many, and their order is visible in
    the class. The result is that of torchvision's `batched_nms`, overlaps that round to the other side of the
    threshold included; of more than 1000 boxes that one leaves the order of equal scores open.

    Parameters
    ----------
    boxes, scores, labels:
        (M, 4), (M,) and (M,).
    """
    order = np.argsort(-scores, kind="stable")
    if iou is None or not len(order):
        return order[:limit]
    apart = boxes.size <= _MOVED_APART
    boxes, classes = boxes[order], labels[order]
    if apart:
        boxes = boxes + (classes.astype(np.float32) * (boxes.max() + np.float32(1)))[:, None]
    kept = np.zeros(0, np.int64)
    for start in range(0, len(order), _BLOCK):
        block = np.arange(start, min(start + _BLOCK, len(order)))
        if len(kept):
            block = block[~_overlapping(boxes, classes, block, kept, iou, apart=apart).any(axis=1)]
        removes = np.triu(_overlapping(boxes, classes, block, block, iou, apart=apart), 1)
        leaves = ~removes
        alive = np.ones(len(block), np.bool_)
        for row in np.flatnonzero(removes.any(axis=1)).tolist():
            if alive[row]:
                alive &= leaves[row]
        kept = np.concatenate((kept, block[alive]))
        if limit is not None and len(kept) >= limit:
            break
    return order[kept[:limit]]


def _overlapping(
    boxes: FloatArray, classes: IntArray, some: IntArray, others: IntArray, iou: float, *, apart: bool
) -> BoolArray:
    """Return (len(some), len(others)) whether two boxes of one class have an IoU greater than ``iou``."""
    left, top, right, bottom = boxes[some].T[:, :, None]
    others_left, others_top, others_right, others_bottom = boxes[others].T
    width = np.minimum(right, others_right) - np.maximum(left, others_left)
    height = np.minimum(bottom, others_bottom) - np.maximum(top, others_top)
    common = np.maximum(width, 0) * np.maximum(height, 0)
    areas = (right - left) * (bottom - top)
    others_areas = (others_right - others_left) * (others_bottom - others_top)
    with np.errstate(divide="ignore", invalid="ignore"):
        # The overlap is a float32, the threshold is not.
        over: BoolArray = common / (areas + others_areas - common) > np.float64(iou)
    return over if apart else over & (classes[some][:, None] == classes[others])


def rank_regions(
    boxes: FloatArray,
    scores: FloatArray,
    labels: IntArray,
    *,
    score: float,
    nms_iou: float | None,
    min_area: float | None,
    limit: int,
) -> IntArray:
    """Return the indices of the best candidates, best first (spec §5.2 steps 5-8, §4 test time).

    Drops boxes whose clipped area is not greater than ``min_area`` (None keeps empty ones) and scores
    not greater than ``score``; then class-wise NMS; then the first ``limit``.
    """
    valid = scores > score
    if min_area is not None:
        valid &= (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) > min_area
    candidates = np.flatnonzero(valid)
    kept = class_nms(boxes[candidates], scores[candidates], labels[candidates], iou=nms_iou, limit=limit)
    return candidates[kept]


def replicate(kept: int, size: int, *, mode: Replication = "cut_points", seed: int = 0) -> IntArray:
    """Spread ``kept`` ranks over ``size`` slots, order preserved, each at least once (spec §5.3).

    ``cut_points`` is the released code: K-1 distinct cuts from {1..N-2}, so the last rank always
    appears at least twice when K < N. ``insert`` is the wording of P2: sample the missing N-K rows from
    the valid ones and insert each next to its source. The released code draws from the global random
    state even at test time; here the seed makes inference deterministic.

    Returns
    -------
    (size,) non-decreasing ranks; all -1 where ``kept`` is 0, for which the released code fails.
    """
    if kept == 0:
        return np.full(size, -1, np.int64)
    if kept >= size:
        return np.arange(size, dtype=np.int64)
    generator = np.random.default_rng(seed)
    if mode == "insert":
        copies = 1 + np.bincount(generator.integers(0, kept, size - kept), minlength=kept)
    else:
        cuts = np.sort(generator.choice(np.arange(1, size - 1), kept - 1, replace=False))
        copies = np.diff(np.concatenate(([0], cuts, [size])))
    return np.repeat(np.arange(kept, dtype=np.int64), copies)


def roi_batch(
    scores: FloatArray,
    deltas: FloatArray,
    kept: IntArray,
    *,
    size: int,
    mode: Replication = "cut_points",
    seed: int = 0,
) -> RoiBatch:
    """Build the (N, 5) batch of score and encoded deltas from the kept candidates, best first.

    With nothing kept, the batch is zeros.
    """
    ranks = replicate(len(kept), size, mode=mode, seed=seed)
    if not len(kept):
        return RoiBatch(rows=np.zeros((size, 5), np.float32), source=ranks, kept=kept)
    source = kept[ranks]
    return RoiBatch(rows=np.column_stack((scores[source], deltas[source])), source=source, kept=kept)
