"""What the steps of a recipe's stages see: slices drawn, changed, augmented, with their targets.

A step follows from (seed, stage, step) alone, so processes may draw steps ahead in any order.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping, Sequence
from typing import Literal

import numpy as np
import torch

from model_core.base.errors import DataError
from model_core.base.settings import Architecture
from model_core.data import instances
from model_core.data.schemes import CONSOLIDATION
from model_core.train.augment import augment
from model_core.train.course import drawn
from model_core.train.examples import Example, Instances
from model_core.train.packing import PackedSlice
from model_core.train.pasting import paste_lesion
from model_core.train.recipe import Recipe, Stage
from model_core.train.synthetic import add_lesions

# A patient with n slices is drawn n ** 0.5 as often as one with a single slice: neighbours are
# near-duplicates, but a whole lung shows more than one slice.
PATIENT_POWER = 0.5
# In pixels of the input: smaller components are neither learned nor seen at stride 16.
MIN_AREA = 24
# A picture takes some 50 ms to draw; a GPU takes a step in 0.1 to 0.2 s.
_MOST_WORKERS = 12


def mask_type(architecture: Architecture) -> Literal["merge", "both"]:
    """Return which instances a detector knows, see `data.instances`."""
    return "merge" if architecture.region_classes == 2 else "both"


def dense_channels(masks: str) -> int:
    """Return how many channels the dense head has: lesion and lung, and consolidation with "both"."""
    return 3 if masks == "both" else 2


def default_workers(device: torch.device) -> int:
    """Return how many processes draw: none beside a CPU that is busy with the network anyway."""
    return 0 if device.type == "cpu" else max(1, min(_MOST_WORKERS, (os.cpu_count() or 2) - 2))


class PatientSampler:
    """Draws training slices: a source by its weight, then a patient, then a slice; never a validation slice.

    Parameters
    ----------
    slices:
        All packed slices; those of validation patients are left out.
    weights:
        Share of each source; sources that are not named are not drawn.

    Raises
    ------
    DataError
        If nothing is left to draw.
    """

    def __init__(self, slices: Sequence[PackedSlice], weights: Mapping[str, float]) -> None:
        self._slices: list[PackedSlice] = []
        probabilities: list[float] = []
        for name, weight in weights.items():
            mine = [one for one in slices if one.source == name and not one.validation]
            counts: dict[str, int] = {}
            for one in mine:
                counts[one.patient] = counts.get(one.patient, 0) + 1
            total = sum(count**PATIENT_POWER for count in counts.values())
            for one in mine:
                share = counts[one.patient] ** PATIENT_POWER / total
                self._slices.append(one)
                probabilities.append(weight * share / counts[one.patient])
        if not sum(probabilities):
            raise DataError("No training slice is left; every patient is held out or every weight is 0.")
        self.probabilities = np.asarray(probabilities) / sum(probabilities)

    @property
    def slices(self) -> tuple[PackedSlice, ...]:
        """The slices that can be drawn, in the order of `probabilities`."""
        return tuple(self._slices)

    def draw(self, generator: np.random.Generator, count: int) -> list[PackedSlice]:
        """Return ``count`` slices, with replacement."""
        picks = generator.choice(len(self._slices), size=count, p=self.probabilities)
        return [self._slices[index] for index in picks]


class StageSteps:
    """The steps of one stage.

    Parameters
    ----------
    key:
        Seed of the recipe and number of the stage.
    mask_type:
        ``merge`` or ``both``, see `data.instances`.
    classified:
        Draws the pictures of a joint stage's image loss.

    Raises
    ------
    DataError
        If lesions are to be pasted and there is none.
    """

    def __init__(
        self,
        sampler: PatientSampler,
        stage: Stage,
        *,
        key: tuple[int, int],
        mask_type: str,
        classified: PatientSampler | None = None,
    ) -> None:
        self._classified = classified
        self._sampler, self._stage, self._key, self._mask_type = sampler, stage, key, mask_type
        self._donors = _donors(sampler.slices) if stage.paste else []
        weights = sampler.probabilities[self._donors]
        self._donor_shares = weights / weights.sum() if len(self._donors) else weights
        if stage.paste and not self._donors:
            raise DataError("There is no training slice with a lesion to paste from.")

    def draw(self, step: int) -> list[Example]:
        """Draw the batch of a step; in a joint stage classified pictures follow those with outlines."""
        generator = np.random.default_rng([*self._key, step])
        stage = self._stage
        slices = self._sampler.draw(generator, stage.batch)
        batch = [self._example(self._changed(one, generator), generator) for one in slices]
        if self._classified is not None:
            slices = self._classified.draw(generator, stage.image_batch)
            batch += [self._example(one, generator) for one in slices]
        return batch

    def _example(self, one: PackedSlice, generator: np.random.Generator) -> Example:
        stage = self._stage
        shown = augment(one, generator, size=stage.size, zoom=stage.zoom, appearance=stage.appearance)
        if one.image_class is not None:
            return Example(shown.image, label=one.image_class)
        found = None
        if stage.kind != "dense":
            found = Instances.of(*instances(shown.lesion, self._mask_type, MIN_AREA))
        channels, known = dense_channels(self._mask_type), np.ones(dense_channels(self._mask_type), bool)
        pixels = np.zeros((channels, *shown.lesion.shape), bool)
        pixels[0], known[1] = shown.lesion > 0, shown.lung is not None
        if shown.lung is not None:
            pixels[1] = shown.lung
        if channels == 3:
            pixels[2] = shown.lesion == CONSOLIDATION
        return Example(shown.image, instances=found, pixels=pixels, known=known)

    def _changed(self, one: PackedSlice, generator: np.random.Generator) -> PackedSlice:
        """Return the slice, perhaps with more lesions; draws nothing where the shares are 0."""
        stage = self._stage
        if stage.synthetic and not one.lesion.any() and generator.random() < stage.synthetic:
            return add_lesions(one, generator)
        if stage.paste and generator.random() < stage.paste:
            donor = int(generator.choice(len(self._donors), p=self._donor_shares))
            return paste_lesion(one, self._sampler.slices[self._donors[donor]], generator)
        return one


def _donors(slices: Sequence[PackedSlice]) -> list[int]:
    """Return the slices with lesions."""
    return [k for k, one in enumerate(slices) if one.lesion.any()]


class Stages:
    """The course of a recipe, see `course.Course`: each stage is an epoch.

    Parameters
    ----------
    workers:
        Processes that draw ahead.

    Raises
    ------
    DataError
        If there is nothing to draw.
    """

    title = "Stage"

    def __init__(self, recipe: Recipe, slices: Sequence[PackedSlice], *, workers: int = 0) -> None:
        self._recipe, self._workers = recipe, workers
        self.epochs = len(recipe.stages)
        self._sampler = PatientSampler(slices, recipe.weights())
        joint = any(stage.kind == "joint" for stage in recipe.stages)
        self._classified = PatientSampler(slices, recipe.class_weights()) if joint else None

    def steps(self, epoch: int) -> int:
        """See `course.Course.steps`."""
        return self._recipe.stages[epoch].steps

    def batches(self, epoch: int, start: int) -> Generator[list[Example], None, None]:
        """See `course.Course.batches`."""
        stage = self._recipe.stages[epoch]
        steps = StageSteps(
            self._sampler,
            stage,
            key=(self._recipe.seed, epoch),
            mask_type=mask_type(self._recipe.architecture),
            classified=self._classified if stage.kind == "joint" else None,
        )
        return drawn(steps.draw, range(start, stage.steps), self._workers)
