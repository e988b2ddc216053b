"""What the logit of one region hangs on, its proposal held fixed: by autograd, through the box branch."""

from __future__ import annotations

from collections import OrderedDict

import torch
from torch import Tensor, nn

from model_core.networks.mask_rcnn import Features, MaskRCNN, flipped, mirrored


def region_logit(
    network: MaskRCNN, features: Features, box: Tensor, label: int, *, size: int, evidence: bool = False
) -> Tensor:
    """Return the logit of a class minus that of background in a (4,) box: a scalar with a gradient.

    The mean of both looks where ``features`` hold those of the mirror image, as in use.
    """
    head, predictor = network.box_branch(evidence=evidence)
    pooled = [one for one, _ in _pooled(network, features, box, size)]
    return torch.stack([_difference(head, predictor, one, label) for one in pooled]).mean()


def region_cells(
    network: MaskRCNN, features: Features, box: Tensor, label: int, *, size: int, evidence: bool = False
) -> tuple[Tensor, Tensor]:
    """Return that logit, and its gradient times activation on the (7, 7) cells of the box, channels summed.

    HiResCAM (Draelos & Carin 2020) on the RoI's own map; of two looks the mean, that of the mirror image
    turned back.
    """
    head, predictor = network.box_branch(evidence=evidence)
    logits, maps = [], []
    for pooled, is_mirrored in _pooled(network, features, box, size):
        leaf = pooled.detach().requires_grad_()
        logit = _difference(head, predictor, leaf, label)
        (slope,) = torch.autograd.grad(logit, leaf)
        cells = (slope * leaf.detach()).sum(dim=1)[0]
        logits.append(logit.detach())
        maps.append(cells.flip(-1) if is_mirrored else cells)
    return torch.stack(logits).mean(), torch.stack(maps).mean(dim=0)


def _difference(head: nn.Module, predictor: nn.Module, pooled: Tensor, label: int) -> Tensor:
    logits, _ = predictor(head(pooled))
    difference: Tensor = logits[0, label] - logits[0, 0]
    return difference


def _pooled(network: MaskRCNN, features: Features, box: Tensor, size: int) -> list[tuple[Tensor, bool]]:
    """Return the (1, channels, 7, 7) map of a box in each look, and whether it is of the mirror image."""
    other = mirrored(features)
    plain = OrderedDict((level, features[level]) for level in other) if other else features
    pool, shape = network.roi_heads.box_roi_pool, [(size, size)]
    found = [(pool(plain, [box[None]], shape), False)]
    if other:
        found.append((pool(other, flipped([box[None]], width=size), shape), True))
    return found
