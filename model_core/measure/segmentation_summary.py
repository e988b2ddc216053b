"""From evaluated slices to the numbers of a report: plain values ready for JSON and tables."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from model_core.base.arrays import BoolArray, DoubleArray
from model_core.measure import coco
from model_core.measure.average_precision import summarise_ap
from model_core.measure.bootstrap import group_means, mean_interval, ratio_interval
from model_core.measure.calibration import fit_temperature, reliability
from model_core.measure.dice import Overlap, lesion_dice, mean_dice
from model_core.measure.output import json_ready
from model_core.measure.segmentation import SWEEP, Measured, SliceOutcome

# Scores below this are so many that they would hide the rest of a reliability plot.
CALIBRATION_FLOOR = float(SWEEP[0])


def headline(outcomes: Sequence[SliceOutcome], pooled: coco.CocoAP | None) -> dict[str, Any]:
    """Return the metrics that a report leads with; None where a metric is undefined.

    ``pooled`` is COCO's average precision (`coco_ap`).
    """
    per_image = np.array([o.ap for o in outcomes])
    lesion = np.array([o.has_lesion for o in outcomes], bool)
    counts = np.array([o.counts for o in outcomes], bool)
    paper = summarise_ap(per_image)
    return json_ready(
        {
            "paper_map": paper.mean,
            "paper_ap50": paper.ap50,
            "paper_ap75": paper.ap75,
            "paper_map_lesion_images": summarise_ap(per_image[counts]).mean,
            "coco_map": pooled.mean if pooled else None,
            "dice": mean_dice([o.pixels for o in outcomes]),
            "images": len(outcomes),
            "negative_images": int((~lesion).sum()),
            "false_positives_per_image": sum(o.false_positives for o in outcomes) / len(outcomes),
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
    patients = _groups(outcomes, [o.patient for o in outcomes])
    by_source = None
    if sources is not None:
        names = [sources[o.name] for o in outcomes]
        by_source = _groups(outcomes, names)
        for source, row in by_source.items():
            own = [o for o, name in zip(outcomes, names, strict=True) if name == source]
            row["intervals"] = intervals(own)
    document = {
        "intervals": intervals(outcomes),
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


def _groups(outcomes: Sequence[SliceOutcome], names: Sequence[str]) -> dict[str, dict[str, Any]]:
    pairs = list(zip(outcomes, names, strict=True))
    return {group: _group([o for o, name in pairs if name == group]) for group in sorted(set(names))}


def _coco(pooled: coco.CocoAP, class_names: Sequence[str]) -> dict[str, Any]:
    return {
        "map": pooled.mean,
        "ap50": pooled.ap50,
        "ap75": pooled.ap75,
        "map_by_class": dict(zip(class_names, pooled.by_class, strict=True)),
    }


def intervals(outcomes: Sequence[SliceOutcome]) -> dict[str, Any]:
    """Return each metric with its 95 % bootstrap interval over patients."""
    patients = [o.patient for o in outcomes]
    lesion = [o for o in outcomes if o.has_lesion]
    lesion_patients = [o.patient for o in lesion]
    counting = [o for o in outcomes if o.counts]
    per_image = np.array([o.ap for o in outcomes])
    found = [o.found for o in outcomes]
    false = [o.false_positives for o in outcomes]
    measured = {
        "paper_map": mean_interval(per_image.mean(axis=1), patients),
        "paper_ap50": mean_interval(per_image[:, 0], patients),
        "paper_ap75": mean_interval(per_image[:, 5], patients),
        "paper_map_lesion_images": mean_interval(
            [o.ap.mean() for o in counting], [o.patient for o in counting]
        ),
        "dice": mean_interval(lesion_dice([o.pixels for o in outcomes]), lesion_patients),
        "sensitivity": ratio_interval(found, [o.references for o in outcomes], patients),
        "false_positives_per_image": mean_interval(false, patients),
    }
    return {name: dataclasses.asdict(value) for name, value in measured.items()}


def _dice(outcomes: Sequence[SliceOutcome]) -> list[float]:
    """Dice of each slice; NaN where it has no lesion."""
    return [o.pixels.dice if o.has_lesion else float("nan") for o in outcomes]


def _group(outcomes: Sequence[SliceOutcome]) -> dict[str, Any]:
    per_image = np.array([o.ap for o in outcomes])
    lesions = sum(o.references for o in outcomes)
    found = sum(o.found for o in outcomes)
    return {
        "images": len(outcomes),
        "negative_images": sum(1 for o in outcomes if not o.has_lesion),
        "paper_map": summarise_ap(per_image).mean,
        "paper_ap50": summarise_ap(per_image).ap50,
        "dice": mean_dice([o.pixels for o in outcomes]),
        "lesions": lesions,
        "sensitivity": found / lesions if lesions else None,
        "false_positives_per_image": sum(o.false_positives for o in outcomes) / len(outcomes),
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
    columns: dict[str, list[float]] = {
        key: []
        for key in (
            "paper_map",
            "paper_map_lesion_images",
            "dice",
            "sensitivity",
            "false_positives_per_image",
        )
    }
    counts = np.array([o.counts for o in outcomes], bool)
    lesions = sum(o.references for o in outcomes)
    points = [o.sweep for o in outcomes]
    for step in range(len(SWEEP)):
        per_image = np.array([point.ap[step] for point in points])
        dice = [point.dice[step] for point in points if point.reference]
        columns["paper_map"].append(summarise_ap(per_image).mean)
        columns["paper_map_lesion_images"].append(summarise_ap(per_image[counts]).mean)
        columns["dice"].append(float(np.mean(dice)) if dice else float("nan"))
        columns["sensitivity"].append(
            sum(p.found[step] for p in points) / lesions if lesions else float("nan")
        )
        false = sum(point.detections[step] - point.right[step] for point in points)
        columns["false_positives_per_image"].append(false / len(outcomes))
    return {"score_threshold": SWEEP.tolist(), **columns}


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
    for key in ("paper_map", "paper_ap50", "dice", "sensitivity", "false_positives_per_image"):
        values = [row[key] for row in groups.values() if row[key] is not None and not np.isnan(row[key])]
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
    return group_means(_dice(outcomes), [o.patient for o in outcomes])
