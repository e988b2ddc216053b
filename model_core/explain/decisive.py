"""What the verdict of a slice hangs on: the smallest sets of regions that turn it, or carry it alone."""

from __future__ import annotations

import itertools
import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np

from model_core.base.arrays import BoolArray, DoubleArray, IntArray
from model_core.base.calibration import Calibration
from model_core.base.jobs import Progress
from model_core.explain.attribution import Game

# Sets of so many players are all tried; larger ones are found greedily.
EXACT_TO = 3
# Fewer where there would be more sets than this.
_MOST_SETS = 10_000


@dataclass(frozen=True)
class Rule:
    """Which verdict the outputs of a slice mean.

    Attributes
    ----------
    middle:
        Logit of "ill or not" above which a slice looks ill; None without a calibration: then the verdict is
        the likeliest class.
    """

    middle: float | None

    @staticmethod
    def of(calibration: Calibration | None) -> Rule:
        """Return the rule of weights."""
        return Rule(None if calibration is None else -calibration.bias / calibration.slope)

    def verdicts(self, outputs: DoubleArray) -> IntArray:
        """Return (M,) of (M, outputs): 1 for ill and 0 for not, or the class."""
        found = outputs.argmax(axis=1) if self.middle is None else outputs[:, -1] > self.middle
        verdicts: IntArray = found.astype(np.int64)
        return verdicts

    def support(self, outputs: DoubleArray, verdict: int) -> DoubleArray:
        """Return (M,) by how many logits (M, outputs) speak for this verdict; below 0 for another."""
        if self.middle is None:
            others = np.delete(outputs, verdict, axis=1).max(axis=1)
            ahead: DoubleArray = outputs[:, verdict] - others
            return ahead
        sign = 1.0 if verdict else -1.0
        support: DoubleArray = sign * (outputs[:, -1] - self.middle)
        return support


@dataclass(frozen=True)
class FoundSet:
    """A set of players; ``exact`` where there is surely none that is smaller."""

    players: tuple[int, ...]
    exact: bool


@dataclass(frozen=True)
class DecisiveSet:
    """What the verdict of a slice hangs on.

    Attributes
    ----------
    verdict:
        As `Rule.verdicts` says.
    without:
        The smallest set without which the verdict changes; None where it stands without all of them.
    alone:
        The smallest set that carries the verdict where everything else is filled in place (nothing where
        controls have this verdict, too); None where all of them together do not.
    exact_to:
        Sets of up to so many players were all tried.
    """

    verdict: int
    without: FoundSet | None
    alone: FoundSet | None
    exact_to: int


def decisive_set(
    game: Game, rule: Rule, *, among: Sequence[int]
) -> Generator[Progress | DecisiveSet, None, None]:
    """Yield, last, what the verdict hangs on; ``among`` are the players that may be in the sets."""
    verdict = int(rule.verdicts(game.logits[None])[0])
    exact_to = 0
    for size in range(1, EXACT_TO + 1):
        if math.comb(len(among), size) > _MOST_SETS:
            break
        exact_to = size

    search = _Search(game, rule, verdict, tuple(among), exact_to)
    without = yield from search.smallest(alone=False)
    carrying = yield from search.smallest(alone=True)
    yield DecisiveSet(verdict, without, carrying, exact_to)


@dataclass(frozen=True, eq=False)
class _Search:
    """The smallest set of some players without which a verdict changes, or that alone keeps it."""

    game: Game
    rule: Rule
    verdict: int
    among: tuple[int, ...]
    exact_to: int

    def smallest(self, *, alone: bool) -> Generator[Progress, None, FoundSet | None]:
        """Return the smallest set, by trying all up to ``exact_to``, then greedily; None without one."""
        for size in range(0 if alone else 1, min(self.exact_to, len(self.among)) + 1):
            yield Progress(size, self.exact_to, "Decisive regions")
            sets = list(itertools.combinations(self.among, size))
            hits, _ = self._tried(sets, alone=alone)
            if hits.any():
                return FoundSet(sets[int(hits.argmax())], True)
        if len(self.among) <= self.exact_to:
            return None
        chosen: tuple[int, ...] = ()
        while len(chosen) < len(self.among):
            yield Progress(len(chosen), len(self.among), "Decisive regions")
            sets = [(*chosen, player) for player in self.among if player not in chosen]
            hits, towards = self._tried(sets, alone=alone)
            best = int(towards.argmax())
            chosen = sets[best]
            if hits[best]:
                # All sets of one less were tried: then there is surely none that is smaller.
                return FoundSet(tuple(sorted(chosen)), len(chosen) == self.exact_to + 1)
        return None

    def _tried(self, sets: Sequence[tuple[int, ...]], *, alone: bool) -> tuple[BoolArray, DoubleArray]:
        """Return of each set whether it is one, and how much speaks for it, in logits."""
        present = np.full((len(sets), len(self.game)), not alone)
        for row, chosen in enumerate(sets):
            present[row, list(chosen)] = alone
        outputs = self.game.values(present)
        kept = self.rule.verdicts(outputs) == self.verdict
        support = self.rule.support(outputs, self.verdict)
        return (kept, support) if alone else (~kept, -support)
