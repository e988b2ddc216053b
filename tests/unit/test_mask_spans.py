"""Masks as runs of pixels: the same pixels, lesions and areas as the pictures of whole masks give."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from model_core.base.results import Candidates, Detections, Placement, SliceResult
from model_core.base.settings import DetectionSettings
from model_core.explain import paste_maps, touching_regions
from model_core.explain.masks import known_spans, mask_spans, mask_values
from model_core.explain.regions import joined, lesions
from model_core.explain.spans import Spans

SHAPE = (90, 70)
EIGHT = np.ones((3, 3), bool)


def _found(seed=0, count=40, **settings):
    rng = np.random.default_rng(seed)
    centres, sizes = rng.uniform(-5, 80, (count, 2)), rng.uniform(1, 45, (count, 2))
    own = np.hstack([centres - sizes / 2, centres + sizes / 2]).astype(np.float32)
    maps = ndimage.gaussian_filter(rng.normal(-2, 30, (count, 28, 28)), (0, 3, 3)).astype(np.float32)
    maps[5] = -40  # a mask without a pixel
    return Detections(
        indices=rng.permutation(count),
        boxes=np.clip(own, 0, np.array([SHAPE[1], SHAPE[0]] * 2, np.float32)),
        scores=np.linspace(0.9, 0.1, count).astype(np.float32),
        labels=rng.integers(1, 3, count),
        mask_boxes=own,
        mask_logits=maps,
        settings=DetectionSettings(**settings),
    )


def _whole_masks(found):
    """Paste every map whole and look at every pixel."""
    settings = found.settings
    values = mask_values(found.mask_logits, settings)
    patches = paste_maps(values, found.mask_boxes, SHAPE, framed=settings.mask_threshold >= 0)
    masks = np.zeros((len(found), *SHAPE), bool)
    for mask, patch in zip(masks, patches, strict=True):
        mask[patch.region] = patch.values > settings.mask_threshold
    return masks


THRESHOLDS = [
    {"mask_threshold": 0.0},
    {"mask_threshold": 3.0},
    {"mask_threshold": -2.5},
    {"mask_threshold": 0.5, "mask_scale": "probability"},
    {"mask_threshold": 0.05, "mask_scale": "probability"},
]


@pytest.mark.parametrize("settings", THRESHOLDS)
def test_runs_hold_the_pixels_of_pasted_maps(settings):
    found = _found(**settings)
    wanted = _whole_masks(found)
    spans = mask_spans(found, SHAPE)
    assert np.array_equal(spans.masks(), wanted)
    assert spans.areas().tolist() == wanted.sum((1, 2)).tolist()
    assert int(spans.union().lengths.sum()) == int(wanted.any(axis=0).sum())
    assert not wanted[5].any()


def test_values_that_are_no_numbers_mark_nothing():
    found = _found(count=8)
    found.mask_logits[0] = np.nan
    found.mask_logits[1, 5:9] = np.inf
    found.mask_logits[2, :, 3:6] = -np.inf
    with np.errstate(invalid="ignore"):
        assert np.array_equal(mask_spans(found, SHAPE).masks(), _whole_masks(found))


@pytest.mark.parametrize("seed", range(6))
def test_pieces_are_those_of_a_picture(seed):
    rng = np.random.default_rng(seed)
    masks = rng.random((3, 30, 23)) < (0.2, 0.4, 0.7)[seed % 3]
    spans = Spans.of(masks)
    assert np.array_equal(spans.masks(), masks)
    numbers, count = spans.pieces()
    assert count == sum(ndimage.label(mask, EIGHT)[1] for mask in masks)
    for mask, own in zip(masks, range(3), strict=True):
        pieces, _ = ndimage.label(mask, EIGHT)
        rows, columns = np.divmod(spans.starts[spans.owner == own], masks.shape[2] + 1)
        pairs = set(zip(pieces[rows, columns].tolist(), numbers[spans.owner == own].tolist(), strict=True))
        assert len(pairs) == len({old for old, _ in pairs}) == len({new for _, new in pairs})


def _joined_pictures(masks, labels):
    """Join as the definition says, in pictures."""
    regions = {}
    for label in np.unique(labels):
        own = [k for k in np.flatnonzero(labels == label) if masks[k].any()]
        pieces, count = ndimage.label(masks[labels == label].any(axis=0), EIGHT)
        counts = {k: np.bincount(pieces[masks[k]], minlength=count + 1) for k in own}
        main = {k: int(counts[k].argmax()) for k in own}
        for piece in range(1, count + 1):
            best = min((k for k in own if main[k] == piece), default=None)
            if best is None:
                over = min(k for k in own if counts[k][piece])
                best = min(k for k in own if main[k] == main[over])
            regions[best] = regions.get(best, False) | (pieces == piece)
    return regions


@pytest.mark.parametrize("seed", range(1, 5))
def test_touching_masks_are_joined_as_in_pictures(seed):
    found = _found(seed, count=10 * seed, mask_threshold=4.0)
    masks = mask_spans(found, SHAPE).masks()
    wanted = _joined_pictures(masks, found.labels)
    spans, best = joined(Spans.of(masks), found.labels)
    assert best.tolist() == sorted(wanted)
    assert np.array_equal(spans.masks(), np.stack([wanted[k] for k in sorted(wanted)]))
    for mask, box in zip(spans.masks(), spans.boxes(), strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    again = touching_regions(masks, found.labels)
    assert np.array_equal(again.masks, spans.masks())
    assert again.best.tolist() == best.tolist()


def test_without_pixels_nothing_is_joined():
    found = _found(count=6, mask_threshold=1e6, join_touching=True)
    shown, spans = lesions(found, mask_spans(found, SHAPE))
    assert len(shown) == spans.count == 0
    assert spans.masks().shape == (0, *SHAPE)
    assert spans.boxes().shape == (0, 4)
    empty = found.at(np.zeros(0, np.int64))
    assert mask_spans(empty, SHAPE).masks().shape == (0, *SHAPE)
    single = dataclasses.replace(found, settings=DetectionSettings(mask_threshold=1e6))
    shown, spans = lesions(single, mask_spans(single, SHAPE))
    assert len(shown) == spans.count == 6
    assert not spans.masks().any()


def _result():
    nothing = np.zeros((0, 4), np.float32)
    none = Candidates(nothing, nothing, nothing, nothing[:, 0], nothing[:, 0], np.zeros(0, np.int64))
    place = Placement(SHAPE, 96, 1.0, 1.0, 0.0, 0.0)
    return SliceResult("s", "w", 0, place, place, none, None, None, {})


def test_runs_that_are_kept_are_those_of_the_threshold_asked_for():
    result = _result()
    for threshold in (0.0, 2.0, 0.0):
        found = _found(mask_threshold=threshold)
        for some in (np.arange(10), np.arange(40)[::-1], np.zeros(0, np.int64)):
            asked = found.at(some)
            spans = known_spans(result, asked)
            assert np.array_equal(spans.masks(), mask_spans(asked, SHAPE).masks())
        assert list(result.span_cache) == [(threshold, "logit")], "those of one threshold are kept"


def test_known_masks_are_not_pasted_again(monkeypatch):
    result, found = _result(), _found()
    before = known_spans(result, found)
    monkeypatch.setattr("model_core.explain.masks.mask_values", None)
    again = known_spans(result, found.at(np.array([7, 3, 30])))
    assert np.array_equal(again.masks(), before.masks()[[7, 3, 30]])
