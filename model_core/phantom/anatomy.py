"""Chest of an average adult with raised arms, CT without contrast medium: shapes, and their HU painted."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce

import numpy as np
from scipy.ndimage import gaussian_filter

from model_core.base.arrays import FloatArray
from model_core.phantom.canvas import Canvas, Knot, Level, ellipsoid

AIR, SKIN, FAT, MUSCLE, BLOOD, LIVER, SPLEEN = -1000.0, 10.0, -100.0, 54.0, 43.0, 60.0, 50.0
CORTEX, MARROW, DISC = 600.0, 210.0, 100.0
SPINE_Y = 54.0
INF = float("inf")

AIRWAYS: tuple[tuple[Knot, ...], ...] = (
    ((0, 4, -4, 8.8), (1, 6, 60, 9.0), (2, 8, 112, 9.2)),
    ((0, 8, 110, 7.6), (-22, 8, 126, 7.0), (-42, 8, 140, 5.6), (-50, 14, 168, 4.4), (-62, 30, 205, 2.4)),
    ((4, 8, 110, 7.2), (30, 10, 130, 6.2), (50, 12, 142, 5.0), (57, 20, 172, 4.0), (68, 36, 208, 2.2)),
    ((-34, 7, 134, 4.4), (-58, 0, 120, 3.2), (-70, -6, 98, 2.0)),
    ((44, 10, 138, 4.2), (64, -4, 124, 3.0), (74, -14, 100, 2.0)),
)
VESSELS: tuple[tuple[Knot, ...], ...] = (
    # Ascending aorta and its arch, descending aorta.
    ((-4, -22, 158, 15), (-14, -34, 122, 16), (-8, -30, 92, 15), (10, -4, 82, 14), (24, 26, 88, 13.5)),
    ((24, 26, 88, 13.5), (26, 42, 104, 12.5), (25, 42, 200, 12), (14, 34, 289, 11)),
    # Superior and inferior vena cava.
    ((-26, -18, 160, 10), (-24, -24, 84, 9.5), (-24, -24, 46, 8.5), (-30, -24, -4, 7)),
    ((-22, 4, 186, 12), (-22, 14, 289, 12)),
    # Brachiocephalic, left carotid and left subclavian artery.
    ((-8, -20, 84, 7), (-14, -14, 46, 6.5), (-22, -10, -4, 6)),
    ((6, -10, 82, 4.5), (14, -12, 30, 4.2), (18, -14, -4, 4.2)),
    ((18, 8, 84, 5.5), (24, 6, 30, 5.2), (32, 4, -4, 5)),
    # Pulmonary trunk with the left and the right pulmonary artery.
    ((16, -44, 160, 15), (22, -40, 128, 14), (34, -6, 124, 11), (46, 10, 126, 10)),
    ((20, -36, 130, 12), (0, -6, 132, 10.5), (-26, 0, 134, 10.5), (-46, 6, 138, 9)),
)
OESOPHAGUS: tuple[Knot, ...] = ((4, 22, -4, 6), (6, 26, 110, 6.5), (4, 28, 190, 7), (24, 12, 262, 7.5))


@dataclass(frozen=True, eq=False)
class Chest:
    """Level sets (D, H, W) that everything is placed by; ``abdomen`` is all below the diaphragm."""

    body: FloatArray
    cavity: FloatArray
    heart: FloatArray
    abdomen: FloatArray
    lungs: FloatArray


def chest(canvas: Canvas) -> Chest:
    """Return the shapes on the grid of a canvas."""
    x, y, z = canvas.x, canvas.y, canvas.z
    body = _oval(canvas, _along(z, (0, 158), (110, 165), (288, 154)), _along(z, (0, 104), (160, 119)))
    body += 5 * np.exp(-((x / 16) ** 2)) * (np.abs(y) > 40)  # grooves over the spine and the breastbone
    rise = np.sqrt(np.clip((z - 12) / 105, 0, 1))  # the domes of the pleura close the cavity above
    cavity = _oval(canvas, 26 + 104 * rise**1.15, 20 + 71 * rise**0.9)

    heart = ellipsoid(canvas, (24, -31, 186), (51, 40, 57), 0.45)
    heart = np.minimum(heart, ellipsoid(canvas, (-9, -14, 166), (37, 30, 37)))  # with the atria
    mediastinum = (
        heart - 5,
        ellipsoid(canvas, (0, -14, 0), (33, 46, INF)),  # the great vessels
        ellipsoid(canvas, (0, SPINE_Y + 8, 0), (26, 38, INF)),  # spine
        ellipsoid(canvas, (25, 41, 220), (16, 16, 140)),  # descending aorta
        ellipsoid(canvas, (-40, 4, 138), (17, 17, 26)),  # hila
        ellipsoid(canvas, (44, 6, 132), (15, 17, 24)),
        np.abs(x) - _along(z, (0, 14), (110, 4), (180, 5), (288, 14)),  # where the lungs meet in front
    )
    right = 200 + 62 * (((x + 62) / 76) ** 2 + ((y + 16) / 92) ** 2)
    left = 216 + 58 * (((x - 72) / 70) ** 2 + ((y + 14) / 92) ** 2)
    # Flattened by the slope of the domes, so that it measures about the distance from their surface.
    abdomen = 0.62 * (np.minimum(right, left) + 2 * np.sin(x / 13) * np.cos(y / 17) - z)
    lungs = np.maximum(np.maximum(cavity, -reduce(np.minimum, mediastinum)), -abdomen)
    round_edges = 3 / canvas.pixel
    return Chest(body, cavity, heart, abdomen, gaussian_filter(lungs, (0, round_edges, round_edges)))


def _along(z: FloatArray, *knots: tuple[float, float]) -> FloatArray:
    """Interpolate a size given at heights ``(z, size)``."""
    heights, sizes = zip(*knots, strict=True)
    return np.asarray(np.interp(z, heights, sizes), np.float32)


def _oval(canvas: Canvas, half_width: Level, half_depth: Level) -> FloatArray:
    """Level set of a rounded rectangle in each slice, by the distance along the ray from its centre."""
    x, y = canvas.x, canvas.y + 7
    level = (np.abs(x / half_width) ** 2.2 + np.abs(y / half_depth) ** 2.2) ** (1 / 2.2)
    return np.asarray(np.sqrt(x**2 + y**2) * (1 - 1 / np.maximum(level, 1e-3)), np.float32)


def paint_body(canvas: Canvas, shape: Chest) -> None:
    """Paint all around the lungs: table, chest wall, bones, fat between the organs, upper abdomen."""
    for top, bend, hu in ((117, 0.0015, -350), (138, 0.0009, -250)):  # two thin shells of the table
        shell = np.abs(canvas.y - top + bend * canvas.x**2) - 1.4
        canvas.paint(np.maximum(shell, np.abs(canvas.x) - 172), hu)
    angle = np.arctan2(canvas.y + 7, canvas.x)
    muscle = shape.body + 9 + 3.5 * np.cos(2 * angle) + _along(canvas.z, (0, -3), (120, 0), (288, 5))
    canvas.paint(shape.body, SKIN)
    canvas.paint(shape.body + 2.4, FAT)
    canvas.paint(muscle + 1.1 * np.sin(7 * angle + canvas.z / 50), MUSCLE)
    sheet = np.abs(shape.cavity - 14 - 1.6 * np.sin(3 * angle)) - 0.9  # between the layers of muscle
    canvas.paint(np.maximum(sheet, muscle + 2), FAT + 25)
    _paint_bones(canvas, shape)
    canvas.paint(shape.cavity + 0.5, FAT)
    _paint_abdomen(canvas, shape)
    _paint_spine(canvas, shape)


def _paint_bones(canvas: Canvas, shape: Chest) -> None:
    x, y, z = canvas.x, canvas.y, canvas.z
    # Ribs run down and forward, so that a slice cuts each one at another place of its arch.
    turn = np.abs(np.arctan2(x, y + 7))  # 0 at the spine, pi at the breastbone
    drop = 54 * (1 - np.cos(turn)) + 5 * np.sin(turn)
    phase = (z - drop + 60 + np.sign(x)) / 25
    height = (phase - np.round(phase)) * 25
    rib = 4.3 * (np.sqrt((height / 6.2) ** 2 + ((shape.cavity - 6.5) / 4.3) ** 2) - 1)
    rib = np.maximum(rib, 90 * np.maximum(0.16 - turn, turn - 2.5))  # cartilage looks like muscle
    _paint_bone(canvas, np.where(z - drop < -22, 9, rib))  # none above the first
    for side in (-1, 1):
        armpit = ellipsoid(canvas, (side * 112, -8, 40), (17, 42, 66), side * 0.3)
        canvas.paint(np.maximum(armpit, 12 - shape.cavity), FAT + 10)
        scapula = ellipsoid(canvas, (side * 106, 56, 60), (36, 5, 74), side * -0.6)
        _paint_bone(canvas, np.maximum(scapula, 13 - shape.cavity))
        canvas.paint_tube([(side * 20, -62, 46, 7), (side * 60, -66, 30, 6), (side * 118, -40, 4, 6)], CORTEX)
    front_y = _along(z, (40, -68), (110, -98), (200, -104))
    half_width = _along(z, (48, 24), (78, 22), (95, 15), (190, 18), (206, 2))
    breastbone = 6 * (((x / half_width) ** 4 + ((y - front_y) / 6) ** 4) ** 0.25 - 1)
    _paint_bone(canvas, np.where((z > 42) & (z < 206), breastbone, 9))


def _paint_spine(canvas: Canvas, shape: Chest) -> None:
    arch = (
        ellipsoid(canvas, (0, SPINE_Y + 21, 0), (17, 15, INF)),
        ellipsoid(canvas, (0, SPINE_Y + 33, 0), (4, 12, INF)),
        ellipsoid(canvas, (-24, SPINE_Y + 25, 0), (18, 5, INF), -0.3),
        ellipsoid(canvas, (24, SPINE_Y + 25, 0), (18, 5, INF), 0.3),
    )
    _paint_bone(canvas, np.maximum(reduce(np.minimum, arch), shape.body + 6))
    body = np.maximum(ellipsoid(canvas, (0, SPINE_Y, 0), (17.5, 15, INF)), canvas.y - SPINE_Y - 11)
    _paint_bone(canvas, body)
    canvas.paint(np.where(np.abs((canvas.z + 12) % 24 - 12) < 2.6, body, 9), DISC)
    canvas.paint(ellipsoid(canvas, (0, SPINE_Y + 19, 0), (9, 7.5, INF)), 25)  # canal and cord


def _paint_bone(canvas: Canvas, level: Level) -> None:
    canvas.paint(level, CORTEX)
    canvas.paint(level + 2.3, MARROW)


def _paint_abdomen(canvas: Canvas, shape: Chest) -> None:
    dome = np.maximum(shape.abdomen, shape.cavity)
    canvas.paint(dome, MUSCLE)
    canvas.paint(dome + 3, FAT)
    canvas.paint(np.maximum(dome + 2, ellipsoid(canvas, (-52, -14, 262), (92, 92, 120))), LIVER)
    canvas.paint(np.maximum(dome + 3, ellipsoid(canvas, (92, 40, 268), (34, 42, 46), 0.5)), SPLEEN)
    stomach = np.maximum(dome + 5, ellipsoid(canvas, (58, -28, 272), (36, 42, 50), -0.4))
    canvas.paint(stomach, MUSCLE)
    canvas.paint(stomach + 3.5, np.where(canvas.y < -40, AIR + 20, 20))  # gas above fluid


def paint_mediastinum(canvas: Canvas, shape: Chest) -> None:
    """Paint heart, great vessels, oesophagus and airways in the fat that is there."""
    canvas.paint(shape.heart, BLOOD)
    for vessel in VESSELS:
        canvas.paint_tube(vessel, BLOOD)
    canvas.paint_tube(OESOPHAGUS, MUSCLE - 12)
    # All walls first, so that branches open into each other.
    for airway in AIRWAYS:
        canvas.paint_tube([(x, y, z, radius + 1.2) for x, y, z, radius in airway], 5)
    for airway in AIRWAYS:
        canvas.paint_tube(airway, AIR + 15)
