"""One augmented training example from a packed slice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model_core.training.appearance import degrade, jitter_window, put_in_body
from model_core.training.geometry import draw_motion, warp
from model_core.training.packing import LESION_BITS, LUNG_BIT, PackedSlice
from model_core.types import BoolArray, ByteArray, FloatArray

# How often a lung crop is shown as part of a full field of view, and then how large.
BODY_SHARE, BODY_ZOOM = 0.25, (0.55, 0.8)


@dataclass(frozen=True, eq=False)
class Example:
    """``image`` (S, S) float32 in 0..1; ``lesion`` (S, S) values 0, 1, 2; ``lung`` (S, S) or None."""

    image: FloatArray
    lesion: ByteArray
    lung: BoolArray | None


def augment(
    one: PackedSlice, generator: np.random.Generator, *, size: int, zoom: tuple[float, float]
) -> Example:
    """Return the slice moved, re-windowed and degraded at random; labels move with the picture."""
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
    picture = jitter_window(picture, generator, hu_error=one.hu_error)
    picture = degrade(picture, generator)
    lung = (labels & LUNG_BIT) > 0 if one.has_lung else None
    return Example(picture, np.bitwise_and(labels, LESION_BITS, dtype=np.uint8), lung)
