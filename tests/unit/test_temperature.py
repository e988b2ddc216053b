"""Calibrated scores: what is shown changes, what is found does not."""

import dataclasses
import json

import numpy as np
import pytest

from model_core.base.errors import SettingsError
from model_core.base.results import Candidates
from model_core.base.settings import DetectionSettings
from model_core.engine import calibrated
from model_core.engine.select import rank, shown_scores

PLAIN = DetectionSettings(score=0.3, nms_iou=None, max_detections=1000)


def candidates(scores):
    count = len(scores)
    boxes = np.tile(np.array([0, 0, 9, 9], np.float32), (count, 1))
    return Candidates(
        proposals=boxes,
        boxes=boxes,
        deltas=np.zeros((count, 4), np.float32),
        scores=np.asarray(scores, np.float32),
        logits=np.linspace(-3, 3, count, dtype=np.float32),
        labels=np.ones(count, np.int64),
    )


@pytest.mark.parametrize("temperature", [0.4, 1.7, 6.0])
@pytest.mark.parametrize("score", [0.02, 0.3, 0.65, 0.97])
def test_a_mapped_threshold_finds_the_same(temperature, score):
    some = candidates(np.random.default_rng(1).random(500))
    plain = dataclasses.replace(PLAIN, score=score)
    mapped = float(calibrated(np.array(score), temperature))
    hot = dataclasses.replace(plain, score=mapped, temperature=temperature)
    np.testing.assert_array_equal(rank(some, hot), rank(some, plain))
    shown = shown_scores(some, hot)[rank(some, hot)]
    assert (np.diff(shown) <= 0).all()
    assert (shown > mapped - 1e-6).all()
    np.testing.assert_allclose(shown_scores(some, hot), calibrated(some.scores, temperature), atol=1e-5)


def test_temperature_one_is_the_scores_themselves():
    some = candidates(np.random.default_rng(2).random(50))
    assert shown_scores(some, PLAIN) is some.scores


def test_ends_of_the_scale_and_saturated_scores_keep_their_order():
    some = candidates([0.0, 1e-12, 1e-9, 0.5, 1 - 6e-8, 1.0])
    everything = dataclasses.replace(PLAIN, score=-0.01, temperature=3.0, min_area=None)
    assert rank(some, everything).tolist() == [5, 4, 3, 2, 1, 0]
    shown = shown_scores(some, everything)
    assert shown[0] == 0.0
    assert shown[-1] == 1.0
    assert np.isfinite(shown).all()
    assert not len(rank(some, dataclasses.replace(everything, score=1.0)))


def test_sigmoid_scoring_is_calibrated_too():
    some = candidates(np.full(20, 0.5))
    settings = dataclasses.replace(PLAIN, scoring="sigmoid", temperature=2.0, score=0.5)
    np.testing.assert_allclose(shown_scores(some, settings), 1 / (1 + np.exp(-some.logits / 2)), atol=1e-6)
    assert len(rank(some, settings)) == 10


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan")])
def test_impossible_temperatures(temperature):
    with pytest.raises(SettingsError, match="temperature"):
        DetectionSettings(temperature=temperature)


def test_a_card_stores_it_and_old_cards_have_one(tiny_weights):
    from model_core.weights.card import ModelCard, read_card

    card = read_card(tiny_weights / "tiny.json")
    hot = dataclasses.replace(card, detections=dataclasses.replace(card.detections, temperature=1.8))
    assert ModelCard.from_json(hot.to_json()).detections.temperature == 1.8
    old = json.loads(hot.to_json())
    del old["detections"]["temperature"], old["evidence"]["temperature"]
    plain = ModelCard.from_json(json.dumps(old))
    assert (plain.detections.temperature, plain.evidence.temperature) == (1.0, 1.0)
