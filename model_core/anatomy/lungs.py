"""Where the lung is: one mask for the gate of the verdict, the measures and the profile.

The method, on a grid of about 2 mm whose values are means of the voxels they cover:

1. In each slice dark regions (below -400 HU) are looked at. At the border of the picture, those that are air or
   hold a corner lie outside the patient. Gas in trachea, bronchi, stomach and bowel is as thin as that air; lung,
   also an emphysematous one, is denser.
2. What hangs together through the slices and is large enough is lung, and smaller pieces beside it.
3. Consolidated lung is as dense as muscle. It is taken where the rest of the lung says so: what closes the outline
   of a lung, what lies between a lung and the chest wall, and what lies between lung above and below; never bone.
4. At full resolution the border follows the voxels.

A lung that is white in all slices is therefore not in the mask. Whether a slice takes part in a verdict is said by
`Lungs.has_lung`, which never leaves out a slice between two others.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage
from scipy.spatial import ConvexHull, QhullError

from model_core.base.arrays import BoolArray, ByteArray, FloatArray, IntArray
from model_core.base.geometry import Geometry
from model_core.base.jobs import Progress
from model_core.base.volume import Volume

State = Literal["found", "none", "unknown"]
Third = Literal["upper", "middle", "lower"]
THIRDS: tuple[Third, ...] = ("upper", "middle", "lower")
# Values of `Lungs.sides`.
RIGHT, LEFT = 1, 2

_GRID_MM = 2.0
# A picture without pixel size: its longer side is about that of a chest.
_PICTURE_MM = 340.0
_PICTURE_STEP_MM = 5.0
_DARK_HU, _BONE_HU = -400.0, 180.0
_AIR_HU, _THINNEST_LUNG = -1000.0, 35.0  # lung is denser than the air around by at least that
_MOST_GAS = 0.6  # of what a dark region has inside
_SMALLEST_MM2 = 50.0  # of a dark region in a slice
_LARGE_MM2 = 800.0  # in one slice at least, of lung that no other lung vouches for
_PIECE = 0.1  # of the largest
_CLOSE_MM = 10.0
_BRIDGE_MM = 30.0
_LEAST_MM2 = 100.0  # of lung in a slice that has lung


@dataclass(frozen=True, eq=False)
class Lungs:
    """The lungs of a volume, as `find_lungs` found them.

    Attributes
    ----------
    shape:
        (D, H, W) of the volume.
    state:
        "found"; "none": the series shows no chest; "unknown": the values are no Hounsfield units, the planes
        are not axial, or it may be a chest whose lungs are white all over.
    pixels:
        (D, 2) pixels of the right and of the left lung in each slice.
    slices:
        From which slice to which there is lung; empty unless it was found.
    """

    shape: tuple[int, int, int]
    state: State
    pixels: IntArray
    slices: range
    _inside: ByteArray = field(repr=False)
    _left: ByteArray = field(repr=False)

    def has_lung(self, index: int) -> bool | None:
        """Whether a slice lies where there is lung; None where that is unknown. Only False is no verdict."""
        return None if self.state == "unknown" else index in self.slices

    def mask(self, index: int) -> BoolArray:
        """Return the (H, W) mask of a slice: aerated lung with its vessels, and recognised consolidation."""
        return self._unpack(self._inside[index])

    def sides(self, index: int) -> ByteArray:
        """Return the (H, W) uint8 map of a slice: 0 no lung, `RIGHT`, `LEFT`.

        Right is the patient's right where the volume is in display order, that is the left of the picture.
        """
        inside, left = self.mask(index), self._unpack(self._left[index])
        return (inside.astype(np.uint8) * RIGHT) << left.astype(np.uint8)

    def third(self, index: int) -> Third | None:
        """Return in which third of the slices with lung a slice lies, from the head; None outside of them.

        Thirds are no lobes: the lower lobe reaches far up behind the others.
        """
        if index not in self.slices:
            return None
        return THIRDS[3 * (index - self.slices.start) // len(self.slices)]

    def _unpack(self, bits: ByteArray) -> BoolArray:
        return np.unpackbits(bits, axis=-1, count=self.shape[2]).astype(bool)


def find_lungs(
    volume: Volume, *, grey_hu: tuple[float, float] | None = None
) -> Generator[Progress | Lungs, None, None]:
    """Find the lungs of a volume; the last item is the `Lungs`.

    Parameters
    ----------
    volume:
        Axial slices of any distance and field of view, also fields that cut the lungs. Of unit "grey" with
        ``grey_hu``; of unit "values" nothing is known.
    grey_hu:
        HU at grey 0 and at grey 255 of 8-bit pictures (`engine.preprocess.grey_range`).
    """
    scale = _scale(volume, grey_hu)
    if scale is None:
        yield _nothing(volume, "unknown")
        return
    grid = yield from _to_grid(volume, scale)
    chest = yield from _lung_like(grid)
    sides = _sides(_connected(chest, grid), grid)
    if not sides.any():
        yield _nothing(volume, "none")
        return
    yield from _completed(sides, grid)
    yield from _at_full_resolution(volume, grid, sides)


def lung_ml(lungs: Lungs, geometry: Geometry) -> float | None:
    """Return the volume of the mask in ml; None without lung, pixel size or slice distance."""
    step, area = geometry.spacing_mm[0], geometry.pixel_area_mm2
    if lungs.state != "found" or step is None or area is None:
        return None
    return float(lungs.pixels.sum()) * area * step / 1000.0


@dataclass(frozen=True, eq=False)
class _Grid:
    """Means of blocks of voxels, in HU.

    ``block`` is the (slices, rows, columns) of a block, ``step_mm`` its (slices, pixels) size, ``air`` the HU of
    the air around the patient (None where that is not seen), ``linked`` whether neighbours are neighbours in space.
    """

    hu: FloatArray
    block: tuple[int, int, int]
    step_mm: tuple[float, float]
    air: float | None
    linked: bool
    scale: tuple[float, float]

    @property
    def pixel_mm2(self) -> float:
        return self.step_mm[1] ** 2

    def pixels(self, mm: float) -> int:
        return max(1, round(mm / self.step_mm[1]))

    def slices(self, mm: float) -> int:
        return max(1, round(mm / self.step_mm[0]))


def _scale(volume: Volume, grey_hu: tuple[float, float] | None) -> tuple[float, float] | None:
    """Return offset and slope from voxels to HU; None where there are none or the planes are others."""
    if volume.plane not in ("axial", "unknown"):
        return None
    if volume.unit == "HU":
        return 0.0, 1.0
    if volume.unit != "grey" or grey_hu is None:
        return None
    low, high = reversed(grey_hu) if volume.inverted else grey_hu
    return low, (high - low) / 255.0


def _to_grid(volume: Volume, scale: tuple[float, float]) -> Generator[Progress, None, _Grid]:
    depth, height, width = volume.voxels.shape
    step, row, column = volume.geometry.spacing_mm
    if not row or not column:
        column = _PICTURE_MM / max(height * volume.geometry.pixel_aspect, width)
        row = column * volume.geometry.pixel_aspect
    block = (
        max(1, int(_GRID_MM / step)) if step else 1,
        max(1, round(_GRID_MM / row)),
        max(1, round(_GRID_MM / column)),
    )
    rows, columns = -(-height // block[1]), -(-width // block[2])
    pad = ((0, rows * block[1] - height), (0, columns * block[2] - width))
    hu = np.empty((-(-depth // block[0]), rows, columns), np.float32)
    for k in range(len(hu)):
        yield Progress(k, 4 * len(hu), "Looking for the lung")
        slab = [
            np.pad(np.clip(slice_, -1024, 3071), pad, mode="edge")
            .reshape(rows, block[1], columns, block[2])
            .mean(axis=(1, 3), dtype=np.float32)
            for slice_ in volume.voxels[k * block[0] : (k + 1) * block[0]]
        ]
        hu[k] = np.mean(slab, axis=0) * scale[1] + scale[0]
    mm = (row * block[1] * column * block[2]) ** 0.5
    return _Grid(
        hu=hu,
        block=block,
        step_mm=((step or _PICTURE_STEP_MM) * block[0], mm),
        air=_air(hu, volume.unit == "HU"),
        linked=len(hu) > 1 and (volume.unit == "HU" or step is not None),
        scale=scale,
    )


def _air(hu: FloatArray, calibrated: bool) -> float | None:
    """Return the HU of air: as it is in the corners of the slices, or -1000 where that is out of sight."""
    corners = hu[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    dark = corners[corners < _DARK_HU]
    if dark.size < corners.size / 4:
        return _AIR_HU if calibrated else None
    level = float(np.median(dark))
    # Padding is thinner than air, a lung that fills a corner is denser.
    return float(np.clip(level, _AIR_HU, -960.0)) if calibrated else level


def _lung_like(grid: _Grid) -> Generator[Progress, None, BoolArray]:
    """Return the dark regions inside the patient that are not gas."""
    found = np.zeros(grid.hu.shape, bool)
    for k, hu in enumerate(grid.hu):
        yield Progress(len(grid.hu) + k, 4 * len(grid.hu), "Looking for the lung")
        found[k] = _lung_like_in(hu, grid)
    return found


def _lung_like_in(hu: FloatArray, grid: _Grid) -> BoolArray:
    dark = hu < _DARK_HU
    inner = dark & _inside_patient(hu, grid)
    regions, count = ndimage.label(inner)
    if not count:
        return inner
    numbers = np.arange(1, count + 1)
    good = np.bincount(regions.ravel(), minlength=count + 1)[1:] * grid.pixel_mm2 >= _SMALLEST_MM2
    if grid.air is not None:
        deep = ndimage.binary_erosion(inner)
        gas = hu <= grid.air + _THINNEST_LUNG
        counted = np.where(np.isin(regions, numbers) & deep, regions, 0)
        total = np.bincount(counted.ravel(), minlength=count + 1)[1:]
        thin = np.bincount(counted[gas], minlength=count + 1)[1:]
        good &= (total > 0) & (thin <= _MOST_GAS * total)
    return np.concatenate(([False], good))[regions]


def _inside_patient(hu: FloatArray, grid: _Grid) -> BoolArray:
    """Return what tissue encloses, or the border of a picture that cuts the patient."""
    tissue = hu > _DARK_HU
    solid, count = ndimage.label(ndimage.binary_opening(np.pad(tissue, 2, mode="edge"))[2:-2, 2:-2])
    if not count:
        return np.zeros(hu.shape, bool)
    areas = np.bincount(solid.ravel())
    areas[0] = 0
    # In a full field of view what is not the largest is the table, an arm, a cable.
    full = any(np.mean(hu[row] < _DARK_HU) > 0.9 for row in (0, -1))
    body = solid == areas.argmax() if full else (areas > 0.01 * hu.size)[solid]
    body = ndimage.binary_dilation(body)
    free, count = ndimage.label(~body)
    edge = np.zeros(hu.shape, bool)
    edge[[0, -1]] = edge[:, [0, -1]] = True
    corners = np.zeros(hu.shape, bool)
    corners[:2, :2] = corners[:2, -2:] = corners[-2:, :2] = corners[-2:, -2:] = True
    outside = np.zeros(count + 1, bool)
    outside[free[corners]] = True
    if grid.air is not None:
        at_edge = np.unique(free[edge])
        thin = np.bincount(free[hu <= grid.air + _THINNEST_LUNG], minlength=count + 1)
        share = thin / np.maximum(1, np.bincount(free.ravel(), minlength=count + 1))
        outside[at_edge] |= share[at_edge] > 0.5
    outside[0] = True
    return ~outside[free]


def _connected(dark: BoolArray, grid: _Grid) -> BoolArray:
    """Return the largest region through the slices, and those beside it."""
    structure = ndimage.generate_binary_structure(3, 1)
    if not grid.linked:
        structure[[0, 2]] = False
    regions, count = ndimage.label(dark, structure)
    if not count:
        return dark
    areas = np.zeros((len(dark), count + 1), np.int64)
    for k, labels in enumerate(regions):
        areas[k] = np.bincount(labels.ravel(), minlength=count + 1)
    areas[:, 0] = 0
    volume, largest = areas.sum(axis=0), areas.max(axis=0) * grid.pixel_mm2
    good = largest >= _LARGE_MM2 * (1.0 if grid.linked else 0.25)
    if grid.linked:
        good &= volume >= _PIECE * volume.max()
    return good[regions]


def _sides(lung: BoolArray, grid: _Grid) -> ByteArray:
    """Return 0, `RIGHT` or `LEFT` of each voxel of lung."""
    sides = np.zeros(lung.shape, np.uint8)
    columns = lung.sum(axis=1).astype(np.float64)
    if grid.linked:
        columns = ndimage.uniform_filter1d(columns, 2 * grid.slices(20.0) + 1, axis=0, mode="nearest")
    columns = ndimage.uniform_filter1d(columns, 2 * grid.pixels(4.0) + 1, axis=1, mode="nearest")
    for k in np.flatnonzero(lung.any(axis=(1, 2))):
        present = np.flatnonzero(columns[k] > 0)
        first, last = present[0], present[-1]
        middle = slice(first + (last - first) // 3, last - (last - first) // 3 + 1)
        split = middle.start + int(columns[k, middle].argmin())
        regions, count = ndimage.label(lung[k])
        right = np.arange(lung.shape[2]) < split
        total = np.bincount(regions.ravel(), minlength=count + 1)
        share = np.bincount(regions[:, right].ravel(), minlength=count + 1) / np.maximum(1, total)
        # A region that both sides share is cut; others lie on one side, also where the patient lies askew.
        side = np.where(share[regions] > 0.8, RIGHT, np.where(share[regions] < 0.2, LEFT, 0))
        side = np.where(side == 0, np.where(right[None], RIGHT, LEFT), side)
        sides[k] = np.where(lung[k], side, 0)
    return sides


def _completed(sides: ByteArray, grid: _Grid) -> Generator[Progress, None, None]:
    """Add, in place, what the lungs enclose: vessels, and consolidated lung at the chest wall."""
    soft = (grid.hu >= _DARK_HU - 100) & (grid.hu < _BONE_HU)
    for side in (RIGHT, LEFT):
        for k in range(len(sides)):
            if side == RIGHT:
                yield Progress(2 * len(sides) + k, 4 * len(sides), "Looking for the lung")
            lung = sides[k] == side
            if lung.any():
                added = _closed(lung, grid.pixels(_CLOSE_MM)) & ~lung
                sides[k][added & (sides[k] == 0) & (grid.hu[k] < _BONE_HU)] = side
    if grid.linked:
        _bridge(sides, soft, grid)


def _closed(lung: BoolArray, radius: int) -> BoolArray:
    """Return the closing by a disc, with holes filled."""
    rows, columns = (np.flatnonzero(lung.any(axis=axis)) for axis in (1, 0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    part = np.pad(lung[box], radius + 1)
    grown = ndimage.distance_transform_edt(~part) <= radius
    closed = ndimage.distance_transform_edt(grown) > radius
    closed = ndimage.binary_fill_holes(closed | part)
    result = lung.copy()
    result[box] |= closed[radius + 1 : -radius - 1, radius + 1 : -radius - 1]
    return result


def _bridge(sides: ByteArray, soft: BoolArray, grid: _Grid) -> None:
    """Add, in place, soft tissue that has lung of one side both above and below."""
    reach = grid.slices(_BRIDGE_MM / 2)
    for side in (RIGHT, LEFT):
        lung = sides == side
        above = ndimage.maximum_filter1d(lung, reach + 1, axis=0, origin=(reach + 1) // 2 * 0 + reach // 2)
        below = ndimage.maximum_filter1d(lung, reach + 1, axis=0, origin=-(reach // 2))
        sides[above & below & soft & (sides == 0)] = side


def _at_full_resolution(
    volume: Volume, grid: _Grid, sides: ByteArray
) -> Generator[Progress | Lungs, None, None]:
    depth, height, width = volume.voxels.shape
    inside = np.zeros((depth, height, -(-width // 8)), np.uint8)
    left = np.zeros_like(inside)
    pixels = np.zeros((depth, 2), np.int64)
    limit = (_DARK_HU - grid.scale[0]) / grid.scale[1]

    def enlarged(mask: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
        return np.repeat(np.repeat(mask, grid.block[1], axis=0), grid.block[2], axis=1)[:height, :width]

    for k in range(depth):
        yield Progress(3 * depth + k, 4 * depth, "Looking for the lung")
        part = sides[k // grid.block[0]]
        if not part.any():
            continue
        lung = part > 0
        dense = lung & (grid.hu[k // grid.block[0]] >= _DARK_HU)
        sure = ndimage.binary_erosion(lung) | dense
        near = ndimage.binary_dilation(lung)
        values = volume.voxels[k]
        dark = values < limit if grid.scale[1] > 0 else values > limit
        mask = enlarged(sure) | (enlarged(near) & dark)
        side = enlarged(ndimage.grey_dilation(part, size=(3, 3)))
        is_left = mask & (np.where(enlarged(lung), enlarged(part), side) == LEFT)
        inside[k], left[k] = np.packbits(mask, axis=-1), np.packbits(is_left, axis=-1)
        pixels[k] = np.count_nonzero(mask) - np.count_nonzero(is_left), np.count_nonzero(is_left)
    yield Lungs(
        shape=(depth, height, width),
        state="found",
        pixels=pixels,
        slices=lung_range(pixels.sum(axis=1)),
        _inside=inside,
        _left=left,
    )


def lung_range(pixels: IntArray) -> range:
    """Return from which slice to which there is lung, given (D,) pixels of the mask; no slice between is left out."""
    present = np.flatnonzero(pixels > 0)
    return range(int(present[0]), int(present[-1]) + 1) if present.size else range(0)


def _nothing(volume: Volume, state: State) -> Lungs:
    depth, height, width = volume.voxels.shape
    none = np.zeros((depth, height, -(-width // 8)), np.uint8)
    return Lungs((depth, height, width), state, np.zeros((depth, 2), np.int64), range(0), none, none)
