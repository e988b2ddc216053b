"""Weights written again with more in their card: calibration, check of scans, regions of controls."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Generator, Sequence
from pathlib import Path

import numpy as np

from model_core.base.calibration import Calibration, ScanCheck, TrainingCloud
from model_core.base.errors import DataError, ExportError
from model_core.base.files import atomic_path
from model_core.base.jobs import Progress
from model_core.base.references import ControlRois
from model_core.base.results import SliceResult
from model_core.base.settings import InputSpec
from model_core.base.volume import Volume
from model_core.data import ClassifiedSlice, read_class_folders
from model_core.engine import Pipeline, run
from model_core.engine.load import load_pipeline
from model_core.engine.novelty import features_of
from model_core.engine.preprocess import network_input
from model_core.explain.distribution import SliceRegions, control_rois, slice_regions
from model_core.measure.output import REPORT
from model_core.measure.scans import verdict_id
from model_core.measure.slices import one_slice_volume, with_grey_map
from model_core.train.calibrating import LeftOut, calibrate, fit_cloud, references_of
from model_core.train.roi_rows import RoiRows, limited
from model_core.weights.card import ModelCard
from model_core.weights.store import (
    SUFFIX,
    default_names,
    find,
    held_out_slices,
    load_weights,
    save_weights,
)


def add_calibration(
    names: Sequence[str],
    folder: Path | None,
    output: Path,
    *,
    checked: Path | None = None,
    controls: Path | None = None,
    limit: int | None = None,
    device: str = "cpu",
) -> Generator[Progress | ModelCard, None, None]:
    """Write weights with an image class again, with a calibration or distributions of controls in their card.

    Parameters
    ----------
    names:
        Weights as for `engine.load.load_pipeline`; written is the file that gives the class, by its name.
    folder:
        Class folders of patients that these weights were not trained on; None keeps the calibration there is.
    checked:
        Folder of a report of `measure.scans` of these weights, to be quoted.
    controls:
        Class folders of whose control patients the regions are told (`ModelCard.control_rois`), also of
        patients that the weights were trained on.
    limit:
        At most so many slices of each source and class.

    Yields `Progress` and, last, the written card.

    Raises
    ------
    SettingsError
        If the weights give no image class.
    DataError
        If there are too few patients, no controls, or the report is none of these weights and this
        calibration.
    ExportError
        If the files cannot be written.
    """
    whole = load_pipeline(names, device=device)
    pipeline, card = whole.class_alone(), whole.cards[-1]
    path = next(path for path in map(find, names or default_names()) if load_weights(str(path)).card == card)
    if folder is not None:
        part = None
        for item in _left_out(pipeline, limited(read_class_folders(folder), limit)):
            if isinstance(item, Progress):
                yield item
            else:
                part = item
        assert part is not None
        cloud: TrainingCloud | None = None
        unlike: dict[str, float] = {}
        if len(set(part.data.families)) > 1:
            cloud, unlike = fit_cloud([part.data])
        calibration, found = calibrate([part], cloud=cloud)
        metrics = {**card.metrics, "verdict": {**found, "unlike_training": unlike}}
        size = card.architecture.roi_batch_size
        references = references_of(part.data, size=size) or card.references
        card = dataclasses.replace(card, calibration=calibration, references=references, metrics=metrics)
    if controls is not None:
        for one in _control_rois(pipeline, limited(read_class_folders(controls), limit)):
            if isinstance(one, Progress):
                yield one
            else:
                card = dataclasses.replace(card, control_rois=one)
    if checked is not None:
        whole.cards = (*whole.cards[:-1], card)
        card = dataclasses.replace(card, calibration=_checked(whole, checked))
    yield _write_again(path, output, card)


def _control_rois(
    pipeline: Pipeline, slices: Sequence[ClassifiedSlice]
) -> Generator[Progress | ControlRois, None, None]:
    """Run the weights over the middle one of the slices of each control patient."""
    patients: dict[tuple[str, str], list[ClassifiedSlice]] = {}
    for item in slices:
        if item.label == 0:
            patients.setdefault((item.source, item.patient), []).append(item)
    if not patients:
        raise DataError("Among these slices is none of a control (folder 'normal').")
    chosen = [group[len(group) // 2] for group in patients.values()]
    spec, found = pipeline.evidence_card.input, list[tuple[ClassifiedSlice, SliceRegions]]()
    for done, item in enumerate(chosen):
        yield Progress(done, len(chosen), "Regions of controls")
        _, result = _run_picture(pipeline, item, spec)
        if (regions := slice_regions(result)) is not None:
            found.append((item, regions))
    if not found:
        raise DataError("In none of the slices of controls is a region.")
    listed = held_out_slices(pipeline.evidence_card.name)
    seen = None if listed is None else sum(listed.get(item.name) is False for item, _ in found)
    yield control_rois(
        [regions for _, regions in found], sources=[item.source for item, _ in found], seen=seen
    )


def _run_picture(pipeline: Pipeline, item: ClassifiedSlice, spec: InputSpec) -> tuple[Volume, SliceResult]:
    """Run the weights over a picture as in use."""
    (shown,) = with_grey_map([item], spec.grey)
    volume = one_slice_volume(shown.image_hu(), name=item.name)
    (result,) = (one for one in run(pipeline, volume, [0]) if isinstance(one, SliceResult))
    return volume, result


def _left_out(
    pipeline: Pipeline, slices: Sequence[ClassifiedSlice]
) -> Generator[Progress | LeftOut, None, None]:
    """Run the weights over slices of other patients as in use."""
    spec, names = pipeline.evidence_card.input, pipeline.image_classes
    logits, features, rows = [], [], []
    for done, item in enumerate(slices):
        yield Progress(done, len(slices), "Logits")
        volume, result = _run_picture(pipeline, item, spec)
        assert result.verdict is not None
        logits.append(result.verdict.logits)
        rows.append(result.verdict.batch.rows)
        features.append(features_of(network_input(volume, 0, spec), result.verdict.batch.rows))
    data = RoiRows(
        np.stack(rows)[:, None],
        np.array([one.label for one in slices], np.int64),
        tuple(one.source for one in slices),
        tuple(one.name for one in slices),
        tuple(one.patient for one in slices),
        np.stack(features),
    )
    ill = tuple(k for k, name in enumerate(names) if k and not name.startswith("Other"))
    yield LeftOut(np.stack(logits), data, ill)


def _checked(pipeline: Pipeline, folder: Path) -> Calibration:
    """Return the calibration of a card with what a report says of these weights.

    Raises
    ------
    DataError
        If it is no such report, of other weights, or of these with another calibration or other settings.
    """
    card = pipeline.cards[-1]
    if card.calibration is None:
        raise DataError(
            f"'{card.name}' has no calibration yet, so that no scan can have been checked with it."
        )
    try:
        report = json.loads((folder / REPORT).read_text("utf-8"))
        weights = {one["sha256"] for one in report["settings"]["weights"]}
        made_with = report["settings"].get("verdict_id")
        check = ScanCheck(
            scans=report["scans"],
            right=report["right"],
            low=round(report["share_right"]["low"], 4),
            high=round(report["share_right"]["high"], 4),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"'{folder.name}' holds no report of 'ctmasknet evaluate scans'.", details=str(error)
        ) from error
    if card.sha256 not in weights:
        raise DataError(f"The report in '{folder.name}' is of other weights than '{card.name}'.")
    if made_with != verdict_id(pipeline):
        raise DataError(
            f"The report in '{folder.name}' was made with another calibration of '{card.name}' or "
            "other thresholds: its verdicts are not this card's. Evaluate the scans again."
        )
    return dataclasses.replace(card.calibration, checked=check)


def _write_again(path: Path, output: Path, card: ModelCard) -> ModelCard:
    """Write the weights of a file with another card; safetensors keep their bytes."""
    target = output / f"{path.stem}{SUFFIX}"
    if path.suffix != SUFFIX:
        return save_weights(target, load_weights(str(path)).tensors, card)
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"The folder '{output.name}' cannot be made.", details=str(error)) from error
    if not (target.exists() and target.samefile(path)):
        with atomic_path(target, overwrite=True) as temporary:
            shutil.copyfile(path, temporary)
    with atomic_path(target.with_suffix(".json"), overwrite=True) as temporary:
        temporary.write_text(card.to_json(), "utf-8")
    return card
