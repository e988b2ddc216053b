"""Ground-glass opacities and consolidations with known masks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from model_core.phantom.grid import Grid, ellipsoid
from model_core.types import BoolArray, ByteArray, FloatArray

GROUND_GLASS, CONSOLIDATION = 1, 2


@dataclass(frozen=True)
class Lesion:
    """One lesion: where a ray from the middle of the lung meets the pleura, and how large.

    Attributes
    ----------
    label:
        1 ground glass, 2 consolidation.
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
    radii: tuple[float, float, float]


LESIONS = (
    Lesion(GROUND_GLASS, -1, 215, 96, (19, 10, 13)),
    Lesion(GROUND_GLASS, -1, 128, 124, (26, 13, 22)),
    Lesion(GROUND_GLASS, 1, 30, 132, (20, 11, 16)),
    Lesion(GROUND_GLASS, 1, 68, 166, (28, 14, 24)),
    Lesion(GROUND_GLASS, -1, 185, 158, (18, 11, 14)),
    Lesion(GROUND_GLASS, -1, 100, 184, (30, 15, 24)),
    Lesion(CONSOLIDATION, -1, 118, 198, (19, 14, 18)),
    Lesion(CONSOLIDATION, 1, 92, 210, (21, 13, 17)),
    Lesion(GROUND_GLASS, 1, 330, 178, (13, 8, 10)),
    Lesion(CONSOLIDATION, 1, 62, 142, (10, 8, 9)),
)


@dataclass(frozen=True, eq=False)
class Opacities:
    """Weights (D, H, W) in 0..1 of both kinds of lesion, and the mask of where they are."""

    ground_glass: FloatArray
    consolidation: FloatArray
    labels: ByteArray


def place(grid: Grid, lungs: FloatArray, inside: BoolArray, rng: np.random.Generator) -> Opacities:
    """Place the lesions against the pleura, with ragged borders.

    Parameters
    ----------
    lungs:
        Level set of the lungs in mm.
    inside:
        Lung parenchyma without airways; lesions exist only there.
    """
    weights = {kind: np.zeros(grid.shape, np.float32) for kind in (GROUND_GLASS, CONSOLIDATION)}
    ragged = _ragged(grid, rng)
    for lesion in LESIONS:
        turn = np.deg2rad(lesion.angle + rng.uniform(-4, 4))
        height = lesion.height + rng.uniform(-3, 3)
        centre = _pleura_point(grid, lungs, lesion.side, turn, height, lesion.radii[1] * 0.55)
        level = ellipsoid(
            grid, centre, (lesion.radii[1], lesion.radii[0], lesion.radii[2]), turn=float(turn)
        ) / min(lesion.radii)
        if lesion.label == GROUND_GLASS:
            weight = 1 / (1 + np.exp(np.clip((level + ragged * 0.42 + 0.05) / 0.11, -30, 30)))
        else:
            weight = 1 / (1 + np.exp(np.clip((level + ragged * 0.30) / 0.05, -30, 30)))
        same_side = np.sign(grid.x) == lesion.side
        field = weights[lesion.label]
        np.maximum(field, weight * same_side, out=field)
    labels = np.zeros(grid.shape, np.uint8)
    for kind in (GROUND_GLASS, CONSOLIDATION):
        weights[kind] *= inside
        labels[weights[kind] > 0.5] = kind
    return Opacities(weights[GROUND_GLASS], weights[CONSOLIDATION], labels)


def _ragged(grid: Grid, rng: np.random.Generator) -> FloatArray:
    """Smooth random field of unit variance, a centimetre from hill to hill."""
    coarse = 4
    shape = (grid.shape[0], -(-grid.shape[1] // coarse), -(-grid.shape[2] // coarse))
    sigma = (5 / grid.step, 5 / grid.pixel / coarse, 5 / grid.pixel / coarse)
    field = ndimage.gaussian_filter(rng.standard_normal(shape, dtype=np.float32), sigma)
    field /= field.std() + 1e-9
    zoomed = ndimage.zoom(field, (1, coarse, coarse), order=1)
    result: FloatArray = zoomed[:, : grid.shape[1], : grid.shape[2]].astype(np.float32)
    return result


def _pleura_point(
    grid: Grid, lungs: FloatArray, side: int, turn: float, height: float, inset_mm: float
) -> tuple[float, float, float]:
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
