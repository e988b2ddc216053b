"""The ranked RoI batch: what COVID-CT-Mask-Net makes of the detector's output (P1, P2; spec §5.2-5.3)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import batched_nms

from model_core.config import Replication
from model_core.types import IntArray


class Ranked(NamedTuple):
    """A RoI batch: ``rows`` (N, 5), ``source`` (N,) candidate of each row or -1, ``kept`` (K,) distinct."""

    rows: Tensor
    source: Tensor
    kept: Tensor


def class_nms(boxes: Tensor, scores: Tensor, labels: Tensor, *, iou: float | None) -> Tensor:
    """Return the indices that class-wise NMS keeps, by decreasing score.

    A box is removed where its IoU with a better one of its class is greater than ``iou``; None removes
    nothing and keeps equal scores in their order. Slices without lesions have many near-equal scores, and
    the order of ties is visible in the class: torchvision's own order is the one of the golden cases.
    """
    if iou is None:
        return scores.argsort(descending=True, stable=True)
    kept: Tensor = batched_nms(boxes, scores, labels, iou)
    return kept


def rank_regions(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    *,
    score: float,
    nms_iou: float | None,
    min_area: float | None,
    limit: int,
) -> Tensor:
    """Return the indices of the best candidates, best first (spec §5.2 steps 5-8, §4 test time).

    Drops boxes whose clipped area is not greater than ``min_area`` (None keeps empty ones) and scores
    not greater than ``score``; then class-wise NMS; then the first ``limit``.
    """
    valid = scores > score
    if min_area is not None:
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        valid &= area > min_area
    candidates = torch.where(valid)[0]
    kept = class_nms(boxes[candidates], scores[candidates], labels[candidates], iou=nms_iou)
    return candidates[kept[:limit]]


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
    scores: Tensor,
    deltas: Tensor,
    kept: Tensor,
    *,
    size: int,
    mode: Replication = "cut_points",
    seed: int = 0,
) -> Ranked:
    """Build the (N, 5) batch of score and encoded deltas from the kept candidates, best first.

    Differentiable in scores and deltas. With nothing kept, the batch is zeros.
    """
    ranks = torch.from_numpy(replicate(len(kept), size, mode=mode, seed=seed)).to(scores.device)
    if len(kept) == 0:
        return Ranked(scores.new_zeros(size, 5), ranks, kept)
    source = kept[ranks]
    return Ranked(torch.cat((scores[source, None], deltas[source]), dim=1), source, kept)
