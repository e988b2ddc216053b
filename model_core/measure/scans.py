"""Verdicts of whole scans against what is known of their patients: a table, and how many are right."""

from __future__ import annotations

import csv
import dataclasses
import hashlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

from model_core.anatomy.lungs import lung_ml
from model_core.base.errors import DataError
from model_core.base.files import write_json
from model_core.base.jobs import Progress
from model_core.base.results import ScanVerdict, SliceResult, SliceSummary, Verdict
from model_core.base.stability import ScanStability
from model_core.base.volume import Volume
from model_core.engine import Pipeline, run
from model_core.engine.lungs import lungs_of
from model_core.explain import scan_stability, scan_verdict, summarise
from model_core.measure.calibration import share_limits
from model_core.measure.output import REPORT, report_folder, write_csv
from model_core.measure.report_parts import evaluation_document
from model_core.report.document import Table

LABELS = ("ill", "control", "no_class")
_HEADER = ("path", "label")
_LINE = "path, label (ill, control or no_class) and perhaps a group, separated by tabs or commas"


@dataclass(frozen=True)
class ListedScan:
    """A line of a list of scans: where it is, what is known of it, and what it is counted with."""

    path: Path
    name: str
    label: Verdict
    group: str = ""


@dataclass(frozen=True)
class ScanOutcome:
    """What was said of a listed scan.

    ``changes`` is how often neighbouring lung slices differ in whether they look ill; ``unlike`` how many
    slices are unlike the training data. ``steady`` is what small changes of the pictures do; None where that
    was not asked, or there is no lung.
    """

    listed: ListedScan
    verdict: ScanVerdict
    slices: int
    changes: int
    unlike: int
    steady: ScanStability | None = None

    @property
    def right(self) -> bool:
        """Whether the verdict is that of the label; a doubt is not."""
        return self.verdict.verdict == self.listed.label

    @property
    def wrong(self) -> bool:
        """Whether it is another than that, and no doubt."""
        return not self.right and self.verdict.verdict != "uncertain"


def read_scans(path: Path) -> list[ListedScan]:
    """Read a list of scans: a line is path, label and perhaps a group, separated by tabs or commas.

    Paths are from the folder of the list; labels are those of `LABELS`, "no_class" for what shows no chest. A
    first line of titles, empty ones and those that start with ``#`` are skipped.

    Raises
    ------
    DataError
        If it cannot be read, names no scan, a line is something else, or a path is not there.
    """
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeError) as error:
        raise DataError(f"The list {path.name} cannot be read as text.", details=str(error)) from error
    found: list[ListedScan] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            (cells,) = csv.reader([line], delimiter="\t" if "\t" in line else ",")
        except csv.Error as error:
            raise DataError(f"Line {number} of {path.name} is no scan: {error}.") from error
        parts = [cell.strip() for cell in cells]
        if tuple(parts[:2]) == _HEADER and not found:
            continue
        if len(parts) not in (2, 3) or parts[1] not in LABELS:
            raise DataError(f"Line {number} of {path.name} is no scan: expected {_LINE}.")
        place = path.parent / parts[0]
        if not place.exists():
            raise DataError(f"Line {number} of {path.name} names '{parts[0]}', which is not there.")
        group = parts[2] if len(parts) == 3 else ""
        found.append(ListedScan(place, parts[0], cast(Verdict, parts[1]), group))
    if not found:
        raise DataError(f"The list {path.name} names no scan: expected {_LINE}.")
    return found


def evaluate_scan(
    pipeline: Pipeline, volume: Volume, listed: ListedScan, *, stability: bool = False
) -> Generator[Progress | ScanOutcome, None, None]:
    """Analyse all slices of a scan as `ctmasknet predict` does; the last item is its outcome.

    ``stability``: also run some of its lung slices with small changes (`explain.scan_stability`).
    """
    lungs = None
    for found in lungs_of(volume):
        if isinstance(found, Progress):
            yield found
        else:
            lungs = found
    assert lungs is not None
    summaries: list[SliceSummary] = []
    settings = pipeline.detections, pipeline.evidence
    for item in run(pipeline, volume, range(volume.slices)):
        if isinstance(item, SliceResult):
            summaries.append(summarise(pipeline, volume, item, *settings))
        else:
            yield item
    basis = pipeline.evidence_basis(pipeline.evidence)
    assert basis is not None
    verdict = scan_verdict(
        summaries,
        basis=basis,
        control=pipeline.image_classes[0],
        names=pipeline.image_classes,
        calibration=pipeline.calibration,
        volume=volume,
        lung_ml=lung_ml(lungs, volume.geometry),
    )
    assert verdict is not None
    steady = None
    if stability and verdict.lung_slices:
        for moved in scan_stability(pipeline, volume, summaries, *settings):
            if isinstance(moved, Progress):
                yield moved
            else:
                steady = moved
    unlike = sum(bool(s.unlike_training) for s in summaries)
    yield ScanOutcome(listed, verdict, len(summaries), changes(summaries), unlike, steady)


def verdict_id(pipeline: Pipeline) -> str:
    """Return the identity of all that the verdict of a scan depends on, but for earlier checks of it."""
    calibration = pipeline.calibration and dataclasses.replace(pipeline.calibration, checked=None)
    cards = [(card.sha256, card.architecture, card.detector, card.input) for card in pipeline.cards]
    parts = (cards, pipeline.evidence, pipeline.detections, calibration)
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def changes(summaries: Iterable[SliceSummary]) -> int:
    """Return how often neighbouring lung slices differ in whether they look ill."""
    ill = [one.ill for one in summaries if one.lung is not False]
    return sum(one != other for one, other in pairwise(ill))


def counted(outcomes: Sequence[ScanOutcome]) -> dict[str, Any]:
    """Return scans, right, uncertain and wrong ones, and the exact 95 % limits of the share of right ones."""
    right = sum(one.right for one in outcomes)
    low, high = share_limits(right, len(outcomes))
    return {
        "scans": len(outcomes),
        "right": right,
        "uncertain": sum(one.verdict.verdict == "uncertain" for one in outcomes),
        "wrong": sum(one.wrong for one in outcomes),
        "share_right": {"value": right / len(outcomes), "low": low, "high": high},
    }


def write_scan_report(
    target: Path,
    outcomes: Sequence[ScanOutcome],
    *,
    pipeline: Pipeline,
    about: Mapping[str, Any],
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write report.json, scans.csv, report.md and report.html; return what report.json holds.

    Raises
    ------
    ExportError
        If the folder may not be used or cannot be written; nothing is then left half-written.
    """
    groups = sorted({one.listed.group for one in outcomes} - {""})
    report = {
        **counted(outcomes),
        "by_label": {
            label: counted(mine)
            for label in LABELS
            if (mine := [one for one in outcomes if one.listed.label == label])
        },
        "by_group": {
            group: counted([one for one in outcomes if one.listed.group == group]) for group in groups
        },
        "list": [_row(one) for one in outcomes],
        "settings": dict(about),
    }
    columns = [key for key in report["list"][0] if key != _STEADY]
    parts = [("all", report), *report["by_label"].items(), *report["by_group"].items()]
    keys = ("scans", "right", "uncertain", "wrong", "share_right")
    sections = {
        "Results": [
            Table(
                ("Scans", "Number", "Right", "Uncertain", "Wrong", "Share right"),
                [(name, *(part[key] for key in keys)) for name, part in parts],
                caption="A doubt is neither right nor wrong. Exact 95 % limits.",
            )
        ],
        "Scans": [
            Table(
                tuple(column.replace("_", " ") for column in columns[:-1]),
                [tuple(row[column] for column in columns[:-1]) for row in report["list"]],
            )
        ],
        "How the verdicts came about": [
            Table(("Scan", "Rule"), [(row["scan"], row["rule"]) for row in report["list"]])
        ],
    }
    steady = [(row["scan"], change) for row in report["list"] for change in row.get(_STEADY, ())]
    if steady:
        sections["How sure"] = [
            Table(
                ("Scan", "Change", "Lesions (ml)", "Look ill", "Verdict of these slices"),
                [
                    (
                        scan,
                        one["change"],
                        one["lesion_ml"],
                        f"{one['ill']} of {one['slices']}",
                        one["verdict"],
                    )
                    for scan, one in steady
                ],
                caption="Lung slices at least 10 mm apart after small changes of the picture, and what the "
                "rule says of them. Lesions: slices with more than a twentieth of the volume run for "
                "themselves; the rest is taken times what is marked in those 10 mm apart after over before.",
            )
        ]
    with report_folder(target, overwrite=overwrite) as folder:
        evaluation_document(
            "Verdicts of whole scans: evaluation",
            f"{len(outcomes)} scans. Weights: {', '.join(card.name for card in pipeline.cards)}, "
            f"data: {about['data']}.",
            sections,
            cards=pipeline.cards,
            about=about,
        ).write(folder)
        write_csv(
            folder / "scans.csv", {column: [row[column] for row in report["list"]] for column in columns}
        )
        write_json(folder / REPORT, report)
    return report


# Entry of a scan in the report: what each change does, the unchanged picture first.
_STEADY = "stability"


def _row(one: ScanOutcome) -> dict[str, Any]:
    found = one.verdict
    row: dict[str, Any] = {
        "scan": one.listed.name,
        "group": one.listed.group or None,
        "label": one.listed.label,
        "verdict": found.verdict,
        "kind": found.kind,
        "slices": one.slices,
        "lung_slices": found.lung_slices,
        "ill_slices": found.ill_slices,
        "changes": one.changes,
        "unlike_training": one.unlike,
        "lesion_ml": found.lesion_ml,
        "lung_ml": found.lung_ml,
        "rule": found.verdict_rule,
    }
    if (steady := one.steady) is not None:
        every = zip(
            ("none", *steady.changes),
            (found.lesion_ml, *(steady.lesion_ml or [None] * len(steady.changes))),
            (steady.own_ill, *steady.ill),
            (steady.own_verdict, *steady.verdicts),
            strict=True,
        )
        row[_STEADY] = [
            {"change": name, "lesion_ml": ml, "ill": ill, "slices": len(steady.slices), "verdict": verdict}
            for name, ml, ill, verdict in every
        ]
    return row
