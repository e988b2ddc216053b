"""Where the weights of a training start: a torchvision ResNet's file, or what fits of lesion weights.

A deeper network of the same kind (ResNet34 from ResNet18) begins by computing what the weights compute: the
blocks it has more start as identities (Net2DeeperNet, Chen et al. 2016), by a last BatchNorm whose factor is
zero (Goyal et al. 2017, section 5.1).
"""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from model_core.base.errors import SettingsError, WeightsError
from model_core.networks import MaskRCNN
from model_core.weights.entries import read_safetensors
from model_core.weights.published import as_tensors, read_published
from model_core.weights.store import SUFFIX, load_weights

logger = logging.getLogger(__name__)

# Layers with one row (or four) per region class, background first.
_PER_CLASS = ("roi_heads.box_predictor.", "roi_heads.mask_predictor.mask_fcn_logits.")
_FIRST_LAYER = "backbone.body.conv1.weight"
_LAST_NORM = re.compile(r"^(backbone\.body\.layer\d)\.(\d+)\.bn2\.weight$")  # of a basic block


def load_backbone(network: MaskRCNN, path: Path) -> dict[str, Any]:
    """Load a torchvision ResNet file (safetensors, or a state dict of torch) into the backbone.

    Entries of dropped stages and of the classification layer are left out. Returns what a card says of the
    start: the file's name and its SHA-256.

    Raises
    ------
    WeightsError
        If the file is missing or damaged, is not that ResNet, or holds NaN or infinite values.
    """
    try:
        data = path.read_bytes()
        if path.suffix == SUFFIX:
            tensors = as_tensors(read_safetensors(path.name, data)[0])
        else:
            tensors = read_published(path).tensors
    except OSError as error:
        raise WeightsError(
            f"The file '{path}' that the backbone starts from cannot be read: say where it lies with "
            "--backbone-weights FILE.",
            details=error.strerror or str(error),
        ) from error
    body = network.backbone.body.state_dict()
    given = {name: tensors[name] for name in body if name in tensors}
    needed = [name for name in body if not name.endswith("num_batches_tracked")]
    wrong = [name for name in needed if name not in given or given[name].shape != body[name].shape]
    if wrong:
        raise WeightsError(
            f"{path.name} is not a torchvision {network.architecture.backbone}: "
            f"{len(wrong)} of {len(body)} entries are missing or of another size.",
            details=f"first: {wrong[0]}",
        )
    network.backbone.body.load_state_dict({**body, **given})
    return {"backbone_file": path.name, "backbone_sha256": hashlib.sha256(data).hexdigest()}


def warm_start(network: nn.Module, weights: str, *, classes: int) -> str:
    """Copy what fits of segmentation weights into a network with ``classes`` region classes.

    Each lesion class starts as the last class of the weights. Returns the hash of the weights.

    Raises
    ------
    SettingsError
        If there are no such weights, or they are of another kind of backbone.
    WeightsError
        If the file is damaged.
    """
    start = load_weights(weights)
    own = network.state_dict()
    taken: dict[str, Tensor] = {}
    for name, tensor in own.items():
        given = start.tensors.get(name)
        if given is not None and name.startswith(_PER_CLASS):
            given = _with_classes(given, start.card.architecture.region_classes, classes)
        if given is not None and given.shape == tensor.shape:
            taken[name] = given
    if _FIRST_LAYER not in taken:
        raise SettingsError(f"The weights '{weights}' do not fit this network: their backbone is another.")
    taken |= _identities(own, taken)
    network.load_state_dict({**own, **taken})
    logger.info("%d of %d entries start from %s", len(taken), len(own), weights)
    return start.card.sha256


def _identities(own: Mapping[str, Tensor], taken: Iterable[str]) -> dict[str, Tensor]:
    """Return the zero factors of the blocks that follow, in one layer, a block that was taken over."""
    filled = {match[1] for match in map(_LAST_NORM.match, taken) if match}
    return {
        name: torch.zeros_like(own[name])
        for name in own.keys() - set(taken)
        if (match := _LAST_NORM.match(name)) and match[1] in filled
    }


def _with_classes(tensor: Tensor, before: int, after: int) -> Tensor:
    """Return the rows of the classes 0..after-1; new classes repeat the last one."""
    rows = tensor.reshape(before, -1, *tensor.shape[1:])
    order = [min(index, before - 1) for index in range(after)]
    return rows[order].reshape(-1, *tensor.shape[1:])
