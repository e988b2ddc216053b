"""What a cross-validation comes to: per fold, source and patient, with intervals over patients."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model_core.base.errors import DataError
from model_core.engine import calibrated
from model_core.measure import thresholds
from model_core.measure.bootstrap import rounded
from model_core.measure.calibration import reliability
from model_core.measure.segmentation import SWEEP, Measured
from model_core.measure.segmentation_summary import scored_hits, summary, values_at
from model_core.measure.thresholds import Setting, best_threshold, score_temperature
from model_core.report.document import Document, cell, table

NOTE = (
    "Every slice was measured by a network that was not trained on its patient, at thresholds and a "
    "temperature chosen on the other folds. Similarity groups stand for patients where these are unknown "
    "(slice-level). The schedule is shorter than that of the shipped weights; each network is used as they "
    "are (touching detections joined)."
)


@dataclass(frozen=True, eq=False)
class FoldRows:
    """The measured slices of a fold by (NMS IoU, mask logit); COCO's AP, AP50 and AP75, or None."""

    by_setting: Mapping[Setting, Sequence[Measured]]
    coco: tuple[float, ...] | None


def report(
    recipe: str, folds: Sequence[FoldRows], *, seed: int, size: int, stages: Sequence[Any]
) -> dict[str, Any]:
    """Return all numbers of a cross-validation as plain values; by ``stages`` each fold was trained."""
    slices: list[dict[str, Any]] = []
    by_fold = []
    for number, fold in enumerate(folds):
        others = [other for k, other in enumerate(folds) if k != number]
        pooled = {key: [row for o in others for row in o.by_setting[key]] for key in fold.by_setting}
        setting, index = best_threshold(pooled)
        own = [values_at(row, index) | {"fold": number + 1} for row in fold.by_setting[setting]]
        slices += own
        by_fold.append(
            {
                "fold": number + 1,
                "nms_iou": setting[0],
                "mask_logit": setting[1],
                "score": float(SWEEP[index]),
                "coco_ap": None if fold.coco is None else [rounded(value) for value in fold.coco],
                "calibration": _calibration(pooled[setting], fold.by_setting[setting]),
                **summary(own),
            }
        )
    sources = sorted({one["source"] for one in slices})
    return {
        "note": NOTE,
        "recipe": recipe,
        "seed": seed,
        "size": size,
        "stages": [dataclasses.asdict(stage) for stage in stages],
        "all": summary(slices),
        "coco_ap": _mean_coco(folds),
        "sources": {name: summary([s for s in slices if s["source"] == name]) for name in sources},
        "folds": by_fold,
        "patients": {
            f"{next(s['source'] for s in slices if s['patient'] == name)}/{name}": {
                "fold": next(s["fold"] for s in slices if s["patient"] == name),
                "images": sum(s["patient"] == name for s in slices),
                "paper_map": _of_patient(slices, name, "paper_map"),
                "dice": _of_patient(slices, name, "dice"),
            }
            for name in sorted({s["patient"] for s in slices if s["lesion"]})
        },
    }


def _of_patient(slices: Sequence[Mapping[str, Any]], patient: str, name: str) -> float | None:
    values = [one[name] for one in slices if one["patient"] == patient and not np.isnan(one[name])]
    return rounded(float(np.mean(values))) if values else None


def _mean_coco(folds: Sequence[FoldRows]) -> list[float | None] | None:
    """Return COCO's AP, AP50, AP75 as means over folds: scores of different networks are not pooled."""
    known = [fold.coco for fold in folds if fold.coco is not None]
    return [rounded(float(np.nanmean(column))) for column in zip(*known, strict=True)] if known else None


def _calibration(others: Sequence[Measured], own: Sequence[Measured]) -> dict[str, Any]:
    """Return the temperature fitted on other folds, and the error of this fold's scores without and with."""
    temperature = score_temperature(others)
    scores, right = scored_hits(own)
    divided = calibrated(scores, temperature)
    return {
        "temperature": rounded(temperature),
        "ece_before": rounded(reliability(scores, right).ece),
        "ece_after": rounded(reliability(divided, right).ece),
    }


# -------------------------------------------------------------------------------------- in a card


def read_report(path: Path, *, recipe: str) -> dict[str, Any]:
    """Read ``cross-validation.json`` of a recipe.

    Raises
    ------
    DataError
        If it cannot be read, is damaged, or is of another recipe.
    """
    try:
        values = json.loads(path.read_text("utf-8"))
        known = values["recipe"]
        for_card(values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path.name} is no report of a cross-validation.", details=str(error)) from error
    if known != recipe:
        raise DataError(f"{path.name} is of the recipe '{known}', not of '{recipe}'.")
    return dict(values)


def for_card(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a model card quotes of a report: all slices and each source, with intervals."""
    found: dict[str, Any] = {
        "note": values["note"],
        "folds": len(values["folds"]),
        "size": values["size"],
        "schedule": schedule(values["stages"]),
    }
    if values["coco_ap"] is not None:
        found["coco_ap_ap50_ap75"] = values["coco_ap"]
    summaries = {"all": values["all"], **values["sources"]}
    return found | {name: thresholds.for_card(summed) for name, summed in summaries.items()}


# ------------------------------------------------------------------------------------------ as text


_COLUMNS = {
    "patients": "patients",
    "slices": "images",
    "paper mAP": "paper_map",
    "AP50": "paper_ap50",
    "AP75": "paper_ap75",
    "mAP, lesion slices": "paper_map_lesion_images",
    "Dice": "dice",
    "Dice by patient": "dice_by_patient",
    "mAP by patient": "paper_map_by_patient",
    "sensitivity": "sensitivity",
    "false per slice": "false_positives_per_image",
    "silent on lesion-free": "negative_images_without_detection",
}
_THRESHOLDS = {
    "score": "score",
    "NMS IoU": "nms_iou",
    "mask logit": "mask_logit",
    "temperature": "temperature",
    "ECE before": "ece_before",
    "ECE after": "ece_after",
}
_PATIENTS = {"fold": "fold", "slices": "images", "paper mAP": "paper_map", "Dice": "dice"}


def markdown(values: Mapping[str, Any]) -> str:
    """Return the report as Markdown."""
    # A measure that says nothing of these slices is absent.
    absent = dict.fromkeys(_COLUMNS.values())
    sources = {name: absent | row for name, row in {"all": values["all"], **values["sources"]}.items()}
    folds = {str(row["fold"]): absent | row["calibration"] | row for row in values["folds"]}
    plain = {
        name: {key: without_interval(value) for key, value in row.items()} for name, row in folds.items()
    }
    opening = [
        values["note"],
        f"Schedule of each fold (seed {values['seed']}): {schedule(values['stages'])}.",
    ]
    if values["coco_ap"] is not None:
        mean, at50, at75 = map(cell, values["coco_ap"])
        opening.append(f"COCO AP {mean}, AP50 {at50}, AP75 {at75} (mean of the folds).")
    document = Document(
        f"Cross-validation of {values['recipe']}: {len(folds)} folds by patient at {values['size']} px",
        opening,
        {
            "All and by source (95 % bootstrap intervals over patients)": [
                table("Source", _COLUMNS, sources)
            ],
            "By fold": [table("Fold", _COLUMNS, plain), table("Fold", _THRESHOLDS, plain)],
            "By patient (with lesions)": [table("Patient or group", _PATIENTS, values["patients"])],
        },
    )
    return document.markdown()


def without_interval(value: Any) -> Any:
    """Return a measure alone."""
    return value["value"] if isinstance(value, Mapping) and "value" in value else value


def schedule(stages: Sequence[Mapping[str, Any]]) -> str:
    """Return the stages of a fold as a line of text."""

    def words(stage: Mapping[str, Any]) -> str:
        drawn = f"{stage['batch']} slices each at {stage['size']} px"
        return f"{stage['steps']} {stage['kind']} steps, {drawn}"

    return "; ".join(map(words, stages))
