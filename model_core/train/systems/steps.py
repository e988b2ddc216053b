"""What the steps of all systems share: which BatchNorm learns, losses as numbers, validation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import Parameter

from model_core.networks.mask_rcnn import at_least_single
from model_core.train.system import Losses


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


def summed(losses: Mapping[str, Tensor], totals: Losses, *, share: float = 1.0) -> Tensor:
    """Return the sum of the losses times ``share``, and add each to its total."""
    for name, loss in losses.items():
        totals[name] = totals.get(name, 0.0) + float(loss.detach()) * share
    # In half precision the sum of five losses would lose digits.
    return torch.stack([at_least_single(loss) for loss in losses.values()]).sum() * share
