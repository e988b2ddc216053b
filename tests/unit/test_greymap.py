"""The grey-to-HU map of pictures: estimated from their peaks, and what it does to the network's input."""

from dataclasses import replace

import numpy as np
import pytest

from model_core.base.settings import InputSpec
from model_core.data import read_segmentation
from model_core.engine.greymap import estimate_hu_range, likely_hu_range
from model_core.engine.preprocess import grey_range, network_input, to_unit_range
from model_core.phantom import make_phantom
from model_core.weights.store import shipped

WINDOWS = ((-1350, 150), (-1020, 1700), (-2300, 1100))


def chest(*, lung):
    """Two lungs in a body with a spine, as a lung window shows them."""
    rng = np.random.default_rng(0)
    hu = np.full((120, 160), -1000.0)
    hu[10:110, 10:150] = 40
    hu[30:90, 30:70] = hu[30:90, 90:130] = lung
    hu[92:104, 72:88] = 400
    hu += rng.normal(0, 8, hu.shape)
    return np.clip((hu + 1350) / 1500 * 255, 0, 255).round().astype(np.uint8)


def test_grey_map_is_recovered_from_the_peaks():
    low, high = estimate_hu_range(chest(lung=-870))
    assert low == pytest.approx(-1350, abs=40)
    assert high == pytest.approx(150, abs=40)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_flat_picture_is_a_lung_window(value):
    assert estimate_hu_range(np.full((20, 20), value, np.uint8)) == (-1350, 150)


def test_a_lung_window_is_taken_as_the_published_one_and_a_wider_one_as_estimated():
    volume, _ = make_phantom()
    for low, high in WINDOWS:
        hu = volume.voxels[volume.slices // 2]
        grey = np.clip((hu - low) / (high - low) * 255, 0, 255).astype(np.uint8)
        wide = (low, high) != WINDOWS[0]
        assert likely_hu_range(grey) == (estimate_hu_range(grey) if wide else WINDOWS[0])


def test_a_diseased_lung_in_a_lung_window_is_not_taken_for_a_wide_window():
    low, high = estimate_hu_range(chest(lung=-500))
    assert high - low > 2400, "the peaks alone are mistaken"
    assert likely_hu_range(chest(lung=-500)) == (-1350, 150)


def test_the_networks_see_a_picture_in_any_window_as_they_see_the_scan():
    volume, _ = make_phantom()
    index = volume.slices // 2
    spec = InputSpec(size=256, grey="estimate")
    scan = network_input(volume, index, spec)
    chest = (scan > 0.1) & (scan < 0.9)
    for low, high in WINDOWS:
        grey = np.clip((volume.voxels[[index]] - low) / (high - low) * 255, 0, 255).round().astype(np.int16)
        picture = replace(volume, voxels=grey, unit="grey")
        estimated = np.abs(network_input(picture, 0, spec) - scan)[chest].mean()
        assert estimated < 0.07, (low, high)  # of a window of 1500 HU
        if (low, high) != WINDOWS[0]:  # what the published weights take every picture for
            taken = np.abs(network_input(picture, 0, replace(spec, grey="window")) - scan)[chest].mean()
            assert estimated < taken / 3, (low, high)


@pytest.mark.parametrize(("low", "high"), WINDOWS)
def test_all_slices_of_a_series_of_pictures_have_one_window(low, high):
    volume, _ = make_phantom()
    grey = np.clip((volume.voxels - low) / (high - low) * 255.0, 0, 255).round().astype(np.int16)
    series = replace(volume, voxels=grey, unit="grey")
    spec = InputSpec(size=256, grey="estimate")
    alone = [
        grey_range(replace(series, voxels=grey[index : index + 1]), spec)
        for index in range(0, volume.slices, 6)
    ]
    assert low != -1020 or len(set(alone)) > 1, "slices alone differ"
    found = np.array(grey_range(series, spec))
    assert np.abs(found - (low, high)).max() < 130
    # One grey is one number for the networks, whichever slice it is in.
    shown = {}
    for index in range(volume.slices):
        picture = to_unit_range(series, index, spec)
        for value in (60, 100, 140):
            shown.setdefault(value, set()).update(np.unique(picture[grey[index] == value]).tolist())
    assert {len(numbers) for numbers in shown.values()} - {0} == {1}


@pytest.mark.parametrize("card", shipped(), ids=lambda card: card.name)
def test_our_own_weights_estimate_and_say_so(card):
    assert card.input.grey == "estimate"
    assert "window of pictures estimated" in str(card.input)


@pytest.mark.shared_data
def test_estimated_map_is_near_the_table(shared_data):
    from model_core.data.pictures import read_grey

    errors = []
    for pair in read_segmentation(shared_data / "A5_mosmed_lesion")[::4]:
        low, high = estimate_hu_range(read_grey(pair.image_path))
        grey = np.array([100.0, 160.0])
        ours, table = low + grey / 255 * (high - low), pair.low_hu + grey / 255 * (pair.high_hu - pair.low_hu)
        errors.append(np.abs(ours - table).max())
    assert np.median(errors) < 120
