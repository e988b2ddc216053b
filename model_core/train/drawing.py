"""What a training step sees: pictures and targets of step n, drawn in this process or in worker processes.

A step follows from (seed, stage, step) alone, so workers may draw steps ahead in any order: the run is the
same with any number of them.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from model_core.base.arrays import ByteArray, FloatArray, IntArray
from model_core.base.errors import DataError, SettingsError
from model_core.networks.mask_rcnn import Target
from model_core.train.augment import Example, augment
from model_core.train.packing import PackedSlice
from model_core.train.pasting import paste_lesion
from model_core.train.recipe import Stage
from model_core.train.sampler import PatientSampler
from model_core.train.synthetic import add_lesions
from model_core.train.targets import dense_targets, detection_target

# A picture takes some 50 ms to draw; a GPU takes a step in 0.1 to 0.2 s.
_MOST_WORKERS = 12
_STEPS_AHEAD = 2  # per worker
_LOOK_EVERY = 2.0  # seconds


@dataclass(frozen=True, eq=False)
class Batch:
    """One step's input as the network takes it.

    Attributes
    ----------
    seed:
        For what the network draws in this step (anchors, RoIs).
    images:
        (B, 3, S, S) float32 in 0..1.
    targets:
        Instances of each picture; none in a dense stage.
    dense, known:
        (B, C, S, S) and (B, C, 1, 1), see `targets.dense_targets`.
    classified, image_classes:
        (P, 3, S, S) pictures and (P,) classes for the image loss; P is 0 but in a joint stage.
    """

    seed: int
    images: Tensor
    targets: list[Target]
    dense: Tensor
    known: Tensor
    classified: Tensor
    image_classes: Tensor


@dataclass(frozen=True, eq=False)
class Drawn:
    """A batch as it travels between processes: small plain arrays, no shared memory.

    ``pictures`` (B, S, S); ``boxes`` (K, 4), ``labels`` (K,) and ``masks`` (K, S * S / 8) of all pictures one
    after another, ``counts`` of each; ``dense`` (B, C, S * S / 8) and ``known`` (B, C). Masks are bits.
    ``classified`` (P, S, S) and ``image_classes`` (P,).
    """

    seed: int
    pictures: FloatArray
    boxes: FloatArray
    labels: IntArray
    masks: ByteArray
    counts: tuple[int, ...]
    dense: ByteArray
    known: FloatArray
    classified: FloatArray
    image_classes: IntArray

    def on(self, device: torch.device) -> Batch:
        """Return the batch as tensors on a device."""
        size = self.pictures.shape[-1]
        masks = _bits(torch.from_numpy(self.masks).to(device), size)
        boxes = torch.from_numpy(self.boxes).to(device)
        labels = torch.from_numpy(self.labels).to(device)
        ends = np.cumsum(self.counts, dtype=np.int64).tolist()
        own = [slice(end - count, end) for end, count in zip(ends, self.counts, strict=True)]
        return Batch(
            seed=self.seed,
            images=_three_channels(self.pictures, device),
            targets=[{"boxes": boxes[k], "labels": labels[k], "masks": masks[k]} for k in own],
            dense=_bits(torch.from_numpy(self.dense).to(device), size).float(),
            known=torch.from_numpy(self.known).to(device)[..., None, None],
            classified=_three_channels(self.classified, device),
            image_classes=torch.from_numpy(self.image_classes).to(device),
        )


def _three_channels(pictures: FloatArray, device: torch.device) -> Tensor:
    """Return (B, 3, S, S) of (B, S, S), the channels alike."""
    grey = torch.from_numpy(pictures).to(device)[:, None]
    return grey.expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def _bits(packed: Tensor, size: int) -> Tensor:
    """Return (..., S, S) uint8 of (..., S * S / 8) packed bits, as numpy packs them."""
    places = torch.arange(7, -1, -1, dtype=torch.uint8, device=packed.device)
    single = torch.bitwise_and(torch.bitwise_right_shift(packed[..., None], places), 1)
    return single.reshape(*packed.shape[:-1], size, size)


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

    def __len__(self) -> int:
        return self._stage.steps

    def draw(self, step: int) -> Drawn:
        """Draw the batch of a step."""
        generator = np.random.default_rng([*self._key, step])
        seed = int(generator.integers(2**31))
        examples = self.examples(generator)
        size = self._stage.size
        targets: list[Target] = []
        if self._stage.kind != "dense":
            targets = [detection_target(one.lesion, mask_type=self._mask_type) for one in examples]
        dense, known = dense_targets(examples, mask_type=self._mask_type)
        empty = torch.zeros((0, size, size), dtype=torch.uint8)
        masks = torch.cat([empty, *(one["masks"] for one in targets)]).numpy()
        classified, classes = self._draw_classified(generator)
        return Drawn(
            seed=seed,
            pictures=np.stack([one.image for one in examples]),
            boxes=torch.cat([torch.zeros((0, 4)), *(one["boxes"] for one in targets)]).numpy(),
            labels=torch.cat(
                [torch.zeros(0, dtype=torch.int64), *(one["labels"] for one in targets)]
            ).numpy(),
            masks=np.packbits(masks.reshape(len(masks), size * size), axis=-1),
            counts=tuple(len(one["labels"]) for one in targets),
            dense=np.packbits(dense.numpy().astype(bool).reshape(*dense.shape[:2], -1), axis=-1),
            known=known.numpy()[..., 0, 0],
            classified=classified,
            image_classes=classes,
        )

    def _draw_classified(self, generator: np.random.Generator) -> tuple[FloatArray, IntArray]:
        """Return (P, S, S) augmented pictures and their (P,) classes."""
        stage, size = self._stage, self._stage.size
        if self._classified is None:
            return np.zeros((0, size, size), np.float32), np.zeros(0, np.int64)
        drawn = self._classified.draw(generator, stage.image_batch)
        pictures = [
            augment(one, generator, size=size, zoom=stage.zoom, appearance=stage.appearance).image
            for one in drawn
        ]
        return np.stack(pictures), np.array([one.image_class for one in drawn], np.int64)

    def examples(self, generator: np.random.Generator) -> list[Example]:
        """Return the augmented examples of one batch."""
        stage = self._stage
        return [
            augment(
                self._changed(one, generator),
                generator,
                size=stage.size,
                zoom=stage.zoom,
                appearance=stage.appearance,
            )
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


def _donors(slices: Sequence[PackedSlice]) -> list[int]:
    """Return the slices with lesions that an expert outlined: what is pasted should be one."""
    return [k for k, one in enumerate(slices) if not one.unlabelled and one.lesion.any()]


def default_workers(device: torch.device) -> int:
    """Return how many processes draw: none beside a CPU that is busy with the network anyway."""
    return 0 if device.type == "cpu" else max(1, min(_MOST_WORKERS, (os.cpu_count() or 2) - 2))


def batches(
    steps: StageSteps, *, start: int, workers: int, device: torch.device
) -> Generator[Batch, None, None]:
    """Yield the batches from step ``start`` to the end of the stage, drawn ahead by ``workers`` processes.

    Close the generator to end the workers. With 0 workers each batch is drawn when it is asked for.

    Raises
    ------
    SettingsError
        If a worker was ended from outside (mostly for want of memory).
    """
    if workers:
        yield from _drawn_ahead(steps, range(start, len(steps)), workers, device)
    else:
        for step in range(start, len(steps)):
            yield steps.draw(step).on(device)


def _drawn_ahead(
    steps: StageSteps, order: Sequence[int], workers: int, device: torch.device
) -> Generator[Batch, None, None]:
    # Forked workers share the slices with this process; elsewhere each gets a copy.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("fork" if "fork" in methods else "spawn")
    pool = ProcessPoolExecutor(workers, context, initializer=_Worker.begin, initargs=(steps,))
    coming: deque[Future[Drawn]] = deque()
    left = iter(order)
    try:
        for step in left:
            coming.append(pool.submit(_Worker.draw, step))
            if len(coming) >= workers * _STEPS_AHEAD:
                yield coming.popleft().result().on(device)
        while coming:
            yield coming.popleft().result().on(device)
    except BrokenProcessPool as error:
        raise SettingsError(
            "A process that draws pictures ended unexpectedly, mostly for want of memory. Use fewer workers.",
            details=str(error),
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


class _Worker:
    """What a worker process holds."""

    steps: ClassVar[StageSteps]

    @classmethod
    def begin(cls, steps: StageSteps) -> None:
        cls.steps = steps
        # Ctrl-C is for the process that trains: it writes its checkpoint and ends the workers.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        torch.set_num_threads(1)
        threading.Thread(target=_end_with_parent, args=(os.getppid(),), daemon=True).start()

    @classmethod
    def draw(cls, step: int) -> Drawn:
        return cls.steps.draw(step)


def _end_with_parent(parent: int) -> None:
    """End this worker when the process that trains was killed: nobody else would."""
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY)
    os._exit(1)
