"""Which RoIs of a list a plot shows: finite ones, the best few in front."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from model_core.base.errors import SettingsError
from model_core.base.results import RoiRow


@dataclass(frozen=True)
class Ranking:
    """RoIs split for drawing.

    Attributes
    ----------
    shown:
        The ``top`` best by rank, or all.
    rest:
        The others, drawn faintly for comparison.
    selected:
        The selected RoI, from either group.
    dropped:
        How many have a score or an area that is not a finite number.
    """

    shown: tuple[RoiRow, ...]
    rest: tuple[RoiRow, ...]
    selected: RoiRow | None
    dropped: int


def rank(rois: Sequence[RoiRow], top: int | None, selected: int | None) -> Ranking:
    """Split RoIs into the ``top`` best and the rest, and find the selected candidate.

    Raises
    ------
    SettingsError
        If ``top`` is less than 1.
    """
    if top is not None and top < 1:
        raise SettingsError(f"At least the best RoI is shown: top is 1 or more, not {top}.")
    finite = [roi for roi in rois if math.isfinite(roi.score) and math.isfinite(roi.area_px)]
    finite.sort(key=lambda roi: roi.rank)
    count = len(finite) if top is None else top
    chosen = next((roi for roi in finite if roi.candidate == selected), None)
    return Ranking(tuple(finite[:count]), tuple(finite[count:]), chosen, len(rois) - len(finite))
