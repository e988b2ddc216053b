"""From weight files to a `Pipeline` that runs their networks in torch."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from model_core.base.errors import WeightsError
from model_core.engine.pipeline import Pipeline
from model_core.engine.torch_backend import TorchBackend, choose_device
from model_core.networks import ImageHead, MaskRCNN, build
from model_core.weights.store import (
    LoadedWeights,
    default_names,
    find_base,
    load_weights,
    same_detector,
)

_LOG = logging.getLogger(__name__)


def load_pipeline(names: Sequence[str] = (), *, device: str = "auto", fast: bool = False) -> Pipeline:
    """Load the weights of these names or files; none means the shipped default.

    One single-shot file; one segmentation file (no image class); a segmentation and a classifier file in
    any order; or a classifier alone. Of one that stores module S alone the segmentation file is found by its
    hash; one that is whole, as released, computes the class, and masks come from the default segmentation
    weights, in a pass of their own. ``fast`` leaves out mirror images, see `Pipeline`.

    Raises
    ------
    WeightsError
        If a file is missing or damaged, or the files do not go together.
    SettingsError
        If the device does not exist.
    """
    loaded = [load_weights(name) for name in (names or default_names())]
    by_kind = {weights.card.kind: weights for weights in loaded}
    if len(by_kind) != len(loaded) or ("single_shot" in by_kind and len(loaded) > 1):
        raise WeightsError(
            "Give one single-shot file, or one segmentation and one classifier file; found: "
            + ", ".join(f"{w.card.name} ({w.card.kind.replace('_', '-')})" for w in loaded)
            + "."
        )
    chosen = choose_device(device)
    if "single_shot" in by_kind:
        pipeline = _single_shot(by_kind["single_shot"], chosen)
    else:
        classifier = by_kind.get("classifier")
        if "segmentation" not in by_kind:
            assert classifier is not None
            by_kind["segmentation"] = _masks_for(classifier)
        pipeline = _pair(by_kind["segmentation"], classifier, chosen)
    pipeline.fast = fast
    return pipeline


def load_network(weights: LoadedWeights) -> MaskRCNN:
    """Return the network of a weight file, with its entries.

    Raises
    ------
    WeightsError
        If they do not fit the architecture of the card.
    """
    tensors = weights.tensors
    network = build(weights.card.architecture, weights.card.detector, input_spec=weights.card.input)
    own = network.state_dict()
    if wrong := [name for name, t in tensors.items() if name in own and own[name].shape != t.shape]:
        raise WeightsError(
            f"The entries of '{weights.path.name}' do not fit the architecture of its card.",
            details=f"{wrong[0]}: {tuple(tensors[wrong[0]].shape)}, not {tuple(own[wrong[0]].shape)}",
        )
    missing, unexpected = network.load_state_dict(tensors, strict=False)
    # Files of the first release keep the mask branch in a classifier; frozen BatchNorm has no counters.
    missing = [name for name in missing if not name.endswith("num_batches_tracked")]
    unexpected = [name for name in unexpected if ".mask_" not in name]
    if missing or unexpected:
        found = (("missing", missing), ("too many", unexpected))
        told = [f"{len(names)} {what}, such as '{names[0]}'" for what, names in found if names]
        those = f"The entries of '{weights.path.name}'"
        raise WeightsError(
            f"{those} do not fit the architecture of its card: {'; '.join(told)}.",
            details=f"missing: {missing[:5]}; unexpected: {unexpected[:5]}",
        )
    return network


def _masks_for(classifier: LoadedWeights) -> LoadedWeights:
    """Return segmentation weights to run beside a classifier that was given alone."""
    whole = any(not name.startswith("s2new.") for name in classifier.tensors)
    if not whole or classifier.card.base_sha256:
        return load_weights(str(find_base(classifier)))
    for name in default_names():
        if (weights := load_weights(name)).card.kind == "segmentation":
            _LOG.warning(
                "%s has no mask branch: it gives the class; masks are those of %s.",
                classifier.card.name,
                weights.card.name,
            )
            return weights
    raise WeightsError(
        f"The classifier '{classifier.card.name}' has no mask branch, and no segmentation weights are "
        "installed. Give a segmentation file as well."
    )


def _single_shot(weights: LoadedWeights, device: str) -> Pipeline:
    backend = TorchBackend(load_network(weights), head=_head(weights), device=device)
    return Pipeline(backend=backend, cards=(weights.card,), has_class=True)


def _pair(segmentation: LoadedWeights, classifier: LoadedWeights | None, device: str) -> Pipeline:
    network = load_network(segmentation)
    if classifier is None:
        return Pipeline(backend=TorchBackend(network, device=device), cards=(segmentation.card,))
    own_detector = [name for name in classifier.tensors if not name.startswith("s2new.")]
    if not own_detector and classifier.card.base_sha256 not in ("", segmentation.card.sha256):
        raise WeightsError(
            f"The classifier '{classifier.card.name}' was trained on other segmentation weights than "
            f"'{segmentation.card.name}'; its verdict would mean nothing."
        )
    if not own_detector and classifier.card.detector.mirror != segmentation.card.detector.mirror:
        _LOG.warning(
            "The classifier %s was trained on regions %s the mirror image, unlike those of %s.",
            classifier.card.name,
            "with" if classifier.card.detector.mirror else "without",
            segmentation.card.name,
        )
    same_input = classifier.card.input == segmentation.card.input
    if not own_detector and not same_input:
        raise WeightsError(
            f"The classifier '{classifier.card.name}' was trained on another input size or window than "
            f"'{segmentation.card.name}' has."
        )
    same_rpn = classifier.card.detector == segmentation.card.detector
    cards, head = (segmentation.card, classifier.card), _head(classifier)
    if own_detector and not (
        same_input and same_rpn and same_detector(segmentation.tensors, classifier.tensors)
    ):
        return Pipeline(
            backend=TorchBackend(network, device=device),
            cards=cards,
            evidence_backend=TorchBackend(load_network(classifier), head=head, device=device),
            has_class=True,
        )
    return Pipeline(backend=TorchBackend(network, head=head, device=device), cards=cards, has_class=True)


def _head(weights: LoadedWeights) -> ImageHead:
    architecture = weights.card.architecture
    head = ImageHead(
        roi_batch_size=architecture.roi_batch_size,
        width=architecture.s_width,
        classes=architecture.image_classes,
    )
    prefix = "s2new."
    own = {name[len(prefix) :]: t for name, t in weights.tensors.items() if name.startswith(prefix)}
    try:
        head.load_state_dict(own)
    except RuntimeError as error:
        raise WeightsError(
            f"Module S of '{weights.path.name}' does not fit its card.", details=str(error)
        ) from error
    return head
