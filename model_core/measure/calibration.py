"""Whether a score of 0.8 is right eight times out of ten: reliability and expected calibration error."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize, minimize_scalar
from scipy.special import betaincinv, expit, logit

from model_core.base.arrays import DoubleArray, IntArray
from model_core.measure.bootstrap import LEVEL


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


def fit_temperature(scores: npt.NDArray[np.floating], right: npt.NDArray[np.bool_]) -> float:
    """Return the temperature T for which sigmoid(logit(score) / T) best predicts being right.

    Minimises the mean negative log-likelihood over T in 0.05..20 (Guo et al. 2017). For two classes this is
    the temperature of the softmax. Above 1 the scores are overconfident. NaN where all are right or all
    wrong: nothing can be fitted then.
    """
    flags = np.asarray(right, bool)
    if not len(flags) or flags.all() or not flags.any():
        return float("nan")
    logits = logit(np.clip(np.asarray(scores, np.float64), 1e-6, 1 - 1e-6))
    signs = np.where(flags, 1.0, -1.0)

    def loss(log_temperature: float) -> float:
        # log(1 + exp(-z)) without overflow.
        return float(np.logaddexp(0.0, -signs * logits / np.exp(log_temperature)).mean())

    best = minimize_scalar(loss, bounds=(np.log(0.05), np.log(20.0)), method="bounded")
    return float(np.exp(best.x))


def fit_logistic(
    values: npt.NDArray[np.floating],
    truth: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.floating] | None = None,
) -> tuple[float, float]:
    """Return slope and bias for which sigmoid(slope * value + bias) best predicts (n,) truth (Platt 1999).

    Minimises the weighted negative log-likelihood over targets that are not quite 0 and 1, as Platt does, so
    that values which tell all apart give no endless slope. NaN where all are true or all false.
    """
    flags, x = np.asarray(truth, bool), np.asarray(values, np.float64)
    positives, negatives = int(flags.sum()), int((~flags).sum())
    if not positives or not negatives:
        return float("nan"), float("nan")
    target = np.where(flags, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    share = np.ones(len(x)) if weights is None else np.asarray(weights, np.float64)
    share = share / share.sum()

    def loss(parameters: DoubleArray) -> tuple[float, DoubleArray]:
        z = parameters[0] * x + parameters[1]
        off = share * (expit(z) - target)
        return float(share @ (np.logaddexp(0.0, z) - target * z)), np.array([off @ x, off.sum()])

    best = minimize(loss, np.array([1.0, 0.0]), jac=True, method="BFGS")
    return float(best.x[0]), float(best.x[1])


def brier(probabilities: npt.NDArray[np.floating], truth: npt.NDArray[np.bool_]) -> float:
    """Return the mean squared difference of (n,) probabilities and truth; NaN without any."""
    if not len(probabilities):
        return float("nan")
    return float(np.mean((np.asarray(probabilities, np.float64) - np.asarray(truth, np.float64)) ** 2))


def share_limits(hits: int, count: int) -> tuple[float, float]:
    """Return the exact 95 % limits of a share (Clopper and Pearson 1934); 0 and 1 where nothing counts."""
    tail = (1 - LEVEL) / 2
    low = float(betaincinv(hits, count - hits + 1, tail)) if hits else 0.0
    high = float(betaincinv(hits + 1, count - hits, 1 - tail)) if hits < count else 1.0
    return low, high
