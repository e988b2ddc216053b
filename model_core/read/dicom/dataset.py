"""Parse DICOM data sets within limits of time and size, and take values out of them without trusting them."""

from __future__ import annotations

import logging
import math
import re
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from io import BytesIO
from typing import Any, BinaryIO, cast

import pydicom
from pydicom import config as pydicom_config
from pydicom import filereader
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.tag import BaseTag, Tag
from pydicom.uid import UID

from model_core.base.volume import PatientText
from model_core.read.dicom.elements import PICKED, Asked, Elements, read_meta
from model_core.read.dicom.transfer_syntax import DEFLATED_LE, EXPLICIT_BE, EXPLICIT_LE, IMPLICIT_LE
from model_core.read.errors import LIBRARY_FAILURES, FileError
from model_core.read.tolerances import HEADER_SECONDS, MAX_INFLATED_BYTES

# The library's messages quote element values, which are patient data; ours are reported instead.
logging.getLogger("pydicom").setLevel(logging.CRITICAL + 1)
pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE

# What a header is read for; other elements are skipped.
_TAGS = (
    *PICKED,
    "InConcatenationNumber",
    "InConcatenationTotalNumber",
    "ConcatenationFrameOffsetNumber",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
)


# ------------------------------------------------------------------------------------- parsing


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
        raise FileError.of(error) from error


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


# -------------------------------------------------------------------------------------- values


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
    """Return an element as finite numbers, () where it is absent or not all of it is numeric.

    A decimal comma is read as a point; `commas_read` collects where there was one.
    """
    try:
        value = _decimal_text(dataset, keyword)
        if value is None or isinstance(value, bytes):
            return ()
        items = [value] if isinstance(value, str) or not isinstance(value, Iterable) else list(value)
        plain = [_with_point(item, keyword) for item in items]
        result = tuple(float(item) for item in plain if str(item).strip())
    except LIBRARY_FAILURES:
        return ()
    return result if all(math.isfinite(item) for item in result) else ()


# A number as programs write it under a locale with decimal commas, against PS3.5 6.2.
_DECIMAL_COMMA = re.compile(r"[+-]?(?:\d+,\d*|,\d+)(?:[eE][+-]?\d+)?")
_COMMAS: ContextVar[set[str] | None] = ContextVar("elements with a decimal comma", default=None)


@contextmanager
def commas_read() -> Iterator[set[str]]:
    """Collect the keywords of the elements that were read with a decimal comma inside."""
    keywords: set[str] = set()
    token = _COMMAS.set(keywords)
    try:
        yield keywords
    finally:
        _COMMAS.reset(token)


def note_commas(read: Iterable[str]) -> None:
    """Add keywords to those that `commas_read` collects."""
    keywords = _COMMAS.get()
    if keywords is not None:
        keywords.update(read)


class Remembered:
    """Works something out once for all headers that agree in every element that it was worked out from.

    Which elements these are is not stated but seen: whatever any header was asked for so far has to agree.

    Parameters
    ----------
    work_out:
        From a header, and from anything else that has a hash.
    """

    _MOST = 256

    def __init__(self, work_out: Callable[..., Any]) -> None:
        self._work_out = work_out
        self._asked: tuple[str, ...] = ()
        self._results: dict[tuple[object, ...], tuple[Any, frozenset[str]]] = {}

    def __call__(self, elements: Elements, *others: object) -> Any:
        """Return what is worked out from a header; decimal commas count as read again (`commas_read`)."""
        asked, values = self._asked, elements.values
        known = self._results.get((asked, *others, *map(values.get, asked)))
        if known is None:
            recorded = Asked(values)
            with commas_read() as commas:
                known = self._work_out(replace(elements, values=recorded), *others), frozenset(commas)
            asked = self._asked = tuple(sorted(recorded.asked.union(asked)))
            if len(self._results) >= self._MOST:
                self._results.clear()
            self._results[(asked, *others, *map(values.get, asked))] = known
        note_commas(known[1])
        return known[0]


def _decimal_text(dataset: Any, keyword: str) -> Any:
    """Return an element's value; one that the library cannot convert as the texts that it holds."""
    try:
        return dataset.get(keyword)
    except ValueError:
        raw = dataset.get_item(keyword)
        if not isinstance(raw, RawDataElement) or not isinstance(raw.value, bytes):
            raise
        return raw.value.decode("ascii", "replace").split("\\")


def _with_point(item: Any, keyword: str) -> Any:
    if not isinstance(item, str) or "," not in item:
        return item
    plain = item.strip(" \0")
    if not _DECIMAL_COMMA.fullmatch(plain):
        return item
    note_commas((keyword,))
    return plain.replace(",", ".")


def patient_of(dataset: Any) -> PatientText:
    """Return the identifying text of a data set as it is written; formatting is for those who show it."""
    return PatientText(
        name=text(dataset, "PatientName"),
        patient_id=text(dataset, "PatientID"),
        birth_date=text(dataset, "PatientBirthDate"),
        sex=text(dataset, "PatientSex"),
        age=text(dataset, "PatientAge"),
        study_date=text(dataset, "StudyDate"),
        study_description=text(dataset, "StudyDescription"),
        institution=text(dataset, "InstitutionName"),
    )


def number(dataset: Any, keyword: str) -> float | None:
    """Return the first number of an element, or None."""
    values = numbers(dataset, keyword)
    return values[0] if values else None


def integer(dataset: Any, keyword: str, default: int) -> int:
    """Return the first number of an element as int, or the default."""
    value = number(dataset, keyword)
    return default if value is None else int(value)


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
