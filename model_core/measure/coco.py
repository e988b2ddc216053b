"""Mask average precision by COCO's definition, computed by pycocotools (extra ``evaluate``)."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from model_core.base.arrays import BoolArray, DoubleArray, IntArray

MAX_DETECTIONS = 100
MISSING = "COCO's average precision needs pycocotools: pip install 'ctmasknet[evaluate]'. It is left out."


def available() -> bool:
    """Whether pycocotools is installed."""
    return importlib.util.find_spec("pycocotools") is not None


@dataclass(frozen=True, eq=False)
class CocoImage:
    """One image as run-length encoded masks: detections best first, and reference instances."""

    size: tuple[int, int]
    predicted: tuple[dict[str, Any], ...]
    scores: tuple[float, ...]
    labels: tuple[int, ...]
    reference: tuple[dict[str, Any], ...]
    reference_labels: tuple[int, ...]


@dataclass(frozen=True)
class CocoAP:
    """Means over classes: over IoU .50:.95, at .50 and at .75, and over IoU per class; NaN if undefined."""

    mean: float
    ap50: float
    ap75: float
    by_class: tuple[float, ...]


def coco_image(
    predicted: BoolArray,
    scores: Sequence[float],
    labels: IntArray,
    reference: BoolArray,
    reference_labels: IntArray,
) -> CocoImage:
    """Encode one image; at most `MAX_DETECTIONS` predictions, which must come best first."""
    return CocoImage(
        size=(int(reference.shape[1]), int(reference.shape[2])),
        predicted=_encode(predicted[:MAX_DETECTIONS]),
        scores=tuple(float(s) for s in scores[:MAX_DETECTIONS]),
        labels=tuple(int(label) for label in labels[:MAX_DETECTIONS]),
        reference=_encode(reference),
        reference_labels=tuple(int(label) for label in reference_labels),
    )


def _encode(masks: BoolArray) -> tuple[dict[str, Any], ...]:
    coco_mask: Any = importlib.import_module("pycocotools.mask")

    if not len(masks):
        return ()
    stack = np.asfortranarray(masks.transpose(1, 2, 0).astype(np.uint8))
    return tuple(coco_mask.encode(stack))


def coco_average_precision(images: Sequence[CocoImage], *, classes: int) -> CocoAP:
    """Return COCO's average precision: pooled over images, greedy matching, 101 recall points.

    Labels are 1..``classes``; a class without any reference is left out of the mean.
    """
    if not any(image.reference for image in images):
        nan = float("nan")
        return CocoAP(nan, nan, nan, (nan,) * classes)
    if not any(image.predicted for image in images):
        has = [any(c in image.reference_labels for image in images) for c in range(1, classes + 1)]
        return CocoAP(0.0, 0.0, 0.0, tuple(0.0 if h else float("nan") for h in has))
    precision = _precision(images, classes)
    valid = np.where(precision > -1, precision, np.nan)
    # A class without reference is -1 throughout; at least one class has references here.
    used = [k for k in range(classes) if not np.isnan(valid[:, :, k]).all()]
    by_class = tuple(float(np.mean(valid[:, :, k])) if k in used else float("nan") for k in range(classes))
    return CocoAP(
        mean=float(np.mean(valid[:, :, used])),
        ap50=float(np.mean(valid[0][:, used])),
        ap75=float(np.mean(valid[5][:, used])),
        by_class=by_class,
    )


def _precision(images: Sequence[CocoImage], classes: int) -> DoubleArray:
    """Return pycocotools' (10 IoU, 101 recall, classes) precision; -1 where undefined."""
    coco: Any = importlib.import_module("pycocotools.coco")
    cocoeval: Any = importlib.import_module("pycocotools.cocoeval")
    with contextlib.redirect_stdout(io.StringIO()):  # the library reports its progress by print
        truth = coco.COCO()
        truth.dataset = _reference_dataset(images, classes)
        truth.createIndex()
        found = truth.loadRes(_result_list(images))
        run = cocoeval.COCOeval(truth, found, "segm")
        run.evaluate()
        run.accumulate()
    # Last two axes: area range "all" and the largest number of detections, 100.
    precision: DoubleArray = run.eval["precision"][:, :, :, 0, -1]
    return precision


def _reference_dataset(images: Sequence[CocoImage], classes: int) -> dict[str, Any]:
    coco_mask: Any = importlib.import_module("pycocotools.mask")

    annotations: list[dict[str, Any]] = []
    for index, image in enumerate(images, 1):
        for rle, label in zip(image.reference, image.reference_labels, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": index,
                    "category_id": label,
                    "segmentation": rle,
                    "area": float(coco_mask.area(rle)),
                    "bbox": coco_mask.toBbox(rle).tolist(),
                    "iscrowd": 0,
                }
            )
    return {
        "info": {},
        "images": [
            {"id": index, "height": image.size[0], "width": image.size[1]}
            for index, image in enumerate(images, 1)
        ],
        "annotations": annotations,
        "categories": [{"id": c, "name": str(c)} for c in range(1, classes + 1)],
    }


def _result_list(images: Sequence[CocoImage]) -> list[dict[str, Any]]:
    return [
        {"image_id": index, "category_id": label, "segmentation": dict(rle), "score": score}
        for index, image in enumerate(images, 1)
        for rle, label, score in zip(image.predicted, image.labels, image.scores, strict=True)
    ]
