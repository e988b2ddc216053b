"""Measures of what a method says that regions contribute, after Quantus (docs/explanation.md, "Measured").

A method gives each region of a slice a number: by how much it speaks for a logit. All measures are of such
numbers, best region first.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
from scipy.special import expit, logit
from scipy.stats import spearmanr

from model_core.base.arrays import BoolArray, DoubleArray, FloatArray, IntArray
from model_core.base.jobs import Progress
from model_core.base.settings import EvidenceSettings
from model_core.engine.module_s import ModuleS
from model_core.explain.attribution import (
    ROUNDS,
    SEEDS,
    Contributions,
    Game,
    closed_up_rows,
    integrated_gradients,
    leave_one_out,
    refilled,
    shapley,
)
from model_core.ranking import replicate

MeasuredMethod = Literal["leave_one_out", "closed_up", "integrated_gradients", "shapley", "score", "random"]
# Curves have every number of regions up to the first, then so many steps.
_SINGLE, _STEPS = 16, 16
# Subsets of the faithfulness correlation, and which share of the regions each holds.
SUBSETS, SUBSET_SHARE = 100, 1 / 8
# Noise of rows: on the logit of the score, and on the corrections.
ROW_NOISE, DELTA_NOISE = 0.1, 0.05
# What scores are moved by where biases make up for it.
SCORE_SHIFT = 0.1
# Axioms look at one of so many of the best regions.
AMONG = 10


@dataclass(frozen=True, eq=False)
class Evidence:
    """The ranked regions of a slice, and what makes a logit of them.

    Attributes
    ----------
    ranked:
        (M, 5) rows, best first; the RoI batch holds the first of them.
    references:
        (R, N, 5) RoI batches of controls.
    output:
        Which logit: -1 is "ill or not" where there are classes of pneumonia.
    """

    ranked: FloatArray
    module_s: ModuleS
    references: FloatArray
    settings: EvidenceSettings
    ill_classes: tuple[int, ...]
    output: int

    @property
    def kept(self) -> int:
        """K, regions in the RoI batch."""
        return min(len(self.ranked), self.settings.batch_size)

    @cached_property
    def game(self) -> Game:
        """Rows as players, all copies of one together."""
        settings = self.settings
        ranks = replicate(self.kept, settings.batch_size, mode=settings.replication, seed=settings.seed)
        players = tuple(np.flatnonzero(ranks == k) for k in range(self.kept))
        return Game(self.module_s, self.ranked[ranks], self.references, players, self.ill_classes)

    def in_place(self, present: BoolArray) -> DoubleArray:
        """Return (n,) logits for (n, K) which regions are there; the others are filled in place."""
        found: DoubleArray = self.game.values(present)[:, self.output]
        return found

    def closed_up(self, left: Sequence[IntArray]) -> DoubleArray:
        """Return (n,) logits with only these of the ranked rows, best first, by the published rule."""
        seed = self.settings.seed
        found: DoubleArray = refilled(
            self.module_s,
            self.ranked,
            left,
            self.settings,
            ill_classes=self.ill_classes,
            seeds=range(seed, seed + SEEDS),
        )[:, self.output]
        return found


def attribute(
    evidence: Evidence, method: MeasuredMethod, *, generator: np.random.Generator, rounds: int = ROUNDS
) -> DoubleArray:
    """Return (K,) what a method says of each region.

    ``score`` is the score itself, ``random`` a random number of 0..1: what a method is measured against.
    """
    output, game = evidence.output, evidence.game
    if method == "score":
        return evidence.ranked[: evidence.kept, 0].astype(np.float64)
    if method == "random":
        return generator.random(evidence.kept)
    if method == "closed_up":
        closed = closed_up_rows(
            evidence.module_s,
            evidence.ranked,
            evidence.settings,
            ill_classes=evidence.ill_classes,
            seed=evidence.settings.seed,
        )
        fall: DoubleArray = closed.whole[output] - closed.without[:, output]
        return fall
    if method == "leave_one_out":
        return leave_one_out(game).values[:, output]
    job = integrated_gradients(game) if method == "integrated_gradients" else shapley(game, rounds=rounds)
    (found,) = (item for item in job if not isinstance(item, Progress))
    assert isinstance(found, Contributions)
    return found.values[:, output]


# -- faithfulness -----------------------------------------------------------------------------------


def areas(evidence: Evidence, values: DoubleArray) -> dict[str, float]:
    """Return how fast the logit follows the regions in the order of a method, greatest value first.

    ``deletion_*`` is by how much it lies below that of the whole slice while regions are taken out, mean over
    the share taken out (area over the curve: Samek et al. 2017; Petsiuk et al. 2018); ``insertion_*`` by how
    much above that of nothing while they are put in. ``*_in_place`` fills places from references,
    ``*_closed_up`` closes ranks and refills by the published rule. In logits, more is better.
    """
    kept, total = evidence.kept, len(evidence.ranked)
    order = np.argsort(-values, kind="stable")
    place = np.empty(kept, np.int64)
    place[order] = np.arange(kept)
    counts = np.unique(
        np.concatenate(
            (
                np.arange(min(_SINGLE, kept) + 1),
                np.linspace(min(_SINGLE, kept), kept, _STEPS + 1).round().astype(np.int64),
            )
        )
    )
    out = place < counts[:, None]
    beyond = np.arange(kept, total)
    curves = {
        "deletion_in_place": evidence.in_place(~out),
        "insertion_in_place": evidence.in_place(out),
        "deletion_closed_up": evidence.closed_up([np.r_[np.flatnonzero(~row), beyond] for row in out]),
        "insertion_closed_up": evidence.closed_up([np.flatnonzero(row) for row in out]),
    }
    share = counts / kept
    return {
        name: float(np.trapezoid(curve - curve[0], share)) * (-1.0 if name.startswith("deletion") else 1.0)
        for name, curve in curves.items()
    }


def faithfulness_correlation(
    evidence: Evidence, values: DoubleArray, generator: np.random.Generator
) -> float:
    """Return Pearson's r of the sum of the values of random regions and what filling their places changes.

    (Bhatt et al. 2020). NaN where either does not vary.
    """
    size = max(1, round(evidence.kept * SUBSET_SHARE))
    chosen = np.zeros((SUBSETS, evidence.kept), np.bool_)
    picks = generator.permuted(np.tile(np.arange(evidence.kept), (SUBSETS, 1)), axis=1)[:, :size]
    np.put_along_axis(chosen, picks, True, axis=1)
    whole = evidence.in_place(np.ones((1, evidence.kept), np.bool_))[0]
    change = whole - evidence.in_place(~chosen)
    summed = chosen @ values
    if np.ptp(change) == 0 or np.ptp(summed) == 0:
        return float("nan")
    return float(np.corrcoef(summed, change)[0, 1])


# -- robustness -------------------------------------------------------------------------------------


def with_row_noise(evidence: Evidence, generator: np.random.Generator) -> tuple[Evidence, IntArray]:
    """Return evidence whose rows are a little off, ranked anew, and (M,) the former place of each row."""
    rows = evidence.ranked.astype(np.float64)
    scores = logit(np.clip(rows[:, 0], 1e-6, 1 - 1e-6)) + generator.normal(0, ROW_NOISE, len(rows))
    rows[:, 0] = expit(scores)
    rows[:, 1:] += generator.normal(0, DELTA_NOISE, (len(rows), 4))
    order = np.argsort(-rows[:, 0], kind="stable")
    return dataclasses.replace(evidence, ranked=rows[order].astype(np.float32)), order


def back_in_place(values: DoubleArray, order: IntArray) -> DoubleArray:
    """Return (M,) values of the best of reordered rows, where the rows were before; 0 of the others."""
    found = np.zeros(len(order))
    found[order[: len(values)]] = values
    return found


def change(before: DoubleArray, after: DoubleArray) -> float:
    """Return the Euclidean norm of a change as a share of what changes (Yeh et al. 2019); NaN of nothing."""
    size = float(np.linalg.norm(before))
    return float(np.linalg.norm(after - before)) / size if size else float("nan")


# -- localisation -----------------------------------------------------------------------------------


def painted(values: DoubleArray, boxes: FloatArray, shape: tuple[int, int]) -> DoubleArray:
    """Return (H, W) the sum over regions of value by area, in the pixels of their (n, 4) boxes."""
    height, width = shape
    edges = np.rint(boxes).astype(np.int64)
    left, right = (np.clip(edges[:, k], 0, width) for k in (0, 2))
    top, bottom = (np.clip(edges[:, k], 0, height) for k in (1, 3))
    areas = (right - left) * (bottom - top)
    density = np.divide(values, areas, out=np.zeros(len(values)), where=areas > 0)
    steps = np.zeros((height + 1, width + 1))
    for rows, columns, sign in ((top, left, 1), (bottom, left, -1), (top, right, -1), (bottom, right, 1)):
        np.add.at(steps, (rows, columns), sign * density)
    return steps.cumsum(axis=0).cumsum(axis=1)[:height, :width]


def localisation(values: DoubleArray, boxes: FloatArray, mask: BoolArray) -> dict[str, float]:
    """Return where what speaks for the logit lies: positive values, spread over their boxes.

    ``mass``: which share lies in the mask (relevance mass accuracy); ``rank``: of as many pixels as the mask
    has, those with most of it, which share lies in the mask (relevance rank accuracy; both Arras et al.
    2022); ``pointing``: whether the pixel with most of it does (Zhang et al. 2018).
    """
    found = painted(np.maximum(values, 0), boxes, mask.shape).ravel()
    # What rounding leaves where nothing is.
    found[found < 1e-9 * max(found.max(), 1e-300)] = 0.0
    inside = mask.ravel()
    total = found.sum()
    best = np.argsort(-found, kind="stable")[: int(inside.sum())]
    return {
        "mass": float(found[inside].sum() / total) if total else 0.0,
        "rank": float((inside[best] & (found[best] > 0)).mean()),
        "pointing": float(total > 0 and inside[best[0]]),
    }


# -- complexity -------------------------------------------------------------------------------------


def complexity(values: DoubleArray) -> dict[str, float]:
    """Return the Gini index of the sizes of the values (Chalasani et al. 2020), and their entropy in nats.

    Entropy (Bhatt et al. 2020): its exponential is how many regions would share the sum evenly. NaN of zeros.
    """
    sizes = np.sort(np.abs(values))
    total, count = sizes.sum(), len(sizes)
    if not total:
        return {"gini": float("nan"), "entropy": float("nan")}
    share = sizes / total
    gini = float(((2 * np.arange(1, count + 1) - count - 1) * share).sum() / count)
    positive = share[share > 0]
    return {"gini": gini, "entropy": float(-(positive * np.log(positive)).sum())}


# -- randomised weights -----------------------------------------------------------------------------


def randomised(module_s: ModuleS, generator: np.random.Generator) -> ModuleS:
    """Return module S with the weights of each layer shuffled; what is 0, so that it is not read, stays 0."""

    def shuffled(weights: FloatArray) -> FloatArray:
        found = weights.copy()
        found[weights != 0] = generator.permutation(weights[weights != 0])
        return found

    return ModuleS(tuple((shuffled(weights), biases) for weights, biases in module_s.layers))


def rank_correlation(before: DoubleArray, after: DoubleArray) -> float:
    """Return Spearman's rank correlation (Adebayo et al. 2018); NaN where either does not vary."""
    if len(before) < 2 or np.ptp(before) == 0 or np.ptp(after) == 0:
        return float("nan")
    return float(spearmanr(before, after).statistic)


# -- axioms -----------------------------------------------------------------------------------------


def incompleteness(evidence: Evidence, values: DoubleArray, *, closed_up: bool = False) -> float:
    """Return by how many logits the values miss logit minus logit of nothing (Sundararajan et al. 2017)."""
    present = np.array([np.ones(evidence.kept), np.zeros(evidence.kept)], np.bool_)
    if closed_up:
        whole, nothing = evidence.closed_up([np.arange(len(evidence.ranked)), np.zeros(0, np.int64)])
    else:
        whole, nothing = evidence.in_place(present)
    return abs(float(values.sum() - (whole - nothing)))


def _first_layer(evidence: Evidence) -> FloatArray:
    weights = evidence.module_s.layers[0][0]
    return weights.reshape(len(weights), evidence.settings.batch_size, -1).copy()


def _with_first_layer(evidence: Evidence, weights: FloatArray, biases: FloatArray) -> Evidence:
    flat = weights.reshape(len(weights), -1)
    layers = ((flat, biases), *evidence.module_s.layers[1:])
    return dataclasses.replace(evidence, module_s=ModuleS(layers))


def with_null_player(evidence: Evidence, player: int) -> Evidence:
    """Return evidence of a module S that does not read the places of one region."""
    weights = _first_layer(evidence)
    weights[:, evidence.game.players[player]] = 0
    return _with_first_layer(evidence, weights, evidence.module_s.layers[0][1])


def with_twins(evidence: Evidence, player: int) -> Evidence | None:
    """Return evidence in which a region and the next are alike in everything that module S reads.

    Rows, weights and references are those of the first. None where they have not as many places.
    """
    first, second = (evidence.game.players[k] for k in (player, player + 1))
    if len(first) != len(second):
        return None
    weights, references, ranked = _first_layer(evidence), evidence.references.copy(), evidence.ranked.copy()
    weights[:, second], references[:, second] = weights[:, first], references[:, first]
    ranked[player + 1] = ranked[player]
    alike = _with_first_layer(evidence, weights, evidence.module_s.layers[0][1])
    return dataclasses.replace(alike, ranked=ranked, references=references)


def with_shifted_scores(evidence: Evidence) -> Evidence:
    """Return evidence whose scores are all moved by `SCORE_SHIFT`, and biases that make up for it.

    The logits stay the same (Kindermans et al. 2019).
    """
    weights, biases = _first_layer(evidence), evidence.module_s.layers[0][1]
    shift = np.zeros(5, np.float32)
    shift[0] = SCORE_SHIFT
    moved = biases.astype(np.float64) - SCORE_SHIFT * weights[:, :, 0].astype(np.float64).sum(axis=1)
    same = _with_first_layer(evidence, weights, moved.astype(np.float32))
    return dataclasses.replace(same, ranked=evidence.ranked + shift, references=evidence.references + shift)
