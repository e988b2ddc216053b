"""Module S trained on a frozen detector, calibrated, and written: alone, or into its single-shot model."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
from collections.abc import Generator
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from model_core.base.calibration import Calibration, TrainingCloud
from model_core.base.errors import DataError
from model_core.base.files import atomic_path
from model_core.base.jobs import Progress
from model_core.base.settings import EvidenceSettings
from model_core.data import read_class_folders
from model_core.data.classes import CLASS_FOLDERS
from model_core.engine import Pipeline
from model_core.engine.load import load_pipeline
from model_core.engine.novelty import FEATURES
from model_core.networks import ImageHead
from model_core.train.calibrating import LeftOut, calibrate, fit_cloud, references_of
from model_core.train.image_class import (
    BACKGROUND,
    FOLDS,
    UNSEEN,
    HeadTraining,
    batches,
    cross_logits,
    head_logits,
    measured_within,
    patient_folds,
    train_head,
)
from model_core.train.packing import files_digest
from model_core.train.roi_rows import (
    HELD_OUT_CONTROLS,
    HELD_OUT_PICTURES,
    KEPT_BATCHES,
    SELF_TRAINED,
    RoiRows,
    extract,
    ill_logits,
    limited,
    unseen_slices,
)
from model_core.train.shipping import CLASS_NOTES, CONFOUNDED, LICENCE, NOT_VALIDATED
from model_core.weights.card import ModelCard
from model_core.weights.store import SUFFIX, load_weights, save_weights


def export_classifier(
    base: Path,
    folder: Path,
    output: Path,
    *,
    name: str | None = None,
    tests: Path | None = None,
    settings: HeadTraining | None = None,
    cache: Path | None = None,
    limit: int | None = None,
    device: str = "cpu",
) -> Generator[Progress | ModelCard, None, None]:
    """Train module S on the frozen detector in ``base``, calibrate it and write it (S-only).

    Of lesion weights it is written alone. A single-shot model is written whole: everything else in it stays
    as it was, and module S reads the regions of its class branch.

    Parameters
    ----------
    name:
        Of the new file; None: "covid-s-" and that of the lesion weights, or that of the single-shot model.
    folder:
        Class folders ``normal``, ``other``, ``covid``.
    tests:
        Further class folders that it is measured on and not trained with.
    cache:
        Folder that keeps the regions of this detector.
    limit:
        At most so many slices of each source and class, evenly spread; None takes all.
    device:
        Where the frozen detector runs.

    Yields `Progress` and, last, the written card. Where there are too few patients for a calibration, the
    card has none; nor has it references without enough control slices among ``tests``.

    Raises
    ------
    DataError
        If there are too few slices, or what the cache holds is damaged.
    ExportError
        If the cache or the card cannot be written.
    """
    settings = settings or HeadTraining()
    pipeline = load_pipeline([str(base)], device=device)
    lesion = pipeline.cards[0]
    whole = lesion.architecture.has_image_head
    name = name or (lesion.name if whole else f"covid-s-{lesion.name.removeprefix('lesion-')}")
    evidence = lesion.evidence if whole else EvidenceSettings(temperature=lesion.detections.temperature)
    rows = yield from _all_rows(pipeline, folder, evidence, cache=cache, limit=limit)
    test_rows = None
    if tests is not None:
        test_rows = yield from _all_rows(pipeline, tests, evidence, cache=cache, limit=limit)
    classes, size = len(CLASS_FOLDERS), evidence.batch_size
    architecture = lesion.architecture
    if not whole:
        architecture = dataclasses.replace(architecture, kind="classifier", image_classes=classes)
    shape: dict[str, Any] = {"width": architecture.s_width, "classes": classes, "size": size}
    unseen = unseen_slices(rows, lesion.training)
    fold = patient_folds(rows, FOLDS, settings.seed)
    left_out = LeftOut(cross_logits(rows, fold, settings, **shape), rows, rows.ill_classes, unseen)
    head = train_head(rows, np.arange(len(rows)), settings, **shape)
    tested = None
    if test_rows is not None:
        logits = head_logits(head, batches(test_rows.rows, size))
        tested = LeftOut(logits, test_rows, rows.ill_classes, np.ones(len(test_rows), bool))
    metrics: dict[str, Any] = {
        "note": _note(lesion, unseen=unseen is not None),
        "within_source": measured_within(left_out.logits, rows, unseen),
    }
    calibration, metrics["verdict"] = _calibration(left_out, tested)
    middle = 0.0 if calibration is None else -calibration.bias / calibration.slope
    if tested is None:
        first = train_head(rows, np.flatnonzero(fold), settings, **shape)
        metrics["removals"] = removals(first, left_out.at(fold == 0), size=size, middle=middle)
    else:
        metrics["removals"] = removals(head, tested, size=size, middle=middle)
    about = {
        "mode": "S only",
        **dataclasses.asdict(settings),
        "slices": {label: int((rows.labels == k).sum()) for k, label in enumerate(CLASS_FOLDERS)},
        "tested_on": [] if test_rows is None else sorted(set(test_rows.sources)),
    }
    tensors = {f"s2new.{key}": value for key, value in head.state_dict().items()}
    told: dict[str, Any] = {
        "image_classes": rows.image_classes,
        "calibration": calibration,
        "references": None if test_rows is None else references_of(test_rows, size=size),
    }
    if whole:
        # Its own note is of the lesions.
        metrics[MODULE_S] = metrics.pop("note")
        metrics = {**lesion.metrics, **metrics}
        card = dataclasses.replace(
            lesion, name=name, training={**lesion.training, MODULE_S: about}, metrics=metrics, **told
        )
        tensors = {**load_weights(str(base)).tensors, **tensors}
    else:
        card = ModelCard(
            name=name,
            title="image class (module S)",
            architecture=architecture,
            region_classes=lesion.region_classes,
            detector=lesion.detector,
            input=lesion.input,
            detections=lesion.detections,
            evidence=evidence,
            base_sha256=lesion.sha256,
            licence=LICENCE,
            notes=f"{NOT_VALIDATED} {CONFOUNDED if rows.confirmed.any() else CLASS_NOTES}",
            training=about,
            metrics=metrics,
            **told,
        )
    yield save_weights(output / f"{name}{SUFFIX}", tensors, card, half=True)


def _calibration(left_out: LeftOut, tested: LeftOut | None) -> tuple[Calibration | None, dict[str, Any]]:
    """Return calibration and measures; where there are too few patients or sources, why there is none."""
    parts = [left_out] if tested is None else [left_out, tested]
    cloud: TrainingCloud | None = None
    unlike: dict[str, float] = {}
    with contextlib.suppress(DataError):
        cloud, unlike = fit_cloud([part.data for part in parts])
    try:
        calibration, found = calibrate(parts, cloud=cloud)
    except DataError as error:
        return None, {"none": error.message}
    return calibration, {**found, "unlike_training": unlike}


def removals(head: ImageHead, part: LeftOut, *, size: int, middle: float) -> dict[str, Any]:
    """Return what it changes to remove one background row of the RoI batches of slices left out.

    A slice looks ill where its logit of "ill or not" is above ``middle``.
    """
    flips, changes = [], []
    for rows in part.data.rows:
        low = np.flatnonzero((rows[:size, 0] > 0) & (rows[:size, 0] < BACKGROUND))
        several = [rows, *(np.vstack((np.delete(rows, k, axis=0), np.zeros_like(rows[:1]))) for k in low)]
        logits = head_logits(head, batches(np.stack(several), size))
        ill = ill_logits(logits, part.ill_classes) > middle
        flips += (ill[1:] != ill[0]).tolist()
        changes += np.abs(logits[1:] - logits[0]).max(axis=1).tolist()
    if not changes:
        return {"slices": len(part.data), "removals": 0}
    return {
        "slices": len(part.data),
        "removals": len(changes),
        "flipped": round(float(np.mean(flips)), 5),
        "median_change_of_a_logit": round(float(np.median(changes)), 4),
    }


def _all_rows(
    pipeline: Pipeline, folder: Path, evidence: EvidenceSettings, *, cache: Path | None, limit: int | None
) -> Generator[Progress, None, RoiRows]:
    """Return the ranked regions of class folders, kept ones where the cache has them.

    Kept are those of these weights, pictures and settings: input, detector, evidence and features.
    """
    card = pipeline.cards[0]
    made = repr((card.input, card.detector, evidence, KEPT_BATCHES, FEATURES))
    settings = hashlib.sha256(made.encode()).hexdigest()
    kind = f"{card.sha256[:12]}-{files_digest(folder)[:8]}-{limit or 'all'}-{settings[:8]}"
    stored = cache / f"roi-rows-{kind}.npz" if cache is not None else None
    if stored is not None and stored.is_file():
        return _read_rows(stored)
    found = None
    for item in extract(pipeline, limited(read_class_folders(folder), limit), evidence):
        if isinstance(item, Progress):
            yield item
        else:
            found = item
    assert found is not None
    if stored is not None:
        _write_rows(stored, found)
    return found


# Entry of the card of a single-shot model whose module S was trained again: how, and what its measures are.
MODULE_S = "module_s"
FOLDS_TEXT = (
    "Five-fold cross-validation by patient of module S alone; the shipped file is trained on all folds."
)
SEEN_TEXT = "The frozen detector has seen {}control pictures (as slices without lesion) and"
UNSEEN_TEXT = (
    f"'{UNSEEN}' are the same measures with only those pictures that the detector never saw; slices that "
    "another set outlines under another name are not told apart."
)


def _note(lesion: ModelCard, *, unseen: bool) -> str:
    """Say what the measures of module S are of."""
    optimistic = (
        "in its own training, so these numbers are optimistic; classes are compared within one source"
    )
    parts = [FOLDS_TEXT, f"{_seen(lesion)} {optimistic} only."]
    if unseen:
        parts.append(UNSEEN_TEXT)
    return " ".join(parts)


def _seen(lesion: ModelCard) -> str:
    if lesion.training.get(HELD_OUT_PICTURES):
        return "The frozen rest of the network has seen most pictures of each class, and their classes,"
    controls = SEEN_TEXT.format("many of the " if lesion.training.get(HELD_OUT_CONTROLS) else "the ")
    if lesion.training.get(SELF_TRAINED):
        started = lesion.training.get("backbone_start", "random") != "random"
        by = "itself or the weights it started from" if started else "itself"
        return f"{controls} many of the COVID-19 pictures (ten outlined, others labelled by {by})"
    return f"{controls} ten of the COVID-19 pictures"


def _write_rows(path: Path, rows: RoiRows) -> None:
    with atomic_path(path, overwrite=True) as temporary:
        np.savez_compressed(
            temporary,
            rows=rows.rows,
            labels=rows.labels,
            features=np.zeros((len(rows), 0)) if rows.features is None else rows.features,
            names=np.array(rows.names),
            sources=np.array(rows.sources),
            patients=np.array(rows.patients),
        )


def _read_rows(path: Path) -> RoiRows:
    try:
        with path.open("rb") as raw, np.load(raw) as file:
            sources, names, patients = (
                tuple(str(text) for text in file[key]) for key in ("sources", "names", "patients")
            )
            return RoiRows(file["rows"], file["labels"], sources, names, patients, file["features"])
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise DataError(
            f"{path.name} is damaged; delete it to compute it again.", details=str(error)
        ) from error
