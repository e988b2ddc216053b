"""The check of a data set of any known layout."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable
from pathlib import Path

from model_core.base.errors import DataError
from model_core.base.jobs import Progress
from model_core.data.checking.classes import check_classes
from model_core.data.checking.facts import CheckedSet, SliceFacts
from model_core.data.checking.masks import check_masks
from model_core.data.class_sets import EXPECTED_CLASSES, has_class_folders
from model_core.data.findings import Findings
from model_core.data.instances import PAPER_MIN_AREA
from model_core.data.layouts import find_mask_layout, group_pictures, picture_folder
from model_core.data.lists import data_and_list
from model_core.data.schemes import parse_mask_values
from model_core.data.segmentation_sets import EXPECTED_MASKS


def check_data(
    folder: Path,
    *,
    mask_values: str = "shared",
    mask_type: str = "merge",
    min_area: int = PAPER_MIN_AREA,
    against: Path | None = None,
) -> Generator[Progress | CheckedSet, None, None]:
    """Read a whole data set and tell everything that is wrong with it; the last item is the `CheckedSet`.

    Parameters
    ----------
    folder:
        Segmentation or class set of any layout that `read_segmentation` and `read_classes` know, or a split
        list inside one.
    mask_values, mask_type, min_area:
        As in training: the meaning of the mask values, what counts as one class (``merge``, ``both``,
        ``ggo``), and the area (pixels) up to which components go.
    against:
        Another set or list that should share neither patient nor picture with this one (training and
        validation). Its own faults are not told.

    Raises
    ------
    DataError
        If a folder is no data set of a known layout.
    SettingsError
        If the mask values cannot be parsed.
    """
    checked = yield from _check(folder, mask_values=mask_values, mask_type=mask_type, min_area=min_area)
    other = None
    if against is not None:
        other = yield from _check(against, mask_values=mask_values, mask_type=mask_type, min_area=min_area)
        if other.kind != checked.kind:
            raise DataError(
                f"'{folder.name}' is a {_kind(checked)} and '{against.name}' a {_kind(other)}: two of one "
                "kind can be compared."
            )
    findings = Findings(checked.problems)
    _find_duplicates(checked.slices, findings)
    if other is not None:
        _find_shared(checked, other, findings)
    yield dataclasses.replace(checked, problems=findings.problems())


def _check(
    path: Path, *, mask_values: str, mask_type: str, min_area: int
) -> Generator[Progress | CheckedSet, None, CheckedSet]:
    scheme = parse_mask_values(mask_values, mask_type=mask_type)
    folder, list_file = data_and_list(path, None)
    layout = find_mask_layout(folder)
    if layout is not None:
        job = check_masks(layout, list_file=list_file, scheme=scheme, mask_type=mask_type, min_area=min_area)
    elif has_class_folders(folder) or group_pictures(picture_folder(folder), nested=False):
        job = check_classes(folder, list_file=list_file)
    else:
        raise DataError(
            f"'{folder.name}' is no data set. A segmentation set holds {EXPECTED_MASKS}; a class set "
            f"{EXPECTED_CLASSES}."
        )
    for item in job:
        if isinstance(item, CheckedSet):
            return dataclasses.replace(item, name=(list_file or folder).name)
        yield item
    raise AssertionError("a check ends with its result")


def _kind(checked: CheckedSet) -> str:
    return "segmentation set" if checked.kind == "segmentation" else "class set"


def _find_duplicates(slices: Iterable[SliceFacts], findings: Findings) -> None:
    """Tell of pictures that stand in a set more than once."""
    by_digest: dict[str, list[SliceFacts]] = {}
    for one in slices:
        by_digest.setdefault(one.digest, []).append(one)
    for same in by_digest.values():
        if len(same) == 1:
            continue
        names = " = ".join(_name(one) for one in same)
        if len({one.label for one in same}) > 1:
            findings.add("error", "other_class", "Equal pictures stand in different classes.", file=names)
        elif len({one.mask.digest if one.mask else "" for one in same}) > 1:
            findings.add("error", "other_mask", "Equal pictures have different masks.", file=names)
        else:
            text = "Pictures stand in the set more than once."
            findings.add("warning", "duplicate_picture", text, file=names)


def _find_shared(checked: CheckedSet, other: CheckedSet, findings: Findings) -> None:
    """Tell of patients and pictures that two sets share (training against validation)."""
    action = f"Take them out of '{checked.name}' or '{other.name}'."
    patients, others = _patients(checked), _patients(other)
    for patient in sorted(set(patients) & set(others)):
        file = f"{patient} ({patients[patient]} and {others[patient]} slices)"
        findings.add("error", "shared_patient", "Patients are in both sets.", action=action, file=file)
    if not patients or not others:
        findings.add(
            "warning",
            "unknown_patient",
            "No patient is known, so that patients in both sets cannot be found.",
            action="Give index.tsv a column patient.",
        )
    elsewhere = {one.digest: one for one in other.slices}
    for one in checked.slices:
        if one.digest in elsewhere:
            names = f"{_name(one)} = {_name(elsewhere[one.digest])}"
            text = "Pictures are in both sets."
            findings.add("error", "shared_picture", text, action=action, file=names)


def _patients(checked: CheckedSet) -> dict[str, int]:
    counts: dict[str, int] = {}
    for one in checked.slices:
        if one.patient:
            counts[one.patient] = counts.get(one.patient, 0) + 1
    return counts


def _name(one: SliceFacts) -> str:
    return one.name if one.label < 0 else f"{one.name} (class {one.label})"
