"""Module S on cached RoI batches: what it learns, how it is reported."""

import numpy as np
import pytest
import torch
from PIL import Image

from model_core.base.errors import DataError
from model_core.base.jobs import finish
from model_core.base.settings import Architecture, DetectorSettings, EvidenceSettings, InputSpec
from model_core.data import ClassifiedSlice
from model_core.engine.load import load_pipeline
from model_core.networks import build
from model_core.train.image_class import (
    HELD_OUT_CONTROLS,
    SELF_TRAINED,
    UNSEEN,
    HeadTraining,
    RoiRows,
    WindowedSlice,
    cross_validate,
    head_logits,
    limited,
    roi_rows,
    train_head,
    unseen_slices,
    views,
    within_source,
)
from model_core.train.shipping import export_classifier
from model_core.weights.card import ModelCard
from model_core.weights.store import save_weights


def rows_of(count=60, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    rows = np.zeros((count, 2, 16, 5), np.float32)
    rows[..., 0] = (0.1 + 0.4 * labels)[:, None, None] + rng.normal(0, 0.03, (count, 2, 16))
    sources = tuple("soares" if k % 3 == 1 or k % 6 == 2 else "mosmed_ct0" for k in range(count))
    return RoiRows(rows, labels.astype(np.int64), sources, tuple(map(str, range(count))))


def test_separable_batches_are_learned_and_reported_within_sources():
    data = rows_of()
    quality = cross_validate(
        data, HeadTraining(epochs=40, learning_rate=3e-3, weight_decay=0.0, noise=0.02), width=16, classes=3
    )
    assert quality["mosmed"]["classes"] == [0, 2]
    assert quality["soares"]["classes"] == [1, 2]
    assert quality["mosmed"]["auc"] == 1.0
    assert quality["soares"]["balanced_accuracy_of_the_two"] > 0.85


def test_training_is_reproducible():
    data, settings = rows_of(), HeadTraining(epochs=2)
    every = np.arange(60)
    first, again = (train_head(data, every, settings, width=16, classes=3) for _ in range(2))
    np.testing.assert_array_equal(head_logits(first, data.rows[:, 0]), head_logits(again, data.rows[:, 0]))


def test_auc_and_balanced_accuracy_by_hand():
    labels, sources = np.array([0, 0, 2, 2]), ("mosmed_x",) * 4
    logits = np.array([[3, 0, 0], [1, 0, 2], [1, 0, 0.5], [0, 9, 4]], np.float32)
    report = within_source(logits, labels, sources)["mosmed"]
    # margins -3, 1, -0.5, 4: three of four pairs in order; argmax right for a alone.
    assert report["auc"] == 0.75
    assert report["balanced_accuracy"] == 0.25
    assert report["balanced_accuracy_of_the_two"] == 0.5
    assert report["confusion"] == [[1, 0, 1], [1, 1, 0]]
    assert "soares" not in within_source(logits, labels, sources)
    for order in (labels, labels[::-1]):  # a network that says the same of everything tells nothing
        assert within_source(np.ones((4, 3), np.float32), order, sources)["mosmed"]["auc"] == 0.5


def test_limit_is_per_source_and_class_and_evenly_spread(tmp_path):
    blank = np.zeros((2, 2), np.uint8)
    slices = [
        WindowedSlice(ClassifiedSlice(str(k), k % 2, "a", str(k), tmp_path, 0, 1), blank, blank)
        for k in range(20)
    ]
    kept = [one.label.name for one in limited(slices, 3)]
    assert kept == ["0", "8", "18", "1", "9", "19"]
    assert len(limited(slices, None)) == 20


def test_too_few_slices():
    with pytest.raises(DataError, match="too few"):
        cross_validate(rows_of(3), HeadTraining(epochs=1), width=8, classes=3)


def test_sources_of_one_slice_are_spread_over_the_folds():
    data = rows_of(12)
    alone = RoiRows(data.rows, data.labels, tuple(f"mosmed_{k}" for k in range(12)), data.names)
    quality = cross_validate(alone, HeadTraining(epochs=1), width=8, classes=3)
    assert quality["mosmed"]["slices"] == [4, 4]


@pytest.mark.parametrize("full_field", [True, False])
def test_views_show_both_crops(full_field):
    image = np.full((60, 80), 200, np.uint8)
    image[20:40, 20:60] = 60
    plain, other = views(image, np.random.default_rng(0), full_field=full_field, size=96)
    assert plain.shape == other.shape == (96, 96)
    dark = [float((picture[20:76] < 0.5).mean()) for picture in (plain, other)]
    assert dark[0] != dark[1]


def test_roi_rows_are_ranked_batches():
    network = build(
        Architecture(kind="segmentation", truncation=2, anchor_sizes=(8, 16), aspect_ratios=(1.0,))
    ).eval()
    pictures = np.random.default_rng(0).random((2, 64, 64)).astype(np.float32)
    rows = roi_rows(network, pictures, EvidenceSettings(batch_size=16))
    assert rows.shape == (2, 16, 5)
    assert (np.diff(rows[..., 0], axis=1) <= 0).all()


def test_controls_the_detector_never_saw_are_reported_apart():
    data = rows_of(120)
    assert unseen_slices(data, {}) is None
    unseen = unseen_slices(data, {HELD_OUT_CONTROLS: {"mosmed_ct0": 0.5}})
    controls = data.labels == 0
    assert unseen[~controls].all()
    assert 0.25 < unseen[controls].mean() < 0.75
    both = {HELD_OUT_CONTROLS: {"mosmed_ct0": 0.5}, SELF_TRAINED: {"soares": 0.5}}
    taught = (data.labels == 2) & np.array([source == "soares" for source in data.sources])
    assert taught.any()
    assert 0.25 < unseen_slices(data, both)[taught].mean() < 0.75
    np.testing.assert_array_equal(unseen_slices(data, both)[~taught], unseen[~taught])
    none = unseen_slices(data, {HELD_OUT_CONTROLS: {"elsewhere": 0.5}})
    assert not none[controls].any()
    settings = HeadTraining(epochs=4)
    quality = cross_validate(data, settings, width=16, classes=3, unseen=unseen)
    assert quality[UNSEEN]["mosmed"]["slices"][0] == int(unseen[controls].sum())
    assert quality["mosmed"]["slices"][0] == int(controls.sum())
    assert UNSEEN not in cross_validate(data, settings, width=16, classes=3)


@pytest.fixture
def class_folders(tmp_path):
    """Six pictures of each class in two sources."""
    rng = np.random.default_rng(5)
    folder = tmp_path / "classes"
    for number, label in enumerate(("normal", "other", "covid")):
        (folder / label).mkdir(parents=True)
        for k in range(6):
            grey = np.clip(rng.normal(60 + 50 * number, 20, (64, 72)), 0, 255).astype(np.uint8)
            Image.fromarray(grey).save(folder / label / f"{'ab'[k % 2]}_{k}.png")
    return folder


def test_a_classifier_of_a_detector_that_mirrors_has_batches_of_its_own(class_folders, tmp_path):
    torch.manual_seed(0)
    shape = Architecture(
        kind="segmentation", truncation=2, anchor_sizes=(8, 16), aspect_ratios=(1.0,), s_width=8
    )
    tensors = build(shape).state_dict()
    cards, cache = [], tmp_path / "not" / "there yet"
    for mirror in (False, True):
        base = tmp_path / f"base{mirror}.safetensors"
        detector = DetectorSettings(rpn_post_nms=40, mirror=mirror)
        plain = ModelCard(
            name="base", title="Base", architecture=shape, region_classes=("Lesion",),
            detector=detector, input=InputSpec(size=64), licence="none",
        )  # fmt: skip
        save_weights(base, tensors, plain)
        job = export_classifier(
            base, class_folders, tmp_path, name=f"s{mirror}", settings=HeadTraining(epochs=1), cache=cache
        )
        cards += finish(job)
    assert [card.detector.mirror for card in cards] == [False, True]
    assert cards[0].base_sha256 == cards[1].base_sha256  # the same networks
    alone, both = sorted((np.load(path)["rows"] for path in cache.glob("roi-rows-*")), key=np.size)
    assert both.shape[1] == 2 * alone.shape[1]
    # With the mirror image first, then without it: module S serves a fast analysis, too.
    np.testing.assert_array_equal(both[:, alone.shape[1] :], alone)
    assert not np.allclose(both[:, : alone.shape[1]], alone)
    # What is kept is used again where the pictures are the same, and not where they are others.
    again = {"name": "again", "settings": HeadTraining(epochs=1), "cache": cache}
    finish(export_classifier(base, class_folders, tmp_path, **again))
    assert len(list(cache.iterdir())) == 2
    other = np.random.default_rng(1).integers(0, 255, (64, 64)).astype(np.uint8)
    Image.fromarray(other).save(next((class_folders / "normal").iterdir()))
    finish(export_classifier(base, class_folders, tmp_path, **again))
    assert len(list(cache.iterdir())) == 3
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="damaged; delete it"):
        finish(export_classifier(base, class_folders, tmp_path, **again))
    pipeline = load_pipeline([str(tmp_path / "baseTrue.safetensors"), str(tmp_path / "sTrue.safetensors")])
    assert pipeline.image_classes
    assert pipeline.mirror
