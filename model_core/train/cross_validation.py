"""Cross-validation of a recipe by patient: train and measure each fold, resumable, then one report.

Thresholds and temperature of a fold come from the held-out slices of the *other* folds, so that no slice is
measured with thresholds chosen on it.
"""

from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from model_core.base import files
from model_core.base.errors import DataError, SettingsError
from model_core.base.jobs import Progress
from model_core.measure import coco
from model_core.measure.cross_validation_report import FoldRows, markdown, report
from model_core.measure.segmentation import SWEEP, Measured
from model_core.measure.thresholds import MASK_LOGITS, NMS_IOUS, measure
from model_core.train.drawing import mask_type
from model_core.train.folds import fold_recipe, held_slices, patient_folds
from model_core.train.lesion import LesionTraining
from model_core.train.loop import CHECKPOINT
from model_core.train.packing import PackedSlice
from model_core.train.recipe import CROSS_VALIDATION, Recipe
from model_core.train.shipping import lesion_pipeline, thinned

logger = logging.getLogger(__name__)

RESULT, TEXT, SCHEDULE = "cross-validation.json", "cross-validation.md", "schedule.json"
_ARRAYS = ("ap", "detections", "found", "right", "predicted", "shared", "scores", "hits")


@dataclass(frozen=True, kw_only=True)
class CrossValidation:
    """What is done.

    Attributes
    ----------
    size:
        Side of the network's input, in training and in measuring.
    stride:
        Measure every stride-th slice of a held-out patient with more than ten.
    plan:
        Plan of the recipe that trains each fold.
    """

    folds: int = 5
    size: int = 384
    stride: int = 1
    plan: str = CROSS_VALIDATION
    device: str = "cpu"
    workers: int | None = None


def cross_validate(
    recipe: Recipe,
    slices: Sequence[PackedSlice],
    work: Path,
    settings: CrossValidation,
    *,
    only: int | None = None,
    max_steps: int | None = None,
) -> Generator[Progress | Path, None, None]:
    """Train and measure the folds that are missing in ``work``, and write the report once all are there.

    Closed in between, it goes on from there when it is called again; what was measured of a fold is measured
    anew.

    Parameters
    ----------
    work:
        Folder of this cross-validation; gets ``foldK/`` and ``foldK.json``, and at the end
        ``cross-validation.json`` and ``.md``. ``foldK/schedule.json`` tells by what the fold is trained.
    only:
        Number of one fold from 0; None does all.
    max_steps:
        Stop after so many further training steps.

    Yields `Progress` and the path of each file that was written.

    Raises
    ------
    SettingsError
        If the folds, the size or the device are not possible, or only one fold has lesions.
    DataError
        If ``work`` belongs to other settings or is damaged.
    ExportError
        If a file cannot be written.
    """
    slices = [one for one in slices if one.outlined]
    fold_of = patient_folds(slices, settings.folds, seed=recipe.seed)
    if len({fold_of[one.patient] for one in slices if one.lesion.any()}) < 2:
        raise SettingsError(
            "All slices with lesions are in one fold, so nothing is left to choose thresholds on. Take other "
            "sources or more folds."
        )
    recipes = [
        fold_recipe(recipe, fold_of, k, size=settings.size, plan=settings.plan) for k in range(settings.folds)
    ]
    left = max_steps
    for number, one in enumerate(recipes):
        path = work / f"fold{number + 1}.json"
        if (only is not None and number != only) or path.is_file():
            continue
        mine = held_slices(one, slices)
        _claim(work / f"fold{number + 1}", one)
        training = LesionTraining(
            one,
            mine,
            work / f"fold{number + 1}",
            device=settings.device,
            workers=settings.workers,
        )
        title = f"fold {number + 1} of {settings.folds}"
        before = training.steps_done()[0]
        with closing(training.run(max_steps=left)) as job:
            for item in job:
                if isinstance(item, Progress):
                    yield dataclasses.replace(item, text=f"{title}, {item.text}")
        left = None if left is None else left - (training.steps_done()[0] - before)
        if not training.finished:
            return
        average = training.system.average.state
        del training
        yield from _measure(one, average, mine, path, settings, title=title)
    found = [_read(work / f"fold{k + 1}.json", one, settings) for k, one in enumerate(recipes)]
    folds = [rows for rows in found if rows is not None]
    if len(folds) == settings.folds:
        values = report(recipe.name, folds, seed=recipe.seed, size=settings.size, stages=recipes[0].stages)
        yield write_text(work / RESULT, json.dumps(values, indent=1) + "\n")
        yield write_text(work / TEXT, markdown(values))


def _measure(
    recipe: Recipe,
    average: dict[str, Tensor],
    slices: Sequence[PackedSlice],
    path: Path,
    settings: CrossValidation,
    *,
    title: str,
) -> Generator[Progress | Path, None, None]:
    """Measure the held-out slices of a fold at every threshold and write them."""
    pipeline = lesion_pipeline(recipe, average, size=settings.size, device=settings.device)
    held = thinned([one for one in slices if one.validation], settings.stride)
    rows: list[list[Any]] = []
    images: list[coco.CocoImage] | None = [] if coco.available() else None
    for item in measure(pipeline, held, mask_type=mask_type(recipe.architecture), coco=images):
        if isinstance(item, Progress):
            yield dataclasses.replace(item, text=f"{title}, measuring")
        else:
            (nms, logit), one = item
            rows.append([nms, logit, _plain(one)])
    classes = recipe.architecture.region_classes - 1
    precision = coco.coco_average_precision(images, classes=classes) if images else None
    values = {
        **_identity(recipe, settings),
        "coco": None if precision is None else [precision.mean, precision.ap50, precision.ap75],
        "slices": rows,
    }
    yield write_text(path, json.dumps(values) + "\n")


def _claim(folder: Path, recipe: Recipe) -> None:
    """Note by which schedule a fold is trained, or check that what was begun is of this one.

    A checkpoint alone does not tell: it goes on when stages are changed (`Recipe.digest`).
    """
    path, expected = folder / SCHEDULE, _schedule(recipe)
    if not (folder / CHECKPOINT).is_file():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(expected, indent=1) + "\n")
        return
    try:
        known = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        known = None
    if known != expected:
        raise DataError(
            f"{folder.name} was begun by another schedule or another recipe. Use another work folder, or "
            "delete this one to train the fold again."
        )


def _schedule(recipe: Recipe) -> dict[str, Any]:
    """Return what decides how a fold is trained."""
    schedule = {
        "recipe": recipe.digest,
        "stages": [dataclasses.asdict(stage) for stage in recipe.stages],
        "training": dataclasses.asdict(recipe.training),
        "ema": recipe.ema,
        "weight_decay": recipe.weight_decay,
    }
    plain: dict[str, Any] = json.loads(json.dumps(schedule))
    return plain


def _identity(recipe: Recipe, settings: CrossValidation) -> dict[str, Any]:
    """Return what a fold's measures belong to."""
    identity = {
        **_schedule(recipe),
        "size": settings.size,
        "stride": settings.stride,
        "nms_ious": NMS_IOUS,
        "mask_logits": MASK_LOGITS,
        "scores": SWEEP.tolist(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(identity))
    return plain


def _plain(one: Measured) -> dict[str, Any]:
    values = {field.name: getattr(one, field.name) for field in dataclasses.fields(one)}
    for name in _ARRAYS:
        array = np.asarray(values[name])
        values[name] = (array if array.dtype == bool else np.round(array.astype(np.float64), 5)).tolist()
    return values


def _read(path: Path, recipe: Recipe, settings: CrossValidation) -> FoldRows | None:
    """Return the measures of a fold, or None where they are not there yet."""
    if not path.is_file():
        return None
    try:
        values = json.loads(path.read_text("utf-8"))
        expected = _identity(recipe, settings)
        known = {key: values.get(key) for key in expected}
        by_setting: dict[tuple[float, float], list[Measured]] = {}
        for nms, logit, one in values["slices"]:
            by_setting.setdefault((nms, logit), []).append(_measured(one))
        rows = FoldRows(by_setting, None if values["coco"] is None else tuple(values["coco"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"{path.name} is damaged; delete it to measure this fold again.", details=str(error)
        ) from error
    if known != expected:
        raise DataError(
            f"{path.name} belongs to another recipe or other settings. Use another work folder, or delete "
            "the file (and the folder of this fold, if it was trained otherwise) to measure it again."
        )
    return rows


def _measured(values: Mapping[str, Any]) -> Measured:
    arrays = {name: np.asarray(values[name], bool if name == "hits" else np.float64) for name in _ARRAYS}
    return Measured(**{**values, **arrays})


def write_text(path: Path, text: str) -> Path:
    """Write a file whole or not at all, and return its path."""
    files.write_text(path, text, overwrite=True)
    logger.info("wrote %s", path.name)
    return path
