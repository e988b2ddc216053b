"""From slice pixels to picture pixels, with pixel edges as the common measure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import BoolArray, FloatArray, VoxelArray
from model_core.base.errors import SettingsError
from model_core.base.volume import Volume

# Shorter side in picture pixels below which text, or text and plots, would not be legible.
TEXT_SIDE, PLOTS_SIDE = 384, 640
MAX_SIDE = 16384
_ENLARGED_SIDE = 8192


@dataclass(frozen=True)
class Sampling:
    """Slice of ``shape`` (H, W) shown on ``size`` (h, w) picture pixels; edges map to edges."""

    shape: tuple[int, int]
    size: tuple[int, int]

    @property
    def scale(self) -> tuple[float, float]:
        """Picture pixels per slice pixel in x and y, after rounding the size."""
        return self.size[1] / self.shape[1], self.size[0] / self.shape[0]

    def values(self, slice_: VoxelArray, *, smooth: bool) -> VoxelArray:
        """Resample voxel values: between pixels, averaged where the picture is smaller, or the nearest."""
        if self.size == self.shape:
            return slice_
        if not smooth:
            nearest: VoxelArray = self.nearest(slice_)
            return nearest
        from PIL import Image

        picture = Image.fromarray(np.ascontiguousarray(slice_, dtype=np.float32))
        resized = picture.resize((self.size[1], self.size[0]), Image.Resampling.BILINEAR)
        values: VoxelArray = np.rint(np.asarray(resized)).astype(np.int16)
        return values

    def nearest(self, array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Repeat or skip pixels of a (H, W) array: each picture pixel takes the one under its centre."""
        return array[np.ix_(*self._sources())]

    def patch(self, mask: BoolArray) -> tuple[slice, slice, BoolArray] | None:
        """Return where a (H, W) mask lies in the picture, and its picture pixels there; None if empty."""
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not rows.size:
            return None
        from_rows, from_columns = self._sources()
        y = slice(*np.searchsorted(from_rows, (rows[0], rows[-1] + 1)).tolist())
        x = slice(*np.searchsorted(from_columns, (columns[0], columns[-1] + 1)).tolist())
        return y, x, mask[np.ix_(from_rows[y], from_columns[x])]

    def boxes(self, boxes: FloatArray) -> FloatArray:
        """Map (N, 4) boxes to picture pixels."""
        return boxes * np.array(self.scale * 2, np.float32)

    def _sources(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        def along(source: int, target: int) -> npt.NDArray[np.intp]:
            return ((np.arange(target) + 0.5) * source / target).astype(np.intp)

        return along(self.shape[0], self.size[0]), along(self.shape[1], self.size[1])


def sampling(volume: Volume, *, scale: float, least_side: int = 0) -> Sampling:
    """Choose the picture size: ``scale`` along the finer axis, the other by the shape of a pixel.

    ``least_side`` is the shorter side the picture must reach, by a whole factor on ``scale``. Pixels of
    unknown shape count as square.

    Raises
    ------
    SettingsError
        If a side would be longer than 16384 pixels.
    """
    height, width = volume.voxels.shape[1:]
    aspect = volume.geometry.pixel_aspect
    stretch = (max(1.0, aspect), max(1.0, 1 / aspect))
    shorter, longer = sorted((height * stretch[0] * scale, width * stretch[1] * scale))
    factor = int(np.ceil(least_side / shorter)) if shorter < least_side else 1
    factor = max(1, min(factor, int(_ENLARGED_SIDE / longer)))  # a strip stays a strip
    size = (
        max(1, round(height * stretch[0] * scale * factor)),
        max(1, round(width * stretch[1] * scale * factor)),
    )
    if max(size) > MAX_SIDE:
        raise SettingsError(
            f"A picture of {size[1]} x {size[0]} pixels is too large (at most {MAX_SIDE} a side): "
            "choose a smaller scale."
        )
    return Sampling((height, width), size)
