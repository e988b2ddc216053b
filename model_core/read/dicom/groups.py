"""Groups of frames, and what must be equal within one: a series of several kinds is split."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from model_core.base.filenames import named
from model_core.base.volume import Problem
from model_core.read.dicom.records import FileHeader, Frame
from model_core.read.dicom.stack import in_space, mostly_even
from model_core.read.tolerances import DIRECTION_TOLERANCE, SPACING_TOLERANCE


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


class Buckets:
    """Numbers the distinct vectors it is shown, with a tolerance."""

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self._known: list[tuple[float, ...]] = []
        self._equal: dict[tuple[float, ...], int] = {}

    def of(self, vector: tuple[float, ...] | None) -> int:
        """Return the number of a vector, -1 for none."""
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


def make_of(frame: Frame, orientations: Buckets, spacings: Buckets) -> tuple[object, ...]:
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


def split_series(frames: Sequence[Frame], key: str) -> list[Group]:
    """Split frames of one series by what must be equal within one stack; ``key`` is the series'."""
    orientations = Buckets(DIRECTION_TOLERANCE)
    spacings = Buckets(SPACING_TOLERANCE)
    # The number tells series apart where no UID does.
    numbered = len({f.header.series_number for f in frames if not f.header.series_uid} - {""}) > 1
    parts: dict[tuple[object, ...], list[Frame]] = defaultdict(list)
    for frame in frames:
        header = frame.header
        fits: tuple[object, ...] = (
            _object_of(header),
            *make_of(frame, orientations, spacings),
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
