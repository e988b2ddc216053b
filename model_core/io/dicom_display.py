"""What a DICOM file says for display only: its VOI windows and the identifying text of the corners."""

from __future__ import annotations

from typing import Any, cast

from model_core.io.dicom_header import Frame, numbers, read_dataset, text
from model_core.io.failures import LIBRARY_FAILURES, FileError
from model_core.types import PatientText, VoiFunction, Window


def described(frame: Frame) -> tuple[tuple[Window, ...], PatientText]:
    """Read the windows and the identifying text of one frame's file; what cannot be read stays empty."""
    try:
        with frame.header.path.open("rb") as stream:
            dataset = read_dataset(stream, pixels=False, all_tags=True)
    except (OSError, FileError):
        return (), PatientText()
    return windows_of(dataset, frame.index), PatientText(
        name=text(dataset, "PatientName").replace("^", " ").strip(),
        patient_id=text(dataset, "PatientID"),
        birth_date=text(dataset, "PatientBirthDate"),
        sex=text(dataset, "PatientSex"),
        age=text(dataset, "PatientAge"),
        study_date=text(dataset, "StudyDate"),
        study_description=text(dataset, "StudyDescription"),
        institution=text(dataset, "InstitutionName"),
    )


def windows_of(dataset: Any, index: int = 0) -> tuple[Window, ...]:
    """Return the VOI windows of a frame (PS3.3 C.11.2), in the file's order, without repetitions."""
    places = [dataset]
    for keyword, which in (
        ("SharedFunctionalGroupsSequence", 0),
        ("PerFrameFunctionalGroupsSequence", index),
    ):
        try:
            group = dataset[keyword].value[which] if keyword in dataset else None
            if group is not None and "FrameVOILUTSequence" in group:
                places.insert(0, group.FrameVOILUTSequence[0])
        except LIBRARY_FAILURES:
            continue
    item = next((place for place in places if "WindowCenter" in place), dataset)
    centres, widths = numbers(item, "WindowCenter"), numbers(item, "WindowWidth")
    stated = text(item, "VOILUTFunction").upper()
    function: VoiFunction = "LINEAR"
    if stated in ("LINEAR_EXACT", "SIGMOID"):
        function = cast(VoiFunction, stated)
    names = text(item, "WindowCenterWidthExplanation").split("\\")
    windows: list[Window] = []
    for number_, (centre, width) in enumerate(zip(centres, widths, strict=False)):
        if (width < 1 and function == "LINEAR") or width <= 0:
            continue
        name = names[number_].strip() if number_ < len(names) else ""
        window = Window(width, centre, name, function)
        if not any((window.width, window.level) == (other.width, other.level) for other in windows):
            windows.append(window)
    return tuple(windows)
