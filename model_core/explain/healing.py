"""Pixels of a changed picture: areas filled with texture of healthy lung, ground glass planted.

An area is filled with a copy of healthy lung of the same slice, of its own shape and shifted. Where no
healthy lung has room for that, the area is halved until its pieces fit. Nothing here runs a network.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import ndimage

from model_core.base.arrays import BoolArray, ByteArray, FloatArray, VoxelArray
from model_core.base.errors import SettingsError
from model_core.base.settings import InputSpec
from model_core.base.volume import Volume
from model_core.engine.lungs import known_lungs
from model_core.engine.preprocess import grey_range
from model_core.phantom.ground_glass import add_ground_glass

# Pixels around what is marked that are not healthy either, and that healing takes along.
MARGIN = 3
# Width of the soft edge of what is filled, towards lung that stays as it is, and of what is planted.
FEATHER, SOFT = 3, 6
# Gaps of the lung up to twice as wide belong to it where they are marked.
_NOTCH = 5
# No piece of an area is shorter than this, and no drawn area smaller.
SHORTEST, SMALLEST = 8, 30
# Lung that is denser than this over several pixels is no parenchyma, detected or not.
_DENSE_HU, _DENSE_SIGMA = -550.0, 2.0
_VESSEL_HU = -650.0
# Parenchyma around a piece within so many pixels says how dense it should be; a donor is shifted by no more.
_AROUND, _MOST_SHIFT_HU = 30, 40.0
# What counts as much in the choice of a donor as the other lung does: HU, depth and distance in pixels, share
# of vessels, share of a donor that was used before.
_HU, _DEPTH, _DISTANCE, _VESSELS, _USED = 40.0, 15.0, 120.0, 0.08, 0.5
# Vessels of up to twice as many pixels lie in healthy lung.
_VESSEL_GAP = 3
# Brighter than planted ground glass by so much, vessels stay as they are.
_HEADROOM_HU = 180.0
# Shams may share this much of their area with one another, at first and where too few fit.
_SHARED, _PLACES_TRIED = (0.25, 0.6), 400
_FLIPS = ((1, 1), (1, -1), (-1, 1), (-1, -1))


class NothingHealthy(SettingsError):  # noqa: N818 - named by what there is not
    """An area of a slice cannot be filled: there is no healthy lung to copy from, or no lung at all."""


@dataclass(frozen=True, eq=False)
class LungSlice:
    """A slice with what is known of its lung.

    Attributes
    ----------
    values:
        (H, W) as stored.
    hu:
        (H, W) Hounsfield units, estimated where the values are greys.
    per_hu:
        By how much a value rises with a HU.
    limits:
        Lowest and highest value.
    lung:
        (H, W) aerated lung with vessels, and recognised consolidation (`anatomy.lungs`).
    sides:
        (H, W) which lung.
    marked:
        (H, W) what the network marks, also weakly.
    """

    values: VoxelArray
    hu: FloatArray
    per_hu: float
    limits: tuple[int, int]
    lung: BoolArray
    sides: ByteArray
    marked: BoolArray

    @cached_property
    def healthy(self) -> BoolArray:
        """(H, W) lung that is unmarked, `MARGIN` pixels away from what is marked, and not dense."""
        inside = self.lung.astype(np.float32)
        weight = np.maximum(ndimage.gaussian_filter(inside, _DENSE_SIGMA), 1e-3)
        smooth = ndimage.gaussian_filter(self.hu * inside, _DENSE_SIGMA) / weight
        usable: BoolArray = self.lung & ~grown_by(self.marked, MARGIN) & (smooth < _DENSE_HU)
        return usable

    def stored(self, hu: FloatArray) -> VoxelArray:
        """Return HU as values; where a pixel's are as they were, so is its value."""
        moved = self.values + (hu - self.hu) * self.per_hu
        stored: VoxelArray = np.clip(np.rint(moved), *self.limits).astype(np.int16)
        return stored


def lung_slice(volume: Volume, index: int, spec: InputSpec, marked: BoolArray) -> LungSlice:
    """Return a slice with its lung, which must have been looked for (`engine.lungs`).

    Parameters
    ----------
    spec:
        Of the weights: what greys count as.
    marked:
        (H, W) what is not healthy.

    Raises
    ------
    NothingHealthy
        If no lung is known in the slice.
    """
    lungs = known_lungs(volume)
    lung = None if lungs is None or volume.unit == "values" else lungs.mask(index)
    if lungs is None or lung is None or not lung.any():
        raise NothingHealthy(
            "No lung was found in this slice, so that nothing says what is healthy: choose a slice through "
            "the lungs."
        )
    values = volume.voxels[index]
    hu, per_hu, limits = values.astype(np.float32), 1.0, (-32768, 32767)
    if volume.unit == "grey":
        low, high = grey_range(volume, spec)
        low, high = (high, low) if volume.inverted else (low, high)
        hu, per_hu, limits = low + hu * ((high - low) / 255.0), 255.0 / (high - low), (0, 255)
    return LungSlice(values, hu, per_hu, limits, lung, lungs.sides(index), marked)


def grown_by(mask: BoolArray, pixels: int) -> BoolArray:
    """Return a mask with what lies within so many pixels of it."""
    if not mask.any():
        return mask.copy()
    near: BoolArray = ndimage.distance_transform_edt(~mask) <= pixels
    return near


def drawn_area(polygon: Sequence[tuple[float, float]], shape: tuple[int, int]) -> BoolArray:
    """Return the (H, W) pixels whose middle a polygon of (x, y) pixel edges encircles, be it twice."""
    rows, columns = (np.arange(length) + 0.5 for length in shape)
    winding = np.zeros(shape, np.int64)
    for (x1, y1), (x2, y2) in zip(polygon, [*polygon[1:], polygon[0]], strict=True):
        crossed = (rows >= min(y1, y2)) & (rows < max(y1, y2))
        if crossed.any():
            crossing = x1 + (rows[crossed] - y1) * ((x2 - x1) / (y2 - y1))
            beyond = columns[None] >= crossing[:, None]
            winding[crossed] += np.where(beyond, 1 if y2 > y1 else -1, 0)
    encircled: BoolArray = winding != 0
    return encircled


def to_heal(ground: LungSlice, area: BoolArray, *, margin: int = MARGIN) -> BoolArray:
    """Return what of an area, and of what lies ``margin`` around it, is to be filled.

    That is lung, and consolidation that is marked but was not recognised as lung; never chest wall that a
    mask merely touches.

    Raises
    ------
    NothingHealthy
        If hardly any of it is lung.
    """
    beyond = area & ground.marked & ~ground.lung
    lung = ground.lung | ndimage.binary_opening(beyond, iterations=MARGIN)
    # With the notches that a dense lesion leaves in the outline of the lung.
    lung |= ndimage.binary_closing(np.pad(lung, _NOTCH), iterations=_NOTCH)[_NOTCH:-_NOTCH, _NOTCH:-_NOTCH]
    filled: BoolArray = grown_by(area, margin) & lung
    if filled.sum() < SMALLEST:
        raise NothingHealthy("There is hardly any lung in this area: choose one inside the lungs.")
    return filled


def heal(ground: LungSlice, area: BoolArray) -> tuple[VoxelArray, int]:
    """Return the slice with an area (of `to_heal`) filled, and of how many donors.

    Raises
    ------
    NothingHealthy
        If there is no healthy lung in the slice that has room for it, not even in pieces.
    """
    inside = ground.lung | area
    healthy = ground.healthy & ~grown_by(area, 1)
    donors = _Donors(ground, inside, healthy)
    total, weight = (np.zeros(area.shape, np.float32) for _ in range(2))
    pieces = list(_pieces(donors, area))
    for piece, filling in pieces:
        # Where pieces meet, one passes into the other.
        own = ndimage.gaussian_filter(piece.astype(np.float32), FEATHER / 2)
        own = np.where(np.isfinite(filling), np.maximum(own, 1e-4), 0.0)
        total += own * np.nan_to_num(filling)
        weight += own
    filled: FloatArray = np.divide(total, weight, out=ground.hu.copy(), where=weight > 0)
    share = _edge(inside, area, FEATHER)
    healed: FloatArray = ground.hu + share * (filled - ground.hu)
    return ground.stored(healed), len(pieces)


def plant(ground: LungSlice, area: BoolArray, level_hu: float) -> tuple[VoxelArray, BoolArray]:
    """Return the slice with ground glass in the lung of an area, and where it is.

    The lung is lifted as a whole, so that its texture stays; vessels keep their HU.

    Raises
    ------
    NothingHealthy
        If the area holds hardly any lung, or most of that is marked.
    """
    wanted = area & ground.lung
    # With the vessels in it.
    aerated = ndimage.binary_closing(ground.healthy, iterations=_VESSEL_GAP)
    inside: BoolArray = wanted & aerated & ~ground.marked
    if wanted.sum() < SMALLEST:
        raise NothingHealthy("There is hardly any lung in this area: draw one inside the lungs.")
    if inside.sum() < max(SMALLEST, wanted.sum() / 2):
        raise NothingHealthy(
            "Most of this area is marked or dense already: ground glass is planted in healthy lung."
        )
    lung = float(np.median(ground.hu[inside]))
    if lung >= level_hu:
        raise NothingHealthy(f"The lung of this area is as dense as {level_hu:.0f} HU already.")
    depth = ndimage.distance_transform_edt(inside)
    soft = min(float(SOFT), max(1.0, 0.7 * float(depth.max())))
    cloud = np.clip(depth / soft, 0.0, 1.0).astype(np.float32)
    planted = add_ground_glass(ground.hu, cloud, level=level_hu, lung=lung, headroom=_HEADROOM_HU)
    return ground.stored(planted), inside


def sham_heals(
    ground: LungSlice, shape: BoolArray, count: int, *, seed: int = 0, away_from: BoolArray | None = None
) -> Iterator[tuple[BoolArray, VoxelArray]]:
    """Iterate over as many sham heals as fit, at most ``count``: where, and the slice so healed.

    Each has a shape, as it is or mirrored, lies in healthy lung, and is filled in the same way. Places are
    drawn by ``seed``; they share as little as the slice allows.

    Parameters
    ----------
    shape:
        (h, w) at least one pixel, somewhere in a picture of any size.
    away_from:
        (H, W) what no sham touches.
    """
    usable = ground.healthy if away_from is None else ground.healthy & ~grown_by(away_from, MARGIN)
    free = usable.astype(np.float32)
    kernel, _ = _cropped(shape)
    need = float(kernel.sum())
    places = []
    for down, across in _FLIPS:
        flipped = kernel[::down, ::across]
        if all(own <= whole for own, whole in zip(flipped.shape, free.shape, strict=True)):
            rows, columns = np.nonzero(_correlated(free[None], flipped)[0] > need - 0.5)
            places += [(flipped, int(row), int(column)) for row, column in zip(rows, columns, strict=True)]
    order = np.random.default_rng(seed).permutation(len(places))[:_PLACES_TRIED].tolist()
    found: list[BoolArray] = []
    for most_shared in _SHARED:
        for number in order:
            if len(found) == count:
                return
            flipped, row, column = places[number]
            sham = np.zeros(free.shape, np.bool_)
            sham[row : row + flipped.shape[0], column : column + flipped.shape[1]] = flipped
            if any((sham & other).sum() > most_shared * need for other in found):
                continue
            try:
                healed, _ = heal(ground, sham)
            except NothingHealthy:
                continue
            found.append(sham)
            yield sham, healed


@dataclass(frozen=True, eq=False)
class _Donors:
    """Healthy lung to copy from; ``used`` is what was copied before."""

    ground: LungSlice
    inside: BoolArray
    healthy: BoolArray

    @cached_property
    def depth(self) -> FloatArray:
        found: FloatArray = ndimage.distance_transform_edt(self.inside).astype(np.float32)
        return found

    @cached_property
    def used(self) -> FloatArray:
        return np.zeros(self.inside.shape, np.float32)

    @cached_property
    def vessels(self) -> float:
        """The share of vessels in healthy lung."""
        return float((self.ground.hu[self.healthy] > _VESSEL_HU).mean())

    def best(self, shape: BoolArray) -> FloatArray | None:
        """Return (H, W) what fills a shape, NaN elsewhere; None where no healthy lung has room for it."""
        ground, kernel, (top, left) = self.ground, *_cropped(shape)
        if not self.healthy.any() or any(
            own > whole for own, whole in zip(kernel.shape, shape.shape, strict=True)
        ):
            return None
        need = float(kernel.sum())
        near = (ndimage.distance_transform_edt(~shape) <= _AROUND) & self.healthy
        level = float(np.median(ground.hu[near if near.sum() >= SMALLEST else self.healthy]))
        depth = float(self.depth[shape].mean())
        right, left_lung = ((ground.sides[shape] == side).sum() for side in (1, 2))
        side = 1 if right >= left_lung else 2
        free = self.healthy.astype(np.float32)
        best: tuple[float, int, int, int, float] | None = None
        for mirror in (1, -1):
            seen = kernel[:, ::mirror]
            fits = _correlated(free[None], seen)[0] > need - 0.5
            if not fits.any():
                continue
            fields = np.stack(
                [free * ground.hu, self.depth, free * (ground.hu > _VESSEL_HU),
                 (ground.sides == side).astype(np.float32), self.used]
            )  # fmt: skip
            hu, deep, vessels, same, used = _correlated(fields, seen) / need
            rows, columns = np.indices(fits.shape)
            # In the other lung the place that mirrors this one is unknown; the height tells enough.
            away = np.abs(rows - top) if mirror < 0 else np.hypot(rows - top, columns - left)
            cost = (
                np.abs(hu - level) / _HU + np.abs(deep - depth) / _DEPTH + away / _DISTANCE
                + np.abs(vessels - self.vessels) / _VESSELS + used / _USED + (1 - same)
                + (same if mirror < 0 else 0)
            )  # fmt: skip
            cost[~fits] = np.inf
            at, wide = int(cost.argmin()), cost.shape[1]
            found = (float(cost.flat[at]), at // wide, at % wide, mirror, float(hu.flat[at]))
            if best is None or found[0] < best[0]:
                best = found
        if best is None:
            return None
        _, row, column, mirror, own_level = best
        where = np.s_[row : row + kernel.shape[0], column : column + kernel.shape[1]]
        self.used[where] += kernel[:, ::mirror]
        donor = ground.hu[where][:, ::mirror]
        shift = float(np.clip(level - own_level, -_MOST_SHIFT_HU, _MOST_SHIFT_HU))
        filling = np.full(shape.shape, np.nan, np.float32)
        target = np.s_[top : top + kernel.shape[0], left : left + kernel.shape[1]]
        filling[target] = np.where(kernel, donor + shift, np.nan)
        return filling


def _pieces(donors: _Donors, area: BoolArray) -> Iterator[tuple[BoolArray, FloatArray]]:
    """Iterate over the pieces that an area is filled in, each with its filling, which reaches beyond it."""
    numbers, count = ndimage.label(area, np.ones((3, 3)))
    waiting = [numbers == number for number in range(1, count + 1)]
    while waiting:
        piece = waiting.pop()
        filling = donors.best(grown_by(piece, FEATHER) & area)
        if filling is not None:
            yield piece, filling
            continue
        rows, columns = np.nonzero(piece)
        along = rows if np.ptp(rows) >= np.ptp(columns) else columns
        if np.ptp(along) + 1 < 2 * SHORTEST:
            # The last resort: an edge that is not soft.
            if (filling := donors.best(piece)) is None:
                raise NothingHealthy(
                    "There is no healthy lung in this slice that could be copied here: what is not marked is "
                    "too little, or as dense as a lesion."
                )
            yield piece, filling
            continue
        middle = np.median(along)
        first = np.zeros_like(piece)
        first[rows[along <= middle], columns[along <= middle]] = True
        waiting += [piece & ~first, first]


def _correlated(fields: FloatArray, kernel: BoolArray) -> FloatArray:
    """Return (F, H - h + 1, W - w + 1) sums of (F, H, W) fields over a (h, w) kernel, by its upper left."""
    from scipy.signal import fftconvolve  # half a second to import, and nothing shown needs it

    turned = kernel[None, ::-1, ::-1].astype(np.float32)
    sums: FloatArray = fftconvolve(fields, turned, mode="valid", axes=(1, 2))
    return sums


def _cropped(mask: BoolArray) -> tuple[BoolArray, tuple[int, int]]:
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    top, left = int(rows[0]), int(columns[0])
    return mask[top : rows[-1] + 1, left : columns[-1] + 1], (top, left)


def _edge(inside: BoolArray, area: BoolArray, width: float) -> FloatArray:
    """Return (H, W) how much of a filling counts: 1, and less towards lung that stays as it is."""
    kept = inside & ~area
    far = ndimage.distance_transform_edt(~kept) if kept.any() else np.full(area.shape, np.inf)
    # The border of the lung is as soft as it was.
    rim = ndimage.gaussian_filter(inside.astype(np.float32), 0.7)
    share: FloatArray = (np.clip(far / width, 0.0, 1.0) * rim * area).astype(np.float32)
    return share
