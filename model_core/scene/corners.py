"""What stands in the four corners of a picture, as plain lines of text."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass

import numpy as np

from model_core.base.errors import ordinal
from model_core.base.results import UNDECIDED, ShownSlice, probability_text
from model_core.base.volume import PatientText, Volume, Window, readable_name
from model_core.scene.palette import AMBER, MUTED, REFERENCE, WHITE, class_name, image_colour
from model_core.scene.reasons import reason_legend
from model_core.scene.settings import SceneSettings
from model_core.scene.verdict import UNCALIBRATED, UNCERTAIN, UNLIKE, ScanWords, slice_words

RESEARCH = "Research use only"
EDITED = "edited evidence"
EDITED_SCAN = "edited evidence or thresholds"
PRIVATE = "Privacy mode"
KEY_IMAGE = "◆ Key image"
_NOTE_WIDTH = 34  # characters


@dataclass(frozen=True)
class Line:
    """One line: its text, colour, and perhaps a coloured square before it or a patch behind it.

    With ``dashed`` the square is a dashed line, as the outline of the reference mask is.
    """

    text: str
    colour: str = WHITE
    bold: bool = False
    swatch: str = ""
    dashed: bool = False
    patch: bool = False


@dataclass(frozen=True)
class Corners:
    """Lines from top to bottom of each corner; ``below`` are those under an exported picture, each whole."""

    top_left: tuple[Line, ...] = ()
    top_right: tuple[Line, ...] = ()
    bottom_left: tuple[Line, ...] = ()
    bottom_right: tuple[Line, ...] = ()
    below: tuple[Line, ...] = ()

    @property
    def text(self) -> str:
        """Everything as one text, for screen readers and tests."""
        blocks = (self.top_left, self.top_right, self.bottom_left, self.bottom_right, self.below)
        return "\n".join(line.text for block in blocks for line in block)


@dataclass(frozen=True)
class Screen:
    """What only a window says: the value under the mouse in lines, the zoom, that the patient is hidden.

    A window has panels beside the picture, too. An exported picture stands alone: it lists every class, what
    is said of the scan, and the weights and thresholds behind what it shows.
    """

    probe: tuple[str, ...] = ()
    zoom: str = ""
    private: bool = False


def corner_lines(
    volume: Volume,
    index: int,
    settings: SceneSettings,
    shown: ShownSlice | None,
    *,
    reference: bool = False,
    screen: Screen | None = None,
) -> Corners:
    """Compose the corners of slice ``index``.

    Parameters
    ----------
    shown:
        Results of that slice.
    reference:
        Whether a reference outline is in the picture.
    screen:
        None for an exported picture.
    """
    return Corners(
        top_left=(
            *_private(screen),
            *(_patient(volume.patient) if settings.identity else ()),
            *_verdict(settings, shown, every=screen is None),
        ),
        top_right=(*_series(volume, settings), *_legend(settings, shown, reference=reference)),
        bottom_left=(
            *_probe(screen),
            *(_key_image(settings.key_image) if screen is not None else ()),
            _slice(volume, index),
        ),
        bottom_right=_display(settings, shown, screen),
        below=()
        if screen is not None
        else (*_scan(settings.scan), *_key_image(settings.key_image, whole=True)),
    )


def readable_date(date: str) -> str:
    """Return ``YYYYMMDD`` as ``YYYY-MM-DD``; anything else as it is."""
    date = date.strip()
    return f"{date[:4]}-{date[4:6]}-{date[6:]}" if len(date) == 8 and date.isdecimal() else date


def readable_age(age: str) -> str:
    """Return a DICOM age string (PS3.5 6.2) such as ``039Y`` without its leading zeros."""
    return age.strip().lstrip("0")


def signed(value: float, digits: int = 0) -> str:
    """Format a number with a true minus sign; minus zero is zero."""
    text = f"{value:.{digits}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    return text.replace("-", "−")


def window_text(window: Window) -> str:
    """Return width, level and name of a window."""
    digits = 0 if float(window.width).is_integer() and float(window.level).is_integer() else 1
    name = f" ({window.name})" if window.name else ""
    return f"W {signed(window.width, digits)}  L {signed(window.level, digits)}{name}"


def _private(screen: Screen | None) -> tuple[Line, ...]:
    return (Line(PRIVATE, patch=True),) if screen is not None and screen.private else ()


def _patient(patient: PatientText) -> tuple[Line, ...]:
    born = f"born {readable_date(patient.birth_date)}" if patient.birth_date else ""
    groups = (
        (readable_name(patient.name), patient.sex, readable_age(patient.age)),
        (f"ID {patient.patient_id}" if patient.patient_id else "", born),
        (readable_date(patient.study_date), _spaced(patient.study_description)),
        (_spaced(patient.institution),),
    )
    rows = [" · ".join(part for part in group if part) for group in groups]
    return tuple(Line(row, WHITE if k == 0 else MUTED) for k, row in enumerate(rows) if row)


def _spaced(text: str) -> str:
    # Some scanners part the levels of a description with carets, as names are.
    return " ".join(text.replace("^", " ").split())


def _verdict(settings: SceneSettings, shown: ShownSlice | None, *, every: bool) -> tuple[Line, ...]:
    """Return what is said of the slice, in the words of the panel beside it.

    With ``every`` each class of the weights follows in their order, the most probable in bold. Weights
    without a calibration have nothing else: on a screen the most probable one then is all.
    """
    if shown is None:
        return ()
    lines: list[Line] = []
    words = slice_words(shown.summary)
    if words is not None:
        lines.append(_answer(words.answer, words.answer, words.colour))
        lines += [Line(text, AMBER if text == UNLIKE else MUTED) for text in words.lines]
    if shown.verdict is not None and shown.summary.lung is not False:
        values = tuple(float(value) for value in shown.verdict.probabilities)
        if every or words is None:
            told = words is None or shown.summary.kind not in (None, UNDECIDED)
            lines += _classes(settings, values, bias=shown.verdict.from_bias, every=every, told=told)
        if words is None:
            lines.append(Line(UNCALIBRATED, MUTED))
        if settings.edited or shown.verdict.basis == "edited":
            lines.append(Line(EDITED, patch=True))
    return tuple(lines)


def _answer(text: str, answer: str, colour: str) -> Line:
    """Return an answer with its colour; doubt stands on a patch: amber is close to the colour of lesions."""
    doubt = answer.startswith(UNCERTAIN)
    return Line(text, bold=not doubt, swatch="" if doubt else colour, patch=doubt)


def _classes(
    settings: SceneSettings, values: tuple[float, ...], *, bias: bool, every: bool, told: bool
) -> list[Line]:
    """Return the classes, the most probable in bold where it is ``told`` which it is."""
    best = int(np.argmax(values))
    lines = []
    if bias:
        lines = [Line("Network's bias: no region left", MUTED)]
    elif every:
        lines = [Line("Class of this slice", MUTED)]
    for number, value in enumerate(values):
        if every or (number == best and not bias):
            name = class_name(settings.image_classes, number)
            text, likely = f"{name} {probability_text(value)}", number == best and told and not bias
            swatch = "" if bias else image_colour(name, number)
            lines.append(Line(text, MUTED if bias else WHITE, bold=likely, swatch=swatch))
    return lines


def _scan(words: ScanWords | None) -> tuple[Line, ...]:
    """Return what is said of a whole scan."""
    if words is None or words.partial:
        return ()
    lines = [_answer(f"Scan: {words.answer}", words.answer, words.colour)]
    if words.edited:
        lines.append(Line(EDITED_SCAN, patch=True))
    numbers = " · ".join(text for text in (words.where, words.amount) if text)
    return (*lines, *(Line(text, MUTED) for text in (numbers, words.kind, words.worth) if text))


def _series(volume: Volume, settings: SceneSettings) -> tuple[Line, ...]:
    # The title says which slices are left out, too, but may be too long for its corner, or hidden.
    every = f"every {ordinal(volume.every)} slice" if volume.every > 1 else ""
    # A title may come from a folder's or a file's name, and those often are names of patients.
    title = volume.title.removesuffix(f", {every}") if settings.identity else ""
    plane = "" if volume.plane == "unknown" else volume.plane
    lines = (
        Line(title),
        Line(every, AMBER),
        Line(" · ".join(part for part in (volume.modality, plane) if part), MUTED),
        Line(_spacing(volume), MUTED),
        Line("orientation unknown" if volume.geometry.axes is None else "", MUTED),
        Line("lossy compression" if volume.lossy else ""),
    )
    return tuple(line for line in lines if line.text)


def _spacing(volume: Volume) -> str:
    step, row, column = volume.geometry.spacing_mm
    if row is None or column is None:
        return "pixel size unknown"
    thickness = "?" if step is None else f"{step:.2f}"
    return f"{column:.2f} × {row:.2f} × {thickness} mm"


def _legend(settings: SceneSettings, shown: ShownSlice | None, *, reference: bool) -> tuple[Line, ...]:
    """Name the colours on the slice: its classes in the order of the weights, then the reference mask."""
    lines = []
    if shown is not None and settings.overlays.findings:
        labels = sorted({int(label) for label in shown.detections.labels})
        lines = [Line(settings.region_name(label), swatch=settings.region_colour(label)) for label in labels]
    if settings.reason is not None and settings.overlays.contributions:
        # Their colours alone: those of the classes are not in the picture.
        legend = reason_legend(settings.reason, settings.reason.output_of(settings.output))
        lines = [Line(text, swatch=colour) for text, colour in legend]
    if reference:
        lines.append(Line("reference mask", swatch=REFERENCE, dashed=True))
    return tuple(lines)


def _probe(screen: Screen | None) -> tuple[Line, ...]:
    return tuple(Line(text) for text in screen.probe) if screen is not None else ()


def _key_image(note: str | None, *, whole: bool = False) -> tuple[Line, ...]:
    """Return the note of a key image; but for ``whole`` no more of it than covers little of the slice."""
    if note is None:
        return ()
    text = f"{KEY_IMAGE}: {note}" if note else KEY_IMAGE
    if whole:
        return (Line(text, AMBER),)
    return tuple(Line(part, AMBER) for part in textwrap.wrap(text, _NOTE_WIDTH, max_lines=3, placeholder="…"))


def _slice(volume: Volume, index: int) -> Line:
    text = f"Slice {index + 1} / {volume.slices}"
    positions = volume.slice_positions_mm
    if positions is not None and index < len(positions) and np.isfinite(positions[index]):
        text += f" · {signed(float(positions[index]), 1)} mm"
    return Line(text)


def _display(settings: SceneSettings, shown: ShownSlice | None, screen: Screen | None) -> tuple[Line, ...]:
    turned = [
        word
        for word, on in (
            ("inverted", settings.inverted),
            ("flipped left-right", settings.flip_horizontal),
            ("flipped up-down", settings.flip_vertical),
        )
        if on
    ]
    lines = [Line(" · ".join(turned)), Line(window_text(settings.window))]
    if screen is None:
        lines = [*_origin(settings, shown), *lines]
    else:
        lines += [Line(screen.zoom), Line(RESEARCH, MUTED)]
    return tuple(line for line in lines if line.text)


def _origin(settings: SceneSettings, shown: ShownSlice | None) -> list[Line]:
    """Say what computed the results: weights and thresholds."""
    if shown is None:
        return []
    lines = [Line(settings.weights, MUTED)]
    if settings.overlays.findings:
        detections = shown.detections.settings
        nms = "no NMS" if detections.nms_iou is None else f"NMS {detections.nms_iou:.2f}"
        joined = ", joined" if detections.join_touching else ""
        lines.append(Line(f"score > {detections.score:.2f}, {nms}{joined}", MUTED))
    return lines
