"""Rank, replicate, flatten: the evidence that module S reads."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from model_core.config import Architecture, EvidenceSettings
from model_core.networks import build, class_nms, rank_regions, replicate, roi_batch


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
    batch = roi_batch(torch.zeros(0), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), size=16)
    assert batch.rows.shape == (16, 5)
    assert not batch.rows.any()
    assert (batch.source == -1).all()


def test_rows_are_score_then_encoded_deltas_in_rank_order():
    generator = torch.Generator().manual_seed(0)
    scores, deltas = torch.rand(50, generator=generator), torch.randn(50, 4, generator=generator)
    kept = scores.argsort(descending=True)[:20]
    batch = roi_batch(scores, deltas, kept, size=64, seed=3)
    assert (batch.rows[:, 0].diff() <= 0).all()
    assert torch.equal(batch.rows[:, 1:], deltas[batch.source])
    assert torch.equal(batch.rows[:, 0], scores[batch.source])


def test_nms_is_per_class_and_strict():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [0, 0, 10, 10], [50, 50, 60, 60]])
    scores, labels = torch.tensor([0.9, 0.8, 0.7, 0.6]), torch.tensor([1, 1, 2, 1])
    assert class_nms(boxes, scores, labels, iou=0.5).tolist() == [0, 1, 2, 3]  # IoU exactly 0.5 stays
    assert class_nms(boxes, scores, labels, iou=0.49).tolist() == [0, 2, 3]
    assert class_nms(boxes, scores, labels, iou=None).tolist() == [0, 1, 2, 3]


def test_empty_boxes_go_only_where_asked():
    boxes = torch.tensor([[0.0, 0, 10, 0], [0, 0, 10, 10]])
    kwargs = {"score": -0.01, "nms_iou": 0.75, "limit": 8}
    scores, labels = torch.tensor([0.9, 0.1]), torch.tensor([1, 1])
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
        kept = rank_regions(
            regions.boxes, regions.scores, regions.labels, score=-0.01, nms_iou=0.75, min_area=0.0, limit=32
        )
        rows = roi_batch(regions.scores, regions.deltas, kept, size=32).rows
        assert rows.shape == (32, 5)
        assert ((rows[:, 0] >= 0) & (rows[:, 0] <= 1)).all()
        assert (rows[:, 0].diff() <= 0).all()
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
