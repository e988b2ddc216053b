"""The model card: everything about a weight file but its tensors. Standard library only."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_core.base.calibration import Calibration
from model_core.base.documents import from_values
from model_core.base.errors import SettingsError, WeightsError
from model_core.base.references import ControlRois, References
from model_core.base.settings import (
    LARGEST_SIZE,
    SIZE_STEP,
    Architecture,
    DetectionSettings,
    DetectorSettings,
    EvidenceBasis,
    EvidenceSettings,
    InputSpec,
    ModelKind,
    published_in,
)

# Names used where nothing better is known; "Common Pneumonia" only for weights trained on it.
PAPER_IMAGE_CLASSES = ("Control", "Common Pneumonia", "COVID-19")
# Of the detector in cards of earlier versions: the value that the papers have, and what any other meant.
_FORMER: dict[str, tuple[Any, str]] = {
    "mirror": (False, "the mean of each slice and its mirror image"),
    "mask_box_scale": (1.0, "masks in larger boxes than those of the regions"),
}


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
    calibration:
        From the logits of module S to "ill or not"; None where nobody fitted it
        (``ctmasknet train calibrate``).
    references:
        RoI batches of controls left out, for explanations; None where there are none.
    control_rois:
        How the regions of control patients are distributed, for comparison with those of a scan
        (``ctmasknet train calibrate --controls``); None where nobody asked.
    training, metrics:
        How it was trained and what was measured; free JSON.
    left_out:
        Settings of earlier versions that the weights were used with and this one does not have, by name.
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
    calibration: Calibration | None = None
    references: References | None = None
    control_rois: ControlRois | None = None
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    left_out: tuple[str, ...] = ()

    @property
    def kind(self) -> ModelKind:
        """Segmentation, classifier or single_shot."""
        return self.architecture.kind

    def to_json(self) -> str:
        """Return the card as indented JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2, ensure_ascii=False) + "\n"

    @staticmethod
    def from_json(text: str) -> ModelCard:
        """Parse a card.

        One of an earlier version may ask for what the papers' network does not do: it is left out, which the
        notes then say, see `former_settings`.

        Raises
        ------
        WeightsError
            If it is not JSON, or a field is missing, unknown, of another type or outside what is allowed.
        """
        try:
            values = json.loads(text)
            used = _take_former(values)
            card = from_values(ModelCard, values)
        except (ValueError, RecursionError) as error:
            raise WeightsError("The model card is damaged: it is not JSON.", details=str(error)) from error
        except SettingsError as error:
            raise WeightsError(
                f"The model card is damaged or of another version: {error.message}", details=error.details
            ) from error
        _check_parts(card)
        if used:
            notes = " ".join(filter(None, (card.notes, _former_text(used))))
            card = dataclasses.replace(card, notes=notes, left_out=used)
        return card


def control_regions(cards: Sequence[ModelCard]) -> ControlRois | References | None:
    """Return the regions of controls that weights know, for comparison with those of a scan."""
    return next((known for card in cards if (known := card.control_rois or card.references)), None)


def former_settings(cards: Sequence[ModelCard]) -> str:
    """Return what to say of settings of weights that are no more, once; empty for most."""
    return next((f"{card.name}: {told}" for card in cards if (told := _former_text(card.left_out))), "")


def names_text(cards: Sequence[ModelCard]) -> str:
    """Say which weights computed something, for people."""
    return " + ".join(card.name for card in cards)


def evidence_settings(cards: Sequence[ModelCard]) -> EvidenceSettings:
    """Return the evidence settings that weights define which run together, segmentation first.

    Without image classes they only say which regions are ranked; scores then are those of the detections.
    """
    evidence, detections = cards[-1].evidence, cards[-1].detections
    if cards[-1].image_classes:
        return evidence
    return dataclasses.replace(evidence, temperature=detections.temperature, scoring=detections.scoring)


def evidence_basis(network: ModelCard, head: ModelCard, evidence: EvidenceSettings) -> EvidenceBasis:
    """Return what a class computed from this evidence is: "published" only where all equals one paper.

    Parameters
    ----------
    network:
        Card of the detector whose regions are ranked.
    head:
        Card of module S; the same for a single-shot model.
    """
    if evidence != head.evidence:
        return "edited"
    own, read = network.architecture, head.architecture
    architecture = dataclasses.replace(
        own, kind=read.kind, roi_batch_size=read.roi_batch_size, s_width=read.s_width
    )
    published = published_in(architecture, network.detector, evidence, network.input)
    return "published" if published else "trained"


def read_card(path: Path) -> ModelCard:
    """Read the card beside or inside a weight file's folder (``NAME.json``).

    Raises
    ------
    WeightsError
        If it cannot be read or is no valid card; the message names the file.
    """
    try:
        return ModelCard.from_json(path.read_text("utf-8"))
    except (OSError, UnicodeError) as error:
        raise WeightsError(f"The model card {path.name} cannot be read.", details=str(error)) from error
    except WeightsError as error:
        raise WeightsError(f"{path.name}: {error.message}", details=error.details) from error


def _take_former(values: Any) -> tuple[str, ...]:
    """Take the settings that are no more out of the values of a card; return the names of those in use."""
    detector = values.get("detector") if isinstance(values, dict) else None
    if not isinstance(detector, dict):
        return ()
    return tuple(name for name, (plain, _) in _FORMER.items() if detector.pop(name, plain) != plain)


def _former_text(names: Sequence[str]) -> str:
    used = [what for name, (_, what) in _FORMER.items() if name in names]
    if not used:
        return ""
    # Masks do not reach the class.
    chosen, again = ("Thresholds", "train export")
    if "mirror" in names:
        chosen, again = ("Thresholds and image class", "train export, train module-s")
    return (
        f"{chosen} of these weights were chosen with {' and '.join(used)}. This version runs the network as "
        f"published: they should be chosen anew (ctmasknet {again})."
    )


def _check_parts(card: ModelCard) -> None:
    """Raise `WeightsError` where parts of a card contradict each other, or its input fits no network."""
    shape, size = card.architecture, card.input.size
    images = shape.image_classes if shape.has_image_head else 0
    wrong = ""
    if len(card.region_classes) != shape.region_classes - 1:
        wrong = (
            f"region_classes has {len(card.region_classes)} names for the {shape.region_classes - 1} lesion "
            "classes of architecture.region_classes (which counts the background, too)"
        )
    elif len(card.image_classes) != images:
        wrong = f"image_classes has {len(card.image_classes)} names for {images} image classes"
    elif card.calibration is not None and not all(k < images for k in card.calibration.ill_classes):
        numbers = list(card.calibration.ill_classes)
        wrong = f"calibration.ill_classes are {numbers} of {images} image classes, counted from 0"
    elif card.references is not None and card.references.size != shape.roi_batch_size:
        wrong = f"references have {card.references.size} rows, but module S reads {shape.roi_batch_size}"
    elif size % SIZE_STEP or not 0 < size <= LARGEST_SIZE:
        wrong = f"input.size is {size}, not a multiple of {SIZE_STEP} up to {LARGEST_SIZE}"
    if wrong:
        raise WeightsError(f"The model card contradicts itself or fits no network: {wrong}.")
