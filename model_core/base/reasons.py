"""Which regions carry the class of a slice, and what would change it: the numbers that people see.

docs/explanation.md defines each. Outputs are the classes and, of weights with a calibration, last "ill or
not"; all contributions are in logits.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from model_core.base.arrays import BoolArray, DoubleArray, IntArray
from model_core.base.calibration import Calibration
from model_core.base.settings import EvidenceSettings

# How a region is taken out: three with the rows of controls in its place, one with the ranks closed up.
Way = Literal["leave_one_out", "integrated_gradients", "shapley", "closed_up"]
# What counts as one: a region, all regions of a lesion, all regions of a side of the lungs.
Grouping = Literal["region", "lesion", "side"]
WAYS: tuple[Way, ...] = ("integrated_gradients", "shapley", "leave_one_out", "closed_up")
GROUPINGS: tuple[Grouping, ...] = ("region", "lesion", "side")
# It adds up, has its error stated, and is there in a moment.
DEFAULT_WAY: Way = "integrated_gradients"
# In these, empty evidence and contributions add up to the slice.
ADDING_UP: tuple[Way, ...] = ("integrated_gradients", "shapley")


def output_probability(logit: float, calibration: Calibration | None) -> float:
    """Return the probability of a logit: by the calibration of "ill or not", else (None) the sigmoid."""
    if calibration is not None:
        return calibration.probability(logit)
    return 1.0 / (1.0 + math.exp(-logit)) if logit > -700 else 0.0


@dataclass(frozen=True, eq=False)
class Group:
    """Regions that count as one.

    Attributes
    ----------
    rank:
        Of its best region, from 1: the number on the picture and in the table.
    side:
        "right lung", "left lung" or "outside the lungs"; empty unless it is one.
    rest:
        Whether it is what belongs to no lesion.
    candidates:
        Its regions, best first.
    values:
        (outputs,) contribution.
    """

    rank: int
    candidates: tuple[int, ...]
    values: DoubleArray
    side: str = ""
    rest: bool = False


@dataclass(frozen=True, eq=False)
class Carriers:
    """The strongest groups of one output.

    ``share`` is what they contribute of what all together do; None where contributions do not add up, then it
    is the one group that changes most, to either side. ``outcome`` are the (outputs,) logits without them.
    """

    groups: tuple[int, ...]
    share: float | None
    outcome: DoubleArray


@dataclass(frozen=True, eq=False)
class DecisiveRegions:
    """A decisive set, see `explain.decisive.DecisiveSet`.

    ``ranks`` are those of the best region of each player, ``candidates`` all regions. ``outcome`` are the
    (outputs,) logits without it, or with it alone; ``edited`` those that come of excluding, or keeping, just
    these regions by the published rule, which closes up the ranks.
    """

    ranks: tuple[int, ...]
    candidates: tuple[int, ...]
    outcome: DoubleArray
    edited: DoubleArray
    exact: bool


@dataclass(frozen=True, eq=False)
class Curve:
    """The class of a slice along one threshold of its evidence, the other as it is.

    Attributes
    ----------
    places:
        (n,) thresholds, rising; of NMS an IoU of 1 removes nothing and stands for off.
    logits:
        (n, outputs).
    regions:
        (n,) how many different regions are left.
    as_trained:
        (n,) whether the RoI batch is the one of the thresholds that module S was trained at.
    flips:
        Indices of places whose verdict is not that of the place before.
    now, trained:
        The threshold in force, and the one of the weights.
    """

    places: DoubleArray
    logits: DoubleArray
    regions: IntArray
    as_trained: BoolArray
    flips: tuple[int, ...]
    now: float
    trained: float


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """The class of a slice along the score and the NMS threshold of its evidence (`explain.sensitivity`)."""

    slice_index: int
    settings: EvidenceSettings
    outputs: tuple[str, ...]
    calibration: Calibration | None
    score: Curve
    nms_iou: Curve


@dataclass(frozen=True, eq=False)
class SliceReason:
    """Why a slice has its class, by one way of taking regions out.

    Attributes
    ----------
    outputs:
        Names of the outputs; that of "ill or not" is "ill".
    logits:
        (outputs,) of the slice.
    baseline:
        (outputs,) of the empty evidence: the mean over the references, or without references of no region.
    candidates, ranks:
        (K,) of the regions in the evidence, best first.
    values, error:
        (K, outputs) contributions, and how sure they are (`Contributions.error`); None without that.
    tells:
        (K, outputs) with "closed_up", whether a contribution is more than the shift of ranks makes: that of
        the median background row. None: all are.
    groups, carriers:
        By grouping; a grouping that says nothing here is left out. Carriers by output.
    verdict:
        What the decisive sets are about: 1 ill and 0 not, or the likeliest class; None where there are none.
    without, alone:
        Without this set the verdict changes; this set alone carries it. None where no set does.
    lesions:
        Whether the players of these are lesions.
    references:
        How many RoI batches of controls fill the places; 0 without any.
    why_none, why_undecided:
        Why there are no contributions in place, and no decisive sets.
    """

    slice_index: int
    way: Way
    outputs: tuple[str, ...]
    calibration: Calibration | None
    logits: DoubleArray
    baseline: DoubleArray
    candidates: tuple[int, ...]
    ranks: tuple[int, ...]
    values: DoubleArray | None
    error: DoubleArray | None = None
    tells: BoolArray | None = None
    groups: dict[Grouping, tuple[Group, ...]] = field(default_factory=dict)
    carriers: dict[Grouping, tuple[Carriers | None, ...]] = field(default_factory=dict)
    verdict: int | None = None
    without: DecisiveRegions | None = None
    alone: DecisiveRegions | None = None
    lesions: bool = False
    references: int = 0
    why_none: str = ""
    why_undecided: str = ""

    @property
    def adds_up(self) -> bool:
        """Whether baseline and contributions add up to the logits."""
        return self.way in ADDING_UP and self.values is not None

    @property
    def own_output(self) -> int:
        """The output that the verdict of the slice comes from: "ill or not", or the likeliest class."""
        if self.calibration is not None:
            return len(self.outputs) - 1
        return int(self.logits.argmax())

    def output_of(self, asked: int | None) -> int:
        """Return the output that is asked for; None, or one that is not there, is that of the verdict."""
        return asked if asked is not None and asked < len(self.outputs) else self.own_output

    def probability(self, output: int, logits: DoubleArray) -> float:
        """Return the probability that (outputs,) logits mean for an output."""
        ill = self.calibration is not None and output == len(self.outputs) - 1
        return output_probability(float(logits[output]), self.calibration if ill else None)

    def telling(self, output: int) -> BoolArray:
        """Return (K,) which contributions to an output say something."""
        every = np.ones(len(self.candidates), np.bool_)
        return every if self.tells is None else self.tells[:, output]

    def value_of(self, candidate: int, output: int) -> float | None:
        """Return the contribution of a region; None where it has none."""
        if self.values is None or candidate not in self.candidates:
            return None
        return float(self.values[self.candidates.index(candidate), output])

    def numbered_from(self, first: int) -> SliceReason:
        """Return the reason of the same candidates where these are counted from ``first``."""

        def moved(candidates: tuple[int, ...]) -> tuple[int, ...]:
            return tuple(number + first for number in candidates)

        def decisive(found: DecisiveRegions | None) -> DecisiveRegions | None:
            return None if found is None else replace(found, candidates=moved(found.candidates))

        return replace(
            self,
            candidates=moved(self.candidates),
            groups={
                grouping: tuple(replace(group, candidates=moved(group.candidates)) for group in groups)
                for grouping, groups in self.groups.items()
            },
            without=decisive(self.without),
            alone=decisive(self.alone),
        )
