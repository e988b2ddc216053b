"""Tell masks from images: what is found beside a series, or dropped on it, may be its reference mask."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.errors import ReadError
from model_core.io import itk_formats, pictures
from model_core.io.dicom.segmentation import is_segmentation
from model_core.io.dicom.series import DicomSource
from model_core.io.labels import read_labels
from model_core.types import ByteArray, SeriesEntry, Volume

# Label maps of whole bodies have some hundred labels; grey pictures have nearly all 256 values.
_MOST_LABELS = 128
# Pixels that equal their neighbour: nearly all of labelled areas, few of anything measured.
_FLAT = 0.9
# Pictures of a folder that are looked at.
_LOOKED_AT = 8


def is_mask(entry: SeriesEntry) -> bool:
    """Whether a series found by a scan is a label mask of other images: by its kind, else by its values.

    DICOM segmentations say so. Of volume files and PNG pictures the values are read: few whole numbers from 0
    to 255 in flat areas.
    """
    source = entry.source
    if isinstance(source, DicomSource):
        return is_segmentation(source.frames[0].header)
    try:
        if isinstance(source, itk_formats.VolumeSource):
            return _labelled([itk_formats.read_values(source.header)])
        if isinstance(source, pictures.PictureSource) and not source.deep:
            step = max(1, len(source.paths) // _LOOKED_AT)
            return _labelled([pictures.read_picture(path) for path in source.paths[::step]])
    except ReadError:
        return False
    return False


def mask_for(entry: SeriesEntry, volume: Volume) -> ByteArray | None:
    """Return a mask found by a scan on the grid of a volume, or None where it is no mask or does not fit.

    Returns
    -------
    ByteArray or None
        (D, H, W) labels in display order, as `read_labels` gives them.
    """
    if not is_mask(entry):
        return None
    source = entry.source
    path = Path(entry.files[0])
    if isinstance(source, DicomSource):
        path = source.frames[0].header.path
    elif isinstance(source, pictures.PictureSource):
        path = source.paths[0] if len(source.paths) == 1 else source.paths[0].parent
    elif isinstance(source, itk_formats.VolumeSource):
        path = source.header.path
    try:
        labels = read_labels(path, volume)
    except ReadError:
        return None
    return labels if labels.any() else None


def _labelled(parts: list[npt.NDArray[Any]]) -> bool:
    values = np.concatenate([np.unique(part) for part in parts])
    found = np.unique(values[np.isfinite(values)])
    if len(found) < 2 or len(found) > _MOST_LABELS or len(values) > len(parts) * _MOST_LABELS:
        return False
    if found[0] != 0 or found[-1] > 255 or bool((found != np.rint(found)).any()):
        return False
    equal = [float(np.mean(part[..., 1:] == part[..., :-1])) for part in parts if part.shape[-1] > 1]
    return bool(equal) and float(np.mean(equal)) >= _FLAT
