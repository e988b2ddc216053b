"""Orientation letters from direction cosines, never assumed."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from model_core.types import Geometry

# A direction gets a second or third letter where it leans by more than about 10 degrees (sine 0.17).
_LEAN = 0.17
_LETTERS = (("L", "R"), ("P", "A"), ("H", "F"))


class Sides(NamedTuple):
    """Letters of the four sides of a picture."""

    left: str
    right: str
    top: str
    bottom: str


def letters(direction: npt.NDArray[np.float64]) -> str:
    """Return where an LPS direction points, the strongest letter first: ``"L"``, ``"PF"``."""
    order = sorted(range(3), key=lambda axis: -abs(float(direction[axis])))
    return "".join(
        _LETTERS[axis][0 if direction[axis] > 0 else 1] for axis in order if abs(direction[axis]) > _LEAN
    )


def sides(geometry: Geometry, *, flip_horizontal: bool = False, flip_vertical: bool = False) -> Sides | None:
    """Return the letters of a slice as shown; None where the directions are unknown."""
    if geometry.axes is None:
        return None
    right = geometry.axes[2] * (-1 if flip_horizontal else 1)
    down = geometry.axes[1] * (-1 if flip_vertical else 1)
    return Sides(left=letters(-right), right=letters(right), top=letters(-down), bottom=letters(down))
