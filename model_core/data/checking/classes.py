"""Checks of a class set: pictures, classes that are empty, sources that tell classes apart."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path

from model_core.base.errors import DataError
from model_core.base.jobs import Progress
from model_core.data.checking.facts import CheckedSet, SliceFacts, picture_digest, read_picture, shape_of
from model_core.data.class_sets import (
    EXPECTED_CLASSES,
    ICTCF,
    class_names,
    has_class_folders,
    list_classes,
)
from model_core.data.classes import CLASS_FOLDERS, ClassifiedSlice
from model_core.data.findings import Findings
from model_core.data.segmentation_sets import EXPECTED_MASKS


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
        findings.add(
            "warning",
            "confounded_source",
            "No source has pictures of every class.",
            action="A network can learn the sources instead of the classes: judge it inside one source.",
        )
