"""The JSON document of a run: what ran on what, with which settings, and what was found."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from typing import Any, Protocol

from model_core import DISCLAIMER, __version__
from model_core.base.errors import ordinal
from model_core.base.files import write_json as write_json
from model_core.base.results import RoiRow, ScanVerdict, ShownSlice
from model_core.base.settings import DetectionSettings, EvidenceBasis, EvidenceSettings
from model_core.base.volume import Problem, Volume
from model_core.explain.lesions import Burden
from model_core.scene import class_name
from model_core.weights.card import ModelCard

SCHEMA_VERSION = 1
# A short number is no name, nor is the end of a long list: they may as well be counts in the message.
_TELLING = re.compile(r"^(?!and \d+ more$).*([^\W\d]|\d{5})")
_QUOTED = re.compile(r'"[^"]*"')


class Networks(Protocol):
    """What the document needs to know of a pipeline."""

    @property
    def cards(self) -> tuple[ModelCard, ...]:
        """Cards of the weights that ran."""

    @property
    def region_classes(self) -> tuple[str, ...]:
        """Names of the positive region classes, label 1 first."""

    @property
    def image_classes(self) -> tuple[str, ...]:
        """Names of the image logits."""

    @property
    def evidence(self) -> EvidenceSettings:
        """The evidence settings that the weights define."""

    def evidence_basis(self, settings: EvidenceSettings) -> EvidenceBasis | None:
        """Return what a class from this evidence is; None without a class."""


def predictions(
    volume: Volume,
    slices: Iterable[ShownSlice | dict[str, Any]],
    *,
    pipeline: Networks,
    detections: DetectionSettings,
    evidence: EvidenceSettings,
    scan: ScanVerdict | None = None,
    lesions: Burden | None = None,
) -> dict[str, Any]:
    """Return the document as JSON values; holds no patient text and no free text of the file's header.

    ``index`` and ``slices_used`` count slices from 0; pictures of them (``slice-0088.png``), the screen and
    ``slice_number`` of tables count from 1. Boxes are pixel edges ``x1, y1, x2, y2`` of the slice as
    displayed, areas are in pixels of the slice. What is unknown is null. Class probabilities are sigmoids of
    single logits and need not sum to 1. ``evidence_basis`` is "published" where the class is computed as in
    one of the papers to the last setting, else "trained" or "edited"; ``network_bias`` is true where no
    region was left in the evidence. ``edit`` is what a person edited of the evidence of a slice, see
    `edit_entry`, else null. ``mirror_image`` is false: earlier versions could look at it, too.

    ``lung``: whether a slice lies in the range of the lungs. ``ill_probability`` (of pneumonia of any kind)
    and ``kind`` (a class name or "undecided") are null outside it and for weights without a calibration. The
    ``verdict`` of the scan is "no_class", "control", "uncertain" or "ill" (docs/verdict.md); its ``class`` is
    null where none is named.

    ``lesions`` are connected through the slices (`explain.lesions.Lesion`): ml, shares 0..1, slices from 0;
    ``lesions_smaller`` counts those too small to be listed.
    ``lesion_grade`` and ``lung_shares`` are those of `Burden`.

    Parameters
    ----------
    slices:
        What was shown of each slice, or what `slice_prediction` returned for it (so that the masks of a long
        series need not be kept); read one by one, written in order of the slices.
    pipeline:
        The networks that ran.
    detections, evidence:
        The settings the slices were computed with.
    """
    rows = [
        row if isinstance(row, dict) else slice_prediction(volume, row, pipeline=pipeline) for row in slices
    ]
    depth, height, width = volume.voxels.shape
    basis = pipeline.evidence_basis(evidence)
    return {
        "schema_version": SCHEMA_VERSION,
        "software": {"name": "ctmasknet", "version": __version__, "disclaimer": DISCLAIMER},
        "series": {
            "id": volume.series_id,
            "title": series_title(volume),
            "modality": volume.modality,
            "size": [int(depth), int(height), int(width)],
            "spacing_mm": [None if step is None else float(step) for step in volume.geometry.spacing_mm],
            "unit": volume.unit,
            "plane": volume.plane,
        },
        "weights": [weights_entry(card) for card in pipeline.cards],
        "settings": {
            "detections": dataclasses.asdict(detections),
            "evidence": dataclasses.asdict(evidence),
            "published": basis == "published",
            "evidence_basis": basis,
            "mirror_image": False,
        },
        "scan": None if scan is None else _scan(scan, pipeline.image_classes),
        **_lesions(lesions, pipeline.region_classes),
        "slices": sorted(rows, key=lambda row: int(row["index"])),
    }


def _lesions(found: Burden | None, names: Sequence[str]) -> dict[str, Any]:
    if found is None:
        return {"lesions": None, "lesions_smaller": None, "lesion_grade": None, "lung_shares": None}
    rows = []
    for lesion in found.lesions:
        values = dataclasses.asdict(lesion)
        values |= {"label": class_name(names, lesion.label - 1), "place": list(lesion.place)}
        rows.append(values)
    shares = None if found.lung_shares is None else dict(found.lung_shares)
    return {
        "lesions": rows,
        "lesions_smaller": found.smaller,
        "lesion_grade": found.grade,
        "lung_shares": shares,
    }


def told_problem(problem: Problem, volume: Volume) -> dict[str, str]:
    """Return what was noticed while reading, with numbers of slices (from 1) in place of names of files.

    Names of files and what messages quote of the header can name a patient.
    """
    names = dict.fromkeys(problem.files, "another file")
    names |= {name: f"slice {number}" for number, name in enumerate(volume.slice_names, 1)}
    longest_first = sorted(filter(_TELLING.search, names), key=len, reverse=True)
    known = re.compile("|".join(rf"(?<!\w){re.escape(name)}(?!\w)" for name in longest_first) or "(?!)")

    def plain(text: str) -> str:
        return _QUOTED.sub('"…"', known.sub(lambda match: names[match[0]], text))

    return {"level": problem.level, "text": plain(problem.text), "action": plain(problem.action)}


def series_title(volume: Volume) -> str:
    """Return what a series is: what its file calls it is free text, in which patients are named."""
    plane = "" if volume.plane == "unknown" else volume.plane
    kind = " ".join(filter(None, (volume.modality or "images", plane)))
    return kind if volume.every == 1 else f"{kind}, every {ordinal(volume.every)} slice"


def slice_prediction(volume: Volume, shown: ShownSlice, *, pipeline: Networks) -> dict[str, Any]:
    """Return the entry of one slice in `predictions`."""
    positions, verdict = volume.slice_positions_mm, shown.verdict
    found = shown.detections
    names = pipeline.region_classes
    return {
        "index": int(shown.slice_index),
        "position_mm": None if positions is None else float(positions[shown.slice_index]),
        "image_logits": None if verdict is None else [float(logit) for logit in verdict.logits],
        "class_probabilities": None
        if verdict is None
        else by_name(pipeline.image_classes, [float(p) for p in verdict.probabilities]),
        "network_bias": None if verdict is None else verdict.from_bias,
        "edit": edit_entry(shown),
        "lung": shown.summary.lung,
        "ill_probability": shown.summary.ill_probability,
        "kind": shown.summary.kind,
        "unlike_training": shown.summary.unlike_training,
        "detections": [
            {
                "label": names[int(label) - 1],
                "score": float(score),
                "box": [float(edge) for edge in box],
                "area_px": float((box[2] - box[0]) * (box[3] - box[1])),
                "mask_area_px": int(mask.sum()),
            }
            for label, score, box, mask in zip(
                found.labels, found.scores, found.boxes, shown.masks, strict=True
            )
        ],
    }


def edit_entry(shown: ShownSlice) -> dict[str, Any] | None:
    """Return what a person edited of the evidence of a slice; None where nothing is.

    ``rank`` is that among all rows listed, from 1; ``box`` in pixel edges of the slice: of an excluded region
    and of an answer the decoded one, of what was asked about what was drawn, which is the proposal. An answer
    whose score is too low for the evidence is not ``in_evidence``.
    """
    edit = None if shown.verdict is None else shown.verdict.edit
    if edit is None:
        return None

    def told(roi: RoiRow) -> dict[str, Any]:
        box = [float(edge) for edge in roi.box]
        return {"rank": roi.rank, "label": roi.label, "score": float(roi.score), "box": box}

    return {
        "excluded": [told(roi) for roi in shown.rois if roi.excluded],
        "nms_anew": edit.nms_anew,
        "asked": [
            {
                "box": [float(edge) for edge in one.box],
                "answers": [
                    {**told(roi), "in_evidence": roi.copies > 0} for roi in shown.rois if roi.asked == number
                ],
            }
            for number, one in enumerate(edit.asked)
        ],
    }


def by_name(names: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    """Return values by class name; one without a name is called by its count, from 1."""
    return {class_name(names, number): value for number, value in enumerate(values)}


def weights_entry(card: ModelCard) -> dict[str, Any]:
    """Return what a document says of one of the weights that ran."""
    return {
        "name": card.name,
        "title": card.title,
        "kind": card.kind,
        "sha256": card.sha256,
        "base_sha256": card.base_sha256 or None,
        "region_classes": list(card.region_classes),
        "image_classes": list(card.image_classes),
        "input": dataclasses.asdict(card.input),
        "licence": card.licence,
    }


def _scan(scan: ScanVerdict, names: Sequence[str]) -> dict[str, Any]:
    probabilities = by_name(names, [float(p) for p in scan.probabilities])
    return {
        "class": None if scan.class_index is None else list(probabilities)[scan.class_index],
        "class_index": scan.class_index,
        "class_probabilities": probabilities or None,
        "rule": scan.rule,
        "slices_used": [int(index) for index in scan.slices_used],
        "published": scan.basis == "published",
        "evidence_basis": scan.basis,
        "network_bias": bool(scan.from_bias),
        "verdict": scan.verdict,
        "verdict_rule": scan.verdict_rule or None,
        "kind": scan.kind,
        "lung_slices": int(scan.lung_slices),
        "ill_slices": int(scan.ill_slices),
        "control_rate": scan.control_rate,
        "lesion_ml": scan.lesion_ml,
        "lung_ml": scan.lung_ml,
        "deciding_slices": [int(index) for index in scan.deciding],
        "checked": None if scan.checked is None else dataclasses.asdict(scan.checked),
    }
