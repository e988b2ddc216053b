"""NIfTI, NRRD and MetaImage volumes: catalogue entries, geometry, and values."""

from __future__ import annotations

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import DoubleArray, VoxelArray
from model_core.base.geometry import Geometry, NiftiForms
from model_core.base.jobs import Progress
from model_core.base.volume import Problem, SeriesEntry, Unit, Volume
from model_core.read import sandbox, tilt
from model_core.read.entries import series_id
from model_core.read.errors import LIBRARY_FAILURES, FileError
from model_core.read.memory import check_memory
from model_core.read.orientation import Layout, display_geometry, layout_of
from model_core.read.tolerances import SHEAR_TOLERANCE
from model_core.read.values import LUMA, measure
from model_core.read.volumes import files

# Slices of a volume format are thick where the step is this many pixels or more; else it is isotropic.
_ANISOTROPY = 1.5
# Right angles of single precision are right within this; steps nearer than this to one plane fill no volume.
_ROUNDING = 1e-5
_FLAT_COSINE = 0.1


@dataclass(frozen=True)
class VolumeHeader:
    """What a volume file says before its values are read; directions and origin are LPS.

    ``shape``, ``spacing`` and the rows of ``directions`` and ``steps`` are in array order (slices, rows,
    columns). ``steps`` are the vectors from voxel to voxel in mm. Of a sheared volume ``directions`` are at
    right angles all the same: those of the shown slices and their normal; ``spacing`` is along them. Where
    the file does not say a spacing, it is None and the step a unit vector.
    """

    path: Path
    shape: tuple[int, int, int]
    spacing: tuple[float | None, float | None, float | None]
    directions: DoubleArray
    steps: DoubleArray
    origin: DoubleArray
    dimensions: int
    extra: int
    components: int
    placed: bool
    problems: tuple[Problem, ...] = ()
    forms: NiftiForms | None = None

    @property
    def layout(self) -> Layout:
        """How the volume is shown: thick slices as they are, isotropic volumes axially."""
        return layout_of(self.directions, slice_axis=_slice_axis(self.steps, self.dimensions))

    @property
    def sheared(self) -> bool:
        """Whether the steps are not at right angles."""
        units = self.steps / np.linalg.norm(self.steps, axis=1)[:, None]
        return bool(np.abs(units - self.directions).max() > _ROUNDING)

    @property
    def geometry(self) -> Geometry:
        """Geometry of the displayed array."""
        return volume_geometry(self)


@dataclass(frozen=True)
class VolumeSource:
    """Reader's key of a volume file; ``straight`` where its tilt is corrected when it is read."""

    header: VolumeHeader
    straight: bool = False


def read_header(path: Path) -> VolumeHeader:
    """Read size and geometry of a volume file.

    Raises
    ------
    FileError
        The file is damaged, or holds nothing two- or three-dimensional.
    """
    try:
        return _header(path, sandbox.call(files.read_information, path))
    except LIBRARY_FAILURES as error:  # no answer of ours
        raise sandbox.unusable(type(error).__name__) from error


def _header(path: Path, info: dict[str, Any]) -> VolumeHeader:
    dimensions, size, forms = int(info["dimensions"]), info["size"], info["forms"]
    if dimensions < 2 or min(size) < 1:
        raise FileError("The file holds no picture.")
    steps = np.array(info["steps"], float)[::-1]
    origin = np.array(info["origin"], float)
    directions = _squared(steps, _slice_axis(steps, dimensions))
    if directions is None or not np.isfinite(origin).all():
        raise FileError("The volume's orientation or spacing is not usable.")
    shape = (*(size[2:3] or (1,)), size[1], size[0])
    along = [
        float(step @ direction) if known else None
        for step, direction, known in zip(steps, directions, info["known"][::-1], strict=True)
    ]
    return VolumeHeader(
        path=path,
        shape=(shape[0], shape[1], shape[2]),
        spacing=(along[0], along[1], along[2]),
        directions=directions,
        steps=steps,
        origin=origin,
        dimensions=dimensions,
        extra=int(np.prod(size[3:], dtype=np.int64)),
        components=int(info["components"]),
        placed=bool(info["placed"]),
        problems=tuple(
            Problem(level, text, action, (path.name,), code) for code, level, text, action in info["problems"]
        ),
        forms=forms and NiftiForms(**{name: _frozen(value) for name, value in forms.items()}),
    )


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _slice_axis(steps: DoubleArray, dimensions: int) -> int:
    """Return the native axis that is scrolled through: the thickest, else the one nearest head to feet."""
    if dimensions < 3:
        return 0
    lengths = np.linalg.norm(steps, axis=1)
    thickest = int(np.argmax(lengths))
    if lengths[thickest] >= _ANISOTROPY * np.delete(lengths, thickest).max():
        return thickest
    return int(np.argmax(np.abs(steps[:, 2] / lengths)))


def _squared(steps: DoubleArray, slice_axis: int) -> DoubleArray | None:
    """Return unit vectors of the steps, at right angles: within the slices, then their normal.

    None where steps are no numbers, zero, or lie in one plane.
    """
    lengths = np.linalg.norm(steps, axis=1)
    if not np.isfinite(steps).all() or lengths.min() <= 0:
        return None
    directions: DoubleArray = steps / lengths[:, None]
    if np.abs(directions @ directions.T - np.eye(3)).max() <= _ROUNDING:
        return directions
    first, second = (axis for axis in range(3) if axis != slice_axis)
    left, _, right = np.linalg.svd(directions[[first, second]], full_matrices=False)
    square = np.empty((3, 3))
    square[[first, second]] = left @ right
    normal = np.cross(square[first], square[second])
    square[slice_axis] = normal * np.sign(normal @ directions[slice_axis])
    return square if np.einsum("ij,ij->i", square, directions).min() > _FLAT_COSINE else None


def entry_of(header: VolumeHeader) -> SeriesEntry:
    """Return the catalogue entry of a volume file."""
    geometry = header.geometry
    shape = [header.shape[header.layout.axes.index(axis)] for axis in range(3)]
    problems = list(header.problems)
    problems += _shear(header, geometry)
    if None in header.spacing[3 - min(header.dimensions, 3) :]:
        text = "The file does not say how far its voxels are apart."
        action = "The distance counts as unknown; what needs it in mm is left out."
        problems.append(Problem("warning", text, action, code="missing_slice_distance"))
    if not header.placed:
        text = "The file does not say how the volume lies in the patient."
        action = "It is shown as if stored in the usual order; the sides are not to be relied on."
        problems.append(Problem("warning", text, action, code="missing_orientation"))
    if header.extra > 1:
        text = f"The file holds {header.extra} volumes."
        action = "The first one is shown."
        problems.append(Problem("warning", text, action, code="several_volumes"))
    if header.components > 1:
        text = f"The voxels have {header.components} components."
        action = "Of colours (8 bits) the brightness is shown, else the first component."
        problems.append(Problem("info", text, action, code="several_components"))
    stem = header.path.name[: -len(files.suffix_of(header.path))]
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


def _shear(header: VolumeHeader, geometry: Geometry) -> list[Problem]:
    """Tell of voxels that are no boxes: slices that shift sideways, or pixels without right angles."""
    problems = []
    if geometry.sheared:
        travel = np.array(geometry.last_origin_mm) - np.array(geometry.origin_mm)
        along = float(travel @ np.asarray(geometry.axes)[0])
        sideways = float(np.linalg.norm(travel)) ** 2 - along**2
        shift = float(np.sqrt(max(sideways, 0.0)))
        angle = float(np.degrees(np.arctan2(shift, abs(along))))
        text = (
            f"The stack is sheared: slices shift sideways by up to {shift:.1f} mm, "
            f"{angle:.1f}° over the stack."
        )
        problems.append(
            Problem("warning", text, tilt.not_straight(even=True), (header.path.name,), code="sheared")
        )
    first, second = (axis for axis in range(3) if axis != header.layout.axes.index(0))
    steps = header.steps / np.linalg.norm(header.steps, axis=1)[:, None]
    cosine = float(steps[first] @ steps[second])
    if abs(cosine) > SHEAR_TOLERANCE:
        text = (
            f"Rows and columns of the file meet at {np.degrees(np.arccos(cosine)):.1f}°, not at right angles."
        )
        action = "Slices are shown as if they did; lengths and areas in them are off."
        problems.append(Problem("warning", text, action, (header.path.name,), code="skewed_pixels"))
    return problems


def volume_geometry(header: VolumeHeader) -> Geometry:
    """Return the geometry of the displayed array; a single slice has no slice distance."""
    layout = header.layout
    spacing: list[float | None] = list(header.spacing)
    if header.dimensions < 3:
        spacing[layout.axes.index(0)] = None
    geometry = display_geometry(
        layout,
        shape=header.shape,
        spacing=spacing,
        directions=header.directions if header.placed else None,
        corners=None,
    )
    origin = last = None
    if header.placed and all(
        step is not None or count == 1 for step, count in zip(header.spacing, header.shape, strict=True)
    ):
        # By the steps themselves, which may be sheared.
        origin, last = (_shown_corner(header, layout, end=end) for end in (False, True))
    return replace(geometry, origin_mm=origin, last_origin_mm=last, forms=header.forms)


def _shown_corner(header: VolumeHeader, layout: Layout, *, end: bool) -> tuple[float, float, float]:
    """Return where the first voxel of the first or last displayed slice lies (LPS, mm)."""
    position = header.origin
    for axis, (shown, flip) in enumerate(zip(layout.axes, layout.flips, strict=True)):
        if (end and shown == 0) != flip:
            position = position + header.steps[axis] * (header.shape[axis] - 1)
    first, second, third = (float(value) + 0.0 for value in position)  # no negative zeros
    return first, second, third


def read_values(header: VolumeHeader) -> npt.NDArray[Any]:
    """Read the values in array order (slices, rows, columns): of colours the brightness, else one component.

    Raises
    ------
    FileError
        The file is damaged.
    """
    values = read_components(header)
    if header.components > 1:
        # Three numbers of 8 bits are a colour; others are times or directions: a mixture would be neither.
        colour = header.components in (3, 4) and values.dtype == np.uint8
        values = values[..., :3].astype(np.float32) @ LUMA if colour else values[..., 0]
    return values.reshape(header.shape)


def read_components(header: VolumeHeader) -> npt.NDArray[Any]:
    """Read the values as the file's library gives them, components last.

    Raises
    ------
    FileError
        The file is damaged.
    """
    count = int(np.prod(header.shape, dtype=np.int64)) * header.components
    values: npt.NDArray[Any] = sandbox.call(files.read_array, header.path, max_bytes=count * 8)
    shape = getattr(values, "shape", (0,))
    if math.prod(shape) != count or (header.components > 1 and shape[-1:] != (header.components,)):
        raise FileError("The volume changed its size since its folder was read.")
    return values


def load_volume(entry: SeriesEntry) -> Generator[Progress | Volume, None, None]:
    """Read a volume file; the last item is the Volume."""
    source = cast(VolumeSource, entry.source)
    header = source.header
    check_memory(int(np.prod(header.shape, dtype=np.int64)) * 8)
    yield Progress(0, 1, "Reading the volume")
    values = read_values(header)
    geometry = header.geometry
    measured = measure(geometry.from_native(values))
    del values
    yield Progress(1, 1, "Reading the volume")
    volume = Volume(
        series_id=entry.series_id,
        title=entry.title,
        voxels=measured.voxels,
        geometry=geometry,
        unit=measured.unit,
        plane=entry.plane,
        modality="CT" if measured.unit == "HU" else "",
        slice_positions_mm=_positions(geometry, measured.voxels.shape[0]),
        padding_value=measured.padding,
        problems=(*entry.problems, *measured.problems),
    )
    origins = slice_origins(geometry, volume.slices) if source.straight else None
    if origins is None:
        yield volume
    else:
        yield from tilt.straightened(volume, origins)


def slice_origins(geometry: Geometry, slices: int) -> DoubleArray | None:
    """Return where the first voxel of each displayed slice lies: (slices, 3) LPS mm, None where unknown."""
    first, last = geometry.origin_mm, geometry.last_origin_mm
    if geometry.axes is None or first is None or last is None:
        return None
    origins: DoubleArray = np.linspace(first, last, slices)
    return origins


def _positions(geometry: Geometry, count: int) -> DoubleArray | None:
    """Return positions along the displayed slices' normal, growing like DICOM's: towards the head."""
    if geometry.axes is None or geometry.origin_mm is None or geometry.spacing_mm[0] is None:
        return None
    normal: DoubleArray = np.cross(geometry.axes[2], geometry.axes[1])
    start = float(np.dot(geometry.origin_mm, normal))
    step = float(np.dot(geometry.axes[0], normal)) * geometry.spacing_mm[0]
    positions: DoubleArray = start + step * np.arange(count, dtype=np.float64)
    return positions


def middle_picture(entry: SeriesEntry) -> tuple[VoxelArray, Unit]:
    """Return the middle slice of a volume file as shown, and its unit."""
    header = cast(VolumeSource, entry.source).header
    shown = header.geometry.from_native(read_values(header))
    measured = measure(shown, only=entry.size[0] // 2)
    return measured.voxels[0], measured.unit


def index_transform(
    geometry: Geometry, slices: int, header: VolumeHeader
) -> tuple[DoubleArray, DoubleArray] | None:
    """Return matrix and offset that map displayed voxel indices to array indices of a volume file.

    None where one of them does not say where it lies.

    Parameters
    ----------
    geometry, slices:
        Of the displayed volume.
    header:
        Of the file.
    """
    steps: Sequence[float | None] = geometry.spacing_mm
    first, last = geometry.origin_mm, geometry.last_origin_mm
    if geometry.axes is None or first is None or not header.placed or None in (*steps, *header.spacing):
        return None
    forward = geometry.axes.T * np.array(steps, float)
    # A mask of a tilted DICOM series fits slice by slice, unless it says that it is tilted itself.
    if last is not None and slices > 1 and (geometry.forms is not None or header.sheared):
        forward[:, 0] = (np.array(last) - np.array(first)) / (slices - 1)
    inverse = np.linalg.inv(header.steps.T)
    return inverse @ forward, inverse @ (np.array(first) - header.origin)
