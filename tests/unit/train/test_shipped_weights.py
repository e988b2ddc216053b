"""The shipped weights: complete, small, measured, and trained on nothing that was held out."""

import json

import numpy as np
import pytest

from model_core.base.geometry import Geometry
from model_core.base.results import SliceResult
from model_core.base.volume import Volume
from model_core.engine import run
from model_core.engine.load import load_pipeline
from model_core.weights.store import SUFFIX, default_names, shipped, weights_folder

# Every copy of the program holds them; package indexes take wheels of up to 100 MB.
LIMIT = 80 * 1024**2


def test_default_pair_loads_and_needs_one_pass():
    pipeline = load_pipeline(device="cpu")
    assert pipeline.passes == 1
    assert pipeline.region_classes == ("Lesion",)
    assert pipeline.image_classes == ("Control", "Other (non-COVID)", "COVID-19")
    assert set(default_names()) <= {card.name for card in shipped()}


def test_the_default_class_can_be_explained_against_controls_that_do_not_look_ill():
    pipeline = load_pipeline(device="cpu")
    references = pipeline.cards[-1].references
    assert references.slices >= 32
    assert references.size == pipeline.cards[-1].evidence.batch_size
    scores = references.batches[..., 0]
    assert (np.diff(scores, axis=1) <= 0).all()
    ill = [
        pipeline.calibration.ill_probability(tuple(map(float, pipeline.evidence_backend.image_head(rows))))
        for rows in references.batches
    ]
    assert np.mean(np.array(ill) > 0.5) < 0.1


def test_the_default_knows_how_the_regions_of_many_controls_lie_and_who_these_are():
    known = load_pipeline(device="cpu").cards[-1].control_rois
    assert (known.patients, known.sources, known.seen) == (283, ("ho_healthy", "mosmed_ct0"), 202)
    for shares in (known.scores, known.areas):
        assert sum(shares.mean) == pytest.approx(1, abs=1e-3)
        assert all(a <= b <= c for a, b, c in zip(shares.low, shares.middle, shares.high, strict=True))
        assert 0 < shares.wasserstein[0] < shares.wasserstein[1]
        assert 0 < shares.jensen_shannon[0] < shares.jensen_shannon[1] < 1
    assert known.scores.mean[0] > 0.9, "of controls nearly all scores are low"


def test_all_weights_together_are_small_and_licensed():
    folder = weights_folder()
    assert sum(path.stat().st_size for path in folder.glob(f"*{SUFFIX}")) < LIMIT
    text = folder.joinpath("LICENSE.txt").read_text("utf-8")
    assert "non-commercial" in text
    assert "arXiv:2005.06465" in text


@pytest.mark.parametrize("card", shipped(), ids=lambda card: card.name)
def test_cards_say_how_trained_and_how_good(card):
    assert card.training
    assert card.metrics["note"]
    assert "diagnosis" in card.notes
    assert "Common" not in " ".join(card.image_classes)
    if card.kind != "classifier":
        assert 0 < card.metrics["all"]["dice"] < 1
        assert card.metrics["all"]["negative_images"] > 0
    if card.image_classes:
        assert card.metrics["within_source"]
    if card.kind == "classifier":
        assert card.base_sha256 in {other.sha256 for other in shipped()}


@pytest.mark.parametrize("path", sorted(weights_folder().glob("*.slices.txt")), ids=lambda path: path.name)
def test_no_held_out_slice_was_trained_on(path):
    lists = json.loads(path.read_text("utf-8"))
    train, held = (
        {digest for slices in lists[part].values() for digest in slices.values()}
        for part in ("train", "validation")
    )
    assert held
    assert not train & held


def test_air_has_no_lesion():
    pipeline = load_pipeline(device="cpu")
    voxels = np.full((1, 128, 128), -1000, np.int16)
    volume = Volume("air", "air", voxels, Geometry())
    (result,) = (item for item in run(pipeline, volume, [0]) if isinstance(item, SliceResult))
    assert not (result.detection_candidates.scores > pipeline.detections.score).any()
    assert result.verdict is not None
    assert np.isfinite(result.verdict.logits).all()
