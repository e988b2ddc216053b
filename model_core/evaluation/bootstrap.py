"""Confidence intervals that treat slices of one patient as what they are: not independent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model_core.types import DoubleArray, IntArray

DRAWS, LEVEL = 2000, 0.95


@dataclass(frozen=True)
class Interval:
    """A value and its percentile bootstrap interval over groups (patients).

    ``low`` and ``high`` are NaN where there are fewer than two groups: nothing can be said then.
    """

    value: float
    low: float
    high: float
    groups: int
    images: int


def ratio_interval(
    numerators: npt.ArrayLike,
    denominators: npt.ArrayLike,
    groups: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """Return sum of numerators over sum of denominators, with its interval over resampled groups.

    Parameters
    ----------
    numerators, denominators:
        (n,) one per image.
    groups:
        n names; images of one name are drawn together.
    """
    above, below = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)
    _, codes = np.unique(np.asarray(groups, str), return_inverse=True)
    count = int(codes.max()) + 1 if len(codes) else 0
    if not below.sum():
        return Interval(float("nan"), float("nan"), float("nan"), count, len(below))
    value = float(above.sum() / below.sum())
    if count < 2:
        return Interval(value, float("nan"), float("nan"), count, len(below))
    weights = np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), size=draws)
    tops = weights @ np.bincount(codes, above, count)
    bottoms = weights @ np.bincount(codes, below, count)
    drawn = tops[bottoms > 0] / bottoms[bottoms > 0]
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), count, len(below))


def mean_interval(
    values: npt.ArrayLike,
    groups: Sequence[str],
    *,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """Return the mean over images with its interval over resampled groups."""
    array = np.asarray(values, np.float64)
    return ratio_interval(array, np.ones(len(array)), groups, draws=draws, seed=seed, level=level)


def interval(
    statistic: Callable[[IntArray], float],
    groups: Sequence[str],
    *,
    draws: int = 400,
    seed: int = 0,
    level: float = LEVEL,
) -> Interval:
    """Return any statistic of image indices with its interval over resampled groups.

    ``statistic`` gets the indices of the drawn images (with repeats); draws for which it is NaN are left out.
    """
    names = np.asarray(groups, str)
    members = [np.flatnonzero(names == name) for name in np.unique(names)]
    value = float(statistic(np.arange(len(names))))
    if len(members) < 2 or np.isnan(value):
        return Interval(value, float("nan"), float("nan"), len(members), len(names))
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(members), size=(draws, len(members)))
    drawn = np.array([statistic(np.concatenate([members[i] for i in pick])) for pick in picks])
    drawn = drawn[~np.isnan(drawn)]
    if not len(drawn):
        return Interval(value, float("nan"), float("nan"), len(members), len(names))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(value, float(low), float(high), len(members), len(names))


def macro_mean(values: npt.ArrayLike, groups: Sequence[str]) -> float:
    """Return the mean of the group means, so that every patient counts the same; NaN where empty."""
    means = group_means(values, groups)
    return float(np.mean(list(means.values()))) if means else float("nan")


def group_means(values: npt.ArrayLike, groups: Sequence[str]) -> dict[str, float]:
    """Return the mean value of each group, by name; NaN values are left out."""
    array: DoubleArray = np.asarray(values, np.float64)
    names = np.asarray(groups, str)
    known = ~np.isnan(array)
    return {str(name): float(array[known & (names == name)].mean()) for name in np.unique(names[known])}
