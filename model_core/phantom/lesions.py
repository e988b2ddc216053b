"""Ground-glass opacities and consolidations with known masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from model_core.phantom.grid import Grid, Level, Point, ellipsoid
from model_core.types import BoolArray, ByteArray, FloatArray

GROUND_GLASS, CONSOLIDATION = 1, 2


@dataclass(frozen=True)
class Lesion:
    """One lesion: where a ray from the middle of the lung meets the pleura, and how large.

    Attributes
    ----------
    label:
        1 ground glass, 2 consolidation (with a rim of ground glass).
    side:
        -1 the patient's right lung, 1 the left.
    angle:
        Degrees in the slice: 0 toward the patient's left, 90 to the back.
    height:
        mm from the head end of the scan.
    radii:
        Half axes along the pleura, into the lung and along z, in mm.
    """

    label: int
    side: int
    angle: float
    height: float
    radii: Point


# Bilateral, peripheral, most at the back and in the lower lobes, as in COVID-19 pneumonia.
LESIONS = (
    Lesion(GROUND_GLASS, -1, 205, 98, (20, 12, 16)),
    Lesion(GROUND_GLASS, -1, 132, 126, (28, 16, 24)),
    Lesion(GROUND_GLASS, 1, 28, 132, (22, 13, 18)),
    Lesion(GROUND_GLASS, 1, 72, 168, (32, 18, 26)),
    Lesion(GROUND_GLASS, -1, 188, 160, (21, 13, 17)),
    Lesion(GROUND_GLASS, -1, 104, 182, (32, 18, 24)),
    Lesion(CONSOLIDATION, -1, 126, 196, (22, 15, 18)),
    Lesion(CONSOLIDATION, 1, 88, 206, (24, 15, 18)),
    Lesion(GROUND_GLASS, 1, 335, 180, (15, 10, 13)),
    Lesion(CONSOLIDATION, 1, 58, 144, (13, 10, 11)),
)


@dataclass(frozen=True, eq=False)
class Opacities:
    """Weights (D, H, W) in 0..1 of both kinds of lesion, and the mask of where they are."""

    ground_glass: FloatArray
    consolidation: FloatArray
    labels: ByteArray


def place(grid: Grid, lungs: FloatArray, parenchyma: BoolArray, rng: np.random.Generator) -> Opacities:
    """Place the lesions against the pleura, with ragged borders.

    Parameters
    ----------
    lungs:
        Level set of the lungs in mm.
    parenchyma:
        Where lung tissue is; lesions and labels exist only there.
    """
    weights = {kind: np.zeros(grid.shape, np.float32) for kind in (GROUND_GLASS, CONSOLIDATION)}
    ragged = 0.8 * _ragged(grid, rng, 7.0) + 0.6 * _ragged(grid, rng, 2.8)
    for lesion in LESIONS:
        turn = float(np.deg2rad(lesion.angle + rng.uniform(-4, 4)))
        height = lesion.height + rng.uniform(-3, 3)
        inset = lesion.radii[1] * 0.4
        x, y, z = _pleura_point(grid, lungs, lesion.side, turn, height, inset)
        reach = 1.9 * max(lesion.radii)
        box = grid.box((x - reach, y - reach, z - reach), (x + reach, y + reach, z + reach))
        part = grid.part(box)
        along, across, up = lesion.radii
        level = ellipsoid(part, (x, y, z), (across, along, up), turn=turn) / min(lesion.radii)
        rough = ragged[box]
        same_side = np.sign(part.x) == lesion.side
        haze, dense = weights[GROUND_GLASS][box], weights[CONSOLIDATION][box]
        if lesion.label == GROUND_GLASS:
            np.maximum(haze, _soft(level + 0.30 * rough, 0.10) * same_side, out=haze)
        else:
            np.maximum(dense, _soft(level + 0.24 * rough, 0.045) * same_side, out=dense)
            np.maximum(haze, _soft(level - 0.38 + 0.34 * rough, 0.09) * same_side, out=haze)
    labels = np.zeros(grid.shape, np.uint8)
    labels[(weights[GROUND_GLASS] > 0.5) & parenchyma] = GROUND_GLASS
    labels[(weights[CONSOLIDATION] > 0.5) & parenchyma] = CONSOLIDATION
    return Opacities(weights[GROUND_GLASS], weights[CONSOLIDATION], labels)


def _soft(level: Level, width: float) -> FloatArray:
    """1 inside, 0 outside, with a border of ``width``."""
    return np.asarray(1 / (1 + np.exp(np.clip(level / width, -30, 30))), np.float32)


def _ragged(grid: Grid, rng: np.random.Generator, hill_mm: float) -> FloatArray:
    """Smooth random field of unit variance with hills of about this size."""
    coarse = max(int(hill_mm / grid.pixel / 1.5), 1)
    shape = (grid.shape[0], -(-grid.shape[1] // coarse), -(-grid.shape[2] // coarse))
    sigma = (hill_mm / grid.step, *(hill_mm / grid.pixel / coarse,) * 2)
    field = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma)
    field /= field.std() + 1e-9
    zoomed = ndimage.zoom(field, (1, coarse, coarse), order=1) if coarse > 1 else field
    result: FloatArray = zoomed[:, : grid.shape[1], : grid.shape[2]].astype(np.float32)
    return result


def _pleura_point(
    grid: Grid, lungs: FloatArray, side: int, turn: float, height: float, inset_mm: float
) -> Point:
    """Walk from the middle of one lung until it ends, and step back by ``inset_mm``."""
    flat_z = grid.z.ravel()
    index = int(np.clip(np.searchsorted(flat_z, height), 0, len(flat_z) - 1))
    half = (np.sign(grid.x[0]) == side) & (lungs[index] < 0)
    rows, columns = np.nonzero(half)
    if not len(rows):
        return side * 70.0, 0.0, height
    start = np.array([grid.x.ravel()[columns].mean(), grid.y.ravel()[rows].mean()])
    ray = np.array([np.cos(turn), np.sin(turn)])
    steps = np.arange(0, 150, grid.pixel)
    track = start + steps[:, None] * ray
    across = grid.x.ravel()
    where = np.clip(np.rint((track - across[0]) / grid.pixel).astype(int), 0, len(across) - 1)
    free = half[where[:, 1], where[:, 0]]
    last = int(np.argmin(free)) if not free.all() else len(steps) - 1
    point = start + max(float(steps[last]) - inset_mm, 0.0) * ray
    return float(point[0]), float(point[1]), float(height)
