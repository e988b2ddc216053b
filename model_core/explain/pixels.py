"""From a region to pixels: what its logit hangs on, with its proposal and the choice of regions held fixed.

The logit is that of the region's class minus that of background, as the box branch gives them. That the class
comes from these regions is exact; this second step holds for this proposal, and says nothing of others.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from dataclasses import dataclass, replace
from functools import cached_property

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
from model_core.explain.masks import paste_maps
from model_core.scene.maps import RegionMap

# Cells of the grid of occlusion to a side, and how many times as wide and high as the region it is.
GRID, GRID_SIZE = 6, 1.5
# A region is found again where one of its class has at least this IoU with it.
FOUND_IOU = 0.5
# Integrated gradients take steps until they miss the difference of the logits by no more than this share of
# it, or this many logits; or until they are so many.
TOLERANCE, LEAST_ERROR, MOST_STEPS = 0.01, 0.01, 128
# With so many they begin; usual is about as many as these, which the progress is counted by.
_FIRST_STEPS, _USUAL_STEPS = 9, 40
# Without a lung in the slice, healthy is the mean of what lies around the region, within so many times it.
_RING = 2.0


@dataclass(frozen=True, eq=False)
class RegionPixels:
    """What the logit of a region hangs on, in the pixels of the slice; while it is computed, as far as known.

    Attributes
    ----------
    roi:
        The region.
    proposal:
        (4,) the box that is held fixed, in slice pixels.
    logit:
        Of its class minus background.
    mask:
        Raw mask logits of the region, pasted at their place; None where the network has no mask branch.
    cells:
        (7, 7) gradient times activation on the RoI's own map (HiResCAM); they add up to the logit but for
        what biases give. None without gradients.
    grid:
        (4,) the box that occlusion looks at, in slice pixels.
    fixed, found:
        (G, G) by how much the logit of the fixed proposal, and the score of the best region with an IoU of at
        least `FOUND_IOU`, fall where a cell of the grid is filled with healthy lung. None until then.
    score:
        Of the best region with such an IoU in the picture as it is, from which ``found`` falls.
    pixels:
        (S, S) integrated gradients in pixels of the network's input, from the picture whose proposal is
        filled with healthy lung; they add up to ``logit - healed`` but for ``error``. None without gradients.
    healed:
        Logit of the same proposal in that picture.
    steps:
        Points of the path that were looked at.
    healthy:
        What is filled in, 0..1 of the window of the weights.
    from_lung:
        Whether that is the mean of healthy lung of this slice; else of what lies around the region.
    """

    roi: RoiRow
    proposal: FloatArray
    logit: float
    mask: RegionMap | None
    cells: FloatArray | None
    grid: FloatArray
    fixed: DoubleArray | None
    found: DoubleArray | None
    score: float
    pixels: DoubleArray | None
    healed: float | None
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

    @property
    def relative_error(self) -> float | None:
        """``error`` as a share of the difference that integrated gradients add up to."""
        if self.error is None or self.healed is None:
            return None
        return self.error / max(abs(self.logit - self.healed), 1e-9)

    @cached_property
    def maps(self) -> tuple[RegionMap, ...]:
        """What there is of it, to be drawn: mask logits, cells, integrated gradients, both falls."""
        maps = [] if self.mask is None else [self.mask]
        if self.cells is not None:
            width, height = self.cell_size
            title = f"gradient × activation, cells of {width:.1f} × {height:.1f} px (logit)"
            maps.append(RegionMap(title, self.cells, self.proposal, kind="cells"))
        if self.pixels is not None:
            inside = self.placement.to_network(self.proposal[None])[0]
            left, top = np.floor(inside[:2]).astype(int).clip(0)
            right, bottom = np.ceil(inside[2:]).astype(int)
            own = self.pixels[top : max(bottom, top + 1), left : max(right, left + 1)]
            height, width = own.shape
            edges = np.array([[left, top, left + width, top + height]], np.float32)
            title = "integrated gradients of the pixels (logit)"
            maps.append(RegionMap(title, own, self.placement.to_slice(edges)[0], True, kind="gradients"))
        if self.fixed is not None:
            title = "occlusion: fall of the logit, proposal fixed"
            maps.append(RegionMap(title, self.fixed, self.grid, kind="fixed"))
        if self.found is not None:
            title = "occlusion: fall of the score of the region"
            maps.append(RegionMap(title, self.found, self.grid, kind="found", unit="score"))
        return tuple(maps)


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
    tolerance: float = TOLERANCE,
) -> Generator[Progress | RegionPixels, None, None]:
    """Yield what the logit of a region of the evidence hangs on; the backbone runs for it again.

    First come mask logits, then the same with what is computed next: cells, integrated gradients, occlusion.
    Gradients are torch's, which is loaded for them where something else computes.

    Parameters
    ----------
    masks:
        (D, H, W) what is marked in the slice, which is no healthy lung.
    grid:
        Cells of occlusion to a side: one pass of the backbone each.
    tolerance:
        Share of the difference of logits that integrated gradients may miss.

    Raises
    ------
    SettingsError
        If the weights give no image class, or the region is none that was found in the slice.
    """
    candidates = result.evidence_candidates
    if candidates is None:
        raise SettingsError("These weights give no image class, so that no region carries one.")
    if roi.candidate >= len(candidates):
        raise SettingsError("A box that was asked about is no region of the slice: choose one that is.")
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
    total = grid**2 + _USUAL_STEPS + 2
    yield Progress(0, total, f"Region {roi.rank} as it is")
    look = backend.look(picture, mirror=probe.mirror)
    logit, score = probe.ask(look)
    edges = grown(probe.box[None], GRID_SIZE, size=place.size)[0]
    columns, rows = (np.linspace(edges[k], edges[k + 2], grid + 1).round().astype(int) for k in (0, 1))
    known = RegionPixels(
        roi=roi,
        proposal=place.to_slice(probe.proposal[None])[0],
        logit=logit,
        mask=_mask(pipeline, look, probe, result),
        cells=None,
        grid=place.to_slice(np.array([[columns[0], rows[0], columns[-1], rows[-1]]], np.float32))[0],
        fixed=None,
        found=None,
        score=score,
        pixels=None,
        healed=None,
        error=None,
        steps=0,
        healthy=healthy,
        from_lung=from_lung,
        placement=place,
    )
    healed_picture = _filled(picture, probe.proposal, healthy)
    yield known
    if isinstance(backend, GradientBackend):
        loads = "torch" not in sys.modules
        yield Progress(1, total, "Loading PyTorch" if loads else "Gradients")
        own = (probe.proposal, probe.label)
        _, cells = backend.region_cells(look.maps, *own, size=place.size, branch=probe.branch)
        known = replace(known, cells=cells)
        yield known
        path = _Path(backend, probe, healed_picture, picture)
        while not path.close(tolerance):
            yield Progress(min(1 + path.steps, _USUAL_STEPS), total, "Integrated gradients")
            path.step()
        pixels, healed = path.pixels(), path.logits[0]
        error = abs(float(pixels.sum()) - (logit - healed))
        known = replace(known, pixels=pixels, healed=healed, error=error, steps=path.steps)
        yield known

    fixed, found = np.zeros((grid, grid)), np.zeros((grid, grid))
    for row, column in np.ndindex(grid, grid):
        yield Progress(2 + _USUAL_STEPS + row * grid + column, total, "Occlusion")
        covered = picture.copy()
        covered[rows[row] : rows[row + 1], columns[column] : columns[column + 1]] = healthy
        without = probe.ask(backend.look(covered, mirror=probe.mirror))
        fixed[row, column], found[row, column] = logit - without[0], score - without[1]
    if known.healed is None:
        known = replace(known, healed=probe.ask(backend.look(healed_picture, mirror=probe.mirror))[0])
    yield replace(known, fixed=fixed, found=found)


class _Path:
    """Integrated gradients along the straight line from a healed picture to the picture as it is.

    The trapezoidal rule, halving the stretch of the path where it misses most: the logit at both ends of each
    says by how much it does. Nothing but the proposal differs between the two, so only that is kept.
    """

    def __init__(
        self, backend: GradientBackend, probe: _Probe, healed: FloatArray, picture: FloatArray
    ) -> None:
        self._backend, self._probe, self._healed = backend, probe, healed
        self._difference = picture - healed
        left, top, right, bottom = np.rint(probe.proposal).astype(int).tolist()
        self._inside = slice(top, bottom), slice(left, right)
        # Along the path: place, logit, and the slope by each pixel times how far the pixel goes.
        self.places: list[float] = []
        self.logits: list[float] = []
        self._slopes: list[DoubleArray] = []

    @property
    def steps(self) -> int:
        """How many points were looked at."""
        return len(self.places)

    def close(self, tolerance: float) -> bool:
        """Whether the gradients add up to the difference of the logits, or never will."""
        if self.steps < _FIRST_STEPS:
            return False
        difference = self.logits[-1] - self.logits[0]
        return self.steps >= MOST_STEPS or abs(float(self._errors().sum())) <= max(
            tolerance * abs(difference), LEAST_ERROR * tolerance / TOLERANCE
        )

    def step(self) -> None:
        """Look at one point more: first evenly, then where the rule misses most."""
        if self.steps < _FIRST_STEPS:
            self._look(self.steps / (_FIRST_STEPS - 1), self.steps)
            return
        worst = int(np.abs(self._errors()).argmax())
        self._look((self.places[worst] + self.places[worst + 1]) / 2, worst + 1)

    def pixels(self) -> DoubleArray:
        """Return (S, S) what each pixel adds to the difference of the logits."""
        found = np.zeros(self._difference.shape)
        weights = np.gradient(np.array(self.places))
        weights[[0, -1]] /= 2
        for weight, slope in zip(weights.tolist(), self._slopes, strict=True):
            found[self._inside] += weight * slope
        return found

    def _errors(self) -> DoubleArray:
        """Return what the rule gives more than the logit rises, of each stretch."""
        along = np.array([slope.sum() for slope in self._slopes])
        errors: DoubleArray = np.diff(self.places) * (along[1:] + along[:-1]) / 2 - np.diff(self.logits)
        return errors

    def _look(self, place: float, at: int) -> None:
        probe = self._probe
        between = (self._healed + place * self._difference).astype(np.float32)
        logit, slope = self._backend.region_gradient(
            between, probe.proposal, probe.label, mirror=probe.mirror, branch=probe.branch
        )
        own: DoubleArray = slope[self._inside].astype(np.float64) * self._difference[self._inside]
        self.places.insert(at, place)
        self.logits.insert(at, logit)
        self._slopes.insert(at, own)


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


def _mask(pipeline: Pipeline, look: Look, probe: _Probe, result: SliceResult) -> RegionMap | None:
    """Return the raw mask logits of a region, where the network behind the class has a mask branch."""
    if pipeline.passes == 2:
        return None
    place = result.evidence_placement
    boxes = grown(probe.box[None], pipeline.evidence_card.detector.mask_box_scale, size=place.size)
    logits = probe.backend.masks(look.maps, boxes, np.array([probe.label]), size=place.size)
    (patch,) = paste_maps(logits, place.to_slice(boxes), place.slice_shape, framed=False)
    if not patch.values.size:
        return None
    height, width = patch.values.shape
    box = (patch.left, patch.top, patch.left + width, patch.top + height)
    return RegionMap("raw mask logits", patch.values, box, kind="mask")


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
