"""Make catalogue entries from the DICOM frames that a scan found."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np

from model_core.base.arrays import DoubleArray
from model_core.base.filenames import named
from model_core.base.volume import Level, PatientText, Problem, SeriesEntry
from model_core.read.dicom.grouping import group_frames
from model_core.read.dicom.groups import Copy, Group
from model_core.read.dicom.records import FileHeader, Frame
from model_core.read.dicom.stack import Stack, arrange
from model_core.read.entries import series_id, with_fewer_slices


@dataclass(frozen=True)
class DicomSource:
    """Reader's key of a DICOM series.

    Attributes
    ----------
    frames:
        In display order.
    spares:
        The same images in other files, used where a file cannot be read.
    straight:
        Whether the sideways shift of the slices is taken out when they are read.
    """

    frames: tuple[Frame, ...]
    spares: tuple[Frame, ...] = ()
    straight: bool = False


def entries(
    frames: Sequence[Frame], *, chosen: Collection[Path] = ()
) -> list[tuple[SeriesEntry, tuple[Copy, ...]]]:
    """Return one entry per stack found among the frames, each with the copies that were left out.

    Parameters
    ----------
    frames:
        Everything that was found.
    chosen:
        The files that were asked for, if any: of several copies these are used.
    """
    return [
        (_entry(group, arrange(group.frames)), group.copies) for group in group_frames(frames, chosen=chosen)
    ]


def every_nth(entry: SeriesEntry, step: int) -> SeriesEntry:
    """Return the series with every ``step``-th of its slices only, from the first one shown."""
    source = cast(DicomSource, entry.source)
    stack = arrange(source.frames[::step])
    # What was said of the step between all slices need not hold for those left.
    before = arrange(source.frames).problems
    few = with_fewer_slices(entry, step)
    kept = [problem for problem in few.problems if problem not in before]
    new = [p for p in stack.problems if not (source.straight and p.code == "sheared")]
    return replace(
        few,
        files=tuple(dict.fromkeys(str(frame.header.path) for frame in stack.frames)),
        problems=(*kept, *new),
        spacing_mm=stack.geometry.spacing_mm,
        source=replace(source, frames=stack.frames),
    )


def slice_origins(entry: SeriesEntry) -> DoubleArray | None:
    """Return where the first displayed voxel of each slice lies: (slices, 3) LPS mm, None where unknown.

    True for uneven and sheared stacks too, which no single step describes.
    """
    return stack_origins(arrange(cast(DicomSource, entry.source).frames))


def stack_origins(stack: Stack) -> DoubleArray | None:
    """Return where the first displayed voxel of each slice of a stack lies, as `slice_origins` does."""
    if stack.positions_mm is None:
        return None
    origins: DoubleArray = np.array([frame.position for frame in stack.frames], float)
    first = stack.frames[0]
    sides = (
        (1, first.column_direction, 0, first.header.rows),
        (2, first.row_direction, 1, first.header.columns),
    )
    for axis, direction, which, count in sides:
        if not stack.geometry.native_flips[axis]:
            continue
        if first.spacing is None:
            return None
        origins = origins + np.array(direction, float) * first.spacing[which] * (count - 1)
    return origins


def _entry(group: Group, stack: Stack) -> SeriesEntry:
    header = stack.frames[0].header
    problems = (*group.problems, *stack.problems, *_content_problems(stack))
    return SeriesEntry(
        series_id=series_id(group.key),
        title=_title(header, stack, group.label),
        modality=header.modality,
        size=(len(stack.frames), *displayed_size(stack)),
        files=tuple(dict.fromkeys(str(frame.header.path) for frame in stack.frames)),
        problems=problems,
        plane=stack.plane,
        spacing_mm=stack.geometry.spacing_mm,
        series_uid=header.series_uid,
        source=DicomSource(stack.frames, tuple(copy.frame for copy in group.copies if copy.same_object)),
        patient=_patient(stack),
    )


def _patient(stack: Stack) -> PatientText:
    """Return the text of the slice that says most: programs that remove identities leave some out."""
    said = dict.fromkeys(frame.header.patient for frame in stack.frames)
    return max(said, key=lambda patient: sum(map(bool, astuple(patient))))


def displayed_size(stack: Stack) -> tuple[int, int]:
    """Return height and width of the slices as they are shown."""
    header = stack.frames[0].header
    if stack.geometry.native_axes == (0, 1, 2):
        return header.rows, header.columns
    return header.columns, header.rows


def _title(header: FileHeader, stack: Stack, label: str) -> str:
    name = header.description
    if name.strip().casefold() in ("", "none", "null"):  # what some programs write for nothing
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
    closed = next((frame.header for frame in stack.frames if frame.header.undecodable), None)
    if closed is not None:
        names = named(frame.name for frame in stack.frames if frame.header.undecodable)
        every = all(frame.header.undecodable for frame in stack.frames)
        level: Level = "error" if every else "warning"
        text = closed.undecodable
        action = "These images cannot be opened."
        problems.append(Problem(level, text, action, names, code="unsupported_transfer_syntax"))
    assumed = [frame for frame in stack.frames if frame.header.stated_modality != frame.header.modality]
    if assumed:
        stated = assumed[0].header.stated_modality
        said = "missing" if not stated else stated if stated.isalnum() and len(stated) < 9 else "another one"
        text = f"These are CT images by their SOP class; their Modality is {said}."
        names = named(frame.name for frame in assumed)
        problems.append(Problem("info", text, "They count as CT.", names, code="modality_by_sop_class"))
    commas = sorted({keyword for frame in stack.frames for keyword in frame.header.commas})
    if commas:
        text = f"Numbers are written with a decimal comma, against the standard ({', '.join(commas)})."
        names = named(frame.name for frame in stack.frames if frame.header.commas)
        action = "They are read with a point: 0,7 is 0.7."
        problems.append(Problem("warning", text, action, names, code="decimal_comma"))
    if header.localizer:
        text = "A localizer (overview) image."
        action = "Its values do not count as Hounsfield units."
        problems.append(Problem("info", text, action, code="localizer"))
    if any(frame.header.lossy for frame in stack.frames):
        text = "The images were compressed with loss."
        action = "Fine detail and values are approximate."
        problems.append(Problem("info", text, action, code="lossy_compression"))
    if any(frame.header.burned_in for frame in stack.frames):
        text = "The images say that text is burnt in."
        action = "Exported pictures may show identity."
        problems.append(Problem("info", text, action, code="burned_in_annotation"))
    return problems
