"""Read DICOM lookup tables: Modality LUT (PS3.3 C.11.1.1) and VOI LUT (PS3.3 C.11.2.1.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.read.errors import LIBRARY_FAILURES, FileError

# A descriptor of 0 entries means this many: 16 bits cannot hold the number.
_ALL_ENTRIES = 1 << 16


@dataclass(frozen=True, eq=False)
class LookupTable:
    """A table from whole values to unsigned ones.

    Attributes
    ----------
    first:
        The value that the first entry stands for; smaller ones get the first entry, values beyond the
        table the last one.
    entries:
        (n,) uint16.
    bits:
        Bits that an entry may use, 8 to 16.
    name:
        LUTExplanation, or "".
    kind:
        ModalityLUTType, or "".
    """

    first: int
    entries: npt.NDArray[np.uint16]
    bits: int
    name: str = ""
    kind: str = ""

    def apply(self, values: npt.NDArray[Any]) -> npt.NDArray[np.uint16]:
        """Return the entries of values; fractions count as the whole number below."""
        places = np.clip(np.floor(values).astype(np.int64) - self.first, 0, self.entries.size - 1)
        mapped: npt.NDArray[np.uint16] = self.entries[places]
        return mapped


def read_table(item: Any, *, signed: bool) -> LookupTable:
    """Read one item of a LUT sequence.

    Parameters
    ----------
    item:
        A pydicom data set with LUTDescriptor and LUTData.
    signed:
        Whether the values that go in may be negative: writers put the first of them into an unsigned
        element all the same.

    Raises
    ------
    FileError
        The table is damaged: it has no entries, fewer than it declares, or entries of an impossible size.
    """
    try:
        count, first, bits = (int(value) for value in item.LUTDescriptor)
        data = item.LUTData
        name, kind = str(item.get("LUTExplanation") or ""), str(item.get("ModalityLUTType") or "")
        little = item.original_encoding[1] is not False
        entries = _entries(data, count % _ALL_ENTRIES or _ALL_ENTRIES, bits=bits, little=little)
    except FileError:
        raise
    except LIBRARY_FAILURES as error:
        raise FileError("A lookup table of the file is damaged.", details=type(error).__name__) from error
    if not 1 <= bits <= 16:
        raise FileError(f"A lookup table of the file has entries of {bits} bits; 8 to 16 are possible.")
    if signed and first >= 1 << 15:
        first -= 1 << 16
    return LookupTable(first, entries, bits, name.strip(" \0"), kind.strip(" \0").upper())


def _entries(data: Any, count: int, *, bits: int, little: bool) -> npt.NDArray[np.uint16]:
    """Return the declared number of entries; of 8-bit ones, several may share a word."""
    values: npt.NDArray[Any]
    if isinstance(data, bytes):
        wide = bits > 8 or len(data) >= 2 * count
        values = np.frombuffer(data, ("<u2" if little else ">u2") if wide else np.uint8)
    else:
        values = np.atleast_1d(np.asarray(data, np.int64)) & 0xFFFF
    if values.size < count:
        raise FileError(f"A lookup table of the file is cut off: {values.size} of {count} entries are there.")
    return values[:count].astype(np.uint16)
