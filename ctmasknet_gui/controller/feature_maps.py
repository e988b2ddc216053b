"""Keeps the FPN maps of a series within a budget: those farthest from the visible slice go first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from model_core.base.results import SliceResult

# Maps of one slice are about 0.5 MB for a truncated ResNet18 and 11 MB for a ResNet50 with its FPN, and twice
# that where the weights look at the mirror image, too.
BUDGET_BYTES = 1_500_000_000


def map_bytes(result: SliceResult) -> int:
    """Return the memory that the FPN maps of a slice hold."""
    return sum(array.nbytes for array in result.features.values())


def within_budget(
    slices: Mapping[int, SliceResult], *, centre: int, budget: int = BUDGET_BYTES
) -> dict[int, SliceResult]:
    """Return the results with the maps of the farthest slices dropped until the rest fit.

    The candidates, the class and the masks computed so far stay. The slice nearest to ``centre`` keeps its
    maps whatever they need.
    """
    kept = dict(slices)
    held = {index: map_bytes(result) for index, result in slices.items()}
    total = sum(held.values())
    for index in sorted(held, key=lambda k: (-abs(k - centre), k))[:-1]:
        if total <= budget:
            break
        if held[index]:
            kept[index] = replace(slices[index], features={})
            total -= held[index]
    return kept
