"""VOI windows: stored values to display values, exactly as DICOM PS3.3 C.11.2 defines them.

int16 has only 65536 values, so a window is a table that is computed once and looked up ever after.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import ByteArray, DoubleArray, VoxelArray
from model_core.base.errors import SettingsError
from model_core.base.volume import LUNG_WINDOW, VoiFunction, Volume, Window

# Percentiles that the automatic window spans: a few metal or padding pixels do not count.
AUTO_PERCENTILES = (1.0, 99.0)
# Enough voxels for a percentile; a whole volume would take a second.
_SAMPLE = 1_000_000


def apply_window(values: VoxelArray, window: Window, *, inverted: bool = False) -> ByteArray:
    """Return the display values of a slice under a window.

    Parameters
    ----------
    values:
        int16 of any shape, in the volume's unit.
    inverted:
        Show high values dark (MONOCHROME1, or the reader's wish).

    Returns
    -------
    uint8 of the same shape, 0 black to 255 white, C-contiguous.

    Raises
    ------
    SettingsError
        If the width is not positive or width or level is not a number.
    """
    if values.dtype != np.int16:
        raise TypeError(f"apply_window takes int16 in the machine's byte order, not {values.dtype}")
    shown: ByteArray = lookup_table(window, inverted=inverted).take(values.view(np.uint16))
    return shown


def usual_picture(volume: Volume, values: VoxelArray) -> ByteArray:
    """Return the display values of a slice where nobody chose a window: of HU the lung window."""
    window = LUNG_WINDOW if volume.unit == "HU" else automatic_window(volume)
    return apply_window(values, window, inverted=volume.inverted)


def lookup_table(window: Window, *, inverted: bool = False) -> ByteArray:
    """Return the read-only table behind `apply_window`, indexed by the int16 value seen as uint16.

    Raises
    ------
    SettingsError
        If the width is not positive or width or level is not a number.
    """
    return _table(float(window.width), float(window.level), window.function, window.curve, inverted)


def display_values(values: npt.ArrayLike, window: Window) -> DoubleArray:
    """Return unrounded display values in 0..255 by the formulas of PS3.3 C.11.2.1.2 and C.11.2.1.3.

    LINEAR needs a width of at least 1; a smaller one counts as 1, the step at ``level - 0.5``. A VOI LUT
    (PS3.3 C.11.2.1.1) lies over the values that LINEAR spreads over 0..255; between entries it is linear.
    """
    x = np.asarray(values, np.float64)
    width, level = float(window.width), float(window.level)
    if not (math.isfinite(width) and math.isfinite(level) and width > 0):
        raise SettingsError(
            f"A window has a positive width and a finite level, not {width:g} / {level:g}: choose a preset."
        )
    if window.curve:
        steps = np.frombuffer(window.curve, np.uint8).astype(np.float64)
        places = ((x - level + 0.5) / max(width - 1.0, 1e-6) + 0.5) * (steps.size - 1)
        looked_up: DoubleArray = np.interp(places, np.arange(steps.size), steps)
        return looked_up
    if window.function == "SIGMOID":
        # Beyond the limit the result is 0 or 255 to the last bit; exp would only overflow.
        sigmoid: DoubleArray = 255.0 / (1.0 + np.exp(np.clip(-4.0 * (x - level) / width, -700.0, 700.0)))
        return sigmoid
    centre, span = (level - 0.5, max(width, 1.0) - 1.0) if window.function == "LINEAR" else (level, width)
    ramp = ((x - centre) / span + 0.5) * 255.0 if span > 0 else np.zeros_like(x)
    below, above = x <= centre - span / 2, x > centre + span / 2
    linear: DoubleArray = np.where(below, 0.0, np.where(above, 255.0, ramp))
    return linear


@lru_cache(maxsize=64)
def _table(width: float, level: float, function: VoiFunction, curve: bytes, inverted: bool) -> ByteArray:
    window = Window(width, level, function=function, curve=curve)
    low, high = -32768, 32767
    first, last = low, high
    if function != "SIGMOID" and not curve and math.isfinite(width) and math.isfinite(level):
        # Beyond the ramp all is black or white: a window that is dragged moves a few thousand values.
        first = math.floor(min(max(level - width - 1, low), high))
        last = math.ceil(min(max(level + width + 1, low), high))
    exact = display_values(np.arange(first, last + 1), window)
    ordered = np.full(65536, 255, np.uint8)
    ordered[: first - low] = 0
    ordered[first - low : last - low + 1] = np.floor(exact + 0.5)
    table = np.concatenate((ordered[-low:], ordered[:-low]))
    if inverted:
        table = (255 - table).astype(np.uint8)
    table.flags.writeable = False
    return table


def automatic_window(source: Volume | VoxelArray, *, padding: int | None = None) -> Window:
    """Return the window that spans the 1st to 99th percentile of a volume or of any array of voxels.

    Parameters
    ----------
    padding:
        Value of pixels outside the picture, left out; a volume's own is used when None.
    """
    if isinstance(source, Volume):
        padding = source.padding_value if padding is None else padding
        values = source.voxels
    else:
        values = source
    flat = values.reshape(-1)[:: max(1, values.size // _SAMPLE)]
    if padding is not None:
        real = flat[flat != padding]
        flat = real if real.size else flat
    if not flat.size:
        return Window(1.0, 0.0, "Auto")
    low, high = (float(value) for value in np.percentile(flat, AUTO_PERCENTILES))
    # LINEAR over width w covers w - 1 (C.11.2.1.2.1): one more so that both percentiles are inside.
    return Window(max(1.0, high - low) + 1.0, (low + high) / 2 + 0.5, "Auto")
