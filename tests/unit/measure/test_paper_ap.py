"""The papers' AP and pixel overlap on cases small enough to work out by hand."""

import time

import numpy as np
import pytest

from model_core.measure.average_precision import (
    IOU_THRESHOLDS,
    average_precision,
    mask_iou,
)
from model_core.measure.dice import mean_dice, overlap_by_class, overlap_merged


def bar(*columns, width=20):
    """One-row masks that cover the given half-open column ranges."""
    masks = np.zeros((len(columns), 1, width), bool)
    for mask, (start, end) in zip(masks, columns, strict=True):
        mask[0, start:end] = True
    return masks


def none(width=20):
    return np.zeros((0, 1, width), bool)


def ap(predicted, scores, reference, labels=None, reference_labels=None):
    return average_precision(
        predicted,
        np.array(scores, np.float32),
        np.ones(len(predicted), int) if labels is None else np.array(labels),
        reference,
        np.ones(len(reference), int) if reference_labels is None else np.array(reference_labels),
    )


def test_ten_thresholds():
    assert IOU_THRESHOLDS.tolist() == [0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95]


def test_perfect_prediction_scores_one_everywhere():
    masks = bar((0, 5), (10, 15))
    assert ap(masks, [0.9, 0.8], masks).tolist() == [1.0] * 10


def test_images_without_lesion_count_zero_or_one():
    assert ap(none(), [], none()).tolist() == [1.0] * 10
    assert ap(bar((0, 5)), [0.9], none()).tolist() == [0.0] * 10
    assert ap(none(), [], bar((0, 5))).tolist() == [0.0] * 10


def test_iou_must_exceed_the_threshold():
    # 5 of 10 pixels shared: IoU exactly 0.5 is no match; 11 of 20 = 0.55 matches at 0.50 only.
    assert ap(bar((0, 5)), [0.9], bar((0, 10))).tolist() == [0.0] * 10
    assert ap(bar((0, 11)), [0.9], bar((0, 20))).tolist() == [1.0] + [0.0] * 9


def test_one_prediction_may_serve_two_references_but_counts_once():
    # A slice where a reference is split in two overlapping outlines, both matched by one prediction.
    reference = bar((0, 9), (1, 10))
    found = ap(bar((0, 10)), [0.9], reference)
    assert found[0] == pytest.approx(0.5)


def test_a_duplicate_is_a_false_positive_that_costs_only_when_ranked_first():
    reference = bar((0, 10))
    exact, worse = (0, 10), (0, 8)
    assert ap(bar(exact, worse), [0.9, 0.8], reference)[0] == pytest.approx(1.0)
    assert ap(bar(exact, worse), [0.8, 0.9], reference)[0] == pytest.approx(0.5)
    # At 0.8 and above only the exact one can match; it still stands second.
    assert ap(bar(exact, worse), [0.8, 0.9], reference)[-1] == pytest.approx(0.5)


def test_class_must_agree_and_the_next_best_of_the_class_is_taken():
    reference = bar((0, 10))
    assert ap(bar((0, 10)), [0.9], reference, [2], [1])[0] == 0.0
    assert ap(bar((0, 10), (0, 9)), [0.9, 0.8], reference, [2, 1], [1])[0] == pytest.approx(0.5)


def test_precision_envelope():
    # By score: hit, miss, hit; two references: 1/2 * 1 + 1/2 * 2/3.
    found = ap(bar((0, 5), (8, 9), (10, 15)), [0.9, 0.8, 0.7], bar((0, 5), (10, 15)))
    assert found[0] == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_empty_masks_match_nothing():
    assert mask_iou(np.zeros((2, 4, 4), bool), np.zeros((1, 4, 4), bool)).tolist() == [[0.0], [0.0]]
    assert ap(bar((0, 0)), [0.9], bar((0, 0))).tolist() == [0.0] * 10


def test_many_large_masks_are_fast():
    rng = np.random.default_rng(0)
    predicted, reference = rng.random((128, 512, 512)) > 0.9, rng.random((20, 512, 512)) > 0.95
    start = time.process_time()
    iou = mask_iou(predicted, reference)
    assert time.process_time() - start < 10
    one = (predicted[3] & reference[7]).sum() / (predicted[3] | reference[7]).sum()
    assert iou[3, 7] == pytest.approx(one)


def test_dice_merges_classes_and_skips_images_without_lesion():
    reference = np.array([[1, 2, 0, 0]], np.uint8)
    predicted = np.array([[2, 2, 2, 0]], np.uint8)
    merged = overlap_merged(predicted, reference)
    assert merged.dice == pytest.approx(2 * 2 / (3 + 2))
    assert (merged.precision, merged.recall) == (pytest.approx(2 / 3), 1.0)
    ground_glass, consolidation = overlap_by_class(predicted, reference, classes=2)
    assert (ground_glass.dice, consolidation.dice) == (0.0, pytest.approx(0.5))
    empty = overlap_merged(np.zeros_like(reference), np.zeros_like(reference))
    false_alarm = overlap_merged(predicted, np.zeros_like(reference))
    assert np.isnan(empty.dice)
    assert mean_dice([merged, empty, false_alarm]) == pytest.approx(0.8)
    assert (merged + false_alarm).reference == 2
    assert np.isnan(mean_dice([empty]))
