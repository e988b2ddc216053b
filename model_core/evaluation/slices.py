"""A data-set picture as a one-slice volume, which is what the engine reads."""

from __future__ import annotations

import numpy as np

from model_core.types import FloatArray, Geometry, Volume


def one_slice_volume(hu: FloatArray, *, name: str) -> Volume:
    """Return (H, W) HU as a volume of one slice, rounded to whole HU; its spacing stays unknown."""
    limits = np.iinfo(np.int16)
    voxels = np.clip(np.rint(hu), limits.min, limits.max).astype(np.int16)[None]
    return Volume(series_id=name, title=name, voxels=voxels, geometry=Geometry(), unit="HU", plane="axial")
