"""What is known of a DICOM file and of each of its pictures before a pixel is read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy.typing as npt

from model_core.base.volume import DicomInstance, PatientText
from model_core.read.dicom.lookup import LookupTable
from model_core.read.dicom.transfer_syntax import DEFLATED_LE, NATIVE_SYNTAXES, undecodable

Vector = tuple[float, float, float]

# Attributes that tell the phases of a series apart, in the order in which they are tried.
PHASE_MARKS = (
    ("acquisition", "AcquisitionNumber"),
    ("time point", "TemporalPositionIdentifier"),
    ("cardiac phase", "NominalPercentageOfCardiacPhase"),
    ("trigger time", "TriggerTime"),
    ("echo", "EchoNumbers"),
    ("b-value", "DiffusionBValue"),
    ("kernel", "ConvolutionKernel"),
    ("image type", "ImageType"),
    ("segment", "segment"),
    ("acquisition time", "AcquisitionTime"),
    ("content time", "ContentTime"),
)


@dataclass(frozen=True, slots=True)
class Concatenation:
    """The place of a file among those that one multi-frame object was cut into (PS3.3 C.7.6.16.1.3).

    ``number`` counts the parts from 1, ``total`` is how many there are, ``offset`` how many frames lie before
    this part; None where the file does not say.
    """

    uid: str
    number: int | None = None
    total: int | None = None
    offset: int | None = None


@dataclass(frozen=True, slots=True)
class FileHeader:
    """What is needed of a file to group it and to read its pixels (PS3.3 C.7.6.3).

    ``pixel_offset`` and ``pixel_bytes`` are set where the pixels lie uncompressed in the file, so that
    they are read without parsing it again; ``pixel_offset`` is -1 otherwise. ``codestream_offset`` is where
    the items of the only frame of a compressed file begin, -1 in any other. ``modality`` is CT also where
    only the SOP class says so; ``stated_modality`` is what the file says. ``rescale_type`` is as written.
    ``commas`` names the elements whose numbers have a decimal comma. ``padding_words`` are the words of
    padding that need more bits than are stored.
    """

    path: Path
    transfer_syntax: str
    sop_class: str
    sop_uid: str
    series_uid: str
    study_uid: str
    series_number: str
    description: str
    modality: str
    stated_modality: str
    localizer: bool
    instance_number: int | None
    frame_of_reference: str
    rows: int
    columns: int
    samples: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    photometric: str
    frame_count: int
    rescale_type: str
    rescaled: bool
    padding: tuple[int, int] | None
    lossy: bool
    burned_in: bool
    tilt_degrees: float | None
    pixel_keyword: str
    pixel_offset: int
    pixel_bytes: int
    codestream_offset: int = -1
    concatenation: Concatenation | None = None
    commas: tuple[str, ...] = ()
    padding_words: tuple[int, int] | None = None
    patient: PatientText = field(default=PatientText(), repr=False)

    @property
    def name(self) -> str:
        """Base name of the file."""
        return self.path.name

    @property
    def undecodable(self) -> str:
        """Why the pixels cannot be decoded whatever they are, "" where a decoder is known."""
        return undecodable(self.transfer_syntax)

    @property
    def encapsulated(self) -> bool:
        """Whether each frame is a compressed codestream of its own."""
        return self.transfer_syntax not in (*NATIVE_SYNTAXES, DEFLATED_LE)

    @property
    def unused_bits(self) -> tuple[int, int]:
        """Bits of a stored value above and below the used ones (PS3.5 8.1.1).

        PS3.5 wants the used bits at the bottom; older files have them at the top, and HighBit says so. One
        that leaves no room for the stored bits is not believed.
        """
        spare = self.bits_allocated - self.bits_stored
        below = self.high_bit + 1 - self.bits_stored
        if not 0 <= below <= spare:
            below = 0
        return spare - below, below

    def used_bits(self, values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return stored integers with the used bits only, moved to the bottom and their sign extended.

        Older files hide overlays in the other bits. Padding that needs them becomes 0, the smallest number.
        """
        above, below = self.unused_bits
        if not (above or below):
            return values
        # Shifting up drops the bits above, shifting down again extends the sign or fills zeros.
        used: npt.NDArray[Any] = (values << above) >> (above + below)
        if self.padding_words is not None:
            low, high = self.padding_words
            used[(values >= low) & (values <= high)] = 0
        return used

    @property
    def colour(self) -> bool:
        """Whether a pixel has more than one sample, or a palette."""
        return self.samples > 1 or self.photometric == "PALETTE COLOR"

    @property
    def several(self) -> bool:
        """Whether the file is, or is a part of, an object of several frames."""
        return self.frame_count > 1 or self.concatenation is not None


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture: frame ``index`` of a file.

    Attributes
    ----------
    position:
        ImagePositionPatient, LPS mm, centre of the first pixel; or None.
    row_direction, column_direction:
        LPS unit vectors along which the column index and the row index grow; or None.
    spacing:
        (between rows, between columns) in mm from PixelSpacing; or None.
    aspect:
        Height of a pixel over its width where there is no PixelSpacing but its shape is stated; or None.
    marks:
        Values of `PHASE_MARKS`, in that order, as text.
    slope, intercept:
        Of the rescale. A table is no line: its slope is NaN.
    table:
        The Modality LUT that takes the place of the rescale, or None.
    """

    header: FileHeader
    index: int
    position: Vector | None
    row_direction: Vector | None
    column_direction: Vector | None
    spacing: tuple[float, float] | None
    slope: float
    intercept: float
    marks: tuple[str, ...]
    table: LookupTable | None = field(default=None, compare=False, repr=False)
    aspect: float | None = None

    @property
    def name(self) -> str:
        """Base name of the file, with the frame number where there are several."""
        if self.header.frame_count > 1:
            return f"{self.header.name}#{self.index}"
        return self.header.name

    @property
    def instance(self) -> DicomInstance:
        """The object that this is a frame of."""
        header = self.header
        return DicomInstance(
            study_uid=header.study_uid,
            series_uid=header.series_uid,
            frame_of_reference_uid=header.frame_of_reference,
            sop_class_uid=header.sop_class,
            sop_instance_uid=header.sop_uid,
            frame_number=self.index + 1 if header.frame_count > 1 else None,
        )


def cross(row: Vector, column: Vector) -> Vector:
    """Return the slice normal: the vector product of the in-plane directions."""
    return (
        row[1] * column[2] - row[2] * column[1],
        row[2] * column[0] - row[0] * column[2],
        row[0] * column[1] - row[1] * column[0],
    )


# "HU" in the words that programs and people use for it, and what may stand beside them.
_HOUNSFIELD = frozenset(
    (
        *("hu", "hus", "uh", "hounsfield", "hounsfields", "houndsfield"),
        *("hounsfieldunit", "hounsfieldunits", "hounsfieldeinheit", "hounsfieldeinheiten"),
    )
)
_BESIDE = frozenset(
    (
        *("ct", "unit", "units", "number", "numbers", "value", "values", "scale", "in", "de", "di", "d"),
        *("einheit", "einheiten", "unité", "unités", "unite", "unites"),
        *("unidad", "unidades", "unità", "unita"),
    )
)
_BETWEEN_WORDS = re.compile(r"[\s_()\[\]'’-]+")


def is_hounsfield(kind: str) -> bool:
    """Whether a RescaleType means Hounsfield units: the term, an evident synonym, or nothing at all."""
    words = set(_BETWEEN_WORDS.split(kind.strip(" \0").casefold().replace(".", ""))) - {""}
    return not words or (words <= _HOUNSFIELD | _BESIDE and bool(words & _HOUNSFIELD))
