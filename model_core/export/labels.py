"""Lesion labels as NIfTI in the geometry of the series they were found in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model_core.errors import ExportError
from model_core.export.atomic import atomic_path
from model_core.types import ByteArray, DoubleArray, Problem, Volume

_SUFFIXES = (".nii", ".nii.gz")


@dataclass(frozen=True)
class Grid:
    """Where the voxels of an array in the file's own order lie (LPS, mm), fastest axis first.

    ``direction`` (3, 3) has the unit vectors of x, y, z as columns, as SimpleITK wants it.
    """

    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]
    direction: DoubleArray
    problems: tuple[Problem, ...] = ()


def write_lesions(
    path: Path, volume: Volume, labels: ByteArray, *, overwrite: bool = False
) -> tuple[Problem, ...]:
    """Write labels as NIfTI, in the file's own order and geometry.

    Loaded beside the series, the mask lies on it: the physical points of its voxels are those that SimpleITK
    gives the voxels of the series.

    Parameters
    ----------
    path:
        ``.nii`` or ``.nii.gz``.
    labels:
        (D, H, W) uint8 in display order; 0 none, else the region class.

    Returns
    -------
    tuple of Problem
        What of the geometry is unknown and was replaced (step 1 mm, unit directions); else empty.

    Raises
    ------
    ExportError
        If the name is not NIfTI, the labels do not fit the volume, or the file exists or cannot be written.
    """
    if not path.name.lower().endswith(_SUFFIXES):
        raise ExportError(f"{path.name} is not a NIfTI file name: let it end in .nii or .nii.gz.")
    if labels.shape != volume.voxels.shape:
        raise ExportError(f"The labels have the shape {labels.shape}, the series {volume.voxels.shape}.")
    import SimpleITK

    grid = native_grid(volume)
    image: Any = SimpleITK.GetImageFromArray(np.ascontiguousarray(volume.geometry.to_native(labels)))
    image.SetSpacing(grid.spacing)
    image.SetOrigin(grid.origin)
    image.SetDirection(grid.direction.ravel().tolist())
    image.SetMetaData("ITK_FileNotes", "CTMaskNet lesion mask, research use only")
    with atomic_path(path, overwrite=overwrite) as temporary:
        try:
            compressed = path.name.lower().endswith(".gz")
            SimpleITK.WriteImage(image, str(temporary), useCompression=compressed)
        except RuntimeError as error:
            raise ExportError(
                f"{path.name} cannot be written: check that the disk has space and that you may write there.",
                details=type(error).__name__,
            ) from error
    return grid.problems


def native_grid(volume: Volume) -> Grid:
    """Return the geometry of the volume in the file's own order, with what is unknown filled in and named."""
    geometry = volume.geometry
    spacing = list(geometry.spacing_mm)
    problems: list[Problem] = []
    if spacing[0] is None and volume.slices > 1:
        spacing[0] = _mean_step(volume)
        text = "The slices are not evenly spaced or their distance is unknown."
        used = "1 mm" if spacing[0] is None else f"Their mean distance, {spacing[0]:.3f} mm,"
        problems.append(Problem("warning", text, f"{used} is written as the slice distance of the mask."))
    placed = geometry.axes is not None and geometry.origin_mm is not None
    placed = placed and spacing[1] is not None and spacing[2] is not None
    if not placed:
        problems.append(
            Problem(
                "warning",
                "Where the series lies in the patient is not fully known.",
                "The mask is written voxel by voxel without position: it fits the series by index only.",
            )
        )
    known: DoubleArray = np.array([1.0 if step is None else step for step in spacing])
    native_axes, flips = geometry.native_axes, geometry.native_flips
    native_spacing = [float(known[axis]) for axis in native_axes]
    if not placed or geometry.axes is None or geometry.origin_mm is None:
        origin, directions = np.zeros(3), np.eye(3)[::-1]
    else:
        origin = np.array(geometry.origin_mm, float)
        directions = geometry.axes[list(native_axes)].astype(float)
        for native, display in enumerate(native_axes):
            if flips[native]:
                last = volume.voxels.shape[display] - 1
                origin = origin + directions[native] * known[display] * last
                directions[native] = -directions[native]
    return Grid(
        spacing=(native_spacing[2], native_spacing[1], native_spacing[0]),
        origin=(float(origin[0]), float(origin[1]), float(origin[2])),
        direction=np.ascontiguousarray(directions[::-1].T),
        problems=tuple(problems),
    )


def _mean_step(volume: Volume) -> float | None:
    positions = volume.slice_positions_mm
    if positions is None:
        return None
    step = abs(float(positions[-1] - positions[0])) / (len(positions) - 1)
    return step if step > 0 else None
