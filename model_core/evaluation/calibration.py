"""Whether a score of 0.8 is right eight times out of ten: reliability and expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_core.types import DoubleArray, IntArray


@dataclass(frozen=True, eq=False)
class Reliability:
    """Scores in equal bins of 0..1.

    Attributes
    ----------
    edges:
        (B + 1,) bin edges.
    counts:
        (B,) scores in each bin (low edge excluded, but for 0).
    mean_score, share_right:
        (B,) mean score and share of right answers of each bin; NaN where it is empty.
    ece:
        Expected calibration error: mean distance of the two, weighted by counts; NaN without scores.
    """

    edges: DoubleArray
    counts: IntArray
    mean_score: DoubleArray
    share_right: DoubleArray
    ece: float


def reliability(
    scores: npt.NDArray[np.floating], right: npt.NDArray[np.bool_], *, bins: int = 10
) -> Reliability:
    """Return the reliability of (n,) scores in 0..1, given whether each answer was right."""
    values = np.asarray(scores, np.float64)
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, values, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    with np.errstate(invalid="ignore"):
        mean_score = np.bincount(place, values, bins) / counts
        share_right = np.bincount(place, np.asarray(right, np.float64), bins) / counts
    filled = counts > 0
    distance = np.abs(mean_score - share_right)[filled]
    ece = float(np.average(distance, weights=counts[filled])) if filled.any() else float("nan")
    return Reliability(edges, counts.astype(np.int64), mean_score, share_right, ece)
