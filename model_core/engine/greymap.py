"""Estimate the grey-to-HU map of a picture from its lung and soft-tissue peaks."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from model_core.base.arrays import ByteArray
from model_core.base.settings import GREY_HIGH_HU, GREY_LOW_HU

LUNG_HU, SOFT_TISSUE_HU = -870.0, 40.0

# Estimated widths of lung windows end near 2000 HU (except where disease fills the lung), those of wider
# windows begin near 2600 HU.
_LUNG_WINDOW_ENDS = 2200.0
# Lung windows cut off bone: over 1 % of their pixels are this white, of wider windows under 0.1 %.
_WHITE, _WHITE_SHARE = 250, 0.005
_MIN_PEAK_DISTANCE = 40  # grey levels between lung and soft tissue; less means no chest was recognised
_MIN_SHARE = 0.02
# Slices of a series that are looked at.
_MOST_SLICES = 15


def likely_hu_range(grey: ByteArray) -> tuple[float, float]:
    """Return HU at grey 0 and at grey 255: of a lung window, unless the estimate says a wider one.

    A lung window is what most published pictures have, and the estimate is less exact than that knowledge:
    where disease fills the lung its peak is not that of air.

    Parameters
    ----------
    grey:
        (H, W) a slice, or (D, H, W) the slices of one series, which have one window: the median of their
        estimates.
    """
    slices = grey[None] if grey.ndim == 2 else grey
    seen = slices[np.unique(np.linspace(0, len(slices) - 1, _MOST_SLICES).round().astype(int))]
    low, high = (float(end) for end in np.median([estimate_hu_range(picture) for picture in seen], axis=0))
    wider = high - low > _LUNG_WINDOW_ENDS and np.mean(seen >= _WHITE) < _WHITE_SHARE
    return (low, high) if wider else (GREY_LOW_HU, GREY_HIGH_HU)


def estimate_hu_range(grey: ByteArray) -> tuple[float, float]:
    """Return approximate HU at grey 0 and at grey 255 of a chest slice.

    The lung peak is taken as -870 HU and the soft-tissue peak as 40 HU; air that touches the border of
    the picture is left out where enough lung remains. A picture without two clear peaks is taken as a
    lung window. The error is some 50-100 HU.
    """
    split = _otsu(grey[(grey > 0) & (grey < 255)])
    dark = grey <= split
    components, count = ndimage.label(dark)
    edge = np.unique(np.concatenate((components[0], components[-1], components[:, 0], components[:, -1])))
    inner = dark & ~np.isin(components, edge) if count else dark
    lung = inner if inner.mean() > _MIN_SHARE else dark
    tissue = grey > split
    if lung.mean() < _MIN_SHARE or tissue.mean() < _MIN_SHARE:
        return GREY_LOW_HU, GREY_HIGH_HU
    low, high = _peak(grey[lung]), _peak(grey[tissue])
    if high - low < _MIN_PEAK_DISTANCE:
        return GREY_LOW_HU, GREY_HIGH_HU
    step = (SOFT_TISSUE_HU - LUNG_HU) / (high - low)
    return LUNG_HU - low * step, LUNG_HU + (255 - low) * step


def _otsu(values: ByteArray) -> int:
    """Return the grey level that separates two groups best (largest variance between them)."""
    if not values.size:
        return 127
    counts = np.bincount(values, minlength=256).astype(np.float64)
    levels = np.arange(256)
    weight, total = counts.cumsum(), (counts * levels).cumsum()
    rest = weight[-1] - weight
    with np.errstate(divide="ignore", invalid="ignore"):
        between = weight * rest * (total / weight - (total[-1] - total) / rest) ** 2
    return int(np.nanargmax(np.where((weight > 0) & (rest > 0), between, -1.0)))


def _peak(values: ByteArray) -> float:
    """Return the mode of the greys, smoothed over five levels."""
    counts = np.bincount(values, minlength=256).astype(np.float64)
    return float(np.convolve(counts, np.ones(5), mode="same").argmax())
