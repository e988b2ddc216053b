"""Folders of PNG or JPEG slices: grey values without any unit or spacing, upright as EXIF says."""

from __future__ import annotations

import os
import struct
import warnings
from collections import defaultdict
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from model_core.base.errors import ReadError
from model_core.base.filenames import named, natural_key
from model_core.base.geometry import Geometry
from model_core.base.jobs import Progress
from model_core.base.volume import Problem, SeriesEntry, Unit, Volume
from model_core.read import sandbox
from model_core.read.entries import series_id
from model_core.read.errors import LIBRARY_FAILURES, FileError, quiet
from model_core.read.memory import check_memory
from model_core.read.tolerances import MAX_FRAME_PIXELS
from model_core.read.values import fit_int16

FORMATS = ("PNG", "JPEG")
_THREADS = min(4, os.cpu_count() or 1)
# Pictures between two looks at cancel.
_BATCH = 2 * _THREADS
# Up to four channels of 32 bits.
_MOST_BYTES = MAX_FRAME_PIXELS * 16
_MAGIC = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")
#: Everything that Pillow was seen to raise on damaged or hostile pictures.
FAILURES: tuple[type[Exception], ...] = (*LIBRARY_FAILURES, Image.DecompressionBombError)
_DEEP_MODES = ("I;16", "I;16B", "I;16L", "I", "F")


# What damaged EXIF was seen to raise; the picture itself may be sound.
_DAMAGED = (SyntaxError, struct.error, ValueError, TypeError, KeyError, IndexError, OverflowError)
# Orientations that swap width and height.
_ON_ITS_SIDE = (5, 6, 7, 8)


@dataclass(frozen=True)
class PictureHeader:
    """Size of a picture and whether it has more than 8 bits per value."""

    path: Path
    width: int
    height: int
    deep: bool


@dataclass(frozen=True)
class PictureSource:
    """Reader's key of a folder of pictures."""

    paths: tuple[Path, ...]
    deep: bool


def upright(image: Image.Image) -> Image.Image:
    """Return a picture as every viewer shows it (Pillow's ``exif_transpose``); damaged EXIF says nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ImageOps.exif_transpose(image)
        except _DAMAGED:
            return image


def turned(image: Image.Image) -> bool:
    """Whether `upright` turns or mirrors a picture."""
    return _orientation(image.getexif) in range(2, 9)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Return width and height of a picture as `upright` returns it, without decoding it."""
    width, height = image.size
    # A PNG's own would decode the picture, to look for EXIF behind it.
    orientation = _orientation(lambda: Image.Image.getexif(image))
    return (height, width) if orientation in _ON_ITS_SIDE else (width, height)


def _orientation(read: Callable[[], Image.Exif]) -> int | None:
    """Return the orientation 1..8 (EXIF 2.32, tag 274); None where there is none or EXIF is damaged."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return read().get(ExifTags.Base.Orientation)
        except _DAMAGED:
            return None


def looks_like_picture(start: bytes) -> bool:
    """Whether a file starts like PNG or JPEG."""
    return start.startswith(_MAGIC)


def read_header(path: Path) -> PictureHeader:
    """Read the size of a picture.

    Raises
    ------
    FileError
        The file is damaged or too large.
    """
    with quiet():
        try:
            with path.open("rb") as stream, Image.open(stream, formats=FORMATS) as image:
                width, height = upright_size(image)
                mode = image.mode
        except FAILURES as error:
            raise FileError.of(error) from error
    if width * height > MAX_FRAME_PIXELS:
        raise FileError(f"A picture of {width} x {height} pixels, more than this program opens.")
    return PictureHeader(path, width, height, mode in _DEEP_MODES)


def entries(headers: Sequence[PictureHeader]) -> list[SeriesEntry]:
    """Return one series per folder, size and depth, in natural order of names."""
    parts: dict[tuple[Path, int, int, bool], list[PictureHeader]] = defaultdict(list)
    for header in headers:
        parts[header.path.parent, header.height, header.width, header.deep].append(header)
    siblings: dict[Path, int] = defaultdict(int)
    for folder, *_ in parts:
        siblings[folder] += 1
    result = []
    for (folder, height, width, deep), members in parts.items():
        ordered = sorted(members, key=lambda item: natural_key(item.path.name))
        paths = tuple(item.path for item in ordered)
        problems = [
            Problem(
                "info",
                "Pictures say neither where they lie in the patient nor how large a pixel is.",
                "Slices are in natural order of their names; lengths in mm are off.",
                code="no_geometry",
            )
        ]
        title = f"{folder.name} pictures" if len(paths) > 1 else paths[0].name
        if siblings[folder] > 1 and len(paths) >= 1:
            text = f"The pictures of this folder have {siblings[folder]} different sizes or depths."
            action = f"Each is a series; this one is {width} x {height}."
            names = named(p.name for p in paths)
            problems.append(Problem("info", text, action, names, code="mixed_sizes"))
            title += f" {width} x {height}" if len(paths) > 1 else ""
        key = f"{folder.resolve()}|{height}|{width}|{deep}|{paths[0].name if len(paths) == 1 else ''}"
        result.append(
            SeriesEntry(
                series_id=series_id(key),
                title=title,
                modality="",
                size=(len(paths), height, width),
                files=tuple(str(path) for path in paths),
                problems=tuple(problems),
                source=PictureSource(paths, deep),
            )
        )
    return result


def read_picture(path: Path) -> npt.NDArray[Any]:
    """Read one picture upright as (h, w): uint8 luminance, or the values of a deeper one.

    Raises
    ------
    FileError
        The file is damaged.
    """
    return _read(path, channels=False)


def read_channels(path: Path) -> npt.NDArray[Any]:
    """Read one picture as stored: (h, w) or (h, w, channels); palette indices stay indices, EXIF is not used.

    Raises
    ------
    FileError
        The file is damaged.
    """
    return _read(path, channels=True)


def _read(path: Path, *, channels: bool) -> npt.NDArray[Any]:
    picture: npt.NDArray[Any] = sandbox.call(decode, path, max_bytes=_MOST_BYTES, channels=channels)
    if getattr(picture, "ndim", 0) not in ((2, 3) if channels else (2,)):
        raise sandbox.unusable("no picture")
    return picture


def decode(path: Path, *, channels: bool) -> npt.NDArray[Any]:
    """Decode a picture. Runs in a process of its own, see `sandbox`.

    Raises
    ------
    FileError
        The file is damaged.
    """
    try:
        with path.open("rb") as stream, Image.open(stream, formats=FORMATS) as image:
            if channels:
                return np.asarray(image)
            shown = upright(image)
            if shown.mode in _DEEP_MODES:
                return np.asarray(shown)
            if shown.mode in ("LA", "PA", "RGBA"):
                # Transparent pixels are background, not the colour hidden under them.
                flat = Image.new("RGBA", shown.size, (0, 0, 0, 255))
                flat.alpha_composite(shown.convert("RGBA"))
                return np.asarray(flat.convert("L"))
            return np.asarray(shown.convert("L"))
    except FAILURES as error:
        raise FileError.of(error) from error


def _picture_or_reason(path: Path) -> npt.NDArray[Any] | str:
    try:
        return read_picture(path)
    except FileError as error:
        return error.message


def load_pictures(entry: SeriesEntry) -> Generator[Progress | Volume, None, None]:
    """Read a folder of pictures; the last item is the Volume.

    Raises
    ------
    ReadError
        Not one picture can be read.
    """
    source = cast(PictureSource, entry.source)
    depth, height, width = entry.size
    check_memory(depth * height * width * (6 if source.deep else 2), slices=depth)
    voxels = np.empty((depth, height, width), np.int16)
    exact = np.empty((depth, height, width), np.float32) if source.deep else None
    kept: list[Path] = []
    failed: dict[str, str] = {}
    target = voxels if exact is None else exact
    with ThreadPoolExecutor(_THREADS, "ctmasknet-read") as pool:
        for start in range(0, depth, _BATCH):
            batch = source.paths[start : start + _BATCH]
            for path, picture in zip(batch, pool.map(_picture_or_reason, batch), strict=True):
                if isinstance(picture, str):
                    failed[path.name] = picture
                elif picture.shape != (height, width):
                    failed[path.name] = "The picture changed its size since the folder was read."
                else:
                    target[len(kept)] = picture
                    kept.append(path)
            yield Progress(min(start + _BATCH, depth), depth, "Reading pictures")
    if not kept:
        raise ReadError(
            f"No picture of this series can be read: {next(iter(failed.values()), 'it is empty.')}"
        )
    problems = list(entry.problems)
    if failed:
        text = f"{len(failed)} picture(s) cannot be read: {' '.join(dict.fromkeys(failed.values()))}"
        problems.append(
            Problem("warning", text, "They are left out.", named(failed), code="unreadable_slices")
        )
    voxels = voxels[: len(kept)]
    unit: Unit = "grey"
    if exact is not None:
        unit = "values"
        problems += fit_int16(exact[: len(kept)], voxels).problems
    yield Volume(
        series_id=entry.series_id,
        title=entry.title,
        voxels=voxels,
        geometry=Geometry(),
        unit=unit,
        modality="",
        slice_names=tuple(path.name for path in kept),
        lossy=any(path.suffix.lower() in (".jpg", ".jpeg") for path in kept),
        problems=tuple(problems),
        every=entry.every,
    )
