"""A series UID in every slice: such slices are joined where all else says that they are one stack."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace

from model_core.base.filenames import named
from model_core.base.volume import Problem
from model_core.read.dicom.groups import Buckets, Group, make_of
from model_core.read.dicom.identity import identity_of
from model_core.read.dicom.phases import crowded, telling_mark
from model_core.read.dicom.records import PHASE_MARKS, Frame
from model_core.read.dicom.stack import in_space, on_one_grid
from model_core.read.tolerances import DIRECTION_TOLERANCE, SPACING_TOLERANCE


def may_be_a_slice(frame: Frame) -> bool:
    """Whether the only frame of a series may be one slice of a scan."""
    header = frame.header
    # Of images without a position only slices of CT are likely to be of one scan.
    placed = in_space(frame) or header.modality == "CT"
    return bool(header.series_uid) and placed and not (header.several or header.localizer)


def join_slices(lone: Sequence[Group]) -> list[Group]:
    """Make stacks of series of one slice each, where all but their SeriesInstanceUID says that they are one.

    Some exporters invent a UID for every file. Joined is what agrees in patient, study, frame of reference,
    SeriesNumber, description and everything that an image is, and stands in equal steps; frames of reference,
    studies and numbers that every slice has for itself say nothing either.
    """
    orientations, spacings = Buckets(DIRECTION_TOLERANCE), Buckets(SPACING_TOLERANCE)
    families: dict[tuple[object, ...], list[Group]] = defaultdict(list)
    for group in lone:
        families[_kind_of_slice(group.frames[0], orientations, spacings)].append(group)
    groups: list[Group] = []
    for family in families.values():
        for members in _alike(family):
            groups.extend(_joined(members))
    return groups


# Marks that may differ from slice to slice of one scan; the others are what an image is.
_MARKS_OF_SLICES = ("acquisition", "trigger time", "acquisition time", "content time")


def _kind_of_slice(frame: Frame, orientations: Buckets, spacings: Buckets) -> tuple[object, ...]:
    header = frame.header
    marks = zip(PHASE_MARKS, frame.marks, strict=True)
    return (
        identity_of(frame)[1:],
        header.description,
        header.sop_class,
        *make_of(frame, orientations, spacings),
        *(value for (mark, _), value in marks if mark not in _MARKS_OF_SLICES),
    )


def _alike(family: Sequence[Group]) -> list[list[Group]]:
    """Return the groups of a kind by study, frame of reference and SeriesNumber, as far as those tell."""
    parts = [list(family)]
    for attribute in ("study_uid", "frame_of_reference", "series_number"):
        parts = [part for members in parts for part in _by_attribute(members, attribute)]
    return parts


def _by_attribute(members: list[Group], attribute: str) -> list[list[Group]]:
    """Split by an attribute of the files, unless it differs in every file and so says nothing."""
    headers = [group.frames[0].header for group in members]
    values: dict[str, list[Group]] = defaultdict(list)
    for group, header in zip(members, headers, strict=True):
        values[getattr(header, attribute)].append(group)
    idle = len(values) == len(members) >= 3
    if attribute == "study_uid":
        # Then the patient must be known to be one.
        idle = idle and bool(headers[0].patient.patient_id or headers[0].patient.name)
    if attribute == "series_number":
        # Images that are each the first of a series are series.
        idle = idle and len({header.instance_number for header in headers}) == len(members)
    return [members] if idle else list(values.values())


def _joined(members: list[Group]) -> list[Group]:
    """Return the stack, or the phases, that slices of one kind make; else the slices as they are."""
    if len(members) < 3:
        return members
    frames = tuple(group.frames[0] for group in members)
    parts = [("", frames)]
    if not all(map(in_space, frames)):
        return _apart(members, "not every one says where it lies in the patient")
    if crowded(frames):
        telling = telling_mark(frames)
        if telling is None:
            return _apart(members, "several lie at one position")
        mark, values = telling
        parts = [
            (f"{mark} {number} of {len(values)}", tuple(part))
            for number, part in enumerate(values.values(), 1)
        ]
    if not all(on_one_grid(part) for _, part in parts):
        return _apart(members, "they do not stand in equal steps")
    result = []
    for label, part in parts:
        first_frames = set(map(id, part))
        joined = [group for group in members if id(group.frames[0]) in first_frames]
        problems = tuple(dict.fromkeys(problem for group in joined for problem in group.problems))
        text = f"Each of these {len(part)} images has a SeriesInstanceUID of its own."
        action = "They are alike in everything else and make one stack, so they are shown as one."
        names = named(frame.name for frame in part)
        problem = Problem("warning", text, action, names, code="series_uid_per_slice")
        key = f"slices|{identity_of(part[0])}|{min(frame.header.series_uid for frame in part)}"
        copies = tuple(copy for group in joined for copy in group.copies)
        result.append(Group(part, key, label, (problem, *problems), copies))
    return result


def _apart(members: list[Group], why: str) -> list[Group]:
    """Tell of slices that may be one stack, but need not."""
    text = f"{len(members)} series of one image each are alike, but {why}."
    names = named(group.frames[0].name for group in members)
    problem = Problem("info", text, "They are not put together.", names, code="single_image_series")
    return [replace(group, problems=(*group.problems, problem)) for group in members]
