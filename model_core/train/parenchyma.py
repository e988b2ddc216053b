"""Where the lung of a packed slice is, and how dark: what new lesions are fitted to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from weakref import WeakKeyDictionary

import numpy as np
from scipy import ndimage

from model_core.base.arrays import BoolArray, FloatArray
from model_core.train.appearance import unit
from model_core.train.packing import LUNG_BIT, PackedSlice

# Aerated lung, in HU: between air outside (or a stretched grey scale's error) and ground glass.
_DARKEST, _BRIGHTEST = -985.0, -550.0
# Smaller islands of dark pixels are trachea, bowel or noise.
_SMALLEST_SHARE = 0.01
_SOFT = -400.0  # the body wall is brighter
_BORDER = 0.12  # of the lung's scale: what is peripheral
_FIRST, _LAST = slice(0, 4), slice(-4, None)
_KEPT = 512


@dataclass(frozen=True, eq=False)
class Lung:
    """The lung of one slice.

    Attributes
    ----------
    inside:
        (H, W) where lesions may lie.
    level:
        Median grey of its aerated part, 0..1 over the network's window.
    scale:
        Square root of its area in pixels: a length that two slices can be compared by.
    """

    inside: BoolArray
    level: float
    scale: float

    @cached_property
    def border(self) -> BoolArray:
        """(H, W) the part of it near the chest wall and the mediastinum."""
        near: BoolArray = self.inside & (ndimage.distance_transform_edt(self.inside) < _BORDER * self.scale)
        return near


# Used last at the end.
_lungs: WeakKeyDictionary[PackedSlice, Lung | None] = WeakKeyDictionary()


def find_lung(one: PackedSlice) -> Lung | None:
    """Return the lung of a slice: its lung mask, or its dark parenchyma where there is none.

    None where less than `_SMALLEST_SHARE` of the picture is lung. Kept for the `_KEPT` slices used last, as
    a slice is drawn many times; but only while there is the slice: one with new lesions never comes again.
    """
    lung = _lungs.pop(one) if one in _lungs else _find_lung(one)
    while len(_lungs) >= _KEPT:
        del _lungs[next(iter(_lungs))]
    _lungs[one] = lung
    return lung


def _find_lung(one: PackedSlice) -> Lung | None:
    picture = one.image.astype(np.float32) / 255.0
    inside = (one.labels & LUNG_BIT) > 0 if one.has_lung else _dark(picture, cropped=one.cropped)
    if one.has_lung:
        inside = inside | (one.lesion > 0)
    if inside.sum() < _SMALLEST_SHARE * inside.size:
        return None
    aerated = picture[inside & (picture < unit(_BRIGHTEST)) & (one.lesion == 0)]
    level = float(np.median(aerated)) if len(aerated) else unit(-850.0)
    return Lung(inside, level, float(np.sqrt(inside.sum())))


def _dark(picture: FloatArray, *, cropped: bool) -> BoolArray:
    """Return lung-dark regions with the vessels in them, without the air around the body."""
    smooth = ndimage.gaussian_filter(picture, 1.0)
    dark = (smooth > unit(_DARKEST)) & (smooth < unit(_BRIGHTEST))
    if not cropped:
        dark &= find_body(smooth)
    # The wall of the body is as dark as lung where it passes into air: too thin to survive.
    dark = ndimage.binary_opening(dark, iterations=3)
    regions, count = ndimage.label(dark)
    areas = np.bincount(regions.ravel(), minlength=count + 1)
    good = areas > _SMALLEST_SHARE * picture.size
    good[0] = False
    # Lungs are round: what fills a corner of a crop is air beside the body.
    corners = [regions[rows, columns] for rows in (_FIRST, _LAST) for columns in (_FIRST, _LAST)]
    good[np.unique(corners)] = False
    closed: BoolArray = ndimage.binary_closing(good[regions], iterations=3)
    return closed


def find_body(smooth: FloatArray) -> BoolArray:
    """Return the largest bright object of a smoothed (H, W) picture, with what it encloses.

    Neither the table nor the air around is in it.
    """
    bright = ndimage.binary_opening(smooth > unit(_SOFT), iterations=4)
    objects, count = ndimage.label(bright)
    if not count:
        return np.zeros(smooth.shape, bool)
    largest = int(np.bincount(objects.ravel())[1:].argmax()) + 1
    body: BoolArray = ndimage.binary_fill_holes(objects == largest)
    return body
