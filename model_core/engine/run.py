"""The engine: a generator over slices. GUI, command line and tests iterate this one."""

from __future__ import annotations

from collections.abc import Generator, Sequence

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import FloatArray
from model_core.base.errors import SettingsError
from model_core.base.jobs import Progress
from model_core.base.results import Candidates, ImageVerdict, SliceResult
from model_core.base.volume import Volume
from model_core.engine.backend import Look
from model_core.engine.evidence import judge_candidates
from model_core.engine.novelty import distance, features_of
from model_core.engine.pipeline import Pipeline
from model_core.engine.preprocess import network_input, placement
from model_core.engine.select import rank


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
        place = evidence_place = placement(volume, pipeline.input)
        weights_id, card = pipeline.weights_id, pipeline.evidence_card
        picture = network_input(volume, index, pipeline.input)
        look = pipeline.backend.look(picture)
        detections = evidence = pipeline.backend.regions(look, look.proposals)
        if pipeline.passes == 2:
            yield Progress(done * pipeline.passes + 1, total, f"Slice {index + 1}, evidence for the class")
            evidence_place = placement(volume, card.input)
            picture = network_input(volume, index, card.input)
            other = pipeline.evidence_backend.look(picture)
            evidence = _evidence(pipeline, other)
        elif pipeline.has_class and card.architecture.branches == 2:
            evidence = _evidence(pipeline, look)
        features = stored_maps(look)
        has_class = pipeline.has_class
        verdict = judge_candidates(pipeline, evidence, pipeline.evidence) if has_class else None
        result = SliceResult(
            series_id=volume.series_id,
            weights_id=weights_id,
            slice_index=index,
            placement=place,
            evidence_placement=evidence_place,
            detection_candidates=detections,
            evidence_candidates=evidence if has_class else None,
            verdict=verdict,
            features=features,
            unlike_training=_unlike(pipeline, picture, verdict),
        )
        pipeline.mask_logits(result, rank(detections, pipeline.detections))
        yield result
    yield Progress(total, total, "Done")


def stored_maps(look: Look) -> dict[str, npt.NDArray[np.float16]]:
    """Return the FPN maps of a look as they are kept."""
    with np.errstate(over="ignore"):
        return {level: maps.astype(np.float16) for level, maps in look.maps.items()}


def _unlike(pipeline: Pipeline, picture: FloatArray, verdict: ImageVerdict | None) -> bool | None:
    """Return whether the picture that the class rests on is unlike those of the training; None if unknown."""
    if verdict is None or pipeline.calibration is None or (cloud := pipeline.calibration.cloud) is None:
        return None
    return distance(cloud, features_of(picture, verdict.batch.rows)) > cloud.limit


def _evidence(pipeline: Pipeline, look: Look) -> Candidates:
    return pipeline.evidence_backend.regions(look, look.proposals, branch="evidence")
