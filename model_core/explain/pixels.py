"""From a region to pixels: what its logit hangs on, with its proposal and the choice of regions held fixed.

The logit is that of the region's class minus that of background, as the box branch gives them. That the class
comes from these regions is exact; this second step holds for this proposal, and says nothing of others.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np

from model_core.base.arrays import BoolArray, DoubleArray, FloatArray
from model_core.base.errors import SettingsError
from model_core.base.jobs import Progress
from model_core.base.results import Candidates, Placement, RoiRow, SliceResult
from model_core.base.volume import Volume
from model_core.engine.backend import Backend, Branch, GradientBackend, Look
from model_core.engine.lungs import known_lungs
from model_core.engine.pipeline import Pipeline, grown
from model_core.engine.preprocess import network_input

# Cells of the grid of occlusion to a side, and how many times as wide and high as the region it is.
GRID, GRID_SIZE = 6, 1.5
# A region is found again where one of its class has at least this IoU with it.
FOUND_IOU = 0.5
STEPS = 16
# Without a lung in the slice, healthy is the mean of what lies around the region, within so many times it.
_RING = 2.0


@dataclass(frozen=True, eq=False)
class RegionPixels:
    """What the logit of a region hangs on, in the pixels of the slice.

    Attributes
    ----------
    roi:
        The region.
    proposal:
        (4,) the box that is held fixed, in slice pixels.
    logit:
        Of its class minus background.
    cells:
        (7, 7) gradient times activation on the RoI's own map (HiResCAM); they add up to the logit but for
        what biases give. None without gradients.
    grid:
        (4,) the box that occlusion looks at, in slice pixels.
    fixed, found:
        (G, G) by how much the logit of the fixed proposal, and the score of the best region with an IoU of at
        least `FOUND_IOU`, fall where a cell of the grid is filled with healthy lung.
    score:
        Of the best region with such an IoU in the picture as it is, from which ``found`` falls.
    pixels:
        (S, S) integrated gradients in pixels of the network's input, from the picture whose proposal is
        filled with healthy lung; they add up to ``logit - healed`` but for ``error``. None without gradients.
    healed:
        Logit of the same proposal in that picture.
    healthy:
        What is filled in, 0..1 of the window of the weights.
    from_lung:
        Whether that is the mean of healthy lung of this slice; else of what lies around the region.
    """

    roi: RoiRow
    proposal: FloatArray
    logit: float
    cells: FloatArray | None
    grid: FloatArray
    fixed: DoubleArray
    found: DoubleArray
    score: float
    pixels: DoubleArray | None
    healed: float
    error: float | None
    steps: int
    healthy: float
    from_lung: bool
    placement: Placement

    @property
    def cell_size(self) -> tuple[float, float]:
        """Width and height of one of the ``cells`` in slice pixels."""
        left, top, right, bottom = self.proposal.tolist()
        return (right - left) / 7, (bottom - top) / 7


def evidence_branch(pipeline: Pipeline) -> Branch:
    """Return which box branch the regions of the class come from."""
    two = pipeline.evidence_card.architecture.branches == 2
    return "evidence" if two or pipeline.passes == 2 else "detections"


def explain_region(
    pipeline: Pipeline,
    volume: Volume,
    result: SliceResult,
    roi: RoiRow,
    *,
    masks: BoolArray | None = None,
    grid: int = GRID,
    steps: int = STEPS,
) -> Generator[Progress | RegionPixels, None, None]:
    """Yield, last, what the logit of a region of the evidence hangs on; the backbone runs for it again.

    Parameters
    ----------
    masks:
        (D, H, W) what is marked in the slice, which is no healthy lung.
    grid:
        Cells of occlusion to a side: one pass of the backbone each.
    steps:
        Of integrated gradients: one pass forward and back each.

    Raises
    ------
    SettingsError
        If the weights give no image class.
    """
    candidates = result.evidence_candidates
    if candidates is None:
        raise SettingsError("These weights give no image class, so that no region carries one.")
    card, backend = pipeline.evidence_card, pipeline.evidence_backend
    probe = _Probe(
        backend,
        candidates.proposals[roi.candidate],
        candidates.boxes[roi.candidate],
        int(candidates.labels[roi.candidate]),
        evidence_branch(pipeline),
        pipeline.mirrors(card),
    )
    place = result.evidence_placement
    picture = network_input(volume, result.slice_index, card.input)
    healthy, from_lung = _healthy(volume, result.slice_index, picture, place, probe.box, masks)
    total = grid**2 + steps + 2
    yield Progress(0, total, "The region as it is")
    look = backend.look(picture, mirror=probe.mirror)
    logit, score = probe.ask(look)

    edges = grown(probe.box[None], GRID_SIZE, size=place.size)[0]
    columns, rows = (np.linspace(edges[k], edges[k + 2], grid + 1).round().astype(int) for k in (0, 1))
    fixed, found = np.zeros((grid, grid)), np.zeros((grid, grid))
    for row, column in np.ndindex(grid, grid):
        yield Progress(1 + row * grid + column, total, "Occlusion")
        covered = picture.copy()
        covered[rows[row] : rows[row + 1], columns[column] : columns[column + 1]] = healthy
        without = probe.ask(backend.look(covered, mirror=probe.mirror))
        fixed[row, column], found[row, column] = logit - without[0], score - without[1]

    yield Progress(1 + grid**2, total, "Healed")
    healed_picture = _filled(picture, probe.proposal, healthy)
    healed, _ = probe.ask(backend.look(healed_picture, mirror=probe.mirror))
    cells = pixels = error = None
    if isinstance(backend, GradientBackend):
        own = (probe.proposal, probe.label)
        _, cells = backend.region_cells(look.maps, *own, size=place.size, branch=probe.branch)
        slope: DoubleArray = np.zeros(picture.shape)
        for step in range(steps):
            yield Progress(2 + grid**2 + step, total, "Integrated gradients")
            between = healed_picture + (step + 0.5) / steps * (picture - healed_picture)
            _, gradient = backend.region_gradient(
                between.astype(np.float32), *own, mirror=probe.mirror, branch=probe.branch
            )
            slope = slope + gradient / steps
        pixels = slope * (picture - healed_picture)
        error = abs(float(pixels.sum()) - (logit - healed))
    yield RegionPixels(
        roi=roi,
        proposal=place.to_slice(probe.proposal[None])[0],
        logit=logit,
        cells=cells,
        grid=place.to_slice(np.array([[columns[0], rows[0], columns[-1], rows[-1]]], np.float32))[0],
        fixed=fixed,
        found=found,
        score=score,
        pixels=pixels,
        healed=healed,
        error=error,
        steps=steps,
        healthy=healthy,
        from_lung=from_lung,
        placement=place,
    )


def region_cells(pipeline: Pipeline, result: SliceResult, roi: RoiRow) -> FloatArray | None:
    """Return the (7, 7) cells of a region at once, from the maps that are kept; no backbone runs.

    None without gradients, without maps, or where the class comes from another network than the masks.
    """
    candidates, backend = result.evidence_candidates, pipeline.evidence_backend
    if (
        candidates is None
        or pipeline.passes == 2
        or not result.features
        or not isinstance(backend, GradientBackend)
    ):
        return None
    _, cells = backend.region_cells(
        result.features,
        candidates.proposals[roi.candidate],
        int(candidates.labels[roi.candidate]),
        size=result.evidence_placement.size,
        branch=evidence_branch(pipeline),
    )
    return cells


@dataclass(frozen=True, eq=False)
class _Probe:
    """A region that a changed picture is asked for: its proposal, held fixed, and its box, looked for."""

    backend: Backend
    proposal: FloatArray
    box: FloatArray
    label: int
    branch: Branch
    mirror: bool

    def ask(self, look: Look) -> tuple[float, float]:
        """Return the logit of the fixed proposal, and the best score where the region is found again."""
        every = np.concatenate((self.proposal[None], look.proposals))
        found = self.backend.regions(look, every, branch=self.branch)
        classes = len(found) // len(every)
        near = (found.labels == self.label) & (_ious(self.box, found) >= FOUND_IOU)
        near[:classes] = False
        score = float(found.scores[near].max()) if near.any() else 0.0
        return _difference(found, self.label, classes), score


def _difference(found: Candidates, label: int, classes: int) -> float:
    """Return the logit of a class minus that of background of the first proposal, from its softmax."""
    scores = found.scores[:classes].astype(np.float64)
    background = max(1.0 - float(scores.sum()), 1e-7)
    return float(np.log(max(float(scores[label - 1]), 1e-12) / background))


def _ious(box: FloatArray, found: Candidates) -> FloatArray:
    sides = np.minimum(box[2:], found.boxes[:, 2:]) - np.maximum(box[:2], found.boxes[:, :2])
    common = np.clip(sides, 0, None).prod(axis=1)
    areas = (found.boxes[:, 2:] - found.boxes[:, :2]).prod(axis=1)
    ious: FloatArray = common / np.maximum((box[2:] - box[:2]).prod() + areas - common, 1e-6)
    return ious


def _filled(picture: FloatArray, box: FloatArray, value: float) -> FloatArray:
    filled = picture.copy()
    left, top, right, bottom = np.rint(box).astype(int).tolist()
    filled[top:bottom, left:right] = value
    return filled


def _healthy(
    volume: Volume,
    index: int,
    picture: FloatArray,
    place: Placement,
    box: FloatArray,
    masks: BoolArray | None,
) -> tuple[float, bool]:
    """Return the mean of the lung where nothing is marked, else of what lies around a box; and which."""
    lungs = known_lungs(volume)
    if lungs is not None and (mask := lungs.mask(index)).any():
        usable = mask if masks is None else mask & ~np.any(masks, axis=0)
        rows, columns = np.nonzero(usable)
        at = place.to_network(np.column_stack((columns, rows, columns, rows)).astype(np.float32) + 0.5)
        inside = _outside(at[:, :2], box)
        if inside.any():
            x, y = np.clip(at[inside, :2].astype(int), 0, place.size - 1).T
            return float(picture[y, x].mean()), True
    around = np.zeros(picture.shape, np.bool_)
    left, top, right, bottom = np.rint(grown(box[None], _RING, size=place.size)[0]).astype(int).tolist()
    around[top:bottom, left:right] = True
    left, top, right, bottom = np.rint(box).astype(int).tolist()
    around[top:bottom, left:right] = False
    return float(picture[around].mean()) if around.any() else float(picture.mean()), False


def _outside(points: FloatArray, box: FloatArray) -> BoolArray:
    """Return (n,) which (n, 2) points lie outside a box."""
    beyond: BoolArray = np.any((points < box[:2]) | (points > box[2:]), axis=1)
    return beyond
