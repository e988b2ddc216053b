"""What thresholds, NMS and scoring make of stored candidates: pure functions, no backbone.

Only the mask branch (for detections never shown before) runs here, on the CPU.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

import numpy as np
from scipy.special import expit, logit

from model_core.base.arrays import DoubleArray, FloatArray, IntArray
from model_core.base.results import Candidates, Detections, SliceResult, UnshownReason
from model_core.base.settings import DetectionSettings, Scoring
from model_core.engine.pipeline import Pipeline
from model_core.ranking import rank_regions

Scores = TypeVar("Scores", FloatArray, DoubleArray)


def calibrated(scores: Scores, temperature: float) -> Scores:
    """Return scores with their logits divided by the temperature (Guo et al. 2017); 0 and 1 stay."""
    if temperature == 1.0:
        return scores
    with np.errstate(divide="ignore"):
        divided = expit(logit(np.asarray(scores, np.float64)) / temperature)
    shown: Scores = divided.astype(scores.dtype)
    return shown


def network_scores(candidates: Candidates, scoring: Scoring) -> FloatArray:
    """Return the (M,) softmax scores, or sigmoids of the class logits (P2; segmentation only there)."""
    return candidates.scores if scoring == "softmax" else expit(candidates.logits).astype(np.float32)


def shown_scores(candidates: Candidates, settings: DetectionSettings) -> FloatArray:
    """Return the (M,) calibrated scores of all candidates, as they are shown and compared."""
    return calibrated(network_scores(candidates, settings.scoring), settings.temperature)


def rank(candidates: Candidates, settings: DetectionSettings) -> IntArray:
    """Return the indices of the detections under these settings, best first.

    Candidates are compared on the network's own scale, because float32 scores near 0 and 1 may tie after
    calibration.
    """
    passes = settings.network_score, settings.nms_iou, settings.min_area
    return _ranked(candidates, settings.scoring, *passes, settings.max_detections)


# Detections, their missing masks and the reasons of the others all ask, of the slice in sight.
@lru_cache(maxsize=8)
def _ranked(
    candidates: Candidates,
    scoring: Scoring,
    score: float,
    nms_iou: float | None,
    min_area: float | None,
    limit: int,
) -> IntArray:
    scores = network_scores(candidates, scoring)
    ranked = rank_regions(
        candidates.boxes,
        scores,
        candidates.labels,
        score=score,
        nms_iou=nms_iou,
        min_area=min_area,
        limit=limit,
    )
    ranked.setflags(write=False)
    return ranked


@dataclass(frozen=True)
class Unshown:
    """Why a candidate is no detection; ``suppressor`` is the candidate that suppressed it ("overlap")."""

    reason: UnshownReason
    suppressor: int | None = None


def why_unshown(
    candidates: Candidates, settings: DetectionSettings, indices: Sequence[int]
) -> dict[int, Unshown]:
    """Say why candidates are not among the detections that `rank` returns; those that are have no entry.

    Each test only sees what passed those before: area, score, NMS, number of detections. NMS is greedy, so
    what suppressed a candidate is the best of the kept ones of its class that overlap it enough.
    """
    survivors = rank(candidates, settings)
    if len(survivors) == settings.max_detections:
        survivors = rank(candidates, replace(settings, max_detections=max(1, len(candidates))))
    shown, kept = set(survivors[: settings.max_detections].tolist()), set(survivors.tolist())
    scores, areas = network_scores(candidates, settings.scoring), _areas(candidates.boxes)
    found: dict[int, Unshown] = {}
    threshold = settings.network_score  # a logarithm
    overlapping: list[int] = []
    for index in indices:
        if index in shown:
            continue
        if settings.min_area is not None and not areas[index] > settings.min_area:
            found[index] = Unshown("area")
        elif not scores[index] > threshold:
            found[index] = Unshown("score")
        elif index in kept:
            found[index] = Unshown("limit")
        else:
            overlapping.append(index)
    suppressors = _suppressors(candidates, survivors, overlapping, settings.nms_iou or 0.0)
    return found | {index: Unshown("overlap", by) for index, by in zip(overlapping, suppressors, strict=True)}


def _suppressors(
    candidates: Candidates, survivors: IntArray, indices: Sequence[int], iou: float
) -> list[int | None]:
    """Return of each candidate the best survivor of its class whose IoU with it is greater than ``iou``."""
    if not len(indices) or not len(survivors):
        return [None] * len(indices)
    boxes, others = candidates.boxes[list(indices)], candidates.boxes[survivors]
    sides = np.minimum(boxes[:, None, 2:], others[:, 2:]) - np.maximum(boxes[:, None, :2], others[:, :2])
    common = np.prod(np.clip(sides, 0, None), axis=2)
    with np.errstate(divide="ignore", invalid="ignore"):
        overlaps = np.nan_to_num(common / (_areas(boxes)[:, None] + _areas(others) - common))
    overlaps[candidates.labels[list(indices)][:, None] != candidates.labels[survivors]] = -1
    # NMS moves the boxes of each class apart before it compares: at the threshold it may round the
    # other way, and then the greatest overlap is the one that it saw.
    enough = overlaps > iou
    best = np.where(enough.any(axis=1), enough.argmax(axis=1), overlaps.argmax(axis=1))
    same = overlaps[np.arange(len(best)), best] >= 0
    return [int(k) if of_it else None for k, of_it in zip(survivors[best], same, strict=True)]


def _areas(boxes: FloatArray) -> FloatArray:
    areas: FloatArray = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def detect(
    pipeline: Pipeline, result: SliceResult, settings: DetectionSettings, *, known: bool = False
) -> Detections:
    """Return the detections of a slice under these settings, with the raw mask logits of their class.

    ``known``: only those whose logits were computed before.
    """
    candidates = result.detection_candidates
    indices = rank(candidates, settings)
    if known:
        indices = np.array([k for k in indices.tolist() if k in result.mask_cache], np.int64)
    logits = pipeline.mask_logits(result, indices)
    return _detections(result, indices, logits, settings)


def without_masks(result: SliceResult, settings: DetectionSettings) -> Detections:
    """Return the detections whose mask logits are not known yet: their masks are empty."""
    missing = np.array(
        [k for k in rank(result.detection_candidates, settings).tolist() if k not in result.mask_cache],
        np.int64,
    )
    return _detections(result, missing, np.full((len(missing), 28, 28), -np.inf, np.float32), settings)


def make_masks(
    pipeline: Pipeline, result: SliceResult, settings: DetectionSettings, *, few: int = 16
) -> Generator[int, None, None]:
    """Compute the mask logits that are not known, strongest first, and yield after each ``few`` of them."""
    missing = without_masks(result, settings).indices
    for start in range(0, len(missing), few):
        pipeline.mask_logits(result, missing[start : start + few])
        yield min(start + few, len(missing))


def _detections(
    result: SliceResult,
    indices: IntArray,
    mask_logits: FloatArray,
    settings: DetectionSettings,
) -> Detections:
    candidates = result.detection_candidates
    boxes = candidates.boxes[indices]
    return Detections(
        indices=indices,
        boxes=result.placement.in_slice(boxes),
        scores=shown_scores(candidates, settings)[indices],
        labels=candidates.labels[indices],
        mask_boxes=result.placement.to_slice(boxes),
        mask_logits=mask_logits,
        settings=settings,
    )
