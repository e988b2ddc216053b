"""Pixel overlap of a predicted and a reference lesion map."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from model_core.base.arrays import BoolArray, ByteArray


@dataclass(frozen=True)
class Overlap:
    """Pixel counts of one image (or summed over several): predicted, reference and shared."""

    predicted: int
    reference: int
    shared: int

    @property
    def dice(self) -> float:
        """Twice the shared pixels over the sum of both; NaN where both are empty."""
        total = self.predicted + self.reference
        return 2.0 * self.shared / total if total else float("nan")

    @property
    def precision(self) -> float:
        """Share of the predicted pixels that are lesion; NaN where nothing is predicted."""
        return self.shared / self.predicted if self.predicted else float("nan")

    @property
    def recall(self) -> float:
        """Share of the lesion pixels that are predicted; NaN where there is no lesion."""
        return self.shared / self.reference if self.reference else float("nan")

    def __add__(self, other: Overlap) -> Overlap:
        return Overlap(
            self.predicted + other.predicted, self.reference + other.reference, self.shared + other.shared
        )


def overlap(predicted: BoolArray, reference: BoolArray) -> Overlap:
    """Count the pixels of two boolean maps of one shape."""
    return Overlap(
        int(np.count_nonzero(predicted)),
        int(np.count_nonzero(reference)),
        int(np.count_nonzero(predicted & reference)),
    )


def overlap_merged(predicted: ByteArray, reference: ByteArray) -> Overlap:
    """Count lesion pixels of two label maps, all lesion classes taken as one."""
    return overlap(predicted > 0, reference > 0)


def overlap_by_class(predicted: ByteArray, reference: ByteArray, *, classes: int) -> tuple[Overlap, ...]:
    """Count the pixels of each class 1..``classes`` of two label maps."""
    return tuple(overlap(predicted == label, reference == label) for label in range(1, classes + 1))


def mean_dice(overlaps: Iterable[Overlap]) -> float:
    """Return the mean Dice over the images whose reference has a lesion; NaN where there is none."""
    values = [one.dice for one in overlaps if one.reference]
    return float(np.mean(values)) if values else float("nan")
