"""What the logit of one region hangs on, its proposal held fixed: by autograd, through the box branch."""

from __future__ import annotations

import torch
from torch import Tensor

from model_core.networks.mask_rcnn import Features, MaskRCNN


def region_logit(
    network: MaskRCNN, features: Features, box: Tensor, label: int, *, size: int, evidence: bool = False
) -> Tensor:
    """Return the logit of a class minus that of background in a (4,) box: a scalar with a gradient."""
    return _difference(network, _pooled(network, features, box, size), label, evidence=evidence)


def region_cells(
    network: MaskRCNN, features: Features, box: Tensor, label: int, *, size: int, evidence: bool = False
) -> tuple[Tensor, Tensor]:
    """Return that logit, and its gradient times activation on the (7, 7) cells of the box, channels summed.

    HiResCAM (Draelos & Carin 2020) on the RoI's own map.
    """
    leaf = _pooled(network, features, box, size).detach().requires_grad_()
    logit = _difference(network, leaf, label, evidence=evidence)
    (slope,) = torch.autograd.grad(logit, leaf)
    return logit.detach(), (slope * leaf.detach()).sum(dim=1)[0]


def _difference(network: MaskRCNN, pooled: Tensor, label: int, *, evidence: bool) -> Tensor:
    head, predictor = network.box_branch(evidence=evidence)
    logits, _ = predictor(head(pooled))
    difference: Tensor = logits[0, label] - logits[0, 0]
    return difference


def _pooled(network: MaskRCNN, features: Features, box: Tensor, size: int) -> Tensor:
    """Return the (1, channels, 7, 7) map of a box."""
    pooled: Tensor = network.roi_heads.box_roi_pool(features, [box[None]], [(size, size)])
    return pooled
