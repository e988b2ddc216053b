"""What lies outside the patient in a CT slice: air, clothes, hair, tubes, the table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from model_core.base.arrays import BoolArray, FloatArray
from model_core.base.volume import Volume

# A smaller field of view may be a crop in which a lung reaches the border.
SMALLEST_FIELD_MM = 250.0
_DENSE_HU = -500.0  # fat, muscle and bone; most cloth and hair is thinner
_LINK_MM = 4.0  # narrower bridges, as of a hem or a tube, do not make something part of the body
_SMALLEST_BODY = 0.08  # of the picture
_AIR_HU = -930.0  # lung is denser
_MOST_DENSER = 0.4  # of a region outside: more is a table, or a lung that is cut by the border
_WHOLE_ROW = 0.9


def find_outside(hu: FloatArray, *, pixel_mm: float) -> BoolArray | None:
    """Return the (H, W) mask of what lies outside the patient, or None where that is not certain.

    The body is the largest connected dense region; outside is what surrounds it from the top or the bottom
    border of the picture and is mostly air, never a hole in it. ``hu`` are Hounsfield units.
    """
    steps = max(1, round(_LINK_MM / 2 / pixel_mm))
    dense = _grown(_shrunk(hu > _DENSE_HU, steps), steps)
    regions, count = ndimage.label(dense)
    areas = np.bincount(regions.ravel(), minlength=count + 1)[1:]
    if not count or areas.max() < _SMALLEST_BODY * hu.size:
        return None
    # The opening has rounded the corners of the skin off.
    body = _grown(regions == int(areas.argmax()) + 1, 2)
    free, count = ndimage.label(~body)
    found = [label for row in (0, -1) if (label := _surrounding(free, hu, row))]
    if not found:
        return None
    chosen = np.zeros(count + 1, np.bool_)
    chosen[found] = True
    outside: BoolArray = chosen[free]
    return outside


def outside_of(volume: Volume, index: int) -> BoolArray | None:
    """Return the mask of a slice of a volume; None where the volume is no full field of view in HU."""
    _, row_mm, column_mm = volume.geometry.spacing_mm
    height, width = volume.voxels.shape[1:]
    if volume.unit != "HU" or volume.plane not in ("axial", "unknown") or not row_mm or not column_mm:
        return None
    if min(height * row_mm, width * column_mm) < SMALLEST_FIELD_MM:
        return None
    return find_outside(volume.voxels[index].astype(np.float32), pixel_mm=(row_mm * column_mm) ** 0.5)


def _surrounding(free: npt.NDArray[np.int32], hu: FloatArray, row: int) -> int:
    """Return the label of the region of air that fills a border row from corner to corner, or 0."""
    label = int(free[row, 0])
    if not label or (free[row] == label).mean() < _WHOLE_ROW:
        return 0
    region = free == label
    denser = np.count_nonzero(region & (hu > _AIR_HU)) / np.count_nonzero(region)
    return 0 if denser > _MOST_DENSER else label


# Of a slice in a tenth of the time of scipy's, which keep Python's lock meanwhile.
def _grown(mask: BoolArray, steps: int) -> BoolArray:
    """Return a (H, W) mask with the pixels beside it, above and below, so many times."""
    for _ in range(steps):
        larger = mask.copy()
        larger[1:] |= mask[:-1]
        larger[:-1] |= mask[1:]
        larger[:, 1:] |= mask[:, :-1]
        larger[:, :-1] |= mask[:, 1:]
        mask = larger
    return mask


def _shrunk(mask: BoolArray, steps: int) -> BoolArray:
    """Return a (H, W) mask without the pixels at its rim, so many times; the border of the picture is one."""
    for _ in range(steps):
        smaller = np.zeros_like(mask)
        inner = smaller[1:-1, 1:-1]
        np.logical_and(mask[:-2, 1:-1], mask[2:, 1:-1], out=inner)
        inner &= mask[1:-1, :-2]
        inner &= mask[1:-1, 2:]
        inner &= mask[1:-1, 1:-1]
        mask = smaller
    return mask
