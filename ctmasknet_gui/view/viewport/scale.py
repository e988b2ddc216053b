"""The scale bar: the longest round length that fits."""

from __future__ import annotations

import math

from ctmasknet_gui.view.viewport.mapping import View

# Lengths a scale bar may have, in mm.
_BARS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)


def scale_bar(view: View, spacing_mm: tuple[float | None, float | None, float | None], room: float) -> float:
    """Return the longest round length in mm that fits into ``room`` screen pixels; 0 where unknown."""
    column = spacing_mm[2]
    row = spacing_mm[1]
    if row is None or column is None or not (math.isfinite(column) and column > 0 and row > 0):
        return 0.0
    per_mm = view.scale[0] / column
    fitting = [length for length in _BARS if length * per_mm <= room]
    return float(fitting[-1]) if fitting else 0.0


def bar_text(length_mm: float) -> str:
    """Return a scale bar's caption, in cm where that is round."""
    return f"{length_mm / 10:g} cm" if length_mm >= 10 else f"{length_mm:g} mm"
