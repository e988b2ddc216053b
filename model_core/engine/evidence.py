"""What the class of a slice rests on: the ranked RoI batch, and module S that reads it. No backbone runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from model_core.base.arrays import FloatArray
from model_core.base.errors import SettingsError
from model_core.base.results import (
    ILL_PROBABILITY,
    UNDECIDED,
    Candidates,
    ImageVerdict,
    RoiBatch,
    SliceResult,
)
from model_core.base.settings import EvidenceSettings
from model_core.engine.pipeline import Pipeline
from model_core.engine.select import network_scores
from model_core.ranking import rank_regions, roi_batch

Floating = TypeVar("Floating", np.float32, np.float64)


@dataclass(frozen=True, eq=False)
class ModuleS:
    """Module S as numbers, see `networks.image_head`: (outputs, inputs) weights and biases of each layer."""

    layers: tuple[tuple[FloatArray, FloatArray], ...]

    def __call__(self, rows: npt.NDArray[Floating]) -> npt.NDArray[Floating]:
        """Map (..., N, 5) RoI batches, score first, to (..., classes) logits, in their kind of floats."""
        values = rows.reshape(*rows.shape[:-2], -1)
        *hidden, (weights, biases) = self.layers
        for inner, offsets in hidden:
            values = np.maximum(values @ inner.T + offsets, 0)
        return values @ weights.T + biases


def judge(pipeline: Pipeline, result: SliceResult, settings: EvidenceSettings) -> ImageVerdict | None:
    """Return the class of a slice from its evidence under these settings; None without a classifier."""
    if result.evidence_candidates is None:
        return None
    if result.verdict is not None and settings == result.verdict.settings:
        return result.verdict
    return judge_candidates(pipeline, result.evidence_candidates, settings)


def judge_candidates(pipeline: Pipeline, candidates: Candidates, settings: EvidenceSettings) -> ImageVerdict:
    """Build the RoI batch of the candidates and let module S read it (spec §5.2-5.4).

    The probability of a class is the sigmoid of its logit, so they need not sum to 1.
    """
    basis = pipeline.evidence_basis(settings)
    if basis is None:
        raise SettingsError("These weights give no image class: choose a classifier or a single-shot model.")
    reads = pipeline.cards[-1].architecture.roi_batch_size
    if settings.batch_size != reads:
        raise SettingsError(f"Module S of these weights reads {reads} RoIs, not {settings.batch_size}.")
    batch = evidence_batch(candidates, settings, size=settings.batch_size)
    logits = pipeline.evidence_backend.image_head(batch.rows)
    return ImageVerdict(
        logits=logits,
        probabilities=expit(logits),
        batch=batch,
        settings=settings,
        basis=basis,
    )


def ill_probability(pipeline: Pipeline, verdict: ImageVerdict | None) -> float | None:
    """Return the probability of pneumonia of any kind; None without a class or a calibration."""
    if verdict is None or pipeline.calibration is None:
        return None
    return pipeline.calibration.ill_probability(tuple(float(logit) for logit in verdict.logits))


def kind_of(pipeline: Pipeline, verdict: ImageVerdict | None) -> str | None:
    """Return the name of the class of an ill slice where kinds can be told, else `UNDECIDED`.

    None without a class or a calibration.
    """
    probability, calibration = ill_probability(pipeline, verdict), pipeline.calibration
    if verdict is None or probability is None or calibration is None:
        return None
    if not calibration.kinds_told or probability <= ILL_PROBABILITY:
        return UNDECIDED
    likeliest = max(calibration.ill_classes, key=lambda k: float(verdict.logits[k]))
    return pipeline.image_classes[likeliest]


def evidence_batch(candidates: Candidates, settings: EvidenceSettings, *, size: int | None) -> RoiBatch:
    """Rank the candidates and spread the best over ``size`` rows; None gives each one row."""
    scores = network_scores(candidates, settings.scoring)
    kept = rank_regions(
        candidates.boxes,
        scores,
        candidates.labels,
        score=settings.network_score,
        nms_iou=settings.nms_iou,
        min_area=settings.min_area,
        limit=settings.batch_size,
    )
    return roi_batch(
        scores,
        candidates.deltas,
        kept,
        size=len(kept) if size is None else size,
        mode=settings.replication,
        seed=settings.seed,
    )
