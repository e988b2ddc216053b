"""The engine: a generator over slices. GUI, command line and tests iterate this one."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any

import torch
from torch import Tensor

from model_core.engine.pipeline import Pipeline
from model_core.engine.select import judge_candidates, rank
from model_core.errors import SettingsError
from model_core.networks import MaskRCNN, Regions
from model_core.networks.covid_ct_mask_net import CovidCTMaskNet
from model_core.preprocess import network_input, placement
from model_core.types import Candidates, Placement, Progress, SliceResult, Volume


def run(
    pipeline: Pipeline, volume: Volume, slices: Sequence[int]
) -> Generator[Progress | SliceResult, None, None]:
    """Run the networks on these slices in this order.

    Yields `Progress` before each backbone pass and a `SliceResult` after each slice; a caller cancels by
    not asking for the next item (or closing the generator).

    Raises
    ------
    SettingsError
        If a slice does not exist.
    """
    for index in slices:
        if not 0 <= index < volume.slices:
            raise SettingsError(
                f"Slice {index} does not exist: the series has slices 0 to {volume.slices - 1}."
            )
    total = len(slices) * pipeline.passes
    for done, index in enumerate(slices):
        yield Progress(done * pipeline.passes, total, f"Slice {index + 1}")
        place, weights_id = placement(volume, pipeline.input), pipeline.weights_id
        detections, evidence, features = _pass(pipeline, pipeline.detector, volume, index)
        evidence_place: Placement | None = None
        if pipeline.classifier is not None:
            yield Progress(done * pipeline.passes + 1, total, f"Slice {index + 1}, evidence for the class")
            spec = pipeline.cards[-1].input
            evidence, _, _ = _pass(pipeline, pipeline.classifier, volume, index)
            evidence_place = placement(volume, spec)
        has_class = pipeline.head is not None
        result = SliceResult(
            series_id=volume.series_id,
            weights_id=weights_id,
            slice_index=index,
            placement=place,
            evidence_placement=evidence_place or place,
            detection_candidates=detections,
            evidence_candidates=evidence if has_class else None,
            verdict=judge_candidates(pipeline, evidence, pipeline.evidence) if has_class else None,
            features=features,
        )
        pipeline.mask_logits(result, rank(detections, pipeline.detections))
        yield result
    yield Progress(total, total, "Done")


def _pass(
    pipeline: Pipeline, network: MaskRCNN, volume: Volume, index: int
) -> tuple[Candidates, Candidates, dict[str, Any]]:
    """One backbone pass: detection candidates, evidence candidates (the same object if shared), FPN maps."""
    spec = pipeline.cards[-1].input if network is pipeline.classifier else pipeline.input
    picture = torch.from_numpy(network_input(volume, index, spec)).to(pipeline.device)
    with torch.inference_mode():
        images = picture.expand(1, 3, -1, -1)
        features = network.features(images)
        proposals = network.propose(images, features)
        detections = _candidates(network.regions(images, features, proposals)[0])
        evidence = detections
        if isinstance(network, CovidCTMaskNet) and network.architecture.branches == 2:
            evidence = _candidates(network.class_regions(images, features, proposals)[0])
        maps = {level: _numpy(tensor[0].half()) for level, tensor in features.items()}
    return detections, evidence, maps


def _candidates(regions: Regions) -> Candidates:
    return Candidates(
        boxes=_numpy(regions.boxes),
        deltas=_numpy(regions.deltas),
        scores=_numpy(regions.scores),
        logits=_numpy(regions.logits),
        labels=_numpy(regions.labels),
    )


def _numpy(tensor: Tensor) -> Any:
    return tensor.cpu().contiguous().numpy()
