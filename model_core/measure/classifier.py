"""Runs the classifier over slices with one label each and keeps what metrics and RoI statistics need."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from model_core.base.arrays import FloatArray
from model_core.base.errors import DataError
from model_core.base.jobs import Progress
from model_core.base.results import SliceResult
from model_core.data import ClassifiedSlice
from model_core.engine import Pipeline, run
from model_core.measure.roi_statistics import SliceRois, slice_rois
from model_core.measure.slices import one_slice_volume


@dataclass(frozen=True, eq=False)
class ClassOutcome:
    """What is kept of one slice: true and predicted class, the head's logits, and the RoIs it read."""

    name: str
    patient: str
    source: str
    label: int
    predicted: int
    logits: FloatArray
    probabilities: FloatArray
    rois: SliceRois


def logit_of_label(label: int, classes: int) -> int:
    """Return the logit that stands for a class 0, 1 or 2.

    A head with two logits was trained without class 1, as in the papers' two-class study: 0 and 2.

    Raises
    ------
    DataError
        If the head has no logit for the class.
    """
    place = {0: 0, 2: 1}.get(label) if classes == 2 else label
    if place is None or place >= classes:
        raise DataError(
            f"The data has slices of class {label}, but the classifier has {classes} classes without it."
        )
    return place


def evaluate_classes(
    pipeline: Pipeline, slices: Sequence[ClassifiedSlice]
) -> Generator[Progress | ClassOutcome, None, None]:
    """Classify each slice from its RoI batch, as the weights define it.

    Yields `Progress` before each slice and a `ClassOutcome` after it.

    Raises
    ------
    DataError
        If a picture cannot be read or a class has no logit.
    SettingsError
        If the pipeline has no classifier.
    """
    single = pipeline.class_alone()
    classes = len(pipeline.image_classes)
    labels = [logit_of_label(item.label, classes) for item in slices]
    for done, (item, label) in enumerate(zip(slices, labels, strict=True)):
        yield Progress(done, len(slices), item.name)
        volume = one_slice_volume(item.image_hu(), name=item.name)
        (result,) = (r for r in run(single, volume, [0]) if isinstance(r, SliceResult))
        verdict = result.verdict
        assert verdict is not None
        yield ClassOutcome(
            name=item.name,
            patient=item.patient,
            source=item.source,
            label=label,
            predicted=int(np.argmax(verdict.logits)),
            logits=verdict.logits,
            probabilities=verdict.probabilities,
            rois=slice_rois(result),
        )
    yield Progress(len(slices), len(slices), "Done")
