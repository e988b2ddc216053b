"""Which regions carry the class of a slice: module S taken apart, row by row (docs/explanation.md).

Module S reads N ranked rows and nothing else, so that each row can be taken out of them and the answer
computed anew, exactly. A row is taken out *in place*, so that no other changes its rank: its slots are filled
with the rows of the same rank of RoI batches of controls (`References`). All computes in float64.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import logsumexp, softmax, stdtrit

from model_core.base.arrays import BoolArray, DoubleArray, FloatArray, IntArray
from model_core.base.jobs import Progress
from model_core.base.results import Candidates, RoiBatch
from model_core.base.settings import EvidenceEdit, EvidenceSettings
from model_core.engine.evidence import evidence_batch
from model_core.engine.module_s import ModuleS
from model_core.ranking import replicate

# Where slots are drawn at random, so many draws are averaged.
SEEDS = 16
# The sum of integrated gradients is off by at most this share of the difference, or by so much of a logit.
SHARE, LOGIT = 0.01, 0.01
_FIRST_STEPS, _MOST_STEPS, _STEPS_AT_ONCE = 32, 4096, 8
# Up to so many players every set of them is looked at; of more, orders are drawn.
MOST_ENUMERATED = 10
# Draws of an order of the players, and its reverse, for each reference.
ROUNDS = 12
# References of which orders of the players are looked at in one step.
_ORDERS_AT_ONCE = 4
# Sets whose values are computed at once, over all references; and RoI batches.
_AT_ONCE, _BATCHES_AT_ONCE = 8192, 1024


@dataclass(frozen=True, eq=False)
class Game:
    """A slice's RoI batch as players that are there or filled in place.

    Attributes
    ----------
    module_s:
        What answers.
    rows:
        (N, 5) the RoI batch of the slice.
    references:
        (R, N, 5) RoI batches of controls.
    players:
        The slots of each; together all slots of ``rows``, each once.
    ill_classes:
        The classes of pneumonia; their logsumexp minus the logit of class 0 is the last output, "ill or not".
        Empty without a calibration: then there is no such output.
    """

    module_s: ModuleS
    rows: FloatArray
    references: FloatArray
    players: tuple[IntArray, ...]
    ill_classes: tuple[int, ...] = ()

    def __len__(self) -> int:
        return len(self.players)

    @cached_property
    def _layers(self) -> list[tuple[DoubleArray, DoubleArray]]:
        return [(w.astype(np.float64), b.astype(np.float64)) for w, b in self.module_s.layers]

    @cached_property
    def _empty(self) -> DoubleArray:
        """(R, H) what the first layer makes of each reference."""
        weights, biases = self._layers[0]
        flat = self.references.reshape(len(self.references), -1).astype(np.float64)
        empty: DoubleArray = flat @ weights.T + biases
        return empty

    @cached_property
    def _effects(self) -> DoubleArray:
        """(R, P, H) what each player adds to that: the first layer is linear, so that players just add up."""
        weights = self._layers[0][0].reshape(-1, *self.rows.shape)
        change = self.rows.astype(np.float64) - self.references
        effects = np.empty((len(change), len(self.players), len(weights)))
        for player, own in enumerate(self.players):
            effects[:, player] = np.einsum("rsc,hsc->rh", change[:, own], weights[:, own], optimize=True)
        return effects

    @cached_property
    def _full(self) -> DoubleArray:
        """(R, H) what the first layer makes of the slice."""
        full: DoubleArray = self._empty + self._effects.sum(axis=1)
        return full

    def _answer(self, first: DoubleArray) -> DoubleArray:
        """Map (..., H) sums of the first layer to (..., outputs)."""
        # One large product instead of many small ones.
        values = first.reshape(-1, first.shape[-1])
        for weights, biases in self._layers[1:]:
            values = np.maximum(values, 0) @ weights.T + biases
        return with_ill(values.reshape(*first.shape[:-1], -1), self.ill_classes)

    def values(self, present: BoolArray) -> DoubleArray:
        """Return (M, outputs) for (M, P) which players are there, means over the references."""
        step = max(1, _AT_ONCE // len(self._empty))
        parts = [
            self._answer(self._empty[:, None] + present[k : k + step].astype(np.float64) @ self._effects)
            for k in range(0, len(present), step)
        ]
        return np.concatenate([part.mean(axis=0) for part in parts])

    @cached_property
    def logits(self) -> DoubleArray:
        """(outputs,) of the slice."""
        whole: DoubleArray = self.values(np.ones((1, len(self)), np.bool_))[0]
        return whole

    @cached_property
    def baseline(self) -> DoubleArray:
        """(outputs,) of the references, their mean."""
        empty: DoubleArray = self.values(np.zeros((1, len(self)), np.bool_))[0]
        return empty

    def without_each(self) -> DoubleArray:
        """Return (R, P, outputs) with each player filled in place, one reference at a time."""
        return self._answer(self._full[:, None] - self._effects)

    def slopes(self, places: DoubleArray) -> DoubleArray:
        """Return (R, outputs, H) mean slopes of the outputs by the sums of the first layer.

        Analytic, at these places between reference (0) and slice (1).
        """
        mean: DoubleArray = np.zeros(())
        for place in places.tolist():
            values = self._empty + place * (self._full - self._empty)
            actives: list[BoolArray] = []
            for weights, biases in self._layers[1:]:
                actives.append(values > 0)
                values = np.maximum(values, 0) @ weights.T + biases
            slope = np.broadcast_to(self._of_outputs(values), (len(values), self._outputs, values.shape[1]))
            for (weights, _), active in zip(self._layers[:0:-1], actives[::-1], strict=True):
                flat = slope.reshape(-1, slope.shape[-1]) @ weights
                slope = flat.reshape(*slope.shape[:2], -1) * active[:, None]
            mean = mean + slope / len(places)
        return mean

    @property
    def _outputs(self) -> int:
        return len(self._layers[-1][1]) + bool(self.ill_classes)

    def _of_outputs(self, logits: DoubleArray) -> DoubleArray:
        """Return (R, outputs, classes) slopes of the outputs by (R, classes) logits."""
        classes = logits.shape[1]
        own = np.broadcast_to(np.eye(classes), (len(logits), classes, classes))
        if not self.ill_classes:
            return own
        ill = np.zeros((len(logits), 1, classes))
        several = list(self.ill_classes)
        ill[:, 0, several] = softmax(logits[:, several], axis=1)
        ill[:, 0, 0] -= 1.0
        return np.concatenate((own, ill), axis=1)

    def along(self, slopes: DoubleArray) -> DoubleArray:
        """Return (P, outputs) slopes times what each player adds, means over the references."""
        # A product of matrices lets other threads run meanwhile; an einsum first copies all effects.
        found: DoubleArray = (self._effects @ slopes.transpose(0, 2, 1)).mean(axis=0)
        return found

    def orders(self, orders: IntArray, first: int = 0) -> DoubleArray:
        """Return (n, P, outputs) what each player adds where the players of a reference join in this order.

        ``orders`` (n, P) holds one for each of n references from ``first`` on.
        """
        some = slice(first, first + len(orders))
        joined = np.take_along_axis(self._effects[some], orders[..., None], axis=1).cumsum(axis=1)
        empty = self._empty[some, None]
        sums = np.concatenate((empty, empty + joined), axis=1)
        steps = np.diff(self._answer(sums), axis=1)
        found = np.empty_like(steps)
        np.put_along_axis(found, orders[..., None], steps, axis=1)
        return found


@dataclass(frozen=True, eq=False)
class Contributions:
    """What each player contributes to each output.

    Attributes
    ----------
    values:
        (P, outputs); logits of the classes, then that of "ill or not" where there is one.
    error:
        (P, outputs) Shapley: with a probability of 95 % all values of an output are off by no more than this,
        0 where every set was looked at. Leave-one-out: the standard deviation over the references. Integrated
        gradients: (1, outputs) by what the sum misses the logit.
    baseline:
        (outputs,) logits of the references; with the values they add up to those of the slice, but for
        leave-one-out, whose rest is interaction.
    effort:
        Steps of the path, or orders drawn for each reference (sets where all were looked at).
    """

    values: DoubleArray
    error: DoubleArray
    baseline: DoubleArray
    effort: int = 0


def with_ill(logits: DoubleArray, ill_classes: Sequence[int]) -> DoubleArray:
    """Append the logit of "ill or not" to (..., classes) logits where there are classes of pneumonia."""
    if not ill_classes:
        return logits
    ill = logsumexp(logits[..., list(ill_classes)], axis=-1) - logits[..., 0]
    return np.concatenate((logits, ill[..., None]), axis=-1)


def row_players(batch: RoiBatch) -> tuple[IntArray, ...]:
    """Return the slots of each kept row with all its copies, best first; of an empty batch one, all slots."""
    if not len(batch.kept):
        return (np.arange(len(batch.rows)),)
    return tuple(np.flatnonzero(batch.source == candidate) for candidate in batch.kept.tolist())


def lesion_players(
    slots: Sequence[IntArray], boxes: FloatArray, lesions: FloatArray
) -> tuple[tuple[IntArray, ...], IntArray]:
    """Return rows joined to lesions, all others as one last player, and (P,) the lesion of each row, from 0.

    A row is of the lesion in whose box the centre of its own lies, of several that with the greatest overlap
    (IoU); -1 are the others.

    Parameters
    ----------
    slots, boxes:
        Of each row: its slots, and (P, 4) its box in slice pixels.
    lesions:
        (L, 4) boxes in slice pixels.
    """
    owner = np.full(len(slots), -1, np.int64)
    if len(lesions) and len(slots):
        centres = (boxes[:, None, :2] + boxes[:, None, 2:]) / 2
        both = (centres >= lesions[:, :2]) & (centres <= lesions[:, 2:])
        inside = both[..., 0] & both[..., 1]
        sides = np.minimum(boxes[:, None, 2:], lesions[None, :, 2:]) - np.maximum(
            boxes[:, None, :2], lesions[None, :, :2]
        )
        common = np.maximum(sides, 0).prod(axis=2)
        areas = [(some[:, 2:] - some[:, :2]).prod(axis=1) for some in (boxes, lesions)]
        overlap = np.where(inside, common / np.maximum(areas[0][:, None] + areas[1] - common, 1e-9), -1.0)
        owner = np.where(inside.any(axis=1), overlap.argmax(axis=1), -1)
    groups = [[own for own, k in zip(slots, owner.tolist(), strict=True) if k == lesion]
              for lesion in (*range(len(lesions)), -1)]  # fmt: skip
    return tuple(np.concatenate(group) if group else np.zeros(0, np.int64) for group in groups), owner


def leave_one_out(game: Game) -> Contributions:
    """Return how much the logits fall where a player alone is filled in place, mean over the references."""
    without = game.without_each()
    return Contributions(game.logits - without.mean(axis=0), without.std(axis=0), game.baseline)


@dataclass(frozen=True, eq=False)
class ClosedUp:
    """Each row removed, the ranks below closed up and the batch refilled by the published rule.

    ``whole`` (outputs,) and ``without`` (K, outputs) are means over ``seeds`` draws of the slots; 1 where
    nothing is drawn.
    """

    whole: DoubleArray
    without: DoubleArray
    seeds: int


def closed_up(
    module_s: ModuleS,
    candidates: Candidates,
    settings: EvidenceSettings,
    *,
    edit: EvidenceEdit | None = None,
    ill_classes: Sequence[int] = (),
    seed: int = 0,
) -> ClosedUp:
    """Remove each kept row; the first row beyond the batch enters, or rows are replicated anew (spec §5.3).

    What non-maximum suppression or an ``edit`` of the evidence removed stays out. ``seed`` is the first of
    the draws.
    """
    size = settings.batch_size
    longer = dataclasses.replace(settings, batch_size=size + 1)
    rows = evidence_batch(candidates, longer, size=None, edit=edit).rows
    return closed_up_rows(module_s, rows, settings, ill_classes=ill_classes, seed=seed)


def closed_up_rows(
    module_s: ModuleS,
    rows: FloatArray,
    settings: EvidenceSettings,
    *,
    ill_classes: Sequence[int] = (),
    seed: int = 0,
) -> ClosedUp:
    """Do the same to (M, 5) ranked rows, of which those beyond the batch may enter."""
    size = settings.batch_size
    kept = min(len(rows), size)
    drawn = len(rows) <= size
    seeds = range(seed, seed + SEEDS) if drawn else (seed,)
    lists = [np.arange(kept), *(np.delete(np.arange(len(rows)), k)[:size] for k in range(kept))]
    whole, *without = refilled(module_s, rows, lists, settings, ill_classes=ill_classes, seeds=seeds)
    return ClosedUp(whole, np.array(without).reshape(kept, len(whole)), len(seeds))


def refilled(
    module_s: ModuleS,
    rows: FloatArray,
    lists: Sequence[IntArray],
    settings: EvidenceSettings,
    *,
    ill_classes: Sequence[int] = (),
    seeds: Sequence[int] = (0,),
) -> DoubleArray:
    """Return (n, outputs) for n lists of ranked rows, each spread over a batch by the published rule.

    Means over the draws of ``seeds`` where a list is shorter than the batch (spec §5.3); no rows are a batch
    of zeros.
    """
    size = settings.batch_size
    several: list[FloatArray] = []
    for chosen in lists:
        if not len(chosen):
            several.append(np.zeros((1, size, 5), np.float32))
        elif len(chosen) >= size:
            several.append(rows[None, chosen[:size]])
        else:
            ranks = [replicate(len(chosen), size, mode=settings.replication, seed=seed) for seed in seeds]
            several.append(rows[chosen[np.stack(ranks)]])
    counts = [len(batches) for batches in several]
    every = np.concatenate(several)
    logits = np.concatenate(
        [
            module_s(every[k : k + _BATCHES_AT_ONCE].astype(np.float64))
            for k in range(0, len(every), _BATCHES_AT_ONCE)
        ]
    )
    parts = np.split(with_ill(logits, ill_classes), np.cumsum(counts)[:-1])
    return np.stack([part.mean(axis=0) for part in parts])


def integrated_gradients(game: Game) -> Generator[Progress | Contributions, None, None]:
    """Yield, last, integrated gradients along the straight path from each reference (Sundararajan 2017).

    The whole batch moves at equal ranks, so that mixtures of sorted scores stay sorted. Steps are doubled
    until the sum of each output is off by at most `SHARE` of the difference, or `LOGIT` where that is more.
    """
    wanted = game.logits - game.baseline
    steps = _FIRST_STEPS
    while True:
        mean: DoubleArray = np.zeros(())
        chunks = np.array_split((np.arange(steps) + 0.5) / steps, steps // _STEPS_AT_ONCE)
        for done, places in enumerate(chunks):
            yield Progress(done, len(chunks), f"Integrated gradients, {steps} steps")
            mean = mean + game.slopes(places) * (len(places) / steps)
        values = game.along(mean)
        error = np.abs(values.sum(axis=0) - wanted)
        if (error <= np.maximum(SHARE * np.abs(wanted), LOGIT)).all() or steps >= _MOST_STEPS:
            break
        steps *= 2
    yield Contributions(values, error[None], game.baseline, steps)


def shapley(
    game: Game, *, seed: int = 0, rounds: int = ROUNDS, enumerate_up_to: int = MOST_ENUMERATED
) -> Generator[Progress | Contributions, None, None]:
    """Yield, last, Shapley values: what a player adds, mean over all orders in which players join.

    Up to ``enumerate_up_to`` players exactly. Of more, ``rounds`` orders and their reverses are drawn for
    each reference (Castro 2009, Mitchell 2022), so that the sum is exact all the same; the error is that of
    all values of an output together (Bonferroni), from the spread of the rounds.
    """
    if len(game) <= enumerate_up_to:
        yield Contributions(
            _enumerated(game), np.zeros((len(game), len(game.logits))), game.baseline, 2 ** len(game)
        )
        return
    generator = np.random.default_rng(seed)
    found = []
    for done in range(rounds):
        orders = generator.permuted(np.tile(np.arange(len(game)), (len(game.references), 1)), axis=1)
        halves = []
        for half, several in enumerate((orders, orders[:, ::-1])):
            values = np.zeros(())
            # In small steps: whoever waits for the thread need not wait long.
            for start in range(0, len(several), _ORDERS_AT_ONCE):
                yield Progress(2 * done + half, 2 * rounds, "Shapley values")
                values = values + game.orders(several[start : start + _ORDERS_AT_ONCE], start).sum(axis=0)
            halves.append(values / len(several))
        found.append(np.mean(halves, axis=0))
    rounds_found = np.array(found)
    quantile = float(stdtrit(rounds - 1, 1 - 0.025 / len(game)))
    error = quantile * rounds_found.std(axis=0, ddof=1) / math.sqrt(rounds)
    # What rounding leaves where nothing varies.
    error = error + 1e-9 * (1.0 + np.abs(game.logits))
    yield Contributions(rounds_found.mean(axis=0), error, game.baseline, 2 * rounds)


def _enumerated(game: Game) -> DoubleArray:
    """Return (P, outputs) Shapley values from all sets of players."""
    count = len(game)
    sets = np.arange(2**count)
    present = (sets[:, None] >> np.arange(count) & 1).astype(np.bool_)
    values, sizes = game.values(present), present.sum(axis=1)
    share = np.array([1 / (count * math.comb(count - 1, k)) for k in range(count)])
    found = np.empty((count, values.shape[1]))
    for player in range(count):
        lacking = ~present[:, player]
        added = values[sets[lacking] | 1 << player] - values[lacking]
        found[player] = share[sizes[lacking]] @ added
    return found
