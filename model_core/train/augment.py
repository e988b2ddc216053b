"""One augmented training example from a packed slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model_core.base.arrays import BoolArray, ByteArray, FloatArray
from model_core.train.appearance import degrade, jitter_window, put_in_body, unit
from model_core.train.geometry import draw_motion, warp
from model_core.train.packing import LESION_BITS, LUNG_BIT, PackedSlice
from model_core.train.pitfalls import add_dome, without_lungs

# How often a lung crop is shown as part of a full field of view, and then how large.
BODY_SHARE, BODY_ZOOM = 0.25, (0.55, 0.8)
# How often a lesion-free slice gives way to air or soft tissue alone, and a whole field of view to one whose
# lungs are filled with tissue (series go beyond the lungs); how often the diaphragm rises into a lung.
NOTHING_SHARE, LUNGLESS_SHARE, DOME_SHARE = 0.12, 0.35, 0.15
# A neck is smaller than a chest.
LUNGLESS_ZOOM = (0.5, 1.4)


@dataclass(frozen=True, eq=False)
class AugmentedSlice:
    """``image`` (S, S) float32 in 0..1; ``lesion`` (S, S) values 0, 1, 2; ``lung`` (S, S) or None."""

    image: FloatArray
    lesion: ByteArray
    lung: BoolArray | None


def augment(
    one: PackedSlice,
    generator: np.random.Generator,
    *,
    size: int,
    zoom: tuple[float, float],
    appearance: float = 1.0,
) -> AugmentedSlice:
    """Return the slice moved, re-windowed and degraded at random; labels move with the picture.

    ``appearance`` is the share of the slices whose grey values change.
    """
    free = not one.lesion.any() and one.image_class is None
    if free and generator.random() < NOTHING_SHARE:
        return _nothing(generator, size=size)
    if free and not one.cropped and generator.random() < LUNGLESS_SHARE:
        changed = without_lungs(one, generator)
        if changed is not None:
            one, zoom = changed, LUNGLESS_ZOOM
    elif one.image_class is None and generator.random() < DOME_SHARE:
        one = add_dome(one, generator) or one
    shape = (one.image.shape[0], one.image.shape[1])
    in_body = one.cropped and generator.random() < BODY_SHARE
    motion = draw_motion(
        generator,
        shape=shape,
        zoom=BODY_ZOOM if in_body else zoom,
        centre=0.15 if in_body else 0.05,
    )
    picture, labels, inside = warp(one.image, one.labels, motion, size=size)
    if in_body:
        picture = put_in_body(picture, inside, generator)
    if appearance == 1.0 or generator.random() < appearance:
        picture = jitter_window(picture, generator, hu_error=one.hu_error)
        picture = degrade(picture, generator)
    lung = (labels & LUNG_BIT) > 0 if one.has_lung else None
    return AugmentedSlice(picture, np.bitwise_and(labels, LESION_BITS, dtype=np.uint8), lung)


def _nothing(generator: np.random.Generator, *, size: int) -> AugmentedSlice:
    """Return a slice without lungs: air, perhaps with a body of soft tissue in it."""
    air = np.zeros((size, size), np.float32)
    if generator.random() < 0.5:
        picture = air + np.float32(unit(generator.uniform(-1250, -950)))
    else:
        low, high = generator.uniform(0.1, 0.3, 2), generator.uniform(0.7, 0.9, 2)
        inside = air.copy()
        inside[int(low[0] * size) : int(high[0] * size), int(low[1] * size) : int(high[1] * size)] = 1.0
        tissue = inside * np.float32(unit(generator.uniform(0, 80)))
        picture = put_in_body(tissue, inside, generator)
    return AugmentedSlice(degrade(picture, generator), np.zeros((size, size), np.uint8), None)
