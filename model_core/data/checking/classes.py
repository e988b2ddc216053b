"""Checks of a class set: classes, files, class by name, list and index."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from model_core.base.errors import DataError
from model_core.base.jobs import Progress
from model_core.data.checking.facts import CheckedSet, Findings, SliceFacts, picture_digest
from model_core.data.checking.files import (
    check_listed,
    lenient_index,
    one_each,
    read_lenient_list,
    read_picture,
)
from model_core.data.class_sets import (
    EXPECTED_CLASSES,
    ICTCF,
    UnknownClassError,
    class_names,
    classified_slice,
    has_class_folders,
    listed_slices,
    numbered,
)
from model_core.data.classes import CLASS_FOLDERS, ClassifiedSlice, folder_slice
from model_core.data.layouts import group_pictures, is_folder, picture_folder
from model_core.data.segmentation_sets import EXPECTED_MASKS


def check_classes(folder: Path, *, list_file: Path | None) -> Generator[Progress | CheckedSet, None, None]:
    """Check every slice of a class set; the last item is the `CheckedSet`.

    Raises
    ------
    DataError
        If no picture has a class.
    """
    findings = Findings()
    if has_class_folders(folder):
        found = _from_folders(folder, list_file, findings)
    else:
        found = _from_pictures(folder, list_file, findings)
    slices = []
    for done, one in enumerate(found):
        yield Progress(done, len(found), one.name)
        picture = read_picture(one.image_path, findings)
        if picture is None:
            continue
        alone = (one.name, f"{list(CLASS_FOLDERS)[one.label]}/{one.name}")
        patient = one.patient if one.patient not in alone else ""
        shape = (int(picture.shape[0]), int(picture.shape[1]))
        digest = picture_digest(picture)
        slices.append(SliceFacts(one.name, patient, shape, digest, label=one.label, source=one.source))
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
            findings.add("error", f"The class {label} ({name}) has no picture that can be read.")
        elif not all(one.source == ICTCF for one in found):
            # A two-class study such as iCTCF has no class 1 and does not miss it.
            findings.add(
                "warning", f"The class 1 ({name}) has no picture.", action="Enough for two classes only."
            )


def _check_sources(slices: list[SliceFacts], findings: Findings) -> None:
    sources: dict[int, set[str]] = {}
    for one in slices:
        sources.setdefault(one.label, set()).add(one.source)
    if len(sources) > 1 and not set.intersection(*sources.values()):
        findings.add(
            "warning",
            "No source has pictures of every class.",
            action="A network can learn the sources instead of the classes: judge it inside one source.",
        )


def _from_folders(folder: Path, list_file: Path | None, findings: Findings) -> list[ClassifiedSlice]:
    index = lenient_index(folder, findings)
    groups = {
        name: one_each(group_pictures(folder / name, nested=False), findings)
        for name in CLASS_FOLDERS
        if is_folder(folder / name)
    }
    known = {f"{name}/{stem}" for name, inner in groups.items() for stem in inner}
    stems = {stem for inner in groups.values() for stem in inner}
    listed = check_listed(list_file, known | stems, findings, folders=tuple(CLASS_FOLDERS))
    for inner in sorted(folder.iterdir()):
        if inner.is_dir() and inner.name not in CLASS_FOLDERS:
            findings.add("warning", "Folders that are no class are not read.", file=inner.name)
    for name in sorted(set(index) - known):
        findings.add("warning", "Rows of index.tsv have no picture.", action="Not used.", file=name)
    found = []
    for name in CLASS_FOLDERS:
        for stem, path in groups.get(name, {}).items():
            if listed is not None and listed.isdisjoint((stem, f"{name}/{stem}")):
                continue
            try:
                found.append(folder_slice(name, stem, path, index.get(f"{name}/{stem}", {})))
            except DataError as error:
                findings.add("error", error.message)
    if list_file is not None and listed is not None and listed <= known | stems:
        try:
            return listed_slices(found, list_file)
        except DataError as error:
            findings.add("error", error.message)
    return found


def _from_pictures(folder: Path, list_file: Path | None, findings: Findings) -> list[ClassifiedSlice]:
    groups = group_pictures(picture_folder(folder), nested=False)
    one_each(groups, findings)
    if not groups:
        findings.add("error", "There is no png or jpg picture.")
    index = lenient_index(folder, findings)
    labels = read_lenient_list(list_file, findings)
    if labels is not None:
        labels = {numbered(name): label for name, label in labels.items()}
    for name in sorted(set(labels or {}) - set(map(numbered, groups))):
        findings.add("error", "Listed pictures are missing.", file=name)
    found = []
    for name, paths in groups.items():
        if labels is not None and numbered(name) not in labels:
            continue
        try:
            label = (labels or {}).get(numbered(name))
            found.append(classified_slice(name, paths[:1], listed_label=label, row=index.get(name, {})))
        except UnknownClassError:
            action = f"Expected {EXPECTED_CLASSES}."
            findings.add("error", "The class of pictures is unknown.", action=action, file=name)
        except DataError as error:
            findings.add(
                "error", "The class of pictures or their grey-to-HU map is wrong.", file=error.message
            )
    if groups and not found and labels is None:
        raise DataError(
            f"'{folder.name}' holds pictures, but neither masks nor classes. A segmentation set holds "
            f"{EXPECTED_MASKS}; a class set {EXPECTED_CLASSES}."
        )
    return found
