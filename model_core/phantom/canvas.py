"""Painting HU on a grid of voxels with level sets.

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

from model_core.base.arrays import FloatArray

FIELD_OF_VIEW_MM = 360.0
LENGTH_MM = 288.0

Point = tuple[float, float, float]
Knot = tuple[float, float, float, float]  # x, y, z, radius
Level = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Canvas:
    """HU (D, H, W) to paint on, with the places of its voxels.

    Attributes
    ----------
    z, y, x:
        Open arrays (D, 1, 1), (1, H, 1), (1, 1, W) of voxel centres in mm.
    step, pixel:
        Distance of slices and of pixels in mm.
    """

    hu: FloatArray
    z: FloatArray
    y: FloatArray
    x: FloatArray
    step: float
    pixel: float

    def box(self, low: Level, high: Level) -> tuple[slice, ...]:
        """Return the indices (z, y, x) of the voxels between two corners (x, y, z)."""
        ranges = zip((self.z, self.y, self.x), low[::-1], high[::-1], strict=True)
        return tuple(slice(*np.searchsorted(axis.ravel(), ends)) for axis, *ends in ranges)

    def part(self, box: tuple[slice, ...]) -> Canvas:
        """Return a part of the canvas: what is painted there is painted here."""
        z, y, x = self.z[box[0]], self.y[:, box[1]], self.x[:, :, box[2]]
        return Canvas(self.hu[box], z, y, x, self.step, self.pixel)

    def paint(self, level: Level, value: float | Level) -> None:
        """Replace what lies inside a level set, mixing at an edge one pixel wide."""
        self.hu[:] += np.clip(0.5 - level / self.pixel, 0, 1) * (value - self.hu)

    def paint_tube(self, knots: Sequence[Knot], value: float) -> None:
        """Paint a chain of conical pieces; one that runs inside a slice shows over its whole length."""
        for start, end in pairwise(np.asarray(knots, np.float64)):
            reach = max(start[3], end[3]) + self.pixel
            margin = np.array((reach, reach, max(reach, self.step / 2)))
            low, high = np.minimum(start, end)[:3] - margin, np.maximum(start, end)[:3] + margin
            part = self.part(self.box(low, high))
            x, y, axis = part.x - start[0], part.y - start[1], end - start
            middle = (start[2] + end[2]) / 2
            z = np.clip(middle, part.z - self.step / 2, part.z + self.step / 2) - start[2]
            length = axis[:3] @ axis[:3]
            along = np.clip((x * axis[0] + y * axis[1] + z * axis[2]) / length, 0, 1)
            square = (x - along * axis[0]) ** 2 + (y - along * axis[1]) ** 2 + (z - along * axis[2]) ** 2
            part.paint(np.sqrt(square) - (start[3] + along * axis[3]), value)


def blank(slices: int, size: int, value: float) -> Canvas:
    """Return a canvas of ``slices`` x ``size`` x ``size`` voxels of one value over the field of view."""
    step, pixel = LENGTH_MM / slices, FIELD_OF_VIEW_MM / size
    z = ((np.arange(slices) + 0.5) * step).astype(np.float32)
    across = ((np.arange(size) - (size - 1) / 2) * pixel).astype(np.float32)
    hu = np.full((slices, size, size), value, np.float32)
    return Canvas(hu, z[:, None, None], across[None, :, None], across[None, None, :], step, pixel)


def ellipsoid(canvas: Canvas, centre: Point, radii: Point, turn: float = 0.0) -> FloatArray:
    """Level set of an ellipsoid turned by ``turn`` radians in the axial plane.

    An infinite third radius makes a cylinder along z, given once for all slices (1, H, W).
    """
    x, y = canvas.x - centre[0], canvas.y - centre[1]
    cos, sin = float(np.cos(turn)), float(np.sin(turn))
    square = ((cos * x + sin * y) / radii[0]) ** 2 + ((cos * y - sin * x) / radii[1]) ** 2
    if np.isfinite(radii[2]):
        square = square + ((canvas.z - centre[2]) / radii[2]) ** 2
    return np.asarray((np.sqrt(square) - 1) * min(radii), np.float32)
