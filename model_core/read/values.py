"""Bring read values into an int16 volume and decide what they are: Hounsfield units, values or grey."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import FloatArray, VoxelArray
from model_core.base.volume import Problem, Unit, Window
from model_core.read import hounsfield
from model_core.read.tolerances import PADDING_HU

_INT16 = np.iinfo(np.int16)
# ITU-R BT.601 luma, the weights of the YBR conversion in PS3.3 C.7.6.3.1.2.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


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


@dataclass(frozen=True)
class Fitted:
    """How values were brought into int16: ``(value - low) * scale``, and what there is to tell of it.

    ``scale`` is 0 where every value became the same one.
    """

    low: float = 0.0
    scale: float = 1.0
    problems: tuple[Problem, ...] = ()

    def windows(self, windows: tuple[Window, ...]) -> tuple[Window, ...]:
        """Return windows of the file's values as windows that show the fitted ones the same way.

        None are left where all values became one: no window means anything there.
        """
        if (self.low, self.scale) == (0.0, 1.0):
            return windows
        return tuple(map(self._window, windows)) if self.scale > 0 else ()

    def _window(self, window: Window) -> Window:
        # LINEAR and tables spread width - 1 around level - 0.5 (PS3.3 C.11.2.1.2.1); the others are plain.
        extra = 1.0 if window.curve or window.function == "LINEAR" else 0.0
        width = (window.width - extra) * self.scale + extra
        level = (window.level - extra / 2 - self.low) * self.scale + extra / 2
        return replace(window, width=width, level=level)


def fit_int16(values: FloatArray, out: VoxelArray) -> Fitted:
    """Fill an int16 array with values of no fixed unit, scaling them only where they do not fit.

    Values that int16 cannot hold, or fractions whose whole range is small, are mapped linearly so
    that the picture is right; the numbers are then not the file's, which the problem says.
    """
    finite = np.isfinite(values)
    if not finite.any():
        out[...] = 0
        text = "The image holds no finite number."
        problem = Problem("warning", text, "It is shown as zero.", code="no_finite_value")
        return Fitted(scale=0.0, problems=(problem,))
    low, high = float(values[finite].min()), float(values[finite].max())
    fractions = 0 < high - low < 64 and bool((values[finite] != np.rint(values[finite])).any())
    if low >= _INT16.min and high <= _INT16.max and not fractions:
        clip_int16(values, out)
        return Fitted()
    span = high - low
    scale = (10_000.0 if fractions else float(_INT16.max)) / span if span > 0 else 0.0
    # In double precision: the span of single precision numbers may be more than they can hold.
    for index in np.ndindex(values.shape[:-2]):
        clip_int16((values[index].astype(np.float64) - low) * scale, out[index])
    why = "are fractions" if fractions else "do not fit"
    text = f"The values, {low:g} to {high:g}, {why}; whole 16-bit numbers are kept."
    action = "They are scaled linearly for display: numbers shown are not the file's."
    return Fitted(low, scale, (Problem("warning", text, action, code="scaled_for_display"),))


@dataclass(frozen=True)
class Measured:
    """Values of a file that says nothing of its unit, as a volume holds them.

    ``padding`` is the value of voxels that were no numbers, where there were any.
    """

    voxels: VoxelArray
    unit: Unit
    padding: int | None = None
    problems: tuple[Problem, ...] = ()


def measure(values: npt.NDArray[Any], *, only: int | None = None) -> Measured:
    """Decide from their distribution what (D, H, W) values are, and bring them into int16.

    Stored values of CT become Hounsfield units, which is told; NaN and infinite values are background.

    Parameters
    ----------
    only:
        Return this slice alone; all of them decide.
    """
    scale = hounsfield.recognise(values)
    problems = [] if scale is None or scale.offset == 0 else [_stored(scale)]
    if only is not None:
        values = values[only : only + 1]
    voxels: VoxelArray = np.empty(values.shape, np.int16)
    lost = ~np.isfinite(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    if scale is not None:
        outside = 0
        for index, picture in enumerate(values):
            exact = picture if scale.offset == 0 else picture.astype(np.float64) - scale.offset
            outside += clip_int16(exact, voxels[index])
        if outside:
            text = f"{outside} values lie outside 16-bit integers."
            problems.append(Problem("warning", text, "They are cut to that range.", code="clipped_values"))
    elif np.can_cast(values.dtype, np.int16):
        voxels[...] = values
    else:
        with np.errstate(all="ignore"):  # what single precision cannot hold counts as infinite
            problems += fit_int16(np.ascontiguousarray(values, np.float32), voxels).problems
    padding = None
    if lost.any() and not lost.all():
        padding = PADDING_HU if scale is not None else int(voxels[~lost].min())
        voxels[lost] = padding
        text = f"{np.count_nonzero(lost)} of {lost.size} values are no numbers (NaN or infinite)."
        unit = " HU" if scale is not None else ", the smallest value"
        action = f"They count as background: {padding}{unit}."
        problems.append(Problem("warning", text, action, code="not_finite"))
    return Measured(voxels, "values" if scale is None else "HU", padding, tuple(problems))


def _stored(scale: hounsfield.Scale) -> Problem:
    """Tell that values are stored values of CT, and what was made of them."""
    peaks = ", ".join(f"{name} at {value}" for name, value in scale.peaks)
    text = f"The values are no Hounsfield units: their distribution is that of HU + {scale.offset} ({peaks})."
    action = f"{scale.offset} is subtracted, and they are used as Hounsfield units. Check the numbers."
    return Problem("warning", text, action, code="hounsfield_offset")
