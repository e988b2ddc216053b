"""Slices of a data set: as a one-slice volume, which is what the engine reads, and where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from model_core.datasets.pictures import read_index
from model_core.types import FloatArray, Geometry, Volume


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
