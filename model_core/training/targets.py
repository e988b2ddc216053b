"""Training targets of the detector and of the dense head from a label picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model_core.datasets import instances
from model_core.networks.mask_rcnn import Target
from model_core.training.augment import Example
from model_core.types import ByteArray

# In pixels of the input: smaller components are neither learned nor seen at stride 16.
MIN_AREA = 24


def detection_target(lesion: ByteArray, *, mask_type: str, min_area: int = MIN_AREA) -> Target:
    """Return boxes (K, 4) as pixel edges, labels (K,) and masks (K, S, S) uint8 of the components."""
    masks, labels = instances(lesion, mask_type, min_area)
    boxes = np.zeros((len(masks), 4), np.float32)
    for row, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        boxes[row] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    return {
        "boxes": torch.from_numpy(boxes),
        "labels": torch.from_numpy(labels),
        "masks": torch.from_numpy(masks.astype(np.uint8)),
    }


def images(examples: Sequence[Example]) -> Tensor:
    """Return (B, 3, S, S) network input in 0..1."""
    stacked = torch.from_numpy(np.stack([one.image for one in examples]))
    return stacked[:, None].expand(-1, 3, -1, -1).contiguous(memory_format=torch.channels_last)


def dense_targets(examples: Sequence[Example]) -> tuple[Tensor, Tensor]:
    """Return (B, 2, S, S) lesion and lung, and (B, 2, 1, 1) which of the two is known."""
    size = examples[0].lesion.shape
    target = np.zeros((len(examples), 2, *size), np.float32)
    known = np.zeros((len(examples), 2, 1, 1), np.float32)
    for row, one in enumerate(examples):
        target[row, 0], known[row, 0] = one.lesion > 0, 1.0
        if one.lung is not None:
            target[row, 1], known[row, 1] = one.lung, 1.0
    return torch.from_numpy(target), torch.from_numpy(known)
