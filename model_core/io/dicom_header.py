"""Read the header of one DICOM file into plain records, without its pixels.

One file gives one `FileHeader` (how its pixels are stored) and one `Frame` per picture (where the
picture lies and how its values are rescaled). Enhanced multi-frame objects carry both per frame
(PS3.3 C.7.6.16); everything behind this module treats them like single files.
"""

from __future__ import annotations

import logging
import math
import os
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, cast

import pydicom
from pydicom import config as pydicom_config
from pydicom import filereader
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from model_core.io.codestream import is_lossy
from model_core.io.dicom_elements import Elements, read_elements, read_meta
from model_core.io.failures import LIBRARY_FAILURES, FileError, IndexFileError, plain_reason
from model_core.io.lookup import LookupTable, read_table
from model_core.io.tolerances import (
    COSINE_TOLERANCE,
    HEADER_SECONDS,
    MAX_EXPANSION,
    MAX_FRAME_PIXELS,
    MAX_FRAMES,
    MAX_INFLATED_BYTES,
)

# The library's messages quote element values, which are patient data; ours are reported instead.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE

Vector = tuple[float, float, float]

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"
ENCAPSULATED_LE = "1.2.840.10008.1.2.1.98"  # uncompressed frames, cut like compressed ones
NATIVE_SYNTAXES = (IMPLICIT_LE, EXPLICIT_LE, EXPLICIT_BE)
DICOMDIR_CLASS = "1.2.840.10008.1.3.10"

# What `dicom_decode` has a decoder for: JPEG, JPEG-LS, JPEG 2000 and its high-throughput kind, RLE, deflate.
_DECODABLE = frozenset(
    (
        *NATIVE_SYNTAXES,
        DEFLATED_LE,
        ENCAPSULATED_LE,
        "1.2.840.10008.1.2.5",
        "1.2.840.10008.1.2.8.1",
        *(
            f"1.2.840.10008.1.2.4.{number}"
            for number in (50, 51, 53, 55, 57, 70, 80, 81, 90, 91, 201, 202, 203)
        ),
    )
)

# Lossy by construction (PS3.5 10): the flag of the header is often missing.
LOSSY_SYNTAXES = frozenset(
    (
        "1.2.840.10008.1.2.4.50",
        "1.2.840.10008.1.2.4.51",
        "1.2.840.10008.1.2.4.53",
        "1.2.840.10008.1.2.4.55",
        "1.2.840.10008.1.2.4.81",
    )
)

# May be with or without loss: near-lossless JPEG-LS and two kinds of JPEG 2000.
_SELF_TELLING = ("1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91", "1.2.840.10008.1.2.4.203")
# Enough for the offset table of many frames and the head of the first codestream.
_CODESTREAM_START = 1 << 15

_PIXEL_TAGS = {
    0x7FE00008: "FloatPixelData",
    0x7FE00009: "DoubleFloatPixelData",
    0x7FE00010: "PixelData",
}

_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "ProtocolName",
    "Modality",
    "ImageType",
    "InstanceNumber",
    "AcquisitionNumber",
    "AcquisitionTime",
    "ContentTime",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "NominalPercentageOfCardiacPhase",
    "EchoNumbers",
    "ConvolutionKernel",
    "DiffusionBValue",
    "FrameOfReferenceUID",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "GantryDetectorTilt",
    "GridFrameOffsetVector",
    "SpacingBetweenSlices",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "ModalityLUTSequence",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "LossyImageCompression",
    "BurnedInAnnotation",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
]

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
class FileHeader:
    """What is needed of a file to group it and to read its pixels (PS3.3 C.7.6.3).

    ``pixel_offset`` and ``pixel_bytes`` are set where the pixels lie uncompressed in the file, so that
    they are read without parsing it again; ``pixel_offset`` is -1 otherwise.
    """

    path: Path
    transfer_syntax: str
    sop_class: str
    sop_uid: str
    series_uid: str
    series_number: str
    description: str
    modality: str
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

    @property
    def name(self) -> str:
        """Base name of the file."""
        return self.path.name

    @property
    def undecodable(self) -> str:
        """Why the pixels cannot be decoded whatever they are, "" where a decoder is known."""
        if self.transfer_syntax in _DECODABLE:
            return ""
        name = syntax_name(self.transfer_syntax)
        if "MPEG" in name or "HEVC" in name or "SMPTE" in name:
            return f"A video ({name}), which this program does not open. Export its frames as images."
        if "JPIP" in name:
            return (
                f"The pixels are on a server, not in the file ({name}). Export the images with their pixels."
            )
        return (
            f"The pixels are stored as {name}, for which there is no decoder here. "
            "Export the images again uncompressed or as JPEG 2000."
        )

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

    @property
    def colour(self) -> bool:
        """Whether a pixel has more than one sample, or a palette."""
        return self.samples > 1 or self.photometric == "PALETTE COLOR"


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

    @property
    def name(self) -> str:
        """Base name of the file, with the frame number where there are several."""
        if self.header.frame_count > 1:
            return f"{self.header.name}#{self.index}"
        return self.header.name


# ------------------------------------------------------------------------------------ reading values


def text(dataset: Any, keyword: str) -> str:
    """Return an element as stripped text, "" where it is absent or unreadable."""
    try:
        value = dataset.get(keyword)
    except LIBRARY_FAILURES:
        return ""
    if isinstance(value, str):
        return value.strip(" \0")
    if value is None:
        return ""
    if isinstance(value, Sequence) and not isinstance(value, (str, bytes)):
        return "\\".join(str(item) for item in value).strip(" \0")
    return str(value).strip(" \0")


def numbers(dataset: Any, keyword: str) -> tuple[float, ...]:
    """Return an element as finite numbers, () where it is absent or not all of it is numeric."""
    try:
        value = dataset.get(keyword)
        if value is None or isinstance(value, bytes):
            return ()
        items = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
        result = tuple(float(item) for item in items if str(item).strip())
    except LIBRARY_FAILURES:
        return ()
    return result if all(math.isfinite(item) for item in result) else ()


def number(dataset: Any, keyword: str) -> float | None:
    """Return the first number of an element, or None."""
    values = numbers(dataset, keyword)
    return values[0] if values else None


def integer(dataset: Any, keyword: str, default: int) -> int:
    """Return the first number of an element as int, or the default."""
    value = number(dataset, keyword)
    return default if value is None else int(value)


# --------------------------------------------------------------------------------------- recognising


def looks_like_dicom(start: bytes) -> bool:
    """Whether the first 132 bytes are those of a DICOM file, with or without the preamble.

    Without preamble, the first element is of group 0002 or 0008 (PS3.10 7.1 allows neither, but such
    files are common).
    """
    if start[128:132] == b"DICM" or start[:4] == b"DICM":
        return True
    if len(start) < 8:
        return False
    little = start[:2] in (b"\x02\x00", b"\x08\x00") and start[3] == 0
    big = start[:2] == b"\x00\x08" and start[2] == 0
    if not (little or big):
        return False
    length = int.from_bytes(start[4:8], "little")
    return (start[4:6].isalpha() and start[4:6].isupper()) or length < 1 << 16


def read_dataset(stream: BinaryIO, *, pixels: bool, all_tags: bool = False) -> Any:
    """Parse a DICOM stream, with or without its pixels.

    Without them only the elements that `read_header` needs are kept, unless ``all_tags`` asks for all.

    Raises
    ------
    FileError
        The stream is not DICOM or its structure is broken.
    """
    try:
        tags = None if all_tags or pixels else list(_TAGS)
        with time_limit():
            if _is_deflated(stream):
                return _read_deflated(stream, tags)
            if pixels:
                return pydicom.dcmread(stream, force=True)
            timed = cast(BinaryIO, _TimedStream(stream))
            return pydicom.dcmread(timed, force=True, stop_before_pixels=True, specific_tags=tags)
    except FileError:
        raise
    except InvalidDicomError as error:
        raise FileError("This is not a DICOM file.", status="skipped") from error
    except LIBRARY_FAILURES as error:
        raise FileError(plain_reason(error), details=type(error).__name__) from error


# When the time for the header that is being read in this thread is up.
_END: ContextVar[float | None] = ContextVar("end of the time for a header", default=None)


@contextmanager
def time_limit() -> Iterator[None]:
    """Give everything that is parsed inside the time of one header; an outer limit stays.

    A file can be made of millions of tiny elements or sequence items; each costs the parser a read. What
    counts is the time that this thread computes: a busy machine or a slow disk makes no file hostile.
    """
    token = _END.set(_END.get() or time.thread_time() + HEADER_SECONDS)
    try:
        yield
    finally:
        _END.reset(token)


def check_time() -> None:
    """Raise a FileError where the time for a header is up."""
    end = _END.get()
    if end is not None and time.thread_time() > end:
        raise FileError(
            f"The header took longer than {HEADER_SECONDS:g} s to read and was left: damaged or hostile."
        )


class _TimedStream:
    """A stream that refuses to be read for longer than a header may take."""

    _READS_PER_LOOK = 512

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._reads = 0
        self.seek, self.tell, self.close = stream.seek, stream.tell, stream.close

    def read(self, size: int = -1) -> bytes:
        """Read like the stream.

        Raises
        ------
        FileError
            The time is up.
        """
        self._reads += 1
        if self._reads % self._READS_PER_LOOK == 0:
            check_time()
        return self._stream.read(size)


def _is_deflated(stream: BinaryIO) -> bool:
    start = stream.read(4096)
    stream.seek(0)
    try:
        return start[128:132] == b"DICM" and read_meta(start)[0] == DEFLATED_LE
    except ValueError:
        return False


def _read_deflated(stream: BinaryIO, tags: list[str] | None) -> Any:
    """Parse a deflated data set (PS3.5 A.5), inflating no more than is allowed."""
    data = stream.read()
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflate.decompress(data[read_meta(data)[1] :], MAX_INFLATED_BYTES)
    if inflate.unconsumed_tail:
        raise FileError(
            f"The deflated file grows to more than {MAX_INFLATED_BYTES >> 20} MiB: damaged or hostile."
        )
    wanted: list[BaseTag | int] | None = None if tags is None else [Tag(keyword) for keyword in tags]
    timed = cast(BinaryIO, _TimedStream(BytesIO(plain)))
    dataset = filereader.read_dataset(timed, False, True, specific_tags=wanted)
    dataset.set_original_encoding(False, True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(DEFLATED_LE)
    return dataset


def transfer_syntax_of(dataset: Any) -> str:
    """Return the transfer syntax UID; where the file does not state it, that of its encoding."""
    stated = text(getattr(dataset, "file_meta", {}), "TransferSyntaxUID")
    if stated:
        return stated
    implicit, little = dataset.original_encoding
    if not little:
        return EXPLICIT_BE
    return IMPLICIT_LE if implicit else EXPLICIT_LE


def syntax_name(uid: str) -> str:
    """Return the name of a transfer syntax or SOP class for a message."""
    name = UID(uid).name
    return name if name != uid else f"unknown ({uid})"


# ---------------------------------------------------------------------------------------- one header


@dataclass(frozen=True, slots=True)
class _PixelElement:
    keyword: str
    offset: int
    length: int


def _pixel_element(stream: BinaryIO, dataset: Any, syntax: str) -> _PixelElement | None:
    """Find the pixel element at which parsing stopped; None where the file holds no pixels."""
    little = syntax != EXPLICIT_BE
    order = "little" if little else "big"
    start = stream.read(12)
    if len(start) < 8:
        return None
    group = int.from_bytes(start[:2], order)  # type: ignore[arg-type]
    element = int.from_bytes(start[2:4], order)  # type: ignore[arg-type]
    keyword = _PIXEL_TAGS.get(group << 16 | element)
    if keyword is None:
        return None
    implicit = dataset.original_encoding[0]
    if not implicit and start[4:6].isalpha():
        if len(start) < 12:
            return None
        length, used = int.from_bytes(start[8:12], order), 12  # type: ignore[arg-type]
    else:
        length, used = int.from_bytes(start[4:8], order), 8  # type: ignore[arg-type]
    return _PixelElement(keyword, stream.tell() - len(start) + used, length)


def read_header(path: Path) -> tuple[FileHeader, tuple[Frame, ...]]:
    """Read one file.

    Raises
    ------
    FileError
        It is no DICOM image ("skipped") or an image whose header is unusable ("error").
    """
    try:
        with path.open("rb") as stream:
            return read_header_from(stream, path)
    except OSError as error:
        raise FileError(plain_reason(error), details=type(error).__name__) from error


def read_header_from(stream: BinaryIO, path: Path) -> tuple[FileHeader, tuple[Frame, ...]]:
    """Read one file that is open already, from its start.

    Raises
    ------
    FileError
        It is no DICOM image ("skipped") or an image whose header is unusable ("error").
    """
    with time_limit():
        return _read_header(stream, path)


def _read_header(stream: BinaryIO, path: Path) -> tuple[FileHeader, tuple[Frame, ...]]:
    dataset: Any = None
    syntax = ""
    try:
        size = os.fstat(stream.fileno()).st_size
        stream.seek(0)
        dataset = read_elements(stream, size)
        if dataset is not None:
            syntax = dataset.transfer_syntax
            pixel = _PixelElement(dataset.pixel_keyword, dataset.pixel_offset, dataset.pixel_length)
            room = size - pixel.offset
        else:
            stream.seek(0)
            dataset, syntax, pixel, room = _parse(stream, size)
        header = _header(path, dataset, syntax, pixel)
        if syntax in _SELF_TELLING:
            header = _with_own_losses(header, dataset, stream, pixel.offset)
        _check_size(header, pixel.length, room)
        return header, _frames(dataset, header)
    except FileError as error:
        error.transfer_syntax = error.transfer_syntax or syntax
        error.series_uid = text(dataset, "SeriesInstanceUID") if dataset is not None else ""
        raise
    except LIBRARY_FAILURES as error:
        raise FileError(
            plain_reason(error),
            transfer_syntax=syntax,
            series_uid=text(dataset, "SeriesInstanceUID") if dataset is not None else "",
            details=type(error).__name__,
        ) from error


def _parse(stream: BinaryIO, size: int) -> tuple[Any, str, _PixelElement, int]:
    """Read a header of any kind: data set, transfer syntax, pixel element, bytes from there to the end."""
    dataset = read_dataset(stream, pixels=False)
    if not len(dataset) and not len(getattr(dataset, "file_meta", ())):
        raise FileError("This is not a DICOM file, or it ends before its first element.")
    syntax = transfer_syntax_of(dataset)
    if syntax == DEFLATED_LE:
        stream.seek(0)
        whole = read_dataset(stream, pixels=True)
        keyword = next((k for k in _PIXEL_TAGS.values() if k in whole), "")
        if not keyword:
            raise _no_pixels(dataset, syntax)
        length = len(whole[keyword].value)
        return dataset, syntax, _PixelElement(keyword, -1, length), length
    pixel = _pixel_element(stream, dataset, syntax)
    if pixel is None:
        raise _no_pixels(dataset, syntax)
    return dataset, syntax, pixel, size - pixel.offset


def _no_pixels(dataset: Any, syntax: str) -> FileError:
    sop_class = text(dataset, "SOPClassUID") or text(
        getattr(dataset, "file_meta", {}), "MediaStorageSOPClassUID"
    )
    if sop_class == DICOMDIR_CLASS:
        return IndexFileError(
            "A DICOMDIR: the index of other files, not an image.", status="skipped", transfer_syntax=syntax
        )
    if integer(dataset, "Rows", 0) > 0 and integer(dataset, "Columns", 0) > 0:
        return FileError(
            "An image header without pixel data: the file is cut off or was emptied.", transfer_syntax=syntax
        )
    kind = syntax_name(sop_class) if sop_class else "kind not stated"
    if "Image Storage" in kind:
        reason = f"An image without its picture ({kind}): the pixel data was removed or is cut off."
        return FileError(reason, transfer_syntax=syntax)
    return FileError(f"A DICOM object without an image ({kind}).", status="skipped", transfer_syntax=syntax)


_FRAMES_PER_LOOK = 256
# What the files of a series share, so that it is worked out once. Everything `_common` reads is here.
_COMMON_KEYWORDS = (
    "SpecificCharacterSet",
    "SOPClassUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "ProtocolName",
    "Modality",
    "ImageType",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "RescaleSlope",
    "RescaleIntercept",
    "RescaleType",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "LossyImageCompression",
    "BurnedInAnnotation",
    "GantryDetectorTilt",
)
_PLACE_KEYWORDS = ("ImageOrientationPatient", "PixelSpacing", "RescaleSlope", "RescaleIntercept")
_MARK_KEYWORDS = tuple(keyword for _, keyword in PHASE_MARKS)
_remembered: dict[tuple[object, ...], Any] = {}
_MAX_REMEMBERED = 256


def _remember(key: tuple[object, ...], make: Callable[[], Any]) -> Any:
    """Return what was made for a key before, else make it."""
    found = _remembered.get(key)
    if found is None:
        if len(_remembered) >= _MAX_REMEMBERED:
            _remembered.clear()
        found = _remembered[key] = make()
    return found


def _header(path: Path, dataset: Any, syntax: str, pixel: _PixelElement) -> FileHeader:
    native = syntax in NATIVE_SYNTAXES and pixel.length != 0xFFFFFFFF
    if isinstance(dataset, Elements):
        key = (syntax, pixel.keyword, *map(dataset.values.get, _COMMON_KEYWORDS))
        common = _remember(key, lambda: _common(dataset, syntax, pixel))
    else:
        common = _common(dataset, syntax, pixel)
    instance = number(dataset, "InstanceNumber")
    return FileHeader(
        path=path,
        sop_uid=text(dataset, "SOPInstanceUID"),
        instance_number=None if instance is None else int(instance),
        pixel_offset=pixel.offset if native else -1,
        pixel_bytes=pixel.length if native else 0,
        **common,
    )


def _with_own_losses(header: FileHeader, dataset: Any, stream: BinaryIO, offset: int) -> FileHeader:
    """Return the header with the losses that the codestream tells of; a flag in the header stands."""
    stream.seek(offset)
    told = is_lossy(stream.read(_CODESTREAM_START))
    stated = text(dataset, "LossyImageCompression") == "01"
    return header if told is None or stated else replace(header, lossy=told)


def _common(dataset: Any, syntax: str, pixel: _PixelElement) -> dict[str, Any]:
    """Return the fields of `FileHeader` that do not differ between the slices of a series."""
    allocated = integer(dataset, "BitsAllocated", 0)
    if pixel.keyword != "PixelData":
        allocated = 32 if pixel.keyword == "FloatPixelData" else 64
    stored = integer(dataset, "BitsStored", allocated) or allocated
    signed = integer(dataset, "PixelRepresentation", 0) == 1
    image_type = text(dataset, "ImageType").upper().split("\\")
    shared = items_of(dataset, "SharedFunctionalGroupsSequence")
    first = (*items_of(dataset, "PerFrameFunctionalGroupsSequence")[:1], *shared[:1], dataset)
    rescale = _find(first, "PixelValueTransformationSequence", "RescaleIntercept")
    slope, intercept = number(rescale, "RescaleSlope"), number(rescale, "RescaleIntercept")
    table = _modality_table(dataset, signed=signed)
    return {
        "transfer_syntax": syntax,
        "sop_class": text(dataset, "SOPClassUID"),
        "series_uid": text(dataset, "SeriesInstanceUID"),
        "series_number": text(dataset, "SeriesNumber"),
        "description": text(dataset, "SeriesDescription") or text(dataset, "ProtocolName"),
        "modality": text(dataset, "Modality").upper(),
        "localizer": "LOCALIZER" in image_type,
        "frame_of_reference": text(dataset, "FrameOfReferenceUID"),
        "rows": integer(dataset, "Rows", 0),
        "columns": integer(dataset, "Columns", 0),
        "samples": integer(dataset, "SamplesPerPixel", 1) or 1,
        "bits_allocated": allocated,
        "bits_stored": stored,
        "high_bit": integer(dataset, "HighBit", stored - 1),
        "signed": signed,
        "photometric": text(dataset, "PhotometricInterpretation").upper(),
        "frame_count": max(1, integer(dataset, "NumberOfFrames", 1)),
        "rescale_type": table.kind or "US" if table else text(rescale, "RescaleType").upper(),
        "rescaled": table is not None or (slope is not None and intercept is not None),
        "padding": _padding(dataset, signed=signed, bits=allocated),
        "lossy": text(dataset, "LossyImageCompression") == "01" or syntax in LOSSY_SYNTAXES,
        "burned_in": text(dataset, "BurnedInAnnotation").upper() == "YES",
        "tilt_degrees": number(dataset, "GantryDetectorTilt"),
        "pixel_keyword": pixel.keyword,
    }


def _modality_table(dataset: Any, *, signed: bool) -> LookupTable | None:
    """Return the Modality LUT of a file, which excludes a rescale (PS3.3 C.11.1); None where it has none.

    Raises
    ------
    FileError
        There is one, but it is damaged: what the stored values stand for is not known then.
    """
    items = items_of(dataset, "ModalityLUTSequence")
    return read_table(items[0], signed=signed) if items else None


def _padding(dataset: Any, *, signed: bool, bits: int) -> tuple[int, int] | None:
    """Return the range of stored values that mean "outside the field of view" (PS3.3 C.7.5.1.1.2)."""
    low = number(dataset, "PixelPaddingValue")
    if low is None:
        return None
    high = number(dataset, "PixelPaddingRangeLimit")
    ends = []
    for value in (low, low if high is None else high):
        whole = int(value)
        # Writers store the padding of signed pixels as unsigned when the VR is ambiguous.
        ends.append(whole - (1 << bits) if signed and bits <= 16 and whole >= 1 << (bits - 1) else whole)
    return min(ends), max(ends)


def _check_size(header: FileHeader, declared: int, room: int) -> None:
    """Refuse sizes that the file cannot hold, before anything is allocated for them."""
    if not header.rows and not header.columns:
        raise FileError("The header does not say how large the image is (Rows and Columns are missing or 0).")
    if header.rows < 1 or header.columns < 1:
        raise FileError(f"An image of {header.columns} x {header.rows} pixels: nothing to show.")
    if header.bits_allocated not in (1, 8, 16, 32, 64):
        raise FileError(f"BitsAllocated is {header.bits_allocated}; 1, 8, 16, 32 and 64 can be read.")
    if not 1 <= header.bits_stored <= header.bits_allocated:
        raise FileError(
            f"BitsStored is {header.bits_stored}, BitsAllocated {header.bits_allocated}: it must fit into it."
        )
    pixels = header.rows * header.columns
    if header.frame_count > MAX_FRAMES or pixels > MAX_FRAME_PIXELS:
        raise FileError(
            f"The file declares {header.frame_count} frames of {header.columns} x {header.rows} pixels, "
            "more than this program opens."
        )
    samples = 1 if header.photometric == "PALETTE COLOR" else header.samples
    bits = pixels * samples * header.frame_count * header.bits_allocated
    if header.photometric == "YBR_FULL_422" and header.pixel_offset >= 0:
        bits = bits * 2 // 3  # PS3.3 C.7.6.3.1.2: every second column carries the chrominance
    needed = (bits + 7) // 8
    uncompressed = header.pixel_offset >= 0 or header.transfer_syntax == DEFLATED_LE
    available = min(declared, room) if uncompressed else room
    if uncompressed and available < needed:
        raise FileError(
            f"The pixel data is cut off: {available} of {needed} bytes are there. Copy the file again."
        )
    if not uncompressed and needed > max(room, 1) * MAX_EXPANSION:
        raise FileError(
            f"The file declares {needed} bytes of pixels but holds {room} compressed ones: its size is wrong."
        )


# -------------------------------------------------------------------------------------------- frames


def items_of(dataset: Any, keyword: str) -> list[Any]:
    """Return the items of a sequence, none where it is absent or damaged.

    Raises
    ------
    FileError
        It has so many that the time for the header is up.
    """
    try:
        if isinstance(dataset, pydicom.Dataset):
            _convert_sequence(dataset, keyword)
        return list(dataset.get(keyword) or ())
    except LIBRARY_FAILURES:
        check_time()  # the library hides whatever goes wrong while it reads an item
        return []


def _convert_sequence(dataset: pydicom.Dataset, keyword: str) -> None:
    """Parse the items of a sequence as the library would do, but under the time limit."""
    tag = Tag(keyword)
    raw: Any = dataset.get_item(tag) if tag in dataset else None
    if not isinstance(raw, RawDataElement) or raw.VR not in (None, "SQ", "UN") or not raw.value:
        return
    stream = cast(BinaryIO, _TimedStream(BytesIO(raw.value)))
    implicit = raw.is_implicit_VR or raw.VR == "UN"  # PS3.5 6.2.2: an unknown sequence is implicit
    length, charset = len(raw.value), dataset.original_character_set
    sequence = filereader.read_sequence(stream, implicit, raw.is_little_endian, length, charset)
    dataset.add_new(tag, "SQ", sequence)


def _find(places: Sequence[Any], sequence: str, keyword: str) -> Any:
    """Return the first item that holds a keyword: in the frame's groups, the shared ones, the file."""
    for place in places:
        for item in items_of(place, sequence):
            if keyword in item:
                return item
    return places[-1]


def _vector(values: Sequence[float]) -> Vector | None:
    return (values[0], values[1], values[2]) if len(values) == 3 else None


def _directions(values: Sequence[float]) -> tuple[Vector, Vector] | None:
    """Return the two in-plane unit vectors, or None where they are no right-angled pair."""
    if len(values) != 6:
        return None
    row, column = values[:3], values[3:]
    lengths = [math.hypot(*row), math.hypot(*column)]
    if any(abs(length - 1) > COSINE_TOLERANCE for length in lengths):
        return None
    if abs(_dot(row, column)) > COSINE_TOLERANCE:
        return None
    return (
        (row[0] / lengths[0], row[1] / lengths[0], row[2] / lengths[0]),
        (column[0] / lengths[1], column[1] / lengths[1], column[2] / lengths[1]),
    )


def _dot(left: Sequence[float], right: Sequence[float]) -> float:
    return sum(a * b for a, b in zip(left, right, strict=True))


def _spacing(values: Sequence[float]) -> tuple[float, float] | None:
    return (values[0], values[1]) if len(values) == 2 and min(values) > 0 else None


def _only_frame(dataset: Elements, header: FileHeader) -> Frame:
    """Return the frame of an ordinary file that holds one."""
    values = dataset.values
    directions, spacing, slope, intercept = _remember(
        tuple(map(values.get, _PLACE_KEYWORDS)),
        lambda: (
            _directions(numbers(dataset, "ImageOrientationPatient")),
            _spacing(numbers(dataset, "PixelSpacing")),
            number(dataset, "RescaleSlope"),
            number(dataset, "RescaleIntercept"),
        ),
    )
    return Frame(
        header=header,
        index=0,
        position=_vector(numbers(dataset, "ImagePositionPatient")),
        row_direction=directions[0] if directions else None,
        column_direction=directions[1] if directions else None,
        spacing=spacing,
        slope=slope if slope else 1.0,
        intercept=intercept if intercept is not None else 0.0,
        marks=tuple([text(dataset, keyword) if keyword in values else "" for keyword in _MARK_KEYWORDS]),
    )


def _frames(dataset: Any, header: FileHeader) -> tuple[Frame, ...]:
    if isinstance(dataset, Elements) and header.frame_count == 1:
        return (_only_frame(dataset, header),)
    shared = items_of(dataset, "SharedFunctionalGroupsSequence")[:1]
    per_frame = items_of(dataset, "PerFrameFunctionalGroupsSequence")
    marks = tuple(text(dataset, keyword) for _, keyword in PHASE_MARKS)
    offsets = numbers(dataset, "GridFrameOffsetVector")
    table = _modality_table(dataset, signed=header.signed)
    # Without per-frame groups the one position of the file is that of its first frame only.
    placed = header.frame_count == 1 or bool(per_frame) or len(offsets) == header.frame_count
    told_apart = bool(per_frame) or len(offsets) == header.frame_count
    frames = []
    for index in range(header.frame_count if told_apart else 1):
        if index % _FRAMES_PER_LOOK == 0:
            check_time()
        own = per_frame[index : index + 1]
        places = (*own, *shared, dataset)
        directions = _directions(
            numbers(
                _find(places, "PlaneOrientationSequence", "ImageOrientationPatient"),
                "ImageOrientationPatient",
            )
        )
        position = _vector(
            numbers(_find(places, "PlanePositionSequence", "ImagePositionPatient"), "ImagePositionPatient")
        )
        if len(offsets) == header.frame_count > 1 and position and directions:
            normal = cross(*directions)
            travel = offsets[index]
            position = (
                position[0] + travel * normal[0],
                position[1] + travel * normal[1],
                position[2] + travel * normal[2],
            )
        rescale = _find(places, "PixelValueTransformationSequence", "RescaleIntercept")
        slope, intercept = number(rescale, "RescaleSlope"), number(rescale, "RescaleIntercept")
        if table is not None:
            slope, intercept = math.nan, 0.0
        frames.append(
            Frame(
                header=header,
                index=index,
                position=position if placed else None,
                row_direction=directions[0] if directions else None,
                column_direction=directions[1] if directions else None,
                spacing=_spacing(
                    numbers(_find(places, "PixelMeasuresSequence", "PixelSpacing"), "PixelSpacing")
                ),
                slope=slope if slope else 1.0,
                intercept=intercept if intercept is not None else 0.0,
                marks=_frame_marks(own, marks) if own else marks,
                table=table,
            )
        )
    if not told_apart:
        return tuple(replace(frames[0], index=index) for index in range(header.frame_count))
    return tuple(frames)


def _frame_marks(own: Sequence[Any], marks: tuple[str, ...]) -> tuple[str, ...]:
    """Return the phase marks with those of the frame's functional groups in place of the file's."""
    content = _find((*own, {}), "FrameContentSequence", "StackID") if own else {}
    if not content:
        content = _find((*own, {}), "FrameContentSequence", "FrameAcquisitionNumber")
    segment = _find((*own, {}), "SegmentIdentificationSequence", "ReferencedSegmentNumber")
    found = {
        "acquisition": text(content, "FrameAcquisitionNumber"),
        "time point": text(content, "TemporalPositionIndex"),
        "segment": text(segment, "ReferencedSegmentNumber"),
    }
    names = [name for name, _ in PHASE_MARKS]
    return tuple(found.get(name) or mark for name, mark in zip(names, marks, strict=True))


def cross(row: Vector, column: Vector) -> Vector:
    """Return the slice normal: the vector product of the in-plane directions."""
    return (
        row[1] * column[2] - row[2] * column[1],
        row[2] * column[0] - row[0] * column[2],
        row[0] * column[1] - row[1] * column[0],
    )
