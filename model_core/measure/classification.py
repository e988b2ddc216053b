"""Metrics of the image class, as the papers define them, from a confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from model_core.base.arrays import DoubleArray, IntArray
from model_core.base.errors import SettingsError

# Class weights of the F1 score in the released code: Control, Common Pneumonia, COVID-19.
PAPER_F1_WEIGHTS = (0.45, 0.35, 0.20)


def confusion_matrix(true: npt.ArrayLike, predicted: npt.ArrayLike, *, classes: int) -> IntArray:
    """Return the (classes, classes) counts, rows true and columns predicted.

    Raises
    ------
    SettingsError
        If a label is outside 0..classes-1.
    """
    rows, columns = np.asarray(true, np.int64), np.asarray(predicted, np.int64)
    for labels in (rows, columns):
        if ((labels < 0) | (labels >= classes)).any():
            raise SettingsError(f"Class labels must lie in 0..{classes - 1}.")
    counts = np.bincount(rows * classes + columns, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def _ratio(above: npt.NDArray[np.number], below: npt.NDArray[np.number]) -> DoubleArray:
    """Divide; 0 where the denominator is 0, as the papers' code does."""
    result: DoubleArray = np.divide(above, below, out=np.zeros(len(above)), where=below > 0)
    return result


def sensitivity(matrix: IntArray) -> DoubleArray:
    """Return the share of each true class that is recognised; 0 for a class without images."""
    return _ratio(np.diag(matrix), matrix.sum(axis=1))


def positive_predictive_value(matrix: IntArray) -> DoubleArray:
    """Return the share of each predicted class that is right; 0 for a class never predicted."""
    return _ratio(np.diag(matrix), matrix.sum(axis=0))


def accuracy(matrix: IntArray) -> float:
    """Return the share of all images that are right; NaN without images."""
    total = int(matrix.sum())
    return float(np.trace(matrix)) / total if total else float("nan")


def balanced_accuracy(matrix: IntArray) -> float:
    """Return the mean sensitivity over the classes that occur; NaN without images."""
    present = matrix.sum(axis=1) > 0
    return float(sensitivity(matrix)[present].mean()) if present.any() else float("nan")


def f1(matrix: IntArray, weights: Sequence[float] | None = None) -> float:
    """Return the class-weighted mean of the F1 scores of the classes.

    Parameters
    ----------
    weights:
        One per class, summing to 1. The released code fixes `PAPER_F1_WEIGHTS`; None takes the shares of
        the classes in the matrix, as the papers say.

    Raises
    ------
    SettingsError
        If the number of weights differs from the number of classes.
    """
    recall, precision = sensitivity(matrix), positive_predictive_value(matrix)
    if weights is None:
        shares = matrix.sum(axis=1) / max(int(matrix.sum()), 1)
    else:
        shares = np.asarray(weights, np.float64)
    if len(shares) != len(matrix):
        raise SettingsError(f"{len(matrix)} classes need {len(matrix)} F1 weights, not {len(shares)}.")
    return float(np.sum(shares * _ratio(2 * recall * precision, recall + precision)))


def auc(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Return the area under the ROC curve: how often a positive outranks a negative, ties half.

    NaN where one of the two is absent.
    """
    flags = np.asarray(positive, bool)
    positives, negatives = int(flags.sum()), int((~flags).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(np.asarray(scores, np.float64))
    return float((ranks[flags].sum() - positives * (positives + 1) / 2) / (positives * negatives))
