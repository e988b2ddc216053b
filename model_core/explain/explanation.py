"""Why a slice has its class: every method of `attribution` on the regions that a slice shows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from model_core.base.arrays import BoolArray, DoubleArray, IntArray
from model_core.base.calibration import Calibration
from model_core.base.errors import SettingsError
from model_core.base.jobs import Progress
from model_core.base.results import ImageVerdict, ShownSlice, SliceResult
from model_core.engine.pipeline import Pipeline
from model_core.explain.attribution import (
    ClosedUp,
    Contributions,
    Game,
    closed_up,
    integrated_gradients,
    leave_one_out,
    lesion_players,
    row_players,
    shapley,
)
from model_core.explain.decisive import DecisiveSet, Rule, decisive_set

Method = Literal["leave_one_out", "integrated_gradients", "shapley"]
METHODS: tuple[Method, ...] = ("leave_one_out", "integrated_gradients", "shapley")
# Rows below are background.
BACKGROUND = 0.05
NO_REFERENCES = (
    "The card of these weights has no RoI batches of controls to fill a region's place from: 'ctmasknet "
    "train calibrate' adds them, from at least 32 control slices of patients left out of the training."
)
NO_REGIONS = "No region is left in the evidence: the class is the network's bias."
OUTSIDE = "The slice lies outside the lungs and has no verdict."


@dataclass(frozen=True, eq=False)
class Explanation:
    """What carries the class of a slice; everything is in the order of the kept rows, best first.

    Attributes
    ----------
    ranks:
        Of each row, its number in the table, from 1: there excluded regions count, too.
    slots:
        Of each row, its places in the RoI batch, from 0.
    contributions:
        By method, see `Contributions`; empty where ``why_none`` says why.
    without:
        (K, outputs) logits with each row filled in place; None without contributions.
    closed:
        The same with ranks closed up and the batch refilled.
    background:
        (K,) whether a row's score is below `BACKGROUND`.
    players:
        The rows of each player of ``decisive``, counted from 0: of the lesions shown, or, where none is, of
        single rows that are no background.
    lesions:
        Whether the players are lesions.
    decisive:
        None without contributions or outside the lungs.
    outcomes:
        (2, outputs) logits without the decisive set, and with that alone which carries the verdict; NaN where
        there is no such set.
    references:
        How many RoI batches of controls fill the places.
    game:
        The kept rows as players; None without contributions.
    """

    verdict: ImageVerdict
    calibration: Calibration | None
    ranks: tuple[int, ...]
    slots: tuple[IntArray, ...]
    contributions: dict[Method, Contributions]
    without: DoubleArray | None
    closed: ClosedUp
    background: BoolArray
    players: tuple[tuple[int, ...], ...]
    lesions: bool
    decisive: DecisiveSet | None
    outcomes: DoubleArray | None
    references: int
    seed: int
    why_none: str = ""
    why_undecided: str = ""
    game: Game | None = None

    @property
    def closed_up_tells(self) -> BoolArray:
        """(K, outputs) whether closing up changes an output more than for the median background row."""
        change = np.abs(self.closed.whole - self.closed.without)
        noise = np.median(change[self.background], axis=0) if self.background.any() else 0.0
        tells: BoolArray = change > noise
        return tells


def explain_slice(
    pipeline: Pipeline,
    result: SliceResult,
    shown: ShownSlice,
    *,
    seed: int = 0,
    methods: Collection[Method] = METHODS,
) -> Generator[Progress | Explanation, None, None]:
    """Yield, last, the explanation of a slice as it is shown; no backbone runs.

    Parameters
    ----------
    shown:
        What `explain.show` gave for the result.
    seed:
        Of the orders that are drawn for Shapley values, and of the draws of slots where ranks are closed up.
    methods:
        Those that are asked for; Shapley values of many regions take seconds.

    Raises
    ------
    SettingsError
        If the weights give no image class.
    """
    verdict, module_s = shown.verdict, pipeline.evidence_backend.module_s
    if verdict is None or module_s is None or result.evidence_candidates is None:
        raise SettingsError(
            "These weights give no image class, so that there is nothing to explain: "
            "choose a classifier or a single-shot model."
        )
    calibration = pipeline.calibration
    ill = () if calibration is None else calibration.ill_classes
    batch = verdict.batch
    slots = row_players(batch) if len(batch.kept) else ()
    scores = np.array([batch.rows[own[0], 0] for own in slots])
    found = Explanation(
        verdict=verdict,
        calibration=calibration,
        ranks=tuple(roi.rank for roi in shown.evidence_rois),
        slots=slots,
        contributions={},
        without=None,
        closed=closed_up(
            module_s,
            result.evidence_candidates,
            verdict.settings,
            edit=verdict.edit,
            ill_classes=ill,
            seed=seed,
        ),
        background=scores < BACKGROUND,
        players=(),
        lesions=False,
        decisive=None,
        outcomes=None,
        references=0,
        seed=seed,
    )
    references = pipeline.cards[-1].references
    if references is None or not slots:
        why = NO_REGIONS if not slots else NO_REFERENCES
        yield replace(found, why_none=why, why_undecided=why)
        return
    game = Game(module_s, batch.rows, references.batches, slots, ill)
    contributions: dict[Method, Contributions] = {}
    without = None
    if "leave_one_out" in methods:
        yield Progress(0, 0, "Leave-one-out")
        alone = contributions["leave_one_out"] = leave_one_out(game)
        without = game.logits - alone.values
    jobs: tuple[tuple[Method, Callable[[], Generator[Progress | Contributions, None, None]]], ...] = (
        ("integrated_gradients", lambda: integrated_gradients(game)),
        ("shapley", lambda: shapley(game, seed=seed)),
    )
    for method, job in jobs:
        for item in job() if method in methods else ():
            if isinstance(item, Progress):
                yield item
            else:
                contributions[method] = item
    found = replace(
        found,
        contributions=contributions,
        without=without,
        references=references.slices,
        game=game,
        why_undecided=OUTSIDE if shown.summary.lung is False else "",
    )
    if not found.why_undecided:
        found = yield from _decided(found, game, shown, scores)
    yield found


def _decided(
    found: Explanation, game: Game, shown: ShownSlice, scores: DoubleArray
) -> Generator[Progress, None, Explanation]:
    """Add what the verdict hangs on: lesions, or, where none is shown, single regions."""
    boxes = np.array([roi.box for roi in shown.evidence_rois], np.float32).reshape(-1, 4)
    groups, owner = lesion_players(found.slots, boxes, shown.detections.boxes)
    lesions = [k for k in range(len(shown.detections)) if (owner == k).any()]
    if lesions:
        rest = np.concatenate([groups[k] for k in range(len(groups)) if k not in lesions])
        players = (*(groups[k] for k in lesions), rest)
        rows = tuple(tuple(np.flatnonzero(owner == k).tolist()) for k in lesions)
    else:
        chosen = np.flatnonzero(scores >= BACKGROUND).tolist()
        others = [own for k, own in enumerate(found.slots) if k not in chosen]
        players = (*(found.slots[k] for k in chosen), np.concatenate([np.zeros(0, np.int64), *others]))
        rows = tuple((k,) for k in chosen)
    few = replace(game, players=players)
    decisive = None
    for item in decisive_set(few, Rule.of(found.calibration), among=range(len(rows))):
        if isinstance(item, Progress):
            yield item
        else:
            decisive = item
    assert decisive is not None
    outcomes = np.full((2, len(game.logits)), np.nan)
    for place, chosen_set, alone in ((0, decisive.without, False), (1, decisive.alone, True)):
        if chosen_set is not None:
            present = np.full((1, len(few)), not alone)
            present[0, list(chosen_set.players)] = alone
            outcomes[place] = few.values(present)[0]
    return replace(found, players=rows, lesions=bool(lesions), decisive=decisive, outcomes=outcomes)
