"""Where a training starts: random weights, segmentation weights, a trained classifier."""

from __future__ import annotations

import dataclasses

import torch

from model_core.base.errors import SettingsError, WeightsError
from model_core.base.settings import Architecture, InputSpec
from model_core.networks import CovidCTMaskNet, build
from model_core.networks.mask_rcnn import MaskRCNN
from model_core.train.systems.presets import Preset
from model_core.weights.store import LoadedWeights, load_weights


def new_network(architecture: Architecture, preset: Preset, spec: InputSpec, *, seed: int) -> MaskRCNN:
    """Return a network with random weights that depend on the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(architecture, preset.detector, preset.training, input_spec=spec)


def classifier_from_segmentation(base: LoadedWeights, preset: Preset, *, seed: int = 0) -> CovidCTMaskNet:
    """Return COVID-CT-Mask-Net on a trained detector: every entry of an equal name is copied (§5.1).

    Raises
    ------
    WeightsError
        If these are not segmentation weights.
    """
    if base.card.kind != "segmentation":
        raise WeightsError(
            f"'{base.card.name}' is a {base.card.kind.replace('_', '-')} file; a classifier starts from "
            "segmentation weights (--segmentation), or from a classifier (--from-classifier)."
        )
    architecture = dataclasses.replace(
        base.card.architecture,
        kind="classifier",
        roi_batch_size=preset.roi_batch_size,
        s_width=preset.s_width,
    )
    # The detector proposes as it will at inference: by its own card.
    preset = dataclasses.replace(preset, detector=base.card.detector)
    network = new_network(architecture, preset, base.card.input, seed=seed)
    assert isinstance(network, CovidCTMaskNet)
    own = network.state_dict()
    network.load_state_dict({**own, **{k: v for k, v in base.tensors.items() if k in own}})
    return network


def classifier_from_classifier(
    base: LoadedWeights, preset: Preset, *, base_segmentation: LoadedWeights | None = None, two_logits: bool
) -> CovidCTMaskNet:
    """Return a trained classifier to be fine-tuned on two classes, as in the iCTCF study of P1 (§1.3).

    ``two_logits`` keeps the rows of classes 0 and 2 of the last layer only; else ids 0 and 2 of the three
    logits are trained.

    Raises
    ------
    WeightsError
        If these are not classifier weights, or their detector is missing.
    SettingsError
        If two logits are asked of a classifier that has not three.
    """
    if base.card.kind != "classifier":
        raise WeightsError(f"'{base.card.name}' is no classifier but {base.card.kind.replace('_', '-')}.")
    tensors = dict(base.tensors)
    if all(name.startswith("s2new.") for name in tensors):
        if base_segmentation is None:
            raise WeightsError("This classifier stores module S alone: its segmentation weights are needed.")
        tensors = {**{k: v for k, v in base_segmentation.tensors.items() if ".mask_" not in k}, **tensors}
    architecture = base.card.architecture
    if two_logits:
        if architecture.image_classes != 3:
            raise SettingsError("Two logits can only be cut from a classifier with three.")
        architecture = dataclasses.replace(architecture, image_classes=2)
        for name in ("s2new.fc_scores_img.weight", "s2new.fc_scores_img.bias"):
            tensors[name] = tensors[name][[0, 2]]
    preset = dataclasses.replace(preset, detector=base.card.detector)
    network = new_network(architecture, preset, base.card.input, seed=0)
    assert isinstance(network, CovidCTMaskNet)
    own = network.state_dict()
    network.load_state_dict({**own, **{k: v for k, v in tensors.items() if k in own}})
    return network


def copy_segmentation_into(network: MaskRCNN, name_or_path: str) -> None:
    """Copy every entry of an equal name from segmentation weights (the pre-trained variants of P3).

    Raises
    ------
    WeightsError
        If the detectors differ.
    """
    base = load_weights(name_or_path)
    own = network.state_dict()
    if wrong := [k for k, v in base.tensors.items() if k not in own or own[k].shape != v.shape]:
        raise WeightsError(
            f"'{base.card.name}' does not fit this network (backbone, truncation, classes or anchors).",
            details=f"first: {wrong[0]}",
        )
    network.load_state_dict({**own, **base.tensors})
