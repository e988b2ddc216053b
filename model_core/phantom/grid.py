"""The sampling grid of the phantom, and level sets on it.

A level set is negative inside a shape and roughly the distance from its surface in mm. Coordinates: x to
the patient's left, y to the back, z from the head end of the scan to the feet, all in mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model_core.types import FloatArray

FIELD_OF_VIEW_MM = 360.0
LENGTH_MM = 288.0

Point = tuple[float, float, float]


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


def make_grid(slices: int, size: int) -> Grid:
    """Return the grid of ``slices`` x ``size`` x ``size`` voxels over the fixed field of view."""
    step, pixel = LENGTH_MM / slices, FIELD_OF_VIEW_MM / size
    z = ((np.arange(slices) + 0.5) * step).astype(np.float32)
    across = ((np.arange(size) - (size - 1) / 2) * pixel).astype(np.float32)
    return Grid(z[:, None, None], across[None, :, None], across[None, None, :], step, pixel)


def union(first: FloatArray, second: FloatArray, blend_mm: float) -> FloatArray:
    """Join two level sets, rounding the seam over ``blend_mm`` (polynomial smooth minimum)."""
    overlap = np.maximum(blend_mm - np.abs(first - second), 0) / blend_mm
    return (np.minimum(first, second) - overlap * overlap * (blend_mm / 4)).astype(np.float32)


def intersection(first: FloatArray, second: FloatArray, blend_mm: float) -> FloatArray:
    """Common part of two level sets with rounded edges."""
    return -union(-first, -second, blend_mm)


def ellipsoid(grid: Grid, centre: Point, radii: Point, *, turn: float = 0.0) -> FloatArray:
    """Level set of an ellipsoid, turned by ``turn`` radians in the axial plane.

    An infinite third radius makes an elliptical cylinder along z.
    """
    x, y, z = grid.x - centre[0], grid.y - centre[1], grid.z - centre[2]
    cos, sin = float(np.cos(turn)), float(np.sin(turn))
    along, across = cos * x + sin * y, cos * y - sin * x
    radius = np.sqrt((along / radii[0]) ** 2 + (across / radii[1]) ** 2 + (z / radii[2]) ** 2)
    return ((radius - 1) * min(radii)).astype(np.float32)


def coverage(level: FloatArray, pixel: float) -> FloatArray:
    """Share of a voxel inside a level set, for an edge one pixel wide."""
    return np.clip(0.5 - level / pixel, 0, 1).astype(np.float32)


def paint(hu: FloatArray, level: FloatArray, value: float | FloatArray, pixel: float) -> None:
    """Replace what lies inside a level set by ``value``, mixing at the edge; in place."""
    hu += coverage(level, pixel) * (value - hu)


def paint_tube(
    hu: FloatArray, grid: Grid, points: list[tuple[float, float, float, float]], value: float
) -> None:
    """Paint a chain of conical segments ``(x, y, z, radius)`` of constant value; in place."""
    for (x0, y0, z0, r0), (x1, y1, z1, r1) in zip(points, points[1:], strict=False):
        reach = max(r0, r1) + grid.pixel
        low = (min(x0, x1) - reach, min(y0, y1) - reach, min(z0, z1) - reach)
        high = (max(x0, x1) + reach, max(y0, y1) + reach, max(z0, z1) + reach)
        box = grid.box(low, high)
        x, y, z = grid.x[:, :, box[2]] - x0, grid.y[:, box[1]] - y0, grid.z[box[0]] - z0
        axis = (x1 - x0, y1 - y0, z1 - z0)
        length = max(float(np.dot(axis, axis)), 1e-6)
        along = np.clip((x * axis[0] + y * axis[1] + z * axis[2]) / length, 0, 1)
        away = np.sqrt(
            (x - along * axis[0]) ** 2 + (y - along * axis[1]) ** 2 + (z - along * axis[2]) ** 2
        )
        paint(hu[box], (away - (r0 + along * (r1 - r0))).astype(np.float32), value, grid.pixel)
