"""The sampling grid of the phantom, and level sets on it.

A level set is negative inside a shape and roughly the distance from its surface in mm. Coordinates: x to
the patient's left, y to the back, z from the head end of the scan to the feet, all in mm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.types import FloatArray

FIELD_OF_VIEW_MM = 360.0
LENGTH_MM = 288.0

Point = tuple[float, float, float]
Knot = tuple[float, float, float, float]  # x, y, z, radius
Level = npt.NDArray[np.floating[Any]]  # computed in whatever precision the steps gave


@dataclass(frozen=True, eq=False)
class Grid:
    """Voxel centres of the phantom.

    Attributes
    ----------
    z, y, x:
        Open arrays (D, 1, 1), (1, H, 1), (1, 1, W) in mm.
    step, pixel:
        Distance of slices and of pixels in mm.
    """

    z: FloatArray
    y: FloatArray
    x: FloatArray
    step: float
    pixel: float

    @property
    def shape(self) -> tuple[int, int, int]:
        """(D, H, W)."""
        return self.z.shape[0], self.y.shape[1], self.x.shape[2]

    def box(self, low: Point, high: Point) -> tuple[slice, slice, slice]:
        """Index ranges (z, y, x) of the voxels between two corners given as (x, y, z)."""
        ranges = []
        for axis, values in ((2, self.z), (1, self.y), (0, self.x)):
            flat = values.ravel()
            ranges.append(slice(*np.searchsorted(flat, (low[axis], high[axis]), side="left").tolist()))
        return ranges[0], ranges[1], ranges[2]

    def part(self, box: tuple[slice, slice, slice]) -> Grid:
        """Grid of the voxels in a box."""
        return Grid(self.z[box[0]], self.y[:, box[1]], self.x[:, :, box[2]], self.step, self.pixel)


def make_grid(slices: int, size: int) -> Grid:
    """Return the grid of ``slices`` x ``size`` x ``size`` voxels over the fixed field of view."""
    step, pixel = LENGTH_MM / slices, FIELD_OF_VIEW_MM / size
    z = ((np.arange(slices) + 0.5) * step).astype(np.float32)
    across = ((np.arange(size) - (size - 1) / 2) * pixel).astype(np.float32)
    return Grid(z[:, None, None], across[None, :, None], across[None, None, :], step, pixel)


def union(first: Level, second: Level, blend_mm: float) -> FloatArray:
    """Join two level sets, rounding the seam over ``blend_mm`` (polynomial smooth minimum)."""
    overlap = np.maximum(blend_mm - np.abs(first - second), 0) / blend_mm
    return (np.minimum(first, second) - overlap * overlap * (blend_mm / 4)).astype(np.float32)


def intersection(first: Level, second: Level, blend_mm: float) -> FloatArray:
    """Return the common part of two level sets with rounded edges."""
    return -union(-first, -second, blend_mm)


def ellipsoid(grid: Grid, centre: Point, radii: Point, *, turn: float = 0.0) -> FloatArray:
    """Level set of an ellipsoid, turned by ``turn`` radians in the axial plane.

    An infinite third radius makes an elliptical cylinder along z, given once for all slices (1, H, W).
    """
    x, y = grid.x - centre[0], grid.y - centre[1]
    cos, sin = float(np.cos(turn)), float(np.sin(turn))
    along, across = cos * x + sin * y, cos * y - sin * x
    square = (along / radii[0]) ** 2 + (across / radii[1]) ** 2
    if np.isfinite(radii[2]):
        square = square + ((grid.z - centre[2]) / radii[2]) ** 2
    radius = np.sqrt(square, dtype=np.float32)
    return ((radius - np.float32(1)) * np.float32(min(radii))).astype(np.float32, copy=False)


def coverage(level: Level, pixel: float) -> FloatArray:
    """Share of a voxel inside a level set, for an edge one pixel wide."""
    return np.asarray(np.clip(0.5 - level / pixel, 0, 1), np.float32)


def paint(hu: FloatArray, level: Level, value: float | Level, pixel: float) -> None:
    """Replace what lies inside a level set by ``value``, mixing at the edge; in place."""
    hu += coverage(level, pixel) * (value - hu)


def paint_tube(hu: FloatArray, grid: Grid, points: Sequence[Knot], value: float) -> None:
    """Paint a chain of conical segments ``(x, y, z, radius)`` of constant value; in place."""
    for (x0, y0, z0, r0), (x1, y1, z1, r1) in pairwise(points):
        reach = max(r0, r1) + grid.pixel
        low = (min(x0, x1) - reach, min(y0, y1) - reach, min(z0, z1) - reach)
        high = (max(x0, x1) + reach, max(y0, y1) + reach, max(z0, z1) + reach)
        box = grid.box(low, high)
        x, y, z = grid.x[:, :, box[2]] - x0, grid.y[:, box[1]] - y0, grid.z[box[0]] - z0
        axis = (x1 - x0, y1 - y0, z1 - z0)
        length = max(float(np.dot(axis, axis)), 1e-6)
        along = np.clip((x * axis[0] + y * axis[1] + z * axis[2]) / length, 0, 1)
        away = np.sqrt((x - along * axis[0]) ** 2 + (y - along * axis[1]) ** 2 + (z - along * axis[2]) ** 2)
        paint(hu[box], (away - (r0 + along * (r1 - r0))).astype(np.float32), value, grid.pixel)
