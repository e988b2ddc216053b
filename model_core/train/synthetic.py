"""Computed lesions in lesion-free lungs: smooth clouds of ground glass and consolidation.

They are not meant to teach what lesions look like, but that a lesion may lie in any lung, whatever scanner it
comes from: without them a network learns which source has lesions.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional as F

from model_core.base.arrays import FloatArray
from model_core.data.schemes import CONSOLIDATION, GGO
from model_core.phantom.ground_glass import add_ground_glass
from model_core.train.appearance import unit
from model_core.train.packing import LUNG_BIT, PackedSlice
from model_core.train.parenchyma import Lung, find_lung

# Levels in HU (Hansell et al. 2008 define the two by whether vessels are seen through them).
GGO_HU, CONSOLIDATION_HU = (-700.0, -300.0), (-100.0, 50.0)
_MOST = 4
_CONSOLIDATED = 0.35  # share of the clouds with a dense part
_RADIUS = (0.06, 0.3)  # of the lung's scale
_PERIPHERAL = 0.6  # share of the clouds that start near the border of the lung, as COVID-19 does
_SMALLEST = 40

Window = tuple[slice, slice]


def add_lesions(one: PackedSlice, generator: np.random.Generator) -> PackedSlice:
    """Return the slice with one to four clouds in its lung; itself where it shows no lung.

    Ground glass is added to the parenchyma, so that vessels are seen through it; consolidation replaces it.
    A pixel is labelled where the cloud is denser than half.
    """
    lung = find_lung(one)
    if lung is None:
        return one
    picture = one.image.astype(np.float32) / 255.0
    labels = one.labels.copy()
    for _ in range(int(generator.integers(1, _MOST + 1))):
        where, cloud, radius = _cloud(lung, generator)
        if (cloud > 0.5).sum() < _SMALLEST:
            continue
        own = labels[where]
        picture[where] = _ground_glass(picture[where], cloud, lung, generator)
        own[(cloud > 0.5) & ((own & 3) == 0)] |= GGO
        if generator.random() < _CONSOLIDATED:
            core = _core(cloud, generator, grain=max(5.0, 0.45 * radius))
            if (core > 0.5).sum() >= _SMALLEST:
                picture[where] = _consolidation(picture[where], core, generator)
                solid = core > 0.5
                own[solid] = (own[solid] & LUNG_BIT) | CONSOLIDATION
    grey = np.clip(np.rint(picture * 255.0), 0, 255).astype(np.uint8)
    return replace(one, image=grey, labels=labels)


def _cloud(lung: Lung, generator: np.random.Generator) -> tuple[Window, FloatArray, float]:
    """Return where an irregular patch of lung is, its density 0..1 there, and its radius in pixels."""
    places = lung.border if generator.random() < _PERIPHERAL else lung.inside
    rows, columns = np.nonzero(places)
    pick = int(generator.integers(len(rows)))
    radius = lung.scale * float(np.exp(generator.uniform(*np.log(_RADIUS))))
    stretch = float(np.exp(np.clip(generator.normal(0.0, 0.3), -0.6, 0.6)))
    angle = float(generator.uniform(0.0, np.pi))
    reach = int(np.ceil(1.7 * radius * max(stretch, 1 / stretch)))
    centre = int(rows[pick]), int(columns[pick])
    window = tuple(
        slice(max(0, middle - reach), min(limit, middle + reach + 1))
        for middle, limit in zip(centre, lung.inside.shape, strict=True)
    )
    where: Window = (window[0], window[1])
    down = np.arange(where[0].start, where[0].stop, dtype=np.float32)[:, None] - centre[0]
    across = np.arange(where[1].start, where[1].stop, dtype=np.float32)[None, :] - centre[1]
    along = (across * np.cos(angle) + down * np.sin(angle)) / (radius * stretch)
    beside = (down * np.cos(angle) - across * np.sin(angle)) / (radius / stretch)
    inside = lung.inside[where]
    rough = smooth_noise(inside.shape, generator, grain=max(2.0, 0.4 * radius))
    density = 1.0 - np.sqrt(along**2 + beside**2) + 0.3 * rough
    soft = float(generator.uniform(0.06, 0.3))
    cloud = np.clip(0.5 + density / (2 * soft), 0.0, 1.0)
    edge = ndimage.gaussian_filter(inside.astype(np.float32), 0.7) * inside
    return where, (cloud * edge).astype(np.float32), radius


def _core(cloud: FloatArray, generator: np.random.Generator, *, grain: float) -> FloatArray:
    """Return the dense part of a cloud: where it is thick and a second noise agrees."""
    rough = 0.5 * smooth_noise(cloud.shape, generator, grain=grain)
    core = np.clip(0.5 + (rough + cloud - float(generator.uniform(0.5, 1.2))) * 4.0, 0.0, 1.0)
    dense: FloatArray = (core * cloud).astype(np.float32)
    return dense


def smooth_noise(shape: tuple[int, ...], generator: np.random.Generator, *, grain: float) -> FloatArray:
    """Return noise of standard deviation about 1 with structures of about ``grain`` pixels."""
    coarse = [max(4, int(np.ceil(length / grain)) + 1) for length in shape]
    noise = torch.from_numpy(generator.normal(0.0, 1.0, coarse).astype(np.float32))[None, None]
    fine = F.interpolate(noise, size=tuple(shape), mode="bicubic", align_corners=True)
    # Between its points an interpolated noise is quieter than at them.
    scaled: FloatArray = (fine[0, 0].numpy() * 1.3).astype(np.float32)
    return scaled


def _ground_glass(
    picture: FloatArray, cloud: FloatArray, lung: Lung, generator: np.random.Generator
) -> FloatArray:
    level = unit(float(generator.uniform(*GGO_HU)))
    texture = 0.04 * smooth_noise(picture.shape, generator, grain=3.0)
    lifted = add_ground_glass(picture, cloud, level=level, lung=lung.level, headroom=0.12, texture=texture)
    return lifted.clip(0.0, 1.0)


def _consolidation(picture: FloatArray, core: FloatArray, generator: np.random.Generator) -> FloatArray:
    level = unit(float(generator.uniform(*CONSOLIDATION_HU)))
    texture = 0.02 * smooth_noise(picture.shape, generator, grain=3.0)
    solid = np.maximum(picture, level) * 0.2 + 0.8 * level + texture
    filled: FloatArray = np.clip(picture + core * (solid - picture), 0.0, 1.0).astype(np.float32)
    return filled
