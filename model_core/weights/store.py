"""Weight files: written as safetensors with a card beside them, read without running anything.

torch is imported only for what needs it: checkpoints of the papers' code, files without a card, writing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model_core.base.errors import WeightsError
from model_core.base.filenames import FETCH, absent
from model_core.base.files import atomic_path, write_text
from model_core.base.resources import resource
from model_core.base.settings import (
    GREY_HIGH_HU,
    GREY_LOW_HU,
    PAPER_ANCHOR_SIZES,
    PAPER_ASPECT_RATIOS,
    PAPERS,
    DetectionSettings,
    EvidenceSettings,
    InputSpec,
)
from model_core.weights.card import PAPER_IMAGE_CLASSES, ModelCard, read_card
from model_core.weights.entries import Arrays, read_safetensors
from model_core.weights.recognise import recognise

if TYPE_CHECKING:
    from torch import Tensor

SUFFIX = ".safetensors"
# Test settings of the released code (spec §6.3, §7, §12): mask thresholds are on different scales.
_RELEASED_TWO_STAGE: dict[str, Any] = {
    "detections": DetectionSettings(score=0.05, nms_iou=0.5, mask_threshold=0.5),
}
_RELEASED_SINGLE_SHOT: dict[str, Any] = {
    "detector": PAPERS["p3"].detector,
    "evidence": PAPERS["p3"].evidence,
    "detections": DetectionSettings(
        score=0.75, nms_iou=0.5, mask_threshold=0.5, mask_scale="probability", min_area=None
    ),
}
# Entries that a message names.
_MOST_NAMED = 3
_REGION_NAMES = {2: ("Lesion",), 3: ("GGO", "Consolidation")}


@dataclass(frozen=True, eq=False)
class LoadedWeights:
    """A weight file in memory: its card, its float32 entries by modern name, and where it was."""

    card: ModelCard
    arrays: Arrays
    path: Path

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """The entries as tensors of the same memory; imports torch."""
        from model_core.weights.published import as_tensors

        return as_tensors(self.arrays)


def weights_folder() -> Path:
    """Return the folder of the shipped weights."""
    return resource("weights")


def shipped() -> tuple[ModelCard, ...]:
    """Return the cards of the shipped weights, by name."""
    folder = weights_folder()
    return tuple(
        read_card(path.with_suffix(".json")) for path in sorted(folder.glob(f"*{SUFFIX}")) if path.is_file()
    )


def default_names() -> tuple[str, ...]:
    """Return the names of the shipped default pair.

    Raises
    ------
    WeightsError
        If no weights are installed.
    """
    try:
        names = json.loads(weights_folder().joinpath("default.json").read_text("utf-8"))["weights"]
    except (OSError, ValueError, KeyError) as error:
        raise WeightsError(
            "No trained weights are installed. Choose a file (File > Load weights, or --weights FILE).",
            details=str(error),
        ) from error
    return tuple(names)


def held_out_slices(name: str) -> dict[str, bool] | None:
    """Return which slices shipped weights were trained on (False) and which they never saw (True), by name.

    None where no list lies beside the weights of this name.

    Raises
    ------
    WeightsError
        If the list is damaged.
    """
    path = weights_folder() / f"{name}.slices.txt"
    if not path.is_file():
        return None
    try:
        lists = json.loads(path.read_text("utf-8"))
        parts = (("train", False), ("validation", True))
        return {str(one): out for part, out in parts for own in lists[part].values() for one in own}
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise WeightsError(f"'{path.name}' is no list of slices.", details=str(error)) from error


def find(name_or_path: str) -> Path:
    """Return the file of a shipped name or of a path.

    Raises
    ------
    WeightsError
        If there is neither.
    """
    path = Path(name_or_path)
    inside = weights_folder() / f"{name_or_path}{SUFFIX}"
    try:
        if path.is_file():
            return path
        if path.name == name_or_path and inside.is_file():
            return inside
    except OSError as error:  # such as a name that is too long for a file
        raise WeightsError(f"There are no weights '{name_or_path}': {error.strerror}.") from error
    names = ", ".join(card.name for card in shipped()) or "none"
    raise WeightsError(f"There are no weights '{name_or_path}': no such file; shipped are: {names}.")


def load_weights(name_or_path: str) -> LoadedWeights:
    """Read a weight file by shipped name or path.

    A file without a card is recognised from its entries and gets the papers' preprocessing and names.

    Raises
    ------
    WeightsError
        If it is missing, damaged, of another kind, not the file its card describes, or its entries are no
        numbers or do not fit together.
    """
    path = find(name_or_path)
    if why := absent(path):
        raise WeightsError(f"The weight file '{path.name}' is not here, this is {why}. {FETCH}")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise WeightsError(f"The weight file '{path.name}' cannot be read.", details=str(error)) from error
    digest = hashlib.sha256(data).hexdigest()
    anchors: dict[str, Any] = {}
    if path.suffix == SUFFIX:
        arrays, note = read_safetensors(path.name, data)
    else:
        from model_core.weights.published import read_published

        checkpoint = read_published(path)
        arrays = {name: tensor.numpy() for name, tensor in checkpoint.tensors.items()}
        note = checkpoint.note
        if checkpoint.anchor_sizes and checkpoint.aspect_ratios:
            anchors = {
                "anchor_sizes": checkpoint.anchor_sizes,
                "aspect_ratios": checkpoint.aspect_ratios,
            }
    del data
    # Beside a downloaded checkpoint a file of that name may be anything.
    beside = path.with_suffix(".json")
    with_card = path.suffix == SUFFIX and beside.is_file()
    try:
        card = read_card(beside) if with_card else card_for(path.stem, arrays, **anchors)
    except WeightsError as error:
        if with_card:
            raise
        raise WeightsError(f"{path.name}: {error.message}", details=error.details) from error
    if card.sha256 and card.sha256 != digest:
        raise WeightsError(
            f"'{path.name}' is not the file its card describes (other SHA-256). Get both from the same place."
        )
    if not card.sha256:  # else the file is as it was written, with its card
        _check_shapes(path.name, arrays, card)
    notes = " ".join(filter(None, (card.notes, note)))
    return LoadedWeights(dataclasses.replace(card, sha256=digest, notes=notes), arrays, path)


def _check_shapes(file: str, arrays: Arrays, card: ModelCard) -> None:
    """Compare the sizes of all entries with those of the network that the card tells of.

    A classifier may hold module S alone; what is missing is told when the network is put together.

    Raises
    ------
    WeightsError
        Some differ, such as the numbers of classes of two heads; names them.
    """
    import torch

    from model_core.networks import build

    with torch.device("meta"):
        expected = build(card.architecture).state_dict()
    wrong = [
        f"{name} {_size(arrays[name].shape)} instead of {_size(tensor.shape)}"
        for name, tensor in expected.items()
        if name in arrays and arrays[name].shape != tuple(tensor.shape)
    ]
    if wrong:
        named = "; ".join(wrong[:_MOST_NAMED]) + ("; ..." if len(wrong) > _MOST_NAMED else "")
        classes = f"{card.architecture.region_classes} region classes, the background included"
        raise WeightsError(
            f"{file} was not loaded: {len(wrong)} of its entries do not fit a network of {classes}, as "
            f"others of them are: {named}. Take the checkpoint as it was written.",
            details="; ".join(wrong),
        )


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape)) or "one number"


def card_for(
    name: str,
    entries: Mapping[str, Any],
    *,
    anchor_sizes: tuple[int, ...] = PAPER_ANCHOR_SIZES,
    aspect_ratios: tuple[float, ...] = PAPER_ASPECT_RATIOS,
) -> ModelCard:
    """Return a card with the papers' settings for entries (arrays or tensors) that came without one.

    Raises
    ------
    WeightsError
        If they are not a network of the papers.
    """
    architecture = recognise(
        {key: entry.shape for key, entry in entries.items()},
        anchor_sizes=anchor_sizes,
        aspect_ratios=aspect_ratios,
    )
    regions = architecture.region_classes
    count = architecture.image_classes if architecture.has_image_head else 0
    released = dict(_RELEASED_SINGLE_SHOT if architecture.kind == "single_shot" else _RELEASED_TWO_STAGE)
    return ModelCard(
        name=name,
        title=name,
        architecture=architecture,
        region_classes=_REGION_NAMES.get(regions, tuple(f"Class {k}" for k in range(1, regions))),
        image_classes=PAPER_IMAGE_CLASSES if count == 3 else tuple(f"Class {k}" for k in range(count)),
        # Pictures as the papers fed them: grey / 255; so HU get the same lung window.
        input=InputSpec(low_hu=GREY_LOW_HU, high_hu=GREY_HIGH_HU),
        evidence=dataclasses.replace(
            released.pop("evidence", EvidenceSettings()), batch_size=architecture.roi_batch_size
        ),
        notes="This file came without a card: classes and settings are assumed to be the papers'.",
        **released,
    )


def save_weights(path: Path, tensors: dict[str, Tensor], card: ModelCard, *, half: bool = False) -> ModelCard:
    """Write tensors and card (``path`` with .json); return the card with the file's SHA-256.

    ``half`` stores floats as fp16, half the size.

    Raises
    ------
    ExportError
        If a file cannot be written; it is then as it was.
    """
    from safetensors.torch import save as save_safetensors

    stored = {
        name: (tensor.half() if half and tensor.is_floating_point() else tensor).detach().cpu().contiguous()
        for name, tensor in tensors.items()
    }
    data = save_safetensors(stored)
    card = dataclasses.replace(card, sha256=hashlib.sha256(data).hexdigest())
    with atomic_path(path, overwrite=True) as temporary:
        temporary.write_bytes(data)
    write_text(path.with_suffix(".json"), card.to_json(), overwrite=True)
    return card


def find_base(classifier: LoadedWeights) -> Path:
    """Return the segmentation file that a classifier storing module S alone was trained on.

    Looks beside the classifier and among the shipped weights.

    Raises
    ------
    WeightsError
        If neither place has it.
    """
    wanted = classifier.card.base_sha256
    for folder in (classifier.path.parent, weights_folder()):
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            try:
                if read_card(path.with_suffix(".json")).sha256 == wanted:
                    return path
            except WeightsError:
                continue  # another file's card is damaged: not this one's trouble
    raise WeightsError(
        f"The classifier '{classifier.card.name}' reads the RoIs of segmentation weights that are not here. "
        "Give that segmentation file as well.",
        details=f"wanted SHA-256 {wanted or '(none in the card)'}",
    )


def same_detector(first: Arrays, second: Arrays) -> bool:
    """Whether the entries that both files hold (backbone, RPN, box branch) are equal.

    True for a classifier trained S-only on that segmentation model: one pass then serves both.
    """
    shared = [
        name
        for name in second
        if not name.startswith("s2new.") and ".mask_" not in name and not name.endswith("num_batches_tracked")
    ]
    return all(name in first and np.array_equal(first[name], second[name]) for name in shared)
