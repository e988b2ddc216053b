"""Make catalogue entries from DICOM frames, and volumes from those entries."""

from __future__ import annotations

import os
from collections.abc import Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from model_core.errors import ReadError
from model_core.io.dicom_header import (
    FileHeader,
    Frame,
    numbers,
    read_dataset,
    text,
)
from model_core.io.dicom_pixels import read_stored, rescaled
from model_core.io.failures import LIBRARY_FAILURES, FileError, plain_reason, quiet
from model_core.io.grouping import Group, group_frames, series_id
from model_core.io.memory import check_memory
from model_core.io.stack import Stack, arrange, named
from model_core.io.tolerances import AIR_HU, AIR_INTERCEPT, PADDING_HU
from model_core.io.values import clip_int16, fit_int16
from model_core.types import (
    PatientText,
    Problem,
    Progress,
    SeriesEntry,
    Unit,
    VoiFunction,
    Volume,
    VoxelArray,
    Window,
)

# Files per batch between two progress reports; a batch keeps every decoder thread busy.
_BATCH = 8
_THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class DicomSource:
    """Reader's key of a DICOM series: its frames, in display order."""

    frames: tuple[Frame, ...]


def entries(frames: Sequence[Frame]) -> list[tuple[SeriesEntry, tuple[Frame, ...]]]:
    """Return one entry per stack found among the frames, each with the copies that were left out."""
    return [(_entry(group, arrange(group.frames)), group.copies) for group in group_frames(frames)]


def _entry(group: Group, stack: Stack) -> SeriesEntry:
    header = stack.frames[0].header
    problems = (*group.problems, *stack.problems, *_content_problems(stack))
    return SeriesEntry(
        series_id=series_id(group.key),
        title=_title(header, stack, group.label),
        modality=header.modality,
        size=(len(stack.frames), *_displayed_size(stack)),
        files=tuple(dict.fromkeys(str(frame.header.path) for frame in stack.frames)),
        problems=problems,
        plane=stack.plane,
        spacing_mm=stack.geometry.spacing_mm,
        series_uid=header.series_uid,
        source=DicomSource(stack.frames),
    )


def _displayed_size(stack: Stack) -> tuple[int, int]:
    header = stack.frames[0].header
    if stack.geometry.native_axes == (0, 1, 2):
        return header.rows, header.columns
    return header.columns, header.rows


def _title(header: FileHeader, stack: Stack, label: str) -> str:
    name = header.description
    if not name:
        plane = stack.plane if stack.plane != "unknown" else ""
        name = " ".join(filter(None, (header.modality or "Images", plane)))
        if header.series_number:
            name += f", series {header.series_number}"
    step = stack.geometry.spacing_mm[0]
    words = [" ".join(name.split())]
    if step is not None:
        words.append(f"{step:.1f} mm")
    if label:
        words.append(f"({label})")
    return " ".join(words)


def _content_problems(stack: Stack) -> list[Problem]:
    header = stack.frames[0].header
    problems = []
    if header.localizer:
        problems.append(
            Problem("info", "A localizer (overview) image.", "Its values do not count as Hounsfield units.")
        )
    if any(frame.header.lossy for frame in stack.frames):
        problems.append(
            Problem("info", "The images were compressed with loss.", "Fine detail and values are approximate.")
        )
    if any(frame.header.burned_in for frame in stack.frames):
        problems.append(
            Problem("info", "The images say that text is burnt in.", "Exported pictures may show identity.")
        )
    return problems


# ------------------------------------------------------------------------------------------- loading


@dataclass
class _Read:
    """What reading one file gave: its frames as rescaled values, or why not."""

    values: list[npt.NDArray[Any]]
    stored_padding: list[npt.NDArray[np.bool_] | None]
    failure: str = ""


def load_series(entry: SeriesEntry) -> Generator[Progress | Volume, None, None]:
    """Read the pixels of a DICOM series; the last item is the Volume.

    Raises
    ------
    ReadError
        Not one of the slices can be read.
    """
    frames = cast(DicomSource, entry.source).frames
    stack = arrange(frames)
    depth, height, width = entry.size
    hounsfield = _may_be_hounsfield(frames)
    check_memory(depth * height * width * (2 if hounsfield else 6))
    voxels = np.empty((depth, height, width), np.int16)
    # Values without a unit keep their fractions and range until all of them are known.
    exact = None if hounsfield else np.empty((depth, height, width), np.float32)
    place = {id(frame): index for index, frame in enumerate(stack.frames)}
    failed: dict[int, str] = {}
    clipped = padded = 0
    files: dict[Path, list[Frame]] = {}
    for frame in stack.frames:
        files.setdefault(frame.header.path, []).append(frame)
    batches = list(_batches(list(files.values())))
    done = 0
    yield Progress(0, depth, "Reading slices")
    with ThreadPoolExecutor(_THREADS, "ctmasknet-read") as pool:
        for batch in batches:
            with quiet():
                results = list(pool.map(_read_frames, batch))
            for members, result in zip(batch, results, strict=True):
                for number, frame in enumerate(members):
                    index = place[id(frame)]
                    if number >= len(result.values):
                        failed[index] = result.failure
                        continue
                    picture = _in_plane(result.values[number], stack)
                    if exact is not None:
                        exact[index] = picture
                        continue
                    clipped += clip_int16(picture, voxels[index])
                    mask = result.stored_padding[number]
                    if mask is not None:
                        padded += _apply_padding(voxels[index], _in_plane(mask, stack))
                done += len(members)
            yield Progress(done, depth, "Reading slices")
    problems = list(entry.problems)
    if failed:
        stack, keep, told = _leave_out(stack, failed)
        problems = [problem for problem in problems if problem not in arrange(frames).problems]
        problems += [told, *stack.problems]
        voxels = voxels[keep]
        exact = None if exact is None else exact[keep]
    if exact is not None:
        problems += fit_int16(exact, voxels)
    if clipped:
        problems.append(
            Problem("warning", f"{clipped} values lie outside 16-bit integers.", "They are cut to that range.")
        )
    unit: Unit = "values"
    if hounsfield:
        if _plausible(voxels, stack.frames):
            unit = "HU"
        else:
            text_ = "The images are labelled CT, but their values are not Hounsfield units (no air among them)."
            problems.append(Problem("warning", text_, "They are shown as plain values."))
    if padded:
        problems.append(
            Problem("info", f"{padded} pixels lie outside the scanned field.", f"They count as {PADDING_HU}.")
        )
    yield _volume(entry, stack, voxels, unit=unit, padded=bool(padded), problems=problems)


def _batches(files: list[list[Frame]]) -> Generator[list[list[Frame]], None, None]:
    """Cut the work into batches; a file of many frames is cut too, so that it can be cancelled."""
    jobs = [members[start : start + 64] for members in files for start in range(0, len(members), 64)]
    for start in range(0, len(jobs), _BATCH):
        yield jobs[start : start + _BATCH]


def _read_frames(frames: Sequence[Frame]) -> _Read:
    header = frames[0].header
    result = _Read([], [])
    try:
        for frame, stored in zip(frames, read_stored(header, [frame.index for frame in frames]), strict=True):
            mask = None
            if header.padding is not None and stored.ndim == 2:
                mask = (stored >= header.padding[0]) & (stored <= header.padding[1])
            result.values.append(rescaled(stored, frame))
            result.stored_padding.append(mask)
    except FileError as error:
        result.failure = error.message
    return result


def _in_plane(picture: npt.NDArray[Any], stack: Stack) -> npt.NDArray[Any]:
    """Turn one native picture (file rows, file columns) the way it is shown."""
    geometry = stack.geometry
    flips = [axis - 1 for axis in (1, 2) if geometry.native_flips[axis]]
    turned = np.flip(picture, flips) if flips else picture
    return turned.T if geometry.native_axes == (0, 2, 1) else turned


def _apply_padding(voxels: VoxelArray, mask: npt.NDArray[np.bool_]) -> int:
    """Raise padding below -1024 HU to it; padding among real values is left alone, it may be real."""
    outside = mask & (voxels < PADDING_HU)
    voxels[outside] = PADDING_HU
    return int(np.count_nonzero(outside))


def _leave_out(stack: Stack, failed: dict[int, str]) -> tuple[Stack, list[int], Problem]:
    keep = [index for index in range(len(stack.frames)) if index not in failed]
    reasons = list(dict.fromkeys(failed.values()))
    if not keep:
        raise ReadError(f"No slice of this series can be read: {reasons[0]}")
    names = named(stack.frames[index].name for index in sorted(failed))
    text_ = f"{len(failed)} slice(s) cannot be read: {' '.join(reasons[:3])}"
    problem = Problem("warning", text_, "They are left out.", names)
    return arrange([stack.frames[index] for index in keep]), keep, problem


def _may_be_hounsfield(frames: Sequence[Frame]) -> bool:
    """Whether the headers allow Hounsfield units: CT, rescaled to HU or to nothing else stated."""
    header = frames[0].header
    return (
        header.modality == "CT"
        and not header.localizer
        and not header.colour
        and header.pixel_keyword == "PixelData"
        and all(frame.header.rescaled and frame.header.rescale_type in ("", "HU") for frame in frames)
    )


def _plausible(voxels: VoxelArray, frames: Sequence[Frame]) -> bool:
    return min(frame.intercept for frame in frames) <= AIR_INTERCEPT or int(voxels.min()) <= AIR_HU


def _volume(
    entry: SeriesEntry,
    stack: Stack,
    voxels: VoxelArray,
    *,
    unit: Unit,
    padded: bool,
    problems: Sequence[Problem],
) -> Volume:
    frames = stack.frames
    middle = frames[len(frames) // 2]
    with quiet():
        windows, patient = _described(middle)
    return Volume(
        series_id=entry.series_id,
        title=entry.title,
        voxels=voxels,
        geometry=stack.geometry,
        unit=unit,
        plane=stack.plane,
        modality=entry.modality,
        series_uid=entry.series_uid,
        slice_positions_mm=stack.positions_mm,
        slice_names=tuple(frame.name for frame in frames),
        windows=windows,
        patient=patient,
        lossy=any(frame.header.lossy for frame in frames),
        inverted=middle.header.photometric == "MONOCHROME1",
        padding_value=PADDING_HU if padded else None,
        problems=tuple(problems),
    )


def _described(frame: Frame) -> tuple[tuple[Window, ...], PatientText]:
    """Read the windows and the identifying text of one frame's file; what cannot be read stays empty."""
    try:
        with frame.header.path.open("rb") as stream:
            dataset = read_dataset(stream, pixels=False, all_tags=True)
    except (OSError, FileError):
        return (), PatientText()
    return windows_of(dataset, frame.index), PatientText(
        name=text(dataset, "PatientName").replace("^", " ").strip(),
        patient_id=text(dataset, "PatientID"),
        birth_date=text(dataset, "PatientBirthDate"),
        sex=text(dataset, "PatientSex"),
        age=text(dataset, "PatientAge"),
        study_date=text(dataset, "StudyDate"),
        study_description=text(dataset, "StudyDescription"),
        institution=text(dataset, "InstitutionName"),
    )


def windows_of(dataset: Any, index: int = 0) -> tuple[Window, ...]:
    """Return the VOI windows of a frame (PS3.3 C.11.2), in the file's order, without repetitions."""
    places = [dataset]
    for keyword, which in (("SharedFunctionalGroupsSequence", 0), ("PerFrameFunctionalGroupsSequence", index)):
        try:
            group = dataset[keyword].value[which] if keyword in dataset else None
            if group is not None and "FrameVOILUTSequence" in group:
                places.insert(0, group.FrameVOILUTSequence[0])
        except LIBRARY_FAILURES:
            continue
    item = next((place for place in places if "WindowCenter" in place), dataset)
    centres, widths = numbers(item, "WindowCenter"), numbers(item, "WindowWidth")
    stated = text(item, "VOILUTFunction").upper()
    function: VoiFunction = "LINEAR"
    if stated in ("LINEAR_EXACT", "SIGMOID"):
        function = cast(VoiFunction, stated)
    names = text(item, "WindowCenterWidthExplanation").split("\\")
    windows: list[Window] = []
    for number_, (centre, width) in enumerate(zip(centres, widths, strict=False)):
        if width < 1 and function == "LINEAR" or width <= 0:
            continue
        name = names[number_].strip() if number_ < len(names) else ""
        window = Window(width, centre, name, function)
        if not any((window.width, window.level) == (other.width, other.level) for other in windows):
            windows.append(window)
    return tuple(windows)


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
            picture = _in_plane(rescaled(stored, frame), stack)
            windows, _ = _described(frame)
        except LIBRARY_FAILURES as error:
            raise ReadError(plain_reason(error)) from error
    return picture, windows, frame.header.photometric == "MONOCHROME1"


def with_problems(entry: SeriesEntry, problems: Sequence[Problem]) -> SeriesEntry:
    """Return the entry with more problems."""
    return replace(entry, problems=(*entry.problems, *problems))
