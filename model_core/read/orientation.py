"""Which way a volume lies in the patient, and the permutation and flips that show it upright.

Display directions (LPS, PS3.3 C.7.6.2.1.1): axial slices head to feet, rows front to back, columns from
the patient's right to left; sagittal slices right to left, rows head to feet, columns front to back;
coronal slices front to back, rows head to feet, columns right to left. Only whole-array permutations
and flips are used, so no value is ever interpolated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model_core.base.arrays import DoubleArray
from model_core.base.geometry import Geometry
from model_core.base.volume import Plane
from model_core.read.tolerances import OBLIQUE_COSINE

_TARGETS: dict[Plane, tuple[tuple[int, int, int], ...]] = {
    "axial": ((0, 0, -1), (0, 1, 0), (1, 0, 0)),
    "sagittal": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
    "coronal": ((0, 1, 0), (0, 0, -1), (1, 0, 0)),
}
_PLANE_OF_AXIS: tuple[Plane, Plane, Plane] = ("sagittal", "coronal", "axial")


@dataclass(frozen=True)
class Layout:
    """How a native array becomes the displayed one; see `Geometry.native_axes`."""

    plane: Plane
    axes: tuple[int, int, int] = (0, 1, 2)
    flips: tuple[bool, bool, bool] = (False, False, False)


def layout_of(directions: DoubleArray, *, slice_axis: int = 0) -> Layout:
    """Choose the display layout of a native array.

    Parameters
    ----------
    directions:
        (3, 3); row i is the LPS unit vector of native axis i.
    slice_axis:
        The native axis that is scrolled through.

    Returns
    -------
    Layout
        The plane is "oblique" where the scrolled axis is far from every patient axis; the picture is then
        arranged like the nearest plane.
    """
    scrolled = directions[slice_axis]
    nearest = int(np.argmax(np.abs(scrolled)))
    plane = _PLANE_OF_AXIS[nearest]
    targets = np.array(_TARGETS[plane], float)
    first, second = (axis for axis in range(3) if axis != slice_axis)
    straight = abs(directions[first] @ targets[1]) + abs(directions[second] @ targets[2])
    crossed = abs(directions[second] @ targets[1]) + abs(directions[first] @ targets[2])
    in_plane = (first, second) if straight >= crossed else (second, first)
    shown = (slice_axis, *in_plane)  # native axis of each display axis
    flips = [False, False, False]
    for display_axis, native_axis in enumerate(shown):
        flips[native_axis] = bool(directions[native_axis] @ targets[display_axis] < 0)
    axes = [shown.index(native_axis) for native_axis in range(3)]
    oblique = abs(scrolled[nearest]) < OBLIQUE_COSINE
    return Layout(
        plane="oblique" if oblique else plane,
        axes=(axes[0], axes[1], axes[2]),
        flips=(flips[0], flips[1], flips[2]),
    )


def display_geometry(
    layout: Layout,
    *,
    shape: tuple[int, int, int],
    spacing: Sequence[float | None],
    directions: DoubleArray | None,
    corners: tuple[Sequence[float], Sequence[float]] | None,
    aspect: float | None = None,
) -> Geometry:
    """Express a native geometry in display order.

    Parameters
    ----------
    shape, spacing, directions:
        Of the native array (slices, rows, columns); spacing in mm, None where unknown.
    corners:
        LPS positions of native voxels [0, 0, 0] and [last, 0, 0]; both are needed because the step
        between slices may be unknown.
    aspect:
        Height over width of a native pixel (rows, columns) of unknown size; None where that is unknown too.
    """
    shown = [layout.axes.index(axis) for axis in range(3)]  # native axis of each display axis
    spacing_mm = tuple(spacing[axis] for axis in shown)
    axes = None
    if directions is not None:
        signs = np.where(layout.flips, -1.0, 1.0)[:, None]
        axes = np.ascontiguousarray((directions * signs)[shown]) + 0.0  # no negative zeros
    first: DoubleArray | None = None
    last: DoubleArray | None = None
    if directions is not None and corners is not None:
        shift: DoubleArray | None = np.zeros(3)
        for axis in (1, 2):
            step = spacing[axis]
            if layout.flips[axis] and shift is not None:
                shift = None if step is None else shift + directions[axis] * step * (shape[axis] - 1)
        if shift is not None:
            backwards = layout.flips[0]
            first = np.array(corners[1 if backwards else 0], float) + shift
            if layout.axes[0] == 0:
                last = np.array(corners[0 if backwards else 1], float) + shift
    return Geometry(
        spacing_mm=(spacing_mm[0], spacing_mm[1], spacing_mm[2]),
        origin_mm=_point(first),
        axes=axes,
        native_axes=layout.axes,
        native_flips=layout.flips,
        last_origin_mm=_point(last),
        stated_aspect=1 / aspect if aspect and shown[1] > shown[2] else aspect,
    )


def _point(position: DoubleArray | None) -> tuple[float, float, float] | None:
    return None if position is None else (float(position[0]), float(position[1]), float(position[2]))
