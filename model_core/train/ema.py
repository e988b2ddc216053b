"""Exponential moving average of weights and BatchNorm statistics."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class WeightAverage:
    """Running average of a module's state; integer entries are copied.

    The decay warms up as (1 + t) / (10 + t), so that early averages follow the network.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.state: dict[str, Tensor] = {
            name: tensor.detach().clone() for name, tensor in module.state_dict().items()
        }

    def restore(self, state: dict[str, Tensor], *, updates: int) -> None:
        """Take up a stored average, whatever device it was stored from."""
        self.state = {name: tensor.to(self.state[name].device) for name, tensor in state.items()}
        self.updates = updates

    @torch.no_grad()
    def update(self, module: nn.Module) -> None:
        """Move the average towards the module."""
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        self.updates += 1
        for name, tensor in module.state_dict().items():
            if tensor.is_floating_point():
                self.state[name].lerp_(tensor, 1 - decay)
            else:
                self.state[name].copy_(tensor)
