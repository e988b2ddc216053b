"""The report folder of a segmentation evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from model_core.config import GreyMap
from model_core.evaluation import coco, figures
from model_core.evaluation.average_precision import HIT_IOU, IOU_THRESHOLDS
from model_core.evaluation.bootstrap import DRAWS
from model_core.evaluation.calibration import reliability
from model_core.evaluation.document import Block, Document, Heading, Paragraph, Table
from model_core.evaluation.output import REPORT, report_folder, write_csv, write_json
from model_core.evaluation.report_parts import (
    card_blocks,
    figure,
    number,
    opening,
    settings_blocks,
    software,
    weights_settings,
    with_interval,
    write_document,
)
from model_core.evaluation.segmentation import (
    ReferenceSlice,
    SegmentationSettings,
    SliceOutcome,
    reference_labels,
)
from model_core.evaluation.segmentation_summary import (
    CALIBRATION_FLOOR,
    coco_ap,
    details,
    headline,
    patient_means,
    reason,
    scored_hits,
    worst,
)
from model_core.evaluation.slices import GREY_MAPS
from model_core.weights.card import ModelCard

_METRICS = (
    ("paper_map", "mAP, papers' definition, all images"),
    ("paper_ap50", "AP at IoU 0.50"),
    ("paper_ap75", "AP at IoU 0.75"),
    ("paper_map_lesion_images", "mAP over images with a lesion that counts"),
    ("dice", "Dice (pixels, classes merged, images with a lesion)"),
    ("sensitivity", f"Lesions found (IoU > {HIT_IOU:g})"),
    ("false_positives_per_image", "False positives per image"),
)


def settings_document(
    settings: SegmentationSettings,
    cards: Sequence[ModelCard],
    *,
    data: str,
    mask_values: str,
    grey_map: GreyMap = "window",
    mirror: bool,
    device: str,
) -> dict[str, Any]:
    """Return everything that the numbers depend on, as JSON-ready values."""
    shown = dataclasses.asdict(settings.detections)
    return {
        "data": data,
        "date": date.today().isoformat(),
        "weights": weights_settings(cards),
        "mask_type": settings.mask_type,
        "mask_values": mask_values,
        "grey_map": GREY_MAPS[grey_map],
        "mirror_image": mirror,
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
        "intervals": f"95 %, percentile bootstrap over patients, {DRAWS} draws, seed 0",
        "device": device,
        "software": software(),
    }


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
    joined = settings.detections.join_touching
    more = details(outcomes, settings.class_names, pooled=pooled, sources=sources, joined=joined)
    by_name = {item.name: item for item in slices}
    with report_folder(target, overwrite=overwrite) as folder:
        blocks = [
            *_results(report, more),
            *_lesions(more),
            *_groups(more),
            *_figures(outcomes, more, settings),
            *_worst(outcomes, by_name, settings),
            *card_blocks(cards),
            *settings_blocks(about),
        ]
        title = "Segmentation of lesions in chest CT slices: evaluation"
        write_document(folder, Document(title, (*opening(_summary(report, more)), *blocks)))
        write_csv(folder / "slices.csv", *_rows(outcomes, settings))
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


def _results(report: Mapping[str, Any], more: Mapping[str, Any]) -> Iterator[Block]:
    yield Heading("Results")
    rows = [(text, with_interval(more["intervals"][key])) for key, text in _METRICS]
    coco_map = more["coco"]
    rows.append(("mAP, COCO's definition", number(report["coco_map"])))
    if coco_map is not None:
        rows.append(
            ("COCO AP at IoU 0.50 / 0.75", f"{number(coco_map['ap50'])} / {number(coco_map['ap75'])}")
        )
    for key, text in (("mean_over_patients", "patients"), ("mean_over_sources", "sources")):
        if macro := more[key]:
            rows.append((f"mAP, papers' definition, mean over {text}", number(macro["paper_map"])))
            rows.append((f"Dice, mean over {text}", number(macro["dice"])))
    yield Table(("Metric", "Value (95 % interval over patients)"), tuple(rows))
    yield Paragraph(
        "The papers' AP is computed per image and averaged; an image without reference and without detection "
        "counts 1. It is not comparable with COCO's, which pools detections over images."
    )
    yield Heading("Pixels by class")
    columns = (
        "Class",
        "Dice, mean over lesion images",
        "Dice of all pixels",
        "Precision",
        "Recall",
        "Images",
    )
    yield Table(
        columns,
        tuple(
            (
                "All classes merged" if name == "merged" else name,
                number(row["dice_mean_over_lesion_images"]),
                number(row["dice_of_all_pixels"]),
                number(row["precision_of_all_pixels"]),
                number(row["recall_of_all_pixels"]),
                number(row["lesion_images"]),
            )
            for name, row in more["pixels"].items()
        ),
    )


def _lesions(more: Mapping[str, Any]) -> Iterator[Block]:
    yield Heading("Lesions by class")
    columns = ("Class", "Lesions", "found", "Sensitivity", "Detections", "PPV", "False positives per image")
    yield Table(
        columns,
        tuple(
            (
                name,
                number(row["lesions"]),
                number(row["found"]),
                number(row["sensitivity"]),
                number(row["detections"]),
                number(row["ppv"]),
                number(row["false_positives_per_image"], 2),
            )
            for name, row in more["lesions"].items()
        ),
        caption=f"A lesion is found by a detection of its class at IoU > {HIT_IOU:g}.",
    )


def _groups(more: Mapping[str, Any]) -> Iterator[Block]:
    columns = ("Images", "without lesion", "mAP", "AP50", "Dice", "Lesions", "found", "FP per image")
    for title, first, groups in (
        ("By source", "Source", more["by_source"]),
        ("By patient", "Patient or group", more["by_patient"]),
    ):
        if not groups:
            continue
        yield Heading(title)
        yield Table((first, *columns), tuple((name, *_group_cells(row)) for name, row in groups.items()))


def _group_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        number(row["images"]),
        number(row["negative_images"]),
        number(row["paper_map"]),
        number(row["paper_ap50"]),
        number(row["dice"]),
        number(row["lesions"]),
        number(row["sensitivity"], 2),
        number(row["false_positives_per_image"], 2),
    )


def _figures(
    outcomes: Sequence[SliceOutcome], more: Mapping[str, Any], settings: SegmentationSettings
) -> Iterator[Block]:
    yield Heading("Figures")
    yield figure(
        "ap_by_iou",
        figures.ap_by_iou(IOU_THRESHOLDS.tolist(), more["ap_by_iou"]),
        "The papers' AP at the ten IoU thresholds, mean over images.",
    )
    yield figure(
        "dice_and_ap",
        figures.dice_and_ap(
            [o.pixels.dice for o in outcomes if o.has_lesion], [float(o.ap.mean()) for o in outcomes]
        ),
        "Dice of the slices with a lesion, and mean AP of all slices.",
    )
    yield figure(
        "score_sweep",
        figures.score_sweep(more["score_sweep"], chosen=settings.detections.score),
        "The metrics at other score thresholds. A threshold chosen from these curves must be reported on "
        "other patients.",
    )
    temperature = number(more["calibration"]["temperature"], 2)
    yield figure(
        "calibration",
        figures.reliability_plot(
            reliability(*scored_hits(outcomes, joined=settings.detections.join_touching)),
            what="detections that find a lesion",
        ),
        f"How often single detections of a score find a lesion (IoU > {HIT_IOU:g}; "
        f"scores above {CALIBRATION_FLOOR:g}). Fitted temperature: {temperature}.",
    )
    yield figure(
        "dice_by_patient",
        figures.dice_by_patient(patient_means(outcomes)),
        "Mean Dice of each patient (or group) over the slices with a lesion.",
    )


def _worst(
    outcomes: Sequence[SliceOutcome], slices: Mapping[str, ReferenceSlice], settings: SegmentationSettings
) -> Iterator[Block]:
    listed = worst(outcomes)
    if not listed:
        return
    yield Heading("Worst slices")
    panels = []
    for outcome in listed:
        item = slices[outcome.name]
        score = f"Dice {number(outcome.pixels.dice, 2)}" if outcome.has_lesion else "no lesion"
        truth = reference_labels(item.mask(), settings.mask_type) > 0
        panels.append((f"{outcome.name}\n{score}", item.image_hu, truth, outcome.predicted))
    yield figure(
        "worst", figures.gallery(panels), "The worst slices; reference in blue, prediction in orange."
    )
    yield Table(
        ("Slice", "Patient or group", "Dice", "mean AP", "What happened"),
        tuple(
            (
                o.name,
                o.patient,
                number(o.pixels.dice if o.has_lesion else None, 2),
                number(float(o.ap.mean()), 2),
                reason(o),
            )
            for o in listed
        ),
        numbers=False,
    )


def _rows(
    outcomes: Sequence[SliceOutcome], settings: SegmentationSettings
) -> tuple[tuple[str, ...], list[tuple[Any, ...]]]:
    columns = (
        "slice",
        "patient",
        "reference_px",
        "predicted_px",
        "shared_px",
        "dice",
        *(f"dice_{name.lower()}" for name in settings.class_names),
        "references",
        "found",
        "detections",
        "false_positives",
        "paper_map",
        "paper_ap50",
        "paper_ap75",
        "best_score",
        "seconds",
        "remark",
    )
    rows: list[tuple[Any, ...]] = [
        (
            o.name,
            o.patient,
            o.pixels.reference,
            o.pixels.predicted,
            o.pixels.shared,
            o.pixels.dice if o.has_lesion else None,
            *((p.dice if p.reference else None) for p in o.class_pixels),
            o.references,
            o.found,
            len(o.reported),
            o.false_positives,
            float(o.ap.mean()),
            float(o.ap[0]),
            float(o.ap[5]),
            float(o.candidates.scores[0]) if len(o.candidates) else None,
            o.seconds,
            reason(o),
        )
        for o in outcomes
    ]
    return columns, rows
