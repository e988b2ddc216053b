"""What the RoI batches of a sample of slices look like per class: counts, spread, tests (papers' §RoI)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from scipy.stats import ks_2samp

from model_core.base.arrays import DoubleArray, FloatArray, IntArray
from model_core.base.results import SliceResult

COUNT_THRESHOLDS = (0.2, 0.5, 0.9)
TOP = 16
# The papers sample this many test slices of each class.
SAMPLE_PER_CLASS = 475
ALPHA = 0.01


@dataclass(frozen=True, eq=False)
class SliceRois:
    """Distinct RoIs of one slice before replication, best first.

    Attributes
    ----------
    scores:
        (K,).
    areas:
        (K,) areas of the decoded boxes in network-input pixels.
    """

    scores: FloatArray
    areas: FloatArray

    def counts(self) -> tuple[int, ...]:
        """Return how many scores exceed each of `COUNT_THRESHOLDS`."""
        return tuple(int(np.count_nonzero(self.scores > t)) for t in COUNT_THRESHOLDS)


def slice_rois(result: SliceResult) -> SliceRois:
    """Return the RoIs that the RoI batch of a slice holds, each once."""
    candidates, verdict = result.evidence_candidates, result.verdict
    assert candidates is not None
    assert verdict is not None
    kept = verdict.batch.kept
    boxes = candidates.boxes[kept]
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return SliceRois(candidates.scores[kept], areas.astype(np.float32))


def sample_per_class(labels: IntArray, *, size: int = SAMPLE_PER_CLASS, seed: int = 0) -> IntArray:
    """Return sorted indices of at most ``size`` images of each class, drawn without replacement."""
    rng = np.random.default_rng(seed)
    chosen = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        chosen.append(members if len(members) <= size else rng.choice(members, size, replace=False))
    return np.sort(np.concatenate(chosen)) if chosen else np.zeros(0, np.int64)


def count_summary(counts: DoubleArray) -> dict[str, Any]:
    """Describe the numbers of RoIs of one class above one threshold.

    The papers' "95 % CI" fits mean ± 1.96 SD, which is the spread of slices and no interval of the mean;
    both are given.
    """
    mean = float(counts.mean())
    sd = float(counts.std(ddof=1)) if len(counts) > 1 else 0.0
    half = 1.96 * sd / np.sqrt(len(counts))
    quartiles = np.quantile(counts, [0.0, 0.25, 0.5, 0.75, 1.0])
    return {
        "slices": len(counts),
        "mean": mean,
        "sd": sd,
        "sd_interval": [mean - 1.96 * sd, mean + 1.96 * sd],
        "mean_interval": [mean - float(half), mean + float(half)],
        "min_q1_median_q3_max": [float(q) for q in quartiles],
    }


def ks_test(first: DoubleArray, second: DoubleArray) -> dict[str, Any]:
    """Test one-sidedly whether the first sample is larger: its distribution function lies below.

    Returns
    -------
    dict
        ``d`` = max over x of F2(x) - F1(x), ``p`` and ``significant`` at 1 %; all None where a sample is
        constant (the papers print N/A) or has fewer than two values.
    """
    if min(len(first), len(second)) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return {"d": None, "p": None, "significant": None}
    # "asymp" is exact enough at the papers' 475 per class, and never overflows for large samples.
    found = ks_2samp(first, second, alternative="less", method="asymp")
    return {
        "d": float(found.statistic),
        "p": float(found.pvalue),
        "significant": bool(found.pvalue < ALPHA),
    }


def roi_statistics(rois: Sequence[SliceRois], labels: IntArray, class_names: Sequence[str]) -> dict[str, Any]:
    """Return the statistics of a sample of slices as JSON-ready values.

    Parameters
    ----------
    labels:
        (n,) class of each slice.
    class_names:
        Names by class; pairs are tested with the later class first (COVID-19 against the others), the
        order in which the papers expect the first to be larger.
    """
    counts = np.array([r.counts() for r in rois], np.float64).reshape(len(rois), len(COUNT_THRESHOLDS))
    present = [int(c) for c in np.unique(labels)]
    by_threshold: dict[str, Any] = {}
    for column, threshold in enumerate(COUNT_THRESHOLDS):
        samples = {c: counts[labels == c, column] for c in present}
        by_threshold[f"{threshold:g}"] = {
            "classes": {class_names[c]: count_summary(sample) for c, sample in samples.items()},
            "ks_tests": [
                {
                    "first": class_names[a],
                    "second": class_names[b],
                    "alternative": "first larger",
                    **ks_test(samples[a], samples[b]),
                }
                for a, b in combinations(sorted(present, reverse=True), 2)
            ],
        }
    edges = np.linspace(0.0, 1.0, 21)
    histograms = {
        class_names[c]: {
            kind: np.histogram(_scores(rois, labels, c, top), edges)[0].tolist()
            for kind, top in (("top_16", TOP), ("all", None))
        }
        for c in present
    }
    return {
        "slices": {class_names[c]: int(np.count_nonzero(labels == c)) for c in present},
        "counted": "distinct RoIs of the RoI batch, before replication",
        "alpha": ALPHA,
        "above": by_threshold,
        "score_histogram": {"edges": edges.tolist(), "classes": histograms},
    }


def _scores(rois: Sequence[SliceRois], labels: IntArray, label: int, top: int | None) -> FloatArray:
    own = [r.scores[:top] for r, c in zip(rois, labels, strict=True) if c == label]
    return np.concatenate(own) if own else np.zeros(0, np.float32)
