"""Pick the few elements of an ordinary DICOM header out of its bytes, without parsing the rest.

A general parser spends a millisecond per file, most of it on elements nobody asks for. This one walks
the element lengths (PS3.5 7.1) and keeps what `header` reads. It is deliberately narrow: whatever
is unusual (no preamble, big endian, deflated, odd value representations, functional groups, elements
out of order) makes it answer None, and the general parser decides.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO

from pydicom.charset import convert_encodings, decode_bytes
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR, PersonName

_IMPLICIT_LE = "1.2.840.10008.1.2"
# Syntaxes whose header is not little endian and plain: big endian and the two deflated ones.
_OTHER_ENCODINGS = ("1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.95")

_FIRST_READ = 16 << 10
_LARGEST_HEADER = 4 << 20
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xE000, 0xE00D, 0xE0DD

_EXPLICIT = struct.Struct("<HH2sH")
_IMPLICIT = struct.Struct("<HHI")
_LENGTH = struct.Struct("<I")
_LONG_VRS = frozenset(kind.encode() for kind in EXPLICIT_VR_LENGTH_32)
_VRS = frozenset(kind.encode() for kind in STANDARD_VR)

#: Tags and keywords of the elements that hold pixels.
PIXELS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
# Frames described one by one, or by offsets: for the general parser.
_FRAME_GROUPS = frozenset((0x52009229, 0x52009230))

# A header with one of these is for the general parser.
_GENERAL = ("ConcatenationUID", "ModalityLUTSequence")
#: Keywords of the elements that are picked.
PICKED = (
    "SpecificCharacterSet",
    "ImageType",
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyDate",
    "AcquisitionTime",
    "ContentTime",
    "Modality",
    "InstitutionName",
    "StudyDescription",
    "SeriesDescription",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "PatientAge",
    "EchoNumbers",
    "ProtocolName",
    "TriggerTime",
    "GantryDetectorTilt",
    "ImagerPixelSpacing",
    "ConvolutionKernel",
    "NominalScannedPixelSpacing",
    "DiffusionBValue",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "AcquisitionNumber",
    "InstanceNumber",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "FrameOfReferenceUID",
    "TemporalPositionIdentifier",
    "ConcatenationUID",
    "NominalPercentageOfCardiacPhase",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "PixelSpacing",
    "PixelAspectRatio",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelPaddingValue",
    "PixelPaddingRangeLimit",
    "BurnedInAnnotation",
    "RescaleIntercept",
    "RescaleSlope",
    "RescaleType",
    "LossyImageCompression",
    "ModalityLUTSequence",
    "GridFrameOffsetVector",
)
# Of each by its tag: keyword, and value representation(s) that are understood here.
_WANTED = {
    tag: (keyword, dictionary_VR(tag))
    for tag, keyword in ((tag_for_keyword(keyword), keyword) for keyword in PICKED)
    if tag is not None
}
_NUMBERS = {"US": "H", "SS": "h", "FL": "f", "FD": "d"}


class _Unusual(ValueError):  # noqa: N818 - not an error: the general parser takes over
    """The header is not of the ordinary kind."""


class _TooShort(ValueError):  # noqa: N818 - not an error: more of the file is read
    """The buffer ends before the pixels."""


class Asked(dict[str, tuple[str, bytes]]):
    """Elements that know which of them, there or not, were asked for."""

    def __init__(self, values: dict[str, tuple[str, bytes]]) -> None:
        super().__init__(values)
        self.asked: set[str] = set()

    def get(self, keyword: str, default: Any = None) -> Any:
        """Return an element as a dictionary does."""
        self.asked.add(keyword)
        return super().get(keyword, default)

    def __getitem__(self, keyword: str) -> tuple[str, bytes]:
        self.asked.add(keyword)
        return super().__getitem__(keyword)

    def __contains__(self, keyword: object) -> bool:
        self.asked.add(str(keyword))
        return super().__contains__(keyword)


@dataclass(frozen=True, slots=True)
class Elements:
    """The wanted elements of a header, read like a pydicom data set by `get`."""

    values: dict[str, tuple[str, bytes]]
    transfer_syntax: str
    pixel_keyword: str
    pixel_offset: int
    pixel_length: int

    def __contains__(self, keyword: str) -> bool:
        return keyword in self.values

    def get(self, keyword: str) -> str | list[str] | list[float] | None:
        """Return an element: numbers as a list, UIDs and words as text, None where absent or empty."""
        kind, data = self.values.get(keyword, ("", b""))
        if not data:
            return None
        code = _NUMBERS.get(kind)
        if code is not None:
            count = len(data) // struct.calcsize(code)
            return list(struct.unpack_from(f"<{count}{code}", data))
        if kind in ("DS", "IS"):
            return [item.strip(" \0") for item in data.decode("ascii", "replace").split("\\")]
        if kind in ("LO", "SH", "PN"):
            return self._free_text(data, kind)
        return data.decode("ascii", "replace").strip(" \0")

    def _free_text(self, data: bytes, kind: str) -> str:
        if data.isascii() and b"\x1b" not in data:
            return data.decode("ascii").strip(" \0")
        stated = self.values.get("SpecificCharacterSet", ("CS", b""))[1].decode("ascii", "replace")
        encodings = convert_encodings([item.strip(" \0") for item in stated.split("\\")])
        if kind == "PN":
            return str(PersonName(data, encodings)).strip(" \0")
        return decode_bytes(data, encodings, set()).strip(" \0")


def read_elements(stream: BinaryIO, size: int) -> Elements | None:
    """Read an ordinary header from the start of a stream of ``size`` bytes; None where it is unusual."""
    buffer = stream.read(_FIRST_READ)
    while True:
        try:
            return _walk(buffer)
        except _TooShort:
            if len(buffer) >= min(size, _LARGEST_HEADER):
                return None
            more = stream.read(_LARGEST_HEADER - len(buffer))
            if not more:
                return None
            buffer += more
        except (_Unusual, struct.error):
            return None


# What the first 8 bytes of an ordinary element say, of explicit and of implicit headers: tag, length, keyword
# (where it is wanted) and value representation. The files of a series share nearly all of them.
_Head = tuple[int, int, str, str]
_heads: tuple[dict[bytes, _Head], dict[bytes, _Head]] = ({}, {})
_MOST_HEADS = 4096


def _walk(buffer: bytes) -> Elements:
    syntax, start = read_meta(buffer) if buffer[128:132] == b"DICM" else ("", 0)
    implicit = syntax == _IMPLICIT_LE
    as_stated = implicit != (buffer[start + 4 : start + 6] in _VRS)
    if not syntax or syntax in _OTHER_ENCODINGS or not as_stated:
        raise _Unusual
    values: dict[str, tuple[str, bytes]] = {}
    position, previous, last = start, 0, len(buffer) - 12
    heads = _heads[implicit]
    while position <= last:
        value = position + 8
        head = heads.get(buffer[position:value])
        if head is None:
            head, value = _new_head(buffer, position, implicit=implicit)
        tag, length, keyword, kind = head
        if tag <= previous:
            raise _Unusual
        previous, position = tag, value + length
        if keyword:
            if position > len(buffer):
                raise _TooShort
            values[keyword] = kind, buffer[value:position]
        elif tag in PIXELS:
            if "SOPClassUID" not in values:
                raise _Unusual
            values = _with_padding(values, implicit=implicit)
            return Elements(values, syntax, PIXELS[tag], value, length)
        elif length == _UNDEFINED:
            position = _after_undefined(buffer, value, kind, implicit=implicit)
    raise _TooShort


def _new_head(buffer: bytes, position: int, *, implicit: bool) -> tuple[_Head, int]:
    """Return what an element's head says and where its value starts; ordinary ones are remembered."""
    group, element, stated, length, size = _element(buffer, position, implicit=implicit)
    tag = group << 16 | element
    keyword, known = _WANTED.get(tag, ("", ""))
    kind = stated.decode() or known[:2]
    odd = tag in _FRAME_GROUPS or (group > 0x7FE0 and tag not in PIXELS)
    if odd or keyword in _GENERAL or (keyword and kind not in known):
        raise _Unusual
    head = tag, length, keyword, kind
    if size == 8 and length != _UNDEFINED and tag not in PIXELS:
        heads = _heads[implicit]
        if len(heads) >= _MOST_HEADS:
            heads.clear()
        heads[buffer[position : position + 8]] = head
    return head, position + size


def _after_undefined(buffer: bytes, position: int, kind: str, *, implicit: bool) -> int:
    """Return where an element of undefined length ends."""
    if kind not in ("SQ", ""):
        raise _Unusual
    return _after_sequence(buffer, position, implicit=implicit)


def read_meta(buffer: bytes) -> tuple[str, int]:
    """Return the transfer syntax and where the data set starts in a file with preamble (PS3.10 7.1)."""
    position, syntax, end = 132, "", len(buffer)
    while True:
        if position + 12 > end:
            raise _TooShort
        if buffer[position : position + 2] != b"\x02\x00":
            return syntax, position
        _, element, _, length, head = _element(buffer, position, implicit=False)
        position += head
        if element == 0x0010:
            syntax = buffer[position : position + length].decode("ascii", "replace").strip(" \0")
        if length == _UNDEFINED:
            raise _Unusual
        position += length


def _element(buffer: bytes, position: int, *, implicit: bool) -> tuple[int, int, bytes, int, int]:
    """Return group, element, VR, length, and the bytes before the value."""
    if implicit:
        group, element, length = _IMPLICIT.unpack_from(buffer, position)
        return group, element, b"", length, 8
    group, element, kind, length = _EXPLICIT.unpack_from(buffer, position)
    if kind in _LONG_VRS:
        return group, element, kind, _LENGTH.unpack_from(buffer, position + 8)[0], 12
    if kind not in _VRS:
        raise _Unusual
    return group, element, kind, length, 8


def _after_sequence(buffer: bytes, position: int, *, implicit: bool) -> int:
    """Return where a sequence of undefined length ends; depth is counted, so nesting costs no stack."""
    depth, end = 1, len(buffer)
    while depth:
        if position + 12 > end:
            raise _TooShort
        group, element, length = _IMPLICIT.unpack_from(buffer, position)
        if group == 0xFFFE:
            position += 8
            if element in (_ITEM_END, _SEQUENCE_END):
                depth -= 1
            elif element == _ITEM and length == _UNDEFINED:
                depth += 1
            else:
                position += length
            continue
        _, _, kind, length, head = _element(buffer, position, implicit=implicit)
        position += head
        if length != _UNDEFINED:
            position += length
        elif kind in (b"SQ", b""):
            depth += 1
        else:
            raise _Unusual
    return position


def _with_padding(values: dict[str, tuple[str, bytes]], *, implicit: bool) -> dict[str, tuple[str, bytes]]:
    """Give the padding of an implicit header the sign of the pixels: there its VR is not stated."""
    if implicit and values.get("PixelRepresentation", ("", b""))[1][:1] == b"\x01":
        for keyword in ("PixelPaddingValue", "PixelPaddingRangeLimit"):
            if keyword in values:
                values[keyword] = ("SS", values[keyword][1])
    return values
