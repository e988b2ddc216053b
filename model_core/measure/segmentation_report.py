"""The report folder of a segmentation evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from model_core.base.files import write_json
from model_core.base.settings import GreyMap
from model_core.measure import coco, figures
from model_core.measure.average_precision import HIT_IOU, IOU_THRESHOLDS
from model_core.measure.bootstrap import DRAWS
from model_core.measure.calibration import reliability
from model_core.measure.output import REPORT, report_folder, write_csv
from model_core.measure.report_parts import common_settings, evaluation_document
from model_core.measure.segmentation import (
    ReferenceSlice,
    SegmentationSettings,
    SliceOutcome,
    reference_labels,
)
from model_core.measure.segmentation_summary import (
    CALIBRATION_FLOOR,
    coco_ap,
    details,
    headline,
    patient_means,
    reason,
    scored_hits,
    worst,
)
from model_core.measure.slices import GREY_MAPS
from model_core.report.document import Block, Table, cell, table
from model_core.weights.card import ModelCard

# What the tables show: titles, and the keys of the documents.
_METRICS = {
    "mAP, papers' definition, all images": "paper_map",
    "AP at IoU 0.50": "paper_ap50",
    "AP at IoU 0.75": "paper_ap75",
    "mAP over images with a lesion that counts": "paper_map_lesion_images",
    "Dice (pixels, classes merged, images with a lesion)": "dice",
    f"Lesions found (IoU > {HIT_IOU:g})": "sensitivity",
    "False positives per image": "false_positives_per_image",
}
_PIXELS = {
    "Dice, mean over lesion images": "dice_mean_over_lesion_images",
    "Dice of all pixels": "dice_of_all_pixels",
    "Precision": "precision_of_all_pixels",
    "Recall": "recall_of_all_pixels",
    "Images": "lesion_images",
}
_LESIONS = {
    "Lesions": "lesions",
    "found": "found",
    "Sensitivity": "sensitivity",
    "Detections": "detections",
    "PPV": "ppv",
    "False positives per image": "false_positives_per_image",
}
_GROUPS = {
    "Images": "images",
    "without lesion": "negative_images",
    "mAP": "paper_map",
    "AP50": "paper_ap50",
    "Dice": "dice",
    "Lesions": "lesions",
    "found": "sensitivity",
    "FP per image": "false_positives_per_image",
}


def settings_document(
    settings: SegmentationSettings,
    cards: Sequence[ModelCard],
    *,
    data: str,
    mask_values: str,
    grey_map: GreyMap = "window",
    device: str,
) -> dict[str, Any]:
    """Return everything that the numbers depend on, as JSON-ready values."""
    shown = dataclasses.asdict(settings.detections)
    own = {
        "mask_type": settings.mask_type,
        "mask_values": mask_values,
        "grey_map": GREY_MAPS[grey_map],
        "score_threshold": shown["score"],
        "nms_threshold": shown["nms_iou"],
        "max_detections": shown["max_detections"],
        "mask_threshold": shown["mask_threshold"],
        "mask_scale": shown["mask_scale"],
        "scoring": shown["scoring"],
        "join_touching": shown["join_touching"],
        "min_area_px": settings.min_area,
        "grid": "the mask file's",
        "paper_ap": f"detections with score > {shown['score']:g}, at most {shown['max_detections']}; "
        "match at IoU > threshold; per image, then mean; images without reference and detection count 1",
        "coco_ap": f"single detections, no score cut-off, at most {coco.MAX_DETECTIONS} per image"
        if coco.available()
        else coco.MISSING,
        "reference_for_ap": f"8-connected components of more than {settings.min_area} px",
        "reference_for_dice": "every lesion pixel",
        "lesion_images": "images whose mask has a lesion pixel of the evaluated classes",
        "detection": "a connected region: touching detections are joined"
        if shown["join_touching"]
        else "a single detection",
        "false_positive": f"a detection that no reference component takes at IoU > {HIT_IOU:g}",
    }
    return common_settings(cards, data=data, device=device, draws=DRAWS, own=own)


def write_segmentation_report(
    target: Path,
    outcomes: Sequence[SliceOutcome],
    slices: Sequence[ReferenceSlice],
    *,
    settings: SegmentationSettings,
    cards: Sequence[ModelCard],
    about: dict[str, Any],
    sources: Mapping[str, str] | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Write report.json, details.json, slices.csv, figures, report.md and report.html; return report.json.

    Parameters
    ----------
    about:
        The settings as `settings_document` gives them.
    sources:
        Source of each slice by name, for the table per source.

    Raises
    ------
    ExportError
        If the folder may not be used or cannot be written; nothing is then left half-written.
    """
    pooled = coco_ap(outcomes, classes=len(settings.class_names))
    report = headline(outcomes, pooled) | {"settings": about}
    more = details(outcomes, settings.class_names, pooled=pooled, sources=sources)
    by_name = {item.name: item for item in slices}
    pixels = {"All classes merged" if k == "merged" else k: row for k, row in more["pixels"].items()}
    with report_folder(target, overwrite=overwrite) as folder:
        document = evaluation_document(
            "Segmentation of lesions in chest CT slices: evaluation",
            _summary(report, more),
            {
                "Results": _results(report, more),
                "Pixels by class": [table("Class", _PIXELS, pixels)],
                "Lesions by class": [
                    table(
                        "Class",
                        _LESIONS,
                        more["lesions"],
                        caption=f"A lesion is found by a detection of its class at IoU > {HIT_IOU:g}.",
                    )
                ],
                "By source": [table("Source", _GROUPS, more["by_source"] or {})],
                "By patient": [table("Patient or group", _GROUPS, more["by_patient"])],
                "Figures": _figures(outcomes, more, settings),
                "Worst slices": _worst(outcomes, by_name, settings),
            },
            cards=cards,
            about=about,
        )
        document.write(folder)
        write_csv(folder / "slices.csv", _columns(outcomes, settings))
        write_json(folder / "details.json", more)
        write_json(folder / REPORT, report)
    return report


def _summary(report: Mapping[str, Any], more: Mapping[str, Any]) -> str:
    patients = len(more["by_patient"])
    lesions = sum(row["lesions"] for row in more["lesions"].values())
    detections = sum(row["detections"] for row in more["lesions"].values())
    return (
        f"{report['images']} slices of {patients} patients (or groups), {report['negative_images']} of them "
        f"without lesion; {lesions} reference lesions, {detections} detections. "
        f"Weights: {report['settings']['weights'][0]['name']}, data: {report['settings']['data']}."
    )


def _results(report: Mapping[str, Any], more: Mapping[str, Any]) -> list[Block]:
    rows = [(title, more["intervals"][key]) for title, key in _METRICS.items()]
    rows.append(("mAP, COCO's definition", report["coco_map"]))
    if coco_map := more["coco"]:
        rows += [
            (f"COCO AP at IoU {iou}", coco_map[key]) for iou, key in (("0.50", "ap50"), ("0.75", "ap75"))
        ]
    for key, text in (("mean_over_patients", "patients"), ("mean_over_sources", "sources")):
        if macro := more[key]:
            rows.append((f"mAP, papers' definition, mean over {text}", macro["paper_map"]))
            rows.append((f"Dice, mean over {text}", macro["dice"]))
    note = (
        "The papers' AP is computed per image and averaged; an image without reference and without detection "
        "counts 1. It is not comparable with COCO's, which pools detections over images."
    )
    return [Table(("Metric", "Value (95 % interval over patients)"), rows), note]


def _figures(
    outcomes: Sequence[SliceOutcome], more: Mapping[str, Any], settings: SegmentationSettings
) -> list[Block]:
    hits = reliability(*scored_hits([o.sweep for o in outcomes]))
    temperature = cell(more["calibration"]["temperature"], digits=2)
    return [
        figures.ap_by_iou(IOU_THRESHOLDS.tolist(), more["ap_by_iou"]),
        figures.dice_and_ap(
            [o.pixels.dice for o in outcomes if o.has_lesion], [float(o.ap.mean()) for o in outcomes]
        ),
        figures.score_sweep(more["score_sweep"], chosen=settings.detections.score),
        figures.reliability_plot(
            hits,
            what="detections that find a lesion",
            caption=f"How often single detections of a score find a lesion (IoU > {HIT_IOU:g}; "
            f"scores above {CALIBRATION_FLOOR:g}). Fitted temperature: {temperature}.",
        ),
        figures.dice_by_patient(patient_means(outcomes)),
    ]


def _worst(
    outcomes: Sequence[SliceOutcome], slices: Mapping[str, ReferenceSlice], settings: SegmentationSettings
) -> list[Block]:
    panels, rows = [], []
    for outcome in worst(outcomes):
        item = slices[outcome.name]
        dice = outcome.pixels.dice if outcome.has_lesion else None
        title = "no lesion" if dice is None else f"Dice {cell(dice, digits=2)}"
        truth = reference_labels(item.mask(), settings.mask_type) > 0
        panels.append((f"{outcome.name}\n{title}", item.image_hu, truth, outcome.predicted))
        rows.append((outcome.name, outcome.patient, dice, float(outcome.ap.mean()), reason(outcome)))
    if not rows:
        return []
    columns = ("Slice", "Patient or group", "Dice", "mean AP", "What happened")
    return [figures.gallery(panels), Table(columns, rows, digits=2)]


def _columns(outcomes: Sequence[SliceOutcome], settings: SegmentationSettings) -> dict[str, list[Any]]:
    """Return the columns of slices.csv."""
    dice_of_classes = {
        f"dice_{name.lower()}": [
            o.class_pixels[k].dice if o.class_pixels[k].reference else None for o in outcomes
        ]
        for k, name in enumerate(settings.class_names)
    }
    return {
        "slice": [o.name for o in outcomes],
        "patient": [o.patient for o in outcomes],
        "reference_px": [o.pixels.reference for o in outcomes],
        "predicted_px": [o.pixels.predicted for o in outcomes],
        "shared_px": [o.pixels.shared for o in outcomes],
        "dice": [o.pixels.dice if o.has_lesion else None for o in outcomes],
        **dice_of_classes,
        "references": [o.references for o in outcomes],
        "found": [o.found for o in outcomes],
        "detections": [len(o.reported) for o in outcomes],
        "false_positives": [o.false_positives for o in outcomes],
        "paper_map": [float(o.ap.mean()) for o in outcomes],
        "paper_ap50": [float(o.ap[0]) for o in outcomes],
        "paper_ap75": [float(o.ap[5]) for o in outcomes],
        "best_score": [float(o.candidates.scores[0]) if len(o.candidates) else None for o in outcomes],
        "seconds": [o.seconds for o in outcomes],
        "remark": [reason(o) for o in outcomes],
    }
