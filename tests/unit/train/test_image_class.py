"""Module S on cached RoI batches: what it learns, how it is reported."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from model_core.base.errors import DataError
from model_core.base.jobs import finish
from model_core.base.results import SliceResult
from model_core.base.settings import Architecture, DetectorSettings, EvidenceSettings, InputSpec
from model_core.data import ClassifiedSlice, read_class_folders
from model_core.engine import run
from model_core.engine.load import load_pipeline
from model_core.measure.slices import one_slice_volume, with_grey_map
from model_core.networks import build
from model_core.train.image_class import (
    UNSEEN,
    HeadTraining,
    batches,
    cross_validate,
    head_logits,
    patient_folds,
    perturbed,
    train_head,
    within_source,
)
from model_core.train.module_s import export_classifier
from model_core.train.roi_rows import (
    HELD_OUT_CONTROLS,
    HELD_OUT_PICTURES,
    SELF_TRAINED,
    RoiRows,
    ill_logits,
    limited,
    unseen_slices,
)
from model_core.weights.card import ModelCard
from model_core.weights.store import load_weights, save_weights


def rows_of(count=60, seed=0):
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 3
    rows = np.zeros((count, 16, 5), np.float32)
    rows[..., 0] = (0.1 + 0.4 * labels)[:, None] + rng.normal(0, 0.03, (count, 16))
    sources = tuple("soares" if k % 3 == 1 or k % 6 == 2 else "mosmed_ct0" for k in range(count))
    return RoiRows(rows, labels.astype(np.int64), sources, tuple(map(str, range(count))))


def test_separable_batches_are_learned_and_reported_within_sources():
    data = rows_of()
    quality = cross_validate(
        data, HeadTraining(epochs=120, learning_rate=5e-3, weight_decay=0.0, noise=0.02), width=32, classes=3
    )
    assert quality["mosmed"]["classes"] == [0, 2]
    assert quality["soares"]["classes"] == [1, 2]
    assert quality["mosmed"]["auc"] == 1.0
    assert quality["soares"]["balanced_accuracy_of_the_two"] > 0.85


def test_training_is_reproducible():
    data, settings = rows_of(), HeadTraining(epochs=2)
    every = np.arange(60)
    first, again = (train_head(data, every, settings, width=16, classes=3) for _ in range(2))
    np.testing.assert_array_equal(head_logits(first, data.rows), head_logits(again, data.rows))


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
    slices = [ClassifiedSlice(str(k), k % 2, "a", str(k), tmp_path, 0, 1) for k in range(20)]
    kept = [one.name for one in limited(slices, 3)]
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


def ranked(count=12, regions=40, seed=1):
    """Ranked regions of slices: some certain ones, many of the background; zeros beyond."""
    rng = np.random.default_rng(seed)
    rows = np.zeros((count, regions, 5), np.float32)
    certain = rng.uniform(0.3, 0.9, (count, 4))
    background = rng.uniform(0.001, 0.04, (count, 26))
    rows[:, :30, 0] = -np.sort(-np.hstack((certain, background)), axis=1)
    rows[:, :30, 1:] = rng.normal(0, 1, (count, 30, 4))
    return rows


def test_perturbed_batches_are_ranked_and_full_and_exchange_only_background():
    rows, size = ranked(), 24
    settings = HeadTraining(drop=0.3, noise=0.0, exchange=1.0)
    batch = perturbed(rows, np.random.default_rng(0), settings, size=size)
    assert batch.shape == (12, size, 5)
    assert (np.diff(batch[..., 0], axis=1) <= 0).all()
    assert (batch[..., 0] > 0).all()  # what was dropped is refilled
    strangers = 0
    for own, one in zip(rows, batch, strict=True):
        foreign = ~np.isin(one[:, 1], own[:, 1])
        strangers += int(foreign.sum())
        assert (one[foreign, 0] < 0.05).all()
    assert strangers > 12
    still = HeadTraining(drop=0.0, noise=0.0, exchange=0.0)
    same = perturbed(rows, np.random.default_rng(0), still, size=size)
    np.testing.assert_allclose(same, batches(rows, size), rtol=1e-5)
    swapped = perturbed(rows, np.random.default_rng(0), HeadTraining(drop=0.0, exchange=0.0), size=size)
    assert (np.diff(swapped[..., 0], axis=1) <= 0).all()
    assert not np.array_equal(swapped[..., 1], batches(rows, size)[..., 1])


def test_fewer_regions_than_rows_are_spread_as_in_use():
    rows = ranked(2)
    (batch, _) = batches(rows, 32)
    assert len(np.unique(batch[:, 1])) == 30
    assert (np.diff(batch[:, 0]) <= 0).all()
    np.testing.assert_array_equal(batches(np.zeros((1, 40, 5), np.float32), 32), 0)


def noisy(count=90, seed=3):
    """Slices whose class is in their certain regions, among 60 of the background."""
    rng = np.random.default_rng(seed)
    labels = np.array([0, 2] * (count // 2))
    rows = np.zeros((count, 64, 5), np.float32)
    rows[..., 0] = rng.uniform(0.001, 0.04, (count, 64))
    ill = np.flatnonzero(labels)
    rows[ill, :4, 0] = rng.uniform(0.5, 0.9, (len(ill), 4))
    rows[..., 0] = -np.sort(-rows[..., 0], axis=1)
    rows[..., 1:] = rng.normal(0, 2, (count, 64, 4))
    names = tuple(map(str, range(count)))
    return RoiRows(rows, labels, tuple("mosmed_ct0" if not k else "mosmed_ct2" for k in labels), names)


def test_no_single_background_row_decides():
    data = noisy()
    chosen, left = np.arange(60), np.arange(60, 90)
    head = train_head(data, chosen, HeadTraining(epochs=60, batch=32), width=32, classes=3, size=32)
    ill = ill_logits(head_logits(head, batches(data.rows[left], 32)), data.ill_classes)
    assert ((ill > 0) == (data.labels[left] == 2)).all()
    flips, changes = 0, []
    for rows, was in zip(data.rows[left], ill, strict=True):
        low = np.flatnonzero(rows[:32, 0] < 0.05)
        fewer = np.stack([np.vstack((np.delete(rows, k, axis=0), rows[-1:])) for k in low])
        now = ill_logits(head_logits(head, batches(fewer, 32)), data.ill_classes)
        flips += int(((now > 0) != (was > 0)).sum())
        changes += np.abs(now - was).tolist()
    assert flips == 0
    assert np.median(changes) < 0.5


def test_class_1_counts_as_pneumonia_only_where_confirmed_cases_train_it():
    rows = np.zeros((4, 4, 5), np.float32)
    labels, names = np.array([0, 1, 1, 2]), ("a", "b", "c", "d")
    other = RoiRows(rows, labels, ("ho_healthy", "soares", "soares", "soares"), names)
    assert other.ill_classes == (2,)
    assert other.image_classes == ("Control", "Other (non-COVID)", "COVID-19")
    np.testing.assert_array_equal(other.ill, [0, np.nan, np.nan, 1])
    both = RoiRows(rows, labels, ("ho_healthy", "soares", "COVIDx-CT", "soares"), names)
    assert both.ill_classes == (1, 2)
    assert both.image_classes == ("Control", "Common Pneumonia", "COVID-19")
    np.testing.assert_array_equal(both.ill, [0, np.nan, 1, 1])
    logits = np.array([[1.0, 5.0, 2.0], [0.0, 0.0, 0.0]])
    np.testing.assert_allclose(ill_logits(logits, (2,)), [1.0, 0.0])
    np.testing.assert_allclose(ill_logits(logits, (1, 2)), [np.logaddexp(5, 2) - 1, np.log(2)])


def test_slices_of_a_patient_are_in_one_fold():
    data = rows_of(60)
    patients = tuple(f"p{k // 4}" for k in range(60))
    fold = patient_folds(RoiRows(data.rows, data.labels, data.sources, data.names, patients), 5, 0)
    assert all(len(set(fold[k : k + 4])) == 1 for k in range(0, 60, 4))
    assert set(fold) == set(range(5))


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


def test_kept_regions_are_those_of_a_detector_its_settings_and_pictures(class_folders, tmp_path):
    torch.manual_seed(0)
    shape = Architecture(
        kind="segmentation", truncation=2, anchor_sizes=(8, 16), aspect_ratios=(1.0,), s_width=8
    )
    tensors = build(shape).state_dict()
    cache, base = tmp_path / "not" / "there yet", tmp_path / "base.safetensors"
    plain = ModelCard(
        name="base", title="Base", architecture=shape, region_classes=("Lesion",),
        detector=DetectorSettings(rpn_post_nms=40), input=InputSpec(size=64), licence="none",
    )  # fmt: skip
    save_weights(base, tensors, plain)
    # What is kept is used again where the pictures are the same, and not where they are others.
    again = {"name": "s", "settings": HeadTraining(epochs=1), "cache": cache}
    for _ in range(2):
        finish(export_classifier(base, class_folders, tmp_path, **again))
        (kept,) = cache.iterdir()
    assert load_pipeline([str(base), str(tmp_path / "s.safetensors")]).image_classes
    assert np.load(kept)["rows"].shape == (18, 2 * plain.evidence.batch_size, 5)
    other = np.random.default_rng(1).integers(0, 255, (64, 64)).astype(np.uint8)
    Image.fromarray(other).save(next((class_folders / "normal").iterdir()))
    finish(export_classifier(base, class_folders, tmp_path, **again))
    assert len(list(cache.iterdir())) == 2
    # The same networks with another card find other regions.
    fewer = dataclasses.replace(plain, detector=DetectorSettings(rpn_post_nms=20))
    save_weights(base, tensors, fewer)
    finish(export_classifier(base, class_folders, tmp_path, **again))
    narrow = dataclasses.replace(fewer, input=InputSpec(size=64, low_hu=-900.0))
    save_weights(base, tensors, narrow)
    finish(export_classifier(base, class_folders, tmp_path, **again))
    assert len(list(cache.iterdir())) == 4
    save_weights(base, tensors, plain)
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(DataError, match="damaged; delete it"):
        finish(export_classifier(base, class_folders, tmp_path, **again))


def test_module_s_of_a_single_shot_model_is_trained_again_and_nothing_else(class_folders, tmp_path):
    torch.manual_seed(0)
    shape = Architecture(
        kind="single_shot", truncation=2, anchor_sizes=(8, 16), aspect_ratios=(1.0,), s_width=8, branches=2
    )
    network = build(shape)
    torch.nn.init.normal_(network.roi_heads.box_predictor_s2.cls_score.weight, std=0.5)
    base = tmp_path / "whole.safetensors"
    former = ModelCard(
        name="whole", title="Whole", architecture=shape, region_classes=("Lesion",), input=InputSpec(size=64),
        image_classes=("Control", "Other (non-COVID)", "COVID-19"), licence="none", notes="Its own.",
        detector=DetectorSettings(rpn_post_nms=40), evidence=EvidenceSettings(min_area=1e-5),
        training={HELD_OUT_CONTROLS: {"a": 0.5}, HELD_OUT_PICTURES: {"a": 0.5}}, metrics={"note": "Lesions."},
    )  # fmt: skip
    save_weights(base, network.state_dict(), former, half=True)
    (card,) = (
        one
        for one in export_classifier(
            base, class_folders, tmp_path / "new", settings=HeadTraining(epochs=1), cache=tmp_path
        )
        if isinstance(one, ModelCard)
    )
    made = str(tmp_path / "new" / "whole.safetensors")
    before, after = load_weights(str(base)).tensors, load_weights(made).tensors
    assert set(before) == set(after)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(name.startswith("s2new.") for name in changed)
    assert (card.kind, card.notes, card.evidence) == ("single_shot", "Its own.", former.evidence)
    assert card.metrics["note"] == "Lesions."
    assert "their classes" in card.metrics["module_s"]
    assert card.training["module_s"]["epochs"] == 1
    # The regions of its class branch, as in use.
    pipeline = load_pipeline([made])
    (kept,) = (np.load(path) for path in tmp_path.glob("roi-rows-*"))
    (shown,) = with_grey_map([read_class_folders(class_folders)[0]], card.input.grey)
    volume = one_slice_volume(shown.image_hu(), name="one")
    (result,) = (one for one in run(pipeline, volume, [0]) if isinstance(one, SliceResult))
    ranked = result.verdict.batch.kept
    np.testing.assert_array_equal(
        kept["rows"][0, : len(ranked), 0], result.evidence_candidates.scores[ranked]
    )
    assert not kept["rows"][0, len(ranked) :].any()
