"""Folds of patients for cross-validation, and what recipe trains each."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from model_core.base.errors import SettingsError
from model_core.train.packing import PackedSlice, same_side
from model_core.train.recipe import CROSS_VALIDATION, Recipe, Stage


def patient_folds(slices: Sequence[PackedSlice], folds: int, *, seed: int) -> dict[str, int]:
    """Return the fold of each patient: no patient in two, each source spread evenly.

    Patients of a source are taken by falling number of slices, equal ones in random order, each into the fold
    that has the fewest slices of this source (then of all). A source with fewer patients than folds is
    missing in some. A name that two sources share is one patient.

    Raises
    ------
    SettingsError
        If there are fewer patients than folds, or fewer than two folds.
    """
    by_source: dict[str, dict[str, int]] = {}
    for one in slices:
        counts = by_source.setdefault(one.source, {})
        counts[one.patient] = counts.get(one.patient, 0) + 1
    patients = {patient for counts in by_source.values() for patient in counts}
    if not 2 <= folds <= len(patients):
        raise SettingsError(f"{len(patients)} patients can be divided into 2 to {len(patients)} folds.")
    generator = np.random.default_rng(seed)
    fold_of: dict[str, int] = {}
    total = np.zeros(folds)
    for counts in by_source.values():
        own = np.zeros(folds)
        names = sorted(counts)
        order = [names[k] for k in generator.permutation(len(names))]
        for patient in sorted(order, key=lambda name: -counts[name]):
            if patient not in fold_of:
                fold_of[patient] = int(np.lexsort((total, own))[0])
            own[fold_of[patient]] += counts[patient]
            total[fold_of[patient]] += counts[patient]
    return fold_of


def fold_recipe(
    recipe: Recipe, fold_of: dict[str, int], fold: int, *, size: int, plan: str = CROSS_VALIDATION
) -> Recipe:
    """Return the recipe of one fold: its patients held out, the short schedule (a plan) at this size.

    ``size`` is that of the detection stages; a dense stage is never larger.

    Raises
    ------
    SettingsError
        If the recipe has no such plan, or 32 does not divide the size.
    """

    def sized(stage: Stage) -> Stage:
        return dataclasses.replace(stage, size=size if stage.kind == "detect" else min(size, stage.size))

    held = tuple(sorted(patient for patient, number in fold_of.items() if number == fold))
    sources = {
        name: dataclasses.replace(source, validation=held, hold_out=0.0)
        for name, source in recipe.sources.items()
    }
    planned = recipe.planned(plan)
    return dataclasses.replace(
        planned,
        name=f"{recipe.name}-fold{fold + 1}",
        sources=sources,
        stages=tuple(sized(stage) for stage in planned.stages),
        start="",  # weights that have seen patients of the fold
    )


def held_slices(recipe: Recipe, slices: Sequence[PackedSlice]) -> list[PackedSlice]:
    """Return the slices marked as the fold's recipe says: held out or not; see `packing.same_side`."""
    return same_side(
        dataclasses.replace(
            one, validation=recipe.sources[one.source].holds_out(name=one.name, patient=one.patient)
        )
        for one in slices
    )
