"""Where the lung is: one mask for the gate of the verdict, the measures and the profile.

The method, on a grid of about 2 mm whose values are means of the voxels they cover:

1. In each slice dark regions (below -300 HU) are looked at. At the border of the picture, those that are air
   or fill a whole side or (of a picture without HU) a corner lie outside the patient. Gas in trachea,
   bronchi, stomach and bowel is as thin as that air; lung is denser, also where it is emphysematous.
2. What hangs together through the slices and is large is lung.
3. Consolidated lung is as dense as muscle. It is taken where the rest of the lung says so: what closes the
   outline of a lung, what lies between a lung and the ribs, or between lung above and below; never bone.
4. At full resolution the border follows the voxels.

A lung that is white in all slices is therefore not in the mask. Whether a slice takes part in a verdict is
said by `Lungs.has_lung`, which leaves no slice between two others out, nor a chest whose lungs are white all
over.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from scipy import ndimage

from model_core.base.arrays import BoolArray, ByteArray, FloatArray, IntArray
from model_core.base.geometry import Geometry
from model_core.base.jobs import Progress
from model_core.base.results import Third
from model_core.base.volume import Volume

State = Literal["found", "none", "unknown"]
# Values of `Lungs.sides`.
RIGHT, LEFT = 1, 2

_GRID_MM = 2.0
# A picture without pixel size: its longer side is about that of a chest.
_PICTURE_MM = 340.0
_PICTURE_STEP_MM = 5.0
# Lung with vessels and ground glass; the skin; bone.
_DARK_HU, _SKIN_HU, _BONE_HU = -300.0, -400.0, 180.0
_CROSS = ndimage.generate_binary_structure(2, 1)[None]
_AIR_HU = -1000.0
# Lung is denser than the air around by at least that; less in pictures, whose window may cut both off.
_THINNEST_HU, _THINNEST_GREY = 50.0, 12.0
_MOST_GAS = 0.6  # of what a dark region has inside
# A smaller region of which this share is that much thinner than the lung is gas, too.
_AIRWAY_MM2, _AIRWAY_GAS, _AIRWAY_HU = 800.0, 0.3, 50.0
_GREY_AIR_HU = -930.0
_WHOLE_ROW = 0.9
_LARGE_MM2 = 800.0  # in one slice at least, of lung that no other lung vouches for
_PIECE = 0.1  # of the largest
_CLOSE_MM = 10.0
_HOLE_MM2 = 400.0
_RIM_MM, _MOST_GAP = 6.0, 0.15
_BRIDGE_MM = 50.0
# An end of the lungs with more than this share of their largest slice is no apex and no base.
_ABRUPT, _LUNG_MM = 0.3, 300.0
# What shows a chest without aerated lung.
_CHEST_MM, _RIB_MM2 = 100.0, (15.0, 900.0)
_DARK_SHARE, _PATIENT_SHARE = 0.03, 0.08
_TUBE_HU, _TUBE_MM, _MIDDLE, _BRANCH_MM, _WALLED = -600.0, 40.0, 0.12, 30.0, 0.5


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
    _doubtful: BoolArray = field(repr=False)
    _inside: ByteArray = field(repr=False)
    _left: ByteArray = field(repr=False)

    def has_lung(self, index: int) -> bool | None:
        """Whether a slice lies where there is lung; None where that is unknown. Only False is no verdict.

        Pictures are no series: one beside others that show lung may show lung that was not found.
        """
        if self.state == "unknown" or (self._doubtful[index] and index not in self.slices):
            return None
        return index in self.slices

    @property
    def outside(self) -> tuple[int, ...]:
        """Slices that are known to lie outside."""
        return tuple(index for index in range(self.shape[0]) if self.has_lung(index) is False)

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
        """Return in which third of the slices with lung a slice lies (`third_of`); None outside of them."""
        return third_of(index, self.slices) if index in self.slices else None

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
        yield _nothing(volume, "unknown" if _may_be_chest(grid, chest) else "none")
        return
    yield from _completed(sides, grid)
    yield from _at_full_resolution(volume, grid, sides, _doubtful(grid, chest))


def lung_ml(lungs: Lungs, geometry: Geometry) -> float | None:
    """Return the volume of the mask in ml; None without lung, pixel size or slice distance."""
    step, area = geometry.spacing_mm[0], geometry.pixel_area_mm2
    if lungs.state != "found" or step is None or area is None:
        return None
    return float(lungs.pixels.sum()) * area * step / 1000.0


@dataclass(frozen=True, eq=False)
class _Grid:
    """Means of blocks of voxels, in HU.

    ``block`` is the (slices, rows, columns) of a block, ``step_mm`` its (slices, pixels) size. What is not
    above ``gas`` is gas (None where air cannot be told from lung). ``linked``: slices are neighbours.
    """

    hu: FloatArray
    block: tuple[int, int, int]
    step_mm: tuple[float, float]
    gas: float | None
    linked: bool
    scale: tuple[float, float]
    calibrated: bool

    @property
    def top(self) -> float:
        """The largest HU that the voxels can say."""
        return self.scale[0] + self.scale[1] * (3071.0 if self.calibrated else 255.0)

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
        gas=_gas(hu, calibrated=volume.unit == "HU"),
        linked=len(hu) > 1 and (volume.unit == "HU" or step is not None),
        scale=scale,
        calibrated=volume.unit == "HU",
    )


def _gas(hu: FloatArray, *, calibrated: bool) -> float | None:
    """Return the HU up to which it is gas, by the air in the corners; None where a picture has none there."""
    corners = hu[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    dark = corners[corners < _SKIN_HU]
    if calibrated:
        # Padding is thinner than air, a lung that fills a corner is denser.
        level = float(np.median(dark)) if dark.size >= corners.size / 4 else _AIR_HU
        return float(np.clip(level, _AIR_HU, _AIR_HU + 40)) + _THINNEST_HU
    level = float(np.percentile(dark, 25)) if dark.size else 0.0
    return level + _THINNEST_GREY if level < _GREY_AIR_HU else None


def _lung_like(grid: _Grid) -> Generator[Progress, None, BoolArray]:
    """Return the dark regions inside the patient that are not gas."""
    found = np.zeros(grid.hu.shape, bool)
    for k, hu in enumerate(grid.hu):
        yield Progress(len(grid.hu) + k, 4 * len(grid.hu), "Looking for the lung")
        dark = (hu < _DARK_HU) & _inside_patient(hu, grid)
        found[k] = dark if grid.gas is None else _without_gas(dark, hu <= grid.gas)
    if not found.any():
        return found
    gas = grid.hu <= np.median(grid.hu[found]) - _AIRWAY_HU
    if grid.linked:
        # The wall between trachea and lung may be too thin to part them.
        found &= ~ndimage.binary_dilation(_airways(gas, grid), _CROSS, iterations=2)
    for k in range(len(found)):
        found[k] = _without_gas(found[k], gas[k], most=_AIRWAY_GAS, below=_AIRWAY_MM2 / grid.pixel_mm2)
    return found


def _without_gas(
    dark: BoolArray, gas: BoolArray, *, most: float = _MOST_GAS, below: float = np.inf
) -> BoolArray:
    """Return the regions of a slice that have something inside and are not gas there.

    ``most`` is the share of gas inside that is no gas yet. Regions of at least ``below`` pixels stay.
    """
    regions, count = ndimage.label(dark)
    sizes = np.bincount(regions.ravel(), minlength=count + 1)
    deep = ndimage.binary_erosion(dark)
    inside = np.bincount(regions[deep], minlength=count + 1)
    thin = np.bincount(regions[deep & gas], minlength=count + 1)
    good = (sizes >= below) | ((inside > 0) & (thin <= most * inside))
    good[0] = False
    kept: BoolArray = good[regions]
    return kept


def _inside_patient(hu: FloatArray, grid: _Grid) -> BoolArray:
    """Return what tissue encloses, or the border of a picture that cuts the patient."""
    tissue = hu > _SKIN_HU
    solid, count = ndimage.label(ndimage.binary_opening(np.pad(tissue, 2, mode="edge"))[2:-2, 2:-2])
    if not count:
        return np.zeros(hu.shape, bool)
    areas = np.bincount(solid.ravel())
    areas[0] = 0
    # In a full field of view what is not the largest is the table, an arm, a cable.
    full = any(np.mean(hu[row] < _SKIN_HU) > _WHOLE_ROW for row in (0, -1))
    body = solid == areas.argmax() if full else (areas > 0.01 * hu.size)[solid]
    body = ndimage.binary_dilation(body)
    free, count = ndimage.label(~body)
    outside = np.zeros(count + 1, bool)
    if grid.calibrated:
        for row in (free[0], free[-1]):
            shares = np.bincount(row, minlength=count + 1) / row.size
            outside |= shares > _WHOLE_ROW
    else:
        # Lungs are round: what fills a corner is air beside the body.
        for corner in (free[:2, :2], free[:2, -2:], free[-2:, :2], free[-2:, -2:]):
            outside[corner] = True
    if grid.gas is not None:
        at_edge = np.unique(np.concatenate((free[0], free[-1], free[:, 0], free[:, -1])))
        thin = np.bincount(free[hu <= grid.gas], minlength=count + 1)
        share = thin / np.maximum(1, np.bincount(free.ravel(), minlength=count + 1))
        outside[at_edge] |= share[at_edge] > 0.5
    outside[0] = True
    inside: BoolArray = ~outside[free]
    return inside


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
    chosen: BoolArray = good[regions]
    return chosen


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
    """Add, in place, what the lungs enclose: vessels, and consolidated lung."""
    # Neither bone nor gas: a trachea lies in the nook between the right lung and the spine.
    gas = grid.hu <= np.median(grid.hu[sides > 0]) - _AIRWAY_HU
    tissue = (grid.hu < _BONE_HU) & ~ndimage.binary_dilation(gas, _CROSS)
    for k in range(len(sides)):
        yield Progress(2 * len(sides) + k, 4 * len(sides), "Looking for the lung")
        for side in (RIGHT, LEFT):
            lung = sides[k] == side
            if lung.any():
                added = _closed(lung, grid) | _at_ribs(lung, side, grid)
                sides[k][added & tissue[k] & (sides[k] == 0)] = side
    if grid.linked:
        for side in (RIGHT, LEFT):
            sides[_between(sides == side, grid) & tissue & (sides == 0)] = side


def _between(lung: BoolArray, grid: _Grid) -> BoolArray:
    """Return what has lung above and below, no farther apart than `_BRIDGE_MM`."""
    depth = len(lung)
    number = np.arange(depth, dtype=np.int32)[:, None, None]
    above = np.maximum.accumulate(np.where(lung, number, -2 * depth), axis=0)
    below = np.minimum.accumulate(np.where(lung, number, 3 * depth)[::-1], axis=0)[::-1]
    between: BoolArray = below - above <= grid.slices(_BRIDGE_MM)
    return between


def _closed(lung: BoolArray, grid: _Grid) -> BoolArray:
    """Return the closing by a disc, with small holes filled; a large one is the dome of the diaphragm."""
    radius = grid.pixels(_CLOSE_MM)
    box = ndimage.find_objects(lung.astype(np.uint8))[0]
    part = np.pad(lung[box], radius + 1)
    grown = ndimage.distance_transform_edt(~part) <= radius
    closed = part | (ndimage.distance_transform_edt(grown) > radius)
    holes, count = ndimage.label(ndimage.binary_fill_holes(closed) & ~closed)
    small = np.bincount(holes.ravel(), minlength=count + 1) * grid.pixel_mm2 <= _HOLE_MM2
    small[0] = False
    result = np.zeros_like(lung)
    result[box] = (closed | small[holes])[radius + 1 : -radius - 1, radius + 1 : -radius - 1]
    return result


def _at_ribs(lung: BoolArray, side: int, grid: _Grid) -> BoolArray:
    """Return what of the convex hull of a lung has no lung towards the ribs, but for thin rims.

    The rest of the hull is heart, hilum and diaphragm; so is what is large beside the lung.
    """
    towards = lung if side == RIGHT else lung[:, ::-1]
    medial = np.logical_or.accumulate(towards, axis=1)
    gap = _hull(lung) & ~(medial if side == RIGHT else medial[:, ::-1])
    gap = ndimage.binary_opening(gap, iterations=grid.pixels(_RIM_MM))
    return gap if gap.sum() <= _MOST_GAP * lung.sum() else np.zeros_like(gap)


def _hull(mask: BoolArray) -> BoolArray:
    """Return the convex hull of the pixels of a slice."""
    from scipy.spatial import ConvexHull, QhullError  # slow to import, and not needed for a slice

    rows = np.flatnonzero(mask.any(axis=1))
    ends = mask[rows].argmax(axis=1), mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)
    points = np.concatenate([np.stack((rows, end), axis=1) for end in ends])
    try:
        corners = points[ConvexHull(points).vertices]
    except (QhullError, ValueError):
        return mask
    picture = Image.new("1", mask.shape[::-1])
    ImageDraw.Draw(picture).polygon([(int(x), int(y)) for y, x in corners], fill=1)
    return np.array(picture, bool)


def _at_full_resolution(
    volume: Volume, grid: _Grid, sides: ByteArray, doubtful: BoolArray
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
        slices=_with_white_ends(lung_range(pixels.sum(axis=1)), pixels.sum(axis=1), grid),
        _doubtful=doubtful,
        _inside=inside,
        _left=left,
    )


def third_of(index: int, slices: range) -> Third:
    """Return in which third of the slices with lung one of them lies, from the head.

    Thirds are no lobes: the lower lobe reaches far up behind the others.
    """
    thirds: tuple[Third, ...] = get_args(Third)
    return thirds[len(thirds) * (index - slices.start) // len(slices)]


def lung_range(pixels: IntArray) -> range:
    """Return from which slice to which there is lung, given the (D,) pixels of the mask in each.

    No slice between two others is left out.
    """
    present = np.flatnonzero(pixels > 0)
    return range(int(present[0]), int(present[-1]) + 1) if present.size else range(0)


def _with_white_ends(slices: range, pixels: IntArray, grid: _Grid) -> range:
    """Return the range, longer where it ends abruptly among ribs: there the lung goes on, but is white.

    Lung tapers off towards its apex and its base.
    """
    if not grid.linked:
        return slices
    room = max(0, round(_LUNG_MM / grid.step_mm[0] * grid.block[0]) - len(slices))
    ends = []
    for end, outward in ((slices.start, -1), (slices.stop - 1, 1)):
        if pixels[end] > _ABRUPT * pixels.max():
            beyond = range(end + outward, max(-1, min(len(pixels), end + outward * (room + 1))), outward)
            end = next((k for k in reversed(beyond) if _ribs(grid.hu[k // grid.block[0]], grid)), end)
        ends.append(end)
    return range(ends[0], ends[1] + 1)


def _may_be_chest(grid: _Grid, chest: BoolArray) -> bool:
    """Whether it may be a chest whose lungs are white: ribs, and in a series a trachea between them."""
    if not grid.linked:
        return bool(_doubtful(grid, chest).any())
    ribs = np.array([_ribs(hu, grid) for hu in grid.hu])
    if ribs.sum() < grid.slices(_CHEST_MM):
        return False
    inner = np.array([_inside_patient(hu, grid) & (hu < _TUBE_HU) for hu in grid.hu])
    return bool(_airways(inner & ribs[:, None, None], grid).any())


def _doubtful(grid: _Grid, chest: BoolArray) -> BoolArray:
    """Return which slices, none of them neighbours in space, may show a chest though no lung was found."""
    doubtful = [
        not grid.linked and (bool(dark.any()) or _unclear(hu, grid))
        for hu, dark in zip(grid.hu, chest, strict=True)
    ]
    return np.repeat(doubtful, grid.block[0])


def _unclear(hu: FloatArray, grid: _Grid) -> bool:
    """Whether a picture shows ribs, no patient in these greys, or is cut so close that it may cut lung."""
    dark = hu < _SKIN_HU
    border = np.concatenate((dark[0], dark[-1], dark[:, 0], dark[:, -1]))
    cut = dark.mean() > _DARK_SHARE and border.mean() < 0.5
    return bool(cut or dark.mean() > 1 - _PATIENT_SHARE or _ribs(hu, grid))


def _ribs(hu: FloatArray, grid: _Grid) -> bool:
    """Whether several bones lie on both sides of the patient."""
    body, count = ndimage.label(ndimage.binary_opening(hu > _SKIN_HU))
    if not count:
        return False
    number = int(np.bincount(body.ravel())[1:].argmax()) + 1
    largest = ndimage.find_objects((body == number).astype(np.uint8))[0]
    bones, count = ndimage.label(hu[largest] > min(_BONE_HU, grid.top - 5.0))
    sizes = np.bincount(bones.ravel(), minlength=count + 1)[1:] * grid.pixel_mm2
    good = np.flatnonzero((sizes > _RIB_MM2[0]) & (sizes < _RIB_MM2[1])) + 1
    columns = np.array([column for _, column in ndimage.center_of_mass(bones > 0, bones, good)])
    width = bones.shape[1]
    return len(good) >= 6 and bool((columns < width / 3).sum() >= 2 <= (columns > 2 * width / 3).sum())


def _airways(gas: BoolArray, grid: _Grid) -> BoolArray:
    """Return the tube of gas that runs through the middle of the patient, with what branches off near it."""
    tubes, _ = ndimage.label(gas)
    airways = np.zeros_like(gas)
    rows, columns = np.ogrid[: gas.shape[1], : gas.shape[2]]
    for number, box in enumerate(ndimage.find_objects(tubes), 1):
        if (box[0].stop - box[0].start) * grid.step_mm[0] < _TUBE_MM:
            continue
        tube = tubes[box[0]] == number
        areas = tube.sum(axis=(1, 2)) * grid.pixel_mm2
        half = -(-len(tube) // 2)
        _, row, column = ndimage.center_of_mass(tube[:half])
        # Emphysema has lung around it.
        ring = ndimage.binary_dilation(tube[:half], _CROSS, iterations=3)
        ring &= ~ndimage.binary_dilation(tube[:half], _CROSS)
        walled = np.mean(grid.hu[box[0]][:half][ring] > _SKIN_HU) > _WALLED
        slim = np.median(areas) <= _AIRWAY_MM2 and areas.max() <= 2 * _AIRWAY_MM2
        if walled and slim and abs(column / gas.shape[2] - 0.5) < _MIDDLE:
            near = np.hypot(rows - row, columns - column) * grid.step_mm[1] <= _BRANCH_MM
            airways[box[0]] |= tube & near
    return airways


def _nothing(volume: Volume, state: State) -> Lungs:
    depth, height, width = volume.voxels.shape
    none = np.zeros((depth, height, -(-width // 8)), np.uint8)
    no_doubt = np.zeros(depth, bool)
    return Lungs(
        (depth, height, width), state, np.zeros((depth, 2), np.int64), range(0), no_doubt, none, none
    )
