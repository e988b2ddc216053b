"""Rank, replicate, flatten: the evidence that module S reads."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import batched_nms

from model_core.base.settings import Architecture, EvidenceSettings
from model_core.networks import build
from model_core.ranking import class_nms, rank_regions, replicate, roi_batch


@pytest.mark.parametrize("kept", [1, 2, 64, 127, 128])
@pytest.mark.parametrize("seed", [0, 7])
def test_cut_points_preserve_rank(kept, seed):
    ranks = replicate(kept, 128, seed=seed)
    assert len(ranks) == 128
    assert (np.diff(ranks) >= 0).all()
    assert set(ranks) == set(range(kept))
    if kept < 128:
        assert (ranks == kept - 1).sum() >= 2  # slot N-1 is never a cut
    assert (replicate(kept, 128, seed=seed) == ranks).all()


def test_cut_points_draw_from_the_seed():
    assert any((replicate(40, 128, seed=s) != replicate(40, 128, seed=0)).any() for s in range(1, 5))


@given(
    st.integers(1, 128), st.integers(1, 128), st.integers(0, 99), st.sampled_from(["cut_points", "insert"])
)
@settings(max_examples=60, deadline=None)
def test_every_rank_appears_and_order_is_kept(kept, size, seed, mode):
    ranks = replicate(kept, size, mode=mode, seed=seed)
    assert len(ranks) == size
    assert (np.diff(ranks) >= 0).all()
    assert set(ranks) == set(range(min(kept, size)))


def test_insert_allows_the_last_rank_to_stay_single():
    lasts = {int((replicate(3, 5, mode="insert", seed=s) == 2).sum()) for s in range(50)}
    assert 1 in lasts


def test_nothing_kept_gives_zeros():
    batch = roi_batch(np.zeros(0, np.float32), np.zeros((0, 4), np.float32), np.zeros(0, np.int64), size=16)
    assert batch.rows.shape == (16, 5)
    assert not batch.rows.any()
    assert (batch.source == -1).all()


def test_rows_are_score_then_encoded_deltas_in_rank_order():
    generator = np.random.default_rng(0)
    scores = generator.random(50, np.float32)
    deltas = generator.standard_normal((50, 4), np.float32)
    kept = np.argsort(-scores)[:20]
    batch = roi_batch(scores, deltas, kept, size=64, seed=3)
    assert (np.diff(batch.rows[:, 0]) <= 0).all()
    assert np.array_equal(batch.rows[:, 1:], deltas[batch.source])
    assert np.array_equal(batch.rows[:, 0], scores[batch.source])
    assert batch.rows.dtype == np.float32


def test_nms_is_per_class_and_strict():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 10], [50, 50, 60, 60]], np.float32)
    scores, labels = np.array([0.9, 0.8, 0.7, 0.6], np.float32), np.array([1, 1, 2, 1])
    assert class_nms(boxes, scores, labels, iou=0.5).tolist() == [0, 1, 2, 3]  # IoU exactly 0.5 stays
    assert class_nms(boxes, scores, labels, iou=0.49).tolist() == [0, 2, 3]
    assert class_nms(boxes, scores, labels, iou=0.49, limit=2).tolist() == [0, 2]
    assert class_nms(boxes, scores, labels, iou=None).tolist() == [0, 1, 2, 3]
    assert class_nms(boxes, scores, labels, iou=None, limit=3).tolist() == [0, 1, 2]
    assert class_nms(boxes[:0], scores[:0], labels[:0], iou=0.5).tolist() == []


@pytest.mark.parametrize("count", [1, 7, 128, 129, 999, 1000, 1001, 2000])
@pytest.mark.parametrize("iou", [0.05, 0.25, 1 / 3, 0.5, 0.75])
@pytest.mark.parametrize("on_a_grid", [False, True])
def test_nms_is_torchvisions(count, iou, on_a_grid):
    """Also with tied scores, and with boxes on a grid, whose overlaps lie at thresholds."""
    generator = np.random.default_rng([count, int(100 * iou)])
    corners, sides = generator.uniform(0, 400, (count, 2)), generator.uniform(0, 150, (count, 2))
    boxes = np.hstack([corners, corners + sides]).astype(np.float32)
    scores, labels = generator.random(count, np.float32), generator.integers(1, 4, count)
    if on_a_grid:
        boxes, scores = np.round(boxes / 16) * 16, np.round(scores * 10) / np.float32(10)
    expected = batched_nms(*(torch.from_numpy(array) for array in (boxes, scores, labels)), iou).numpy()
    if count > 1000:  # there it sorts the boxes of all classes anew, by a sort that is not stable
        expected = np.sort(expected)
        expected = expected[np.argsort(-scores[expected], kind="stable")]
    found = class_nms(boxes, scores, labels, iou=iou)
    assert np.array_equal(found, expected)
    assert np.array_equal(class_nms(boxes, scores, labels, iou=iou, limit=20), expected[:20])


def test_empty_boxes_go_only_where_asked():
    boxes = np.array([[0, 0, 10, 0], [0, 0, 10, 10]], np.float32)
    kwargs = {"score": -0.01, "nms_iou": 0.75, "limit": 8}
    scores, labels = np.array([0.9, 0.1], np.float32), np.array([1, 1])
    assert rank_regions(boxes, scores, labels, min_area=0.0, **kwargs).tolist() == [1]
    assert rank_regions(boxes, scores, labels, min_area=None, **kwargs).tolist() == [0, 1]


@pytest.mark.parametrize("picture", ["blank", "noise", "white"])
def test_batch_is_always_full_and_ranked(picture):
    torch.manual_seed(0)
    network = build(Architecture(kind="classifier", truncation=2, roi_batch_size=32, s_width=16)).eval()
    images = {"blank": torch.zeros, "noise": torch.rand, "white": torch.ones}[picture](1, 3, 128, 128)
    evidence = EvidenceSettings(batch_size=32)
    with torch.inference_mode():
        features = network.features(images)
        (regions,) = network.regions(images, features, network.propose(images, features))
        boxes, scores, deltas, labels = (
            one.numpy() for one in (regions.boxes, regions.scores, regions.deltas, regions.labels)
        )
        kept = rank_regions(boxes, scores, labels, score=-0.01, nms_iou=0.75, min_area=0.0, limit=32)
        rows = roi_batch(scores, deltas, kept, size=32).rows
        assert rows.shape == (32, 5)
        assert ((rows[:, 0] >= 0) & (rows[:, 0] <= 1)).all()
        assert (np.diff(rows[:, 0]) <= 0).all()
        assert np.array_equal(network.roi_batches(images, evidence)[0].numpy(), rows)
        assert network.image_logits(images, evidence).shape == (1, 3)


def test_no_gradient_of_the_class_reaches_the_rpn():
    torch.manual_seed(0)
    network = build(Architecture(kind="classifier", truncation=2, roi_batch_size=16, s_width=16)).eval()
    buffers = {name: b.clone() for name, b in network.named_buffers()}
    network.image_logits(torch.rand(1, 3, 128, 128), EvidenceSettings(batch_size=16)).sum().backward()
    gradients = {name: p.grad is not None for name, p in network.named_parameters()}
    assert not any(has for name, has in gradients.items() if name.startswith("rpn."))
    assert all(has for name, has in gradients.items() if not name.startswith("rpn."))
    assert all(torch.equal(buffers[name], b) for name, b in network.named_buffers())
