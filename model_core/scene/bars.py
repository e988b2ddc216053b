"""Bars of lesion areas along the slices: what the longest stands for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

# Areas above this percentile by more than the factor are outliers; of fewer areas than that none is.
_PERCENTILE, _FACTOR, _FEWEST = 95.0, 2.0, 3

Area = TypeVar("Area", int, float)


def bar_scale(areas: Sequence[Area]) -> Area | int:
    """Return the area that a bar of full length stands for: the largest, or less where few are far larger.

    Parameters
    ----------
    areas:
        Those above 0.
    """
    if len(areas) < _FEWEST:
        return max(areas, default=0)
    usual = float(np.percentile(areas, _PERCENTILE, method="lower"))
    return max(area for area in areas if area <= _FACTOR * usual)
