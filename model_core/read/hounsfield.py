"""Whether the values of a file that says nothing of its unit are Hounsfield units, by their distribution.

NIfTI, NRRD and MetaImage have no field for it. CT shows itself by its peaks: air at -1000 HU, lung, fat near
-105 and soft tissue near 40. Files made without the rescale of DICOM (PS3.3 C.11.1) hold stored values: the
same peaks, higher by the scanner's offset. The smallest value tells nothing: padding may be any number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import DoubleArray

# What scanners add to Hounsfield units when they store them (the negative of RescaleIntercept), the usual one
# first: nearly equal fits are decided for it.
OFFSETS = (1024, 1000, 2048, 8192, 32768)
_UNUSUAL = 0.6

# Enough voxels for a distribution.
_SAMPLE = 4_000_000
_LOWEST, _HIGHEST = -4000, 40_000
# Blurs the noise of single numbers; fat and soft tissue, some 140 HU apart, stay two peaks.
_BLUR_HU = 6.0


@dataclass(frozen=True)
class _Tissue:
    """A peak of CT: where it is looked for, where it may be (HU), and what a tenth off counts."""

    name: str
    sought: tuple[int, int]
    allowed: tuple[int, int]
    usual: float
    width: float


# As measured in scans of four makers' heads and chests, with room for contrast agent and other kernels.
_AIR = _Tissue("air", (-1015, -975), (-1015, -975), -998.0, 10.0)
_FAT = _Tissue("fat", (-200, -20), (-140, -60), -105.0, 25.0)
_SOFT = _Tissue("soft tissue", (-20, 120), (-5, 90), 40.0, 25.0)
_LUNG = (-975, -600)
# Without a peak of air or fat, a fit counts as if it were that far off.
_ABSENT = 1.5
# A peak stands out this much over the emptiest part of CT, and soft tissue over what is denser as well.
_PROMINENCE = 3.0
_EMPTY, _DENSE = (-500, -250), (250, 500)
# Soft tissue and fat; bone is less than half of it; both are some part of the picture.
_BODY, _BONE = (-200, 250), (251, 3100)
_BODY_SHARE = 0.02
# All of CT lies in this range, but for single pixels, and padding below it.
_RANGE = (-1200, 3100)
_LEAST_SHARE = 0.4
_STRAY_SHARE = 0.01
# Air and lung, for values that are Hounsfield units as they are.
_GAS = (-1200, -501)
_GAS_SHARE = 1e-3
# A number that stands alone: this many times its blurred surroundings. Padding does, and synthetic pictures.
_ALONE = 5.0


@dataclass(frozen=True)
class Scale:
    """What values are: Hounsfield units plus ``offset``; and the peaks that say so, in the file's values."""

    offset: int
    peaks: tuple[tuple[str, int], ...] = ()


def recognise(values: npt.NDArray[Any]) -> Scale | None:
    """Return how (D, H, W) values become Hounsfield units; None where they are something else.

    Numbers that are not finite are left out.
    """
    from scipy import ndimage  # slow to import; most files say their unit

    counts = _counts(values)
    total = float(counts.sum())
    if not total:
        return None
    blurred: DoubleArray = ndimage.gaussian_filter1d(counts, _BLUR_HU)
    alone = (counts > _ALONE * blurred) & (counts >= _GAS_SHARE * total)
    gas, single = _part(counts, 0, _GAS), _part(alone, 0, _GAS)
    spread = float(gas[~single].sum())
    if spread < _STRAY_SHARE * total and single.sum() < 2:
        fits = [fit for offset in OFFSETS if (fit := _fit(counts, blurred, offset)) is not None]
        if fits:
            return min(fits, key=lambda fit: fit[0])[1]
    if spread >= _GAS_SHARE * total or single.sum() > 1:
        return Scale(0)
    # One number alone may be padding of something else: then soft tissue is the proof. Without any, only fat
    # beside soft tissue is.
    fit = _fit(counts, blurred, 0, padded=bool(single.any()))
    return Scale(0) if fit is not None and (single.any() or len(fit[1].peaks) > 1) else None


def _counts(values: npt.NDArray[Any]) -> DoubleArray:
    """Return how often each whole number from `_LOWEST` to `_HIGHEST` occurs."""
    step = max(1, math.isqrt(values.size // _SAMPLE))
    flat = values[..., ::step, ::step].reshape(-1)
    if flat.dtype.kind == "f":
        flat = np.rint(flat[np.isfinite(flat)])
    inside = flat[(flat >= _LOWEST) & (flat <= _HIGHEST)].astype(np.int64)
    counts: DoubleArray = np.bincount(inside - _LOWEST, minlength=_HIGHEST - _LOWEST + 1).astype(np.float64)
    return counts


def _part(counts: npt.NDArray[Any], offset: int, limits: tuple[int, int]) -> npt.NDArray[Any]:
    """Return the entries from one number of HU to another, were the values HU + offset."""
    first, last = (limit + offset - _LOWEST for limit in limits)
    return counts[first : last + 1]


def _fit(
    counts: DoubleArray, blurred: DoubleArray, offset: int, *, padded: bool = False
) -> tuple[float, Scale] | None:
    """Return how far off the peaks are, were the values HU + offset; None where they are not those of CT.

    Soft tissue needs a second peak beside it, unless the values are ``padded`` as Hounsfield units are.
    """
    # What lies below is padding, also where compression with loss blurred it.
    total = float(counts[_RANGE[0] + offset - _LOWEST :].sum())
    inside = float(_part(counts, offset, _RANGE).sum())
    body, bone = float(_part(counts, offset, _BODY).sum()), float(_part(counts, offset, _BONE).sum())
    if (
        total < _LEAST_SHARE * counts.sum()
        or inside < (1 - _STRAY_SHARE) * total
        or body < _BODY_SHARE * total
        or bone > body / 2
    ):
        return None
    empty = float(_part(blurred, offset, _EMPTY).mean())
    dense = float(_part(blurred, offset, _DENSE).mean())
    soft = _peak(blurred, offset, _SOFT.sought, _PROMINENCE * max(empty, dense))
    fat = _peak(blurred, offset, _FAT.sought, _PROMINENCE * empty)
    air = _peak(blurred, offset, _AIR.sought, _PROMINENCE * empty)
    lung = _peak(blurred, offset, _LUNG, _PROMINENCE * empty)
    if soft is None or (not padded and air is None and fat is None and lung is None):
        return None
    misfit = 0.0 if offset in (0, OFFSETS[0]) else _UNUSUAL
    peaks = []
    for tissue, peak in ((_AIR, air), (_FAT, fat), (_SOFT, soft)):
        if peak is None:
            misfit += _ABSENT
            continue
        if not tissue.allowed[0] <= peak <= tissue.allowed[1]:
            return None
        misfit += abs(peak - tissue.usual) / tissue.width
        peaks.append((tissue.name, peak + offset))
    return misfit, Scale(offset, tuple(peaks))


def _peak(blurred: DoubleArray, offset: int, limits: tuple[int, int], above: float) -> int | None:
    """Return where (HU) the highest local maximum between two numbers of HU is; None: none is that high."""
    part = _part(blurred, offset, (limits[0] - 1, limits[1] + 1))
    inner = part[1:-1]
    tops = np.flatnonzero((inner > part[:-2]) & (inner >= part[2:]) & (inner > above))
    return limits[0] + int(tops[np.argmax(inner[tops])]) if tops.size else None
