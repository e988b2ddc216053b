"""What the networks answer to a box that a person drew, taken as proposal: box branch, mask branch."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np

from model_core.base.arrays import FloatArray
from model_core.base.asked import AskedAnswer, AskedRegion, Box
from model_core.base.errors import SettingsError
from model_core.base.jobs import Progress
from model_core.base.results import Candidates, SliceResult
from model_core.base.volume import Volume
from model_core.engine.backend import Look, Maps
from model_core.engine.pipeline import Pipeline
from model_core.engine.preprocess import network_input
from model_core.engine.run import stored_maps

# Smaller ones are a click, and RoI pooling sees one point of the map.
SMALLEST_PX = 2.0


def needs_backbone(pipeline: Pipeline, result: SliceResult) -> bool:
    """Whether a backbone has to run: maps were given up, or are of another network than that of the class."""
    return not result.features or pipeline.passes == 2


def ask(
    pipeline: Pipeline, volume: Volume, result: SliceResult, box: Sequence[float]
) -> Generator[Progress | SliceResult | AskedRegion, None, None]:
    """Yield, last, what the networks answer where a box is the proposal.

    The stored FPN maps go through the box branch behind the class, and through the mask branch. Where they
    were given up, the detector's backbone runs again, and the result with its maps is yielded first; a second
    network behind the class keeps none, and always looks anew. With two branches or two networks the mask is
    the detector's for the same proposal and class.

    Stored maps are float16: the score of a box that was a proposal of the RPN may differ in the third digit.

    Parameters
    ----------
    box:
        x1, y1, x2, y2, pixel edges of the slice; what reaches over its edge is cut off.

    Raises
    ------
    SettingsError
        If the weights give no class, or the box is not `SMALLEST_PX` wide and high within the slice.
    """
    if result.evidence_candidates is None:
        raise SettingsError("These weights give no image class: choose a classifier or a single-shot model.")
    height, width = result.placement.slice_shape
    drawn = np.clip(np.array([box], np.float32), 0, np.array([width, height] * 2, np.float32))
    if (drawn[0, 2:] - drawn[0, :2]).min() < SMALLEST_PX:
        raise SettingsError(
            f"A box to ask about is at least {SMALLEST_PX:g} pixels wide and high (x1, y1, x2, y2), within "
            f"the slice of {width} x {height} pixels."
        )
    index, features = result.slice_index, result.features
    passes = (not features) + (pipeline.passes == 2)
    if not features:
        yield Progress(0, passes, f"Slice {index + 1} again, its maps were given up")
        picture = network_input(volume, index, pipeline.input)
        look = pipeline.backend.look(picture)
        features = stored_maps(look)
        result = replace(result, features=features)
        yield result
    detector = _look(features, result.placement.size)
    card = pipeline.evidence_card
    if pipeline.passes == 2:
        yield Progress(passes - 1, passes, f"Slice {index + 1}, evidence for the class")
        evident = pipeline.evidence_backend.look(network_input(volume, index, card.input))
    else:
        evident = detector
    proposal = result.evidence_placement.to_network(drawn)
    found = pipeline.evidence_backend.regions(evident, proposal, branch="evidence")
    shared = result.evidence_candidates is result.detection_candidates
    masked = found if shared else pipeline.backend.regions(detector, result.placement.to_network(drawn))
    names = pipeline.region_classes if shared else pipeline.cards[-1].region_classes
    masks = _masks(pipeline, result, features, masked) if names == pipeline.region_classes else {}
    yield AskedRegion(
        box=_box(drawn[0]),
        proposal=_box(proposal[0]),
        answers=tuple(
            AskedAnswer(
                label=label,
                score=float(found.scores[k]),
                logit=float(found.logits[k]),
                deltas=_box(found.deltas[k]),
                box=_box(found.boxes[k]),
                mask_box=masks[label][0] if label in masks else None,
                mask_logits=masks[label][1] if label in masks else None,
            )
            for k, label in enumerate(found.labels.tolist())
        ),
    )


def _look(maps: Maps, size: int) -> Look:
    return Look(size=size, maps=maps, proposals=np.zeros((0, 4), np.float32))


def _masks(
    pipeline: Pipeline, result: SliceResult, maps: Maps, found: Candidates
) -> dict[int, tuple[Box, FloatArray]]:
    """Return, by label, the box in slice pixels and the raw logits of the masks; none without masks."""
    if not pipeline.cards[0].architecture.has_masks:
        return {}
    logits = pipeline.backend.masks(maps, found.boxes, found.labels, size=result.placement.size)
    places = result.placement.to_slice(found.boxes)
    return {
        label: (_box(place), own)
        for label, place, own in zip(found.labels.tolist(), places, logits, strict=True)
    }


def _box(edges: FloatArray) -> Box:
    left, top, right, bottom = (float(edge) for edge in edges)
    return left, top, right, bottom
