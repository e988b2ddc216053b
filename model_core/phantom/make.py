"""Compose the synthetic chest: tissues, lungs with vessels and airways, lesions, noise of the scanner."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from model_core.errors import SettingsError
from model_core.phantom import anatomy, lesions, trees
from model_core.phantom.grid import Grid, coverage, make_grid, paint_tube
from model_core.types import BoolArray, ByteArray, DoubleArray, FloatArray, Geometry, Volume, Window

ARTERIAL_ROOTS = ((-44.0, 6.0, 138.0), (48.0, 8.0, 128.0))
VENOUS_ROOTS = ((-40.0, -8.0, 156.0), (44.0, -4.0, 152.0))
GROUND_GLASS_HU, CONSOLIDATION_HU = -575.0, 30.0
NOISE_HU = 15.0


def make_phantom(slices: int = 48, size: int = 256, seed: int = 0) -> tuple[Volume, ByteArray]:
    """Make a synthetic chest CT with ground-glass opacities and consolidations.

    The field of view (360 mm) and the length (288 mm) are fixed; ``slices`` and ``size`` set the sampling.

    Parameters
    ----------
    slices, size:
        Number of slices (at least 4) and of rows and columns (at least 32).
    seed:
        Shape of the vessel trees, borders of the lesions and noise. Equal seeds give equal volumes.

    Returns
    -------
    volume:
        (slices, size, size) HU in display order.
    labels:
        Same shape; 0 nothing, 1 ground-glass opacity, 2 consolidation.

    Raises
    ------
    SettingsError
        If ``slices`` or ``size`` is too small.
    """
    if slices < 4 or size < 32:
        raise SettingsError(
            f"A phantom has at least 4 slices of 32 x 32 pixels, not {slices} of {size} x {size}."
        )
    rng = np.random.default_rng(seed)
    grid = make_grid(slices, size)
    chest = anatomy.chest(grid)

    hu = np.full(grid.shape, anatomy.AIR, np.float32)
    anatomy.paint_body(hu, grid, chest, rng)
    anatomy.paint_bones(hu, grid, chest)
    anatomy.paint_abdomen(hu, grid, chest)
    anatomy.paint_mediastinum(hu, grid)
    lung_share = coverage(chest.lungs, grid.pixel)
    parenchyma, labels = _lungs(grid, chest, rng)
    hu += lung_share * (parenchyma - hu)
    anatomy.paint_airways(hu, grid)
    anatomy.paint_table(hu, grid)
    hu = _scan(hu, grid, chest.body, rng)

    voxels = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    return _volume(voxels, grid, seed), labels


def _lungs(grid: Grid, chest: anatomy.Chest, rng: np.random.Generator) -> tuple[FloatArray, ByteArray]:
    """HU of the lung everywhere (masked by the caller) and the lesion labels."""
    texture = ndimage.gaussian_filter(
        rng.standard_normal(grid.shape, dtype=np.float32), (0, 1.6 / grid.pixel, 1.6 / grid.pixel)
    )
    texture *= 16 / (texture.std() + 1e-9)
    # The dependent lung is denser.
    hu = (-855 + 0.32 * (grid.y + 90) + texture).astype(np.float32)
    fissure = np.abs(grid.y - (70 - 0.62 * (grid.z - 55)) - 0.06 * np.abs(grid.x)) - 0.6
    hu += 75 * coverage(fissure.astype(np.float32), grid.pixel) * (grid.z > 70)

    parenchyma: BoolArray = (chest.lungs < 0) & ~_airway_mask(grid)
    found = lesions.place(grid, chest.lungs, parenchyma, rng)
    hu += found.ground_glass * (1.7 * texture + (GROUND_GLASS_HU - hu))
    hu += found.consolidation * (CONSOLIDATION_HU - hu)

    arteries, veins = _vessels(grid, chest, rng)
    vessels = trees.rasterise(grid, np.concatenate([arteries, veins]))
    hu += vessels * np.maximum(anatomy.BLOOD - hu, 0)
    bronchi = trees.beside(arteries, thicker_than_mm=1.6, share=0.75)
    walls = bronchi.copy()
    walls[:, 3] += 1.0
    hu += 0.7 * trees.rasterise(grid, walls) * np.maximum(-120 - hu, 0)
    hu += trees.rasterise(grid, bronchi) * (-930 - hu)
    return hu, found.labels


def _vessels(grid: Grid, chest: anatomy.Chest, rng: np.random.Generator) -> tuple[DoubleArray, DoubleArray]:
    """Points on the arteries and veins of both lungs; they end a few mm before the pleura."""
    inside: BoolArray = chest.lungs < -4.0
    arteries = [
        trees.grow(inside, grid, root, rng, spacing_mm=13.5, tip_radius_mm=0.56) for root in ARTERIAL_ROOTS
    ]
    veins = [
        trees.grow(inside, grid, root, rng, spacing_mm=15.0, tip_radius_mm=0.48) for root in VENOUS_ROOTS
    ]
    return np.concatenate(arteries), np.concatenate(veins)


def _airway_mask(grid: Grid) -> BoolArray:
    level = np.zeros(grid.shape, np.float32)
    for chain in anatomy.AIRWAYS:
        paint_tube(level, grid, [(x, y, z, r + 1.7) for x, y, z, r in chain], 1.0)
    return level > 0.5


def _scan(hu: FloatArray, grid: Grid, body: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Blur like a scanner and add noise, most in the thickest part of the body."""
    blurred = ndimage.gaussian_filter(hu, (0, 0.75 / grid.pixel, 0.75 / grid.pixel))
    noise = ndimage.gaussian_filter(
        rng.standard_normal(grid.shape, dtype=np.float32), (0, 0.8 / grid.pixel, 0.8 / grid.pixel)
    )
    noise *= NOISE_HU / (noise.std() + 1e-9)
    strength = 0.45 + 0.55 * np.clip(-body / 90, 0, 1)
    result: FloatArray = (blurred + noise * strength).astype(np.float32)
    return result


def _volume(voxels: np.ndarray[tuple[int, ...], np.dtype[np.int16]], grid: Grid, seed: int) -> Volume:
    across = float(grid.x.ravel()[0])
    head = 140.0
    positions = head - grid.z.ravel().astype(np.float64)
    geometry = Geometry(
        spacing_mm=(grid.step, grid.pixel, grid.pixel),
        origin_mm=(across, across, float(positions[0])),
        axes=np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]),
        native_flips=(True, False, False),
    )
    return Volume(
        series_id=f"phantom-{seed}",
        title="Synthetic chest phantom",
        voxels=voxels,
        geometry=geometry,
        unit="HU",
        plane="axial",
        modality="CT",
        slice_positions_mm=positions,
        slice_names=tuple(f"slice_{index:04d}.dcm" for index in range(len(positions))),
        windows=(Window(1500, -600, "Lung"), Window(400, 40, "Mediastinum")),
    )
