"""What the class of a slice rests on: the ranked RoI batch, and module S that reads it. No backbone runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.special import expit

from model_core.base.arrays import BoolArray, FloatArray, IntArray
from model_core.base.errors import SettingsError
from model_core.base.results import (
    ILL_PROBABILITY,
    UNDECIDED,
    Candidates,
    ImageVerdict,
    RoiBatch,
    SliceResult,
)
from model_core.base.settings import EvidenceEdit, EvidenceSettings
from model_core.engine.pipeline import Pipeline
from model_core.engine.select import network_scores
from model_core.ranking import rank_regions, roi_batch


def judge(
    pipeline: Pipeline, result: SliceResult, settings: EvidenceSettings, edit: EvidenceEdit | None = None
) -> ImageVerdict | None:
    """Return the class of a slice from its evidence under these settings; None without a classifier.

    ``edit`` leaves regions out of the evidence or puts some in; see `evidence_batch`.
    """
    if result.evidence_candidates is None:
        return None
    if result.verdict is not None and settings == result.verdict.settings and not edit:
        return result.verdict
    return judge_candidates(pipeline, result.evidence_candidates, settings, edit)


def judge_candidates(
    pipeline: Pipeline, candidates: Candidates, settings: EvidenceSettings, edit: EvidenceEdit | None = None
) -> ImageVerdict:
    """Build the RoI batch of the candidates and let module S read it (spec §5.2-5.4).

    The probability of a class is the sigmoid of its logit, so they need not sum to 1. With an ``edit`` the
    evidence is "edited".

    Raises
    ------
    SettingsError
        If the weights give no class, module S reads another number of rows, or the edit names a candidate
        that does not exist.
    """
    basis = pipeline.evidence_basis(settings)
    if basis is None:
        raise SettingsError("These weights give no image class: choose a classifier or a single-shot model.")
    reads = pipeline.cards[-1].architecture.roi_batch_size
    if settings.batch_size != reads:
        raise SettingsError(f"Module S of these weights reads {reads} RoIs, not {settings.batch_size}.")
    batch = evidence_batch(candidates, settings, size=settings.batch_size, edit=edit)
    logits = pipeline.evidence_backend.image_head(batch.rows)
    return ImageVerdict(
        logits=logits,
        probabilities=expit(logits),
        batch=batch,
        settings=settings,
        basis="edited" if edit else basis,
        edit=edit or None,
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


def evidence_batch(
    candidates: Candidates,
    settings: EvidenceSettings,
    *,
    size: int | None,
    edit: EvidenceEdit | None = None,
) -> RoiBatch:
    """Rank the candidates and spread the best over ``size`` rows; None gives each one row.

    What an ``edit`` leaves out leaves no gap: the rows below close up, the next ranked region comes in where
    there is one, and replication is that of as many regions. What it asks about enters by its score, past
    NMS, and may push out the last row; the batch numbers it as `with_asked` does.
    """
    candidates = with_asked(candidates, edit)
    scores = network_scores(candidates, settings.scoring)
    kept = _kept(candidates, scores, settings, edit)
    return roi_batch(
        scores,
        candidates.deltas,
        kept,
        size=len(kept) if size is None else size,
        mode=settings.replication,
        seed=settings.seed,
    )


def listed_candidates(
    candidates: Candidates, settings: EvidenceSettings, edit: EvidenceEdit, kept: IntArray
) -> IntArray:
    """Return the regions of the edited evidence, those taken out of it and those asked about, by score."""
    whole = _kept(candidates, network_scores(candidates, settings.scoring), settings, None)
    gone = [number for number in whole.tolist() if edit.leaves_out(number)]
    every = with_asked(candidates, edit)
    asked = np.arange(len(candidates), len(every))
    both = np.unique(np.concatenate((np.array(gone, np.int64), kept, asked)))
    return _by_score(both, network_scores(every, settings.scoring))


def with_asked(candidates: Candidates, edit: EvidenceEdit | None) -> Candidates:
    """Return the candidates of a slice and, after them, the answers to what an edit asks about."""
    if edit is None or not edit.asked:
        return candidates
    answers = [(one.proposal, answer) for one in edit.asked for answer in one.answers]

    def joined(own: Any, more: Sequence[object]) -> Any:
        return np.concatenate((own, np.array(more, own.dtype)))

    return Candidates(
        proposals=joined(candidates.proposals, [proposal for proposal, _ in answers]),
        boxes=joined(candidates.boxes, [answer.box for _, answer in answers]),
        deltas=joined(candidates.deltas, [answer.deltas for _, answer in answers]),
        scores=joined(candidates.scores, [answer.score for _, answer in answers]),
        logits=joined(candidates.logits, [answer.logit for _, answer in answers]),
        labels=joined(candidates.labels, [answer.label for _, answer in answers]),
    )


def asked_numbers(candidates: Candidates, edit: EvidenceEdit | None) -> dict[int, tuple[int, int]]:
    """Return, by candidate number, which asked region it answers and which of its answers it is, from 0."""
    answers = (
        [] if edit is None else [(k, n) for k, one in enumerate(edit.asked) for n in range(len(one.answers))]
    )
    return dict(enumerate(answers, start=len(candidates)))


def _by_score(numbers: IntArray, scores: FloatArray) -> IntArray:
    """Return candidates by score; equal scores in the order of their numbers, as in the ranking itself."""
    numbers = np.sort(numbers)
    return numbers[np.argsort(-scores[numbers], kind="stable")]


def _kept(
    candidates: Candidates, scores: FloatArray, settings: EvidenceSettings, edit: EvidenceEdit | None
) -> IntArray:
    """Return the indices of the regions in the evidence, best first; what was asked about is at the end."""
    asked = 0 if edit is None else sum(len(one.answers) for one in edit.asked)
    own = len(candidates) - asked
    out = _left_out(own, edit)
    before_nms = edit is not None and edit.nms_anew
    among = np.flatnonzero(~out) if before_nms else np.arange(own)
    kept = rank_regions(
        candidates.boxes[among],
        scores[among],
        candidates.labels[among],
        score=settings.network_score,
        nms_iou=settings.nms_iou,
        min_area=settings.min_area,
        limit=settings.batch_size + (0 if before_nms else int(out.sum())),
    )
    kept = among[kept]
    kept = kept[~out[kept]]
    if asked:
        left, top, right, bottom = candidates.boxes[own:].T
        enters = (scores[own:] > settings.network_score) & (
            (right - left) * (bottom - top) > settings.min_area
        )
        kept = _by_score(np.concatenate((kept, own + np.flatnonzero(enters))), scores)
    return kept[: settings.batch_size]


def _left_out(candidates: int, edit: EvidenceEdit | None) -> BoolArray:
    """Return (M,) which of so many candidates an edit leaves out."""
    out = np.zeros(candidates, np.bool_)
    if edit is None:
        return out
    named = edit.excluded | (edit.only or frozenset())
    if named and not 0 <= min(named) <= max(named) < candidates:
        raise SettingsError(
            f"The edited evidence names regions that do not exist: candidates are numbered from 0 to "
            f"{candidates - 1}."
        )
    if edit.only is not None:
        out[:] = True
        out[list(edit.only)] = False
    out[list(edit.excluded)] = True
    return out
