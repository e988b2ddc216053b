"""The loop of every training: steps, checkpoints, validation, log. Stops and resumes exactly.

What a step does and moves is a `system.System`, what the steps of an epoch learn from a `course.Course`.
Everything random in a step follows from (seed, epoch, position in it): what is drawn, the sampling of anchors
and RoIs, replication. So a resumed run takes the same steps as one that never stopped. On one CPU that is
exact; a GPU adds gradients of RoIs in no fixed order, so runs there agree only closely.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from model_core.base.errors import DataError, SettingsError
from model_core.base.files import atomic_path
from model_core.base.jobs import Progress
from model_core.networks.mask_rcnn import MaskRCNN
from model_core.train.checkpoints import read_checkpoint, write_checkpoint
from model_core.train.course import Course, drawn, taken
from model_core.train.examples import Example
from model_core.train.parallel import average, broadcast, from_all, from_first, join
from model_core.train.system import Losses, Stepper, System, TrainingSettings

CHECKPOINT, LOG = "checkpoint.pt", "log.csv"
SAVE_SECONDS = 180.0


@dataclass(frozen=True)
class EpochReport:
    """What an epoch came to: mean losses by name, and the validation loss (None without a set)."""

    epoch: int
    losses: Losses
    validation: float | None
    best: bool


class Training:
    """Trains a system on a course in a folder of its own, which holds the checkpoint and the log.

    Parameters
    ----------
    identity:
        Hash of what must not change between a stop and a resume.
    validation:
        Examples whose loss says which epoch is best.
    """

    def __init__(
        self,
        system: System,
        course: Course,
        folder: Path,
        *,
        settings: TrainingSettings,
        identity: str,
        validation: Dataset[Example] | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.system, self.course, self.folder, self.settings = system, course, folder, settings
        self._identity, self._validation, self._device = identity, validation, device
        self.rank, self.world = join()
        # Here every rank takes the weights of rank 0.
        self._stepper = Stepper(
            system.network,
            system.optimizer(settings),
            device=device,
            mixed=settings.mixed_precision,
            half=system.half,
            reaches_all=system.reaches_all,
            clip_norm=system.clip_norm,
        )
        self.epoch, self.position, self.best = 0, 0, math.inf
        self._best_weights: dict[str, Tensor] | None = None
        self._rows: list[dict[str, Any]] = []
        self._sums: dict[str, list[float]] = {}
        self._saved = time.monotonic()

    # -- state ------------------------------------------------------------------------------------

    @property
    def network(self) -> MaskRCNN:
        """The network in training."""
        return self.system.network

    @property
    def finished(self) -> bool:
        """Whether every epoch is done."""
        return self.epoch >= self.course.epochs

    @property
    def rows(self) -> Sequence[dict[str, Any]]:
        """The log."""
        return tuple(self._rows)

    @property
    def optimizer_state(self) -> dict[str, Any]:
        """State of the optimiser, for a checkpoint in the released form."""
        return self._stepper.optimizer.state_dict()

    def steps_done(self) -> tuple[int, int]:
        """Return how many steps were made, of how many."""
        steps = [self.course.steps(epoch) for epoch in range(self.course.epochs)]
        return sum(steps[: self.epoch]) + self.position, sum(steps)

    def best_weights(self) -> dict[str, Tensor]:
        """Return the weights of the best epoch.

        Raises
        ------
        DataError
            If no epoch has ended yet.
        """
        if self._best_weights is None:
            raise DataError("There are no best weights: no epoch has ended yet.")
        return self._best_weights

    def load_optimizer(self, state: dict[str, Any], *, epoch: int) -> None:
        """Go on from a checkpoint in the released form: its optimiser state and epoch.

        Raises
        ------
        DataError
            If the state belongs to other parameters.
        """
        try:
            self._stepper.optimizer.load_state_dict(state)
        except (ValueError, KeyError) as error:
            raise DataError(
                "The optimiser state of the checkpoint belongs to another training mode.", details=str(error)
            ) from error
        self.epoch = epoch

    def resume(self) -> bool:
        """Take up the checkpoint of the folder, if there is one; return whether there was.

        Raises
        ------
        DataError
            If it is damaged, of an older version, or belongs to other settings.
        """
        # Rank 0 reads for all: the folder may be on its machine alone. An error of its must stop all, too.
        state, error = None, None
        if not self.rank:
            try:
                state = read_checkpoint(self.folder / CHECKPOINT, identity=self._identity)
            except DataError as found:
                error = found
        state, error = from_first((state, error))
        if error is not None:
            raise error
        if state is None:
            return False
        self.network.load_state_dict(state["network"])
        self._stepper.optimizer.load_state_dict(state["optimizer"])
        self._stepper.scaler.load_state_dict(state["scaler"])
        self.system.restore(state["system"])
        self.epoch, self.position, self.best = state["epoch"], state["position"], state["best"]
        self._best_weights = state["best_weights"]
        self._rows = state["rows"]
        sums = state["sums"]  # by rank
        self._sums = sums[self.rank] if len(sums) == self.world else {}
        return True

    def save(self) -> None:
        """Write checkpoint and log (all ranks take part)."""
        sums = from_all(self._sums)
        self._saved = time.monotonic()
        if self.rank:
            return
        state = {
            "identity": self._identity,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer_state,
            "scaler": self._stepper.scaler.state_dict(),
            "system": self.system.state(),
            "epoch": self.epoch,
            "position": self.position,
            "best": self.best,
            "best_weights": self._best_weights,
            "rows": self._rows,
            "sums": sums,
        }
        write_checkpoint(self.folder / CHECKPOINT, state)
        columns = list(dict.fromkeys(key for row in self._rows for key in row))
        with (
            atomic_path(self.folder / LOG, overwrite=True) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as stream,
        ):
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows(self._rows)

    # -- running ----------------------------------------------------------------------------------

    def run(self, *, max_steps: int | None = None) -> Generator[Progress | EpochReport, None, None]:
        """Train to the last epoch, or for ``max_steps`` further steps; close the generator to stop.

        A checkpoint is written every few epochs and minutes, at the end, and where ``max_steps`` or a
        close stops the run (with several processes a close falls back to the last one written). An error
        leaves the last one.

        Raises
        ------
        DataError
            If an example is damaged, or no slice of the epoch has a lesion.
        SettingsError
            If the loss is no longer a number.
        """
        end = None if max_steps is None else self.steps_done()[0] + max_steps
        try:
            while not self.finished and self.steps_done()[0] != end:
                self.system.enter(self.epoch)
                yield from self._epoch(end)
                if self.position < self.course.steps(self.epoch):
                    break  # as many steps as were asked for
                yield self._end_of_epoch()
        except GeneratorExit:
            if self.world == 1:
                self.save()
            raise
        self.save()
        done, total = self.steps_done()
        yield Progress(done, total, "Done")

    def _epoch(self, end: int | None) -> Generator[Progress, None, None]:
        """Make the steps of an epoch that are left, up to step ``end`` of all."""
        text = f"{self.course.title} {self.epoch + 1} of {self.course.epochs}"
        done, total = self.steps_done()
        with closing(self.course.batches(self.epoch, self.position)) as batches:
            for batch in batches:
                if done == end:
                    return
                yield Progress(done, total, text)
                self._step(batch)
                done += 1
                # Ranks do not agree on the time.
                if self.world == 1 and time.monotonic() - self._saved > SAVE_SECONDS:
                    self.save()

    def _step(self, batch: list[Example]) -> None:
        seed = _mix(self.settings.seed, self.epoch, self.position)
        torch.manual_seed(_mix(seed, self.rank))
        rate = self.system.rate(self.epoch, self.position)
        for group in self._stepper.optimizer.param_groups if rate is not None else ():
            group["lr"] = rate
        size = self.settings.micro_batch or len(batch)
        parts = [batch[k : k + size] for k in range(0, len(batch), size)]
        for name, value in self.system.update(parts, self._stepper, seed).items():
            if not math.isfinite(value):
                raise SettingsError(
                    f"The loss '{name}' is {value} at step {self.steps_done()[0] + 1}: training cannot go "
                    "on. Try a lower learning rate, or full precision."
                )
            self._sums.setdefault(name, []).append(value)
        self.position += 1
        if self.system.log_every and self.position % self.system.log_every == 0:
            self._log()

    def _log(self, **more: Any) -> Losses:
        """Add a row of the mean losses since the row before, and return them."""
        # Every rank asks for every loss: one without lesions this epoch has values of its own for none.
        means = {}
        for name in self.system.losses:
            values = self._sums.get(name, [])
            means[name] = average(float(np.mean(values)) if values else 0.0, len(values), self._device)
        losses = {name: mean for name, mean in means.items() if not math.isnan(mean)}
        if losses or more:
            self._rows.append({"epoch": self.epoch + 1, "step": self.position, **losses, **more})
        self._sums = {}
        return losses

    def _end_of_epoch(self) -> EpochReport:
        # BatchNorm statistics are each rank's own within an epoch; the checkpoint holds rank 0's.
        broadcast(self.network.buffers())
        losses, validation, is_best = self._log(), None, False
        if self.system.keeps_best:
            if not losses:
                raise DataError(
                    "No slice of the training data has a lesion (larger than the smallest area kept)."
                )
            validation = self._validate()
            watched = validation if validation is not None else sum(losses.values())
            is_best = watched < self.best
            self._rows[-1] |= {"validation": validation, "best": is_best}
            if is_best:
                self.best = watched
                weights = self.network.state_dict()
                self._best_weights = {key: value.cpu().clone() for key, value in weights.items()}
        self.epoch, self.position = self.epoch + 1, 0
        if self.system.restarts:
            self._stepper.optimizer = self.system.optimizer(self.settings)
        if self.epoch % self.settings.save_every == 0:
            self.save()
        return EpochReport(self.epoch, losses, validation, is_best)

    def _validate(self) -> float | None:
        if self._validation is None:
            return None
        examples = self._validation
        mine = [[index] for index in range(self.rank, len(examples), self.world)]  # type: ignore[arg-type]
        draw = partial(taken, examples, mine)
        with closing(drawn(draw, range(len(mine)), self.settings.workers)) as batches:
            losses = [
                float(self.system.validation_loss(batch, seed=self.rank + k * self.world))
                for k, batch in enumerate(batches)
            ]
        return average(float(np.mean(losses)) if losses else 0.0, len(losses), self._device)


def _mix(*numbers: int) -> int:
    """Return a seed that several numbers determine."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
