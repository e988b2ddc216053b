"""Fill a volume with the pixels of a DICOM series."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import VoxelArray
from model_core.base.errors import ReadError
from model_core.base.filenames import named
from model_core.base.jobs import Progress
from model_core.base.volume import (
    PartialVolume,
    Problem,
    ProblemCode,
    SeriesEntry,
    Unit,
    Volume,
    Window,
)
from model_core.read import hounsfield
from model_core.read.dicom.filling import Filling, fill, in_plane
from model_core.read.dicom.pixels import (
    darken_padding,
    padding_mask,
    read_stored,
    rescaled,
)
from model_core.read.dicom.records import Frame, is_hounsfield
from model_core.read.dicom.series import DicomSource, displayed_size, stack_origins
from model_core.read.dicom.stack import arrange
from model_core.read.dicom.windows import windows_in
from model_core.read.errors import LIBRARY_FAILURES, plain_reason, quiet
from model_core.read.memory import check_memory
from model_core.read.tilt import straightened
from model_core.read.tolerances import AIR_HU, AIR_INTERCEPT, PADDING_HU
from model_core.read.values import Fitted, fit_int16


def load_series(entry: SeriesEntry) -> Generator[Progress | PartialVolume | Volume, None, None]:
    """Read the pixels of a DICOM series; the last item is the Volume.

    The middle slice is read first, and those around it. Where that takes a while and what is read can be
    shown as it is, a PartialVolume comes with the first slice, and again whenever the slice that it wants is
    there.

    A file that cannot be read is replaced by a copy where the scan found one, else its slice is left out.

    Raises
    ------
    ReadError
        Not one of the slices can be read.
    MemoryNeeded
        The series does not fit into memory.
    """
    source = cast(DicomSource, entry.source)
    depth, height, width = entry.size
    hounsfield = _may_be_hounsfield(source.frames)
    as_int16 = hounsfield or _fits_int16(source.frames)
    stack = arrange(source.frames)
    needed = depth * height * width * (2 if as_int16 else 6)
    if source.straight:
        # The size of the entry is that of the grown picture; the slices as they are come on top.
        height, width = displayed_size(stack)
        needed += depth * height * width * (2 if as_int16 else 6)
    check_memory(needed, slices=depth)
    filling = Filling(
        stack=stack,
        voxels=np.empty((depth, height, width), np.int16),
        # Values of no known unit keep their fractions and range until all of them are known.
        exact=None if as_int16 else np.empty((depth, height, width), np.float32),
        hounsfield=hounsfield,
        ready=np.zeros(depth, bool),
        spares={},
    )
    for spare in source.spares:
        filling.spares.setdefault((spare.header.sop_uid, spare.index), []).append(spare)

    def preview() -> Volume:
        unit: Unit = "HU" if hounsfield else "values"
        return _volume(entry, filling, unit=unit, fitted=Fitted(), problems=entry.problems)

    yield from fill(filling, preview if as_int16 and not source.straight else None)
    problems = _slice_problems(filling, entry)
    fitted = Fitted()
    if filling.exact is not None:
        fitted = fit_int16(filling.exact, filling.voxels)
        problems += fitted.problems
    problems += _value_problems(filling)
    unit: Unit = "values"
    if hounsfield:
        if _plausible(filling.voxels, filling.stack.frames):
            unit = "HU"
        else:
            text = (
                "The images are labelled CT, but their values are not Hounsfield units (no air among them)."
            )
            problems.append(
                Problem("warning", text, "They are shown as plain values.", code="not_hounsfield")
            )
    else:
        problems += _not_hounsfield(source.frames)
    volume = _volume(entry, filling, unit=unit, fitted=fitted, problems=problems)
    origins = stack_origins(filling.stack) if source.straight else None
    if origins is None:
        yield volume
    else:
        yield from straightened(volume, origins)


def _slice_problems(filling: Filling, entry: SeriesEntry) -> list[Problem]:
    """Drop the slices that failed from the volume; say which, and what that does to the geometry."""
    if not filling.failed:
        return list(entry.problems)
    before = filling.stack
    reasons = list(dict.fromkeys(filling.failed[index] for index in sorted(filling.failed)))
    keep = [index for index in range(len(before.frames)) if index not in filling.failed]
    if not keep:
        raise ReadError(f"No slice of this series can be read: {reasons[0]}")
    names = named(before.frames[index].name for index in sorted(filling.failed))
    text = f"{len(filling.failed)} slice(s) cannot be read: {' '.join(reasons[:3])}"
    filling.stack = arrange([before.frames[index] for index in keep])
    # Frames of one position may be put in another order than before: pixels stay with their frame.
    place = {id(before.frames[index]): index for index in keep}
    keep = [place[id(frame)] for frame in filling.stack.frames]
    filling.voxels = filling.voxels[keep]
    filling.exact = None if filling.exact is None else filling.exact[keep]
    other = [problem for problem in entry.problems if problem not in before.problems]
    problem = Problem("warning", text, "They are left out.", names, code="unreadable_slices")
    return [*other, problem, *filling.stack.problems]


def _value_problems(filling: Filling) -> list[Problem]:
    problems = []
    if filling.clipped:
        text = f"{filling.clipped} values lie outside 16-bit integers."
        problems.append(Problem("warning", text, "They are cut to that range.", code="clipped_values"))
    if filling.padded:
        text = f"{filling.padded} pixels lie outside the scanned field."
        action = f"They count as {PADDING_HU}." if filling.hounsfield else "They are shown as background."
        problems.append(Problem("info", text, action, code="padding"))
    return problems


def _not_hounsfield(frames: Sequence[Frame]) -> list[Problem]:
    """Say why CT images, or what may be some, are not taken for Hounsfield units; nothing of other images."""
    header = frames[0].header
    if header.localizer or header.colour:
        return []
    if header.modality in ("", "OT") and min(frame.intercept for frame in frames) <= AIR_INTERCEPT:
        text = "The values may be Hounsfield units, but neither Modality nor RescaleType says so."
        return [Problem("info", text, "The series is shown as plain values.", code="possibly_hounsfield")]
    if header.modality != "CT":
        return []
    other = [frame for frame in frames if not _rescaled_to_hounsfield(frame)]
    unsaid = [frame for frame in other if not frame.header.rescaled]
    code: ProblemCode = "missing_rescale" if unsaid else "rescale_type"
    if unsaid:
        other = unsaid
        text = "do not say how their values become Hounsfield units (RescaleSlope, RescaleIntercept)."
    else:
        kinds = sorted({_quoted(frame.header.rescale_type) for frame in other})
        text = f"hold values that are not Hounsfield units (RescaleType {', '.join(kinds)})."
    if not other:
        return []
    names = named(frame.name for frame in other)
    text = f"{'The' if len(other) == len(frames) else f'{len(other)} of {len(frames)}'} images {text}"
    return [Problem("warning", text, "The series is shown as plain values.", names, code=code)]


# Defined terms of RescaleType (PS3.3 C.11.1.1.2); anything else is free text.
_TERMS = ("OD", "HU", "US", "MGML", "Z_EFF", "ED", "EDW", "HU_MOD", "PCT")
_LONGEST_KIND = 24


def _quoted(kind: str) -> str:
    """Return a RescaleType for a message: free text in quotes, cut to what a word may be."""
    if kind.upper() in _TERMS:
        return kind.upper()
    plain = " ".join("".join(sign if sign.isprintable() else " " for sign in kind).split())
    return f'"{plain if len(plain) <= _LONGEST_KIND else plain[:_LONGEST_KIND] + "…"}"'


def _rescaled_to_hounsfield(frame: Frame) -> bool:
    return frame.header.rescaled and is_hounsfield(frame.header.rescale_type)


def _may_be_hounsfield(frames: Sequence[Frame]) -> bool:
    """Whether the headers allow Hounsfield units: CT, rescaled to HU or to nothing else stated.

    Where no modality is stated, a rescale to HU by name says it, too.
    """
    header = frames[0].header
    said = header.modality == "CT" or (
        header.modality in ("", "OT") and all(frame.header.rescale_type for frame in frames)
    )
    return (
        said
        and not header.localizer
        and not header.colour
        and header.pixel_keyword == "PixelData"
        and all(map(_rescaled_to_hounsfield, frames))
    )


def _fits_int16(frames: Sequence[Frame]) -> bool:
    """Whether the headers promise whole numbers that int16 holds."""
    for frame in frames:
        header = frame.header
        if header.pixel_keyword != "PixelData" or header.colour:
            return False
        if not (frame.slope.is_integer() and frame.intercept.is_integer()):
            return False
        low, high = (-1, 1) if header.signed else (0, 2)
        scale = 1 << (header.bits_stored - 1)
        ends = (low * scale * frame.slope + frame.intercept, high * scale * frame.slope + frame.intercept)
        if min(ends) < -(1 << 15) or max(ends) >= 1 << 15:
            return False
    return True


def _plausible(voxels: VoxelArray, frames: Sequence[Frame]) -> bool:
    if min(frame.intercept for frame in frames) <= AIR_INTERCEPT or int(voxels.min()) <= AIR_HU:
        return True
    # Without air, as where a body was cut out, fat beside soft tissue says it, too.
    scale = hounsfield.recognise(voxels)
    return scale is not None and scale.offset == 0


def _volume(
    entry: SeriesEntry, filling: Filling, *, unit: Unit, fitted: Fitted, problems: Sequence[Problem]
) -> Volume:
    stack = filling.stack
    frames = stack.frames
    middle = frames[len(frames) // 2]
    with quiet():
        windows = windows_in(middle)
    return Volume(
        series_id=entry.series_id,
        title=entry.title,
        voxels=filling.voxels,
        geometry=stack.geometry,
        unit=unit,
        plane=stack.plane,
        modality=entry.modality,
        slice_positions_mm=stack.positions_mm,
        slice_names=tuple(frame.name for frame in frames),
        instances=tuple(frame.instance for frame in frames),
        windows=fitted.windows(windows),
        patient=entry.patient,
        lossy=any(frame.header.lossy for frame in frames),
        inverted=middle.header.photometric == "MONOCHROME1",
        padding_value=PADDING_HU if filling.padded else None,
        problems=tuple(problems),
        every=entry.every,
    )


def middle_picture(entry: SeriesEntry) -> tuple[npt.NDArray[Any], tuple[Window, ...], bool]:
    """Read the middle slice alone: values as shown, the file's windows, whether black is white.

    Raises
    ------
    ReadError
        The slice cannot be read.
    """
    frames = cast(DicomSource, entry.source).frames
    frame = frames[len(frames) // 2]
    stack = arrange(frames)
    with quiet():
        try:
            stored = next(iter(read_stored(frame.header, [frame.index])))
            picture = rescaled(stored, frame)
            padding = padding_mask(stored, frame.header)
            if padding is not None:
                darken_padding(picture, padding)
            picture = in_plane(picture, stack)
            windows = windows_in(frame)
        except LIBRARY_FAILURES as error:
            raise ReadError(plain_reason(error)) from error
    return picture, windows, frame.header.photometric == "MONOCHROME1"
