"""Read the header of one DICOM file into plain records, without its pixels.

One file gives one `FileHeader` (how its pixels are stored) and one `Frame` per picture (where the
picture lies and how its values are rescaled). Enhanced multi-frame objects carry both per frame
(PS3.3 C.7.6.16); everything behind this module treats them like single files.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from model_core.read.dicom.codestream import is_lossy
from model_core.read.dicom.dataset import (
    Remembered,
    commas_read,
    integer,
    items_of,
    number,
    patient_of,
    read_dataset,
    text,
    time_limit,
    transfer_syntax_of,
)
from model_core.read.dicom.elements import PIXELS, Elements, read_elements
from model_core.read.dicom.frames import find_item, frames_of, modality_table
from model_core.read.dicom.records import Concatenation, FileHeader, Frame, is_hounsfield
from model_core.read.dicom.transfer_syntax import (
    DEFLATED_LE,
    EXPLICIT_BE,
    LOSSY_SYNTAXES,
    NATIVE_SYNTAXES,
    SELF_TELLING,
    syntax_name,
)
from model_core.read.errors import LIBRARY_FAILURES, FileError, IndexFileError
from model_core.read.tolerances import MAX_EXPANSION, MAX_FRAME_PIXELS, MAX_FRAMES

DICOMDIR_CLASS = "1.2.840.10008.1.3.10"
# CT Image, Enhanced CT Image and Legacy Converted Enhanced CT Image Storage: their modality is CT.
_CT_CLASSES = frozenset(f"1.2.840.10008.5.1.4.1.1.2{ending}" for ending in ("", ".1", ".2"))
# Scanners whose values are never Hounsfield units.
_OTHER_SCANNERS = ("MR", "NM", "PT")
# Enough for the offset table of many frames and the head of the first codestream.
_CODESTREAM_START = 1 << 15


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
    keyword = PIXELS.get(group << 16 | element)
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
        raise FileError.of(error) from error


def read_header_from(stream: BinaryIO, path: Path) -> tuple[FileHeader, tuple[Frame, ...]]:
    """Read one file that is open already, from its start.

    Raises
    ------
    FileError
        It is no DICOM image ("skipped") or an image whose header is unusable ("error").
    """
    with time_limit(), commas_read() as commas:
        return _read_header(stream, path, commas)


def _read_header(
    stream: BinaryIO, path: Path, commas: Collection[str]
) -> tuple[FileHeader, tuple[Frame, ...]]:
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
        if syntax in SELF_TELLING:
            header = _with_own_losses(header, dataset, stream, pixel.offset)
        _check_size(header, pixel.length, room)
        return _with_commas(header, frames_of(dataset, header), commas)
    except FileError as error:
        error.transfer_syntax = error.transfer_syntax or syntax
        error.series_uid = text(dataset, "SeriesInstanceUID") if dataset is not None else ""
        raise
    except LIBRARY_FAILURES as error:
        series_uid = text(dataset, "SeriesInstanceUID") if dataset is not None else ""
        raise FileError.of(error, transfer_syntax=syntax, series_uid=series_uid) from error


def _with_commas(
    header: FileHeader, frames: tuple[Frame, ...], commas: Collection[str]
) -> tuple[FileHeader, tuple[Frame, ...]]:
    """Return the records with the elements that were read with a decimal comma, if any."""
    if commas:
        header = replace(header, commas=tuple(sorted(commas)))
        frames = tuple(replace(frame, header=header) for frame in frames)
    return header, frames


def _parse(stream: BinaryIO, size: int) -> tuple[Any, str, _PixelElement, int]:
    """Read a header of any kind: data set, transfer syntax, pixel element, bytes from there to the end."""
    dataset = read_dataset(stream, pixels=False)
    if not len(dataset) and not len(getattr(dataset, "file_meta", ())):
        raise FileError("This is not a DICOM file, or it ends before its first element.")
    syntax = transfer_syntax_of(dataset)
    if syntax == DEFLATED_LE:
        stream.seek(0)
        whole = read_dataset(stream, pixels=True)
        keyword = next((k for k in PIXELS.values() if k in whole), "")
        if not keyword:
            raise _no_pixels(dataset, syntax)
        length = len(whole[keyword].value)
        return dataset, syntax, _PixelElement(keyword, -1, length), length
    pixel = _pixel_element(stream, dataset, syntax)
    if pixel is None:
        raise _no_pixels(dataset, syntax)
    return dataset, syntax, pixel, size - pixel.offset


def _sop_class(dataset: Any) -> str:
    """Return the SOP class; where the data set does not state it, that of the file's meta information."""
    meta = getattr(dataset, "file_meta", {})
    return text(dataset, "SOPClassUID") or text(meta, "MediaStorageSOPClassUID")


def _no_pixels(dataset: Any, syntax: str) -> FileError:
    sop_class = _sop_class(dataset)
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


def _header(path: Path, dataset: Any, syntax: str, pixel: _PixelElement) -> FileHeader:
    native = syntax in NATIVE_SYNTAXES and pixel.length != 0xFFFFFFFF
    common = (_remembered if isinstance(dataset, Elements) else _common)(dataset, syntax, pixel.keyword)
    instance = number(dataset, "InstanceNumber")
    items = not native and pixel.length == 0xFFFFFFFF and common["frame_count"] == 1
    return FileHeader(
        path=path,
        sop_uid=text(dataset, "SOPInstanceUID"),
        instance_number=None if instance is None else int(instance),
        pixel_offset=pixel.offset if native else -1,
        pixel_bytes=pixel.length if native else 0,
        codestream_offset=pixel.offset if items else -1,
        concatenation=_concatenation(dataset),
        **common,
    )


def _concatenation(dataset: Any) -> Concatenation | None:
    uid = text(dataset, "ConcatenationUID")
    if not uid:
        return None
    keywords = ("InConcatenationNumber", "InConcatenationTotalNumber", "ConcatenationFrameOffsetNumber")
    places = [number(dataset, keyword) for keyword in keywords]
    return Concatenation(uid, *(None if place is None else int(place) for place in places))


def _with_own_losses(header: FileHeader, dataset: Any, stream: BinaryIO, offset: int) -> FileHeader:
    """Return the header with the losses that the codestream tells of; a flag in the header stands."""
    stream.seek(offset)
    lossy = is_lossy(stream.read(_CODESTREAM_START))
    stated = text(dataset, "LossyImageCompression") == "01"
    return header if lossy is None or stated else replace(header, lossy=lossy)


def _common(dataset: Any, syntax: str, pixel_keyword: str) -> dict[str, Any]:
    """Return the fields of `FileHeader` that do not differ between the slices of a series."""
    allocated = integer(dataset, "BitsAllocated", 0)
    if pixel_keyword != "PixelData":
        allocated = 32 if pixel_keyword == "FloatPixelData" else 64
    stored = integer(dataset, "BitsStored", allocated) or allocated
    signed = integer(dataset, "PixelRepresentation", 0) == 1
    image_type = text(dataset, "ImageType").upper().split("\\")
    shared = items_of(dataset, "SharedFunctionalGroupsSequence")
    first = (*items_of(dataset, "PerFrameFunctionalGroupsSequence")[:1], *shared[:1], dataset)
    rescale = find_item(first, "PixelValueTransformationSequence", "RescaleIntercept")
    slope, intercept = number(rescale, "RescaleSlope"), number(rescale, "RescaleIntercept")
    table = modality_table(dataset, signed=signed)
    padding = _padding(dataset, signed=signed, bits=allocated, stored=stored)
    words = None
    if padding is not None and not signed and allocated <= 16 and padding[0] >= 1 << stored:
        # Written to all allocated bits, or to those that are stored.
        words, low = padding, padding[0] & ((1 << stored) - 1)
        padding = (low, low) if words[0] == words[1] else None
    sop_class = _sop_class(dataset)
    modality = text(dataset, "Modality").upper()
    kind = table.kind or "US" if table else text(rescale, "RescaleType")
    # Some programs write other pictures as CT objects: another modality stands unless the values say HU.
    is_ct = sop_class in _CT_CLASSES and (
        not modality or (modality not in _OTHER_SCANNERS and bool(kind) and is_hounsfield(kind))
    )
    return {
        "transfer_syntax": syntax,
        "sop_class": sop_class,
        "patient": patient_of(dataset),
        "study_uid": text(dataset, "StudyInstanceUID"),
        "series_uid": text(dataset, "SeriesInstanceUID"),
        "series_number": text(dataset, "SeriesNumber"),
        "description": text(dataset, "SeriesDescription") or text(dataset, "ProtocolName"),
        "modality": "CT" if is_ct else modality,
        "stated_modality": modality,
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
        "rescale_type": kind,
        # A slope of 0 would make all values one: it says as little as none.
        "rescaled": table is not None or (bool(slope) and intercept is not None),
        "padding": padding,
        "padding_words": words,
        "lossy": text(dataset, "LossyImageCompression") == "01" or syntax in LOSSY_SYNTAXES,
        "burned_in": text(dataset, "BurnedInAnnotation").upper() == "YES",
        "tilt_degrees": number(dataset, "GantryDetectorTilt"),
        "pixel_keyword": pixel_keyword,
    }


# The files of a series share all of that.
_remembered = Remembered(_common)


def _padding(dataset: Any, *, signed: bool, bits: int, stored: int) -> tuple[int, int] | None:
    """Return the range of stored values that mean "outside the field of view" (PS3.3 C.7.5.1.1.2)."""
    low = number(dataset, "PixelPaddingValue")
    if low is None:
        return None
    high = number(dataset, "PixelPaddingRangeLimit")
    ends = [
        _as_stored(int(value), signed=signed, bits=bits, stored=stored)
        for value in (low, low if high is None else high)
    ]
    return min(ends), max(ends)


def _as_stored(value: int, *, signed: bool, bits: int, stored: int) -> int:
    """Return a padding value in the representation of the pixels.

    Its VR, US or SS, should follow PixelRepresentation, and often does not: -2000 is written as 63536, and
    the other way round.
    """
    if bits > 16:
        return value
    word = value & ((1 << bits) - 1)
    if not signed:
        return word
    # Some fill only the stored bits of a negative value, others all allocated ones.
    width = stored if word < 1 << stored else bits
    return word - (1 << width) if word >= 1 << (width - 1) else word


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
