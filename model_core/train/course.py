"""What the steps of a training learn from, drawn in this process or ahead of time in others."""

from __future__ import annotations

import math
import multiprocessing
import signal
import warnings
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any, Protocol

import numpy as np
from torch.utils.data import DataLoader, Dataset

from model_core.base.errors import CTMaskNetError, DataError, SettingsError
from model_core.train.examples import Example
from model_core.train.parallel import join
from model_core.train.system import TrainingSettings


class Course(Protocol):
    """What the steps of each epoch learn from; an epoch is a pass over the examples, or a stage."""

    epochs: int
    title: str
    """What an epoch is called."""

    def steps(self, epoch: int) -> int:
        """Return the steps of an epoch."""

    def batches(self, epoch: int, start: int) -> Generator[list[Example], None, None]:
        """Yield the batches from step ``start`` to the end of the epoch."""


class Passes:
    """Every example once an epoch, in an order that the seed and the epoch decide; this rank's share."""

    title = "Epoch"

    def __init__(self, examples: Dataset[Example], settings: TrainingSettings) -> None:
        self.epochs, self._settings, self._examples = settings.epochs, settings, examples
        self._rank, self._world = join()
        self.size = len(examples)  # type: ignore[arg-type]
        if self.size == 0:
            raise DataError("There is nothing to train on.")
        if settings.batch % self._world:
            raise SettingsError(f"A batch of {settings.batch} cannot be shared by {self._world} processes.")

    def steps(self, _epoch: int = 0) -> int:
        """Return the optimiser steps of an epoch."""
        return math.ceil(self.size / self._settings.batch)

    def batches(self, epoch: int, start: int) -> Generator[list[Example], None, None]:
        """See `Course.batches`."""
        batch = self._settings.batch
        order = np.random.default_rng((self._settings.seed, epoch)).permutation(self.size)
        # With one process the last batch is short; with several it is filled up so that all have a share.
        filled = np.resize(order, self.steps() * batch) if self._world > 1 else order
        mine = [
            filled[k * batch : (k + 1) * batch][self._rank :: self._world].tolist()
            for k in range(self.steps())
        ]
        return drawn(partial(taken, self._examples, mine), range(start, len(mine)), self._settings.workers)


def taken(examples: Dataset[Example], batches: Sequence[Sequence[int]], step: int) -> list[Example]:
    """Return the examples of a step, given the indices of each."""
    return [examples[index] for index in batches[step]]


def drawn(
    draw: Callable[[int], list[Example]], order: Sequence[int], workers: int
) -> Generator[list[Example], None, None]:
    """Yield ``draw(step)`` of each step, prepared ahead by ``workers`` processes; close it to end them.

    Raises
    ------
    SettingsError
        If a worker was ended from outside (mostly for want of memory).
    """
    if not workers:
        yield from map(draw, order)
        return
    # Forked workers share the slices with this process; elsewhere each gets a copy.
    methods = multiprocessing.get_all_start_methods()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # more workers than CPUs are somebody's choice
        ahead = iter(
            DataLoader(
                _Steps(draw),
                batch_size=None,
                sampler=order,
                num_workers=workers,
                collate_fn=_as_it_is,
                worker_init_fn=_leave_signals,
                multiprocessing_context="fork" if "fork" in methods else "spawn",
            )
        )
    while True:
        try:
            batch = next(ahead)
        except StopIteration:
            return
        except RuntimeError as error:
            raise SettingsError(
                "A process that draws pictures ended unexpectedly, mostly for want of memory. Use fewer "
                "workers.",
                details=str(error),
            ) from error
        if isinstance(batch, CTMaskNetError):
            raise batch
        yield batch


class _Steps(Dataset[Any]):
    """Steps as torch's loader asks for them; an error of ours comes back whole."""

    def __init__(self, draw: Callable[[int], list[Example]]) -> None:
        self._draw = draw

    def __getitem__(self, step: int) -> list[Example] | CTMaskNetError:
        try:
            return self._draw(step)
        except CTMaskNetError as error:
            return error


def _as_it_is(batch: Any) -> Any:
    return batch


def _leave_signals(_worker: int) -> None:
    """Leave Ctrl-C to the process that trains: it writes its checkpoint and ends the workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
