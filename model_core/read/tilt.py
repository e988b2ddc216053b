"""Take the sideways shift out of a stack of slices: gantry tilt corrected by resampling within each slice.

Slices keep their places along the normal, so nothing is interpolated between them. The picture grows until
every slice has room; what no slice covers is padding.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import Any

import numpy as np

from model_core.base.arrays import BoolArray, DoubleArray, VoxelArray
from model_core.base.errors import SettingsError
from model_core.base.geometry import Geometry
from model_core.base.jobs import Progress
from model_core.base.volume import Problem, SeriesEntry, Volume
from model_core.read.entries import series_id
from model_core.read.tolerances import MAX_SHEAR, PADDING_HU

_NOT_STRAIGHT = (
    "Each slice is shown as it is; {} hold, distances across slices and other planes are not to be measured."
)
_CORRECTED = ", tilt corrected"
# Shifts that are whole pixels but for the rounding of decimal strings.
_ROUNDING = 1e-6
# Slices between two looks at cancel.
_BATCH = 16


def not_straight(*, even: bool) -> str:
    """Return what holds of a stack whose slices lie sideways of each other.

    Area times the distance along the normal is the volume, wherever they lie; ``even`` says whether there is
    one such distance.
    """
    return _NOT_STRAIGHT.format("areas and volumes" if even else "areas")


def is_sheared(entry: SeriesEntry) -> bool:
    """Whether a scan found the slices of a series shifted evenly against each other."""
    return any(problem.code == "sheared" for problem in entry.problems)


def straight_entry(entry: SeriesEntry, geometry: Geometry, origins: DoubleArray | None) -> SeriesEntry:
    """Return an entry whose identity, title, size and problems are those of the corrected series.

    Parameters
    ----------
    geometry:
        Of the volume as it will be displayed.
    origins:
        (D, 3) LPS mm of voxel [k, 0, 0] of each slice; None where unknown.

    Raises
    ------
    SettingsError
        The size of a pixel is unknown, or the shift is more than that of a tilt.
    """
    pixels = None if origins is None else _shifts(geometry, origins)
    if origins is None or pixels is None:
        raise SettingsError("The slices of this series are not shifted by a tilt that can be corrected.")
    if not _is_possible(geometry, origins):
        raise SettingsError(
            "The slices shift sideways by more than 45 degrees, beyond any gantry: their positions are wrong."
        )
    shape, _ = _grown((entry.size[1], entry.size[2]), pixels)
    return replace(
        entry,
        series_id=series_id(f"{entry.series_id}|straight"),
        title=entry.title + _CORRECTED,
        size=(entry.size[0], *shape),
        problems=_settled(entry.problems),
    )


def _settled(problems: tuple[Problem, ...]) -> tuple[Problem, ...]:
    rest = tuple(problem for problem in problems if problem.code != "sheared")
    told = Problem(
        "info",
        "The tilt of the gantry is corrected: the slices are shifted in their planes.",
        "Values are interpolated linearly within each slice, and the picture is larger than in the files.",
        code="tilt_corrected",
    )
    return (told, *rest) if told not in rest else rest


def _is_possible(geometry: Geometry, origins: DoubleArray) -> bool:
    """Whether the slices shift no more than a gantry could tilt."""
    if geometry.axes is None:
        return False
    moved = origins - origins[0]
    along = moved @ geometry.axes[0]
    sideways = np.linalg.norm(moved - np.outer(along, geometry.axes[0]), axis=1)
    return bool(sideways.max() <= MAX_SHEAR * np.abs(along).max())


def _shifts(geometry: Geometry, origins: DoubleArray) -> DoubleArray | None:
    """Return (D, 2): how many pixels down and right each slice lies of the first one; None where unknown."""
    _, row, column = geometry.spacing_mm
    if geometry.axes is None or row is None or column is None:
        return None
    pixels: DoubleArray = (origins - origins[0]) @ geometry.axes[1:].T / (row, column)
    return pixels


def _grown(shape: tuple[int, int], pixels: DoubleArray) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the shape that has room for all shifted slices, and where the first slice lies in it."""
    low = np.floor(pixels.min(axis=0) + _ROUNDING).astype(int)
    high = np.ceil(pixels.max(axis=0) - _ROUNDING).astype(int)
    height, width = (int(count) for count in np.array(shape) + high - low)
    return (height, width), (int(-low[0]), int(-low[1]))


def straightened(volume: Volume, origins: DoubleArray) -> Generator[Progress | Volume, None, None]:
    """Move every slice above the first one, by linear interpolation within each; the last item is the Volume.

    Parameters
    ----------
    origins:
        (D, 3) LPS mm of voxel [k, 0, 0] of each slice.
    """
    geometry = volume.geometry
    pixels = _shifts(geometry, origins)
    if pixels is None or geometry.axes is None:
        yield volume
        return
    (height, width), (top, left) = _grown((volume.voxels.shape[1], volume.voxels.shape[2]), pixels)
    padding = PADDING_HU if volume.unit == "HU" else int(volume.voxels.min())
    voxels: VoxelArray = np.empty((volume.slices, height, width), np.int16)
    for index in range(volume.slices):
        if index % _BATCH == 0:
            yield Progress(index, volume.slices, "Correcting the tilt")
        down, right = pixels[index] + (top, left)
        voxels[index] = _shifted(volume.voxels[index], (height, width), (down, right), padding)
    _, row, column = geometry.spacing_mm
    corner = origins[0] - top * (row or 0.0) * geometry.axes[1] - left * (column or 0.0) * geometry.axes[2]
    last = corner + ((origins[-1] - origins[0]) @ geometry.axes[0]) * geometry.axes[0]
    yield replace(
        volume,
        voxels=voxels,
        geometry=replace(geometry, origin_mm=_point(corner), last_origin_mm=_point(last), forms=None),
        padding_value=padding,
        problems=_settled(volume.problems),
    )


def _shifted(
    picture: VoxelArray, shape: tuple[int, int], shift: tuple[float, float], padding: int
) -> VoxelArray:
    """Return a picture moved down and right by pixels on a larger canvas of this shape."""
    import SimpleITK

    down, right = shift
    make: Any = SimpleITK.TranslationTransform
    transform = make(2, (-float(right), -float(down)))
    moved = SimpleITK.Resample(
        SimpleITK.GetImageFromArray(picture.astype(np.float32)),
        (shape[1], shape[0]),
        transform,
        SimpleITK.sitkLinear,
        (0.0, 0.0),
        (1.0, 1.0),
        (1.0, 0.0, 0.0, 1.0),
        float(padding),
    )
    result: VoxelArray = np.rint(SimpleITK.GetArrayFromImage(moved)).astype(np.int16)
    # Half a pixel beyond the outermost centres is still "inside" for SimpleITK: nothing was measured there.
    result[_beyond(shape[0], down, picture.shape[0])] = padding
    result[:, _beyond(shape[1], right, picture.shape[1])] = padding
    return result


def _beyond(count: int, shift: float, length: int) -> BoolArray:
    """Return which of ``count`` pixels lie before the first or after the last of ``length`` shifted ones."""
    places = np.arange(count) - shift
    beyond: BoolArray = (places < -_ROUNDING) | (places > length - 1 + _ROUNDING)
    return beyond


def _point(position: DoubleArray) -> tuple[float, float, float]:
    return float(position[0]), float(position[1]), float(position[2])
