"""How far healing is to be trusted: what sham heals do to controls, and what healed lesions do."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy import ndimage

from model_core.base.arrays import BoolArray
from model_core.base.files import write_json
from model_core.base.jobs import Progress
from model_core.base.picture_edit import SHAMS
from model_core.base.results import ShownSlice, SliceResult
from model_core.base.volume import Volume
from model_core.engine import Pipeline, run
from model_core.engine.lungs import lungs_of
from model_core.explain import show
from model_core.explain.healing import (
    SMALLEST,
    NothingHealthy,
    heal,
    lung_slice,
    sham_heals,
    to_heal,
)
from model_core.explain.picture_edit import effect_target, outcome_of, show_changed, weakly_marked
from model_core.measure.bootstrap import DRAWS, mean_interval
from model_core.measure.explained_slices import CONTROLS, Subject, as_measured
from model_core.measure.output import REPORT, report_folder, write_csv
from model_core.measure.report_parts import common_settings, evaluation_document
from model_core.measure.slices import one_slice_volume
from model_core.report.document import Table, cell

# Shapes are drawn for a control until one fits, so often.
_SHAPES_TRIED = 20
# At most this share of sham heals may change the verdict.
MOST_CHANGED = 0.05


@dataclass(frozen=True)
class Heals:
    """What healing did to one slice.

    Attributes
    ----------
    ill:
        Probability of ill before (of weights without a calibration, of the likeliest class).
    healed:
        The same with the experts' lesions healed; None of controls, and where that was refused.
    change:
        Of the logit by that.
    shams:
        The same probability after each sham heal.
    sham_changes:
        Of the logit by each.
    area_px, pieces:
        Of what was healed, or of the shape of the shams.
    refused:
        Why nothing could be healed, or no sham fits; empty where it could.
    """

    name: str
    patient: str
    group: str
    ill: float
    healed: float | None
    change: float | None
    shams: tuple[float, ...]
    sham_changes: tuple[float, ...]
    area_px: int
    pieces: int
    refused: str = ""

    @property
    def flips(self) -> int:
        """How many shams change the verdict."""
        return sum((sham > 0.5) != (self.ill > 0.5) for sham in self.shams)

    @property
    def changed(self) -> bool | None:
        """Whether healing the lesions changes the verdict."""
        return None if self.healed is None else (self.healed > 0.5) != (self.ill > 0.5)

    @property
    def beyond(self) -> bool | None:
        """Whether it changes the logit by more than every sham; None without shams."""
        if self.change is None or not self.sham_changes:
            return None
        return abs(self.change) > max(abs(change) for change in self.sham_changes)


def measure_heals(
    pipeline: Pipeline, subjects: Sequence[Subject], *, seed: int = 0
) -> Generator[Progress | list[Heals], None, None]:
    """Heal the experts' lesions of slices, and give every slice `SHAMS` sham heals; last are the results.

    Of a lesion slice shams have the shape of what was healed; of a control, that of one expert-outlined
    lesion of the lesion slices, drawn by ``seed`` until one fits into its lung.
    """
    shapes = [shape for one in subjects if one.mask is not None for shape in _components(one.mask)]
    found: list[Heals] = []
    for number, subject in enumerate(subjects):
        yield Progress(number, len(subjects), f"{subject.slice.name}: healing")
        item = as_measured(subject.slice, pipeline.input.grey)
        volume = one_slice_volume(item.image_hu(), name=item.name)
        generator = np.random.default_rng((seed, number))
        found.append(_measured(pipeline, volume, subject, shapes, generator))
    yield found


def _components(mask: BoolArray) -> list[BoolArray]:
    numbers, _ = ndimage.label(mask, np.ones((3, 3)))
    places = ndimage.find_objects(numbers)
    cropped = [numbers[place] == k for k, place in enumerate(places, start=1)]
    return [shape for shape in cropped if shape.sum() >= SMALLEST]


def _measured(
    pipeline: Pipeline,
    volume: Volume,
    subject: Subject,
    shapes: Sequence[BoolArray],
    generator: np.random.Generator,
) -> Heals:
    for _ in lungs_of(volume):
        pass
    (result,) = (item for item in run(pipeline, volume, [0]) if isinstance(item, SliceResult))
    before = show(pipeline, volume, result, pipeline.detections, pipeline.evidence)
    assert before.verdict is not None
    output, _ = effect_target(pipeline, before.verdict)
    was = outcome_of(pipeline, before, output)

    def after(voxels: Any) -> tuple[float, float]:
        outcome = outcome_of(pipeline, _again(pipeline, volume, before, voxels), output)
        return outcome.probability, outcome.output - was.output

    names = subject.slice.name, subject.slice.patient, subject.group
    healed = change = None
    area: BoolArray | None = None
    pieces, refused, shams = 0, "", []
    mask = subject.mask
    try:
        marked = weakly_marked(pipeline, result, pipeline.detections)
        ground = lung_slice(volume, 0, pipeline.input, marked if mask is None else marked | mask)
        if mask is not None:
            area = to_heal(ground, mask)
            voxels, pieces = heal(ground, area)
            healed, change = after(voxels)
            tried = [area]
        else:
            tried = [shapes[k] for k in generator.integers(len(shapes), size=_SHAPES_TRIED)] if shapes else []
        for shape in tried:
            seed = int(generator.integers(2**31))
            shams = [after(sham) for _, sham in sham_heals(ground, shape, SHAMS, seed=seed, away_from=area)]
            if shams:
                area = shape
                break
    except NothingHealthy as error:
        refused = error.message
    if not shams and not refused:
        refused = "No sham heal fits."
    return Heals(
        *names,
        ill=was.probability,
        healed=healed,
        change=change,
        shams=tuple(probability for probability, _ in shams),
        sham_changes=tuple(moved for _, moved in shams),
        area_px=0 if area is None else int(area.sum()),
        pieces=pieces,
        refused=refused,
    )


def _again(pipeline: Pipeline, volume: Volume, before: ShownSlice, voxels: Any) -> ShownSlice:
    return show_changed(
        pipeline, volume, 0, voxels, pipeline.detections, pipeline.evidence, lung=before.summary.lung
    )


def write_heal_report(
    target: Path,
    found: Sequence[Heals],
    *,
    pipeline: Pipeline,
    data: str,
    seed: int,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write report.json, slices.csv, report.md and report.html; return report.json.

    Raises
    ------
    ExportError
        If the folder may not be used or cannot be written; nothing is then left half-written.
    """
    groups = {
        group: [one for one in found if one.group == group] for group in dict.fromkeys(o.group for o in found)
    }
    report: dict[str, Any] = {group: _summary(own) for group, own in groups.items()}
    controls = report.get(CONTROLS)
    share = None if controls is None else controls["sham_verdict_changed"]["value"]
    report["most_shams_that_may_change_the_verdict"] = MOST_CHANGED
    report["controls_pass"] = None if share is None else bool(share < MOST_CHANGED)
    own = {"shams": SHAMS, "seed": seed}
    about = common_settings(pipeline.cards, data=data, device=pipeline.device, own=own, draws=DRAWS)
    with report_folder(target, overwrite=overwrite) as folder:
        document = evaluation_document(
            "Healed pictures: evaluation",
            _words(controls),
            {"Results": [_table(report, group) for group in groups]},
            cards=pipeline.cards,
            about=about,
        )
        document.write(folder)
        write_csv(folder / "slices.csv", _columns(found))
        write_json(folder / REPORT, report | {"settings": about})
    return report


def _summary(own: Sequence[Heals]) -> dict[str, Any]:
    """Return the numbers of a group; shares are of sham heals, or of slices, with their intervals."""
    shams = [(abs(change), one.patient) for one in own for change in one.sham_changes]
    flips = [((sham > 0.5) != (one.ill > 0.5), one.patient) for one in own for sham in one.shams]
    ill = [one for one in own if one.ill > 0.5 and one.changed is not None]
    compared = [one for one in own if one.beyond is not None]
    return {
        "slices": len(own),
        "patients": len({one.patient for one in own}),
        "ill_before": sum(one.ill > 0.5 for one in own),
        "slices_with_shams": sum(bool(one.shams) for one in own),
        "shams": len(shams),
        "sham_verdict_changed": _share(flips),
        "sham_change_median": float(np.median([size for size, _ in shams])) if shams else None,
        "sham_change_95th_percentile": float(np.quantile([s for s, _ in shams], 0.95)) if shams else None,
        "sham_change_largest": max((size for size, _ in shams), default=None),
        "lesions_healed": sum(one.healed is not None for one in own),
        "ill_slices_healed": len(ill),
        "healing_changes_the_verdict": _share([(bool(one.changed), one.patient) for one in ill]),
        "healing_is_beyond_the_shams": _share([(bool(one.beyond), one.patient) for one in compared]),
        "compared_with_shams": len(compared),
    }


def _share(pairs: Sequence[tuple[bool, str]]) -> Mapping[str, float | None]:
    if not pairs:
        return {"value": None, "low": None, "high": None}
    values, patients = zip(*pairs, strict=True)
    return mean_interval(values, patients).rounded()


def _words(controls: Mapping[str, Any] | None) -> str:
    if controls is None or controls["sham_verdict_changed"]["value"] is None:
        return "No sham heal fits into a control."
    share = controls["sham_verdict_changed"]["value"]
    return (
        f"{share:.1%} of {controls['shams']} sham heals change the verdict of "
        f"{controls['slices_with_shams']} controls; {'less' if share < MOST_CHANGED else 'not less'} than "
        f"{MOST_CHANGED:.0%}."
    )


def _table(report: Mapping[str, Any], group: str) -> Table:
    rows = [
        (key.replace("_", " "), cell(value) if isinstance(value, Mapping) else value)
        for key, value in report[group].items()
    ]
    return Table(("Measure", "Value"), rows, f"{group}; changes are of the logit of \u201cill or not\u201d.")


def _columns(found: Sequence[Heals]) -> dict[str, list[Any]]:
    return {
        "slice": [one.name for one in found],
        "patient": [one.patient for one in found],
        "group": [one.group for one in found],
        "ill": [one.ill for one in found],
        "area_px": [one.area_px for one in found],
        "pieces": [one.pieces for one in found],
        "healed": [one.healed for one in found],
        "change": [one.change for one in found],
        "shams": [len(one.shams) for one in found],
        "shams_that_change_the_verdict": [one.flips for one in found],
        "largest_sham_change": [max(map(abs, one.sham_changes), default=None) for one in found],
        "refused": [one.refused for one in found],
    }
