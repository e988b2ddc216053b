"""Several slices at one position: phases are split, copies are left out."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from model_core.base.filenames import named, natural_key
from model_core.base.volume import Problem
from model_core.read.dicom.groups import Copy, Group
from model_core.read.dicom.records import PHASE_MARKS, Frame
from model_core.read.dicom.stack import (
    arrange,
    in_one_place,
    in_space,
    on_one_grid,
    project,
    same_position_mm,
)
from model_core.read.tolerances import MAX_FRAMES


def split_phases(group: Group, chosen: Collection[Path]) -> list[Group]:
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
    if not crowded(group.frames):
        return _split_interleaved(group)
    telling = telling_mark(group.frames)
    return _split_by_occurrence(group) if telling is None else _phases(group, *telling)


def telling_mark(frames: Sequence[Frame]) -> tuple[str, dict[str, list[Frame]]] | None:
    """Return the first mark by which no two slices lie at one position, and the parts that it makes."""
    places = _places(frames)
    most = max(map(len, places))
    for index, (mark, _) in enumerate(PHASE_MARKS):
        parts = _by_mark(frames, index)
        # A mark that differs from slice to slice, as times often do, tells slices apart, not phases.
        phases = 1 < len(parts) <= 2 * most and (len(parts) < len(frames) or len(places) == 1)
        if phases and not any(crowded(members) for members in parts.values()):
            return mark, parts
    parts = _by_folder(frames) if len(places) > 1 else {}
    if 1 < len(parts) <= 2 * most and not any(crowded(members) for members in parts.values()):
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


def crowded(frames: Sequence[Frame]) -> bool:
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
