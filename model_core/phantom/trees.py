"""Random branching trees in 3-D: pulmonary vessels and small airways."""

from __future__ import annotations

import numpy as np

from model_core.phantom.grid import Grid
from model_core.types import BoolArray, DoubleArray, FloatArray

# Murray's law with exponent 3 would give 0.79 for equal daughters.
TAPER = 0.78
POINT_STEP_MM = 1.1


def grow(
    inside: BoolArray,
    grid: Grid,
    roots: list[tuple[float, float, float]],
    rng: np.random.Generator,
    *,
    radius_mm: float,
    length_mm: float,
    generations: int,
    branches: int,
) -> DoubleArray:
    """Grow trees from the hila outwards and return points on them.

    Parameters
    ----------
    inside:
        (D, H, W) where a branch may be; one that leaves turns back or ends.
    roots:
        Hila as x, y, z in mm; each sends ``branches`` stems in all directions.

    Returns
    -------
    (P, 4) x, y, z, radius in mm.
    """
    points: list[DoubleArray] = []
    for root in roots:
        origin = np.array(root)
        directions = rng.normal(size=(branches, 3))
        # Stems leave sideways, seldom toward the other lung.
        directions[:, 0] = np.sign(root[0]) * (np.abs(directions[:, 0]) * 0.8 + 0.15)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        level = [(origin, direction) for direction in directions]
        radius, length = radius_mm, length_mm
        for generation in range(generations):
            following = []
            for start, direction in level:
                reach = length * rng.uniform(0.7, 1.25)
                track = _segment(inside, grid, start, direction, reach, radius, rng)
                if track is None:
                    continue
                points.append(track)
                end = track[-1, :3]
                spread = 0.55 if generation else 0.75
                heading = track[-1, :3] - track[max(len(track) - 4, 0), :3]
                norm = np.linalg.norm(heading)
                heading = direction if norm == 0 else heading / norm
                side = np.cross(heading, rng.normal(size=3))
                side /= np.linalg.norm(side) + 1e-9
                for sign in (-1, 1):
                    child = heading + sign * spread * rng.uniform(0.6, 1.4) * side
                    following.append((end, child / np.linalg.norm(child)))
            level = following
            radius, length = radius * TAPER, max(length * 0.86, 8.0)
    return np.concatenate(points) if points else np.zeros((0, 4))


def _segment(
    inside: BoolArray,
    grid: Grid,
    start: DoubleArray,
    direction: DoubleArray,
    reach: float,
    radius: float,
    rng: np.random.Generator,
) -> DoubleArray | None:
    """Points of one gently bent, tapering branch up to where it leaves the lung; None when too short."""
    steps = max(int(reach / POINT_STEP_MM), 2)
    share = np.linspace(0, 1, steps)
    bend = np.cross(direction, rng.normal(size=3)) * rng.normal(0, 0.12) * reach
    track = start + share[:, None] * direction * reach + (share**2)[:, None] * bend
    index = voxels(grid, track)
    within = inside[index[:, 0], index[:, 1], index[:, 2]]
    # The first points of a stem lie in the hilum, outside the lung.
    within[: min(steps, 12 if radius > 2.5 else 0)] = True
    last = steps if within.all() else int(np.argmin(within))
    if last * POINT_STEP_MM < 4:
        return None
    radii = radius * (1 + share * (TAPER - 1))
    return np.concatenate([track, radii[:, None]], axis=1)[:last]


def voxels(grid: Grid, points: DoubleArray) -> np.ndarray[tuple[int, int], np.dtype[np.intp]]:
    """Nearest voxel (z, y, x) of each x, y, z point, clipped to the grid."""
    first = np.array([grid.z.ravel()[0], grid.y.ravel()[0], grid.x.ravel()[0]])
    step = np.array([grid.step, grid.pixel, grid.pixel])
    index = np.rint((points[:, [2, 1, 0]] - first) / step).astype(np.intp)
    return np.clip(index, 0, np.array(grid.shape) - 1)


def rasterise(grid: Grid, points: DoubleArray) -> FloatArray:
    """Return the share of each voxel filled by the tree, (D, H, W) in 0..1.

    A branch thinner than a pixel fills a part of it (partial volume), so it fades instead of ending.
    """
    filled = np.zeros(grid.shape, np.float32)
    first = np.array([grid.z.ravel()[0], grid.y.ravel()[0], grid.x.ravel()[0]])
    step = np.array([grid.step, grid.pixel, grid.pixel])
    limits = np.array(grid.shape)
    edges = [0.0, 0.8, 1.3, 2.0, 3.0, 4.5, 100.0]
    for low, high in zip(edges, edges[1:], strict=False):
        chosen = points[(points[:, 3] >= low) & (points[:, 3] < high)]
        if not len(chosen):
            continue
        reach = float(chosen[:, 3].max()) + grid.pixel / 2
        span = int(np.ceil(reach / grid.pixel))
        depth = int(np.ceil(max(reach / grid.step, 0.5)))
        offsets = np.stack(
            np.meshgrid(
                np.arange(-depth, depth + 1), np.arange(-span, span + 1), np.arange(-span, span + 1), indexing="ij"
            ),
            axis=-1,
        ).reshape(-1, 3)
        centre = voxels(grid, chosen[:, :3])
        index = centre[:, None, :] + offsets[None]  # (P, K, 3)
        delta = first + index * step - chosen[:, None, [2, 1, 0]]
        # Half the slice thickness belongs to the voxel, so short distances along z do not count.
        delta[..., 0] = np.maximum(np.abs(delta[..., 0]) - grid.step * 0.3, 0)
        distance = np.sqrt((delta**2).sum(axis=-1))
        radius = chosen[:, None, 3]
        share = np.clip((radius - distance) / grid.pixel + 0.5, 0, 1)
        keep = (share > 0) & ((index >= 0) & (index < limits)).all(axis=-1)
        np.maximum.at(filled, tuple(index[keep].T), share[keep].astype(np.float32))
    return filled
