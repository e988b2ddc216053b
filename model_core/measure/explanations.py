"""Explanations measured on slices: every method by every measure, against the order of scores and chance."""

from __future__ import annotations

import dataclasses
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from model_core.base.arrays import DoubleArray, IntArray
from model_core.base.errors import SettingsError
from model_core.base.jobs import Progress
from model_core.base.references import References
from model_core.engine import Pipeline
from model_core.engine.module_s import ModuleS
from model_core.explain.explanation import NO_REFERENCES
from model_core.measure import explanation_metrics as metrics
from model_core.measure.explained_slices import Case
from model_core.measure.explanation_metrics import Evidence, MeasuredMethod

METHODS: tuple[MeasuredMethod, ...] = get_args(MeasuredMethod)
# Random orders and numbers of each slice, whose mean counts.
RANDOM_DRAWS = 3
# Noise of rows is drawn so often; the greatest change counts.
ROW_DRAWS = 2
# Rounds of orders that Shapley values are drawn from; fewer than people are shown, for time's sake.
MEASURED_ROUNDS = 2
# Of so many slices one is looked at with changed rows, pictures and weights, for time's sake.
CHANGE_STEP = 8


@dataclass(frozen=True)
class Measured:
    """What one method reached on one slice; measures that say nothing of it are absent."""

    name: str
    patient: str
    group: str
    method: MeasuredMethod
    values: dict[str, float]


def check_pipeline(pipeline: Pipeline) -> tuple[ModuleS, References]:
    """Return what explanations are made with.

    Raises
    ------
    SettingsError
        If the weights give no class, or have no RoI batches of controls.
    """
    module_s, references = pipeline.evidence_backend.module_s, pipeline.cards[-1].references
    if module_s is None or not pipeline.has_class:
        raise SettingsError("These weights give no image class: give a classifier or a single-shot model.")
    if references is None:
        raise SettingsError(NO_REFERENCES)
    return module_s, references


def evidence_of(pipeline: Pipeline, case: Case, look: int = 0) -> Evidence:
    """Return what the class of a slice rests on; ``look`` 0 is its picture, others are changed ones.

    Raises
    ------
    SettingsError
        As `check_pipeline` does.
    """
    module_s, references = check_pipeline(pipeline)
    calibration = pipeline.calibration
    found = Evidence(
        ranked=case.looks[look].rows,
        module_s=module_s,
        references=references.batches,
        settings=pipeline.evidence,
        ill_classes=() if calibration is None else calibration.ill_classes,
        output=-1,
    )
    if calibration is None:
        found = dataclasses.replace(found, output=int(found.game.logits.argmax()))
    return found


@dataclass(frozen=True, eq=False)
class _Changed:
    """A slice as it is and changed in each way, the same for every method.

    Attributes
    ----------
    rows:
        With noise on the rows, and the former place of each.
    pictures:
        With the regions of changed pictures.
    shuffled:
        With a module S of shuffled weights.
    player, first:
        The region that plays no part in ``null``, and the first of the two that are alike in ``twins``.
    """

    own: Evidence
    rows: tuple[tuple[Evidence, IntArray], ...] = ()
    pictures: tuple[Evidence, ...] = ()
    shuffled: Evidence | None = None
    player: int = 0
    first: int = 0
    null: Evidence | None = None
    twins: Evidence | None = None
    shifted: Evidence | None = None

    @staticmethod
    def of(looks: Sequence[Evidence], generator: np.random.Generator) -> _Changed:
        own = looks[0]
        player = int(generator.integers(min(metrics.AMONG, own.kept)))
        first = max(0, min(player, own.kept - 2))
        return _Changed(
            own=own,
            rows=tuple(metrics.with_row_noise(own, generator) for _ in range(ROW_DRAWS)),
            pictures=tuple(looks[1:]),
            shuffled=dataclasses.replace(own, module_s=metrics.randomised(own.module_s, generator)),
            player=player,
            first=first,
            null=metrics.with_null_player(own, player),
            twins=metrics.with_twins(own, first) if own.kept > 1 else None,
            shifted=metrics.with_shifted_scores(own),
        )


def measure_explanations(
    pipeline: Pipeline, cases: Sequence[Case], *, seed: int = 0, rounds: int = MEASURED_ROUNDS
) -> Generator[Progress | list[Measured], None, None]:
    """Measure every method on every slice that has a region; the last item are the values.

    No backbone runs. ``rounds`` are those of the orders that Shapley values are drawn from; ``seed`` is of
    everything that is drawn.

    Raises
    ------
    SettingsError
        If the weights give no class, or have no RoI batches of controls.
    """
    found: list[Measured] = []
    for number, case in enumerate(cases):
        looks = [evidence_of(pipeline, case, look) for look in range(len(case.looks))]
        if not looks[0].kept:
            continue
        generator = np.random.default_rng((seed, number))
        changed = _Changed(looks[0])
        if number % CHANGE_STEP == 0:
            changed = _Changed.of(looks, generator)
        for place, method in enumerate(METHODS):
            text = f"{case.name}: {method.replace('_', ' ')}"
            yield Progress(number * len(METHODS) + place, len(cases) * len(METHODS), text)
            several = [
                _measure(case, changed, method, np.random.default_rng((seed, number, draw)), rounds)
                for draw in range(RANDOM_DRAWS if method == "random" else 1)
            ]
            names = dict.fromkeys(name for one in several for name in one)
            values = {name: float(np.mean([one[name] for one in several if name in one])) for name in names}
            found.append(Measured(case.name, case.patient, case.group, method, values))
    yield found


def _measure(
    case: Case, changed: _Changed, method: MeasuredMethod, generator: np.random.Generator, rounds: int
) -> dict[str, float]:
    """Return every measure of one method on one slice."""
    own, boxes = changed.own, case.looks[0].boxes
    # The same subsets for every method.
    (subsets,) = generator.spawn(1)

    def again(evidence: Evidence) -> DoubleArray:
        return metrics.attribute(evidence, method, generator=generator, rounds=rounds)

    values = again(own)
    found = metrics.areas(own, values)
    found["correlation"] = metrics.faithfulness_correlation(own, values, subsets)
    found |= metrics.complexity(values)
    if case.mask is not None and case.mask.any():
        found |= metrics.localisation(values, boxes[: own.kept], case.mask)
    if changed.shuffled is not None:
        before = metrics.back_in_place(values, np.arange(len(own.ranked)))
        found["row_sensitivity"] = max(
            metrics.change(before, metrics.back_in_place(again(noisy), order))
            for noisy, order in changed.rows
        )
        picture = metrics.painted(values, boxes[: own.kept], case.shape).ravel()
        found["picture_sensitivity"] = max(
            metrics.change(picture, metrics.painted(again(look), seen.boxes[: look.kept], case.shape).ravel())
            for look, seen in zip(changed.pictures, case.looks[1:], strict=True)
        )
        found["randomised_correlation"] = abs(metrics.rank_correlation(values, again(changed.shuffled)))
    if changed.null is not None and changed.shifted is not None:
        null = again(changed.null)
        found["null_player"] = _share(abs(float(null[changed.player])), null)
        found["input_variance"] = metrics.change(values, again(changed.shifted))
        # Scores and random numbers are in no unit that could add up.
        if method not in ("score", "random"):
            found["incompleteness"] = metrics.incompleteness(own, values, closed_up=method == "closed_up")
    if changed.twins is not None:
        twins = again(changed.twins)
        found["asymmetry"] = _share(abs(float(twins[changed.first] - twins[changed.first + 1])), twins)
    return {name: value for name, value in found.items() if not np.isnan(value)}


def _share(size: float, of: DoubleArray) -> float:
    """Return a size as a share of the greatest value."""
    greatest = float(np.abs(of).max())
    return size / greatest if greatest else float("nan")
