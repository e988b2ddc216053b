"""From evaluated slices to the numbers of a report: plain values ready for JSON and tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model_core.base.arrays import BoolArray, DoubleArray
from model_core.measure import coco
from model_core.measure.bootstrap import (
    Interval,
    group_means,
    macro_interval,
    ratio_interval,
)
from model_core.measure.calibration import fit_temperature, reliability
from model_core.measure.dice import Overlap, mean_dice
from model_core.measure.output import json_ready
from model_core.measure.segmentation import SWEEP, Measured, SliceOutcome

# Scores below this are so many that they would hide the rest of a reliability plot.
CALIBRATION_FLOOR = float(SWEEP[0])


# Metrics of slices: means over those where they say something, and what is divided by what (`values_at`).
_MEANS = ("paper_map", "paper_ap50", "paper_ap75", "paper_map_lesion_images", "dice")
_RATIOS = {
    "sensitivity": ("found", "lesions"),
    "false_positives_per_image": ("false", "one"),
    "negative_images_without_detection": ("silent", "negative"),
    "dice_of_all_pixels": ("twice_shared", "marked"),
}
# What curves over thresholds show, and reports with intervals.
_CURVES = ("paper_map", "paper_map_lesion_images", "dice", "sensitivity", "false_positives_per_image")
_REPORTED = (*_MEANS, "sensitivity", "false_positives_per_image")
_OF_GROUP = ("paper_map", "paper_ap50", "dice", "sensitivity", "false_positives_per_image")

# What counts of one slice, by name.
Values = dict[str, Any]


def values_at(row: Measured, index: int) -> Values:
    """Return what counts of a slice at one score threshold of `SWEEP`."""
    pixels = Overlap(int(row.predicted[index]), row.reference, int(row.shared[index]))
    ap, detections, right = row.ap[index], float(row.detections[index]), float(row.right[index])
    values = _values(ap, row.lesions, float(row.found[index]), detections, right, pixels)
    return {"source": row.source, "patient": row.patient, "lesion": row.lesion, **values}


def values_of(outcome: SliceOutcome) -> Values:
    """Return what counts of a slice at the reported thresholds."""
    detections = len(outcome.reported)
    right = detections - outcome.false_positives
    values = _values(outcome.ap, outcome.references, outcome.found, detections, right, outcome.pixels)
    return {"patient": outcome.patient, "lesion": outcome.has_lesion, **values}


def _values(
    ap: DoubleArray, lesions: int, found: float, detections: float, right: float, pixels: Overlap
) -> Values:
    has_lesion = pixels.reference > 0
    return {
        "paper_map": float(ap.mean()),
        "paper_ap50": float(ap[0]),
        "paper_ap75": float(ap[5]),
        # Without a reference that counts, AP is that of a lesion-free slice.
        "paper_map_lesion_images": float(ap.mean()) if lesions else float("nan"),
        "dice": pixels.dice if has_lesion else float("nan"),
        "found": found,
        "lesions": lesions,
        "false": detections - right,
        "one": 1.0,
        "silent": float(not has_lesion and detections == 0),
        "negative": float(not has_lesion),
        "twice_shared": 2.0 * pixels.shared,
        "marked": float(pixels.predicted + pixels.reference),
    }


def _column(rows: Sequence[Values], name: str) -> list[Any]:
    return [row[name] for row in rows]


def _parts(rows: Sequence[Values], name: str) -> tuple[list[Any], list[Any], list[str]]:
    """Return what a metric divides by what, slice by slice, and the patients of these slices."""
    above, below = _RATIOS.get(name, (name, "one"))
    known = rows if name in _RATIOS else [row for row in rows if not np.isnan(row[name])]
    return _column(known, above), _column(known, below), _column(known, "patient")


def metric(rows: Sequence[Values], name: str) -> Interval:
    """Return a metric of slices with its 95 % bootstrap interval over patients; NaN where it is undefined."""
    return ratio_interval(*_parts(rows, name))


def value(rows: Sequence[Values], name: str) -> float:
    """Return a metric alone."""
    above, below, _ = _parts(rows, name)
    return float(np.sum(above) / np.sum(below)) if any(below) else float("nan")


def summary(rows: Sequence[Values]) -> dict[str, Any]:
    """Return the metrics of slices, each with its 95 % bootstrap interval over patients, rounded.

    Means over slices, and, as ``..._by_patient``, means over patients of the means over their slices. A
    metric that says nothing of these slices is absent.
    """
    found: dict[str, Any] = {
        "images": len(rows),
        "negative_images": sum(not row["lesion"] for row in rows),
        "patients": len(set(_column(rows, "patient"))),
    }
    for name in (*_MEANS, *_RATIOS):
        above, below, patients = _parts(rows, name)
        # Marks on lesion-free slices alone have no Dice.
        if not any(below) or (name == "dice_of_all_pixels" and not any(_column(rows, "lesion"))):
            continue
        found[name] = ratio_interval(above, below, patients).rounded()
        if name in _MEANS:
            found[f"{name}_by_patient"] = macro_interval(above, patients).rounded()
    if lesions := sum(_column(rows, "lesions")):
        found["lesions"] = lesions
    return found


def headline(outcomes: Sequence[SliceOutcome], pooled: coco.CocoAP | None) -> dict[str, Any]:
    """Return the metrics that a report leads with; None where a metric is undefined.

    ``pooled`` is COCO's average precision (`coco_ap`).
    """
    rows = list(map(values_of, outcomes))
    leading = ("paper_map", "paper_ap50", "paper_ap75", "paper_map_lesion_images")
    return json_ready(
        {
            **{name: value(rows, name) for name in leading},
            "coco_map": pooled.mean if pooled else None,
            "dice": value(rows, "dice"),
            "images": len(rows),
            "negative_images": sum(not row["lesion"] for row in rows),
            "false_positives_per_image": value(rows, "false_positives_per_image"),
        }
    )


def coco_ap(outcomes: Sequence[SliceOutcome], *, classes: int) -> coco.CocoAP | None:
    """Return COCO's average precision, or None where pycocotools is absent."""
    images = [o.coco for o in outcomes if o.coco is not None]
    return coco.coco_average_precision(images, classes=classes) if len(images) == len(outcomes) else None


def details(
    outcomes: Sequence[SliceOutcome],
    class_names: Sequence[str],
    *,
    pooled: coco.CocoAP | None,
    sources: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return everything else: intervals over patients, per class, patient and source, curves, calibration.

    Parameters
    ----------
    pooled:
        COCO's average precision (`coco_ap`).
    sources:
        Source of each slice by name, or None where the data set names none.
    """
    rows = list(map(values_of, outcomes))
    patients = {name: _group(own) for name, own in _groups(rows, _column(rows, "patient")).items()}
    by_source = None
    if sources is not None:
        groups = _groups(rows, [sources[o.name] for o in outcomes])
        by_source = {name: _group(own) | {"intervals": _intervals(own)} for name, own in groups.items()}
    document = {
        "intervals": _intervals(rows),
        "mean_over_patients": _macro(patients),
        "mean_over_sources": None if by_source is None else _macro(by_source),
        "ap_by_iou": np.mean([o.ap for o in outcomes], axis=0).tolist(),
        "coco": None if pooled is None else _coco(pooled, class_names),
        "pixels": {
            "merged": _pixels([o.pixels for o in outcomes]),
            **{name: _pixels([o.class_pixels[k] for o in outcomes]) for k, name in enumerate(class_names)},
        },
        "lesions": {name: _lesions(outcomes, label) for label, name in enumerate(class_names, 1)},
        "negative_images_with_detections": sum(1 for o in outcomes if not o.has_lesion and len(o.reported)),
        "by_patient": patients,
        "by_source": by_source,
        "score_sweep": sweep(outcomes),
        "calibration": _calibration(outcomes),
        "seconds_per_slice": float(np.median([o.seconds for o in outcomes])),
    }
    return json_ready(document)


def _groups(rows: Sequence[Values], names: Sequence[str]) -> dict[str, list[Values]]:
    found: dict[str, list[Values]] = {name: [] for name in sorted(set(names))}
    for row, name in zip(rows, names, strict=True):
        found[name].append(row)
    return found


def _coco(pooled: coco.CocoAP, class_names: Sequence[str]) -> dict[str, Any]:
    return {
        "map": pooled.mean,
        "ap50": pooled.ap50,
        "ap75": pooled.ap75,
        "map_by_class": dict(zip(class_names, pooled.by_class, strict=True)),
    }


def _intervals(rows: Sequence[Values]) -> dict[str, Any]:
    return {name: dataclasses.asdict(metric(rows, name)) for name in _REPORTED}


def _group(rows: Sequence[Values]) -> dict[str, Any]:
    return {
        "images": len(rows),
        "negative_images": sum(not row["lesion"] for row in rows),
        "lesions": sum(_column(rows, "lesions")),
        **{name: value(rows, name) for name in _OF_GROUP},
    }


def _pixels(overlaps: Sequence[Overlap]) -> dict[str, float]:
    total = sum(overlaps, Overlap(0, 0, 0))
    return {
        "dice_mean_over_lesion_images": mean_dice(overlaps),
        "dice_of_all_pixels": total.dice,
        "precision_of_all_pixels": total.precision,
        "recall_of_all_pixels": total.recall,
        "lesion_images": sum(1 for o in overlaps if o.reference),
    }


def sweep(outcomes: Sequence[SliceOutcome]) -> dict[str, list[float]]:
    """Return the metrics at each score threshold of `SWEEP`, other thresholds unchanged.

    A threshold chosen here must be chosen on other patients than those it is then reported on.
    """
    steps = [[values_at(o.sweep, step) for o in outcomes] for step in range(len(SWEEP))]
    curves = {name: [value(rows, name) for rows in steps] for name in _CURVES}
    return {"score_threshold": SWEEP.tolist(), **curves}


def scored_hits(slices: Sequence[Measured]) -> tuple[DoubleArray, BoolArray]:
    """Return the scores (P,) of all single detections of these slices, and whether each finds a lesion."""
    scores = np.concatenate([np.asarray(one.scores, np.float64) for one in slices] or [np.zeros(0)])
    return scores, np.concatenate([one.hits for one in slices] or [np.zeros(0, bool)])


def _calibration(outcomes: Sequence[SliceOutcome]) -> dict[str, Any]:
    scores, right = scored_hits([o.sweep for o in outcomes])
    value = reliability(scores, right)
    return {
        "edges": value.edges.tolist(),
        "counts": value.counts.tolist(),
        "mean_score": value.mean_score.tolist(),
        "share_right": value.share_right.tolist(),
        "ece": value.ece,
        "temperature": fit_temperature(scores, right),
    }


def _lesions(outcomes: Sequence[SliceOutcome], label: int) -> dict[str, Any]:
    """Count lesions and detections of one class."""
    lesions = found = detections = right = 0
    for outcome in outcomes:
        reported = outcome.reported
        own = reported.reference_labels == label
        lesions += int(own.sum())
        found += int((reported.found()[own] >= 0).sum())
        shown = reported.labels == label
        detections += int(shown.sum())
        right += int(reported.hits()[shown].sum())
    return {
        "lesions": lesions,
        "found": found,
        "sensitivity": found / lesions if lesions else None,
        "detections": detections,
        "ppv": right / detections if detections else None,
        "false_positives_per_image": (detections - right) / len(outcomes),
    }


def _macro(groups: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the mean over groups that have a value."""
    means = {}
    for key in _OF_GROUP:
        values = [row[key] for row in groups.values() if not np.isnan(row[key])]
        means[key] = float(np.mean(values)) if values else float("nan")
    return means


def reason(outcome: SliceOutcome) -> str:
    """Say in a few words what went wrong with a slice."""
    pixels = outcome.pixels
    if not outcome.has_lesion:
        count = len(outcome.reported)
        false = f"{count} false detection{'s' if count > 1 else ''} on a slice without lesion"
        return false if count else "right"
    if not len(outcome.reported):
        # Small ones are no lesions in the papers: for AP, nothing is wrong.
        return "lesion missed: nothing detected" if outcome.counts else "lesions too small for AP missed"
    if not pixels.shared:
        return "detections do not touch the lesion"
    if pixels.recall < 0.5 <= pixels.precision:
        return f"lesion covered in part ({pixels.recall:.0%} of its pixels)"
    if pixels.precision < 0.5 <= pixels.recall:
        return f"marked too much ({1 - pixels.precision:.0%} of the marked pixels are no lesion)"
    if pixels.dice < 0.7:
        return f"outline differs ({pixels.recall:.0%} covered, {1 - pixels.precision:.0%} wrongly marked)"
    if outcome.ap.mean() < 0.3:
        return "pixels agree, but they are divided into other objects"
    return "small differences"


def worst(outcomes: Sequence[SliceOutcome], *, limit: int = 12) -> list[SliceOutcome]:
    """Return the worst slices: lowest Dice, false alarms on lesion-free slices as 0, larger errors first."""

    def key(outcome: SliceOutcome) -> tuple[float, int]:
        pixels = outcome.pixels
        dice = pixels.dice if outcome.has_lesion or len(outcome.reported) else 1.0
        return (0.0 if np.isnan(dice) else dice, -(pixels.predicted + pixels.reference - 2 * pixels.shared))

    ranked = sorted(outcomes, key=key)
    return [o for o in ranked if o.has_lesion or len(o.reported)][:limit]


def patient_means(outcomes: Sequence[SliceOutcome]) -> dict[str, float]:
    """Return the mean Dice of each patient over slices with a lesion."""
    rows = list(map(values_of, outcomes))
    return group_means(_column(rows, "dice"), _column(rows, "patient"))
