"""NIfTI, NRRD and MetaImage volumes: catalogue entries, geometry, and values from the reader process."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from model_core.io import isolation
from model_core.io.failures import FileError
from model_core.io.grouping import series_id
from model_core.io.memory import check_memory
from model_core.io.orientation import Layout, display_geometry, layout_of
from model_core.io.tolerances import VOLUME_FORMAT_AIR_HU
from model_core.io.values import fit_int16
from model_core.types import (
    DoubleArray,
    FloatArray,
    Geometry,
    Problem,
    Progress,
    SeriesEntry,
    Unit,
    Volume,
    VoxelArray,
)

SUFFIXES = (".nii.gz", ".nii", ".nrrd", ".nhdr", ".mha", ".mhd")
# Slices of a volume format are thick where the step is this many pixels or more; else it is isotropic.
_ANISOTROPY = 1.5
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


@dataclass(frozen=True)
class VolumeHeader:
    """What a volume file says before its values are read; directions and origin are LPS.

    ``shape``, ``spacing`` and the rows of ``directions`` are in array order (slices, rows, columns).
    """

    path: Path
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    directions: DoubleArray
    origin: DoubleArray
    dimensions: int
    extra: int
    components: int
    placed: bool

    @property
    def layout(self) -> Layout:
        """How the volume is shown: thick slices as they are, isotropic volumes axially."""
        thickest = int(np.argmax(self.spacing))
        others = [step for axis, step in enumerate(self.spacing) if axis != thickest]
        thick = self.spacing[thickest] >= _ANISOTROPY * max(others) and self.dimensions > 2
        axis = thickest if thick else int(np.argmax(np.abs(self.directions[:, 2])))
        return layout_of(self.directions, slice_axis=axis if self.dimensions > 2 else 0)

    @property
    def geometry(self) -> Geometry:
        """Geometry of the displayed array."""
        return volume_geometry(self)


@dataclass(frozen=True)
class VolumeSource:
    """Reader's key of a volume file."""

    header: VolumeHeader


def suffix_of(path: Path) -> str:
    """Return the volume format's suffix of a file name, or ""."""
    name = path.name.lower()
    return next((suffix for suffix in SUFFIXES if name.endswith(suffix)), "")


def read_header(path: Path) -> VolumeHeader:
    """Read size and geometry of a volume file.

    Raises
    ------
    FileError
        The file is damaged, or holds nothing two- or three-dimensional.
    """
    info = isolation.volume_header(path)
    dimensions, size, spacing = int(info["dimensions"]), info["size"], info["spacing"]
    if dimensions < 2 or min(size) < 1:
        raise FileError("The file holds no picture.")
    placed = dimensions > 2 and not (
        info["codes"] and all(code.strip() in ("0", "") for code in info["codes"])
    )
    directions = np.eye(3)
    position = np.zeros(3)
    if dimensions > 2:
        directions = np.array(info["direction"], float).reshape(dimensions, dimensions)[:3, :3].T
        position = np.array(info["origin"][:3], float)
    shape = (*(size[2:3] or (1,)), size[1], size[0])
    steps = (*(spacing[2:3] or (1.0,)), spacing[1], spacing[0])
    finite = bool(np.isfinite(directions).all() and np.isfinite(position).all() and np.isfinite(steps).all())
    if not finite or float(np.linalg.norm(directions, axis=1).min()) < 0.5 or min(steps) <= 0:
        raise FileError("The volume's orientation or spacing is not usable.")
    return VolumeHeader(
        path=path,
        shape=(shape[0], shape[1], shape[2]),
        spacing=(steps[0], steps[1], steps[2]),
        directions=np.ascontiguousarray(directions[::-1]),
        origin=position,
        dimensions=dimensions,
        extra=int(np.prod(size[3:], dtype=np.int64)),
        components=int(info["components"]),
        placed=placed,
    )


def entry_of(header: VolumeHeader) -> SeriesEntry:
    """Return the catalogue entry of a volume file."""
    geometry = header.geometry
    shape = [header.shape[header.layout.axes.index(axis)] for axis in range(3)]
    problems = []
    if not header.placed:
        problems.append(
            Problem(
                "warning",
                "The file does not say how the volume lies in the patient.",
                "It is shown as if stored in the usual order; the sides are not to be relied on.",
            )
        )
    if header.extra > 1:
        problems.append(
            Problem("warning", f"The file holds {header.extra} volumes.", "The first one is shown.")
        )
    if header.components > 1:
        problems.append(
            Problem("info", f"The voxels have {header.components} components.", "Their brightness is shown.")
        )
    stem = header.path.name[: -len(suffix_of(header.path))]
    step = geometry.spacing_mm[0]
    return SeriesEntry(
        series_id=series_id(f"{header.path.resolve()}"),
        title=stem if step is None else f"{stem} {step:.1f} mm",
        modality="",
        size=(shape[0], shape[1], shape[2]),
        files=(str(header.path),),
        problems=tuple(problems),
        plane=header.layout.plane if header.placed else "unknown",
        spacing_mm=geometry.spacing_mm,
        source=VolumeSource(header),
    )


def volume_geometry(header: VolumeHeader) -> Geometry:
    """Return the geometry of the displayed array; a single slice has no slice distance."""
    layout = header.layout
    slice_axis = layout.axes.index(0)
    spacing: list[float | None] = list(header.spacing)
    if header.dimensions < 3:
        spacing[slice_axis] = None
    first = header.origin
    last = first + header.directions[0] * header.spacing[0] * (header.shape[0] - 1)
    return display_geometry(
        layout,
        shape=header.shape,
        spacing=spacing,
        directions=header.directions if header.placed else None,
        corners=(tuple(first), tuple(last)) if header.placed else None,
    )


def read_values(header: VolumeHeader) -> npt.NDArray[Any]:
    """Read the values in array order (slices, rows, columns); of several components, their brightness.

    Raises
    ------
    FileError
        The file is damaged.
    """
    values = read_components(header)
    if header.components > 1:
        components = min(header.components, 3)
        parts: FloatArray = values[..., :components].astype(np.float32)
        grey: FloatArray = parts @ _LUMA if components == 3 else parts[..., 0]
        values = grey
    if values.size != int(np.prod(header.shape, dtype=np.int64)):
        raise FileError("The volume changed its size since its folder was read.")
    return values.reshape(header.shape)


def read_components(header: VolumeHeader) -> npt.NDArray[Any]:
    """Read the values as the file's library gives them, components last.

    Raises
    ------
    FileError
        The file is damaged.
    """
    most = int(np.prod(header.shape, dtype=np.int64)) * header.components * 8
    return isolation.volume_array(header.path, max_bytes=most)


def load_volume(entry: SeriesEntry) -> Generator[Progress | Volume, None, None]:
    """Read a volume file; the last item is the Volume."""
    header = cast(VolumeSource, entry.source).header
    check_memory(int(np.prod(header.shape, dtype=np.int64)) * 8)
    yield Progress(0, 1, "Reading the volume")
    values = read_values(header)
    geometry = header.geometry
    shown = geometry.from_native(values)
    voxels: VoxelArray = np.empty(shown.shape, np.int16)
    problems = list(entry.problems)
    if values.dtype.kind in "iu" and np.can_cast(values.dtype, np.int16):
        voxels[...] = shown
    else:
        with np.errstate(all="ignore"):  # what single precision cannot hold counts as infinite
            exact = np.ascontiguousarray(shown, np.float32)
        problems += fit_int16(exact, voxels).problems
    yield Progress(1, 1, "Reading the volume")
    unit: Unit = "HU" if int(voxels.min()) <= VOLUME_FORMAT_AIR_HU else "values"
    yield Volume(
        series_id=entry.series_id,
        title=entry.title,
        voxels=voxels,
        geometry=geometry,
        unit=unit,
        plane=entry.plane,
        modality="CT" if unit == "HU" else "",
        slice_positions_mm=_positions(geometry, voxels.shape[0]),
        problems=tuple(problems),
    )


def _positions(geometry: Geometry, count: int) -> DoubleArray | None:
    """Return positions along the displayed slices' normal, growing like DICOM's: towards the head."""
    if geometry.axes is None or geometry.origin_mm is None or geometry.spacing_mm[0] is None:
        return None
    normal: DoubleArray = np.cross(geometry.axes[2], geometry.axes[1])
    start = float(np.dot(geometry.origin_mm, normal))
    step = float(np.dot(geometry.axes[0], normal)) * geometry.spacing_mm[0]
    positions: DoubleArray = start + step * np.arange(count, dtype=np.float64)
    return positions


def middle_picture(entry: SeriesEntry) -> npt.NDArray[Any]:
    """Return the middle slice of a volume file as shown."""
    header = cast(VolumeSource, entry.source).header
    picture: npt.NDArray[Any] = header.geometry.from_native(read_values(header))[entry.size[0] // 2]
    return picture


def index_transform(geometry: Geometry, header: VolumeHeader) -> tuple[DoubleArray, DoubleArray] | None:
    """Return matrix and offset that map displayed voxel indices to array indices of a volume file.

    None where one of them does not say where it lies.
    """
    if geometry.axes is None or geometry.origin_mm is None or not header.placed:
        return None
    steps: Sequence[float | None] = geometry.spacing_mm
    if any(step is None for step in steps):
        return None
    forward = geometry.axes.T * np.array(steps, float)
    inverse = np.linalg.inv(header.directions.T * np.array(header.spacing))
    return inverse @ forward, inverse @ (np.array(geometry.origin_mm) - header.origin)
