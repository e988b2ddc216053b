"""What the trainer asks of a system, and the optimiser step they share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from model_core.networks.mask_rcnn import MaskRCNN
from model_core.train.systems.examples import Example
from model_core.train.systems.parallel import Compute, Replicas

Losses = dict[str, float]


class Stepper:
    """Backward, averaging over ranks and the Adam step, with mixed precision where it is asked for.

    Gradients are set to None, never to zero: with Adam a zero gradient still applies weight decay and
    momentum (§6.3).

    Parameters
    ----------
    network:
        What is trained; its parameters must have been chosen (`System.trained`).
    reaches_all:
        See `System.reaches_all`.
    """

    def __init__(
        self,
        network: nn.Module,
        optimizer: torch.optim.Optimizer,
        *,
        device: str = "cpu",
        mixed: bool = False,
        reaches_all: bool = False,
    ) -> None:
        self.optimizer = optimizer
        self._replicas = Replicas(network, reaches_all=reaches_all)
        self._device = device.split(":")[0]
        self._mixed = mixed
        self.scaler = torch.amp.GradScaler(self._device, enabled=mixed and self._device == "cuda")

    def autocast(self) -> AbstractContextManager[None]:
        """Context of the forward pass."""
        dtype = torch.float16 if self._device == "cuda" else torch.bfloat16
        return torch.autocast(self._device, dtype=dtype, enabled=self._mixed)

    def accumulate(self, parts: Sequence[Compute], weight: float) -> float:
        """Add up the gradients of ``parts``, each a share of this rank's mean loss over ``weight`` images.

        Returns the images of all ranks.
        """
        return self._replicas.accumulate(parts, weight, self._backward)

    def _backward(self, loss: Tensor) -> None:
        self.scaler.scale(loss).backward()  # type: ignore[no-untyped-call]

    def step(self, images: float) -> None:
        """Step, unless no rank had an image to learn from, and set gradients to None."""
        if images > 0:
            self.scaler.step(self.optimizer)
            self.scaler.update()
        self.clear()

    def clear(self) -> None:
        """Set every gradient to None."""
        self.optimizer.zero_grad(set_to_none=True)


class System(Protocol):
    """One of the papers' systems in training."""

    network: MaskRCNN
    losses: tuple[str, ...]
    """Names of the losses that `update` may return."""
    reaches_all: bool
    """Whether every loss reaches every trained parameter."""

    def trained(self) -> list[Parameter]:
        """Parameters of the optimiser, in registration order."""

    def update(self, batch: Sequence[Sequence[Example]], stepper: Stepper, seed: int) -> Losses:
        """Learn from one batch given as micro-batches (gradient accumulation); return its losses."""

    def validation_loss(self, batch: Sequence[Example], seed: int) -> Tensor:
        """Return the loss of a batch; no gradient, no statistics, no random state is touched."""

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold besides weights and optimiser."""

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""


def freeze_norms(network: nn.Module) -> None:
    """Keep the statistics of every BatchNorm, as in eval mode; its weights may still move."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def without_traces(network: nn.Module, compute: Callable[[], Tensor], *, seed: int) -> Tensor:
    """Compute a validation loss under a fixed seed; BatchNorm statistics and random states stay.

    The released "validation" runs in train mode with live statistics, so they absorb the test images;
    that is not copied.
    """
    modes = {module: module.training for module in network.modules()}
    try:
        with torch.random.fork_rng(), torch.no_grad():
            torch.manual_seed(seed)
            freeze_norms(network)
            return compute()
    finally:
        for module, training in modes.items():
            module.training = training


def trained_parameters(network: nn.Module, moves: Callable[[str], bool]) -> list[Parameter]:
    """Return the parameters whose names move, in registration order; the others need no gradient."""
    chosen = []
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(moves(name))
        if parameter.requires_grad:
            chosen.append(parameter)
    return chosen
