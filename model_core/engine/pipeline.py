"""What runs: one single-shot model, or a segmentation model and perhaps a classifier."""

from __future__ import annotations

import hashlib
import logging
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from model_core.config import DetectionSettings, EvidenceBasis, EvidenceSettings, InputSpec
from model_core.errors import SettingsError, WeightsError
from model_core.networks import CovidCTMaskNet, ImageHead, MaskRCNN, build
from model_core.types import FloatArray, IntArray, SliceResult
from model_core.weights.card import ModelCard, evidence_basis, evidence_settings
from model_core.weights.store import (
    LoadedWeights,
    default_names,
    find_base,
    load_weights,
    same_detector,
    shipped,
)

_LOG = logging.getLogger(__name__)

available_weights = shipped


class Pipeline:
    """The networks of one run and the settings of their cards.

    Attributes
    ----------
    cards:
        Segmentation (or single-shot) card first, then the classifier's if there is one.
    detector:
        Gives detections and masks; also the evidence where ``passes`` is 1.
    classifier:
        A detector of its own for the evidence, or None where one pass serves both.
    head:
        Module S on the CPU, or None; so small that thresholds can re-run it at once.
    passes:
        Backbone passes per slice.
    fast:
        Leave out the mirror image where the weights look at it (`DetectorSettings.mirror`). May be changed
        between two runs: results of either have another ``weights_id``.
    """

    def __init__(
        self,
        *,
        detector: MaskRCNN,
        cards: tuple[ModelCard, ...],
        classifier: CovidCTMaskNet | None = None,
        head: ImageHead | None = None,
        device: str = "cpu",
        fast: bool = False,
    ) -> None:
        self.cards = cards
        self.device = device
        self.detector = detector.eval().to(device)
        self.classifier = classifier.eval().to(device) if classifier is not None else None
        self.head = head.eval() if head is not None else None
        # Masks of single detections are computed on demand, off the worker's device.
        self._mask_detector = detector if device == "cpu" else _copy_on_cpu(detector, cards[0])
        self.fast = fast

    @property
    def fast(self) -> bool:
        """Whether mirror images are left out."""
        return self._fast

    @fast.setter
    def fast(self, fast: bool) -> None:
        self._fast = fast
        self.detector.mirror = self.cards[0].detector.mirror and not fast
        if self.classifier is not None:
            self.classifier.mirror = self.cards[-1].detector.mirror and not fast

    @property
    def mirror(self) -> bool:
        """Whether a network here also looks at the mirror image of a slice."""
        return self.detector.mirror or (self.classifier is not None and self.classifier.mirror)

    @property
    def weights_id(self) -> str:
        """Identity of what computes; results of another are not mixed with those of this one."""
        # The same file may come with another card: whatever of it candidates, masks or the class depend on.
        parts = [
            repr((card.sha256, card.architecture, card.detector, card.input, card.evidence))
            for card in self.cards
        ]
        parts.append(f"mirror={self.mirror}")
        return hashlib.sha256("+".join(parts).encode()).hexdigest()[:16]

    @property
    def passes(self) -> int:
        """Backbone passes per slice: 2 where the classifier changed the shared entries."""
        return 1 if self.classifier is None else 2

    @property
    def region_classes(self) -> tuple[str, ...]:
        """Names of the positive region classes, label 1 first."""
        return self.cards[0].region_classes

    @property
    def image_classes(self) -> tuple[str, ...]:
        """Names of the image logits; empty without a classifier."""
        return self.cards[-1].image_classes if self.head is not None else ()

    @property
    def input(self) -> InputSpec:
        """Preprocessing of the detector."""
        return self.cards[0].input

    @property
    def detections(self) -> DetectionSettings:
        """Default detection settings of the card."""
        return self.cards[0].detections

    @property
    def evidence(self) -> EvidenceSettings:
        """The evidence settings that the weights define, see `evidence_settings`."""
        return evidence_settings(self.cards)

    def evidence_basis(self, settings: EvidenceSettings) -> EvidenceBasis | None:
        """Return what a class from this evidence is, see `card.evidence_basis`; None where there is none."""
        if self.head is None:
            return None
        network = self.cards[0] if self.classifier is None else self.cards[-1]
        return evidence_basis(network, self.cards[-1], settings, fast=self.fast)

    def mask_boxes(self, result: SliceResult, indices: IntArray) -> FloatArray:
        """Return the (n, 4) boxes, in network pixels, in which the masks of detection candidates lie."""
        boxes = torch.from_numpy(result.detection_candidates.boxes[indices])
        size = result.placement.size
        larger: FloatArray = self._mask_detector.mask_boxes(boxes, size=(size, size)).numpy()
        return larger

    def mask_logits(self, result: SliceResult, indices: IntArray) -> FloatArray:
        """Return the (n, 28, 28) raw mask logits of detection candidates in their `mask_boxes`.

        Each for its own class.

        Runs the mask branch on the stored FPN maps; what was computed once is kept with the result.
        """
        cache = result.mask_cache
        missing = np.array([i for i in indices.tolist() if i not in cache], np.int64)
        if len(missing):
            candidates = result.detection_candidates
            with torch.inference_mode():
                maps = OrderedDict(
                    (level, torch.from_numpy(array).float()[None]) for level, array in result.features.items()
                )
                boxes = torch.from_numpy(self.mask_boxes(result, missing))
                size = result.placement.size
                logits = self._mask_detector.mask_logits(maps, [boxes], size=(size, size))
                own = logits[torch.arange(len(missing)), torch.from_numpy(candidates.labels[missing])]
            cache.update(zip(missing.tolist(), own.numpy(), strict=True))
        if not len(indices):
            return np.zeros((0, 28, 28), np.float32)
        return np.stack([cache[i] for i in indices.tolist()])


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


def choose_device(device: str) -> str:
    """Return the torch device for ``auto``, ``cpu``, ``cuda``, ``cuda:N`` or ``mps``.

    Raises
    ------
    SettingsError
        If it is unknown or not on this machine.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    kind = device.split(":")[0]
    there = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if kind not in there:
        raise SettingsError(f"Unknown device '{device}': use auto, cpu, cuda, cuda:N or mps.")
    try:
        index = torch.device(device).index
    except RuntimeError as error:
        raise SettingsError(f"Unknown device '{device}': use auto, cpu, cuda, cuda:N or mps.") from error
    if kind == "cuda" and there[kind] and (index or 0) >= torch.cuda.device_count():
        raise SettingsError(
            f"There are {torch.cuda.device_count()} CUDA devices, counted from 0: no {device}."
        )
    if not there[kind]:
        raise SettingsError(f"The device '{device}' is not available on this machine; use cpu or auto.")
    return device


def _network(weights: LoadedWeights, tensors: dict[str, Tensor]) -> MaskRCNN:
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
        raise WeightsError(
            f"The entries of '{weights.path.name}' do not fit the architecture of its card.",
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
    network = _network(weights, weights.tensors)
    assert isinstance(network, CovidCTMaskNet)
    return Pipeline(detector=network, cards=(weights.card,), head=_head(weights), device=device)


def _pair(segmentation: LoadedWeights, classifier: LoadedWeights | None, device: str) -> Pipeline:
    detector = _network(segmentation, segmentation.tensors)
    if classifier is None:
        return Pipeline(detector=detector, cards=(segmentation.card,), device=device)
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
    separate: CovidCTMaskNet | None = None
    same_input = classifier.card.input == segmentation.card.input
    if not own_detector and not same_input:
        raise WeightsError(
            f"The classifier '{classifier.card.name}' was trained on another input size or window than "
            f"'{segmentation.card.name}' has."
        )
    same_rpn = classifier.card.detector == segmentation.card.detector
    if own_detector and not (
        same_input and same_rpn and same_detector(segmentation.tensors, classifier.tensors)
    ):
        network = _network(classifier, classifier.tensors)
        assert isinstance(network, CovidCTMaskNet)
        separate = network
    return Pipeline(
        detector=detector,
        cards=(segmentation.card, classifier.card),
        classifier=separate,
        head=_head(classifier),
        device=device,
    )


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


def _copy_on_cpu(detector: MaskRCNN, card: ModelCard) -> MaskRCNN:
    copy = build(card.architecture, card.detector, input_spec=card.input)
    copy.load_state_dict({name: tensor.cpu() for name, tensor in detector.state_dict().items()})
    return copy.eval()
