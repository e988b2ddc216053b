"""Which words stand in which corner of a picture."""

from __future__ import annotations

import numpy as np

from model_core.errors import ordinal
from model_core.export.look import MUTED, REFERENCE_COLOUR, WARNING, Look, class_name
from model_core.export.text import Corner, Line
from model_core.types import ShownSlice, Volume, Window, probability_text


def corner_text(
    volume: Volume, index: int, look: Look, shown: ShownSlice | None, *, reference: bool
) -> dict[Corner, list[Line]]:
    """Return the lines of each corner.

    Patient text only where ``look.identity`` asks for it. ``reference`` tells whether a reference outline
    is in the picture.
    """
    return {
        "top left": _place(volume, index) + (_patient(volume) if look.identity else []),
        "top right": _verdict(look, shown),
        "bottom left": [*_legend(look, shown, reference=reference), Line(window_text(look.window, volume))],
        "bottom right": _origin(volume, look, shown),
    }


def window_text(window: Window, volume: Volume) -> str:
    """Return a window as the corner says it."""
    unit = " HU" if volume.unit == "HU" else ""
    name = f" ({window.name})" if window.name else ""
    return f"W {_number(window.width)} L {_number(window.level)}{unit}{name}"


def _number(value: float) -> str:
    return f"{value:.0f}".replace("-", "−") if abs(value) >= 10 else f"{value:g}".replace("-", "−")


def _place(volume: Volume, index: int) -> list[Line]:
    lines = [Line(f"Slice {index + 1} / {volume.slices}", bold=True)]
    if volume.every > 1:
        # Small findings may lie between the slices of a thinned series, and their numbers are its own.
        lines.append(Line(f"every {ordinal(volume.every)} slice", WARNING))
    if volume.slice_positions_mm is not None:
        lines.append(Line(f"{volume.slice_positions_mm[index]:.1f} mm".replace("-", "−"), MUTED))
    return lines


def _patient(volume: Volume) -> list[Line]:
    patient = volume.patient
    who = ", ".join(filter(None, (patient.sex, patient.age, _date(patient.birth_date))))
    texts = (
        _person(patient.name),
        patient.patient_id,
        who,
        _date(patient.study_date),
        patient.study_description,
        patient.institution,
    )
    return [Line(text) for text in texts if text]


def _person(name: str) -> str:
    """Return a DICOM person name (PS3.5 6.2.1) as "Family, Given", its first representation."""
    family, *given = (part.strip() for part in name.split("=")[0].split("^"))
    return ", ".join(filter(None, (family, " ".join(filter(None, given[:2])))))


def _date(text: str) -> str:
    """Return a DICOM date (YYYYMMDD) as YYYY-MM-DD; anything else as it is."""
    digits = text.strip()
    whole = len(digits) == 8 and digits.isdecimal()
    return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}" if whole else digits


def _verdict(look: Look, shown: ShownSlice | None) -> list[Line]:
    if shown is None or shown.verdict is None:
        return []
    probabilities = [float(p) for p in shown.verdict.probabilities]
    best = int(np.argmax(probabilities))
    from_bias = shown.verdict.from_bias
    lines = [Line("Network's bias: no region left" if from_bias else "Class of this slice", MUTED)]
    for number, probability in enumerate(probabilities):
        name = class_name(look.image_classes, number)
        bold = number == best and not from_bias
        lines.append(Line(f"{name} {probability_text(probability)}", bold=bold))
    if look.edited or shown.verdict.basis == "edited":
        lines.append(Line("edited evidence", WARNING, bold=True))
    return lines


def _legend(look: Look, shown: ShownSlice | None, *, reference: bool) -> list[Line]:
    lines = []
    drawn = look.overlays.masks or look.overlays.outlines or look.overlays.boxes
    if shown is not None and drawn:
        labels = sorted({int(label) for label in shown.detections.labels})
        lines = [Line(look.region_name(label), swatch=look.region_colour(label)) for label in labels]
    if reference:
        lines.append(Line("Reference", swatch=REFERENCE_COLOUR, dashed=True))
    return lines


def _origin(volume: Volume, look: Look, shown: ShownSlice | None) -> list[Line]:
    lines = []
    if shown is not None and look.weights:
        lines.append(Line(look.weights, MUTED))
    if shown is not None and (look.overlays.masks or look.overlays.outlines or look.overlays.boxes):
        settings = shown.detections.settings
        nms = "no NMS" if settings.nms_iou is None else f"NMS {settings.nms_iou:.2f}"
        joined = ", joined" if settings.join_touching else ""
        lines.append(Line(f"score > {settings.score:.2f}, {nms}{joined}", MUTED))
    _, row, column = volume.geometry.spacing_mm
    if row and column:
        square = abs(row - column) < 5e-4 * row
        pixel = f"{column:.3f} mm" if square else f"{column:.3f} × {row:.3f} mm"
        lines.append(Line(f"pixel {pixel}", MUTED))
    else:
        lines.append(Line("pixel size unknown", MUTED))
    if volume.lossy:
        lines.append(Line("lossy compression", WARNING))
    return lines
