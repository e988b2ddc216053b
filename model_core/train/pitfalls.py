"""Computed anatomy that looks like a lesion and is none.

The data sets end at the lungs, series do not. A network that has never seen a chin or a colon takes them for
lesions in a lung; filled with tissue, the body of a full field of view shows it that they are none. So does a
blurred dome of the diaphragm in the middle of a lung, or a full stomach below it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage

from model_core.base.arrays import BoolArray, FloatArray
from model_core.train.appearance import unit
from model_core.train.packing import LESION_BITS, LUNG_BIT, PackedSlice
from model_core.train.parenchyma import find_body, find_lung
from model_core.train.synthetic import smooth_noise

# In HU. Darker than tissue is what is filled: lung, airways, and the blurred edge of both.
_AERATED = -250.0
_FAT, _ORGAN, _GAS = (-120.0, -70.0), (20.0, 90.0), (-1010.0, -930.0)
_CONTENTS = (-350.0, 60.0)  # of the bowel, mixed with gas
_FOOD = (-20.0, 60.0)  # in the stomach, with bubbles
_BUBBLES = (-900.0, -200.0)  # smaller than a slice is thick
_MOST_LOOPS = 4
_LOOP_RADIUS = (0.04, 0.3)  # of the square root of the area that is filled
_EDGE = 2  # pixels
_SMALLEST_SHARE = 0.02  # of the picture that must have been filled
_DOME_RADIUS = (0.12, 0.5)  # of the lung's scale
_TRIES = 5  # to find a place without lesion: a dome must not come to mean that there is none
_STOMACH_SHARE, _STOMACH_RADIUS = 0.4, (0.35, 0.8)  # of the domes; of the square root of their area
_DOME_EDGE = (0.1, 0.6)  # of the radius: what the slice's thickness blurs


def without_lungs(one: PackedSlice, generator: np.random.Generator) -> PackedSlice | None:
    """Return the slice with its lungs filled by fat, organs and perhaps bowel; None where it has no body.

    Only a slice in its whole field of view (not ``cropped``) and without lesions has one to be filled.
    """
    if one.cropped or one.lesion.any():
        return None
    picture = one.image.astype(np.float32) / 255.0
    body = find_body(ndimage.gaussian_filter(picture, 1.0))
    hollow = body & (ndimage.gaussian_filter(picture, 0.7) < unit(_AERATED))
    hollow = ndimage.binary_dilation(hollow, iterations=_EDGE) & body
    if hollow.sum() < _SMALLEST_SHARE * hollow.size:
        return None
    filled = _tissue(picture.shape, generator)
    for _ in range(int(generator.integers(0, _MOST_LOOPS + 1))):
        _add_bowel(filled, hollow, generator)
    edge = ndimage.gaussian_filter(hollow.astype(np.float32), 1.0)
    changed = np.where(hollow, filled, picture + edge * (filled - picture))
    grey = np.clip(np.rint(changed * 255.0), 0, 255).astype(np.uint8)
    labels = np.bitwise_and(one.labels, np.uint8(0xFF & ~(LESION_BITS | LUNG_BIT)))
    return replace(one, image=grey, labels=labels, has_lung=True)  # known to have none


def add_dome(one: PackedSlice, generator: np.random.Generator) -> PackedSlice | None:
    """Return the slice with the top of liver, spleen or stomach inside a lung; None without room for it.

    The dome is an ellipse of the grey of organs that the thickness of the slice blurs into the lung; a
    stomach holds gas, fluid or food. It covers no lesion.
    """
    lung = find_lung(one)
    if lung is None:
        return None
    picture = one.image.astype(np.float32) / 255.0
    deep = ndimage.distance_transform_edt(lung.inside & (one.lesion == 0))
    if not deep.any():
        return None
    rows, columns = np.nonzero(deep >= 0.6 * deep.max())  # domes rise into the middle of a lung
    edge = ndimage.gaussian_filter(lung.inside.astype(np.float32), 1.0) * lung.inside
    for _ in range(_TRIES):
        pick = int(generator.integers(len(rows)))
        radius = lung.scale * float(generator.uniform(*_DOME_RADIUS))
        rough = smooth_noise(picture.shape, generator, grain=max(4.0, radius))
        centre = int(rows[pick]), int(columns[pick])
        depth = _ellipse(picture.shape, centre, radius, generator) + 0.05 * rough
        dense = np.clip(depth / float(generator.uniform(*_DOME_EDGE)), 0.0, 1.0) * edge
        if not dense[one.lesion > 0].any():
            break
    else:
        return None
    organ = unit(generator.uniform(*_ORGAN)) + 0.01 * smooth_noise(picture.shape, generator, grain=2.0)
    change = np.maximum(organ - picture, 0.0)
    if generator.random() < _STOMACH_SHARE and (dense > 0.5).any():
        _add_bowel(organ, dense > 0.5, generator, radius=_STOMACH_RADIUS)
        change = organ - picture
    changed = picture + dense * change
    labels = np.where(dense > 0.5, one.labels & ~np.uint8(LUNG_BIT), one.labels).astype(np.uint8)
    return replace(one, image=np.clip(np.rint(changed * 255.0), 0, 255).astype(np.uint8), labels=labels)


def _ellipse(
    shape: tuple[int, ...], centre: tuple[int, int], radius: float, generator: np.random.Generator
) -> FloatArray:
    """Return (H, W) 1 in the centre of an ellipse, 0 on its edge, negative outside."""
    down = np.arange(shape[0], dtype=np.float32)[:, None] - centre[0]
    across = np.arange(shape[1], dtype=np.float32)[None, :] - centre[1]
    stretch = float(np.exp(np.clip(generator.normal(0.0, 0.3), -0.7, 0.7)))
    away = np.sqrt((down * stretch) ** 2 + (across / stretch) ** 2) / radius
    return (1.0 - away).astype(np.float32)


def _tissue(shape: tuple[int, ...], generator: np.random.Generator) -> FloatArray:
    """Return fat with organs in it; the share of each is drawn."""
    scale = min(shape) / float(generator.uniform(2.5, 8.0))
    organs = smooth_noise(shape, generator, grain=scale) > generator.normal(-0.5, 0.8)
    soft = ndimage.gaussian_filter(organs.astype(np.float32), 1.2)
    fat, organ = unit(generator.uniform(*_FAT)), unit(generator.uniform(*_ORGAN))
    tissue: FloatArray = (
        fat + soft * (organ - fat) + 0.012 * smooth_noise(shape, generator, grain=2.0)
    ).astype(np.float32)
    return tissue


def _add_bowel(
    filled: FloatArray,
    hollow: BoolArray,
    generator: np.random.Generator,
    *,
    radius: tuple[float, float] = _LOOP_RADIUS,
) -> None:
    """Draw one loop: a wall, and in it gas alone, over a fluid level, or mixed with contents, or food."""
    rows, columns = np.nonzero(hollow)
    pick = int(generator.integers(len(rows)))
    size = float(np.sqrt(hollow.sum())) * float(generator.uniform(*radius))
    centre = int(rows[pick]), int(columns[pick])
    rough = smooth_noise(hollow.shape, generator, grain=max(3.0, size / 1.5))
    depth = _ellipse(hollow.shape, centre, size, generator) + 0.15 * rough
    down = np.arange(hollow.shape[0], dtype=np.float32)[:, None] - centre[0]
    wall = 2.0 / size
    gas = np.full(hollow.shape, unit(generator.uniform(*_GAS)), np.float32)
    kind = generator.random()
    if kind < 0.3:
        mixed = smooth_noise(hollow.shape, generator, grain=float(generator.uniform(1.5, 5.0)))
        share = np.clip(0.5 + mixed + generator.normal(0.0, 0.5), 0.0, 1.0)
        gas += share * (unit(generator.uniform(*_CONTENTS)) - gas)
    elif kind < 0.5:
        bubbles = smooth_noise(hollow.shape, generator, grain=float(generator.uniform(1.0, 3.0)))
        gas[:] = unit(generator.uniform(*_FOOD))
        gas[bubbles > generator.uniform(1.0, 2.5)] = unit(generator.uniform(*_BUBBLES))
    elif kind < 0.7:
        gas[np.broadcast_to(down > size * generator.uniform(-0.5, 0.5), gas.shape)] = unit(
            generator.uniform(0.0, 40.0)
        )
    filled[depth > -wall] = unit(generator.uniform(*_ORGAN))
    lumen = np.clip(0.5 + depth * size, 0.0, 1.0)
    filled += lumen * (gas - filled)
