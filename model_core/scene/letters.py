"""The letters at the four edges, from the direction cosines (PS3.3 C.7.6.1.1.1), never assumed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from model_core.base.geometry import Geometry

# LPS: positive axes point left, posterior and to the head.
_POSITIVE, _NEGATIVE = "LPH", "RAF"
# A direction that leans by less gets one letter: a second one would only tell of a slightly turned patient.
_LEAN = math.sin(math.radians(15))


class EdgeLetters(NamedTuple):
    """What lies beyond each edge of the picture; empty where the orientation is unknown."""

    left: str = ""
    right: str = ""
    top: str = ""
    bottom: str = ""


def letters_of(direction: Sequence[float]) -> str:
    """Return one to three letters for an LPS direction, the main one first; "" for no direction."""
    # Plain numbers: four of these are drawn with every frame, and three are too few for arrays.
    vector = [float(part) for part in direction]
    length = math.hypot(*vector)
    if not math.isfinite(length) or length == 0:
        return ""
    vector = [part / length for part in vector]
    order = sorted(range(len(vector)), key=lambda k: -abs(vector[k]))
    kept = [k for k in order if abs(vector[k]) > _LEAN]
    return "".join(_POSITIVE[k] if vector[k] > 0 else _NEGATIVE[k] for k in kept)


def edge_letters(
    geometry: Geometry, *, flip_horizontal: bool = False, flip_vertical: bool = False
) -> EdgeLetters:
    """Return the letters as the picture is shown, flips included."""
    if geometry.axes is None:
        return EdgeLetters()
    down, across = geometry.axes[1], geometry.axes[2]
    across = -across if flip_horizontal else across
    down = -down if flip_vertical else down
    return EdgeLetters(letters_of(-across), letters_of(across), letters_of(-down), letters_of(down))
