"""Default thresholds of a detector, chosen on held-out patients, and what it reaches there."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from model_core.config import DetectionSettings
from model_core.datasets import instances
from model_core.evaluation.average_precision import IOU_THRESHOLDS, ap_from_iou, mask_iou
from model_core.explain import mask_pixels
from model_core.inference import Pipeline, detect, run
from model_core.training.packing import PackedSlice
from model_core.types import DoubleArray, FloatArray, Geometry, Progress, SliceResult, Volume

SCORES: DoubleArray = np.arange(0.1, 0.96, 0.05).round(2)
NMS_IOUS = (0.2, 0.3, 0.5)
MASK_LOGITS = (-0.5, 0.0)
# Candidates below the lowest score are never looked at; more than this many are not shown.
_LIMIT = 60
_LOW_HU, _HIGH_HU = -1250.0, 250.0


@dataclass(frozen=True, eq=False)
class Measured:
    """Metrics of one slice under one NMS and mask threshold, at each of `SCORES`.

    ``ap`` (T, 10) of the papers' definition; ``dice`` (T,), NaN where the slice has no lesion;
    ``detections`` (T,) how many are shown.
    """

    name: str
    source: str
    patient: str
    lesion: bool
    ap: DoubleArray
    dice: DoubleArray
    detections: DoubleArray


@dataclass(frozen=True)
class Choice:
    """The thresholds that were best, and the metrics there: overall and by source."""

    settings: DetectionSettings
    metrics: dict[str, Any] = field(default_factory=dict)


def slice_volume(one: PackedSlice) -> Volume:
    """Return a packed slice as a volume of one slice in HU."""
    hu = _LOW_HU + one.image.astype(np.float32) * ((_HIGH_HU - _LOW_HU) / 255.0)
    voxels = np.rint(hu).astype(np.int16)[None]
    return Volume(series_id=one.name, title=one.name, voxels=voxels, geometry=Geometry())


def measure(
    pipeline: Pipeline, slices: Sequence[PackedSlice], *, mask_type: str = "merge"
) -> Generator[Progress | tuple[tuple[float, float], Measured], None, None]:
    """Run the detector once per slice and yield ((NMS IoU, mask logit), metrics) for every combination."""
    widest = DetectionSettings(score=float(SCORES[0]), nms_iou=max(NMS_IOUS), max_detections=_LIMIT)
    card = dataclasses.replace(pipeline.cards[0], detections=widest)
    single = Pipeline(detector=pipeline.detector, cards=(card,), device=pipeline.device)
    for done, one in enumerate(slices):
        yield Progress(done, len(slices), one.name)
        results = run(single, slice_volume(one), [0])
        (result,) = (item for item in results if isinstance(item, SliceResult))
        for nms in NMS_IOUS:
            for logit in MASK_LOGITS:
                settings = dataclasses.replace(widest, nms_iou=nms, mask_threshold=logit)
                yield (nms, logit), _measure_one(single, result, one, settings, mask_type)


def _measure_one(
    pipeline: Pipeline, result: SliceResult, one: PackedSlice, settings: DetectionSettings, mask_type: str
) -> Measured:
    found = detect(pipeline, result, settings)
    height, width = one.lesion.shape
    masks = mask_pixels(found, (height, width))
    references, labels = instances(one.lesion, mask_type)
    iou = mask_iou(masks, references)
    truth = one.lesion > 0
    ap = np.zeros((len(SCORES), len(IOU_THRESHOLDS)))
    dice = np.full(len(SCORES), np.nan)
    counts = (found.scores[None] > SCORES[:, None]).sum(1)
    for row, count in enumerate(counts):
        ap[row] = ap_from_iou(iou[:count], found.scores[:count], found.labels[:count], labels)
        if truth.any():
            shown = masks[:count].any(0) if count else np.zeros_like(truth)
            dice[row] = 2 * (shown & truth).sum() / (shown.sum() + truth.sum())
    return Measured(one.name, one.source, one.patient, bool(truth.any()), ap, dice, counts.astype(np.float64))


def choose(measured: Iterable[tuple[tuple[float, float], Measured]], *, max_detections: int) -> Choice:
    """Return the thresholds with the largest mean of Dice and AP, each averaged over sources."""
    by_setting: dict[tuple[float, float], list[Measured]] = {}
    for key, one in measured:
        by_setting.setdefault(key, []).append(one)
    best: tuple[float, tuple[float, float], int] | None = None
    for key, rows in by_setting.items():
        worth = _by_source(rows, lambda r: r.ap.mean(1)) + _by_source(rows, lambda r: r.dice)
        index = int(np.nanargmax(worth))
        if best is None or worth[index] > best[0]:
            best = float(worth[index]), key, index
    assert best is not None
    _, (nms, logit), index = best
    settings = DetectionSettings(
        score=float(SCORES[index]), nms_iou=nms, max_detections=max_detections, mask_threshold=logit
    )
    rows = by_setting[nms, logit]
    groups = {"all": rows} | {
        source: [r for r in rows if r.source == source] for source in sorted({r.source for r in rows})
    }
    return Choice(settings, {name: _summary(group, index) for name, group in groups.items()})


def _by_source(rows: Sequence[Measured], value: Any) -> FloatArray:
    """Return (T,) the mean over sources of the mean over their slices."""
    means = []
    for source in sorted({row.source for row in rows}):
        values = np.stack([value(row) for row in rows if row.source == source])
        if not np.isnan(values).all():
            means.append(np.nanmean(values[~np.isnan(values).all(1)], axis=0))
    mean: FloatArray = np.mean(means, axis=0).astype(np.float32)
    return mean


def _summary(rows: Sequence[Measured], index: int) -> dict[str, Any]:
    lesion = [row for row in rows if row.lesion]
    ap = np.mean([row.ap[index] for row in rows], axis=0)

    def rounded(value: float) -> float:
        return round(float(value), 4)

    summary: dict[str, Any] = {
        "images": len(rows),
        "negative_images": len(rows) - len(lesion),
        "patients": len({row.patient for row in rows}),
        "paper_map": rounded(ap.mean()),
        "paper_ap50": rounded(ap[0]),
        "paper_ap75": rounded(ap[5]),
    }
    if lesion:
        summary["paper_map_lesion_images"] = rounded(np.mean([row.ap[index].mean() for row in lesion]))
        summary["dice"] = rounded(np.mean([row.dice[index] for row in lesion]))
    if len(lesion) < len(rows):
        clean = [row.detections[index] == 0 for row in rows if not row.lesion]
        summary["negative_images_without_detection"] = rounded(np.mean(clean))
    return summary
