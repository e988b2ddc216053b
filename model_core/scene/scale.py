"""The scale bar: the longest round length that fits."""

from __future__ import annotations

import math

from model_core.base.geometry import Geometry

# Most of the width of a picture that it takes.
SCALE_SHARE = 0.22
# Lengths a scale bar may have, in mm.
_BARS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)


def scale_bar(geometry: Geometry, pixel: float, room: float) -> tuple[float, str] | None:
    """Return length and caption of the scale bar; None where the pixel size is unknown or nothing fits.

    Parameters
    ----------
    pixel:
        Width of a slice pixel on what is drawn on; ``room`` and the length are in the same unit.
    """
    _, row, column = geometry.spacing_mm
    if row is None or column is None or not (math.isfinite(column) and column > 0 and row > 0):
        return None
    per_mm = pixel / column
    fitting = [length for length in _BARS if length * per_mm <= room]
    if not fitting:
        return None
    length = fitting[-1]
    return length * per_mm, f"{length / 10:g} cm" if length >= 10 else f"{length:g} mm"
