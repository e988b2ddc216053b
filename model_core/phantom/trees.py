"""Branching trees in 3-D: pulmonary arteries, veins and the airways beside them.

A tree reaches every part of a lung: points on a jittered lattice are joined one after another to the
node that makes the shortest way, where the way back to the hilum counts too (a balanced minimum spanning
tree, H. Cuntz et al., PLoS Comput Biol 6(8), 2010). Calibres follow from the number of tips supplied.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt

from model_core.phantom.grid import Grid, Point
from model_core.types import BoolArray, DoubleArray, FloatArray

# Weight of the way back to the root: 0 gives long detours, 1 a star.
BALANCE = 0.42
# r**MURRAY is conserved at a fork (3 by Murray's law; measured in lungs less).
MURRAY = 2.35
POINT_STEP_MM = 1.0
# Half the thickness in which a branch is seen, in slice steps: slices are a little thicker than their step.
SLAB = 0.7

IndexArray = npt.NDArray[np.intp]


def grow(
    inside: BoolArray,
    grid: Grid,
    root: Point,
    rng: np.random.Generator,
    *,
    spacing_mm: float,
    tip_radius_mm: float,
) -> DoubleArray:
    """Grow one tree from a hilum through the lung on its side and return points along it.

    Parameters
    ----------
    inside:
        (D, H, W) where tips may be.
    root:
        Hilum as x, y, z in mm; the sign of x chooses the lung.
    spacing_mm:
        Mean distance of neighbouring tips.

    Returns
    -------
    (P, 4) x, y, z, radius in mm.
    """
    targets = _lattice(inside, grid, root, spacing_mm, rng)
    if not len(targets):
        return np.zeros((0, 4))
    nodes = np.concatenate([np.array([root]), targets])
    parents, order = _connect(nodes)
    radii = _radii(parents, order, tip_radius_mm)
    return _trace(_straighten(nodes, parents, radii), parents, radii)


def _lattice(
    inside: BoolArray, grid: Grid, root: Point, spacing_mm: float, rng: np.random.Generator
) -> DoubleArray:
    """Points (N, 3) about ``spacing_mm`` apart in the lung on the side of the root."""
    extent = np.array([grid.x.ravel()[[0, -1]], grid.y.ravel()[[0, -1]], grid.z.ravel()[[0, -1]]])
    axes = [np.arange(low, high, spacing_mm) for low, high in extent.tolist()]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    points = points + rng.uniform(-0.5, 0.5, points.shape) * spacing_mm
    index = voxels(grid, points)
    keep = inside[index[:, 0], index[:, 1], index[:, 2]] & (np.sign(points[:, 0]) == np.sign(root[0]))
    return np.asarray(points[keep], np.float64)


def _connect(nodes: DoubleArray) -> tuple[IndexArray, list[int]]:
    """Parent of every node (the root is its own), and the nodes in the order of joining."""
    count = len(nodes)
    parents = np.zeros(count, np.intp)
    path = np.zeros(count)
    distance = np.linalg.norm(nodes - nodes[0], axis=1)
    cost = distance.copy()
    cost[0] = np.inf
    joined = np.zeros(count, bool)
    joined[0] = True
    order = [0]
    for _ in range(count - 1):
        new = int(np.argmin(cost))
        joined[new] = True
        order.append(new)
        path[new] = path[parents[new]] + distance[new]
        cost[new] = np.inf
        away = np.sqrt(((nodes - nodes[new]) ** 2).sum(axis=1))
        offer = away + BALANCE * path[new]
        better = (offer < cost) & ~joined
        cost[better] = offer[better]
        distance[better] = away[better]
        parents[better] = new
    return parents, order


def _radii(parents: IndexArray, order: list[int], tip_radius_mm: float) -> DoubleArray:
    """Calibre at every node from the number of tips behind it."""
    tips = np.zeros(len(parents))
    for node in reversed(order[1:]):
        tips[node] = max(tips[node], 1)
        tips[parents[node]] += tips[node]
    radii: DoubleArray = tip_radius_mm * np.maximum(tips, 1) ** (1 / MURRAY)
    return radii


def _straighten(nodes: DoubleArray, parents: IndexArray, radii: DoubleArray) -> DoubleArray:
    """Draw every node between its parent and its thickest child: stems run smoothly, side branches turn."""
    ascending = np.argsort(radii[1:], kind="stable") + 1
    main = np.arange(len(nodes))
    # The last write wins, so the thickest child stays.
    main[parents[ascending]] = ascending
    moves = main != np.arange(len(nodes))
    moves[0] = False
    smooth = nodes.copy()
    for _ in range(4):
        between = (smooth[parents] + smooth[main]) / 2
        smooth[moves] += 0.45 * (between - smooth)[moves]
    return smooth


def _trace(nodes: DoubleArray, parents: IndexArray, radii: DoubleArray) -> DoubleArray:
    """Points along smooth curves (cubic Hermite) from every node back to its parent."""
    child = np.arange(1, len(nodes))
    parent = parents[child]
    start, end = nodes[parent], nodes[child]
    length = np.linalg.norm(end - start, axis=1)
    leave = start - nodes[parents[parent]]
    # Branches of the root leave straight.
    leave = np.where(parent[:, None] == 0, end - start, leave)
    unit = leave / np.maximum(np.linalg.norm(leave, axis=1, keepdims=True), 1e-9)
    # A branch turns away from its stem at once where it leaves nearly backwards.
    forward = np.clip((unit * (end - start)).sum(axis=1) / np.maximum(length, 1e-9), 0, 1)
    slope_start = unit * (length * 0.9 * forward)[:, None]
    slope_end = end - start

    counts = np.maximum(np.ceil(length / POINT_STEP_MM).astype(np.intp), 2)
    edge = np.repeat(np.arange(len(child)), counts)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    t = ((np.arange(len(edge)) - first + 1) / counts[edge])[:, None]
    points = (
        (2 * t**3 - 3 * t**2 + 1) * start[edge]
        + (t**3 - 2 * t**2 + t) * slope_start[edge]
        + (-2 * t**3 + 3 * t**2) * end[edge]
        + (t**3 - t**2) * slope_end[edge]
    )
    calibre = radii[child][edge] * (1.12 - 0.12 * t[:, 0])
    return np.concatenate([points, calibre[:, None]], axis=1)


def beside(points: DoubleArray, *, thicker_than_mm: float, share: float) -> DoubleArray:
    """Airways that run beside the thicker arteries, as (P, 4) x, y, z and radius of the lumen in mm."""
    thick = points[points[:, 3] > thicker_than_mm].copy()
    lumen = thick[:, 3] * share
    # In the axial plane, so that both are seen side by side as a signet ring.
    apart = (thick[:, 3] + lumen + 0.9)[:, None] * np.array([0.62, -0.78])
    thick[:, :2] += apart * np.sign(thick[:, :1] + 1e-9) ** np.array([1, 0])
    thick[:, 3] = lumen
    return thick


def voxels(grid: Grid, points: DoubleArray) -> IndexArray:
    """Nearest voxel (z, y, x) of each x, y, z point, clipped to the grid."""
    first = np.array([grid.z.ravel()[0], grid.y.ravel()[0], grid.x.ravel()[0]])
    step = np.array([grid.step, grid.pixel, grid.pixel])
    index = np.rint((points[:, [2, 1, 0]] - first) / step).astype(np.intp)
    return np.asarray(np.clip(index, 0, np.array(grid.shape) - 1), np.intp)


def rasterise(grid: Grid, points: DoubleArray) -> FloatArray:
    """Return the share of each voxel filled by the tree, (D, H, W) in 0..1.

    A branch thinner than a pixel fills a part of it (partial volume), so it fades instead of ending.
    """
    filled = np.zeros(grid.shape, np.float32)
    first = np.array([grid.z.ravel()[0], grid.y.ravel()[0], grid.x.ravel()[0]])
    step = np.array([grid.step, grid.pixel, grid.pixel])
    limits = np.array(grid.shape)
    edges = [0.0, 0.8, 1.3, 2.0, 3.0, 4.5, 100.0]
    for low, high in pairwise(edges):
        chosen = points[(points[:, 3] >= low) & (points[:, 3] < high)]
        if not len(chosen):
            continue
        reach = float(chosen[:, 3].max()) + grid.pixel / 2
        span = int(np.ceil(reach / grid.pixel))
        depth = int(np.ceil(max(reach / grid.step + SLAB - 0.5, 0)))
        offsets = np.stack(
            np.meshgrid(
                np.arange(-depth, depth + 1),
                np.arange(-span, span + 1),
                np.arange(-span, span + 1),
                indexing="ij",
            ),
            axis=-1,
        ).reshape(-1, 3)
        centre = voxels(grid, chosen[:, :3])
        index = centre[:, None, :] + offsets[None]  # (P, K, 3)
        delta = first + index * step - chosen[:, None, [2, 1, 0]]
        delta[..., 0] = np.maximum(np.abs(delta[..., 0]) - grid.step * SLAB, 0)
        distance = np.sqrt((delta**2).sum(axis=-1))
        radius = chosen[:, None, 3]
        share = np.clip((radius - distance) / grid.pixel + 0.5, 0, 1) * np.minimum(
            1, 0.3 + 1.6 * radius / grid.pixel
        )
        keep = (share > 0) & ((index >= 0) & (index < limits)).all(axis=-1)
        np.maximum.at(filled, tuple(index[keep].T), share[keep].astype(np.float32))
    return filled
