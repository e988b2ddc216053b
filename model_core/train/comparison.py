"""Which anchors, which augmentation: variants of a recipe, cross-validated on the same folds of patients.

Every variant is trained and measured by `cross_validation`, on the same folds and from the same seed, so that
what each patient's slices gain or lose can be told: the intervals are of these differences.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from model_core.base.errors import DataError
from model_core.base.jobs import Progress
from model_core.measure.bootstrap import mean_interval
from model_core.measure.document import Document, cell, table
from model_core.train.cross_validation import RESULT as OF_ONE
from model_core.train.cross_validation import CrossValidation, cross_validate, write_text
from model_core.train.cross_validation_report import schedule, without_interval
from model_core.train.packing import PackedSlice
from model_core.train.recipe import AS_IT_IS, Recipe

RESULT, TEXT = "comparison.json", "comparison.md"
NOTE = (
    "Each variant is trained and measured on the same folds by patient, from the same seed; anchors are "
    "scaled with the picture. A difference is the mean over patients with lesions (each counts the same) of "
    "the variant less the recipe as it is, with its 95 % bootstrap interval over patients. It holds for this "
    "short schedule and one seed."
)
_DIFFERENCES = {"paper_map": "difference in mAP", "dice": "difference in Dice"}
_SHOWN = {
    "paper mAP": "paper_map",
    "mAP, lesion slices": "paper_map_lesion_images",
    "Dice": "dice",
    "sensitivity": "sensitivity",
    "false per slice": "false_positives_per_image",
    "silent on lesion-free": "negative_images_without_detection",
}


def compare(
    recipe: Recipe,
    slices: Sequence[PackedSlice],
    work: Path,
    settings: CrossValidation,
    *,
    only: str = "",
    stopped: Callable[[], bool] = lambda: False,
) -> Generator[Progress | Path, None, None]:
    """Cross-validate the recipe and its variants, and write how they differ once all are there.

    Parameters
    ----------
    work:
        Folder of the comparison; each variant has a folder of its own in it, and at the end it gets
        ``comparison.json`` and ``comparison.md``.
    only:
        One variant, or ``as-it-is``; empty does all, and then compares.

    Yields `Progress` and the path of each file that was written.

    Raises
    ------
    SettingsError
        If the recipe has no variants, or not this one, or the folds, the size or the device are not possible.
    DataError
        If ``work`` belongs to other settings or is damaged.
    ExportError
        If a file cannot be written.
    """
    plain = {AS_IT_IS: recipe, **{name: recipe.variant(name) for name in recipe.variants}}
    factor = settings.size / recipe.stages[-1].size
    variants = {name: _scaled(one, factor) for name, one in plain.items()}
    if len(variants) == 1 or (only and only not in variants):
        recipe.variant(only)  # says which there are
    for name, one in variants.items():
        if only and name != only:
            continue
        for item in cross_validate(one, slices, work / name, settings, stopped=stopped):
            if isinstance(item, Progress):
                item = dataclasses.replace(item, text=f"{name}: {item.text}")
            yield item
        if stopped():
            return
    if not only:  # each report was just written anew, of folds that belong to these settings
        values = comparison(recipe.name, {name: _read(work / name / OF_ONE) for name in variants})
        yield write_text(work / RESULT, json.dumps(values, indent=1) + "\n")
        yield write_text(work / TEXT, _markdown(values))


def _scaled(recipe: Recipe, factor: float) -> Recipe:
    """Return the recipe with anchors for pictures that are larger by this factor."""
    sizes = tuple(max(1, round(one * factor)) for one in recipe.architecture.anchor_sizes)
    return dataclasses.replace(
        recipe, architecture=dataclasses.replace(recipe.architecture, anchor_sizes=sizes)
    )


def comparison(name: str, reports: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the measures of each variant, and its differences from the recipe as it is.

    ``reports`` are those of `cross_validation_report.report`, `AS_IT_IS` among them.
    """
    base = reports[AS_IT_IS]
    return {
        "note": NOTE,
        "recipe": name,
        "folds": len(base["folds"]),
        "size": base["size"],
        "schedule": schedule(base["stages"]),
        "images": base["all"]["images"],
        "patients": base["all"]["patients"],
        "variants": {
            variant: {
                **{key: report["all"].get(key) for key in _SHOWN.values()},
                "differences": {key: _difference(base, report, key) for key in _DIFFERENCES},
            }
            for variant, report in reports.items()
        },
    }


def _difference(base: Mapping[str, Any], report: Mapping[str, Any], key: str) -> dict[str, float | None]:
    """Return the mean difference over patients and its interval."""
    before, after = base["patients"], report["patients"]
    both = [name for name in before if name in after and before[name][key] is not None]
    changes = {name: after[name][key] - before[name][key] for name in both if after[name][key] is not None}
    interval = mean_interval(list(changes.values()), list(changes))
    return {**interval.rounded(), "patients": len(changes)}


def _read(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{path.parent.name}/{path.name} is damaged; delete it.", details=str(error)
        ) from error
    return values


def _markdown(values: Mapping[str, Any]) -> str:
    rows: dict[str, dict[str, Any]] = {}
    for name, row in values["variants"].items():
        rows[name] = {title: without_interval(row[key]) for title, key in _SHOWN.items()}
        for key, title in _DIFFERENCES.items():
            change = row["differences"][key]
            known = change["low"] is not None
            rows[name][title] = cell(change if known else None, sign="+") if name != AS_IT_IS else ""
    titles = [*_SHOWN, *_DIFFERENCES.values()]
    document = Document(
        f"Variants of {values['recipe']}: {values['folds']} folds by patient at {values['size']} px",
        [
            values["note"],
            f"{values['images']} slices of {values['patients']} patients and groups.",
            f"Schedule of each fold: {values['schedule']}.",
        ],
        {"Measures": [table("Variant", {title: title for title in titles}, rows)]},
    )
    return document.markdown()
