"""The loop of every training: steps, checkpoints, validation, log. Stops and resumes exactly.

What a step does and what it moves is a `System`; what the steps of an epoch learn from is a `Course`.
Everything random in a step follows from (seed, epoch, position in it): what is drawn, the sampling of anchors
and RoIs, replication. So a resumed run takes the same steps as one that never stopped. On one CPU that is
exact; a GPU adds gradients of RoIs in no fixed order, so runs there agree only closely.
"""

from __future__ import annotations

import csv
import hashlib
import json
import logging
import math
import multiprocessing
import signal
import time
import warnings
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import Parameter
from torch.utils.data import DataLoader, Dataset

from model_core.base.errors import CTMaskNetError, DataError, SettingsError
from model_core.base.jobs import Progress
from model_core.networks.mask_rcnn import MaskRCNN
from model_core.train.checkpoints import read_checkpoint, write_checkpoint
from model_core.train.examples import Example
from model_core.train.parallel import Compute, Replicas, average, broadcast, from_all, from_first, join

logger = logging.getLogger(__name__)

CHECKPOINT, LOG = "checkpoint.pt", "log.csv"
SAVE_SECONDS = 180.0

Losses = dict[str, float]


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
        Epochs between checkpoints of the whole training state; the last epoch is always saved, and what
        `SAVE_SECONDS` have brought.
    mixed_precision:
        Convolutions in half precision (`System.half`).
    workers:
        Processes that prepare the pictures of later steps. The result does not depend on it.
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


# ------------------------------------------------------------------------------------- what is trained


class Stepper:
    """Backward, averaging over ranks and the optimiser's step, with mixed precision where it is asked for.

    Gradients are set to None, never to zero: with Adam a zero gradient still applies weight decay and
    momentum (§6.3).

    Parameters
    ----------
    network:
        What is trained; its parameters must have been chosen (`System.optimizer`).
    mixed:
        See `TrainingSettings`.
    half, reaches_all, clip_norm:
        See `System`.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        device: torch.device | str = "cpu",
        mixed: bool = False,
        half: torch.dtype = torch.float16,
        reaches_all: bool = False,
        clip_norm: float | None = None,
    ) -> None:
        self.optimizer = optimizer
        self._replicas = Replicas(network, reaches_all=reaches_all)
        self._kind = torch.device(device).type
        self._mixed, self._half = mixed, half if self._kind == "cuda" else torch.bfloat16
        self._clip_norm = clip_norm
        self.scaler = torch.amp.GradScaler(self._kind, enabled=mixed and self._half == torch.float16)

    def autocast(self) -> AbstractContextManager[None]:
        """Context of the forward pass."""
        return torch.autocast(self._kind, dtype=self._half, enabled=self._mixed)

    def accumulate(self, parts: Sequence[Compute], weight: float) -> float:
        """Add up the gradients of ``parts``, each a share of this rank's mean loss over ``weight`` images.

        Returns the images of all ranks.
        """
        return self._replicas.accumulate(parts, weight, self._backward)

    def _backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, images: float) -> float:
        """Step, unless no rank had an image to learn from, and set gradients to None.

        Returns the norm of the gradient before it was clipped, NaN where it is not.
        """
        norm = math.nan
        if images > 0:
            if self._clip_norm is not None:
                everything = [p for group in self.optimizer.param_groups for p in group["params"]]
                self.scaler.unscale_(self.optimizer)
                norm = float(nn.utils.clip_grad_norm_(everything, self._clip_norm))
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)
        return norm


class System:
    """What a step does and which parameters move; each kind of training is one.

    Attributes
    ----------
    losses:
        Names of the losses that `update` may return.
    reaches_all:
        Whether every loss reaches every trained parameter.
    clip_norm:
        Largest norm of the gradient, or None.
    half:
        Half precision on a GPU: float16 with scaled losses, or bfloat16, which has the range of float32.
    restarts:
        The optimiser begins anew in every epoch.
    log_every:
        Steps between two rows of the log; 0 gives each epoch a row.
    keeps_best:
        The weights of the best epoch are kept besides the last.
    """

    network: MaskRCNN
    losses: tuple[str, ...]
    reaches_all = True
    clip_norm: float | None = None
    half = torch.float16
    restarts = False
    log_every = 0
    keeps_best = True

    def trained(self) -> list[Parameter]:
        """Parameters of the optimiser, in registration order."""
        raise NotImplementedError

    def optimizer(self, settings: TrainingSettings) -> torch.optim.Optimizer:
        """Return torch's Adam, which adds weight decay to the gradient as in the released code (no AdamW)."""
        return torch.optim.Adam(self.trained(), lr=settings.learning_rate, weight_decay=settings.weight_decay)

    def begin(self, _epoch: int) -> Generator[Progress, None, None]:
        """Prepare an epoch before its first step; a stop in between has prepared nothing."""
        yield from ()

    def enter(self, epoch: int) -> None:
        """Take the settings of an epoch, also in its middle."""

    def rate(self, _epoch: int, _position: int) -> float | None:
        """Return the learning rate of a step; None leaves it."""
        return None

    def update(self, batch: Sequence[Sequence[Example]], stepper: Stepper, seed: int) -> Losses:
        """Learn from one batch given as micro-batches (gradient accumulation); return its losses."""
        raise NotImplementedError

    def validation_loss(self, batch: Sequence[Example], seed: int) -> Tensor:
        """Return the loss of a batch; no gradient, no statistics, no random state is touched."""
        raise NotImplementedError

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold besides weights and optimiser."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""


# ----------------------------------------------------------------------------- what it is trained on


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
        return drawn(partial(_taken, self._examples, mine), range(start, len(mine)), self._settings.workers)


def _taken(examples: Dataset[Example], batches: Sequence[Sequence[int]], step: int) -> list[Example]:
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


# ------------------------------------------------------------------------------------------ the loop


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
        temporary = self.folder / (LOG + ".part")
        with temporary.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, columns)
            writer.writeheader()
            writer.writerows(self._rows)
        temporary.replace(self.folder / LOG)

    # -- running ----------------------------------------------------------------------------------

    def run(self, *, max_steps: int | None = None) -> Generator[Progress | EpochReport, None, None]:
        """Train to the last epoch, or for ``max_steps`` further steps; close the generator to stop.

        A checkpoint is written every few epochs and minutes, at the end, and where ``max_steps`` or a
        close stops the run (with several processes a close falls back to the last one written). After an
        error the folder is as it was.

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
                if self.position == 0:
                    yield from self.system.begin(self.epoch)
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
        draw = partial(_taken, examples, mine)
        with closing(drawn(draw, range(len(mine)), self.settings.workers)) as batches:
            losses = [
                float(self.system.validation_loss(batch, seed=self.rank + k * self.world))
                for k, batch in enumerate(batches)
            ]
        return average(float(np.mean(losses)) if losses else 0.0, len(losses), self._device)


def _mix(*numbers: int) -> int:
    """Return a seed that several numbers determine."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))


def identity_of(kind: Mapping[str, Any], settings: TrainingSettings, size: int) -> str:
    """Return a hash of what must not change between a stop and a resume, with ``size`` examples."""
    fixed = {k: v for k, v in asdict(settings).items() if k not in ("epochs", "save_every", "workers")}
    text = json.dumps({**kind, **fixed, "size": size}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
