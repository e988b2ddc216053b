"""The check of a data set of any known layout."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Iterable
from pathlib import Path

from model_core.base.errors import DataError
from model_core.base.jobs import Progress
from model_core.data.checking.facts import CheckedSet, SliceFacts, picture_digest, read_picture, shape_of
from model_core.data.checking.masks import check_masks
from model_core.data.class_sets import EXPECTED_CLASSES, ICTCF, class_names, has_class_folders, list_classes
from model_core.data.classes import CLASS_FOLDERS, ClassifiedSlice
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
        text = "No patient is known, so that patients in both sets cannot be found."
        action = "Give index.tsv a column patient."
        findings.add("warning", "unknown_patient", text, action=action)
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


# ------------------------------------------------------------------------------------- class sets


def check_classes(folder: Path, *, list_file: Path | None) -> Generator[Progress | CheckedSet, None, None]:
    """Check every slice of a class set; the last item is the `CheckedSet`.

    Raises
    ------
    DataError
        If no picture has a class.
    """
    findings = Findings()
    found = list_classes(folder, list_file=list_file, report=findings)
    if not found and list_file is None and not has_class_folders(folder):
        raise DataError(
            f"'{folder.name}' holds pictures, but neither masks nor classes. A segmentation set holds "
            f"{EXPECTED_MASKS}; a class set {EXPECTED_CLASSES}."
        )
    slices = []
    for done, one in enumerate(found):
        yield Progress(done, len(found), one.name)
        picture = read_picture(one.image_path, findings)
        if picture is None:
            continue
        alone = (one.name, f"{list(CLASS_FOLDERS)[one.label]}/{one.name}")
        patient = one.patient if one.patient not in alone else ""
        digest = picture_digest(picture)
        slices.append(
            SliceFacts(one.name, patient, shape_of(picture), digest, label=one.label, source=one.source)
        )
    names = class_names(found)
    _check_empty(folder, found, slices, findings)
    _check_sources(slices, findings)
    yield CheckedSet("classes", folder.name, tuple(slices), findings.problems(), names)


def _check_empty(
    folder: Path, found: list[ClassifiedSlice], slices: list[SliceFacts], findings: Findings
) -> None:
    names = class_names(found)
    for label, (name, inner) in enumerate(zip(names, CLASS_FOLDERS, strict=True)):
        if any(one.label == label for one in slices):
            continue
        if label != 1 or (folder / inner).is_dir():
            text = f"The class {label} ({name}) has no picture that can be read."
            findings.add("error", "empty_class", text)
        elif not all(one.source == ICTCF for one in found):
            # A two-class study such as iCTCF has no class 1 and does not miss it.
            text, action = f"The class 1 ({name}) has no picture.", "Enough for two classes only."
            findings.add("warning", "empty_class", text, action=action)


def _check_sources(slices: list[SliceFacts], findings: Findings) -> None:
    sources: dict[int, set[str]] = {}
    for one in slices:
        sources.setdefault(one.label, set()).add(one.source)
    if len(sources) > 1 and not set.intersection(*sources.values()):
        text = "No source has pictures of every class."
        action = "A network can learn the sources instead of the classes: judge it inside one source."
        findings.add("warning", "confounded_source", text, action=action)
