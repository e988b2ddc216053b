"""Keeps FPN maps and masks of a series within budgets: those farthest from the visible slice go first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from weakref import WeakKeyDictionary

from model_core.base.results import SliceResult

# Maps of one slice are 0.5 to 2 MB for the shipped weights, of which 300 slices fit, and 11 MB for a ResNet50
# with its FPN.
BUDGET_BYTES = 650_000_000
# Masks of 128 candidates of a slice are 0.4 MB.
MASK_BYTES = 150_000_000


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


def mask_bytes(result: SliceResult) -> int:
    """Return the memory that the known masks of a slice hold, as logits and as runs."""
    # Every result of a run asks for all slices; those that are known once stay as they are.
    kinds = tuple(result.span_cache.items())
    count = (len(result.mask_cache), *((kind, len(known)) for kind, known in kinds))
    before = _counted.get(result)
    if before is not None and before[0] == count:
        return before[1]
    runs = [own for _, known in kinds for own in tuple(known.values())]
    size = sum(array.nbytes for arrays in (tuple(result.mask_cache.values()), runs) for array in arrays)
    _counted[result] = count, size
    return size


# How many masks a slice had when they were counted last, and their memory.
_counted: WeakKeyDictionary[SliceResult, tuple[tuple[object, ...], int]] = WeakKeyDictionary()


def masks_within_budget(
    slices: Mapping[int, SliceResult], *, centre: int, budget: int = MASK_BYTES
) -> dict[int, SliceResult]:
    """Return the results with the masks of the farthest slices dropped until the rest fit.

    Only of those whose FPN maps are kept: from these they can be made again. The slice nearest to ``centre``
    keeps its masks.
    """
    kept = dict(slices)
    held = {index: mask_bytes(result) for index, result in slices.items() if result.features}
    total = sum(mask_bytes(result) for result in slices.values())
    for index in sorted(held, key=lambda k: (-abs(k - centre), k))[:-1]:
        if total <= budget:
            break
        kept[index] = replace(slices[index], mask_cache={}, span_cache={})
        total -= held[index]
    return kept
