"""Average precision of instance masks as the papers' code computes it: per image, then averaged.

Not the COCO definition (see `model_core.measure.coco`): images without lesions count as 0 or 1, classes
are pooled, a prediction may serve several references, and the curve is integrated at all its points.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from model_core.base.arrays import BoolArray, DoubleArray, FloatArray, IntArray

# 0.50, 0.55 .. 0.95; a match needs an IoU strictly greater.
IOU_THRESHOLDS: DoubleArray = np.linspace(0.5, 0.95, 10).round(2)
# A detection is right, and a lesion found, at an IoU strictly greater than this and the same class.
HIT_IOU = 0.5


def mask_iou(predicted: BoolArray, reference: BoolArray) -> DoubleArray:
    """Return the (P, G) intersection over union of masks (P, H, W) and (G, H, W), in pixel counts.

    Two empty masks have IoU 0: no match. Fast for hundreds of masks: one matrix product over the pixels
    that any reference covers.
    """
    predictions, references = len(predicted), len(reference)
    if not predictions or not references:
        return np.zeros((predictions, references))
    flat_predicted = predicted.reshape(predictions, -1)
    flat_reference = reference.reshape(references, -1)
    covered = np.flatnonzero(flat_reference.any(axis=0))
    # float32 counts exactly up to 2^24 pixels, more than a slice has, and runs on the BLAS.
    shared = flat_predicted[:, covered].astype(np.float32) @ flat_reference[:, covered].astype(np.float32).T
    areas = np.count_nonzero(flat_predicted, axis=1)[:, None] + np.count_nonzero(flat_reference, axis=1)
    union = areas - shared.astype(np.float64)
    iou: DoubleArray = np.divide(shared, union, out=np.zeros((predictions, references)), where=union > 0)
    return iou


def matches(
    iou: npt.NDArray[np.floating], labels: IntArray, reference_labels: IntArray, *, threshold: float = HIT_IOU
) -> IntArray:
    """Return for each reference the prediction that the papers' rule gives it, or -1.

    References in order each take the prediction of their class with the greatest IoU above the threshold;
    predictions are not used up, so two references may share one.

    Parameters
    ----------
    iou:
        (P, G), predictions by decreasing score, so that equal IoUs go to the better score.
    labels, reference_labels:
        (P,) and (G,) class indices.
    """
    if not iou.size:
        return np.full(iou.shape[1], -1, np.int64)
    allowed = np.where((labels[:, None] == reference_labels) & (iou > threshold), iou, -1.0)
    best = allowed.argmax(axis=0)
    return np.where(allowed.max(axis=0) > threshold, best, -1).astype(np.int64)


def hits(
    iou: npt.NDArray[np.floating], labels: IntArray, reference_labels: IntArray, *, threshold: float = HIT_IOU
) -> BoolArray:
    """Return (P,) whether each prediction is matched to some reference (a true positive)."""
    found = matches(iou, labels, reference_labels, threshold=threshold)
    flags = np.zeros(len(labels), bool)
    flags[found[found >= 0]] = True
    return flags


def overlaps(
    iou: npt.NDArray[np.floating], labels: IntArray, reference_labels: IntArray, *, threshold: float = HIT_IOU
) -> BoolArray:
    """Return whether each prediction has an IoU greater than the threshold with a reference of its class.

    Other than in `hits`, several predictions may have it with one reference.
    """
    allowed = (labels[:, None] == reference_labels) & (iou > threshold)
    return np.asarray(allowed.any(axis=1), np.bool_)


def area_under_curve(true_positives: BoolArray, references: int) -> float:
    """Return the all-point area under the precision-recall curve of predictions by decreasing score.

    Precision is padded with 0 at both ends, recall with 0 and 1, and precision made non-increasing from
    the right. Predictions that serve two references count once, so recall may end below 1.
    """
    cumulative = np.cumsum(true_positives)
    precision = np.concatenate(([0.0], cumulative / np.arange(1, len(true_positives) + 1), [0.0]))
    recall = np.concatenate(([0.0], cumulative / references, [1.0]))
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall) * precision[1:]))


def ap_from_iou(
    iou: npt.NDArray[np.floating],
    scores: npt.NDArray[np.floating],
    labels: IntArray,
    reference_labels: IntArray,
    *,
    thresholds: DoubleArray = IOU_THRESHOLDS,
) -> DoubleArray:
    """Return the (T,) average precision of one image from its (P, G) IoU matrix.

    An image without predictions and references scores 1; with only one of the two it scores 0.
    """
    predictions, references = iou.shape
    if not predictions and not references:
        return np.ones(len(thresholds))
    if not predictions or not references:
        return np.zeros(len(thresholds))
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    iou, labels = iou[order], labels[order]
    return np.array(
        [
            area_under_curve(hits(iou, labels, reference_labels, threshold=float(t)), references)
            for t in thresholds
        ]
    )


def average_precision(
    predicted: BoolArray,
    scores: FloatArray,
    labels: IntArray,
    reference: BoolArray,
    reference_labels: IntArray,
    *,
    thresholds: DoubleArray = IOU_THRESHOLDS,
) -> DoubleArray:
    """Return the papers' average precision (T,) of one image at each IoU threshold.

    Predictions (P, H, W) with their scores and classes (P,), in any order; reference instances (G, H, W) and
    their classes (G,), in the order of the data set.
    """
    iou = mask_iou(predicted, reference)
    return ap_from_iou(iou, scores, labels, reference_labels, thresholds=thresholds)
