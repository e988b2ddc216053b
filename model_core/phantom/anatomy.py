"""Body, thoracic cavity, mediastinum, diaphragm and bones of the phantom as level sets and painted HU.

Sizes are those of an average adult with raised arms; values are typical of a CT without contrast medium.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model_core.phantom.grid import (
    Grid,
    Knot,
    Level,
    coverage,
    ellipsoid,
    intersection,
    paint,
    paint_tube,
    union,
)
from model_core.types import FloatArray

AIR, FAT, MUSCLE, BLOOD, SKIN, WATER = -1000.0, -102.0, 54.0, 43.0, 10.0, 8.0
LIVER, SPLEEN, HEART = 60.0, 50.0, 40.0
CORTEX, MARROW, CARTILAGE = 720.0, 210.0, 110.0
LUMEN = -985.0

CAVITY_Y = -6.0
BODY_Y = -7.0
SPINE_Y = 54.0


@dataclass(frozen=True, eq=False)
class Chest:
    """Level sets (D, H, W) that the later steps share.

    ``wall`` is the distance outside the thoracic cavity in mm (negative inside).
    """

    body: FloatArray
    wall: FloatArray
    mediastinum: FloatArray
    diaphragm: FloatArray
    lungs: FloatArray


def _along(grid: Grid, *points: tuple[float, float]) -> FloatArray:
    """Interpolate a size given at heights ``(z, value)``; (D, 1, 1)."""
    heights, values = zip(*points, strict=True)
    return np.asarray(np.interp(grid.z, heights, values), np.float32)


def _ring(grid: Grid, centre_y: float, half_width: Level, half_depth: Level, power: float) -> FloatArray:
    """Level set of a superellipse per slice: radial distance from its surface in mm."""
    y = grid.y - centre_y
    radius = np.sqrt(grid.x**2 + y**2) + 1e-3
    level = (np.abs(grid.x / half_width) ** power + np.abs(y / half_depth) ** power) ** (1 / power)
    return np.asarray(radius * (1 - 1 / np.maximum(level, 1e-3)), np.float32)


def chest(grid: Grid) -> Chest:
    """Return the level sets of body, cavity, mediastinum, diaphragm and lungs."""
    body = _ring(
        grid,
        BODY_Y,
        _along(grid, (0, 158), (40, 163), (110, 165), (200, 160), (288, 154)),
        _along(grid, (0, 104), (50, 112), (120, 118), (210, 119), (288, 115)),
        2.35,
    )
    # A shallow groove over the spine and between the pectoral muscles.
    body += 5 * np.exp(-((grid.x / 16) ** 2)) * (np.abs(grid.y - BODY_Y) > 40)
    body -= (
        5
        * np.exp(-(((np.abs(grid.x) - 62) / 30) ** 2))
        * (grid.y < -40)
        * np.exp(-(((grid.z - 95) / 55) ** 2))
    )
    # The dome of the pleura closes the cavity above the first rib.
    rise = np.sqrt(np.clip((grid.z - 12) / 105, 0, 1))
    wall = _ring(
        grid, CAVITY_Y, 26 + 104 * rise**1.15, 20 + 68 * rise**0.9 + _along(grid, (0, 0), (200, 5)), 2.3
    )

    mediastinum = _mediastinum(grid)
    diaphragm = _diaphragm(grid)
    lungs = intersection(intersection(wall, -mediastinum, 10), diaphragm, 5)
    return Chest(body, wall, mediastinum, diaphragm, lungs)


def _mediastinum(grid: Grid) -> FloatArray:
    inf = float("inf")
    width = _along(grid, (0, 44), (40, 34), (90, 32), (150, 30), (288, 24))
    upper = (np.sqrt((grid.x / width) ** 2 + ((grid.y + 14) / 46) ** 2) - 1) * width
    heart = ellipsoid(grid, (24, -32, 186), (56, 45, 62), turn=0.45)
    atria = ellipsoid(grid, (-8, -14, 166), (42, 36, 42))
    spine = ellipsoid(grid, (0, SPINE_Y + 14, 0), (24, 30, inf))
    aorta = ellipsoid(grid, (25, 40, 0), (15, 15, inf))
    # The pleural sacs nearly touch behind the sternum and in front of the spine.
    septum = np.abs(grid.x) - _along(grid, (0, 14), (60, 9), (110, 4), (180, 5), (288, 14)) + 0 * grid.y
    hila = np.minimum(
        ellipsoid(grid, (-40, 4, 138), (17, 17, 26)), ellipsoid(grid, (44, 6, 132), (15, 17, 24))
    )
    level = union(upper.astype(np.float32), heart, 16)
    level = union(level, atria, 14)
    level = union(level, union(spine, aorta, 12), 12)
    level = union(level, hila, 14)
    return union(level, septum.astype(np.float32), 12)


def _diaphragm(grid: Grid) -> FloatArray:
    """Negative above the diaphragm: two domes, the right one higher, deep behind and at the sides."""
    x, y = grid.x, grid.y - CAVITY_Y
    right = 200 + 62 * (((x + 62) / 76) ** 2 + ((y + 10) / 92) ** 2)
    left = 216 + 58 * (((x - 72) / 70) ** 2 + ((y + 8) / 92) ** 2)
    dome = np.minimum(right, left)
    ripple = 2.0 * np.sin(x / 13) * np.cos(y / 17)
    # Flattened by the slope, so that it measures about the distance from the surface.
    return ((grid.z - dome - ripple) * 0.62).astype(np.float32)


def paint_body(hu: FloatArray, grid: Grid, shape: Chest, rng: np.random.Generator) -> None:
    """Paint skin, fat, muscle and the fat inside the cavity; in place."""
    depth = -shape.body
    angle = np.arctan2(grid.y - BODY_Y, grid.x)
    fat_mm = (
        9
        + 3.5 * np.cos(2 * angle)
        + 5 * np.exp(-(((np.abs(angle) - 0.3) / 0.5) ** 2))
        + _along(grid, (0, -3), (120, 0), (288, 5))
    )
    paint(hu, shape.body, SKIN, grid.pixel)
    paint(hu, shape.body + 2.4, FAT, grid.pixel)
    muscle = (fat_mm - depth).astype(np.float32)
    muscle += 1.1 * np.sin(angle * 7 + 1 + grid.z / 50) * np.sin(angle * 12 + grid.z / 30) + 0.4 * np.sin(
        angle * 31
    )
    paint(hu, muscle, MUSCLE, grid.pixel)
    _paint_fat_planes(hu, grid, shape, angle, fat_mm, rng)
    # Extrapleural and mediastinal fat: everything in the cavity that no organ fills.
    paint(hu, shape.wall + 0.5, FAT + 6, grid.pixel)


def _paint_fat_planes(
    hu: FloatArray,
    grid: Grid,
    shape: Chest,
    angle: FloatArray,
    fat_mm: FloatArray,
    rng: np.random.Generator,
) -> None:
    """Paint thin fat between the muscle layers of the wall: around the ribs, under the scapulae."""
    depth = -shape.body - fat_mm
    wobble = rng.uniform(0, 6, 4)
    front, back = grid.y < -30, (grid.y > 25) & (np.abs(grid.x) > 9)
    # Between the two pectoral muscles, under trapezius and latissimus, and over the ribs.
    layers = (
        (depth - 11 - 2.0 * np.sin(grid.z / 31 + wobble[0]) + 0.05 * np.abs(grid.x), 1.0, front),
        (depth - 8 - 1.8 * np.sin(grid.x / 19 + wobble[1]), 0.9, back),
        (shape.wall - 14 - 1.6 * np.sin(3 * angle + wobble[2]), 0.9, grid.z > 48),
        (depth - 20 - 2.5 * np.sin(grid.x / 27 + wobble[3]), 0.8, back & (shape.wall > 15)),
    )
    for distance, thickness, where in layers:
        sheet = np.abs(distance) - thickness
        sheet = np.where(where & (depth > 2), sheet, np.float32(5)).astype(np.float32)
        paint(hu, sheet, FAT + 25, grid.pixel)
    _paint_axillae(hu, grid, shape, depth)


def _paint_axillae(hu: FloatArray, grid: Grid, shape: Chest, depth: FloatArray) -> None:
    """Paint the fat of both armpits with its vessels and nodes."""
    limits = np.maximum(12 - shape.wall, 5 - depth)
    for side in (-1, 1):
        hollow = ellipsoid(grid, (side * 120, -8, 56), (26, 36, 66), turn=side * 0.35)
        # Branches of fat run forward under the pectoral muscle and back to the scapula.
        front = ellipsoid(grid, (side * 100, -52, 48), (34, 7, 40), turn=side * 0.75)
        behind = ellipsoid(grid, (side * 128, 34, 56), (8, 26, 50), turn=side * 0.5)
        hollow = union(union(hollow, front, 14), behind, 12)
        hollow = np.maximum(hollow + 2.5 * np.sin(grid.y / 7) * np.sin(grid.x / 9 + grid.z / 20), limits)
        paint(hu, hollow.astype(np.float32), FAT, grid.pixel)
        for x, y, radius in ((118, -20, 4.2), (112, -12, 3.4), (126, -2, 2.6), (116, 6, 2.0)):
            paint_tube(
                hu, grid, [(side * x, y - 8, 4, radius), (side * (x + 6), y + 6, 96, radius * 0.6)], BLOOD
            )


def paint_bones(hu: FloatArray, grid: Grid, shape: Chest) -> None:
    """Paint ribs, sternum, clavicles, scapulae and the spine; in place."""
    _paint_ribs(hu, grid, shape)
    for side in (-1, 1):
        paint_tube(
            hu,
            grid,
            [(side * 20, -62, 46, 8.0), (side * 60, -66, 30, 6.5), (side * 118, -40, 4, 6.5)],
            CORTEX - 150,
        )
        paint_tube(
            hu,
            grid,
            [(side * 20, -62, 46, 5.5), (side * 60, -66, 30, 4.0), (side * 118, -40, 4, 4.0)],
            MARROW,
        )
        _paint_scapula(hu, grid, shape, side)
    half_width = _along(grid, (40, 0), (48, 24), (78, 22), (95, 15), (185, 18), (200, 6), (206, 0))
    front = CAVITY_Y - _along(grid, (40, 62), (70, 74), (110, 91), (200, 98))
    plate = (np.abs(grid.x / np.maximum(half_width, 1)) ** 3 + np.abs((grid.y - front + 3) / 6.5) ** 3) ** (
        1 / 3
    )
    plate = (plate - 1) * 6.5
    plate = np.where((grid.z > 42) & (grid.z < 205), plate, np.float32(9)).astype(np.float32)
    paint(hu, plate, CORTEX - 250, grid.pixel)
    paint(hu, plate + 2.2, MARROW - 60, grid.pixel)
    _paint_spine(hu, grid, shape)


def _paint_ribs(hu: FloatArray, grid: Grid, shape: Chest) -> None:
    """Ribs run down and forward, so that an axial slice cuts each one at another place of its arch."""
    pitch = 25.0
    # 0 at the spine, pi at the sternum.
    turn = np.abs(np.arctan2(grid.x, grid.y - CAVITY_Y)).astype(np.float32)
    drop = 108 * (1 - np.cos(turn)) / 2 + 5 * np.sin(turn)
    side_shift = np.where(grid.x < 0, np.float32(3.0), np.float32(-2.0))
    phase = (grid.z - drop + side_shift + 60) / pitch
    height = (phase - np.round(phase)) * pitch
    radial = shape.wall - 6.5
    level = (np.sqrt((height / 6.2) ** 2 + (radial / 4.3) ** 2) - 1) * 4.3
    # The arch ends beside the spine and at the sternum; low ribs do not reach the front.
    reach = np.interp(grid.z, (0, 150, 230, 288), (2.98, 2.95, 2.5, 2.0)).astype(np.float32)
    level = np.maximum(level, (0.16 - turn) * 90)
    level = np.maximum(level, (turn - reach) * 90).astype(np.float32)
    level = np.where(grid.z - drop < -22, np.float32(9), level).astype(np.float32)
    cartilage = np.clip((turn - 2.45) / 0.12, 0, 1)
    paint(hu, level, CORTEX + cartilage * (CARTILAGE - CORTEX), grid.pixel)
    paint(hu, level + 2.3, MARROW + cartilage * (CARTILAGE - 20 - MARROW), grid.pixel)


def _paint_scapula(hu: FloatArray, grid: Grid, shape: Chest, side: int) -> None:
    box = grid.box((-180, -180, 0), (180, 180, 140))
    x, y, z = side * grid.x[:, :, box[2]], grid.y[:, box[1]], grid.z[box[0]]
    lateral = np.interp(z, (0, 40, 100, 160), (136, 132, 126, 116)).astype(np.float32)
    medial = np.interp(z, (0, 30, 100, 160), (88, 72, 74, 108)).astype(np.float32)
    share = np.clip((x - medial) / (lateral - medial + 1e-3), 0, 1)
    back = np.interp(z, (0, 60, 160), (50, 70, 72)).astype(np.float32)
    curve = back + 14 * (1 - share) - 22 * share**1.6
    thick = 2.2 + 4.0 * np.exp(-(((share - 1) / 0.18) ** 2)) + 1.0 * np.exp(-((share / 0.15) ** 2))
    beyond = np.maximum(medial - x, x - lateral)
    # The blade lies between muscles: neither in the subcutaneous fat nor in the ribs.
    limits = np.maximum(shape.body[box] + 17, 13 - shape.wall[box])
    level = np.maximum(np.maximum(np.abs(y - curve) - thick, beyond), limits).astype(np.float32)
    paint(hu[box], level, CORTEX - 200, grid.pixel)
    paint(hu[box], level + 2.4, MARROW + 60, grid.pixel)
    # The scapular spine stands off the blade in the upper third.
    paint_tube(
        hu,
        grid,
        [(side * 84, 88, 44, 3.5), (side * 112, 70, 34, 4.5), (side * 136, 40, 18, 7.0)],
        CORTEX - 300,
    )


def _paint_spine(hu: FloatArray, grid: Grid, shape: Chest) -> None:
    inf = float("inf")
    disc = np.abs((grid.z / 24) - np.round(grid.z / 24)) < 0.11
    body = ellipsoid(grid, (0, SPINE_Y, 0), (17.5, 15, inf))
    # Flat behind, where the canal is.
    body = np.maximum(body, grid.y - (SPINE_Y + 11)).astype(np.float32)
    arch = np.maximum(ellipsoid(grid, (0, SPINE_Y + 21, 0), (17, 15, inf)), -(grid.y - (SPINE_Y + 8))).astype(
        np.float32
    )
    sweep = np.abs(grid.x) - 14
    transverse = np.maximum(
        np.abs(grid.y - (SPINE_Y + 22) - sweep * 0.32) - 4.5, np.maximum(sweep - 20, -sweep)
    ).astype(np.float32)
    transverse = np.where(disc, np.float32(9), transverse).astype(np.float32)
    spinous = np.maximum(
        np.abs(grid.x) - 3.4 + (grid.y - SPINE_Y - 30) * 0.05,
        np.maximum(grid.y - (SPINE_Y + 44), (SPINE_Y + 28) - grid.y),
    )
    spinous = np.maximum(spinous, shape.body + 6)
    spinous = np.where(disc, np.float32(9), spinous).astype(np.float32)
    for level in (transverse, arch, spinous):
        paint(hu, level, CORTEX - 180, grid.pixel)
        paint(hu, level + 2.4, MARROW + 40, grid.pixel)
    paint(hu, body, np.where(disc, np.float32(120), np.float32(CORTEX - 260)), grid.pixel)
    paint(hu, body + 2.0, np.where(disc, np.float32(85), np.float32(MARROW)), grid.pixel)
    paint(hu, ellipsoid(grid, (0, SPINE_Y + 19, 0), (10.5, 8.5, inf)), 5.0, grid.pixel)
    paint(hu, ellipsoid(grid, (0, SPINE_Y + 19, 0), (5.5, 4.5, inf)), 38.0, grid.pixel)


def paint_mediastinum(hu: FloatArray, grid: Grid) -> None:
    """Paint heart, great vessels, oesophagus, trachea and main bronchi; in place."""
    # Pericardial fat stays as a rim between the heart muscle and the pleura.
    heart = ellipsoid(grid, (24, -31, 186), (51, 40, 57), turn=0.45)
    atria = ellipsoid(grid, (-9, -14, 166), (37, 30, 37))
    level = union(heart, atria, 8)
    groove = ellipsoid(grid, (-14, -58, 178), (8, 16, 34), turn=0.5)
    level = intersection(level, -groove, 4)
    paint(hu, level, HEART + 8, grid.pixel)
    paint(hu, ellipsoid(grid, (36, -24, 190), (27, 17, 40), turn=0.5), BLOOD - 8, grid.pixel)
    vessels: tuple[Sequence[Knot], ...] = (
        # ascending aorta, arch, descending aorta
        [
            (-4, -22, 158, 15),
            (-14, -34, 122, 16.5),
            (-8, -30, 92, 15),
            (10, -4, 82, 14),
            (24, 26, 88, 13.5),
            (26, 42, 104, 12.5),
            (25, 42, 200, 12),
            (14, 34, 289, 11),
        ],
        # superior vena cava and brachiocephalic veins
        [(-32, -18, 160, 10), (-31, -24, 84, 9.5), (-34, -24, 46, 8.5), (-40, -26, -4, 7.5)],
        [(-30, -30, 74, 8), (6, -42, 62, 7.5), (36, -26, 24, 7.5), (42, -24, -4, 7)],
        # brachiocephalic, left carotid and left subclavian arteries
        [(-8, -20, 84, 7), (-20, -14, 46, 6.5), (-26, -10, -4, 6)],
        [(6, -10, 82, 4.5), (16, -10, 30, 4.2), (20, -8, -4, 4.2)],
        [(18, 8, 84, 5.5), (30, 8, 30, 5.2), (44, 6, -4, 5)],
        # pulmonary trunk with its two branches
        [(16, -44, 160, 15), (22, -40, 128, 14.5), (38, -6, 120, 12), (48, 10, 124, 10)],
        [(20, -36, 130, 12), (0, -6, 132, 10.5), (-26, 0, 134, 10.5), (-46, 6, 138, 9)],
        # azygos vein, inferior vena cava
        [(-12, 44, 288, 3.6), (-12, 42, 100, 4), (-26, 4, 92, 4.5)],
        [(-28, 4, 186, 12), (-26, 14, 289, 12)],
    )
    for chain in vessels:
        paint_tube(hu, grid, chain, BLOOD)
    oesophagus: list[Knot] = [
        (4, 22, -4, 6.0),
        (6, 26, 110, 6.5),
        (4, 28, 190, 7.0),
        (24, 12, 262, 7.5),
    ]
    paint_tube(hu, grid, oesophagus, MUSCLE - 12)
    paint_tube(hu, grid, [(4, 22, 20, 1.6), (6, 26, 70, 2.2), (5, 27, 88, 1.2)], -500)
    # A few nodes and the thymic remnant make the fat look lived in.
    for x, y, z, radius in ((-20, -4, 112, 4), (8, 16, 122, 4.5), (-14, 12, 96, 3.5), (2, -56, 96, 4)):
        paint_tube(hu, grid, [(x, y, z, radius), (x + 1, y + 1, z + 6, radius)], 35)


AIRWAYS: tuple[list[Knot], ...] = (
    [(0, 4, -4, 8.8), (1, 6, 60, 9.0), (2, 8, 112, 9.2)],
    [(0, 8, 110, 7.6), (-22, 8, 126, 7.0), (-42, 8, 140, 5.6), (-50, 14, 168, 4.4)],
    [(4, 8, 110, 7.2), (30, 10, 130, 6.2), (50, 12, 142, 5.0), (57, 20, 172, 4.0)],
    [(-34, 7, 134, 4.4), (-58, 0, 120, 3.2)],
    [(44, 10, 138, 4.2), (64, -4, 124, 3.0)],
)


def paint_airways(hu: FloatArray, grid: Grid) -> None:
    """Paint walls first, then lumina, so that branches open into each other; in place."""
    for chain in AIRWAYS:
        paint_tube(hu, grid, [(x, y, z, radius + 1.7) for x, y, z, radius in chain], 5.0)
    for chain in AIRWAYS:
        paint_tube(hu, grid, chain, LUMEN)


def paint_abdomen(hu: FloatArray, grid: Grid, shape: Chest) -> None:
    """Paint liver, spleen and stomach under the diaphragm; in place."""
    box = grid.box((-1e3, -1e3, 195), (1e3, 1e3, 1e3))
    hu, grid = hu[box], grid.part(box)
    shape = Chest(
        *(level[box] for level in (shape.body, shape.wall, shape.mediastinum, shape.diaphragm, shape.lungs))
    )
    below = intersection(-shape.diaphragm, shape.wall + 2, 6)
    below = np.maximum(below, -(shape.mediastinum + 60)).astype(np.float32)
    paint(hu, np.maximum(below, -ellipsoid(grid, (0, 40, 260), (26, 34, 200))), FAT, grid.pixel)
    diaphragm = np.maximum(np.abs(shape.diaphragm - 1.2) - 1.6, shape.wall)
    diaphragm = np.maximum(diaphragm, 200 - grid.z).astype(np.float32)
    diaphragm = np.maximum(diaphragm, -ellipsoid(grid, (0, SPINE_Y + 8, 0), (28, 36, float("inf"))))
    liver = intersection(
        np.maximum(-shape.diaphragm + 2, shape.wall + 3), ellipsoid(grid, (-52, -14, 262), (92, 92, 120)), 10
    )
    liver = intersection(liver, -ellipsoid(grid, (0, SPINE_Y + 6, 260), (36, 44, 400)), 10)
    paint(hu, liver, LIVER, grid.pixel)
    spleen = intersection(
        np.maximum(-shape.diaphragm + 3, shape.wall + 4),
        ellipsoid(grid, (92, 40, 268), (34, 42, 46), turn=0.5),
        6,
    )
    paint(hu, spleen, SPLEEN, grid.pixel)
    stomach = intersection(
        np.maximum(-shape.diaphragm + 4, shape.wall + 6),
        ellipsoid(grid, (58, -28, 272), (36, 42, 50), turn=-0.4),
        6,
    )
    paint(hu, stomach, MUSCLE - 10, grid.pixel)
    content = np.where(grid.y < -40, np.float32(-960), np.float32(WATER + 14))
    paint(hu, stomach + 3.5, content, grid.pixel)
    paint(hu, diaphragm, MUSCLE - 8, grid.pixel)
    for chain in (
        [(-28, 8, 236, 4), (-60, -10, 238, 3), (-92, -10, 244, 2)],
        [(-26, 10, 240, 4), (-50, 30, 246, 3), (-84, 42, 250, 2)],
        [(-20, -10, 262, 5), (-54, -16, 268, 4), (-88, -30, 274, 2)],
    ):
        tube: list[Knot] = [(x, y, z, r) for x, y, z, r in chain]
        inside = hu > LIVER - 30
        before = hu.copy() if not inside.all() else hu
        paint_tube(hu, grid, tube, LIVER - 22)
        hu[~inside] = before[~inside]


def paint_table(hu: FloatArray, grid: Grid) -> None:
    """Paint the curved table top under the patient: two thin shells with foam between; in place."""
    x, y = grid.x, grid.y
    top = 117 - (x / 15.5) ** 2 * 0.36
    bottom = 138 - (x / 18) ** 2 * 0.30
    inside = (np.abs(x) < 172) & (y > top) & (y < bottom)
    hu[:] = np.where(inside & (hu < -500), np.float32(-930), hu)
    for surface, value, thickness in ((top, -350.0, 1.5), (bottom, -250.0, 1.2)):
        shell = np.abs(y - surface) - thickness
        shell = np.maximum(shell, np.abs(x) - 172).astype(np.float32)
        hu += coverage(shell, grid.pixel) * (hu < -500) * (value - hu)
    mattress = np.maximum(np.maximum(y - top, top - 7 - y), np.abs(x) - 150).astype(np.float32)
    hu += coverage(mattress, grid.pixel) * (hu < -950) * (-945 - hu)
