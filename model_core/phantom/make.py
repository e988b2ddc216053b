"""Compose the synthetic chest: body, lungs with lesions and vessels, noise of the scanner."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from scipy import ndimage
from scipy.special import expit

from model_core.base.arrays import ByteArray, FloatArray
from model_core.base.errors import SettingsError
from model_core.base.geometry import Geometry
from model_core.base.volume import Volume, Window
from model_core.phantom import anatomy
from model_core.phantom.canvas import LENGTH_MM, Canvas, Point, blank, ellipsoid

GROUND_GLASS, CONSOLIDATION = 1, 2
GROUND_GLASS_HU, CONSOLIDATION_HU = -575.0, 30.0
NOISE_HU = 15.0
# Label, centre, half axes in mm and turn in degrees, from head to feet. Bilateral, peripheral, most at the
# back and in the lower lobes, as in COVID-19 pneumonia.
LESIONS: tuple[tuple[int, Point, Point, float], ...] = (
    (GROUND_GLASS, (-112, -31, 98), (12, 20, 16), 205),
    (GROUND_GLASS, (-111, 39, 126), (16, 28, 24), 132),
    (GROUND_GLASS, (123, 16, 132), (13, 22, 18), 28),
    (CONSOLIDATION, (108, 46, 140), (10, 13, 11), 58),
    (GROUND_GLASS, (-125, -15, 160), (13, 21, 17), 188),
    (GROUND_GLASS, (96, 54, 168), (18, 32, 26), 72),
    (GROUND_GLASS, (125, -24, 180), (10, 15, 13), 335),
    (GROUND_GLASS, (-87, 61, 182), (18, 32, 24), 104),
    (CONSOLIDATION, (-107, 46, 196), (15, 22, 18), 126),
    (CONSOLIDATION, (79, 68, 206), (15, 24, 18), 88),
)
# Where the pulmonary arteries and veins enter the lungs.
HILA: tuple[Point, ...] = ((-44, 6, 138), (48, 8, 128), (-40, -8, 156), (44, -4, 152))


def make_phantom(slices: int = 48, size: int = 256, seed: int = 0) -> tuple[Volume, ByteArray]:
    """Make a synthetic chest CT with ground-glass opacities and consolidations.

    The field of view (360 mm) and the length (288 mm) are fixed; ``slices`` and ``size`` set the sampling.

    Parameters
    ----------
    slices, size:
        Number of slices (at least 4) and of rows and columns (at least 32).
    seed:
        Vessels, borders of the lesions and noise. Equal seeds give equal volumes.

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
    canvas = blank(slices, size, anatomy.AIR)
    shape = anatomy.chest(canvas)
    anatomy.paint_body(canvas, shape)

    texture = _noise(canvas, 1.6, rng)
    # The dependent lung is denser.
    lung = replace(canvas, hu=(-855 + 0.32 * (canvas.y + 90) + 16 * texture).astype(np.float32))
    labels = _paint_lesions(lung, texture, rng)
    labels[shape.lungs >= 0] = 0
    for root in HILA:
        _paint_vessels(lung, shape.lungs, root, rng)
    canvas.paint(shape.lungs, lung.hu)
    anatomy.paint_mediastinum(canvas, shape)

    hu = ndimage.gaussian_filter(canvas.hu, (0, 0.75 / canvas.pixel, 0.75 / canvas.pixel))
    # Most noise in the thickest part of the body.
    hu += NOISE_HU * _noise(canvas, 0.8, rng) * (0.45 + 0.55 * np.clip(-shape.body / 90, 0, 1))
    return _volume(hu, canvas, seed), labels


def _noise(canvas: Canvas, grain_mm: float, rng: np.random.Generator) -> FloatArray:
    """Smooth random field (D, H, W) of unit variance."""
    white = rng.standard_normal(canvas.hu.shape, dtype=np.float32)
    grain = grain_mm / np.array((canvas.step, canvas.pixel, canvas.pixel))
    field = ndimage.gaussian_filter(white, grain)
    return np.asarray(field / field.std(), np.float32)


def _paint_lesions(lung: Canvas, texture: FloatArray, rng: np.random.Generator) -> ByteArray:
    """Paint the lesions with ragged borders, consolidations in a rim of ground glass; return the labels."""
    labels = np.zeros(lung.hu.shape, np.uint8)
    ragged = 0.17 * _noise(lung, 7.0, rng) + 0.12 * _noise(lung, 2.8, rng)
    for label, centre, radii, degrees in LESIONS:
        place = centre + rng.uniform(-3, 3, 3)
        box = lung.box(place - 1.9 * max(radii), place + 1.9 * max(radii))
        part = lung.part(box)
        # In units of the smallest half axis: 0 on the border, -1 in the middle.
        level = ellipsoid(part, tuple(place), radii, np.deg2rad(degrees)) / min(radii) + ragged[box]
        rim = level - 0.35 if label == CONSOLIDATION else level
        part.hu[:] += expit(-rim / 0.1) * (GROUND_GLASS_HU + 27 * texture[box] - part.hu)
        labels[box][rim < 0] = GROUND_GLASS
        if label == CONSOLIDATION:
            part.hu[:] += expit(-level / 0.045) * (CONSOLIDATION_HU - part.hu)
            labels[box][level < 0] = CONSOLIDATION
    return labels


def _paint_vessels(lung: Canvas, lungs: FloatArray, root: Point, rng: np.random.Generator) -> None:
    """Paint a tree of tubes that taper from a hilum toward the pleura of the lung on its side.

    Random points in the lung (a level set), the nearest to the hilum first, are each joined to the branch
    that makes the shortest way.
    """
    points = rng.uniform((0, -95, 0), (135, 95, LENGTH_MM), (1300, 3)) * (np.sign(root[0]), 1, 1)
    first = np.array((lung.x[0, 0, 0], lung.y[0, 0, 0], lung.z[0, 0, 0]))
    voxels = (points - first) / (lung.pixel, lung.pixel, lung.step)
    points = points[ndimage.map_coordinates(lungs, voxels.T[::-1], order=1, mode="nearest") < -4]
    nodes = np.concatenate([[root], points[np.argsort(np.linalg.norm(points - root, axis=1))]])
    way = np.zeros(len(nodes))  # from the hilum
    for node, end in enumerate(nodes[1:], 1):
        apart = np.linalg.norm(nodes[:node] - end, axis=1)
        parent = int(np.argmin(apart + 0.45 * way[:node]))
        way[node] = way[parent] + apart[parent]
        thick, thin = 0.5 + 2.6 * np.exp(-way[[parent, node]] / 35)
        if thick > lung.pixel / 4:  # what is thinner would not be seen
            middle = (nodes[parent] + end) / 2 + 0.08 * apart[parent] * rng.standard_normal(3)
            knots = ((*nodes[parent], thick), (*middle, (thick + thin) / 2), (*end, thin))
            lung.paint_tube(knots, anatomy.BLOOD)


def _volume(hu: FloatArray, canvas: Canvas, seed: int) -> Volume:
    across = float(canvas.x[0, 0, 0])
    positions = 140.0 - canvas.z.ravel().astype(np.float64)
    geometry = Geometry(
        spacing_mm=(canvas.step, canvas.pixel, canvas.pixel),
        origin_mm=(across, across, float(positions[0])),
        axes=np.array([[0.0, 0.0, -1.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]),
        native_flips=(True, False, False),
    )
    return Volume(
        series_id=f"phantom-{seed}",
        title="Synthetic chest phantom",
        voxels=np.clip(np.rint(hu), -1024, 3071).astype(np.int16),
        geometry=geometry,
        unit="HU",
        plane="axial",
        modality="CT",
        slice_positions_mm=positions,
        slice_names=tuple(f"slice_{index:04d}.dcm" for index in range(len(positions))),
        windows=(Window(1500, -600, "Lung"), Window(400, 40, "Mediastinum")),
    )
