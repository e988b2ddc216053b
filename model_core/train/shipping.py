"""From a checkpoint to the files that are shipped: averaged weights, measured cards, module S."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import logging
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from torch import Tensor

from model_core.base.calibration import Calibration, TrainingCloud
from model_core.base.errors import DataError
from model_core.base.files import atomic_path, write_json
from model_core.base.jobs import Progress
from model_core.base.settings import SINGLE_SHOT_MIN_AREA, DetectionSettings, EvidenceSettings, InputSpec
from model_core.data import read_class_folders
from model_core.data.classes import CLASS_FOLDERS
from model_core.engine import Pipeline
from model_core.engine.load import load_pipeline
from model_core.engine.novelty import FEATURES
from model_core.engine.torch_backend import TorchBackend, choose_device
from model_core.measure.cross_validation_report import for_card
from model_core.measure.segmentation import Measured
from model_core.measure.thresholds import NO_LESION, choose, measure
from model_core.networks import CovidCTMaskNet, ImageHead, MaskRCNN
from model_core.train.calibrating import LeftOut, calibrate, fit_cloud, references_of
from model_core.train.checkpoints import read_checkpoint
from model_core.train.drawing import mask_type
from model_core.train.image_class import (
    BACKGROUND,
    FOLDS,
    HELD_OUT_CONTROLS,
    KEPT_BATCHES,
    SELF_TRAINED,
    UNSEEN,
    HeadTraining,
    RoiRows,
    batches,
    cross_logits,
    extract,
    head_logits,
    ill_logits,
    limited,
    measure_classes,
    measured_within,
    patient_folds,
    train_head,
    unseen_slices,
)
from model_core.train.lesion import averaged_network
from model_core.train.loop import CHECKPOINT
from model_core.train.packing import PackedSlice, files_digest
from model_core.train.recipe import Recipe
from model_core.weights.card import ModelCard
from model_core.weights.store import SUFFIX, load_weights, save_weights

logger = logging.getLogger(__name__)

MAX_DETECTIONS = 60
LICENCE = "Research and non-commercial use only; see LICENSE.txt in the folder of the weights."
NOT_VALIDATED = "Not validated for diagnosis."
LESION_NOTES = (
    f"{NOT_VALIDATED} Finds ground-glass opacity and consolidation as one class; trained on "
    "COVID-19 lesions only, so other opacities may be marked as well."
)
BOTH_NOTES = (
    f"{NOT_VALIDATED} Tells ground-glass opacity from consolidation; trained on COVID-19 lesions "
    "of few patients, so other opacities may be marked as well and the two classes may be confused."
)
CONFOUNDED = (
    "Labels are confounded with their source: class probabilities can be compared "
    "within one source only and mean little on a scanner the network has not seen."
)
CLASS_NOTES = (
    "The class 'Other (non-COVID)' is slices of patients without SARS-CoV-2 and "
    f"not confirmed pneumonia. {CONFOUNDED}"
)


def lesion_network(recipe: Recipe, average: dict[str, Tensor]) -> MaskRCNN:
    """Return the network with averaged weights as they are stored, in 16-bit floats, and used."""
    network = averaged_network(recipe, average)
    network.load_state_dict(
        {k: v.half().float() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    )
    network.mirror = recipe.detector.mirror
    return network.eval()


def lesion_pipeline(
    recipe: Recipe, average: dict[str, Tensor], *, size: int | None = None, device: str = "cpu"
) -> Pipeline:
    """Return averaged weights as `lesion_network` does, ready to run.

    ``size`` is the side of the network's input; None takes the default of the shipped weights.
    """
    spec = InputSpec(outside="air", grey="estimate")
    merged = mask_type(recipe.architecture) == "merge"
    notes = LESION_NOTES if merged else BOTH_NOTES
    classes: dict[str, Any] = {}
    if recipe.architecture.has_image_head:
        notes = f"{notes} {CLASS_NOTES}"
        classes = {
            "image_classes": tuple(CLASS_FOLDERS.values()),
            "evidence": EvidenceSettings(min_area=SINGLE_SHOT_MIN_AREA),
        }
    card = ModelCard(
        name=recipe.name,
        title=recipe.title,
        architecture=recipe.architecture,
        region_classes=("Lesion",) if merged else ("GGO", "Consolidation"),
        detector=recipe.detector,
        input=spec if size is None else dataclasses.replace(spec, size=size),
        detections=DetectionSettings(max_detections=MAX_DETECTIONS),
        licence=LICENCE,
        notes=notes,
        **classes,
    )
    network = lesion_network(recipe, average)
    return Pipeline(backend=TorchBackend(network, device=choose_device(device)), cards=(card,))


def export_lesions(
    recipe: Recipe,
    slices: Sequence[PackedSlice],
    work: Path,
    output: Path,
    *,
    stride: int = 1,
    device: str = "cpu",
    cross_validation: Mapping[str, Any] | None = None,
) -> Generator[Progress | ModelCard, None, None]:
    """Write the averaged weights of the current checkpoint with thresholds chosen on held-out patients.

    Parameters
    ----------
    work:
        The run's folder (checkpoint).
    output:
        Folder to write ``NAME.safetensors`` and ``NAME.json`` into.
    stride:
        Measure every stride-th slice of a held-out patient with many.
    device:
        Where the measuring runs.
    cross_validation:
        A report that the card quotes, see `cross_validation_report.read_report`.

    Yields `Progress` and, last, the written card.

    Raises
    ------
    DataError
        If there is no checkpoint, or no held-out slice has a lesion.
    """
    state = read_checkpoint(work / CHECKPOINT, identity=recipe.digest)
    if state is None:
        raise DataError(f"There is no checkpoint in '{work}'. Train first.")
    trained = state["system"]
    pipeline = lesion_pipeline(recipe, trained["average"], device=device)
    network = lesion_network(recipe, trained["average"]).to(choose_device(device))
    card = pipeline.cards[0]
    held = thinned([one for one in slices if one.validation and not one.unlabelled], stride)
    if not any(one.lesion.any() for one in held):
        raise DataError(NO_LESION)
    measured: list[tuple[tuple[float, float], Measured]] = []
    for item in measure(pipeline, held, mask_type=mask_type(recipe.architecture)):
        if isinstance(item, Progress):
            yield item
        else:
            measured.append(item)
    choice = choose(measured, max_detections=MAX_DETECTIONS)
    if isinstance(network, CovidCTMaskNet):
        card = dataclasses.replace(
            card, evidence=dataclasses.replace(card.evidence, temperature=choice.settings.temperature)
        )
        pictures = [one for one in slices if one.validation and one.image_class is not None]
        prefixes = {name: source.prefix for name, source in recipe.sources.items()}
        for found in measure_classes(network, pictures, prefixes, card.evidence, size=card.input.size):
            if isinstance(found, Progress):
                yield found
            else:
                choice.metrics["within_source"] = found
    if cross_validation is not None:
        choice.metrics["cross_validation"] = for_card(cross_validation)
    card = dataclasses.replace(
        card,
        detections=choice.settings,
        training={
            "recipe": recipe.name,
            "stages": [dataclasses.asdict(stage) for stage in recipe.stages],
            "stage": min(state["epoch"] + 1, len(recipe.stages)),
            "step": state["position"],
            "finished": state["epoch"] >= len(recipe.stages),
            "backbone_start": recipe.start or "random",
            **trained["started"],
            "notes": recipe.notes,
            "sources": {
                name: sum(one.source == name and not one.validation for one in slices)
                for name in recipe.sources
            },
            HELD_OUT_CONTROLS: {
                source.prefix: source.hold_out
                for source in recipe.sources.values()
                if source.kind == "negatives" and source.hold_out and not recipe.start
            },
            "held_out_pictures": {
                source.prefix: source.hold_out
                for source in recipe.sources.values()
                if source.kind == "classified" and source.hold_out
            },
            "self_labelled": len(trained["labels"]),  # pictures of the last stage that self-trained
            SELF_TRAINED: _self_trained(recipe),
        },
        metrics={
            "note": "Held-out patients; thresholds were chosen on the same slices, so slightly optimistic.",
            **choice.metrics,
        },
    )
    yield save_weights(output / f"{recipe.name}{SUFFIX}", network.state_dict(), card, half=True)


def _self_trained(recipe: Recipe) -> dict[str, float]:
    """Return the held-out share of each source (by prefix) that the network or its start labelled."""
    drawn = {name for stage in recipe.stages for name in recipe.weights(stage)}
    unlabelled = [one for name, one in sorted(recipe.sources.items()) if name in drawn]
    shares = {one.prefix: one.hold_out for one in unlabelled if one.kind == "unlabelled"}
    former = load_weights(recipe.start).card.training.get(SELF_TRAINED) or {} if recipe.start else {}
    # Held out by hash: what the smaller share holds out, the larger does, too.
    return {
        prefix: min(taught[prefix] for taught in (former, shares) if prefix in taught)
        for prefix in sorted({*former, *shares})
    }


def thinned(slices: Sequence[PackedSlice], stride: int) -> list[PackedSlice]:
    """Return every stride-th slice of patients with over ten slices, all of the others."""
    counts: dict[tuple[str, str], int] = {}
    for one in slices:
        key = (one.source, one.patient)
        counts[key] = counts.get(key, 0) + 1
    seen: dict[tuple[str, str], int] = {}
    kept = []
    for one in slices:
        key = (one.source, one.patient)
        seen[key] = seen.get(key, -1) + 1
        if counts[key] <= 10 or seen[key] % stride == 0:
            kept.append(one)
    return kept


def export_classifier(
    base: Path,
    folder: Path,
    output: Path,
    *,
    name: str,
    tests: Path | None = None,
    settings: HeadTraining | None = None,
    cache: Path | None = None,
    limit: int | None = None,
    device: str = "cpu",
) -> Generator[Progress | ModelCard, None, None]:
    """Train module S on the frozen detector in ``base``, calibrate it and write it alone (S-only).

    Parameters
    ----------
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
    evidence = EvidenceSettings(temperature=lesion.detections.temperature)
    rows = yield from _all_rows(pipeline, folder, evidence, cache=cache, limit=limit)
    test_rows = None
    if tests is not None:
        test_rows = yield from _all_rows(pipeline, tests, evidence, cache=cache, limit=limit)
    classes, size = len(CLASS_FOLDERS), evidence.batch_size
    architecture = dataclasses.replace(lesion.architecture, kind="classifier", image_classes=classes)
    shape: dict[str, Any] = {"width": architecture.s_width, "classes": classes, "size": size}
    unseen = unseen_slices(rows, lesion.training)
    fold = patient_folds(rows, FOLDS, settings.seed)
    left_out = LeftOut(cross_logits(rows, fold, settings, **shape), rows, rows.ill_classes, unseen)
    head = train_head(rows, np.arange(len(rows)), settings, **shape)
    tested = None
    if test_rows is not None:
        logits = head_logits(head, batches(test_rows.rows[:, 0], size))
        tested = LeftOut(logits, test_rows, rows.ill_classes, np.ones(len(test_rows), bool))
    metrics: dict[str, Any] = {
        "note": f"{FOLDS_TEXT} {_seen(lesion)} in its own training, so these numbers are optimistic; "
        "classes are compared within one source only."
        + (f" {BOTH_LOOKS_TEXT}" if lesion.detector.mirror else "")
        + (f" {UNSEEN_TEXT}" if unseen is not None else ""),
        "within_source": measured_within(left_out.logits, rows, unseen),
    }
    calibration, metrics["verdict"] = _calibration(left_out, tested)
    middle = 0.0 if calibration is None else -calibration.bias / calibration.slope
    if tested is None:
        first = train_head(rows, np.flatnonzero(fold), settings, **shape)
        metrics["removals"] = removals(first, left_out.at(fold == 0), size=size, middle=middle)
    else:
        metrics["removals"] = removals(head, tested, size=size, middle=middle)
    card = ModelCard(
        name=name,
        title="image class (module S)",
        architecture=architecture,
        region_classes=lesion.region_classes,
        image_classes=rows.image_classes,
        detector=lesion.detector,
        input=lesion.input,
        detections=lesion.detections,
        evidence=evidence,
        base_sha256=lesion.sha256,
        licence=LICENCE,
        notes=f"{NOT_VALIDATED} {CONFOUNDED if rows.confirmed.any() else CLASS_NOTES}",
        calibration=calibration,
        references=None if test_rows is None else references_of(test_rows, size=size),
        training={
            "mode": "S only",
            **dataclasses.asdict(settings),
            "slices": {label: int((rows.labels == k).sum()) for k, label in enumerate(CLASS_FOLDERS)},
            "tested_on": [] if test_rows is None else sorted(set(test_rows.sources)),
        },
        metrics=metrics,
    )
    tensors = {f"s2new.{key}": value for key, value in head.state_dict().items()}
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
    for rows in part.data.rows[:, 0]:
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
    made = repr((card.input, card.detector, pipeline.mirror, evidence, KEPT_BATCHES, FEATURES))
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


FOLDS_TEXT = (
    "Five-fold cross-validation by patient of module S alone; the shipped file is trained on all folds. The "
    "frozen detector has seen the control pictures (as slices without lesion) and"
)
BOTH_LOOKS_TEXT = "Trained on regions with and without the mirror image, measured on those with it."
UNSEEN_TEXT = (
    f"'{UNSEEN}' are the same measures with only those pictures that the detector never saw; slices that "
    "another set outlines under another name are not told apart."
)


def _seen(lesion: ModelCard) -> str:
    if lesion.training.get(SELF_TRAINED):
        started = lesion.training.get("backbone_start", "random") != "random"
        by = "itself or the weights it started from" if started else "itself"
        return f"many of the COVID-19 pictures (ten outlined, others labelled by {by})"
    return "ten of the COVID-19 pictures"


def write_default(output: Path, names: Sequence[str]) -> None:
    """Name the default weights of a folder."""
    write_json(output / "default.json", {"weights": list(names)}, overwrite=True)


def split_lists(slices: Sequence[PackedSlice]) -> dict[str, Any]:
    """Return what was trained on and what was held out: slice names by source, each with its hash."""
    lists: dict[str, dict[str, dict[str, str]]] = {"train": {}, "validation": {}}
    for one in slices:
        part = lists["validation" if one.validation else "train"]
        part.setdefault(one.source, {})[one.name] = one.digest[:16]
    return lists


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
