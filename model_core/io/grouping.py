"""Split frames into series that each make one stack, and say why something was split or left out."""

from __future__ import annotations

import hashlib
import math
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from model_core.io.archives import lasting_text
from model_core.io.dicom.records import PHASE_MARKS, Frame
from model_core.io.stack import arrange, in_space, named, natural_key, project, same_position_mm
from model_core.io.tolerances import ALMOST_EVEN_STEP, DIRECTION_TOLERANCE, SPACING_TOLERANCE
from model_core.types import Problem


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


def series_id(key: str) -> str:
    """Return an opaque stable name of a series: a hash, so that it says nothing about the patient."""
    lasting = lasting_text(key)
    return hashlib.sha1(lasting.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()[:20]


def group_frames(frames: Sequence[Frame], *, chosen: Collection[Path] = ()) -> list[Group]:
    """Group by SeriesInstanceUID, then by everything that must be equal within one stack.

    Of several copies of an image the one in a ``chosen`` file is used, else one without loss, else the
    first by name.
    """
    by_series: dict[str, list[Frame]] = defaultdict(list)
    for frame in frames:
        by_series[frame.header.series_uid or f"folder of {frame.header.path.parent}"].append(frame)
    groups: list[Group] = []
    for key, members in by_series.items():
        extra: tuple[Problem, ...] = ()
        if not members[0].header.series_uid:
            names = named(frame.name for frame in members)
            text = "The files do not say to which series they belong (SeriesInstanceUID is missing)."
            extra = (
                Problem("warning", text, "Files of one folder that fit together are one series.", names),
            )
        for group in _split_series(members, key):
            groups.extend(_split_phases(_with_problems(group, extra), chosen))
    return groups


def _with_problems(group: Group, problems: tuple[Problem, ...]) -> Group:
    return Group(group.frames, group.key, group.label, (*group.problems, *problems), group.copies)


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
_REASONS = (
    "file (multi-frame)",
    "modality",
    "image type (localizer)",
    "image size",
    "colour",
    "orientation",
    "pixel spacing",
    _FRAME_OF_REFERENCE,
    "missing position",
)


def _split_series(frames: Sequence[Frame], key: str) -> list[Group]:
    orientations = _Buckets(DIRECTION_TOLERANCE)
    spacings = _Buckets(SPACING_TOLERANCE)
    parts: dict[tuple[object, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        header = frame.header
        directions = None
        if frame.row_direction is not None and frame.column_direction is not None:
            directions = (*frame.row_direction, *frame.column_direction)
        # Relative tolerance: equal logarithms are equal ratios.
        spacing = None if frame.spacing is None else tuple(map(math.log, frame.spacing))
        fits: tuple[object, ...] = (
            header.sop_uid or str(header.path) if header.frame_count > 1 else "",
            header.modality,
            header.localizer,
            (header.columns, header.rows),
            header.colour,
            orientations.of(directions),
            spacings.of(spacing),
            header.frame_of_reference,
            in_space(frame),
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
        problem = Problem("info", text, action, named((members[0].name, other.name)))
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
        if len(members) < 3 or 2 * len(members) <= len(together) or not _mostly_even(together):
            joined |= {fits: parts[fits] for fits in members}
            continue
        joined[members[0]] = together
        text = f"The {len(together)} images name {len(members)} different frames of reference."
        action = "Their positions make one stack, so they are shown as one."
        names = named(frame.name for frame in together)
        problems.append(Problem("warning", text, action, names))
    return joined, tuple(problems)


def _mostly_even(frames: Sequence[Frame]) -> bool:
    """Whether most of the slices are equally far apart; copies at one position do not count."""
    if not all(in_space(frame) for frame in frames):
        return False
    positions = np.sort(project(frames))
    steps = np.diff(positions)
    steps = steps[steps > same_position_mm(positions)]
    if steps.size < 2:
        return False
    usual = float(np.median(steps))
    return bool(np.mean(np.abs(steps - usual) <= ALMOST_EVEN_STEP * usual) > 0.5)


# ---------------------------------------------------------------------- several slices at one position


def _split_phases(group: Group, chosen: Collection[Path]) -> list[Group]:
    """Leave out copies of a file, then split where several slices lie at one position."""

    def best_first(frame: Frame) -> tuple[object, ...]:
        header = frame.header
        return header.path not in chosen, header.lossy, natural_key(str(header.path)), frame.index

    ordered = tuple(sorted(group.frames, key=best_first))
    group = _without_copies(Group(ordered, group.key, group.label, group.problems))
    if len(group.frames) < 2 or not all(in_space(frame) for frame in group.frames):
        return [group]
    if not _crowded(group.frames):
        return _split_interleaved(group)
    most = max(len(place) for place in _places(group.frames))
    for index, (mark, _) in enumerate(PHASE_MARKS):
        parts = _by_mark(group.frames, index)
        # A mark that differs from slice to slice, as times often do, tells slices apart, not phases.
        if 1 < len(parts) <= 2 * most and not any(_crowded(members) for members in parts.values()):
            return _phases(group, mark, parts)
    return _split_by_occurrence(group)


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
        problem = Problem("info", text, f"Split into {len(parts)} series; this is {mark} {number}.")
        key = f"{group.key}|{mark}={value}"
        result.append(Group(tuple(members), key, label, (*group.problems, problem), group.copies))
    return result


def _split_interleaved(group: Group) -> list[Group]:
    """Split acquisitions that cover one region with shifted slices; the whole is uneven, each is even."""
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
    problem = Problem("warning", text, "One of each is used; the copies are left out.", names)
    return Group(tuple(kept.values()), group.key, group.label, (*group.problems, problem), tuple(copies))


def _split_by_occurrence(group: Group) -> list[Group]:
    """Nothing tells the slices at one position apart: equal counts are passes, the rest is left out."""
    best = {id(frame): rank for rank, frame in enumerate(group.frames)}

    def order(frame: Frame) -> tuple[int, int]:
        return frame.header.instance_number or 0, best[id(frame)]

    frames = sorted(group.frames, key=order)
    places = _places(frames)
    counts = {len(place) for place in places}
    if len(counts) == 1 and len(places) > 1:
        passes: dict[str, list[Frame]] = {
            str(number): [frames[sorted(place)[number]] for place in places] for number in range(counts.pop())
        }
        return _phases(group, "pass", passes)
    used = [min((frames[index] for index in place), key=lambda frame: best[id(frame)]) for place in places]
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
    problem = Problem("warning", text, "One of each is used; the others are left out.", names)
    problems = (*group.problems, problem)
    return [Group(tuple(used), group.key, group.label, problems, (*group.copies, *copies))]
