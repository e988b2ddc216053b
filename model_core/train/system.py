"""What a training does in each step and with which settings: the part that differs between trainings."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from model_core.base.errors import SettingsError
from model_core.networks.mask_rcnn import MaskRCNN
from model_core.train.examples import Example
from model_core.train.parallel import Compute, Replicas

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
        `loop.SAVE_SECONDS` have brought.
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


def identity_of(kind: Mapping[str, Any], settings: TrainingSettings, size: int) -> str:
    """Return a hash of what must not change between a stop and a resume, with ``size`` examples."""
    fixed = {k: v for k, v in asdict(settings).items() if k not in ("epochs", "save_every", "workers")}
    text = json.dumps({**kind, **fixed, "size": size}, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


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
