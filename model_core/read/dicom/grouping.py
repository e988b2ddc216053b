"""Split frames into series that each make one stack, and say why something was split or left out."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from model_core.base.filenames import named, natural_key
from model_core.base.volume import Problem
from model_core.read.dicom.identity import identity_of, split_identities
from model_core.read.dicom.records import PHASE_MARKS, FileHeader, Frame
from model_core.read.dicom.stack import (
    arrange,
    in_one_place,
    in_space,
    mostly_even,
    on_one_grid,
    project,
    same_position_mm,
)
from model_core.read.tolerances import DIRECTION_TOLERANCE, MAX_FRAMES, SPACING_TOLERANCE


@dataclass(frozen=True)
class Copy:
    """A frame that is left out because the same slice is there already.

    ``same_object`` is True where the SOPInstanceUID is the same, False where only the position is. Pixels are
    not compared: a scan reads headers only.
    """

    frame: Frame
    kept: Frame
    same_object: bool

    @property
    def reason(self) -> str:
        """What its file's report says."""
        if self.same_object:
            name = self.kept.header.name
            return f"It has the SOPInstanceUID of {name}, which is used; their pixels were not compared."
        return f"It lies at the position of {self.kept.header.name}, which is used."


@dataclass(frozen=True)
class Group:
    """Frames that belong together.

    Attributes
    ----------
    key:
        What sets the group apart within everything that was scanned; input of `series_id`.
    label:
        What sets it apart from its siblings, for the title; "" where it has none.
    copies:
        Frames left out because the same slice is there already.
    """

    frames: tuple[Frame, ...]
    key: str
    label: str = ""
    problems: tuple[Problem, ...] = ()
    copies: tuple[Copy, ...] = ()


def group_frames(frames: Sequence[Frame], *, chosen: Collection[Path] = ()) -> list[Group]:
    """Group by SeriesInstanceUID, then by everything that must be equal within one stack.

    Of several copies of an image the one in a ``chosen`` file is used, else one without loss, else the
    first by name.
    """
    by_series: dict[str, list[Frame]] = defaultdict(list)
    of_object: dict[str, str] = {}
    for frame in frames:
        key = frame.header.series_uid or f"folder of {frame.header.path.parent}"
        if frame.header.concatenation is not None:
            # The parts of one object are together even where each names another series.
            key = of_object.setdefault(frame.header.concatenation.uid, key)
        by_series[key].append(frame)
    groups: list[Group] = []
    lone: list[Group] = []
    for key, members in by_series.items():
        parts = _groups_of(members, key, chosen)
        single = len(parts) == 1 and len(parts[0].frames) == 1
        (lone if single and _may_be_a_slice(members[0]) else groups).extend(parts)
    return groups + _join_slices(lone)


def _groups_of(members: Sequence[Frame], key: str, chosen: Collection[Path]) -> list[Group]:
    """Split the frames that have a SeriesInstanceUID in common, or a folder where they have none."""
    extra: tuple[Problem, ...] = ()
    what = "One SeriesInstanceUID"
    if not members[0].header.series_uid:
        what = "One folder without SeriesInstanceUID"
        names = named(frame.name for frame in members)
        text = "The files do not say to which series they belong (SeriesInstanceUID is missing)."
        action = "Files of one folder that fit together are one series."
        extra = (Problem("warning", text, action, names, code="missing_series_uid"),)
    groups: list[Group] = []
    for part in split_identities(members, what=what):
        part_key = f"{key}|{part.mark}" if part.mark else key
        for group in _split_series(part.frames, part_key):
            label = " ".join(filter(None, (part.label, group.label)))
            problems = (*part.problems, *group.problems, *extra)
            groups.extend(_split_phases(replace(group, label=label, problems=problems), chosen))
    return groups


# --------------------------------------------------------------------------- a series UID in every slice


def _may_be_a_slice(frame: Frame) -> bool:
    header = frame.header
    # Of images without a position only slices of CT are likely to be of one scan.
    placed = in_space(frame) or header.modality == "CT"
    return bool(header.series_uid) and placed and not (header.several or header.localizer)


def _join_slices(lone: Sequence[Group]) -> list[Group]:
    """Make stacks of series of one slice each, where all but their SeriesInstanceUID says that they are one.

    Some exporters invent a UID for every file. Joined is what agrees in patient, study, frame of reference,
    SeriesNumber, description and everything that an image is, and stands in equal steps; frames of reference,
    studies and numbers that every slice has for itself say nothing either.
    """
    orientations, spacings = _Buckets(DIRECTION_TOLERANCE), _Buckets(SPACING_TOLERANCE)
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


def _kind_of_slice(frame: Frame, orientations: _Buckets, spacings: _Buckets) -> tuple[object, ...]:
    header = frame.header
    marks = zip(PHASE_MARKS, frame.marks, strict=True)
    return (
        identity_of(frame)[1:],
        header.description,
        header.sop_class,
        *_make_of(frame, orientations, spacings),
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
    if _crowded(frames):
        telling = _telling_mark(frames)
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


# ---------------------------------------------------------------------------- equal within one stack


class _Buckets:
    """Numbers the distinct vectors it is shown, with a tolerance."""

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._known: list[tuple[float, ...]] = []
        self._equal: dict[tuple[float, ...], int] = {}

    def of(self, vector: tuple[float, ...] | None) -> int:
        if vector is None:
            return -1
        if vector not in self._equal:
            self._equal[vector] = self._nearest(vector)
        return self._equal[vector]

    def _nearest(self, vector: tuple[float, ...]) -> int:
        for index, known in enumerate(self._known):
            if max(abs(a - b) for a, b in zip(vector, known, strict=True)) <= self._tolerance:
                return index
        self._known.append(vector)
        return len(self._known) - 1


_FRAME_OF_REFERENCE = "frame of reference"
_OWN_FILE = "file (multi-frame)"
_REASONS = (
    _OWN_FILE,
    "modality",
    "image type (localizer)",
    "image size",
    "colour",
    "orientation",
    "pixel spacing",
    _FRAME_OF_REFERENCE,
    "missing position",
    "SeriesNumber",
)


def _make_of(frame: Frame, orientations: _Buckets, spacings: _Buckets) -> tuple[object, ...]:
    """Return what must be equal within one stack: modality, localizer or not, size, colour, plane, pixel."""
    header = frame.header
    directions = None
    if frame.row_direction is not None and frame.column_direction is not None:
        directions = (*frame.row_direction, *frame.column_direction)
    # Relative tolerance: equal logarithms are equal ratios. A shape alone stands beside the sizes.
    spacing = None if frame.spacing is None else (*map(math.log, frame.spacing), 0.0)
    if spacing is None and frame.aspect is not None:
        spacing = (0.0, math.log(frame.aspect), 1.0)
    return (
        header.modality,
        header.localizer,
        (header.columns, header.rows),
        header.colour,
        orientations.of(directions),
        spacings.of(spacing),
    )


def _object_of(header: FileHeader) -> str:
    """Return what frames of one multi-frame object have in common, be it one file or several parts."""
    if header.concatenation is not None:
        return f"concatenation {header.concatenation.uid}"
    return header.sop_uid or str(header.path) if header.frame_count > 1 else ""


def _split_series(frames: Sequence[Frame], key: str) -> list[Group]:
    orientations = _Buckets(DIRECTION_TOLERANCE)
    spacings = _Buckets(SPACING_TOLERANCE)
    # The number tells series apart where no UID does.
    numbered = len({f.header.series_number for f in frames if not f.header.series_uid} - {""}) > 1
    parts: dict[tuple[object, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        header = frame.header
        fits: tuple[object, ...] = (
            _object_of(header),
            *_make_of(frame, orientations, spacings),
            header.frame_of_reference,
            in_space(frame),
            header.series_number if numbered else "",
        )
        parts[fits].append(frame)
    parts, problems = _without_idle_references(parts)
    if len(parts) == 1:
        return [Group(tuple(next(iter(parts.values()))), key, problems=problems)]
    ordered = sorted(parts.items(), key=lambda item: -len(item[1]))
    keys = [fits for fits, _ in ordered]
    differing = [index for index in range(len(_REASONS)) if len({fits[index] for fits in keys}) > 1]
    why = ", ".join(_REASONS[index] for index in differing)
    text = f"This series holds images that make no single stack: they differ in {why}."
    result = []
    for number, (fits, members) in enumerate(ordered, 1):
        header = members[0].header
        split_key = f"{key}|{[fits[index] for index in differing]}"
        label = "localizer" if header.localizer else f"part {number} of {len(ordered)}"
        other = ordered[0 if number > 1 else 1][1][0]
        action = f"Split into {len(ordered)}; this is {label}."
        problem = Problem("info", text, action, named((members[0].name, other.name)), code="split_series")
        result.append(Group(tuple(members), split_key, label, (problem, *problems)))
    return result


def _without_idle_references(
    parts: dict[tuple[object, ...], list[Frame]],
) -> tuple[dict[tuple[object, ...], list[Frame]], tuple[Problem, ...]]:
    """Join stacks in which every file has a frame of reference of its own.

    Some programs that remove identities invent one per file. Where such files still make one even stack,
    their positions are believed and the frames of reference are not.
    """
    place = _REASONS.index(_FRAME_OF_REFERENCE)
    families: dict[tuple[object, ...], list[tuple[object, ...]]] = defaultdict(list)
    for fits in parts:
        families[*fits[:place], *fits[place + 1 :]].append(fits)
    joined: dict[tuple[object, ...], list[Frame]] = {}
    problems: list[Problem] = []
    for members in families.values():
        together = [frame for fits in members for frame in parts[fits]]
        # Copies of a file share its reference, so fewer references than files may still be one each.
        if len(members) < 3 or 2 * len(members) <= len(together) or not mostly_even(together):
            joined |= {fits: parts[fits] for fits in members}
            continue
        joined[members[0]] = together
        text = f"The {len(together)} images name {len(members)} different frames of reference."
        action = "Their positions make one stack, so they are shown as one."
        names = named(frame.name for frame in together)
        problems.append(Problem("warning", text, action, names, code="frame_of_reference_per_slice"))
    return joined, tuple(problems)


# ---------------------------------------------------------------------- several slices at one position


def _split_phases(group: Group, chosen: Collection[Path]) -> list[Group]:
    """Leave out copies of a file, then split where several slices lie at one position."""

    def best_first(frame: Frame) -> tuple[object, ...]:
        header = frame.header
        return header.path not in chosen, header.lossy, natural_key(str(header.path)), frame.index

    ordered = tuple(sorted(group.frames, key=best_first))
    group = _without_copies(Group(ordered, group.key, group.label, group.problems))
    group = _with_missing_parts(group)
    if len(group.frames) < 2 or not all(in_space(frame) for frame in group.frames):
        return [group]
    if in_one_place(group.frames) and not _are_one_slice(group.frames):
        return _split_numbered_twice(group)
    if not _crowded(group.frames):
        return _split_interleaved(group)
    telling = _telling_mark(group.frames)
    return _split_by_occurrence(group) if telling is None else _phases(group, *telling)


def _telling_mark(frames: Sequence[Frame]) -> tuple[str, dict[str, list[Frame]]] | None:
    """Return the first mark by which no two slices lie at one position, and the parts that it makes."""
    places = _places(frames)
    most = max(map(len, places))
    for index, (mark, _) in enumerate(PHASE_MARKS):
        parts = _by_mark(frames, index)
        # A mark that differs from slice to slice, as times often do, tells slices apart, not phases.
        phases = 1 < len(parts) <= 2 * most and (len(parts) < len(frames) or len(places) == 1)
        if phases and not any(_crowded(members) for members in parts.values()):
            return mark, parts
    parts = _by_folder(frames) if len(places) > 1 else {}
    if 1 < len(parts) <= 2 * most and not any(_crowded(members) for members in parts.values()):
        return "folder", parts
    return None


def _by_folder(frames: Sequence[Frame]) -> dict[str, list[Frame]]:
    parts: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        parts[str(frame.header.path.parent)].append(frame)
    return dict(sorted(parts.items(), key=lambda item: natural_key(item[0])))


def _numbered_alike(parts: dict[str, list[Frame]]) -> bool:
    """Whether parts cover one region, and each has the same InstanceNumbers, once each."""
    numbers = [sorted(frame.header.instance_number or 0 for frame in part) for part in parts.values()]
    if len(parts) < 2 or numbers.count(numbers[0]) < len(parts) or len(set(numbers[0])) < len(numbers[0]):
        return False
    first = next(iter(parts.values()))
    places = [project([first[0], *part])[1:] for part in parts.values()]
    return bool(max(place.min() for place in places) < min(place.max() for place in places))


def _are_one_slice(frames: Sequence[Frame]) -> bool:
    """Whether files at one position are one slice over and over: of one number, or in many encodings."""
    numbers = {frame.header.instance_number for frame in frames}
    encodings = {frame.header.transfer_syntax for frame in frames}
    if any(frame.header.several for frame in frames):
        return False
    return (len(numbers) == 1 and None not in numbers) or len(encodings) == len(frames)


def _split_numbered_twice(group: Group) -> list[Group]:
    """Split slices that all state one position where a mark tells those of the same InstanceNumber apart."""
    counts = Counter(frame.header.instance_number for frame in group.frames)
    most = max(counts.values())
    if most > 1 and len(counts) > 1:
        for index, (mark, _) in enumerate(PHASE_MARKS):
            parts = _by_mark(group.frames, index)
            numbers = [[frame.header.instance_number for frame in part] for part in parts.values()]
            if 1 < len(parts) <= 2 * most and all(len(set(part)) == len(part) for part in numbers):
                return _phases(group, mark, parts)
    return [group]


def _with_missing_parts(group: Group) -> Group:
    """Tell which parts of a concatenation are not there (PS3.3 C.7.6.16.1.3)."""
    parts = {frame.header.path: frame.header for frame in group.frames if frame.header.concatenation}
    wholes = [header.concatenation for header in parts.values() if header.concatenation]
    numbers = {whole.number for whole in wholes if whole.number is not None}
    if 0 in numbers:
        numbers = {number + 1 for number in numbers}  # counted from 0, against the standard
    total = min(max([whole.total or 0 for whole in wholes] + list(numbers), default=0), MAX_FRAMES)
    missing = sorted(set(range(1, total + 1)) - numbers) if numbers else []
    if not missing:
        return group
    which = ", ".join(map(str, missing[:_MAX_PARTS])) + (", …" if len(missing) > _MAX_PARTS else "")
    text = (
        f"{len(missing)} of {total} files of this concatenation are missing (InConcatenationNumber {which})."
    )
    names = named(header.name for header in parts.values())
    action = "The frames of the others are shown."
    problem = Problem("warning", text, action, names, code="missing_concatenation_part")
    return replace(group, problems=(*group.problems, problem))


_MAX_PARTS = 8


def _by_mark(frames: Sequence[Frame], index: int) -> dict[str, list[Frame]]:
    parts: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        parts[frame.marks[index]].append(frame)
    return dict(sorted(parts.items(), key=lambda item: natural_key(item[0])))


def _crowded(frames: Sequence[Frame]) -> bool:
    """Whether two of the frames lie at one position."""
    if len(frames) < 2:
        return False
    positions = np.sort(project(frames))
    return bool(np.diff(positions).min() <= same_position_mm(positions))


def _places(frames: Sequence[Frame]) -> list[list[int]]:
    """Return the indices of the frames at each position, positions ascending."""
    positions = project(frames)
    tolerance = same_position_mm(positions)
    places: list[list[int]] = []
    for index in np.argsort(positions, kind="stable"):
        if places and positions[index] - positions[places[-1][0]] <= tolerance:
            places[-1].append(int(index))
        else:
            places.append([int(index)])
    return places


def _phases(group: Group, mark: str, parts: dict[str, list[Frame]]) -> list[Group]:
    text = f"Several slices lie at one position; they differ in {mark}."
    result = []
    for number, (value, members) in enumerate(parts.items(), 1):
        label = " ".join(filter(None, (group.label, f"{mark} {number} of {len(parts)}")))
        action = f"Split into {len(parts)} series; this is {mark} {number}."
        problem = Problem("info", text, action, code="phases")
        key = f"{group.key}|{mark}={value}"
        result.append(Group(tuple(members), key, label, (*group.problems, problem), group.copies))
    return result


def _split_interleaved(group: Group) -> list[Group]:
    """Split acquisitions that cover one region with shifted slices; the whole is uneven, each is even.

    Scans in folders of their own that are numbered alike are split even where the whole is even.
    """
    parts = _by_folder(group.frames)
    if _numbered_alike(parts) and all(map(on_one_grid, parts.values())):
        return _phases(group, "folder", parts)
    if arrange(group.frames).geometry.spacing_mm[0] is not None:
        return [group]
    parts = _by_mark(group.frames, 0)
    if len(parts) < 2 or any(len(members) < 2 for members in parts.values()):
        return [group]
    if any(arrange(members).geometry.spacing_mm[0] is None for members in parts.values()):
        return [group]
    return _phases(group, PHASE_MARKS[0][0], parts)


def _without_copies(group: Group) -> Group:
    """Leave out files that name themselves the same object (SOPInstanceUID, position, number)."""
    kept: dict[tuple[object, ...], Frame] = {}
    copies: list[Copy] = []
    for frame in group.frames:
        header = frame.header
        if not header.sop_uid:
            kept[str(header.path), frame.index] = frame
            continue
        key = (header.sop_uid, frame.index, frame.position, header.instance_number)
        if key in kept:
            copies.append(Copy(frame, kept[key], same_object=True))
        else:
            kept[key] = frame
    if not copies:
        return group
    pair = copies[0].kept.name, copies[0].frame.name
    text = (
        f"{len(copies)} image(s) have the SOPInstanceUID of another one, such as {pair[0]} and {pair[1]}; "
        "their pixels were not compared."
    )
    names = named(name for copy in copies for name in (copy.kept.name, copy.frame.name))
    action = "One of each is used; the copies are left out."
    problem = Problem("warning", text, action, names, code="duplicate_sop_instance_uid")
    return Group(tuple(kept.values()), group.key, group.label, (*group.problems, problem), tuple(copies))


def _split_by_occurrence(group: Group) -> list[Group]:
    """Nothing but numbers tells the slices at one position apart.

    Where every position has as many, InstanceNumber may tell passes apart. A few slices too many are left
    out. Else nothing is left out and nothing is dealt out: a stack of the wrong slices looks right.
    """
    places = _places(group.frames)
    counts = {len(place) for place in places}
    passes = _passes(group.frames, places) if len(counts) == 1 < len(places) else None
    if passes is not None:
        return _phases(group, "pass", passes)
    extra = len(group.frames) - len(places)
    if 2 * extra <= len(places) or len(places) == 1:
        return [_without_extra(group, places)]
    text = (
        f"{extra} slice(s) lie at the position of another one; "
        "nothing in the files says which belong together."
    )
    action = "All are shown, those at one position one after another: they may be of several scans."
    names = named(frame.name for frame in group.frames)
    problem = Problem("warning", text, action, names, code="duplicate_position")
    in_order = tuple(sorted(group.frames, key=lambda frame: frame.header.instance_number or 0))
    return [replace(group, frames=in_order, problems=(*group.problems, problem))]


def _passes(frames: Sequence[Frame], places: Sequence[Sequence[int]]) -> dict[str, list[Frame]] | None:
    """Return the passes over all positions that InstanceNumber tells apart: one after another, or in turn."""
    numbers = [frame.header.instance_number for frame in frames]
    if None in numbers or len(set(numbers)) < len(numbers):
        return None
    sorted_places = [sorted(place, key=lambda index: numbers[index] or 0) for place in places]
    passes = [[frames[index] for index in members] for members in zip(*sorted_places, strict=True)]
    ranges = [[frame.header.instance_number or 0 for frame in members] for members in passes]
    one_after_another = all(max(low) < min(high) for low, high in pairwise(ranges))
    order = sorted(((numbers[index] or 0, at) for at, place in enumerate(places) for index in place))
    turns = [order[start : start + len(passes)] for start in range(0, len(order), len(passes))]
    in_turn = all(len({at for _, at in turn}) == 1 for turn in turns)
    if not one_after_another and not in_turn:
        return None
    return {str(number): members for number, members in enumerate(passes)}


def _without_extra(group: Group, places: Sequence[Sequence[int]]) -> Group:
    """Leave out the slices at the position of another one; one whose InstanceNumber occurs once is kept."""
    frames = group.frames
    counts = Counter(frame.header.instance_number for frame in frames)

    def best_first(index: int) -> tuple[bool, bool, int]:
        # Of those that are alike, the frames are in order of preference already.
        header = frames[index].header
        return header.lossy, counts[header.instance_number] > 1, index

    used = [frames[min(place, key=best_first)] for place in places]
    copies = [
        Copy(frames[index], kept, same_object=False)
        for kept, place in zip(used, places, strict=True)
        for index in sorted(place)
        if frames[index] is not kept
    ]
    pair = copies[0].kept.name, copies[0].frame.name
    text = (
        f"{len(copies)} slice(s) lie at the position of another one, such as {pair[0]} and {pair[1]}; "
        "nothing in the files tells them apart."
    )
    names = named((*pair, *(copy.frame.name for copy in copies)))
    action = "One of each is used; the others are left out."
    problem = Problem("warning", text, action, names, code="duplicate_position")
    problems = (*group.problems, problem)
    return Group(tuple(used), group.key, group.label, problems, (*group.copies, *copies))
