"""Which explanation finds what matters: the report folder, and what follows for the default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model_core.base.files import write_json
from model_core.engine import Pipeline
from model_core.measure import explanation_metrics as metrics
from model_core.measure.bootstrap import DRAWS, mean_interval
from model_core.measure.explained_slices import CONTROLS, LESIONS, PICTURES, Case
from model_core.measure.explanations import (
    CHANGE_STEP,
    MEASURED_ROUNDS,
    METHODS,
    RANDOM_DRAWS,
    ROW_DRAWS,
    Measured,
)
from model_core.measure.output import REPORT, report_folder, write_csv
from model_core.measure.report_parts import common_settings, evaluation_document
from model_core.report.document import Block, Table, cell

# The categories of Quantus: what is measured in each, by its key, and how the column is called.
CATEGORIES: dict[str, dict[str, str]] = {
    "Faithfulness": {
        "deletion_in_place": "deletion, in place ↑",
        "insertion_in_place": "insertion, in place ↑",
        "deletion_closed_up": "deletion, closed up ↑",
        "insertion_closed_up": "insertion, closed up ↑",
        "correlation": "correlation ↑",
    },
    "Robustness": {
        "row_sensitivity": "sensitivity, rows ↓",
        "picture_sensitivity": "sensitivity, pictures ↓",
    },
    "Localisation": {
        "mass": "mass in the mask ↑",
        "rank": "best pixels in the mask ↑",
        "pointing": "best pixel in the mask ↑",
    },
    "Complexity": {"gini": "Gini index ↑", "entropy": "entropy (nats) ↓"},
    "Randomised weights": {"randomised_correlation": "rank correlation ↓"},
    "Axioms": {
        "incompleteness": "missing in the sum (logits) ↓",
        "null_player": "null player ↓",
        "asymmetry": "asymmetry of twins ↓",
        "input_variance": "change by a shift of the input ↓",
    },
}
CURVES = ("deletion_in_place", "insertion_in_place", "deletion_closed_up", "insertion_closed_up")
# What a method has to beat.
BASELINE = "score"
_MEAN = "mean of the four"
RULE = (
    "A method beats the order of scores where, on the lesion slices, its mean gain over the four curves lies "
    "above 0 with its whole interval and none of the four lies below 0 with its whole interval."
)


def write_explanation_report(
    target: Path,
    measured: Sequence[Measured],
    cases: Sequence[Case],
    *,
    pipeline: Pipeline,
    about: Mapping[str, Any],
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write report.json, slices.csv, report.md and report.html; return report.json.

    Raises
    ------
    ExportError
        If the folder may not be used or cannot be written; nothing is then left half-written.
    """
    results = {group: _results(_of(measured, group)) for group in (LESIONS, CONTROLS)}
    gains = {group: _gains(_of(measured, group)) for group in (LESIONS, CONTROLS)}
    better = [method for method, row in gains[LESIONS].items() if beats(row)]
    report = {
        "slices": {group: sum(case.group == group for case in cases) for group in (LESIONS, CONTROLS)},
        "patients": {
            group: len({case.patient for case in cases if case.group == group})
            for group in (LESIONS, CONTROLS)
        },
        "seen_by_the_detector": {
            group: sum(bool(case.seen) for case in cases if case.group == group)
            for group in (LESIONS, CONTROLS)
        },
        "results": results,
        "gain_over_the_order_of_scores": gains,
        "rule": RULE,
        "better_than_the_order_of_scores": better,
        "settings": dict(about),
    }
    with report_folder(target, overwrite=overwrite) as folder:
        document = evaluation_document(
            "Explanations of the class: evaluation",
            _summary(report),
            {
                "Against the order of scores": _against(gains, better),
                **{
                    f"{category}: {group}": [_table(results[group], columns, category)]
                    for category, columns in CATEGORIES.items()
                    for group in (LESIONS, CONTROLS)
                    if any(name in row for row in results[group].values() for name in columns)
                },
                "Slices": [_slices(cases)],
            },
            cards=pipeline.cards,
            about=about,
        )
        document.write(folder)
        write_csv(folder / "slices.csv", _columns(measured))
        write_json(folder / REPORT, report)
    return report


def settings_document(
    pipeline: Pipeline, *, data: str, grey_map: str, seed: int, rounds: int = MEASURED_ROUNDS
) -> dict[str, Any]:
    """Return everything that the numbers depend on, as JSON-ready values."""
    references = pipeline.cards[-1].references
    own = {
        "grey_map": grey_map,
        "seed": seed,
        "references": 0 if references is None else references.slices,
        "logit": "ill or not" if pipeline.calibration else "the likeliest class of each slice",
        "shapley_rounds": rounds,
        "random_draws": RANDOM_DRAWS,
        "row_noise": f"{ROW_DRAWS} draws: {metrics.ROW_NOISE:g} on the logit of the score, "
        f"{metrics.DELTA_NOISE:g} on each correction",
        "pictures": ", ".join(PICTURES[1:]),
        "changed_slices": f"one of {CHANGE_STEP}, for robustness, randomised weights and axioms",
        "correlation": f"{metrics.SUBSETS} subsets of {metrics.SUBSET_SHARE:g} of the regions",
    }
    return common_settings(pipeline.cards, data=data, device=pipeline.device, own=own, draws=DRAWS)


def _of(measured: Sequence[Measured], group: str) -> dict[str, list[Measured]]:
    """Return the values of a group by method."""
    return {
        method: [one for one in measured if one.group == group and one.method == method] for method in METHODS
    }


def _results(by_method: Mapping[str, Sequence[Measured]]) -> dict[str, dict[str, Any]]:
    """Return the mean of each measure of each method, with its interval over patients."""
    found: dict[str, dict[str, Any]] = {}
    for method, several in by_method.items():
        found[method] = {}
        for name in (name for columns in CATEGORIES.values() for name in columns):
            known = [(one.values[name], one.patient) for one in several if name in one.values]
            if known:
                values, patients = zip(*known, strict=True)
                found[method][name] = mean_interval(values, patients).rounded() | {"slices": len(known)}
    return found


def _gains(by_method: Mapping[str, Sequence[Measured]]) -> dict[str, dict[str, Any]]:
    """Return by how many logits each method's curves are better than those of the order of scores."""
    found: dict[str, dict[str, Any]] = {}
    base = by_method[BASELINE]
    for method, several in by_method.items():
        if method == BASELINE or not several:
            continue
        pairs = zip(several, base, strict=True)
        gains = np.array([[one.values[name] - other.values[name] for name in CURVES] for one, other in pairs])
        patients = [one.patient for one in several]
        columns = {name: gains[:, k] for k, name in enumerate(CURVES)} | {_MEAN: gains.mean(axis=1)}
        found[method] = {name: mean_interval(values, patients).rounded() for name, values in columns.items()}
    return found


def beats(gains: Mapping[str, Mapping[str, float | None]]) -> bool:
    """Return whether a method follows `RULE`; without intervals none does."""
    lows = [gains[_MEAN]["low"]]
    highs = [gains[name]["high"] for name in CURVES]
    if None in lows or None in highs:
        return False
    return all(low > 0 for low in lows if low is not None) and all(
        high >= 0 for high in highs if high is not None
    )


def _summary(report: Mapping[str, Any]) -> str:
    texts = []
    for group, count in report["slices"].items():
        seen = report["seen_by_the_detector"][group]
        told = f"the detector trained on {seen} of them" if seen else "none of them trained the detector"
        texts.append(f"{count} {group} of {report['patients'][group]} patients (or groups), {told}")
    better = [_name(method) for method in report["better_than_the_order_of_scores"]]
    return f"{'; '.join(texts)}. Better than the order of scores: {', '.join(better) or 'no method'}."


def _name(method: str) -> str:
    named = {"score": "order of scores", "random": "chance", "closed_up": "closed up"}
    return named.get(method, method.replace("_", " "))


def _table(results: Mapping[str, Mapping[str, Any]], columns: Mapping[str, str], category: str) -> Table:
    counts = sorted({row[name]["slices"] for row in results.values() for name in columns if name in row})
    rows = [(_name(method), *(row.get(name) for name in columns)) for method, row in results.items() if row]
    slices = " to ".join(map(str, counts))
    return Table(
        ("Method", *columns.values()),
        rows,
        f"{category}: means over {slices} slices, ↑ more is better, ↓ less.",
        digits=2,
    )


def _against(gains: Mapping[str, Mapping[str, Any]], better: Sequence[str]) -> list[Block]:
    titles = {name: CATEGORIES["Faithfulness"][name].removesuffix(" ↑") for name in CURVES} | {_MEAN: _MEAN}
    blocks: list[Block] = [RULE]
    for group, rows in gains.items():
        listed = [
            (
                _name(method),
                *(cell(row[name], digits=2, sign="+") for name in titles),
                "–" if group != LESIONS else "yes" if method in better else "no",
            )
            for method, row in rows.items()
        ]
        caption = f"Gain over the order of scores, in logits, {group}."
        blocks.append(Table(("Method", *titles.values(), "beats it"), listed, caption))
    return blocks


def _slices(cases: Sequence[Case]) -> Table:
    rows = []
    for group in (LESIONS, CONTROLS):
        own = [case for case in cases if case.group == group]
        seen = [case for case in own if case.seen]
        unknown = sum(case.seen is None for case in own)
        lesion = sum(case.mask is not None and bool(case.mask.any()) for case in own)
        rows.append((group, len(own), len({case.patient for case in own}), lesion, len(seen), unknown))
    titles = ("Group", "Slices", "Patients", "with a lesion marked", "trained the detector", "not known")
    return Table(titles, rows)


def _columns(measured: Sequence[Measured]) -> dict[str, list[Any]]:
    found: dict[str, list[Any]] = {
        "slice": [one.name for one in measured],
        "patient": [one.patient for one in measured],
        "group": [one.group for one in measured],
        "method": [one.method for one in measured],
    }
    for name in (name for columns in CATEGORIES.values() for name in columns):
        found[name] = [one.values.get(name) for one in measured]
    return found
