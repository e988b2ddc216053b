"""Open a catalogue entry: its volume, or a thumbnail of its middle slice."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import ByteArray, DoubleArray
from model_core.base.errors import ReadError, SettingsError, ordinal
from model_core.base.geometry import Geometry
from model_core.base.jobs import Progress
from model_core.base.volume import PartialVolume, Problem, SeriesEntry, Volume, Window
from model_core.read import archives, pictures, sandbox, tilt
from model_core.read.dicom import dataset as dicom_dataset
from model_core.read.dicom import header as dicom_header
from model_core.read.dicom import load as dicom_load
from model_core.read.dicom import series as dicom_series
from model_core.read.dicom.pixels import import_decoders, read_stored
from model_core.read.dicom.series import DicomSource
from model_core.read.dicom.stack import arrange
from model_core.read.entries import with_fewer_slices
from model_core.read.errors import FileError, quiet
from model_core.read.values import measure
from model_core.read.volumes import series as volume_series

# Shown where a CT file has no window of its own (width, level in HU).
_LUNG = Window(1500.0, -600.0)


def load(entry: SeriesEntry) -> Generator[Progress | Volume, None, None]:
    """Read the voxels of a series found by `scan`; the last item is the Volume.

    One damaged slice never stops a series: it is left out and named in ``Volume.problems``.

    Raises
    ------
    ReadError
        Nothing of the series can be read.
    MemoryNeeded
        It does not fit into memory; the error knows how many slices would (see `thin`).
    """
    for item in load_gradually(entry):
        if not isinstance(item, PartialVolume):
            yield item


def load_gradually(entry: SeriesEntry) -> Generator[Progress | PartialVolume | Volume, None, None]:
    """Read the voxels of a series as `load` does, and let them be looked at meanwhile.

    Of DICOM series that take a while a PartialVolume comes as soon as its first slice is read. The slice that
    it then wants is read next, and it comes again once that is there.

    One damaged slice never stops a series: it is left out and named in ``Volume.problems``.

    Raises
    ------
    ReadError
        Nothing of the series can be read.
    MemoryNeeded
        It does not fit into memory; the error knows how many slices would (see `thin`).
    """
    if isinstance(entry.source, DicomSource):
        yield from dicom_load.load_series(entry)
    elif isinstance(entry.source, volume_series.VolumeSource):
        yield from volume_series.load_volume(entry)
    elif isinstance(entry.source, pictures.PictureSource):
        yield from pictures.load_pictures(entry)
    else:
        raise ReadError("This series was not found by a scan: open its folder again.")


def warm_up() -> None:
    """Start the processes that decode compressed pixels, without waiting for them.

    For programs that stay open: their first compressed series is read sooner.
    """
    sandbox.shared.warm_up(import_decoders)


def thin(entry: SeriesEntry, step: int) -> SeriesEntry:
    """Return a series with every ``step``-th slice only, for series that do not fit into memory.

    Its title and problems say so. The first slice is the first one shown.

    Parameters
    ----------
    entry:
        A series found by `scan`.
    step:
        2 or more.

    Raises
    ------
    SettingsError
        The step is no such number, or leaves less than two slices.
    ReadError
        The series is no stack of DICOM slices or pictures.
    """
    if not 2 <= step < entry.size[0]:
        most = f"from 2 to {entry.size[0] - 1}" if entry.size[0] > 2 else "none, as the series is too short"
        raise SettingsError(f"Every {ordinal(step)} slice was asked for; possible is {most}.")
    if isinstance(entry.source, DicomSource):
        return dicom_series.every_nth(entry, step)
    if isinstance(entry.source, pictures.PictureSource):
        paths = entry.source.paths[::step]
        source = replace(entry.source, paths=paths)
        few = with_fewer_slices(entry, step)
        return replace(few, files=tuple(str(path) for path in paths), source=source)
    raise ReadError("Only DICOM series and folders of pictures can be opened with fewer slices.")


def straighten(entry: SeriesEntry) -> SeriesEntry:
    """Return a series whose slices a tilted gantry shifted sideways, corrected when it is loaded.

    Each slice is moved in its plane by linear interpolation until it lies above the first one; the picture
    grows to hold all of them. Series that are not tilted are returned as they are.

    Parameters
    ----------
    entry:
        A series found by `scan`.

    Raises
    ------
    SettingsError
        The size of a pixel is unknown, or the shift is more than that of a tilt.
    """
    if not tilt.is_sheared(entry):
        return entry
    assert isinstance(entry.source, DicomSource | volume_series.VolumeSource)
    straight = tilt.straight_entry(entry, geometry_of(entry), slice_origins(entry))
    return replace(straight, source=replace(entry.source, straight=True))


def thumbnail(entry: SeriesEntry, size: int = 64) -> ByteArray:
    """Return the middle slice, windowed for display.

    Parameters
    ----------
    entry:
        A series found by `scan`.
    size:
        Longest side of the result in pixels.

    Returns
    -------
    ByteArray
        (h, w) grey picture in the shape that the slice has in the patient.

    Raises
    ------
    ReadError
        The slice cannot be read.
    """
    windows: Sequence[Window] = ()
    inverted = False
    if isinstance(entry.source, DicomSource):
        picture, windows, inverted = dicom_load.middle_picture(entry)
        if not windows and entry.modality == "CT" and float(np.min(picture)) < _LUNG.level:
            windows = (_LUNG,)
    elif isinstance(entry.source, volume_series.VolumeSource):
        picture, unit = volume_series.middle_picture(entry)
        windows = (_LUNG,) if unit == "HU" and float(np.min(picture)) < _LUNG.level else ()
    elif isinstance(entry.source, pictures.PictureSource):
        with quiet():
            picture = pictures.read_picture(entry.source.paths[len(entry.source.paths) // 2])
    else:
        raise ReadError("This series was not found by a scan: open its folder again.")
    grey = _windowed(picture, windows)
    return _shrunk(255 - grey if inverted else grey, entry, size)


def geometry_of(entry: SeriesEntry) -> Geometry:
    """Return the geometry that a series will have when it is loaded, as far as its headers tell."""
    if isinstance(entry.source, DicomSource):
        return arrange(entry.source.frames).geometry
    if isinstance(entry.source, volume_series.VolumeSource):
        return entry.source.header.geometry
    return Geometry()


def slice_origins(entry: SeriesEntry) -> DoubleArray | None:
    """Return where the first displayed voxel of each slice lies: (slices, 3) LPS mm, None where unknown."""
    if isinstance(entry.source, DicomSource):
        return dicom_series.slice_origins(entry)
    return volume_series.slice_origins(geometry_of(entry), entry.size[0])


def value_problems(entry: SeriesEntry) -> tuple[Problem, ...]:
    """Return what only the values of a volume file say of themselves; nothing of other series.

    Raises
    ------
    ReadError
        They cannot be read.
    """
    if not isinstance(entry.source, volume_series.VolumeSource):
        return ()
    return measure(volume_series.read_values(entry.source.header)).problems


def stored_pixels(path: Path) -> npt.NDArray[Any]:
    """Decode one file and return its pixels as stored: before rescale, window and any turning.

    Returns
    -------
    numpy.ndarray
        DICOM: ([frames,] rows, columns[, 3]); palette indices stay indices, other colours are RGB.
        Volumes: (slices, rows, columns[, components]). Pictures: (rows, columns[, channels]).

    Raises
    ------
    ReadError
        The file cannot be decoded, or holds no image.
    """
    path = archives.real_path(path)
    try:
        with path.open("rb") as stream:
            start = stream.read(132)
    except OSError as error:
        raise FileError.of(error) from error
    if archives.looks_like_zip(start):
        raise FileError("An archive has no pixels of its own.", status="skipped")
    with quiet():
        if dicom_dataset.looks_like_dicom(start):
            header, frames = dicom_header.read_header(path)
            stored = list(read_stored(header, [frame.index for frame in frames], palette=False))
            return stored[0] if len(stored) == 1 else np.stack(stored)
        if pictures.looks_like_picture(start):
            return pictures.read_channels(path)
        return volume_series.read_components(volume_series.read_header(path))


def _windowed(picture: npt.NDArray[Any], windows: Sequence[Window]) -> ByteArray:
    values = np.nan_to_num(np.asarray(picture, np.float32))
    if windows:
        low = windows[0].level - windows[0].width / 2
        width = windows[0].width
    else:
        low, high = (float(value) for value in np.percentile(values, (1, 99)))
        width = max(high - low, 1e-6)
    grey: ByteArray = (np.clip((values - low) / width, 0, 1) * 255).astype(np.uint8)
    return grey


def _shrunk(grey: ByteArray, entry: SeriesEntry, size: int) -> ByteArray:
    from PIL import Image

    height, width = grey.shape[0] * geometry_of(entry).pixel_aspect, grey.shape[1]
    scale = size / max(height, width)
    target = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.asarray(Image.fromarray(np.ascontiguousarray(grey)).resize(target, Image.Resampling.BOX))
