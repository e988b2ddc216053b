"""What the window says of why a slice has its class: `explanation` by one way, grouped, with what to do."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Sequence
from dataclasses import replace

import numpy as np

from model_core.base.arrays import DoubleArray, IntArray
from model_core.base.jobs import Progress
from model_core.base.reasons import (
    ADDING_UP,
    Carriers,
    DecisiveRegions,
    Group,
    Grouping,
    SliceReason,
    Way,
)
from model_core.base.results import RoiRow, ShownSlice, SliceResult
from model_core.base.settings import EvidenceEdit
from model_core.base.volume import Volume
from model_core.engine.evidence import judge
from model_core.engine.lungs import known_lungs
from model_core.engine.pipeline import Pipeline
from model_core.explain.attribution import (
    Contributions,
    Game,
    leave_one_out,
    lesion_players,
    shapley,
    with_ill,
)
from model_core.explain.decisive import FoundSet
from model_core.explain.explanation import Explanation, explain_slice
from model_core.scene import class_name

# Groups that contribute this share of the whole are said to carry it.
ENOUGH = 0.8
# Regions change nothing worth a sentence below (logits).
LEAST = 0.25
# Groups up to so many are looked at in every combination.
_ENUMERATED = 7
_SIDES = {1: "right lung", 2: "left lung", 0: "outside the lungs"}


def reason_of(
    pipeline: Pipeline,
    volume: Volume,
    result: SliceResult,
    shown: ShownSlice,
    *,
    way: Way,
    seed: int = 0,
) -> Generator[Progress | SliceReason, None, None]:
    """Yield, last, why a slice has its class as it is shown; no backbone runs.

    Weights without references have one ``way`` only, "closed_up".

    Raises
    ------
    SettingsError
        If the weights give no image class.
    """
    methods = () if way == "closed_up" else (way,)
    found: Explanation | None = None
    for item in explain_slice(pipeline, result, shown, seed=seed, methods=methods):
        if isinstance(item, Progress):
            yield item
        else:
            found = item
    assert found is not None
    if found.game is None:
        way = "closed_up"
    names = pipeline.image_classes
    outputs = tuple(class_name(names, k) for k in range(len(found.verdict.logits)))
    ill = () if found.calibration is None else found.calibration.ill_classes
    rois, references = shown.evidence_rois, pipeline.cards[-1].references
    reason = SliceReason(
        slice_index=shown.slice_index,
        way=way,
        outputs=(*outputs, "ill") if ill else outputs,
        calibration=found.calibration,
        logits=with_ill(np.asarray(found.verdict.logits, np.float64), ill),
        baseline=_baseline(pipeline, found, ill),
        candidates=tuple(roi.candidate for roi in rois),
        ranks=found.ranks,
        values=_values(found, way),
        error=found.contributions[way].error if way in found.contributions else None,
        tells=found.closed_up_tells if way == "closed_up" else None,
        references=0 if references is None else references.slices,
        why_none=found.why_none,
        why_undecided=found.why_undecided,
    )
    reason = _decided(reason, found, pipeline, result, rois)
    if reason.values is None or not len(rois):
        yield reason
        return
    for grouping, players in _groupings(found, volume, shown, closed_up=way == "closed_up"):
        yield Progress(0, 0, "Groups of regions")
        reason = _grouped(reason, found, grouping, players)
    yield reason


def _baseline(pipeline: Pipeline, found: Explanation, ill: Sequence[int]) -> DoubleArray:
    """Return what module S says of the evidence of controls, or, without references, of none."""
    if found.game is not None:
        return found.game.baseline
    module_s, references = pipeline.evidence_backend.module_s, pipeline.cards[-1].references
    assert module_s is not None
    size = found.verdict.settings.batch_size
    empty = np.zeros((1, size, 5)) if references is None else references.batches.astype(np.float64)
    mean: DoubleArray = with_ill(module_s(empty), ill).mean(axis=0)
    return mean


def _values(found: Explanation, way: Way) -> DoubleArray | None:
    """Return (K, outputs) contributions; None where this way gives none."""
    if way == "closed_up":
        return found.closed.whole - found.closed.without
    return found.contributions[way].values if way in found.contributions else None


# Rows of each group, counted from 0; its side; whether it is the rest.
_Players = tuple[tuple[IntArray, str, bool], ...]


def _groupings(
    found: Explanation, volume: Volume, shown: ShownSlice, *, closed_up: bool
) -> Generator[tuple[Grouping, _Players], None, None]:
    """Yield the groupings that say something of this slice."""
    rois = shown.evidence_rois
    yield "region", tuple((np.array([k]), "", False) for k in range(len(rois)))
    # Ranks that close up after one region say nothing of several.
    if found.game is None or closed_up:
        return
    boxes = np.array([roi.box for roi in rois], np.float32).reshape(-1, 4)
    if len(shown.detections):
        _, owner = lesion_players(found.slots, boxes, shown.detections.boxes)
        lesions = [np.flatnonzero(owner == k) for k in range(len(shown.detections))]
        groups = [(rows, "", False) for rows in lesions if len(rows)]
        rest = np.flatnonzero(owner < 0)
        if groups:
            yield "lesion", (*groups, *(((rest, "", True),) if len(rest) else ()))
    lungs = known_lungs(volume)
    if lungs is None or shown.slice_index not in lungs.slices:
        return
    sides = lungs.sides(shown.slice_index)
    of_rows = np.array([_side(sides, box) for box in boxes.tolist()])
    groups = [(np.flatnonzero(of_rows == side), name, False) for side, name in _SIDES.items()]
    yield "side", tuple(group for group in groups if len(group[0]))


def _side(sides: np.ndarray, box: Sequence[float]) -> int:
    """Return on which side most of the lung in a box lies; 0 where there is none."""
    left, top, right, bottom = box
    part = sides[int(top) : max(int(top) + 1, round(bottom)), int(left) : max(int(left) + 1, round(right))]
    counts = np.bincount(part.ravel(), minlength=3)[1:3]
    return int(counts.argmax()) + 1 if counts.any() else 0


def _grouped(reason: SliceReason, found: Explanation, grouping: Grouping, players: _Players) -> SliceReason:
    """Add the contributions of groups, and which of them carry each output."""
    assert reason.values is not None
    rows = [own for own, _, _ in players]
    game = found.game
    if game is not None and grouping != "region":
        game = replace(game, players=tuple(_slots(found, own) for own in rows))
        values = _of_groups(game, reason.way, [reason.values[own].sum(axis=0) for own in rows])
    else:
        values = reason.values
    groups = tuple(
        Group(
            rank=reason.ranks[own[0]],
            candidates=tuple(reason.candidates[k] for k in own.tolist()),
            values=values[k],
            side=side,
            rest=rest,
        )
        for k, (own, side, rest) in enumerate(players)
    )
    carriers = tuple(
        _carriers(reason, found, game, values[:, output], output) for output in range(len(reason.outputs))
    )
    return replace(
        reason,
        groups={**reason.groups, grouping: groups},
        carriers={**reason.carriers, grouping: carriers},
    )


def _slots(found: Explanation, rows: IntArray) -> IntArray:
    return np.concatenate([found.slots[k] for k in rows.tolist()])


def _of_groups(game: Game, way: Way, sums: list[DoubleArray]) -> DoubleArray:
    """Return (G, outputs) contributions of groups: a path adds up, the others take groups out whole."""
    if way == "leave_one_out":
        return leave_one_out(game).values
    if way == "shapley" and len(game) <= _ENUMERATED:
        found = [item for item in shapley(game) if isinstance(item, Contributions)]
        return found[-1].values
    return np.array(sums)


def _carriers(
    reason: SliceReason, found: Explanation, game: Game | None, values: DoubleArray, output: int
) -> Carriers | None:
    """Return the strongest groups; None where nothing speaks for the output."""
    order = np.argsort(-values, kind="stable")
    whole = float(reason.logits[output] - reason.baseline[output])
    if reason.way not in ADDING_UP:
        change = np.abs(values)
        if len(values) == len(reason.candidates):
            change = change * reason.telling(output)
        first = int(change.argmax())
        if change[first] < LEAST:
            return None
        if reason.way == "closed_up" or game is None:
            return Carriers((first,), None, found.closed.without[first])
        return Carriers((first,), None, _without(game, np.array([first])))
    if whole < LEAST or game is None:
        return None
    shares = np.cumsum(values[order]) / whole
    enough = np.flatnonzero(shares >= ENOUGH)
    count = int(enough[0]) + 1 if len(enough) else len(order)
    # Where some speak against it, what speaks for it may be more than the whole.
    share = min(1.0, float(shares[count - 1]))
    return Carriers(tuple(order[:count].tolist()), share, _without(game, order[:count]))


def _without(game: Game, players: IntArray) -> DoubleArray:
    present = np.ones((1, len(game)), np.bool_)
    present[0, players] = False
    outcome: DoubleArray = game.values(present)[0]
    return outcome


def _decided(
    reason: SliceReason, found: Explanation, pipeline: Pipeline, result: SliceResult, rois: Sequence[RoiRow]
) -> SliceReason:
    """Add the decisive sets, and what comes of editing the evidence by them."""
    if found.decisive is None or found.outcomes is None:
        return reason
    ill = () if found.calibration is None else found.calibration.ill_classes
    verdict = found.verdict
    edit = verdict.edit or EvidenceEdit()

    def regions(chosen: FoundSet | None, outcome: DoubleArray, *, alone: bool) -> DecisiveRegions | None:
        if chosen is None:
            return None
        rows = sorted(itertools.chain.from_iterable(found.players[k] for k in chosen.players))
        candidates = tuple(reason.candidates[k] for k in rows)
        # What was asked about is no candidate of the slice: it is forgotten. What was out stays out.
        numbers = frozenset(rois[k].candidate for k in rows if rois[k].asked is None)
        asked = {rois[k].asked for k in rows}
        gone = [k for k in range(len(edit.asked)) if (k in asked) != alone]
        changed = (replace(edit, only=numbers) if alone else edit.exclude(numbers)).forget(gone)
        judged = judge(pipeline, result, verdict.settings, changed) if rows else verdict
        assert judged is not None
        return DecisiveRegions(
            ranks=tuple(reason.ranks[found.players[k][0]] for k in chosen.players),
            candidates=candidates,
            outcome=outcome,
            edited=with_ill(np.asarray(judged.logits, np.float64), ill),
            exact=chosen.exact,
        )

    return replace(
        reason,
        verdict=found.decisive.verdict,
        without=regions(found.decisive.without, found.outcomes[0], alone=False),
        alone=regions(found.decisive.alone, found.outcomes[1], alone=True),
        lesions=found.lesions,
    )
