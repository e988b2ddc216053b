"""DICOM segmentations (PS3.3 A.51): the series that they were made on, and their segments on its grid."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import BoolArray, ByteArray, DoubleArray
from model_core.base.errors import ReadError
from model_core.base.volume import Volume
from model_core.read.dicom import header as dicom_header
from model_core.read.dicom.dataset import integer, items_of, number, read_dataset, text, time_limit
from model_core.read.dicom.frames import find_item
from model_core.read.dicom.pixels import read_stored
from model_core.read.dicom.records import PHASE_MARKS, FileHeader, Frame, cross
from model_core.read.errors import FileError
from model_core.read.tolerances import DIRECTION_TOLERANCE

# Segmentation Storage and Label Map Segmentation Storage (PS3.4 B.5).
CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
_SEGMENT = [name for name, _ in PHASE_MARKS].index("segment")
# Labels are bytes, and 0 is the background.
_MOST_SEGMENTS = 255


@dataclass(frozen=True)
class _Stated:
    """What a segmentation says of itself beside its frames."""

    series: frozenset[str]
    kind: str
    full: float
    thickness: float | None


def is_segmentation(header: FileHeader) -> bool:
    """Whether a file is a segmentation of other images."""
    return header.sop_class in CLASSES


def segments_on(path: Path, volume: Volume) -> ByteArray:
    """Return the segments of a DICOM segmentation on the grid of the volume that it was made on.

    Every slice takes the frame that lies on it, every pixel the nearest of that frame. Fractional segments
    count from half of their largest value; of several segments in one place the last one counts.

    Returns
    -------
    ByteArray
        (D, H, W) segment numbers in display order, 0 outside all segments.

    Raises
    ------
    ReadError
        The file is no segmentation, or one of another series; its planes do not fit; it cannot be read.
    """
    header, frames = dicom_header.read_header(path)
    if not is_segmentation(header):
        raise ReadError(
            f"'{path.name}' is a DICOM image, not a segmentation: open it as a series, or give a DICOM SEG, "
            "NIfTI, NRRD, MHA or PNG mask."
        )
    stated = _stated(path)
    series = {instance.series_uid for instance in volume.instances} - {""}
    if stated.series and series and stated.series.isdisjoint(series):
        raise ReadError(
            f"'{path.name}' is a segmentation of another series than the open one: open that series first."
        )
    origins = _slice_origins(volume)
    labels = np.zeros(volume.voxels.shape, np.uint8)
    hit = False
    planes = [_plane(frame, path) for frame in frames]
    for frame, stored in zip(frames, read_stored(header, range(len(frames))), strict=True):
        for index in _slices_at(planes[frame.index], origins, volume, stated):
            where, inside = _sampled(planes[frame.index], origins[index], volume, stored.shape)
            hit = hit or bool(inside.any())
            _put(labels[index], inside, stored[where], frame, stated)
    if not hit:
        raise ReadError(f"'{path.name}' lies elsewhere in the patient: it does not overlap this series.")
    return labels


def _stated(path: Path) -> _Stated:
    try:
        with path.open("rb") as stream, time_limit():
            dataset = read_dataset(stream, pixels=False, all_tags=True)
            shared = items_of(dataset, "SharedFunctionalGroupsSequence")[:1]
            own = items_of(dataset, "PerFrameFunctionalGroupsSequence")[:1]
            measures = find_item((*own, *shared, dataset), "PixelMeasuresSequence", "SliceThickness")
            apart = number(measures, "SpacingBetweenSlices") or number(measures, "SliceThickness")
            series = [
                text(item, "SeriesInstanceUID") for item in items_of(dataset, "ReferencedSeriesSequence")
            ]
            return _Stated(
                series=frozenset(filter(None, series)),
                kind=text(dataset, "SegmentationType").upper(),
                full=float(integer(dataset, "MaximumFractionalValue", 255)),
                thickness=apart if apart and apart > 0 else None,
            )
    except OSError as error:
        raise FileError.of(error) from error


def _slice_origins(volume: Volume) -> DoubleArray:
    """Return where the first voxel of each slice lies, (D, 3) LPS mm; tilted and uneven stacks too."""
    geometry, positions = volume.geometry, volume.slice_positions_mm
    if geometry.axes is None or geometry.origin_mm is None:
        raise ReadError(
            "The series does not say where it lies in the patient: no segmentation can be placed."
        )
    first = np.array(geometry.origin_mm, float)
    step = geometry.spacing_mm[0]
    if volume.slices == 1:
        travel: DoubleArray = np.zeros(1)
    elif positions is not None:
        travel = np.abs(np.asarray(positions, np.float64) - np.float64(positions[0]))
    elif step is not None:
        travel = np.arange(volume.slices, dtype=np.float64) * step
    else:
        raise ReadError("The distance of the slices is unknown: no segmentation can be placed on them.")
    along = geometry.axes[0]
    if geometry.last_origin_mm is not None and travel[-1] > 0:
        along = (np.array(geometry.last_origin_mm, float) - first) / travel[-1]
    origins: DoubleArray = first + travel[:, None] * along
    return origins


@dataclass(frozen=True)
class _Plane:
    """Where a frame lies: its first pixel, and the steps between its columns and rows (LPS, mm)."""

    origin: DoubleArray
    column_step: DoubleArray
    row_step: DoubleArray


def _plane(frame: Frame, path: Path) -> _Plane:
    if (
        frame.position is None
        or frame.row_direction is None
        or frame.column_direction is None
        or frame.spacing is None
    ):
        raise ReadError(f"'{path.name}' does not say where its frames lie in the patient.")
    return _Plane(
        np.array(frame.position, float),
        np.array(frame.row_direction, float) * frame.spacing[1],
        np.array(frame.column_direction, float) * frame.spacing[0],
    )


def _slices_at(plane: _Plane, origins: DoubleArray, volume: Volume, stated: _Stated) -> list[int]:
    """Return the slices that a frame lies on: those nearer than half its thickness."""
    axes = volume.geometry.axes
    assert axes is not None
    normal = np.array(cross(tuple(plane.column_step), tuple(plane.row_step)))
    normal /= np.linalg.norm(normal)
    if 1.0 - abs(float(normal @ axes[0])) > DIRECTION_TOLERANCE:
        raise ReadError("The segmentation lies in other planes than this series: use one made on it.")
    away = np.abs((origins - plane.origin) @ normal)
    gaps = np.abs(np.diff(origins @ normal))
    apart = stated.thickness or (float(np.median(gaps)) if len(gaps) else 1.0)
    # Half a plane belongs to each neighbour; of two equally near ones both slices may be meant.
    return np.flatnonzero(away <= 0.5 * apart * (1 + 1e-3)).tolist()


def _sampled(
    plane: _Plane, origin: DoubleArray, volume: Volume, shape: tuple[int, ...]
) -> tuple[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]], BoolArray]:
    """Return row and column in the frame of every pixel of a slice that lies in it, and which these are."""
    geometry = volume.geometry
    assert geometry.axes is not None
    _, row_mm, column_mm = geometry.spacing_mm
    if row_mm is None or column_mm is None:
        raise ReadError("The size of a pixel of the series is unknown: no segmentation can be placed on it.")
    rows, columns = np.mgrid[: volume.voxels.shape[1], : volume.voxels.shape[2]]
    places = []
    for step in (plane.row_step, plane.column_step):
        unit = step / float(step @ step)
        start = float((origin - plane.origin) @ unit)
        down = float(geometry.axes[1] @ unit) * row_mm
        right = float(geometry.axes[2] @ unit) * column_mm
        places.append(np.floor(start + down * rows + right * columns + 0.5 + 1e-6).astype(np.intp))
    inside: BoolArray = (places[0] >= 0) & (places[0] < shape[0]) & (places[1] >= 0) & (places[1] < shape[1])
    return (places[0][inside], places[1][inside]), inside


def _put(
    target: ByteArray, inside: BoolArray, values: npt.NDArray[Any], frame: Frame, stated: _Stated
) -> None:
    """Write one frame's segment, or all segments of a label map, into a slice."""
    segment = frame.marks[_SEGMENT]
    if stated.kind == "LABELMAP":
        numbers = values
    else:
        number_ = int(segment) if segment.isascii() and segment.isdigit() else 1
        least = 0.5 * stated.full if stated.kind == "FRACTIONAL" else 0.5
        numbers = np.where(values >= least, number_, 0)
    if numbers.size and int(numbers.max()) > _MOST_SEGMENTS:
        raise ReadError(f"The segmentation has more than {_MOST_SEGMENTS} segments.")
    labelled = inside.copy()
    labelled[inside] = numbers > 0
    target[labelled] = numbers[numbers > 0]
