"""The model card: everything about a weight file but its tensors. Standard library only."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from model_core.config import (
    Architecture,
    DetectionSettings,
    DetectorSettings,
    EvidenceBasis,
    EvidenceSettings,
    InputSpec,
    ModelKind,
    published_in,
)
from model_core.errors import SettingsError, WeightsError

D = TypeVar("D")

# Names used where nothing better is known; "Common Pneumonia" only for weights trained on it.
PAPER_IMAGE_CLASSES = ("Control", "Common Pneumonia", "COVID-19")


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """Identity, preprocessing, classes, defaults, training and measured quality of a weight file.

    Attributes
    ----------
    name:
        Short identifier, the file's stem (``lesion-r18t1``).
    region_classes:
        Names of the positive RoI classes, label 1 first.
    image_classes:
        Names of the image logits in order; empty for a segmentation model.
    sha256:
        Of the weight file's bytes.
    base_sha256:
        For a classifier that stores module S alone: the segmentation file whose detector it reads.
    training, metrics:
        How it was trained and what was measured; free JSON.
    """

    name: str
    title: str
    architecture: Architecture
    region_classes: tuple[str, ...]
    image_classes: tuple[str, ...] = ()
    detector: DetectorSettings = DetectorSettings()
    input: InputSpec = InputSpec()
    detections: DetectionSettings = DetectionSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    sha256: str = ""
    base_sha256: str = ""
    licence: str = ""
    notes: str = ""
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> ModelKind:
        """Segmentation, classifier or single_shot."""
        return self.architecture.kind

    @property
    def input_text(self) -> str:
        """What the network is shown of a slice, for people."""
        parts = [str(self.input)]
        if self.detector.mirror:
            parts.append("mean with the mirror image")
        if (scale := self.detector.mask_box_scale) != 1.0:
            parts.append(f"masks in boxes {scale:g} times as wide and high")
        return ", ".join(parts)

    def to_json(self) -> str:
        """Return the card as indented JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(text: str) -> ModelCard:
        """Parse a card.

        Raises
        ------
        WeightsError
            If it is not JSON, or a field is missing, unknown or outside what is allowed.
        """
        try:
            values = json.loads(text)
            if not isinstance(values, dict):
                raise ValueError("not an object")
            return _build(ModelCard, values)
        except (ValueError, TypeError, SettingsError) as error:
            raise WeightsError(
                "The model card is damaged or of another version.", details=str(error)
            ) from error


def names_text(cards: Sequence[ModelCard], *, fast: bool = False) -> str:
    """Say which weights computed something, for people; ``fast`` counts where one looks at mirror images."""
    names = " + ".join(card.name for card in cards)
    return f"{names}, fast" if fast and mirrors(cards) else names


def mirrors(cards: Sequence[ModelCard]) -> bool:
    """Return whether some of the weights look at the mirror image of a slice too."""
    return any(card.detector.mirror for card in cards)


def evidence_settings(cards: Sequence[ModelCard]) -> EvidenceSettings:
    """Return the evidence settings that weights define which run together, segmentation first.

    Without image classes they only say which regions are ranked; scores then are those of the detections.
    """
    evidence, detections = cards[-1].evidence, cards[-1].detections
    if cards[-1].image_classes:
        return evidence
    return dataclasses.replace(evidence, temperature=detections.temperature, scoring=detections.scoring)


def evidence_basis(
    network: ModelCard, head: ModelCard, evidence: EvidenceSettings, *, fast: bool = False
) -> EvidenceBasis:
    """Return what a class computed from this evidence is: "published" only where all equals one paper.

    Parameters
    ----------
    network:
        Card of the detector whose regions are ranked.
    head:
        Card of module S; the same for a single-shot model.
    fast:
        The mirror image was left out where the weights look at it, too.
    """
    if evidence != head.evidence:
        return "edited"
    own, read = network.architecture, head.architecture
    architecture = dataclasses.replace(
        own, kind=read.kind, roi_batch_size=read.roi_batch_size, s_width=read.s_width
    )
    detector = network.detector
    left_out = fast and detector.mirror
    if left_out:
        detector = dataclasses.replace(detector, mirror=False)
    if published_in(architecture, detector, evidence, network.input):
        return "published"
    return "fast" if left_out else "trained"


def read_card(path: Path) -> ModelCard:
    """Read the card beside or inside a weight file's folder (``NAME.json``)."""
    try:
        return ModelCard.from_json(path.read_text("utf-8"))
    except (OSError, UnicodeError) as error:
        raise WeightsError(f"The model card {path.name} cannot be read.", details=str(error)) from error


def _build(cls: type[D], values: dict[str, Any]) -> D:
    """Make a (nested) dataclass from JSON values: lists become tuples, dicts become their dataclass."""
    hints = get_type_hints(cls)
    fields = {
        key: _build(hints[key], value)
        if dataclasses.is_dataclass(hints.get(key)) and isinstance(value, dict)
        else tuple(value)
        if isinstance(value, list)
        else value
        for key, value in values.items()
    }
    return cls(**fields)
