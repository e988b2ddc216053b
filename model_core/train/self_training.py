"""Self-training: a network's own answers as labels of pictures that nobody outlined.

Pictures of patients with the disease, one slice each, show far more patients than the outlined ones. Once,
when a stage begins, the answer of the dense head for each is made its label, and the stage draws it like an
outlined slice ("pseudo labels", Lee 2013; for these lesions Fan et al. 2020, Semi-Inf-Net). Pictures whose
answer is unsure, or shows nothing, are left out: a study of a patient with the disease may have slices
without a lesion, but which ones nobody says.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Mapping, Sequence

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from model_core.base.arrays import ByteArray, FloatArray
from model_core.base.jobs import Progress
from model_core.networks import MaskRCNN
from model_core.train.dense import DenseHead
from model_core.train.geometry import Motion, warp
from model_core.train.packing import PackedSlice

SIZES = (384, 512)  # sides of the input that the answers are averaged over, each also mirrored
_EIGHT = np.ones((3, 3), bool)
_SMALLEST = 40  # pixels of the picture: smaller regions are dots
_MOST_UNSURE = 0.7  # area without an answer, of the lesion area
_UNSURE = (0.3, 0.7)  # values in between are no answer


def label_slices(
    network: MaskRCNN, head: DenseHead, slices: Sequence[PackedSlice], *, device: torch.device
) -> Generator[Progress | dict[str, Tensor], None, None]:
    """Yield `Progress` and, last, the lesion masks of the slices whose answer is sure.

    The answer is what the dense head of the network sees, averaged over `SIZES` and mirror images. The masks
    are bits, by `key_of` a slice, as `with_labels` takes them.
    """
    network.eval()
    found: dict[str, Tensor] = {}
    for number, one in enumerate(slices):
        yield Progress(number, len(slices), "labelling pictures")
        lesion = sure_lesion(_probability(network, head, one, device))
        if lesion is not None:
            found[key_of(one)] = torch.from_numpy(np.packbits(lesion))
    yield found


def key_of(one: PackedSlice) -> str:
    """Return the name of a slice in the labels."""
    return f"{one.source}/{one.name}"


def with_labels(slices: Sequence[PackedSlice], labels: Mapping[str, Tensor]) -> list[PackedSlice]:
    """Return the slices that can be learned from: unlabelled ones have their labels or are left out."""
    kept = []
    for one in slices:
        if not one.unlabelled:
            kept.append(one)
        elif key_of(one) in labels:
            bits = np.unpackbits(labels[key_of(one)].numpy(), count=one.image.size)
            kept.append(dataclasses.replace(one, labels=bits.reshape(one.image.shape)))
    return kept


def sure_lesion(probability: FloatArray) -> ByteArray | None:
    """Return the (H, W) mask of an answer; None where there is no lesion or it is mostly unsure."""
    regions, count = ndimage.label(probability > 0.5, structure=_EIGHT)
    areas = np.bincount(regions.ravel(), minlength=count + 1)
    large = areas >= _SMALLEST
    large[0] = False
    lesion: ByteArray = large[regions].astype(np.uint8)
    unsure = ((probability > _UNSURE[0]) & (probability < _UNSURE[1])).sum()
    if not lesion.any() or unsure > _MOST_UNSURE * lesion.sum():
        return None
    return lesion


@torch.inference_mode()
def _probability(network: MaskRCNN, head: DenseHead, one: PackedSlice, device: torch.device) -> FloatArray:
    """Return the (H, W) probability of a lesion, averaged over sizes and mirror images."""
    height, width = one.image.shape
    # The picture fills the middle of the square input, see `geometry.matrix`: -1..1 on its longer side.
    down = torch.linspace(1 - height, height - 1, height) / max(height, width)
    across = torch.linspace(1 - width, width - 1, width) / max(height, width)
    where = torch.stack(torch.meshgrid(across, down, indexing="xy"), dim=-1)[None].to(device)
    total = np.zeros((height, width), np.float32)
    for size in SIZES:
        picture, _, _ = warp(one.image, one.labels, Motion(), size=size)
        grey = torch.from_numpy(np.stack([picture, picture[:, ::-1]])).to(device)
        features = network.features(grey[:, None].expand(-1, 3, -1, -1))
        answer = torch.sigmoid(head(dict(features)["0"])[:, :1])
        both = torch.stack([answer[0], answer[1].flip(-1)]).mean(0, keepdim=True)
        here = F.grid_sample(both, where, padding_mode="border", align_corners=False)[0, 0]
        total += here.cpu().numpy() / np.float32(len(SIZES))
    return total
