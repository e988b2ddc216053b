"""From a checkpoint to the files that are shipped: averaged weights, measured cards."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Generator, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from model_core.base.errors import DataError
from model_core.base.files import write_json
from model_core.base.jobs import Progress
from model_core.base.settings import SINGLE_SHOT_MIN_AREA, DetectionSettings, EvidenceSettings, InputSpec
from model_core.data.classes import CLASS_FOLDERS
from model_core.engine import Pipeline
from model_core.engine.torch_backend import TorchBackend, choose_device
from model_core.measure.cross_validation_report import for_card
from model_core.measure.segmentation import Measured
from model_core.measure.thresholds import NO_LESION, choose, measure
from model_core.networks import CovidCTMaskNet, MaskRCNN
from model_core.train.checkpoints import read_checkpoint
from model_core.train.drawing import mask_type
from model_core.train.image_class import measure_classes
from model_core.train.lesion import averaged_network
from model_core.train.loop import CHECKPOINT
from model_core.train.packing import PackedSlice
from model_core.train.recipe import Recipe
from model_core.train.roi_rows import HELD_OUT_CONTROLS, HELD_OUT_PICTURES, SELF_TRAINED
from model_core.weights.card import ModelCard
from model_core.weights.store import SUFFIX, load_weights, save_weights

logger = logging.getLogger(__name__)

MAX_DETECTIONS = 60
LICENCE = "Research and non-commercial use only; see LICENSE.txt in the folder of the weights."
NOT_VALIDATED = "Not validated for diagnosis."
LESION_NOTES = (
    f"{NOT_VALIDATED} Finds ground-glass opacity and consolidation as one class; trained on "
    "COVID-19 lesions only, so other opacities may be marked as well."
)
BOTH_NOTES = (
    f"{NOT_VALIDATED} Tells ground-glass opacity from consolidation; trained on COVID-19 lesions "
    "of few patients, so other opacities may be marked as well and the two classes may be confused."
)
CONFOUNDED = (
    "Labels are confounded with their source: class probabilities can be compared "
    "within one source only and mean little on a scanner the network has not seen."
)
CLASS_NOTES = (
    "The class 'Other (non-COVID)' is slices of patients without SARS-CoV-2 and "
    f"not confirmed pneumonia. {CONFOUNDED}"
)


def lesion_network(recipe: Recipe, average: dict[str, Tensor]) -> MaskRCNN:
    """Return the network with averaged weights as they are stored, in 16-bit floats, and used."""
    network = averaged_network(recipe, average)
    network.load_state_dict(
        {k: v.half().float() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    )
    return network.eval()


def lesion_pipeline(
    recipe: Recipe, average: dict[str, Tensor], *, size: int | None = None, device: str = "cpu"
) -> Pipeline:
    """Return averaged weights as `lesion_network` does, ready to run.

    ``size`` is the side of the network's input; None takes the default of the shipped weights.
    """
    spec = InputSpec(outside="air", grey="estimate")
    merged = mask_type(recipe.architecture) == "merge"
    notes = LESION_NOTES if merged else BOTH_NOTES
    classes: dict[str, Any] = {}
    if recipe.architecture.has_image_head:
        notes = f"{notes} {CLASS_NOTES}"
        classes = {
            "image_classes": tuple(CLASS_FOLDERS.values()),
            "evidence": EvidenceSettings(min_area=SINGLE_SHOT_MIN_AREA),
        }
    card = ModelCard(
        name=recipe.name,
        title=recipe.title,
        architecture=recipe.architecture,
        region_classes=("Lesion",) if merged else ("GGO", "Consolidation"),
        input=spec if size is None else dataclasses.replace(spec, size=size),
        detections=DetectionSettings(max_detections=MAX_DETECTIONS),
        licence=LICENCE,
        notes=notes,
        **classes,
    )
    network = lesion_network(recipe, average)
    return Pipeline(backend=TorchBackend(network, device=choose_device(device)), cards=(card,))


def export_lesions(
    recipe: Recipe,
    slices: Sequence[PackedSlice],
    work: Path,
    output: Path,
    *,
    stride: int = 1,
    device: str = "cpu",
    cross_validation: Mapping[str, Any] | None = None,
) -> Generator[Progress | ModelCard, None, None]:
    """Write the averaged weights of the current checkpoint with thresholds chosen on held-out patients.

    Parameters
    ----------
    work:
        The run's folder (checkpoint).
    output:
        Folder to write ``NAME.safetensors`` and ``NAME.json`` into.
    stride:
        Measure every stride-th slice of a held-out patient with many.
    device:
        Where the measuring runs.
    cross_validation:
        A report that the card quotes, see `cross_validation_report.read_report`.

    Yields `Progress` and, last, the written card.

    Raises
    ------
    DataError
        If there is no checkpoint, or no held-out slice has a lesion.
    """
    state = read_checkpoint(work / CHECKPOINT, identity=recipe.digest)
    if state is None:
        raise DataError(f"There is no checkpoint in '{work}'. Train first.")
    trained = state["system"]
    pipeline = lesion_pipeline(recipe, trained["average"], device=device)
    network = lesion_network(recipe, trained["average"]).to(choose_device(device))
    card = pipeline.cards[0]
    held = thinned([one for one in slices if one.validation and one.outlined], stride)
    if not any(one.lesion.any() for one in held):
        raise DataError(NO_LESION)
    measured: list[tuple[tuple[float, float], Measured]] = []
    for item in measure(pipeline, held, mask_type=mask_type(recipe.architecture)):
        if isinstance(item, Progress):
            yield item
        else:
            measured.append(item)
    choice = choose(measured, max_detections=MAX_DETECTIONS)
    if isinstance(network, CovidCTMaskNet):
        card = dataclasses.replace(
            card, evidence=dataclasses.replace(card.evidence, temperature=choice.settings.temperature)
        )
        pictures = [one for one in slices if one.validation and one.image_class is not None]
        prefixes = {name: source.prefix for name, source in recipe.sources.items()}
        for found in measure_classes(network, pictures, prefixes, card.evidence, size=card.input.size):
            if isinstance(found, Progress):
                yield found
            else:
                choice.metrics["within_source"] = found
    if cross_validation is not None:
        choice.metrics["cross_validation"] = for_card(cross_validation)
    card = dataclasses.replace(
        card,
        detections=choice.settings,
        training={
            "recipe": recipe.name,
            "stages": [dataclasses.asdict(stage) for stage in recipe.stages],
            "stage": min(state["epoch"] + 1, len(recipe.stages)),
            "step": state["position"],
            "finished": state["epoch"] >= len(recipe.stages),
            "backbone_start": recipe.start or "random",
            **trained["started"],
            "notes": recipe.notes,
            "sources": {
                name: sum(one.source == name and not one.validation for one in slices)
                for name in recipe.sources
            },
            HELD_OUT_CONTROLS: _held_out_controls(recipe),
            HELD_OUT_PICTURES: _held_out_pictures(recipe),
            SELF_TRAINED: _of_start(recipe, SELF_TRAINED),
        },
        metrics={
            "note": "Held-out patients; thresholds were chosen on the same slices, so slightly optimistic.",
            **choice.metrics,
        },
    )
    yield save_weights(output / f"{recipe.name}{SUFFIX}", network.state_dict(), card, half=True)


def _held_out_controls(recipe: Recipe) -> dict[str, float]:
    """Return the share of each source of controls (by prefix) that neither the network nor its start saw."""
    shares = {
        source.prefix: source.hold_out
        for source in recipe.sources.values()
        if source.kind == "negatives" and source.hold_out
    }
    if not recipe.start:
        return shares
    former = _of_start(recipe, HELD_OUT_CONTROLS)
    # Held out by hash: what the smaller share holds out, the larger does, too.
    return {prefix: min(share, former[prefix]) for prefix, share in shares.items() if prefix in former}


def _held_out_pictures(recipe: Recipe) -> dict[str, float]:
    """Return the held-out share of each classified source (by prefix) that it or its start learned from."""
    shares = {
        one.prefix: one.hold_out for _, one in sorted(recipe.sources.items()) if one.kind == "classified"
    }
    former = _of_start(recipe, HELD_OUT_PICTURES)
    return {
        prefix: min(taught[prefix] for taught in (former, shares) if prefix in taught)
        for prefix in sorted({*former, *shares})
    }


def _of_start(recipe: Recipe, entry: str) -> dict[str, float]:
    """Return what the card of the weights that a recipe starts from says of its training."""
    return (load_weights(recipe.start).card.training.get(entry) or {}) if recipe.start else {}


def thinned(slices: Sequence[PackedSlice], stride: int) -> list[PackedSlice]:
    """Return every stride-th slice of patients with over ten slices, all of the others."""
    counts: dict[tuple[str, str], int] = {}
    for one in slices:
        key = (one.source, one.patient)
        counts[key] = counts.get(key, 0) + 1
    seen: dict[tuple[str, str], int] = {}
    kept = []
    for one in slices:
        key = (one.source, one.patient)
        seen[key] = seen.get(key, -1) + 1
        if counts[key] <= 10 or seen[key] % stride == 0:
            kept.append(one)
    return kept


def write_default(output: Path, names: Sequence[str]) -> None:
    """Name the default weights of a folder."""
    write_json(output / "default.json", {"weights": list(names)}, overwrite=True)


def split_lists(slices: Sequence[PackedSlice]) -> dict[str, Any]:
    """Return what was trained on and what was held out: slice names by source, each with its hash."""
    lists: dict[str, dict[str, dict[str, str]]] = {"train": {}, "validation": {}}
    for one in slices:
        part = lists["validation" if one.validation else "train"]
        part.setdefault(one.source, {})[one.name] = one.digest[:16]
    return lists
