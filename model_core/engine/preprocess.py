"""From a slice of a volume to network input, with the exact inverse geometry (`Placement`)."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
from PIL import Image

from model_core.anatomy.body import outside_of
from model_core.base.arrays import FloatArray, VoxelArray
from model_core.base.results import Placement
from model_core.base.settings import GREY_HIGH_HU, GREY_LOW_HU, InputSpec
from model_core.base.volume import Volume
from model_core.engine.greymap import likely_hu_range

AIR_HU = -1000.0
# Volumes without HU are stretched between these percentiles of their values.
VALUE_PERCENTILES = (0.5, 99.5)
# Of the volumes that are open: an estimate looks at many slices.
_grey_ranges: WeakKeyDictionary[Volume, tuple[float, float]] = WeakKeyDictionary()


def placement(volume: Volume, spec: InputSpec) -> Placement:
    """Return how a slice of the volume lies in the square input: scaled to fit, isotropic in mm, centred.

    A slice that already has the size of the input is passed through pixel by pixel.
    """
    height, width = volume.voxels.shape[1:]
    aspect = volume.geometry.pixel_aspect
    scale = spec.size / max(height * aspect, width)
    new_height, new_width = max(1, round(height * aspect * scale)), max(1, round(width * scale))
    return Placement(
        slice_shape=(height, width),
        size=spec.size,
        scale_x=new_width / width,
        scale_y=new_height / height,
        offset_x=(spec.size - new_width) // 2,
        offset_y=(spec.size - new_height) // 2,
    )


def to_unit_range(
    volume: Volume, index: int, spec: InputSpec, *, voxels: VoxelArray | None = None
) -> FloatArray:
    """Return slice ``index`` as (H, W) float32 in 0..1 over the window of the weights.

    ``voxels`` are looked at in place of its own; what was estimated of the volume stays as it is.
    """
    values = (volume.voxels[index] if voxels is None else voxels).astype(np.float32)
    low, high = spec.low_hu, spec.high_hu
    if volume.unit == "grey":
        at_0, at_255 = grey_range(volume, spec)
        values = at_0 + values * ((at_255 - at_0) / 255.0)
    elif volume.unit == "values":
        middle = volume.voxels[volume.slices // 2]
        low, high = (float(p) for p in np.percentile(middle, VALUE_PERCENTILES))
        high = max(high, low + 1.0)
    outside = outside_of(volume, index) if spec.outside == "air" else None
    if outside is not None:
        values[outside] = AIR_HU
    picture = np.clip((values - low) / (high - low), 0.0, 1.0)
    if volume.inverted and volume.unit != "HU":
        picture = 1.0 - picture
    unit: FloatArray = picture.astype(np.float32)
    return unit


def grey_range(volume: Volume, spec: InputSpec) -> tuple[float, float]:
    """Return the HU that grey 0 and grey 255 of a series of pictures count as for these weights."""
    if spec.grey == "window":
        return GREY_LOW_HU, GREY_HIGH_HU
    if volume not in _grey_ranges:
        _grey_ranges[volume] = likely_hu_range(volume.voxels.astype(np.uint8))
    return _grey_ranges[volume]


def network_input(
    volume: Volume, index: int, spec: InputSpec, *, voxels: VoxelArray | None = None
) -> FloatArray:
    """Return the (size, size) float32 network input in 0..1 of slice ``index``; padding is 0 (air).

    ``voxels`` as for `to_unit_range`.
    """
    place = placement(volume, spec)
    picture = to_unit_range(volume, index, spec, voxels=voxels)
    height, width = place.slice_shape
    size = (round(height * place.scale_y), round(width * place.scale_x))
    if size != place.slice_shape:
        # Each pixel is a mean over what it covers (bilinear with antialiasing).
        scaled = Image.fromarray(picture).resize(size[::-1], Image.Resampling.BILINEAR)
        picture = np.asarray(scaled)
    square = np.zeros((spec.size, spec.size), np.float32)
    top, left = int(place.offset_y), int(place.offset_x)
    square[top : top + size[0], left : left + size[1]] = picture
    return square
