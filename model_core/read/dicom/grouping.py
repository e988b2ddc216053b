"""Split frames into series that each make one stack, and say why something was split or left out."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

from model_core.base.filenames import named
from model_core.base.volume import Problem
from model_core.read.dicom.groups import Group, split_series
from model_core.read.dicom.identity import split_identities
from model_core.read.dicom.phases import split_phases
from model_core.read.dicom.records import Frame
from model_core.read.dicom.slice_series import join_slices, may_be_a_slice


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
        (lone if single and may_be_a_slice(members[0]) else groups).extend(parts)
    return groups + join_slices(lone)


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
        for group in split_series(part.frames, part_key):
            label = " ".join(filter(None, (part.label, group.label)))
            problems = (*part.problems, *group.problems, *extra)
            groups.extend(split_phases(replace(group, label=label, problems=problems), chosen))
    return groups
