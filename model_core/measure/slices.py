"""Slices of a data set: as a one-slice volume, which is what the engine reads, and where they come from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from model_core.base.arrays import FloatArray
from model_core.base.geometry import Geometry
from model_core.base.settings import GreyMap
from model_core.base.volume import Volume
from model_core.data import ClassifiedSlice, LabelledSlice
from model_core.data.pictures import read_grey, read_index
from model_core.engine.greymap import likely_hu_range

GREY_MAPS: dict[str, str] = {
    "window": "index.tsv's grey-to-HU map, else a lung window (1500, -600)",
    "estimate": "index.tsv's grey-to-HU map, else a lung window, or a wider one estimated from a picture's "
    "lung and soft-tissue peaks",
}

S = TypeVar("S", LabelledSlice, ClassifiedSlice)


def with_grey_map(slices: Iterable[S], grey_map: GreyMap) -> list[S]:
    """Return the slices with the grey-to-HU map of those that have none chosen as in `GREY_MAPS`.

    Raises
    ------
    DataError
        If a picture cannot be read (only ``estimate`` reads them).
    """
    if grey_map == "window":
        return list(slices)
    found = []
    for item in slices:
        if not item.hu_stated:
            low, high = likely_hu_range(read_grey(item.image_path))
            found.append(replace(item, low_hu=low, high_hu=high))
        else:
            found.append(item)
    return found


def one_slice_volume(hu: FloatArray, *, name: str) -> Volume:
    """Return (H, W) HU as a volume of one slice, rounded to whole HU; its spacing stays unknown."""
    limits = np.iinfo(np.int16)
    voxels = np.clip(np.rint(hu), limits.min, limits.max).astype(np.int16)[None]
    return Volume(series_id=name, title=name, voxels=voxels, geometry=Geometry(), unit="HU", plane="axial")


def read_sources(folder: Path, names: Sequence[str]) -> dict[str, str] | None:
    """Return the source of each slice by name from the column ``source`` of ``index.tsv``.

    None where there is no such column, or it names one source only.

    Raises
    ------
    DataError
        If the index cannot be read.
    """
    index = read_index(folder / "index.tsv")
    found = {name: index.get(name, {}).get("source", "") or "not stated" for name in names}
    return found if len(set(found.values())) > 1 else None
