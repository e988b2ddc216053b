"""8-bit pictures of slices, their index table, and the map from grey to (approximate) HU."""

from __future__ import annotations

import csv
from collections.abc import Container, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image

from model_core.base.arrays import ByteArray, FloatArray
from model_core.base.errors import DataError
from model_core.base.filenames import FETCH, absent, plain_name
from model_core.base.settings import GREY_HIGH_HU, GREY_LOW_HU
from model_core.data.findings import Findings, tell
from model_core.read.pictures import FAILURES, turned, upright

SUFFIXES = (".png", ".jpg", ".jpeg")

_BOMBS = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_FAILURES: tuple[type[Exception], ...] = (*FAILURES, *_BOMBS)
_MODES = ("L", "1", "P", "RGB", "RGBA", "LA")


def refuse_absent(paths: Iterable[Path]) -> None:
    """Raise `DataError` where the content of files is not here: dead links, pointers, empty files."""
    reasons = {path: reason for path in paths if (reason := absent(path))}
    if reasons:
        first, reason = next(iter(reasons.items()))
        raise DataError(
            f"{len(reasons)} files of the data set are not here, first "
            f"'{first.parent.name}/{first.name}', which is {reason}. {FETCH}",
            details=str(first),
        )


def read_grey(path: Path) -> ByteArray:
    """Return a picture as (H, W) uint8, upright by its EXIF orientation; colour is reduced to luminance.

    Raises
    ------
    DataError
        If it is damaged or not 8-bit.
    """
    return read_upright(path)[0]


def read_index_picture(path: Path) -> ByteArray:
    """Return a mask file's stored values as (H, W) uint8: palette indices or greys, no conversion.

    Upright by its EXIF orientation, as its picture is.

    Raises
    ------
    DataError
        If it is damaged, or holds colours (of equal channels the first is taken).
    """
    return read_upright(path, mask=True)[0]


def read_upright(path: Path, *, mask: bool = False) -> tuple[ByteArray, bool]:
    """Return what `read_grey` or `read_index_picture` returns, and whether EXIF turned or mirrored it.

    Raises
    ------
    DataError
        See there.
    """
    try:
        with Image.open(path) as image:
            shown, was_turned = upright(image), turned(image)
            if not mask:
                if image.mode not in _MODES:
                    raise DataError(
                        f"{path.name} is not an 8-bit picture (mode {image.mode}).", details=str(path)
                    )
                return np.asarray(shown.convert("L"), np.uint8).copy(), was_turned
            if image.mode == "1":
                return np.asarray(shown, np.uint8).copy(), was_turned
            stored = np.asarray(shown)
    except _FAILURES as error:
        raise _unreadable("mask" if mask else "picture", path, error) from error
    return _one_value_per_pixel(stored, path), was_turned


def _one_value_per_pixel(stored: npt.NDArray[Any], path: Path) -> ByteArray:
    if stored.ndim == 3:
        colour = stored[..., :3] if stored.shape[-1] >= 3 else stored[..., :1]
        if (colour != colour[..., :1]).any():
            raise DataError(f"The mask {path.name} is a colour picture; a mask holds one value per pixel.")
        stored = colour[..., 0]
    if stored.dtype != np.uint8 and (stored.min() < 0 or stored.max() > 255):
        raise DataError(f"The mask {path.name} holds values outside 0..255.")
    return stored.astype(np.uint8)


class GreyPicture:
    """A slice of a data set: a grey picture and the approximate HU of its ends."""

    image_path: Path
    low_hu: float
    high_hu: float

    def image_hu(self) -> FloatArray:
        """Read the picture as (H, W) approximate HU.

        Raises
        ------
        DataError
            If the file is damaged.
        """
        return to_hu(read_grey(self.image_path), low=self.low_hu, high=self.high_hu)


def to_hu(grey: ByteArray, *, low: float, high: float) -> FloatArray:
    """Map grey 0..255 linearly to ``low``..``high`` HU (approximate: pictures carry no HU)."""
    return (low + grey.astype(np.float32) * np.float32((high - low) / 255.0)).astype(np.float32)


def read_index(path: Path, *, report: Findings | None = None) -> dict[str, dict[str, str]]:
    """Return the rows of a tab-separated ``index.tsv`` by the stem of their ``file`` or ``slice`` column.

    A missing file is an empty index; so is one that is wrong, where that is reported.

    Raises
    ------
    DataError
        If it names no file or slice column, or lists one twice, and nothing is reported.
    """
    try:
        return _index_rows(path) if path.is_file() else {}
    except DataError as error:
        tell(report, error, "index_table")
        return {}


def _index_rows(path: Path) -> dict[str, dict[str, str]]:
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, delimiter="\t", strict=True)
            columns = reader.fieldnames or []
            key = next((name for name in ("file", "slice") if name in columns), None)
            if key is None:
                raise DataError(
                    f"{path.name} needs a column 'file' or 'slice'; it has: {', '.join(columns)}."
                )
            rows: dict[str, dict[str, str]] = {}
            for row in reader:
                name = plain_name((row[key] or "").strip())
                stem = name.rsplit(".", 1)[0] if Path(name).suffix.lower() in SUFFIXES else name
                if stem in rows:
                    raise DataError(f"{path.name} lists '{name}' twice.")
                rows[stem] = {k: v for k, v in row.items() if isinstance(k, str) and isinstance(v, str)}
    except (OSError, UnicodeError, csv.Error) as error:
        raise DataError(
            f"{path.name} cannot be read as a tab-separated table.", details=str(error)
        ) from error
    return rows


def tell_stray_rows(index: Iterable[str], pictures: Container[str], *, report: Findings | None) -> None:
    """Report the rows of an index that are of no picture; they are not used."""
    if report is not None:
        text = "Rows of index.tsv have no picture."
        for name in (name for name in index if name not in pictures):
            report.add("warning", "stray_index_row", text, action="Not used.", file=name)


class HuRange(NamedTuple):
    """HU at grey 0 and at grey 255, and whether somebody said so."""

    low: float
    high: float
    stated: bool


def hu_range(row: Mapping[str, str], *, name: str) -> HuRange:
    """Return the grey-to-HU map of an index row, or the lung window where it has none.

    Raises
    ------
    DataError
        If the numbers cannot be read or do not ascend.
    """
    texts = [row.get(f"approx_hu_at_{grey}", "").strip() for grey in (0, 255)]
    if not any(texts):
        return HuRange(GREY_LOW_HU, GREY_HIGH_HU, stated=False)
    try:
        low, high = (float(text) for text in texts)
        ascending = bool(np.isfinite([low, high]).all()) and high > low
    except ValueError:
        ascending = False
    if not ascending:
        raise DataError(
            f"The grey-to-HU map of '{name}' is '{texts[0]}' to '{texts[1]}'; "
            "two ascending numbers are needed."
        )
    return HuRange(low, high, stated=True)


def _unreadable(kind: str, path: Path, error: Exception) -> DataError:
    # Bombs are raised by the header alone; nothing of that size is a slice.
    why = ": its header says far more pixels than a slice has" if isinstance(error, _BOMBS) else ""
    return DataError(f"The {kind} {path.name} cannot be read{why}.", details=f"{path}: {error}")
