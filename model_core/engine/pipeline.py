"""What runs: one single-shot model, or a segmentation model and perhaps a classifier."""

from __future__ import annotations

import dataclasses
import hashlib

import numpy as np

from model_core.base.arrays import FloatArray, IntArray
from model_core.base.calibration import Calibration
from model_core.base.errors import SettingsError
from model_core.base.results import SliceResult
from model_core.base.settings import DetectionSettings, EvidenceBasis, EvidenceSettings, InputSpec
from model_core.engine.backend import Backend
from model_core.weights.card import ModelCard, evidence_basis, evidence_settings


class Pipeline:
    """The backends of one run and the settings of their cards.

    Attributes
    ----------
    cards:
        Segmentation (or single-shot) card first, then the classifier's if there is one.
    backend:
        Gives detections and masks; also the evidence where ``passes`` is 1.
    evidence_backend:
        Gives the evidence and its class: one of its own, or ``backend`` where one pass serves both.
    has_class:
        Whether slices get an image class.
    names:
        Names or files of the weights that it was loaded from; none is the shipped default.
    backend_note:
        Why what computes is another backend than a person may expect; empty where it is not.
    """

    def __init__(
        self,
        *,
        backend: Backend,
        cards: tuple[ModelCard, ...],
        evidence_backend: Backend | None = None,
        has_class: bool = False,
    ) -> None:
        self.cards = cards
        self.backend = backend
        self.evidence_backend = evidence_backend or backend
        self.has_class = has_class
        self.names: tuple[str, ...] = ()
        self.backend_note = ""
        self._identity: tuple[tuple[ModelCard, ...], str] | None = None

    def without_class(self, detections: DetectionSettings) -> Pipeline:
        """Return a pipeline of the detector alone, one pass a slice, with these default thresholds."""
        card = dataclasses.replace(self.cards[0], detections=detections)
        return Pipeline(backend=self.backend, cards=(card,))

    def class_alone(self) -> Pipeline:
        """Return a pipeline that runs the network behind the class alone and makes no masks.

        Raises
        ------
        SettingsError
            If there is no class.
        """
        if not self.has_class:
            raise SettingsError(
                "These weights give no image class: give a classifier or a single-shot model."
            )
        # No score exceeds 1, so no detection is ever shown and the mask branch never runs.
        first, *others = self.cards if self.passes == 1 else (self.evidence_card,)
        first = dataclasses.replace(first, detections=DetectionSettings(score=1.0))
        return Pipeline(backend=self.evidence_backend, cards=(first, *others), has_class=True)

    @property
    def device(self) -> str:
        """Where the networks run."""
        return self.backend.device

    @property
    def computes(self) -> str:
        """What computes and where, for people: ``ONNX Runtime, CPU``."""
        device = self.backend.device
        return f"{self.backend.name}, {'CPU' if device == 'cpu' else device}"

    @property
    def evidence_card(self) -> ModelCard:
        """Card of the network whose regions the class rests on."""
        return self.cards[0] if self.passes == 1 else self.cards[-1]

    @property
    def weights_id(self) -> str:
        """Identity of what computes; results of another are not mixed with those of this one."""
        # A run asks for every slice that waits, and cards are long.
        known, cards = self._identity, self.cards
        if known is None or known[0] is not cards:
            known = self._identity = (cards, _identity(cards))
        return known[1]

    @property
    def passes(self) -> int:
        """Backbone passes per slice: 2 where the classifier changed the shared entries."""
        return 1 if self.evidence_backend is self.backend else 2

    @property
    def region_classes(self) -> tuple[str, ...]:
        """Names of the positive region classes, label 1 first."""
        return self.cards[0].region_classes

    @property
    def image_classes(self) -> tuple[str, ...]:
        """Names of the image logits; empty without a classifier."""
        return self.cards[-1].image_classes if self.has_class else ()

    @property
    def calibration(self) -> Calibration | None:
        """From logits to "ill or not"; None where the card of the class has none."""
        return self.cards[-1].calibration if self.has_class else None

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
        if not self.has_class:
            return None
        return evidence_basis(self.evidence_card, self.cards[-1], settings)

    def mask_logits(self, result: SliceResult, indices: IntArray) -> FloatArray:
        """Return the (n, 28, 28) raw mask logits of detection candidates in their boxes.

        Each for its own class.

        Runs the mask branch on the stored FPN maps; what was computed once is kept with the result. Several
        threads may ask.
        """
        cache = result.mask_cache
        missing = np.array([i for i in indices.tolist() if i not in cache], np.int64)
        if len(missing):
            candidates = result.detection_candidates
            logits = self.backend.masks(
                result.features,
                candidates.boxes[missing],
                candidates.labels[missing],
                size=result.placement.size,
            )
            for index, own in zip(missing.tolist(), logits, strict=True):
                # Of two threads the first has its way: the last digits depend on what is asked for together.
                cache.setdefault(index, own)
        if not len(indices):
            return np.zeros((0, 28, 28), np.float32)
        return np.stack([cache[i] for i in indices.tolist()])


def _identity(cards: tuple[ModelCard, ...]) -> str:
    # The same file may come with another card: whatever of it candidates, masks or the class depend on.
    # Settings that are no more stand as they were where nobody used them: case files and kept results of
    # earlier versions hold the same identity.
    parts = []
    for card in cards:
        detector = f"{repr(card.detector).removesuffix(')')}, mirror=False, mask_box_scale=1.0)"
        values = (card.sha256, card.architecture, detector, card.input, card.evidence, card.calibration)
        texts = (one if one is detector else repr(one) for one in values)
        parts.append(f"({', '.join(texts)})")
    parts.append("mirror=False")
    return hashlib.sha256("+".join(parts).encode()).hexdigest()[:16]
