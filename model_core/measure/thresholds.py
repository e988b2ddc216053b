"""Default thresholds of a detector, chosen on held-out patients, and what it reaches there."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from model_core.base.arrays import DoubleArray, FloatArray
from model_core.base.errors import DataError
from model_core.base.jobs import Progress
from model_core.base.settings import DetectionSettings
from model_core.engine import Pipeline, calibrated
from model_core.measure.bootstrap import quoted
from model_core.measure.calibration import fit_temperature, reliability
from model_core.measure.coco import CocoImage
from model_core.measure.segmentation import (
    SWEEP,
    MaskType,
    Measured,
    ReferenceSlice,
    SegmentationSettings,
    measure_slices,
)
from model_core.measure.segmentation_summary import Values, scored_hits, summary, values_at

Setting = tuple[float, float]  # NMS IoU, mask logit
NMS_IOUS = (0.3, 0.5, 0.7)
MASK_LOGITS = (-0.5, 0.0)
# Sums of Dice and AP that differ by less are the same on so few patients.
AS_GOOD = 0.015
# What COCO's average precision is measured at, which has no score threshold.
COCO_SETTING = (0.3, 0.0)
# Candidates below the lowest score are never looked at; more than this many are not shown.
_LIMIT = 60
NO_LESION = (
    "Thresholds are chosen on slices with lesions, and none of those held out has any. Hold out other "
    "patients, or more of them."
)
# Left to reports: a card is to be read.
_NOT_QUOTED = ("paper_ap50_by_patient", "paper_ap75_by_patient", "paper_map_lesion_images_by_patient")
# Fewer right, or fewer wrong, detections give no temperature.
_ENOUGH = 20


@dataclass(frozen=True)
class Choice:
    """The thresholds that were best, and the metrics there: overall and by source.

    ``settings`` are on the scale of calibrated scores: their threshold passes the same detections as the one
    that was chosen on the network's scores.
    """

    settings: DetectionSettings
    metrics: dict[str, Any] = field(default_factory=dict)


class SourcedSlice(ReferenceSlice, Protocol):
    """A slice that knows its data set."""

    @property
    def source(self) -> str:
        """Name of the data set."""


def measure(
    pipeline: Pipeline,
    slices: Sequence[SourcedSlice],
    *,
    mask_type: MaskType = "merge",
    coco: list[CocoImage] | None = None,
) -> Generator[Progress | tuple[Setting, Measured], None, None]:
    """Run the detector once per slice and yield ((NMS IoU, mask logit), metrics) for every combination.

    Touching detections are one lesion, as the weights show them. ``coco`` gets one image per slice, of the
    detections at `COCO_SETTING`.
    """
    grid = {
        (nms, logit): SegmentationSettings(
            mask_type=mask_type,
            detections=DetectionSettings(
                score=float(SWEEP[0]),
                nms_iou=nms,
                max_detections=_LIMIT,
                mask_threshold=logit,
                join_touching=True,
            ),
            coco=coco is not None and (nms, logit) == COCO_SETTING,
        )
        for nms in NMS_IOUS
        for logit in MASK_LOGITS
    }
    waiting = iter(slices)
    for item in measure_slices(pipeline, slices, list(grid.values())):
        if isinstance(item, Progress):
            yield item
            continue
        source = next(waiting).source
        for setting, outcome in zip(grid, item, strict=True):
            if coco is not None and outcome.coco is not None:
                coco.append(outcome.coco)
            yield setting, dataclasses.replace(outcome.sweep, source=source)


def choose(measured: Iterable[tuple[Setting, Measured]], *, max_detections: int) -> Choice:
    """Return the thresholds with the largest mean of Dice and AP, each averaged over sources.

    Of settings that are as good (`AS_GOOD`) the one with the highest score is taken, because most slices of a
    scan have no lesion and most held-out slices have one, so that false detections weigh too little in both
    measures; of several with that score the best. The metrics of ``all`` are of the sources with lesions;
    those without count in the choice, and have metrics of their own.
    """
    by_setting: dict[Setting, list[Measured]] = {}
    for key, one in measured:
        by_setting.setdefault(key, []).append(one)
    (nms, logit), index = best_threshold(by_setting)
    rows = by_setting[nms, logit]
    temperature = score_temperature(rows)
    settings = DetectionSettings(
        # Four digits: what passes is the same for all but scores equal to the threshold.
        score=round(float(calibrated(np.array(SWEEP[index]), temperature)), 4),
        nms_iou=nms,
        max_detections=max_detections,
        mask_threshold=logit,
        temperature=temperature,
        join_touching=True,
    )
    # Beside them, whole sources of lesion-free slices would make the papers' AP a matter of their number.
    outlined = {row.source for row in rows if row.lesion}
    chosen = [values_at(row, index) for row in rows]

    def metrics_of(slices: Sequence[Values], sources: set[str]) -> dict[str, Any]:
        return for_card(summary([one for one in slices if one["source"] in sources]))

    metrics: dict[str, Any] = {"all": metrics_of(chosen, outlined)} | {
        source: metrics_of(chosen, {source}) for source in sorted({row.source for row in rows})
    }
    if others := at_thresholds_of_others(by_setting):
        metrics["thresholds_of_others"] = metrics_of(others, outlined)
    metrics["calibration"] = _calibration(rows, temperature)
    return Choice(settings, metrics)


def best_threshold(
    by_setting: Mapping[Setting, Sequence[Measured]],
) -> tuple[Setting, int]:
    """Return the (NMS IoU, mask logit) and the index into `SWEEP` that are best, see `choose`.

    Raises
    ------
    DataError
        If no slice has a lesion.
    """
    if not any(row.lesion for rows in by_setting.values() for row in rows):
        raise DataError(NO_LESION)
    worth = {
        key: _by_source(rows, lambda r: r.ap.mean(1)) + _by_source(rows, lambda r: r.dice)
        for key, rows in by_setting.items()
    }
    enough = max(float(np.nanmax(values)) for values in worth.values()) - AS_GOOD
    good = [
        (int(index), float(values[index]), key)
        for key, values in worth.items()
        for index in np.flatnonzero(values >= enough)
    ]
    index, _, setting = max(good)
    return setting, index


def at_thresholds_of_others(
    by_setting: Mapping[Setting, Sequence[Measured]],
) -> list[Values]:
    """Return the values of each slice at the one threshold that is best on the slices of all other patients.

    Thresholds chosen on the slices that they are measured on look better than they are; these do not. Empty
    where not even two patients have lesions.
    """
    rows = next(iter(by_setting.values()))
    if len({row.patient for row in rows if row.lesion}) < 2:
        return []
    found = []
    for patient in dict.fromkeys(row.patient for row in rows):
        others = {
            key: [row for row in measured if row.patient != patient] for key, measured in by_setting.items()
        }
        setting, index = best_threshold(others)
        found += [values_at(row, index) for row in by_setting[setting] if row.patient == patient]
    return found


def score_temperature(rows: Sequence[Measured]) -> float:
    """Return the temperature that calibrates the scores; 1 where too few detections say anything."""
    scores, right = scored_hits(rows)
    if min(int(right.sum()), int((~right).sum())) < _ENOUGH:
        return 1.0
    fitted = fit_temperature(scores, right)
    return 1.0 if np.isnan(fitted) else round(float(fitted), 3)


def _calibration(rows: Sequence[Measured], temperature: float) -> dict[str, Any]:
    """Return expected calibration errors before and after, of detections above the lowest score."""
    scores, right = scored_hits(rows)

    def error(values: DoubleArray) -> float | None:
        ece = reliability(values, right).ece
        return None if np.isnan(ece) else round(ece, 4)

    return {
        "temperature": temperature,
        "detections": len(scores),
        "ece_before": error(scores),
        "ece_after": error(calibrated(scores, temperature)),
    }


def _by_source(rows: Sequence[Measured], value: Any) -> FloatArray:
    """Return (T,) the mean over sources of the mean over their slices."""
    means = []
    for source in sorted({row.source for row in rows}):
        values = np.stack([value(row) for row in rows if row.source == source])
        if not np.isnan(values).all():
            means.append(np.nanmean(values[~np.isnan(values).all(1)], axis=0))
    mean: FloatArray = np.mean(means, axis=0).astype(np.float32)
    return mean


def for_card(summed: Mapping[str, Any]) -> dict[str, Any]:
    """Return a `summary` as a card quotes it: numbers, and intervals where known."""
    flat: dict[str, Any] = {}
    for key, value in summed.items():
        if key not in _NOT_QUOTED:
            flat |= quoted(key, value) if isinstance(value, Mapping) else {key: value}
    return flat
