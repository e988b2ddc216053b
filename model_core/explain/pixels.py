"""From a region to pixels: what its logit hangs on, with its proposal and the choice of regions held fixed.

The logit is that of the region's class minus that of background, as the box branch gives them. That the class
comes from these regions is exact; this second step holds for this proposal, and says nothing of others.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np

from model_core.base.arrays import DoubleArray, FloatArray
from model_core.base.errors import SettingsError
from model_core.base.jobs import Progress
from model_core.base.results import Candidates, Placement, RoiRow, SliceResult
from model_core.base.settings import DetectionSettings, InputSpec
from model_core.base.volume import Volume
from model_core.engine.backend import Backend, Branch, GradientBackend, Look
from model_core.engine.pipeline import Pipeline
from model_core.engine.preprocess import network_input, to_unit_range
from model_core.explain.healing import FEATHER, LungSlice, NothingHealthy, grown_by, heal, to_heal
from model_core.explain.masks import paste_maps
from model_core.explain.picture_edit import ground_of
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
# Healthy lung is copied if what is to be filled is no larger than so many times all of it: more copies of a
# corner of lung would tell little, and take minutes.
MOST_COPIES = 4
# With what healthy lung is filled in: a copy of it, or one grey, its mean or that of what lies around.
Filling = Literal["texture", "mean", "around"]
_FILLINGS: dict[Filling, str] = {
    "texture": "texture of healthy lung of this slice",
    "mean": "one grey, the mean of this slice's healthy lung",
    "around": "one grey, the mean of what lies around the region",
}
_SHORT: dict[Filling | None, str] = {
    None: "", "texture": "healthy texture", "mean": "one grey", "around": "one grey",
}  # fmt: skip


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
        least `FOUND_IOU`, fall where a cell of the grid is filled with healthy lung, chest wall too. None
        until then.
    score:
        Of the best region with such an IoU in the picture as it is, from which ``found`` falls.
    pixels:
        (S, S) integrated gradients in pixels of the network's input, from the healed picture: what of the
        proposal is lung, or marked as a lesion, is filled with healthy lung. They add up to ``logit -
        healed`` but for ``error``. None without gradients.
    healed:
        Logit of the same proposal in that picture.
    steps:
        Points of the path that were looked at.
    filling:
        With what: a copy of healthy lung of the slice; where that is impossible one grey, and in all of the
        proposal. None until it is known.
    why_grey:
        Why there is no such copy; "" where there is.
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
    filling: Filling | None
    why_grey: str
    placement: Placement

    @property
    def filled_with(self) -> str:
        """Say with what healthy lung is filled in, and why with one grey; "" until it is known."""
        if self.filling is None:
            return ""
        return _FILLINGS[self.filling] + f" ({self.why_grey})" * bool(self.why_grey)

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
        short = _SHORT[self.filling]
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
            title, box = (
                f"integrated gradients of pixels, from {short} (logit)",
                self.placement.to_slice(edges)[0],
            )
            maps.append(RegionMap(title, own, box, True, kind="gradients", filling=short))
        if self.fixed is not None:
            title = f"occlusion ({short}): fall of the logit, proposal fixed"
            maps.append(RegionMap(title, self.fixed, self.grid, kind="fixed", filling=short))
        if self.found is not None:
            title = f"occlusion ({short}): fall of the region's score"
            maps.append(RegionMap(title, self.found, self.grid, kind="found", unit="score", filling=short))
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
    detections: DetectionSettings,
    *,
    grid: int = GRID,
    tolerance: float = TOLERANCE,
) -> Generator[Progress | RegionPixels, None, None]:
    """Yield what the logit of a region of the evidence hangs on; the backbone runs for it again.

    First come mask logits, then the same with what is computed next: cells, integrated gradients, occlusion.
    Gradients are torch's, which is loaded for them where something else computes.

    Parameters
    ----------
    detections:
        What they mark, also weakly, is no healthy lung.
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
    )
    place = result.evidence_placement
    picture = network_input(volume, result.slice_index, card.input)
    total = grid**2 + _USUAL_STEPS + 2
    yield Progress(0, total, f"Region {roi.rank} as it is")
    look = backend.look(picture)
    logit, score = probe.ask(look)
    edges = _grown(probe.box, GRID_SIZE, size=place.size)
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
        filling=None,
        why_grey="",
        placement=place,
    )
    yield known
    if isinstance(backend, GradientBackend):
        loads = "torch" not in sys.modules
        yield Progress(1, total, "Loading PyTorch" if loads else "Gradients")
        own = (probe.proposal, probe.label)
        _, cells = backend.region_cells(look.maps, *own, size=place.size, branch=probe.branch)
        known = replace(known, cells=cells)
        yield known
    yield Progress(1, total, "Looking for healthy lung")
    ground = None
    with suppress(NothingHealthy):
        ground = yield from ground_of(pipeline, volume, result, detections)
    healthy = _healthy(volume, result, card.input, picture, probe.proposal, known.grid, ground)
    known = replace(known, filling=healthy.filling, why_grey=healthy.why_grey)
    if isinstance(backend, GradientBackend):
        path = _Path(backend, probe, healthy.healed, picture)
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
        cell = np.s_[rows[row] : rows[row + 1], columns[column] : columns[column + 1]]
        covered[cell] = healthy.cover[cell]
        without = probe.ask(backend.look(covered))
        fixed[row, column], found[row, column] = logit - without[0], score - without[1]
    if known.healed is None:
        known = replace(known, healed=probe.ask(backend.look(healthy.healed))[0])
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
        self._inside = _pixels(probe.proposal)
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
            between, probe.proposal, probe.label, branch=probe.branch
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
    place, boxes = result.evidence_placement, probe.box[None]
    logits = probe.backend.masks(look.maps, boxes, np.array([probe.label]), size=place.size)
    (patch,) = paste_maps(logits, place.to_slice(boxes), place.slice_shape, framed=False)
    if not patch.values.size:
        return None
    height, width = patch.values.shape
    box = (patch.left, patch.top, patch.left + width, patch.top + height)
    return RegionMap("raw mask logits", patch.values, box, kind="mask")


@dataclass(frozen=True, eq=False)
class _Healthy:
    """Healthy lung in place of what a picture shows: (S, S) network inputs.

    Attributes
    ----------
    healed:
        With what of the proposal is lung filled, or all of it with one grey.
    cover:
        Filled wherever occlusion looks.
    filling, why_grey:
        See `RegionPixels`.
    """

    healed: FloatArray
    cover: FloatArray
    filling: Filling
    why_grey: str = ""


def _healthy(
    volume: Volume,
    result: SliceResult,
    spec: InputSpec,
    picture: FloatArray,
    proposal: FloatArray,
    grid: FloatArray,
    ground: LungSlice | None,
) -> _Healthy:
    """Return a picture with its proposal (network pixels), and with the grid (slice pixels), filled."""
    if ground is None:
        return _grey(picture, proposal, None, "no lung was found in the slice")
    index, place, inside = result.slice_index, result.evidence_placement, _pixels(proposal)
    own, around = np.zeros((2, *place.slice_shape), np.bool_)
    own[_pixels(place.to_slice(proposal[None])[0])] = True
    around[_pixels(grid)] = True
    usable = ground.healthy & ~own
    mean = float(to_unit_range(volume, index, spec)[usable].mean()) if usable.any() else None
    try:
        lung = to_heal(ground, own, margin=0)
    except NothingHealthy:
        return _grey(picture, proposal, mean, "hardly any of the proposal is lung")
    # And beyond, where what is filled passes into what is there.
    area, filled = grown_by(own | around, FEATHER), None
    if area.sum() <= MOST_COPIES * usable.sum():
        with suppress(NothingHealthy):
            filled, _ = heal(ground, area)
    if filled is None:
        return _grey(picture, proposal, mean, "too little of the slice is healthy lung to copy")
    changed = np.where(lung, filled, ground.values)
    healed = picture.copy()
    healed[inside] = network_input(volume, index, spec, voxels=changed)[inside]
    return _Healthy(healed, network_input(volume, index, spec, voxels=filled), "texture")


def _grey(picture: FloatArray, proposal: FloatArray, mean: float | None, why: str) -> _Healthy:
    """Return a picture filled with the mean of healthy lung, else of what lies around the proposal."""
    inside, grey = _pixels(proposal), mean
    if grey is None:
        around = np.zeros(picture.shape, np.bool_)
        around[_pixels(_grown(proposal, _RING, size=len(picture)))] = True
        around[inside] = False
        grey = float(picture[around].mean()) if around.any() else float(picture.mean())
    healed = picture.copy()
    healed[inside] = grey
    return _Healthy(healed, np.full_like(picture, grey), "around" if mean is None else "mean", why)


def _grown(box: FloatArray, factor: float, *, size: int) -> FloatArray:
    """Return a (4,) box so many times as wide and high about its centre, within a square picture."""
    centre, half = (box[2:] + box[:2]) * np.float32(0.5), (box[2:] - box[:2]) * np.float32(0.5 * factor)
    larger: FloatArray = np.concatenate((centre - half, centre + half))
    return larger.clip(0, size)


def _pixels(box: FloatArray) -> tuple[slice, slice]:
    """Return the rows and columns of a box, to the nearest edges of pixels."""
    left, top, right, bottom = np.rint(box).astype(int).clip(0).tolist()
    return slice(top, bottom), slice(left, right)
