"""Training targets of the detector and of the dense head from a label picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model_core.base.arrays import ByteArray
from model_core.data import instances
from model_core.data.schemes import CONSOLIDATION
from model_core.networks.mask_rcnn import Target
from model_core.train.augment import Example

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


def dense_channels(mask_type: str) -> int:
    """Return how many channels the dense head has: lesion and lung, and consolidation with "both"."""
    return 3 if mask_type == "both" else 2


def dense_targets(examples: Sequence[Example], *, mask_type: str) -> tuple[Tensor, Tensor]:
    """Return (B, C, S, S) of the channels of `dense_channels`, and (B, C, 1, 1) which are known."""
    size = examples[0].lesion.shape
    channels = dense_channels(mask_type)
    target = np.zeros((len(examples), channels, *size), np.float32)
    known = np.ones((len(examples), channels, 1, 1), np.float32)
    for row, one in enumerate(examples):
        target[row, 0] = one.lesion > 0
        known[row, 1] = one.lung is not None
        if one.lung is not None:
            target[row, 1] = one.lung
        if channels == 3:
            target[row, 2] = one.lesion == CONSOLIDATION
    return torch.from_numpy(target), torch.from_numpy(known)
