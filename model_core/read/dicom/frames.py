"""Where each picture of a DICOM file lies and how its values are rescaled."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from model_core.read.dicom.dataset import (
    Remembered,
    check_time,
    items_of,
    number,
    numbers,
    text,
)
from model_core.read.dicom.elements import Elements
from model_core.read.dicom.lookup import LookupTable, read_table
from model_core.read.dicom.records import PHASE_MARKS, FileHeader, Frame, Vector, cross
from model_core.read.tolerances import COSINE_TOLERANCE, MAX_ASPECT

_FRAMES_PER_LOOK = 256
# What tells the shape of a pixel where there is no PixelSpacing, in this order (PS3.3 C.7.6.3.1.7). The sizes
# are those at the detector or on film, not in the patient: only their ratio holds.
_ASPECT_KEYWORDS = ("ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
_MARK_KEYWORDS = tuple(keyword for _, keyword in PHASE_MARKS)


def modality_table(dataset: Any, *, signed: bool) -> LookupTable | None:
    """Return the Modality LUT of a file, which excludes a rescale (PS3.3 C.11.1); None where it has none.

    Raises
    ------
    FileError
        There is one, but it is damaged: what the stored values stand for is not known then.
    """
    items = items_of(dataset, "ModalityLUTSequence")
    return read_table(items[0], signed=signed) if items else None


def find_item(places: Sequence[Any], sequence: str, keyword: str) -> Any:
    """Return the first item that holds a keyword: in the frame's groups, the shared ones, the file."""
    for place in places:
        for item in items_of(place, sequence):
            if keyword in item:
                return item
    return places[-1]


def _vector(values: Sequence[float]) -> Vector | None:
    return (values[0], values[1], values[2]) if len(values) == 3 else None


def _directions(values: Sequence[float]) -> tuple[Vector, Vector] | None:
    """Return the two in-plane unit vectors, or None where they are no right-angled pair."""
    if len(values) != 6:
        return None
    row, column = values[:3], values[3:]
    lengths = [math.hypot(*row), math.hypot(*column)]
    if any(abs(length - 1) > COSINE_TOLERANCE for length in lengths):
        return None
    if abs(_dot(row, column)) > COSINE_TOLERANCE:
        return None
    return (
        (row[0] / lengths[0], row[1] / lengths[0], row[2] / lengths[0]),
        (column[0] / lengths[1], column[1] / lengths[1], column[2] / lengths[1]),
    )


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def _spacing(values: Sequence[float]) -> tuple[float, float] | None:
    return (values[0], values[1]) if len(values) == 2 and min(values) > 0 else None


def _aspect(dataset: Any) -> float | None:
    """Return height over width of a pixel whose size in the patient is not stated."""
    for keyword in _ASPECT_KEYWORDS:
        sizes = _spacing(numbers(dataset, keyword))
        if sizes is not None and 1 / MAX_ASPECT <= sizes[0] / sizes[1] <= MAX_ASPECT:
            return sizes[0] / sizes[1]
    return None


def _place_and_rescale(dataset: Elements) -> tuple[Any, ...]:
    """Return what the only frames of the files of a series have in common."""
    return (
        _directions(numbers(dataset, "ImageOrientationPatient")),
        _spacing(numbers(dataset, "PixelSpacing")),
        number(dataset, "RescaleSlope"),
        number(dataset, "RescaleIntercept"),
        _aspect(dataset),
    )


_shared_of = Remembered(_place_and_rescale)


def _only_frame(dataset: Elements, header: FileHeader) -> Frame:
    """Return the frame of an ordinary file that holds one."""
    values = dataset.values
    directions, spacing, slope, intercept, aspect = _shared_of(dataset)
    return Frame(
        header=header,
        index=0,
        position=_vector(numbers(dataset, "ImagePositionPatient")),
        row_direction=directions[0] if directions else None,
        column_direction=directions[1] if directions else None,
        spacing=spacing,
        slope=slope if slope else 1.0,
        intercept=intercept if intercept is not None else 0.0,
        marks=tuple([text(dataset, keyword) if keyword in values else "" for keyword in _MARK_KEYWORDS]),
        aspect=None if spacing else aspect,
    )


def frames_of(dataset: Any, header: FileHeader) -> tuple[Frame, ...]:
    """Return every frame of a file; positions and rescale may be each frame's own (PS3.3 C.7.6.16).

    Raises
    ------
    FileError
        The Modality LUT is damaged, or the time for the header is up.
    """
    if isinstance(dataset, Elements) and header.frame_count == 1:
        return (_only_frame(dataset, header),)
    shared = items_of(dataset, "SharedFunctionalGroupsSequence")[:1]
    per_frame = items_of(dataset, "PerFrameFunctionalGroupsSequence")
    marks = tuple(text(dataset, keyword) for _, keyword in PHASE_MARKS)
    offsets = numbers(dataset, "GridFrameOffsetVector")
    table = modality_table(dataset, signed=header.signed)
    aspect = _aspect(dataset)
    # Without per-frame groups the one position of the file is that of its first frame only.
    placed = header.frame_count == 1 or bool(per_frame) or len(offsets) == header.frame_count
    told_apart = bool(per_frame) or len(offsets) == header.frame_count
    frames = []
    for index in range(header.frame_count if told_apart else 1):
        if index % _FRAMES_PER_LOOK == 0:
            check_time()
        own = per_frame[index : index + 1]
        places = (*own, *shared, dataset)
        directions = _directions(
            numbers(
                find_item(places, "PlaneOrientationSequence", "ImageOrientationPatient"),
                "ImageOrientationPatient",
            )
        )
        plane = find_item(places, "PlanePositionSequence", "ImagePositionPatient")
        position = _vector(numbers(plane, "ImagePositionPatient"))
        if len(offsets) == header.frame_count > 1 and position and directions:
            normal = cross(*directions)
            travel = offsets[index]
            position = (
                position[0] + travel * normal[0],
                position[1] + travel * normal[1],
                position[2] + travel * normal[2],
            )
        rescale = find_item(places, "PixelValueTransformationSequence", "RescaleIntercept")
        slope, intercept = number(rescale, "RescaleSlope"), number(rescale, "RescaleIntercept")
        if table is not None:
            slope, intercept = math.nan, 0.0
        measures = find_item(places, "PixelMeasuresSequence", "PixelSpacing")
        spacing = _spacing(numbers(measures, "PixelSpacing"))
        frames.append(
            Frame(
                header=header,
                index=index,
                position=position if placed else None,
                row_direction=directions[0] if directions else None,
                column_direction=directions[1] if directions else None,
                spacing=spacing,
                slope=slope if slope else 1.0,
                intercept=intercept if intercept is not None else 0.0,
                marks=_frame_marks(own, marks) if own else marks,
                table=table,
                aspect=None if spacing else aspect,
            )
        )
    if not told_apart:
        return tuple(replace(frames[0], index=index) for index in range(header.frame_count))
    return tuple(frames)


def _frame_marks(own: Sequence[Any], marks: tuple[str, ...]) -> tuple[str, ...]:
    """Return the phase marks with those of the frame's functional groups in place of the file's."""
    content = find_item((*own, {}), "FrameContentSequence", "StackID") if own else {}
    if not content:
        content = find_item((*own, {}), "FrameContentSequence", "FrameAcquisitionNumber")
    segment = find_item((*own, {}), "SegmentIdentificationSequence", "ReferencedSegmentNumber")
    own_marks = {
        "acquisition": text(content, "FrameAcquisitionNumber"),
        "time point": text(content, "TemporalPositionIndex"),
        "segment": text(segment, "ReferencedSegmentNumber"),
    }
    names = [name for name, _ in PHASE_MARKS]
    return tuple(own_marks.get(name) or mark for name, mark in zip(names, marks, strict=True))
