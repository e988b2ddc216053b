"""Copy and paste of lesions: real lesions of one training slice in the lung of another.

After "Simple Copy-Paste" (Ghiasi et al. 2021), with what a lesion asks for: it lies in lung, has a soft edge,
and is matched in grey level and size to the lung it goes to.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from model_core.base.arrays import BoolArray, ByteArray, DoubleArray, FloatArray
from model_core.train.packing import PackedSlice
from model_core.train.parenchyma import Lung, find_lung

_EIGHT = np.ones((3, 3), bool)
# Components of fewer pixels are dots whose outline is not reliable, and so are results of fewer.
_SMALLEST = 40
_MOST = 3  # components of a donor that are taken at once
_TRIES = 12
_INSIDE = 0.7  # share of the lesion that must fall into the lung; the rest is cut off
_EDGE = 1.0  # standard deviation of the soft edge in pixels
_MARGIN = 4


def paste_lesion(one: PackedSlice, donor: PackedSlice, generator: np.random.Generator) -> PackedSlice:
    """Return the slice with one to three lesions of the donor in its lung; itself where none fits.

    The lesions are turned, perhaps mirrored, scaled by the ratio of the lungs, and shifted in grey by the
    difference of the two lungs. Lesions that are there stay. The draws that are made depend on the slices
    and the generator alone.
    """
    lung, donors_lung = find_lung(one), find_lung(donor)
    components, count = ndimage.label(donor.lesion > 0, structure=_EIGHT)
    areas = np.bincount(components.ravel(), minlength=count + 1)[1:]
    large = np.flatnonzero(areas >= _SMALLEST) + 1
    if lung is None or donors_lung is None or not len(large):
        return one
    taken = generator.permutation(large)[: int(generator.integers(1, _MOST + 1))]
    image = one.image.astype(np.float32)
    labels = one.labels.copy()
    shift = 255.0 * (lung.level - donors_lung.level)
    for index in taken:
        size = lung.scale / donors_lung.scale * float(np.exp(generator.normal(0.0, 0.2)))
        patch, lesion = _patch(donor, components == index, generator, scale=float(np.clip(size, 0.3, 3.0)))
        place = _place(lesion > 0, lung, generator)
        if place is not None:
            _blend(image, labels, patch + shift, lesion, lung=lung, place=place)
    return replace(one, image=np.clip(np.rint(image), 0, 255).astype(np.uint8), labels=labels)


def _patch(
    donor: PackedSlice, component: BoolArray, generator: np.random.Generator, *, scale: float
) -> tuple[FloatArray, ByteArray]:
    """Cut a component out, turned and scaled: grey values around it, and its lesion values."""
    rows, columns = np.flatnonzero(component.any(1)), np.flatnonzero(component.any(0))
    centre = np.array([rows[0] + rows[-1], columns[0] + columns[-1]]) / 2.0
    angle = float(generator.uniform(-np.pi, np.pi))
    turn: DoubleArray = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    if generator.random() < 0.5:
        turn = turn * np.array([1.0, -1.0])
    # The turned box fits into a square over its diagonal.
    reach = scale * float(np.hypot(rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1))
    side = int(np.ceil(reach)) + 2 * _MARGIN
    offset = centre - turn @ np.full(2, (side - 1) / 2.0)
    picture = ndimage.affine_transform(
        donor.image.astype(np.float32), turn, offset, (side, side), order=1, mode="nearest"
    )
    values = np.where(component, donor.lesion, 0).astype(np.uint8)
    lesion: ByteArray = ndimage.affine_transform(values, turn, offset, (side, side), order=0)
    return picture, lesion


def _place(lesion: BoolArray, lung: Lung, generator: np.random.Generator) -> tuple[int, int] | None:
    """Return the top left corner at which most of the lesion lies in the lung, or None."""
    total = int(lesion.sum())
    rows, columns = np.nonzero(lung.inside)
    if total < _SMALLEST:
        return None
    best: tuple[int, int] | None = None
    reached = _INSIDE * total
    half = lesion.shape[0] // 2
    for pick in generator.integers(len(rows), size=_TRIES):
        corner = int(rows[pick]) - half, int(columns[pick]) - half
        mine, theirs = _overlap(corner, lesion.shape, lung.inside.shape)
        covered = int((lesion[mine] & lung.inside[theirs]).sum())
        if covered > reached:
            best, reached = corner, covered
    return best


def _overlap(
    corner: tuple[int, int], patch: tuple[int, ...], picture: tuple[int, ...]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return which part of a patch lies in the picture, and where."""
    mine, theirs = [], []
    for start, length, limit in zip(corner, patch, picture, strict=True):
        low, high = max(0, start), min(limit, start + length)
        mine.append(slice(low - start, max(low, high) - start))
        theirs.append(slice(low, max(low, high)))
    return (mine[0], mine[1]), (theirs[0], theirs[1])


def _blend(
    image: FloatArray,
    labels: ByteArray,
    patch: FloatArray,
    lesion: ByteArray,
    *,
    lung: Lung,
    place: tuple[int, int],
) -> None:
    """Put the patch into picture and labels, in place, with a soft edge inside the lung."""
    mine, theirs = _overlap(place, lesion.shape, image.shape)
    wanted = np.where(lung.inside[theirs], lesion[mine], 0).astype(np.uint8)
    weight = ndimage.gaussian_filter((wanted > 0).astype(np.float32), _EDGE)
    weight *= lung.inside[theirs]
    # A lesion does not darken what lies under it: vessels and lesions that are there shine through.
    image[theirs] += weight * (np.maximum(patch[mine], image[theirs]) - image[theirs])
    kept = labels[theirs]
    # Where a lesion is already, its own class stays.
    new = np.where((kept & 3) == 0, wanted, 0).astype(np.uint8)
    labels[theirs] = kept | new
