"""The report folder of a classifier evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from model_core.base.arrays import IntArray
from model_core.base.files import write_json
from model_core.base.settings import GreyMap
from model_core.engine import Pipeline
from model_core.measure import classification as metrics
from model_core.measure import figures
from model_core.measure.bootstrap import STATISTIC_DRAWS, interval
from model_core.measure.calibration import reliability
from model_core.measure.classifier import ClassOutcome
from model_core.measure.output import REPORT, json_ready, report_folder, write_csv
from model_core.measure.report_parts import common_settings, evaluation_document
from model_core.measure.roi_statistics import (
    ALPHA,
    COUNT_THRESHOLDS,
    SAMPLE_PER_CLASS,
    SliceRois,
    roi_statistics,
    sample_per_class,
)
from model_core.measure.slices import GREY_MAPS
from model_core.report.document import Block, Table, cell, table
from model_core.weights.card import ModelCard

# What the tables show: titles, and the keys of the documents.
_CLASSES = {"Images": "images", "Sensitivity": "sensitivity", "PPV": "ppv", "AUC against the rest": "auc"}
_SOURCES = {
    "Images": "images",
    "Classes": "classes",
    "Accuracy": "accuracy",
    "Balanced accuracy": "balanced_accuracy",
    "AUC": "auc",
}
_MOST_ERRORS = 20


def settings_document(
    pipeline: Pipeline, *, data: str, grey_map: GreyMap = "window", roi_sample: int, seed: int
) -> dict[str, Any]:
    """Return everything that the numbers depend on, as JSON-ready values."""
    own = {
        "image_classes": list(pipeline.image_classes),
        "grey_map": GREY_MAPS[grey_map],
        "evidence": dataclasses.asdict(pipeline.evidence),
        "class": "largest logit of module S; a probability is the sigmoid of its logit",
        "f1_weights": list(metrics.PAPER_F1_WEIGHTS)
        if len(pipeline.image_classes) == len(metrics.PAPER_F1_WEIGHTS)
        else "class shares of this data set",
        "balanced_accuracy": "mean sensitivity over the classes that occur",
        "roi_sample": f"at most {roi_sample} slices per class, seed {seed}",
    }
    return common_settings(pipeline.cards, data=data, device=pipeline.device, draws=STATISTIC_DRAWS, own=own)


def write_classifier_report(
    target: Path,
    outcomes: Sequence[ClassOutcome],
    *,
    class_names: Sequence[str],
    cards: Sequence[ModelCard],
    about: Mapping[str, Any],
    roi_sample: int = SAMPLE_PER_CLASS,
    seed: int = 0,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write the files of a report; return what report.json holds.

    Raises
    ------
    ExportError
        If the folder may not be used or cannot be written; nothing is then left half-written.
    """
    labels = np.array([o.label for o in outcomes], np.int64)
    predicted = np.array([o.predicted for o in outcomes], np.int64)
    matrix = metrics.confusion_matrix(labels, predicted, classes=len(class_names))
    report = headline(matrix, class_names) | {"settings": dict(about)}
    more = details(outcomes, class_names)
    chosen = sample_per_class(labels, size=roi_sample, seed=seed)
    sampled = [outcomes[i].rois for i in chosen]
    rois = json_ready(roi_statistics(sampled, labels[chosen], class_names))
    with report_folder(target, overwrite=overwrite) as folder:
        document = evaluation_document(
            "Image class of chest CT slices: evaluation",
            f"{len(outcomes)} slices of {len({o.patient for o in outcomes})} patients (or groups). Weights: "
            f"{', '.join(card.name for card in cards)}, data: {about['data']}.",
            {
                "Results": _results(report, more),
                "Within each source": _sources(more),
                "Figures": _figures(outcomes, matrix, class_names),
                "Regions that the class was read from": _rois(rois, sampled, labels[chosen], class_names),
                "Worst errors": _errors(outcomes, class_names),
            },
            cards=cards,
            about=about,
        )
        document.write(folder)
        write_csv(folder / "slices.csv", _slice_columns(outcomes, class_names))
        write_csv(folder / "rois.csv", _roi_columns([outcomes[i] for i in chosen], class_names))
        write_json(folder / "rois.json", rois)
        write_json(folder / "details.json", more)
        write_json(folder / REPORT, report)
    return report


def headline(matrix: IntArray, class_names: Sequence[str]) -> dict[str, Any]:
    """Return the papers' metrics of a confusion matrix; ``f1`` in the released code's class weights.

    With another number of classes than the papers' three, ``f1`` is weighted by the shares of the classes.
    """
    paper = metrics.PAPER_F1_WEIGHTS
    weights = paper if len(class_names) == len(paper) else None
    recall, precision = metrics.sensitivity(matrix), metrics.positive_predictive_value(matrix)
    return json_ready(
        {
            "accuracy": metrics.accuracy(matrix),
            "balanced_accuracy": metrics.balanced_accuracy(matrix),
            "f1": metrics.f1(matrix, weights),
            "sensitivity": dict(zip(class_names, recall.tolist(), strict=True)),
            "ppv": dict(zip(class_names, precision.tolist(), strict=True)),
            "confusion": matrix.tolist(),
            "images": int(matrix.sum()),
        }
    )


def details(outcomes: Sequence[ClassOutcome], class_names: Sequence[str]) -> dict[str, Any]:
    """Return intervals, both F1 weightings, AUC, calibration and everything within each source."""
    labels = np.array([o.label for o in outcomes], np.int64)
    predicted = np.array([o.predicted for o in outcomes], np.int64)
    matrix = metrics.confusion_matrix(labels, predicted, classes=len(class_names))
    probabilities = np.array([o.probabilities for o in outcomes])
    top = reliability(probabilities[np.arange(len(outcomes)), predicted], predicted == labels)
    paper = metrics.PAPER_F1_WEIGHTS
    return json_ready(
        {
            "f1_paper_weights": metrics.f1(matrix, paper) if len(class_names) == len(paper) else None,
            "f1_class_shares": metrics.f1(matrix),
            "auc_one_vs_rest": {
                name: metrics.auc(probabilities[:, k], labels == k) for k, name in enumerate(class_names)
            },
            "intervals": _intervals(outcomes, len(class_names)),
            "by_source": {
                source: _source([o for o in outcomes if o.source == source], class_names)
                for source in sorted({o.source for o in outcomes})
            },
            "calibration": {
                "counts": top.counts.tolist(),
                "mean_score": top.mean_score.tolist(),
                "share_right": top.share_right.tolist(),
                "ece": top.ece,
            },
        }
    )


def _intervals(outcomes: Sequence[ClassOutcome], classes: int) -> dict[str, Any]:
    labels = np.array([o.label for o in outcomes], np.int64)
    predicted = np.array([o.predicted for o in outcomes], np.int64)
    patients = [o.patient for o in outcomes]

    def matrix(rows: IntArray) -> IntArray:
        return metrics.confusion_matrix(labels[rows], predicted[rows], classes=classes)

    return {
        "accuracy": dataclasses.asdict(interval(lambda rows: metrics.accuracy(matrix(rows)), patients)),
        "balanced_accuracy": dataclasses.asdict(
            interval(lambda rows: metrics.balanced_accuracy(matrix(rows)), patients)
        ),
    }


def _source(outcomes: Sequence[ClassOutcome], class_names: Sequence[str]) -> dict[str, Any]:
    """Return the metrics inside one source, and the AUC of each pair of its classes."""
    labels = np.array([o.label for o in outcomes], np.int64)
    predicted = np.array([o.predicted for o in outcomes], np.int64)
    logits = np.array([o.logits for o in outcomes])
    matrix = metrics.confusion_matrix(labels, predicted, classes=len(class_names))
    present = [int(k) for k in np.unique(labels)]
    pairs = {}
    for position, low in enumerate(present):
        for high in present[position + 1 :]:
            rows = np.isin(labels, (low, high))
            margin = (logits[:, high] - logits[:, low])[rows]
            pairs[f"{class_names[high]} against {class_names[low]}"] = metrics.auc(
                margin, labels[rows] == high
            )
    return {
        "images": len(outcomes),
        "classes": {class_names[k]: int((labels == k).sum()) for k in present},
        "accuracy": metrics.accuracy(matrix),
        # With a single class there is nothing to balance or to rank.
        "balanced_accuracy": metrics.balanced_accuracy(matrix) if len(present) > 1 else None,
        "auc": pairs,
        "confusion": matrix.tolist(),
    }


def _results(report: Mapping[str, Any], more: Mapping[str, Any]) -> list[Block]:
    names = list(report["sensitivity"])
    classes = {
        name: {
            "images": sum(row),
            "sensitivity": report["sensitivity"][name],
            "ppv": report["ppv"][name],
            "auc": more["auc_one_vs_rest"][name],
        }
        for name, row in zip(names, report["confusion"], strict=True)
    }
    return [
        Table(
            ("Metric", "Value (95 % interval over patients)"),
            (
                ("Accuracy", more["intervals"]["accuracy"]),
                ("Balanced accuracy", more["intervals"]["balanced_accuracy"]),
                ("F1, class weights of the papers' code (0.45, 0.35, 0.20)", more["f1_paper_weights"]),
                ("F1, weighted by the class shares of this data set", more["f1_class_shares"]),
            ),
        ),
        table("Class", _CLASSES, classes),
        Table(
            ("True \\ predicted", *names),
            [(name, *row) for name, row in zip(names, report["confusion"], strict=True)],
            caption="Confusion matrix",
        ),
    ]


def _sources(more: Mapping[str, Any]) -> list[Block]:
    rows = {
        source: {
            **row,
            "classes": ", ".join(f"{name} {count}" for name, count in row["classes"].items()),
            "auc": "; ".join(f"{pair}: {cell(auc)}" for pair, auc in row["auc"].items()) or "–",
        }
        for source, row in more["by_source"].items()
    }
    note = (
        "Where classes come from different sources, a network can learn the source instead of the disease; "
        "only numbers inside one source compare classes."
    )
    return [note, table("Source", _SOURCES, rows)]


def _figures(outcomes: Sequence[ClassOutcome], matrix: IntArray, class_names: Sequence[str]) -> list[Block]:
    top = np.array([float(o.probabilities[o.predicted]) for o in outcomes])
    right = np.array([o.predicted == o.label for o in outcomes])
    return [
        figures.confusion(matrix, class_names),
        figures.reliability_plot(
            reliability(top, right),
            what="right classes",
            caption="How often the predicted class of a probability is right.",
        ),
    ]


def _rois(
    rois: Mapping[str, Any], sampled: Sequence[SliceRois], labels: IntArray, class_names: Sequence[str]
) -> list[Block]:
    if not len(labels):
        return []
    counted = ", ".join(f"{name} {count}" for name, count in rois["slices"].items())
    rows = [
        (
            f"> {threshold}",
            name,
            row["mean"],
            row["sd_interval"],
            row["mean_interval"],
            row["min_q1_median_q3_max"][2],
        )
        for threshold, part in rois["above"].items()
        for name, row in part["classes"].items()
    ]
    tests = [
        (
            f"> {threshold}",
            f"{test['first']} > {test['second']}",
            test["d"],
            "N/A" if test["p"] is None else f"{test['p']:.2g}",
            {None: "N/A", True: "yes", False: "no"}[test["significant"]],
        )
        for threshold, part in rois["above"].items()
        for test in part["ks_tests"]
    ]
    note = (
        f"Sample: {counted} slices. Counted: {rois['counted']}. The papers' 95 % interval fits "
        "mean ± 1.96 SD, the spread of slices; the interval of the mean is given beside it."
    )
    return [
        note,
        Table(
            ("Score", "Class", "Mean RoIs", "Mean ± 1.96 SD", "95 % interval of the mean", "Median"),
            rows,
            digits=2,
        ),
        Table(
            ("Score", "Hypothesis", "D", "p", f"significant at {100 * ALPHA:g} %"),
            tests,
            caption="One-sided two-sample Kolmogorov–Smirnov tests; N/A where a sample is constant.",
        ),
        figures.roi_counts(sampled, labels, class_names),
        figures.roi_histograms(sampled, labels, class_names),
        figures.roi_score_area(sampled, labels, class_names),
    ]


def _errors(outcomes: Sequence[ClassOutcome], class_names: Sequence[str]) -> list[Block]:
    wrong = [o for o in outcomes if o.predicted != o.label]
    wrong.sort(key=lambda o: float(o.logits[o.label] - o.logits[o.predicted]))
    rows = [
        (
            o.name,
            o.source,
            class_names[o.label],
            class_names[o.predicted],
            float(o.probabilities[o.predicted]),
            float(o.probabilities[o.label]),
        )
        for o in wrong[:_MOST_ERRORS]
    ]
    columns = ("Slice", "Source", "True", "Predicted", "Probability of predicted", "Probability of true")
    return [Table(columns, rows, digits=2)]


def _slice_columns(outcomes: Sequence[ClassOutcome], class_names: Sequence[str]) -> dict[str, list[Any]]:
    """Return the columns of slices.csv."""
    return {
        "slice": [o.name for o in outcomes],
        "patient": [o.patient for o in outcomes],
        "source": [o.source for o in outcomes],
        "true": [class_names[o.label] for o in outcomes],
        "predicted": [class_names[o.predicted] for o in outcomes],
        **{
            f"probability {name}": [float(o.probabilities[k]) for o in outcomes]
            for k, name in enumerate(class_names)
        },
    }


def _roi_columns(outcomes: Sequence[ClassOutcome], class_names: Sequence[str]) -> dict[str, list[Any]]:
    """Return the columns of rois.csv."""
    rois = [o.rois for o in outcomes]
    return {
        "slice": [o.name for o in outcomes],
        "class": [class_names[o.label] for o in outcomes],
        "rois": [len(r.scores) for r in rois],
        **{f"above {t:g}": [r.counts()[k] for r in rois] for k, t in enumerate(COUNT_THRESHOLDS)},
        "best_score": [float(r.scores[0]) if len(r.scores) else None for r in rois],
        "best_area_px": [float(r.areas[0]) if len(r.areas) else None for r in rois],
    }
