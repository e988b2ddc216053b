"""Tell masks from images: what is found beside a series, or dropped on it, may be its reference mask."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import ByteArray
from model_core.base.errors import ReadError
from model_core.base.volume import Catalogue, SeriesEntry, Volume
from model_core.read import itk_formats, pictures
from model_core.read.dicom.segmentation import is_segmentation
from model_core.read.dicom.series import DicomSource
from model_core.read.labels import read_labels

# Label maps of whole bodies have some hundred labels; grey pictures have nearly all 256 values.
_MOST_LABELS = 128
# Pixels that equal their neighbour: nearly all of labelled areas, few of anything measured.
_FLAT = 0.9
# Pictures of a folder that are looked at.
_LOOKED_AT = 8
# Volume files and folders of pictures whose values are read to tell what they are.
_MOST_READ = 8


def masks_among(catalogue: Catalogue, *, volume: Volume | None = None) -> frozenset[str]:
    """Return the ids of the series that are label masks of other images, by their kind, else by their values.

    DICOM segmentations say so. Of volume files and PNG pictures the values are read (few whole numbers from 0
    to 255 in flat areas): where there are few of them, and another series, or the open ``volume``, has their
    size. Beside an open volume masks of other sizes count too: `mask_for` brings them onto its grid.
    """
    found = {entry.series_id for entry in catalogue.series if _is_segmentation(entry)}
    others = [entry for entry in catalogue.series if not isinstance(entry.source, DicomSource)]
    sizes = Counter(_size(entry.size) for entry in catalogue.series)
    if len(others) <= _MOST_READ:
        for entry in others:
            if (volume is not None or sizes[_size(entry.size)] > 1) and _has_labels(entry):
                found.add(entry.series_id)
    return frozenset(found)


def mask_for(entry: SeriesEntry, volume: Volume) -> ByteArray:
    """Return a mask found by a scan on the grid of a volume.

    Returns
    -------
    ByteArray
        (D, H, W) labels in display order, as `read_labels` gives them.

    Raises
    ------
    ReadError
        It does not fit the volume, or cannot be read.
    """
    source = entry.source
    if isinstance(source, DicomSource):
        path = source.frames[0].header.path
    elif isinstance(source, pictures.PictureSource):
        path = source.paths[0] if len(source.paths) == 1 else source.paths[0].parent
    elif isinstance(source, itk_formats.VolumeSource):
        path = source.header.path
    else:
        raise ReadError("This mask was not found by a scan: open it again.")
    labels = read_labels(path, volume)
    if not labels.any():
        raise ReadError(f"Nothing of the mask '{path.name}' lies on this series.")
    return labels


def _is_segmentation(entry: SeriesEntry) -> bool:
    source = entry.source
    return isinstance(source, DicomSource) and is_segmentation(source.frames[0].header)


def _size(size: tuple[int, int, int]) -> tuple[int, ...]:
    """Return a size whatever the order of its axes."""
    return tuple(sorted(size))


def _has_labels(entry: SeriesEntry) -> bool:
    source = entry.source
    try:
        if isinstance(source, itk_formats.VolumeSource):
            return _labelled([itk_formats.read_values(source.header)])
        if isinstance(source, pictures.PictureSource) and not source.deep:
            step = max(1, len(source.paths) // _LOOKED_AT)
            return _labelled([pictures.read_picture(path) for path in source.paths[::step]])
    except ReadError:
        return False
    return False


def _labelled(parts: list[npt.NDArray[Any]]) -> bool:
    values = np.concatenate([np.unique(part) for part in parts])
    found = np.unique(values[np.isfinite(values)])
    if len(found) < 2 or len(found) > _MOST_LABELS or len(values) > len(parts) * _MOST_LABELS:
        return False
    if found[0] != 0 or found[-1] > 255 or bool((found != np.rint(found)).any()):
        return False
    equal = [float(np.mean(part[..., 1:] == part[..., :-1])) for part in parts if part.shape[-1] > 1]
    return bool(equal) and float(np.mean(equal)) >= _FLAT
