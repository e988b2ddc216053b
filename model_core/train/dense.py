"""A light pixel classifier on the FPN map, for pre-training the backbone; never exported."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from model_core.networks.backbone import FPN_CHANNELS
from model_core.train.examples import Example

SHUFFLE = 4  # sub-pixels per side that one FPN cell predicts


class DenseHead(nn.Module):
    """1x1 convolution to SHUFFLE x SHUFFLE sub-pixels per cell and channel: stride 16 answers at stride 4.

    What the channels are, `drawing.dense_channels` says.
    """

    def __init__(self, channels: int = 2) -> None:
        super().__init__()
        self.predict = nn.Conv2d(FPN_CHANNELS, channels * SHUFFLE**2, 1)
        nn.init.normal_(self.predict.weight, std=0.01)
        assert self.predict.bias is not None
        nn.init.constant_(self.predict.bias, -2.0)  # most pixels are neither

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, 256, s, s) to (B, channels, 4s, 4s) logits."""
        logits: Tensor = F.pixel_shuffle(self.predict(features), SHUFFLE)
        return logits


def dense_loss(logits: Tensor, examples: Sequence[Example]) -> Tensor:
    """Binary cross-entropy plus soft Dice over the batch, on the grid of the logits.

    The pixels of the examples are averaged down; channels that are not known are left out.
    """
    target = torch.from_numpy(np.stack([one.pixels for one in examples])).to(logits.device).float()
    known = torch.from_numpy(np.stack([one.known for one in examples])).to(logits.device).float()
    known = known[..., None, None]
    stride = target.shape[-1] // logits.shape[-1]
    wanted = F.avg_pool2d(target, stride)
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    loss = (entropy * known).sum() / (known.sum() * entropy[0, 0].numel()).clamp(min=1)
    share = torch.sigmoid(logits) * known
    both = (share * wanted).sum((0, 2, 3))
    total = (share + wanted * known).sum((0, 2, 3))
    present = (known.sum((0, 2, 3)) > 0).float()
    dice = (1 - (2 * both + 1) / (total + 1)) * present
    return loss + dice.sum() / present.sum().clamp(min=1)
