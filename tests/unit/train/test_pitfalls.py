"""Computed anatomy that is no lesion: what is changed, what is kept, and how often it is drawn."""

import dataclasses

import numpy as np
import pytest
from chests import GREY_LUNG, GREY_SOFT, chest
from scipy import ndimage

from model_core.train.augment import augment
from model_core.train.packing import LUNG_BIT
from model_core.train.pitfalls import add_dome, without_lungs


@pytest.fixture
def whole():
    """A chest in a field of view with air around it."""
    inner = chest(cropped=False, has_lung=False)
    image = np.zeros((160, 200), np.uint8)
    labels = np.zeros((160, 200), np.uint8)
    image[18:142, 26:174] = GREY_SOFT  # the wall
    image[32:128, 40:160], labels[32:128, 40:160] = inner.image, inner.labels
    return dataclasses.replace(inner, image=image, labels=labels)


def test_lungs_become_tissue_and_the_rest_stays(whole):
    lung = ndimage.binary_opening((whole.image > 40) & (whole.image < 80), iterations=3)
    assert lung.any()
    for seed in range(8):
        found = without_lungs(whole, np.random.default_rng(seed))
        bright = np.mean(found.image[lung] > 0.7 * GREY_SOFT)
        assert bright > 0.45, seed  # bowel is the rest
        assert not (np.abs(found.image[lung].astype(int) - GREY_LUNG) < 6).mean() > 0.2
        assert np.array_equal(found.image[:18], whole.image[:18])
        away = ~ndimage.binary_dilation(whole.image < 100, iterations=8)
        assert np.array_equal(found.image[away], whole.image[away])
        # It is known that nothing is lung, and nothing a lesion.
        assert found.has_lung
        assert not found.labels.any()


def test_some_have_bowel_and_some_have_none(whole):
    gas = [
        (without_lungs(whole, np.random.default_rng(seed)).image[60:100, 60:140] < 50).mean()
        for seed in range(20)
    ]
    assert min(gas) == 0
    assert 0.01 < max(gas) < 0.6


def test_the_same_generator_draws_the_same(whole):
    first, again = (without_lungs(whole, np.random.default_rng(5)).image for _ in range(2))
    assert np.array_equal(first, again)


def test_crops_lesions_and_slices_without_lungs_are_left_alone(whole):
    generator = np.random.default_rng(0)
    assert without_lungs(dataclasses.replace(whole, cropped=True), generator) is None
    lesion = whole.labels.copy()
    lesion[70:80, 60:70] = 1
    assert without_lungs(dataclasses.replace(whole, labels=lesion), generator) is None
    solid = np.where(whole.image > 0, GREY_SOFT, 0).astype(np.uint8)
    assert without_lungs(dataclasses.replace(whole, image=solid), generator) is None
    assert without_lungs(dataclasses.replace(whole, image=np.zeros_like(solid)), generator) is None


def test_augmentation_shows_them_among_the_lesion_free_slices(whole):
    def of_known_lung(one):
        drawn = [augment(one, np.random.default_rng(k), size=64, zoom=(0.9, 1.1)) for k in range(40)]
        return sum(example.lung is not None for example in drawn)

    assert 4 < of_known_lung(whole) < 25
    assert of_known_lung(dataclasses.replace(whole, cropped=True)) == 0
    classified = dataclasses.replace(whole, image_class=0)
    assert of_known_lung(classified) == 0
    labels = np.bitwise_and(whole.labels, ~np.uint8(LUNG_BIT))
    labels[70:80, 60:70] = 1
    assert of_known_lung(dataclasses.replace(whole, labels=labels)) == 0


def test_a_dome_rises_inside_a_lung_and_is_no_lesion():
    one = chest(seed=3)
    lung = (one.labels & LUNG_BIT) > 0
    for seed in range(8):
        found = add_dome(one, np.random.default_rng(seed))
        changed = np.abs(found.image.astype(int) - one.image) > 8
        assert changed.any()
        assert not changed[~lung].any()
        solid = (found.image > 0.8 * GREY_SOFT) & lung
        assert 0.005 < solid.sum() / lung.sum() < 0.5, seed
        assert not found.lesion.any()
        left = (found.labels & LUNG_BIT) > 0
        assert not left[solid].all()  # an organ is not lung
        assert left.sum() < lung.sum()


def test_a_dome_covers_no_lesion():
    one = chest(lesion=1)
    beside = [found for seed in range(20) if (found := add_dome(one, np.random.default_rng(seed)))]
    assert len(beside) > 3
    for found in beside:
        assert np.array_equal(found.lesion, one.lesion)
        assert np.array_equal(found.image[one.lesion > 0], one.image[one.lesion > 0])
        assert (np.abs(found.image.astype(int) - one.image) > 8).any()


def test_some_domes_are_stomachs_with_gas_or_bubbles_in_them():
    one = chest(seed=3)
    darker = 0
    for seed in range(40):
        found = add_dome(one, np.random.default_rng(seed))
        # What is solid is never darker than the lung it covers.
        darker += ((one.image.astype(int) - found.image) > 6).sum() > 5
        assert not found.lesion.any()
    assert 2 < darker < 20


def test_without_a_lung_there_is_no_dome():
    solid = dataclasses.replace(chest(has_lung=False), image=np.full((96, 120), GREY_SOFT, np.uint8))
    assert add_dome(solid, np.random.default_rng(0)) is None
