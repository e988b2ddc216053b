"""The regions of a scan beside those of controls: how far their scores lie apart, without a test."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from model_core.base.arrays import DoubleArray, FloatArray
from model_core.base.references import References
from model_core.base.results import SliceResult

# Equal bins over 0..1, as in the histogram of a slice.
BINS = 20


@dataclass(frozen=True, eq=False)
class RoiDistribution:
    """Scores of the distinct RoIs of a scan and of control slices, all slices pooled.

    There is no p-value: the slices of a patient are not independent, and a test would count them as if they
    were.

    Attributes
    ----------
    scores, areas:
        (N,) raw scores of the RoIs in the batches of the scan's slices, each once, and the areas of their
        boxes in network-input pixels.
    slices:
        How many slices of the scan they are from.
    control_scores:
        (M,) the same of the controls in the card (`References`), which holds no areas.
    control_slices, control_patients:
        Of how many slices and patients those are.
    wasserstein:
        Mean shift of a score that makes one distribution the other, 0..1 (earth mover's distance).
    jensen_shannon:
        Square root of the Jensen-Shannon divergence in bits of both histograms of 20 bins: 0 equal, 1 without
        a common bin.
    """

    scores: FloatArray
    areas: FloatArray
    slices: int
    control_scores: FloatArray
    control_slices: int
    control_patients: int
    wasserstein: float
    jensen_shannon: float

    @property
    def shares(self) -> tuple[DoubleArray, DoubleArray]:
        """(20,) shares of the RoIs in each bin of the score, of the scan and of the controls."""
        return _shares(self.scores), _shares(self.control_scores)


def roi_distribution(results: Iterable[SliceResult], references: References | None) -> RoiDistribution | None:
    """Compare the RoI batches of slices, under the evidence that the weights define, with those of controls.

    None where there are no batches, or no controls in the card.
    """
    if references is None:
        return None
    scores, areas, slices = [], [], 0
    for result in results:
        candidates, verdict = result.evidence_candidates, result.verdict
        if candidates is None or verdict is None:
            continue
        slices += 1
        source, first = np.unique(verdict.batch.source, return_index=True)
        first, source = first[source >= 0], source[source >= 0]
        boxes = candidates.boxes[source]
        scores.append(verdict.batch.rows[first, 0])
        areas.append((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    if not scores or not sum(map(len, scores)):
        return None
    own = np.concatenate(scores).astype(np.float32)
    controls = np.concatenate([_distinct(rows)[:, 0] for rows in references.batches])
    return RoiDistribution(
        scores=own,
        areas=np.concatenate(areas).astype(np.float32),
        slices=slices,
        control_scores=controls,
        control_slices=references.slices,
        control_patients=references.patients,
        wasserstein=_wasserstein(own, controls),
        jensen_shannon=_jensen_shannon(_shares(own), _shares(controls)),
    )


def _wasserstein(first: FloatArray, second: FloatArray) -> float:
    """Return the area between both distribution functions, as `scipy.stats.wasserstein_distance` does.

    Loading that module takes a second, for which the window would stand still.
    """
    points = np.sort(np.concatenate([first, second]).astype(np.float64))
    below = [
        np.searchsorted(np.sort(values), points[:-1], side="right") / len(values)
        for values in (first, second)
    ]
    return float(np.sum(np.abs(below[0] - below[1]) * np.diff(points)))


def _jensen_shannon(first: DoubleArray, second: DoubleArray) -> float:
    from scipy.special import rel_entr

    middle = (first + second) / 2
    bits = (rel_entr(first, middle).sum() + rel_entr(second, middle).sum()) / (2 * np.log(2))
    return float(np.sqrt(max(0.0, bits)))


def _distinct(rows: FloatArray) -> FloatArray:
    """Return the rows of a batch without their replicas, which follow each other."""
    new = np.ones(len(rows), np.bool_)
    new[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    return rows[new]


def _shares(scores: FloatArray) -> DoubleArray:
    counts, _ = np.histogram(np.clip(scores, 0, 1), BINS, (0.0, 1.0))
    shares: DoubleArray = counts / max(1, counts.sum())
    return shares
