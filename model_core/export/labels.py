"""Lesion labels as NIfTI in the geometry of the series they were found in."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from model_core.base.arrays import ByteArray, DoubleArray
from model_core.base.errors import ExportError
from model_core.base.files import atomic_path
from model_core.base.geometry import Geometry, NiftiForms
from model_core.base.volume import Problem, Volume

_CHUNK = 1 << 20
_HEADER_BYTES = 348
_SUFFIXES = (".nii", ".nii.gz")
# Sideways share of the step above which a stack counts as sheared (rounding of positions is far below).
_SHEAR = 1e-3


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
    gives the voxels of the series. Of a NIfTI file the mask has qform and sform, so that it lies on it in
    programs that read either.

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
        raise ExportError(f"'{path.name}' is not a NIfTI file name: let it end in .nii or .nii.gz.")
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
            if volume.geometry.forms is not None:
                _set_forms(temporary, volume.geometry.forms, compressed=compressed)
            _check_whole(temporary, labels.size, compressed=compressed)
        except (RuntimeError, EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise ExportError(
                f"'{path.name}' cannot be written: check that the disk has space and that you may write.",
                details=type(error).__name__,
            ) from error
    return grid.problems


def _set_forms(path: Path, forms: NiftiForms, *, compressed: bool) -> None:
    """Give a NIfTI-1 file the place that another one has (nifti1.h)."""
    data = bytearray(gzip.decompress(path.read_bytes()) if compressed else path.read_bytes())
    order = "<" if struct.unpack_from("<i", data)[0] == _HEADER_BYTES else ">"
    sizes = struct.unpack_from(f"{order}3f", data, 80)
    # What the file does not say is as it was written: 1 mm, or what its sform says.
    pairs = zip(forms.pixdim[1:], sizes, strict=True)
    known = (size if math.isfinite(size) and size > 0 else written for size, written in pairs)
    struct.pack_into(f"{order}4f", data, 76, forms.pixdim[0], *known)
    struct.pack_into(f"{order}2h", data, 252, forms.qform_code, forms.sform_code)
    struct.pack_into(f"{order}18f", data, 256, *forms.quaternion, *forms.qoffset, *forms.srow)
    path.write_bytes(gzip.compress(data, 6) if compressed else data)


def _check_whole(path: Path, voxels: int, *, compressed: bool) -> None:
    """Raise where the file is shorter than its voxels: on a full disk the library says nothing.

    Raises
    ------
    EOFError
        It is.
    """
    length = 0
    with gzip.open(path) if compressed else path.open("rb") as stream:
        while part := stream.read(_CHUNK):
            length += len(part)
    if length < voxels:
        raise EOFError(f"{length} of {voxels} bytes")


def native_grid(volume: Volume) -> Grid:
    """Return the geometry of the volume in the file's own order, with what is unknown filled in and named.

    A regular grid cannot hold slices that are shifted sideways (gantry tilt) or unevenly spaced; it is then
    the one that SimpleITK's series reader makes: the first slice in place, the step that reaches the last
    one, directions of the picture and its normal.
    """
    geometry = volume.geometry
    spacing = list(geometry.spacing_mm)
    problems: list[Problem] = []
    travel = _travel(geometry, volume.slices)
    if spacing[0] is None and volume.slices > 1:
        spacing[0] = float(np.linalg.norm(travel)) if travel is not None else _mean_step(volume)
        text = "The slices are not evenly spaced or their distance is unknown."
        used = "1 mm" if spacing[0] is None else f"Their mean distance, {spacing[0]:.3f} mm,"
        action = f"{used} is written as the slice distance of the mask."
        problems.append(Problem("warning", text, action, code="unevenly_spaced"))
    if geometry.axes is None or geometry.origin_mm is None or None in spacing[1:]:
        text = "Where the series lies in the patient is not fully known."
        action = "The mask is written voxel by voxel without position: it fits the series by index only."
        problems.append(Problem("warning", text, action, code="no_geometry"))
        steps = _known(spacing)[list(geometry.native_axes)]
        return Grid(_triple(steps[::-1]), (0.0, 0.0, 0.0), np.eye(3), tuple(problems))
    # Steps from voxel to voxel along the display axes.
    known = _known(spacing)
    steps = geometry.axes * known[:, None]
    directions = geometry.axes.astype(float)
    if travel is not None:
        sideways = travel - (travel @ directions[0]) * directions[0]
        slanted = float(np.linalg.norm(sideways)) > _SHEAR * float(np.linalg.norm(travel))
        if slanted and geometry.forms is None:  # those of a NIfTI file may be sheared
            steps[0], known[0] = travel, float(np.linalg.norm(travel))
            text = "The slices are shifted sideways against each other (gantry tilt)."
            action = "The mask fits the series slice by slice; positions in mm are right in the first slice."
            problems.append(Problem("warning", text, action, code="sheared"))
    origin = np.array(geometry.origin_mm, float)
    for native, display in enumerate(geometry.native_axes):
        if geometry.native_flips[native]:
            origin = origin + steps[display] * (volume.voxels.shape[display] - 1)
            directions[display] = -directions[display]
    order = list(geometry.native_axes)[::-1]
    return Grid(
        spacing=_triple(known[order]),
        origin=_triple(origin),
        direction=np.ascontiguousarray(directions[order].T),
        problems=tuple(problems),
    )


def _known(spacing: Sequence[float | None]) -> DoubleArray:
    return np.array([1.0 if step is None else step for step in spacing])


def _triple(values: DoubleArray) -> tuple[float, float, float]:
    first, second, third = (float(value) for value in values)
    return first, second, third


def _travel(geometry: Geometry, slices: int) -> DoubleArray | None:
    """Return the mean step from slice to slice in the patient (mm); None where both ends are not known."""
    first, last = geometry.origin_mm, geometry.last_origin_mm
    if first is None or last is None or slices < 2:
        return None
    step: DoubleArray = (np.array(last, float) - np.array(first, float)) / (slices - 1)
    return step if float(np.linalg.norm(step)) > 0 else None


def _mean_step(volume: Volume) -> float | None:
    positions = volume.slice_positions_mm
    if positions is None:
        return None
    step = abs(float(positions[-1] - positions[0])) / (len(positions) - 1)
    return step if step > 0 else None
