"""Confidence intervals that treat slices of one patient as what they are: not independent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import DoubleArray, IntArray

LEVEL = 0.95
# Draws for ratios and means; fewer for any other statistic, which is computed anew for each.
DRAWS, STATISTIC_DRAWS = 2000, 400


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

    def rounded(self) -> dict[str, float | None]:
        """Return value, low and high with four digits; None for NaN."""
        found = {"value": self.value, "low": self.low, "high": self.high}
        return {key: rounded(number) for key, number in found.items()}


def rounded(value: float) -> float | None:
    """Return a value with four digits, as training reports hold it; None for NaN."""
    return None if np.isnan(value) else round(float(value), 4)


def quoted(name: str, values: Mapping[str, float | None]) -> dict[str, Any]:
    """Return an interval (`Interval.rounded`) as a model card quotes it: value, and limits where known."""
    limits = [values["low"], values["high"]]
    return {name: values["value"]} | ({} if None in limits else {f"{name}_interval": limits})


def ratio_interval(
    numerators: npt.ArrayLike,
    denominators: npt.ArrayLike,
    groups: Sequence[str],
) -> Interval:
    """Return sum of numerators over sum of denominators, with its interval over resampled groups.

    One number of each and one group per image; images of one group are drawn together.
    """
    above, below = np.asarray(numerators, np.float64), np.asarray(denominators, np.float64)

    def drawn(codes: IntArray, count: int) -> DoubleArray:
        # A ratio needs only how often each group is drawn, so that all draws are two matrix products.
        weights = np.random.default_rng(0).multinomial(count, np.full(count, 1.0 / count), size=DRAWS)
        tops = weights @ np.bincount(codes, above, count)
        bottoms = weights @ np.bincount(codes, below, count)
        ratios: DoubleArray = tops[bottoms > 0] / bottoms[bottoms > 0]
        return ratios

    value = float(above.sum() / below.sum()) if below.sum() else float("nan")
    return _percentiles(value, groups, drawn)


def mean_interval(values: npt.ArrayLike, groups: Sequence[str]) -> Interval:
    """Return the mean over images with its interval over resampled groups."""
    array = np.asarray(values, np.float64)
    return ratio_interval(array, np.ones(len(array)), groups)


def interval(statistic: Callable[[IntArray], float], groups: Sequence[str]) -> Interval:
    """Return any statistic of image indices with its interval over resampled groups.

    ``statistic`` gets the indices of the drawn images (with repeats); draws for which it is NaN are left out.
    """

    def drawn(codes: IntArray, count: int) -> DoubleArray:
        members = [np.flatnonzero(codes == code) for code in range(count)]
        picks = np.random.default_rng(0).integers(count, size=(STATISTIC_DRAWS, count))
        return np.array([statistic(np.concatenate([members[i] for i in pick])) for pick in picks])

    return _percentiles(float(statistic(np.arange(len(groups)))), groups, drawn)


def _percentiles(
    value: float, groups: Sequence[str], drawn: Callable[[IntArray, int], DoubleArray]
) -> Interval:
    """Return the interval of what is ``drawn``, given the group (n,) of each image and how many there are."""
    names, codes = np.unique(np.asarray(groups, str), return_inverse=True)
    found = np.zeros(0)
    if len(names) > 1 and not np.isnan(value):
        found = drawn(codes, len(names))
        found = found[~np.isnan(found)]
    tails = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)
    low, high = np.quantile(found, tails) if len(found) else (np.nan, np.nan)
    return Interval(value, float(low), float(high), len(names), len(codes))


def macro_interval(values: npt.ArrayLike, groups: Sequence[str]) -> Interval:
    """Return the mean of the group means, so that every patient counts the same, with its interval."""
    means = group_means(values, groups)
    return mean_interval(list(means.values()), list(means))


def group_means(values: npt.ArrayLike, groups: Sequence[str]) -> dict[str, float]:
    """Return the mean value of each group, by name; NaN values are left out."""
    array: DoubleArray = np.asarray(values, np.float64)
    names = np.asarray(groups, str)
    known = ~np.isnan(array)
    return {str(name): float(array[known & (names == name)].mean()) for name in np.unique(names[known])}
