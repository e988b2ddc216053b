"""What a training step sees: pictures and targets of step n, drawn in this process or in worker processes.

A step follows from (seed, stage, step) alone, so workers may draw steps ahead in any order: the run is the
same with any number of them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model_core.errors import DataError
from model_core.networks.mask_rcnn import Target
from model_core.training.augment import Example, augment
from model_core.training.packing import PackedSlice
from model_core.training.pasting import paste_lesion
from model_core.training.recipe import Stage
from model_core.training.sampler import PatientSampler
from model_core.training.synthetic import add_lesions
from model_core.training.targets import dense_targets, detection_target, images

# Pictures of a step are drawn in some 20 ms each; a GPU takes a step in 0.1 s.
_MOST_WORKERS = 12
_STEPS_AHEAD = 3


@dataclass(frozen=True, eq=False)
class Batch:
    """One step's input.

    Attributes
    ----------
    seed:
        For what the network draws in this step (anchors, RoIs).
    images:
        (B, 3, S, S) float32 in 0..1.
    targets:
        Instances of each picture; empty in a dense stage.
    dense, known:
        (B, 2, S, S) lesion and lung, and (B, 2, 1, 1) which of the two is known.
    """

    seed: int
    images: Tensor
    targets: list[Target]
    dense: Tensor
    known: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device (itself where it is there)."""
        if device.type == "cpu":
            return self
        return replace(
            self,
            images=self.images.to(device, memory_format=torch.channels_last),
            targets=[{name: t.to(device) for name, t in one.items()} for one in self.targets],
            dense=self.dense.to(device),
            known=self.known.to(device),
        )


class StageSteps(Dataset[Batch]):
    """The steps of one stage as a data set: item n is the batch of step n.

    Parameters
    ----------
    key:
        Seed of the recipe and number of the stage.
    mask_type:
        ``merge`` or ``both``, see `datasets.instances`.
    """

    def __init__(
        self, sampler: PatientSampler, stage: Stage, *, key: tuple[int, int], mask_type: str
    ) -> None:
        self._sampler, self._stage, self._key, self._mask_type = sampler, stage, key, mask_type
        self._donors = [k for k, one in enumerate(sampler.slices) if one.lesion.any()] if stage.paste else []
        weights = sampler.probabilities[self._donors]
        self._donor_shares = weights / weights.sum() if len(self._donors) else weights
        if stage.paste and not self._donors:
            raise DataError("There is no training slice with a lesion to paste from.")

    def __len__(self) -> int:
        return self._stage.steps

    def __getitem__(self, step: int) -> Batch:
        """Draw the batch of a step."""
        generator = np.random.default_rng([*self._key, step])
        seed = int(generator.integers(2**31))
        examples = self.examples(generator)
        targets = []
        if self._stage.kind == "detect":
            targets = [detection_target(one.lesion, mask_type=self._mask_type) for one in examples]
        return Batch(seed, images(examples), targets, *dense_targets(examples))

    def examples(self, generator: np.random.Generator) -> list[Example]:
        """Return the augmented examples of one batch."""
        stage = self._stage
        return [
            augment(self._changed(one, generator), generator, size=stage.size, zoom=stage.zoom)
            for one in self._sampler.draw(generator, stage.batch)
        ]

    def _changed(self, one: PackedSlice, generator: np.random.Generator) -> PackedSlice:
        """Return the slice, perhaps with more lesions; draws nothing where the shares are 0."""
        stage = self._stage
        if stage.synthetic and not one.lesion.any() and generator.random() < stage.synthetic:
            return add_lesions(one, generator)
        if stage.paste and generator.random() < stage.paste:
            donor = int(generator.choice(len(self._donors), p=self._donor_shares))
            return paste_lesion(one, self._sampler.slices[self._donors[donor]], generator)
        return one


def default_workers(device: torch.device) -> int:
    """Return how many processes draw: none beside a CPU that is busy with the network anyway."""
    return 0 if device.type == "cpu" else max(1, min(_MOST_WORKERS, (os.cpu_count() or 2) - 2))


def batches(steps: StageSteps, *, start: int, workers: int) -> Iterator[Batch]:
    """Yield the batches from step ``start`` to the end of the stage, drawn ahead by ``workers`` processes.

    Close the generator to end the workers. With 0 workers each batch is drawn when it is asked for.
    """
    order = range(start, len(steps))
    if not workers:
        for step in order:
            yield steps[step]
        return
    loader: DataLoader[Batch] = DataLoader(
        steps,
        batch_size=None,
        sampler=_Order(order),
        num_workers=workers,
        prefetch_factor=_STEPS_AHEAD,
        collate_fn=_as_it_is,
        pin_memory=False,
    )
    iterator = iter(loader)
    try:
        yield from iterator
    finally:
        # Workers end with their iterator; left to the garbage collector they would outlive a stop.
        shutdown = getattr(iterator, "_shutdown_workers", None)
        if shutdown is not None:
            shutdown()


class _Order(torch.utils.data.Sampler[int]):
    """Steps in their order."""

    def __init__(self, order: Sequence[int]) -> None:
        self._order = order

    def __iter__(self) -> Iterator[int]:
        return iter(self._order)

    def __len__(self) -> int:
        return len(self._order)


def _as_it_is(batch: Any) -> Any:
    return batch
