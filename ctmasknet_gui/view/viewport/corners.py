"""What stands in the four corners and under the cursor, as plain lines of text."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.colours import REFERENCE, class_name, image_colour, region_colour
from ctmasknet_gui.view.viewport.mapping import View
from ctmasknet_gui.view.viewport.text import AMBER, MUTED, WHITE, signed
from model_core.config import LogitRule
from model_core.errors import ordinal
from model_core.types import PatientText, Volume, probability_text

RESEARCH = "Research use only"
EDITED = "edited evidence"
_UNITS = {"HU": "{} HU", "grey": "grey {}", "values": "value {}"}
# Lengths a scale bar may have, in mm.
_BARS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200)


@dataclass(frozen=True)
class Line:
    """One line: its text, colour, and perhaps a coloured square before it or a patch behind it.

    With ``dashed`` the square is a dashed line, as the outline of the reference mask is.
    """

    text: str
    colour: str = WHITE
    swatch: str = ""
    dashed: bool = False
    patch: bool = False


@dataclass(frozen=True)
class Corners:
    """Lines from top to bottom of each corner."""

    top_left: tuple[Line, ...] = ()
    top_right: tuple[Line, ...] = ()
    bottom_left: tuple[Line, ...] = ()
    bottom_right: tuple[Line, ...] = ()

    @property
    def text(self) -> str:
        """Everything as one text, for screen readers and tests."""
        blocks = (self.top_left, self.top_right, self.bottom_left, self.bottom_right)
        return "\n".join(line.text for block in blocks for line in block)


def corner_lines(state: AppState, volume: Volume, view: View, cursor: tuple[int, int] | None) -> Corners:
    """Compose the corners.

    Parameters
    ----------
    cursor:
        Row and column of the voxel under the mouse, or None.
    """
    return Corners(
        top_left=(*_patient(state, volume), *_verdict(state)),
        top_right=(*_series(state, volume), *_legend(state, volume)),
        bottom_left=(*_probe(state, volume, cursor), *_slice(state, volume)),
        bottom_right=_display(state, view),
    )


def readable_name(name: str) -> str:
    """Return a DICOM person name (PS3.5 6.2.1) as "Family, Given": first representation, no carets."""
    parts = [part.strip() for part in name.split("=")[0].split("^")]
    family, given = parts[0], " ".join(part for part in parts[1:3] if part)
    return f"{family}, {given}" if family and given else family or given


def readable_date(date: str) -> str:
    """Return ``YYYYMMDD`` as ``YYYY-MM-DD``; anything else as it is."""
    date = date.strip()
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 and date.isdigit() else date


def readable_age(age: str) -> str:
    """Return a DICOM age string (PS3.5 6.2) such as ``039Y`` without its leading zeros."""
    return age.strip().lstrip("0")


def _spaced(text: str) -> str:
    # Some scanners part the levels of a description with carets, as names are.
    return " ".join(text.replace("^", " ").split())


def scale_bar(view: View, spacing_mm: tuple[float | None, float | None, float | None], room: float) -> float:
    """Return the longest round length in mm that fits into ``room`` screen pixels; 0 where unknown."""
    column = spacing_mm[2]
    row = spacing_mm[1]
    if row is None or column is None or not (math.isfinite(column) and column > 0 and row > 0):
        return 0.0
    per_mm = view.scale[0] / column
    fitting = [length for length in _BARS if length * per_mm <= room]
    return float(fitting[-1]) if fitting else 0.0


def bar_text(length_mm: float) -> str:
    """Return a scale bar's caption, in cm where that is round."""
    return f"{length_mm / 10:g} cm" if length_mm >= 10 else f"{length_mm:g} mm"


def _patient(state: AppState, volume: Volume) -> tuple[Line, ...]:
    if state.display.privacy:
        return ()
    patient: PatientText = volume.patient
    groups = (
        (readable_name(patient.name), patient.sex, readable_age(patient.age)),
        (f"ID {patient.patient_id}" if patient.patient_id else "", _born(patient)),
        (readable_date(patient.study_date), _spaced(patient.study_description)),
    )
    rows = [" · ".join(part for part in group if part) for group in groups]
    return tuple(Line(row, WHITE if k == 0 else MUTED) for k, row in enumerate(rows) if row)


def _born(patient: PatientText) -> str:
    return f"born {readable_date(patient.birth_date)}" if patient.birth_date else ""


def _verdict(state: AppState) -> tuple[Line, ...]:
    shown = state.results.shown
    if shown is None or shown.slice_index != state.display.slice_index or shown.verdict is None:
        return ()
    values = np.asarray(shown.verdict.probabilities, float)
    if values.size == 0:
        return ()
    best = int(np.argmax(values))
    name = class_name(state.weights.image_classes, best)
    line = Line(f"{name} {probability_text(float(values[best]))}", WHITE, swatch=image_colour(name, best))
    if shown.verdict.from_bias:
        line = Line("Network's bias: no region left", MUTED)
    return (line, Line(EDITED, patch=True)) if shown.verdict.basis == "edited" else (line,)


def _series(state: AppState, volume: Volume) -> tuple[Line, ...]:
    # A title may come from a folder's or a file's name, and those often are names of patients.
    every = _every(volume)
    title = "" if state.display.privacy else volume.title.removesuffix(f", {every}")
    plane = "" if volume.plane == "unknown" else volume.plane
    lines = [
        Line(title),
        Line(every, AMBER),
        Line(" · ".join(part for part in (volume.modality, plane) if part), MUTED),
        Line(_spacing(volume), MUTED),
    ]
    if volume.geometry.axes is None:
        lines.append(Line("orientation unknown", MUTED))
    if volume.lossy:
        lines.append(Line("lossy compression"))
    return tuple(line for line in lines if line.text)


def _every(volume: Volume) -> str:
    """Say that slices are left out; the title says so too, but may be too long for its corner, or hidden."""
    return f"every {ordinal(volume.every)} slice" if volume.every > 1 else ""


def _legend(state: AppState, volume: Volume) -> tuple[Line, ...]:
    """Name the colours on the slice: its classes in the order of the weights, then the reference mask."""
    display, shown, lines = state.display, state.results.shown, []
    index = display.slice_index
    drawn = display.masks or display.outlines or display.boxes
    shape = volume.voxels.shape
    if drawn and shown is not None and shown.slice_index == index and shown.masks.shape[1:] == shape[1:]:
        for label in sorted({int(label) - 1 for label in shown.detections.labels}):
            name = class_name(state.weights.region_classes, label)
            lines.append(Line(name, swatch=region_colour(name, label)))
    labels = state.case.reference
    if not display.reference or labels is None or labels.shape != shape:
        return tuple(lines)
    if labels[index].any():
        lines.append(Line("reference mask", swatch=REFERENCE, dashed=True))
    return tuple(lines)


def _spacing(volume: Volume) -> str:
    step, row, column = volume.geometry.spacing_mm
    if row is None or column is None:
        return "pixel size unknown"
    thickness = "?" if step is None else f"{step:.2f}"
    return f"{column:.2f} × {row:.2f} × {thickness} mm"


def _slice(state: AppState, volume: Volume) -> tuple[Line, ...]:
    index = state.display.slice_index
    text = f"Slice {index + 1} / {volume.slices}"
    positions = volume.slice_positions_mm
    if positions is not None and index < len(positions) and np.isfinite(positions[index]):
        text += f" · {signed(float(positions[index]), 1)} mm"
    return (Line(text),)


def _probe(state: AppState, volume: Volume, cursor: tuple[int, int] | None) -> tuple[Line, ...]:
    index = state.display.slice_index
    if cursor is None:
        return ()
    row, column = cursor
    value = signed(float(volume.voxels[index, row, column]))
    text = f"x {column}  y {row}  {_UNITS[volume.unit].format(value)}"
    shown = state.results.shown
    if shown is not None and shown.slice_index == index and shown.logit_map.shape == volume.voxels.shape[1:]:
        logit = float(shown.logit_map[row, column])
        if math.isfinite(logit):
            text += f"  {_logit_text(logit, shown.detections.settings.logit_rule)}"
    return (Line(text),)


def _logit_text(logit: float, rule: LogitRule) -> str:
    """Return a mask logit with its probability; a sum of logits is that of no single mask."""
    if rule == "sum":
        return f"sum of logits {signed(logit, 1)}"
    p = 1 / (1 + math.exp(-logit)) if logit > -700 else 0.0
    return f"logit {signed(logit, 1)} (p {probability_text(p)})"


def _display(state: AppState, view: View) -> tuple[Line, ...]:
    window = state.display.window
    name = f" ({window.name})" if window.name else ""
    turned = [
        word
        for word, on in (
            ("inverted", state.display.inverted),
            ("flipped left-right", state.display.flip_horizontal),
            ("flipped up-down", state.display.flip_vertical),
        )
        if on
    ]
    digits = 0 if float(window.width).is_integer() and float(window.level).is_integer() else 1
    zoom = f"zoom {view.zoom:.2f}×" + (" (fit)" if state.display.zoom is None else "")
    lines = [
        Line(" · ".join(turned)),
        Line(f"W {signed(window.width, digits)}  L {signed(window.level, digits)}{name}"),
        Line(zoom),
        Line(RESEARCH, MUTED),
    ]
    return tuple(line for line in lines if line.text)
