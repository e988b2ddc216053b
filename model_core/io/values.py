"""Bring read values into an int16 volume and decide what they are: Hounsfield units, values or grey."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.types import FloatArray, Problem, VoxelArray

_INT16 = np.iinfo(np.int16)


def clip_int16(values: npt.NDArray[Any], out: VoxelArray) -> int:
    """Round and clip values into an int16 array of the same shape; return how many were clipped."""
    if values.dtype.kind == "f":
        values = np.nan_to_num(np.rint(values), nan=_INT16.min, posinf=_INT16.max, neginf=_INT16.min)
    outside = 0
    if values.size and (values.min() < _INT16.min or values.max() > _INT16.max):
        outside = int(np.count_nonzero((values < _INT16.min) | (values > _INT16.max)))
        values = np.clip(values, _INT16.min, _INT16.max)
    out[...] = values
    return outside


def fit_int16(values: FloatArray, out: VoxelArray) -> tuple[Problem, ...]:
    """Fill an int16 array with values of no fixed unit, scaling them only where they do not fit.

    Values that int16 cannot hold, or fractions whose whole range is small, are mapped linearly so
    that the picture is right; the numbers are then not the file's, which the problem says.
    """
    finite = np.isfinite(values)
    if not finite.any():
        out[...] = 0
        return (Problem("warning", "The image holds no finite number.", "It is shown as zero."),)
    low, high = float(values[finite].min()), float(values[finite].max())
    fractions = 0 < high - low < 64 and bool((values[finite] != np.rint(values[finite])).any())
    if low >= _INT16.min and high <= _INT16.max and not fractions:
        clip_int16(values, out)
        return ()
    span = high - low
    scale = (10_000.0 if fractions else float(_INT16.max)) / span if span > 0 else 0.0
    # In double precision: the span of single precision numbers may be more than they can hold.
    for index in np.ndindex(values.shape[:-2]):
        clip_int16((values[index].astype(np.float64) - low) * scale, out[index])
    why = "are fractions" if fractions else "do not fit"
    text = f"The values, {low:g} to {high:g}, {why}; whole 16-bit numbers are kept."
    return (
        Problem("warning", text, "They are scaled linearly for display: numbers shown are not the file's."),
    )
