"""The loop that trains any of the systems: order, checkpoints, validation, log. Stops and resumes exactly.

Everything random in a step follows from (seed, step): the order of an epoch, the sampling of anchors and
RoIs, replication. So a resumed run takes the same steps as one that never stopped.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from model_core.base.errors import DataError, SettingsError
from model_core.base.files import atomic_path
from model_core.base.jobs import Progress
from model_core.train.checkpoints import read_checkpoint, write_checkpoint
from model_core.train.systems.examples import Example
from model_core.train.systems.parallel import average, broadcast, from_all, from_first, join
from model_core.train.systems.system import Losses, Stepper, System

CHECKPOINT, BEST, LAST, LOG = "checkpoint.pt", "best.pt", "last.pt", "log.csv"


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How long and in what portions.

    Attributes
    ----------
    batch:
        Images of one optimiser step, over all processes.
    micro_batch:
        Images that go through the network at once (gradient accumulation); 0 means all of the batch.
    save_every:
        Epochs between checkpoints of the whole training state; the last epoch is always saved.
    mixed_precision:
        fp16 on a GPU, bf16 elsewhere.
    """

    epochs: int
    batch: int = 1
    micro_batch: int = 0
    learning_rate: float = 1e-5
    weight_decay: float = 1e-3
    seed: int = 0
    save_every: int = 10
    mixed_precision: bool = False
    workers: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.batch, self.save_every) < 1 or self.micro_batch < 0 or self.workers < 0:
            raise SettingsError("Epochs, batch and save-every are at least 1.")
        if not (self.learning_rate > 0 and self.weight_decay >= 0):
            raise SettingsError("The learning rate is positive and the weight decay not negative.")


@dataclass(frozen=True)
class EpochReport:
    """What an epoch came to: mean losses by name, and the validation loss (None without a set)."""

    epoch: int
    losses: Losses
    validation: float | None
    best: bool


class Trainer:
    """Trains a system in a folder of its own; the folder holds checkpoint, best, last and the log.

    Parameters
    ----------
    kind:
        Names the system and everything that must not change between a stop and a resume.
    """

    def __init__(
        self,
        system: System,
        examples: Dataset[Example],
        settings: TrainingSettings,
        folder: Path,
        *,
        kind: dict[str, Any],
        validation: Dataset[Example] | None = None,
        device: str = "cpu",
    ) -> None:
        self.system, self.settings, self.folder = system, settings, folder
        self._examples, self._validation = examples, validation
        self._device = device
        self.rank, self.world = join()
        self.size = len(examples)  # type: ignore[arg-type]
        if self.size == 0:
            raise DataError("There is nothing to train on.")
        if settings.batch % self.world:
            raise SettingsError(f"A batch of {settings.batch} cannot be shared by {self.world} processes.")
        # torch's Adam adds weight decay to the gradient, as in the released code (no AdamW).
        self._optimizer = torch.optim.Adam(
            system.trained(), lr=settings.learning_rate, weight_decay=settings.weight_decay
        )
        # Here every rank takes the weights of rank 0.
        self._stepper = Stepper(
            system.network,
            self._optimizer,
            device=device,
            mixed=settings.mixed_precision,
            reaches_all=system.reaches_all,
        )
        fixed = {k: v for k, v in asdict(settings).items() if k not in ("epochs", "save_every", "workers")}
        self._fingerprint = hashlib.sha256(
            json.dumps({**kind, **fixed, "size": self.size}, sort_keys=True, default=str).encode()
        ).hexdigest()
        self.epoch, self.position, self.best = 0, 0, math.inf
        self._rows: list[dict[str, Any]] = []
        self._sums: dict[str, list[float]] = {}

    @property
    def batches(self) -> int:
        """Optimiser steps in one epoch."""
        return math.ceil(self.size / self.settings.batch)

    def load_optimizer(self, state: dict[str, Any], *, epoch: int) -> None:
        """Go on from a checkpoint in the released form: its optimiser state and epoch.

        Raises
        ------
        DataError
            If the state belongs to other parameters.
        """
        try:
            self._optimizer.load_state_dict(state)
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
            If it is damaged or belongs to other settings.
        """
        # Rank 0 reads for all: the folder may be on its machine alone. An error of its must stop all, too.
        state, error = None, None
        if not self.rank:
            try:
                state = read_checkpoint(self.folder / CHECKPOINT, recipe=self._fingerprint)
            except DataError as found:
                error = found
        state, error = from_first((state, error))
        if error is not None:
            raise error
        if state is None:
            return False
        self.system.network.load_state_dict(state["network"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._stepper.scaler.load_state_dict(state["scaler"])
        self.system.restore(state["system"])
        self.epoch, self.position, self.best = state["epoch"], state["position"], state["best"]
        self._rows = state["rows"]
        sums = state["sums"]  # by rank
        self._sums = sums[self.rank] if len(sums) == self.world else {}
        torch.set_rng_state(state["random"])
        return True

    def run(self, *, max_steps: int | None = None) -> Generator[Progress | EpochReport, None, None]:
        """Train to the last epoch, or for ``max_steps`` further steps; each step is a point to cancel.

        A checkpoint is written at the end of ``save_every`` epochs, at the end, and where ``max_steps`` or a
        cancel stops the run (with several processes a cancel falls back to the last one written). After an
        error the folder is as it was.

        Raises
        ------
        DataError
            If an example is damaged, or no slice of the epoch has a lesion.
        SettingsError
            If the loss is no longer a number.
        """
        total = self.settings.epochs * self.batches
        left = max_steps
        try:
            while self.epoch < self.settings.epochs:
                for batch in self._loader():
                    done = self.epoch * self.batches + self.position
                    if left is not None and left <= 0:
                        self.save()
                        return
                    yield Progress(done, total, f"Epoch {self.epoch + 1} of {self.settings.epochs}")
                    self._step(batch, done)
                    left = None if left is None else left - 1
                yield self._end_of_epoch()
        except GeneratorExit:
            if self.world == 1:
                self.save()
            raise
        self.save()
        yield Progress(total, total, "Done")

    def _step(self, batch: list[Example], number: int) -> None:
        seed = _mix(self.settings.seed, number)
        torch.manual_seed(_mix(seed, self.rank))
        size = self.settings.micro_batch or len(batch)
        parts = [batch[k : k + size] for k in range(0, len(batch), size)]
        for name, value in self.system.update(parts, self._stepper, seed).items():
            if not math.isfinite(value):
                raise SettingsError(
                    f"The loss '{name}' is {value} at step {number + 1}: training cannot go on. "
                    "Try a lower learning rate, or full precision."
                )
            self._sums.setdefault(name, []).append(value)
        self.position += 1

    def _loader(self) -> DataLoader[Example]:
        """Batches of this rank that are left in this epoch."""
        order = np.random.default_rng((self.settings.seed, self.epoch)).permutation(self.size)
        missing = self.batches * self.settings.batch - self.size
        # With one process the last batch is short; with several it is filled up so that all have a share.
        filled = np.concatenate((order, np.resize(order, missing))) if self.world > 1 else order
        batches = [
            filled[k : k + self.settings.batch][self.rank :: self.world].tolist()
            for k in range(0, len(filled), self.settings.batch)
        ]
        return DataLoader(
            self._examples,
            batch_sampler=batches[self.position :],
            num_workers=self.settings.workers,
            collate_fn=list,
        )

    def _end_of_epoch(self) -> EpochReport:
        # Every rank asks for every loss: one without lesions this epoch has values of its own for none.
        means = {}
        for name in self.system.losses:
            values = self._sums.get(name, [])
            means[name] = average(float(np.mean(values)) if values else 0.0, len(values), self._device)
        losses = {name: mean for name, mean in means.items() if not math.isnan(mean)}
        if not losses:
            raise DataError(
                "No slice of the training data has a lesion (larger than the smallest area kept)."
            )
        # BatchNorm statistics are each rank's own within an epoch; the checkpoint holds rank 0's.
        broadcast(self.system.network.buffers())
        validation = self._validate()
        watched = validation if validation is not None else sum(losses.values())
        is_best = watched < self.best
        self.epoch, self.position, self._sums = self.epoch + 1, 0, {}
        self._rows.append({"epoch": self.epoch, **losses, "validation": validation, "best": is_best})
        if is_best:
            self.best = watched
            self._write_weights(BEST)
        if self.epoch % self.settings.save_every == 0:
            self.save()
        return EpochReport(self.epoch, losses, validation, is_best)

    def _validate(self) -> float | None:
        if self._validation is None:
            return None
        loader = DataLoader(
            self._validation,
            batch_sampler=[[k] for k in range(self.rank, len(self._validation), self.world)],  # type: ignore[arg-type]
            num_workers=self.settings.workers,
            collate_fn=list,
        )
        losses = [
            float(self.system.validation_loss(batch, seed=self.rank + k * self.world))
            for k, batch in enumerate(loader)
        ]
        return average(float(np.mean(losses)) if losses else 0.0, len(losses), self._device)

    def save(self) -> None:
        """Write checkpoint, last weights and log (all ranks take part)."""
        sums = from_all(self._sums)
        if self.rank:
            return
        state = {
            "recipe": self._fingerprint,
            "network": self.system.network.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "scaler": self._stepper.scaler.state_dict(),
            "system": self.system.state(),
            "epoch": self.epoch,
            "position": self.position,
            "best": self.best,
            "rows": self._rows,
            "sums": sums,
            "random": torch.get_rng_state(),
        }
        write_checkpoint(self.folder / CHECKPOINT, state)
        self._write_weights(LAST)
        self._write_log()

    def _write_weights(self, name: str) -> None:
        if not self.rank:
            state = {key: value.cpu() for key, value in self.system.network.state_dict().items()}
            write_checkpoint(self.folder / name, {"recipe": self._fingerprint, "network": state})

    def weights(self, name: str = BEST) -> dict[str, Tensor]:
        """Return the best (or last) weights of the folder."""
        state = read_checkpoint(self.folder / name, recipe=self._fingerprint)
        if state is None:
            raise DataError(f"{name} is not there: no epoch has ended yet.")
        tensors: dict[str, Tensor] = state["network"]
        return tensors

    @property
    def optimizer_state(self) -> dict[str, Any]:
        """State of the optimiser, for a checkpoint in the released form."""
        return self._optimizer.state_dict()

    @property
    def rows(self) -> Sequence[dict[str, Any]]:
        """The log, one row per epoch."""
        return tuple(self._rows)

    def _write_log(self) -> None:
        columns = list(dict.fromkeys(key for row in self._rows for key in row))
        with (
            atomic_path(self.folder / LOG, overwrite=True) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as stream,
        ):
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows(self._rows)


def _mix(first: int, second: int) -> int:
    """Return a seed that two numbers determine."""
    return int(np.random.SeedSequence((first, second)).generate_state(1, np.uint64)[0] >> np.uint64(1))
