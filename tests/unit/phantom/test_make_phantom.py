"""The phantom is deterministic, looks like a chest in HU, and its masks are true."""

import numpy as np
import pytest
from scipy import ndimage

from model_core.base.errors import SettingsError
from model_core.phantom import make_phantom


@pytest.fixture(scope="module")
def phantom():
    return make_phantom()


def test_default_size_and_types(phantom):
    volume, labels = phantom
    assert volume.voxels.shape == labels.shape == (48, 256, 256)
    assert volume.voxels.dtype == np.int16
    assert labels.dtype == np.uint8
    assert set(np.unique(labels)) == {0, 1, 2}
    assert volume.unit == "HU"
    assert volume.plane == "axial"


def test_equal_seeds_give_equal_volumes():
    first, second, other = make_phantom(12, 64, 5), make_phantom(12, 64, 5), make_phantom(12, 64, 6)
    assert np.array_equal(first[0].voxels, second[0].voxels)
    assert np.array_equal(first[1], second[1])
    assert not np.array_equal(first[0].voxels, other[0].voxels)
    assert first[0].series_id != other[0].series_id


def test_geometry_is_complete_and_runs_from_head_to_feet(phantom):
    volume, _ = phantom
    geometry = volume.geometry
    assert geometry.spacing_mm == pytest.approx((6.0, 360 / 256, 360 / 256))
    assert np.allclose(geometry.axes @ geometry.axes.T, np.eye(3))
    # LPS: slices toward the feet, rows to the back, columns to the patient's left.
    assert np.array_equal(geometry.axes, [[0, 0, -1], [0, 1, 0], [1, 0, 0]])
    assert np.allclose(np.diff(volume.slice_positions_mm), -6.0)
    assert volume.slice_positions_mm[0] == pytest.approx(geometry.origin_mm[2])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_masks_lie_where_the_tissue_is(seed):
    volume, labels = make_phantom(24, 192, seed)
    glass, dense = volume.voxels[labels == 1], volume.voxels[labels == 2]
    # Vessels and soft edges belong to the mask, so the bulk is tested, not every voxel.
    assert -700 < np.percentile(glass, 10) < np.median(glass) < -480
    assert np.mean((glass > -720) & (glass < -300)) > 0.85
    assert 0 < np.median(dense) < 45
    assert np.mean(dense > -150) > 0.85
    # Neither ribs nor room air: the masks end at the pleura.
    assert volume.voxels[labels > 0].max() < 150
    assert volume.voxels[labels > 0].min() > -960


def test_both_lungs_hold_both_kinds_of_lesion(phantom):
    volume, labels = phantom
    middle = labels.shape[2] // 2
    for half in (labels[:, :, :middle], labels[:, :, middle:]):
        assert (half == 1).sum() > 1000
        assert (half == 2).sum() > 500
    with_lesion = labels.any(axis=(1, 2)).sum()
    assert 15 < with_lesion < volume.slices, "slices without a lesion exist too"
    kernel = np.ones((3, 3, 3), bool)
    assert 5 <= ndimage.label(labels > 0, kernel)[1] <= 40


def test_no_unmasked_opacity_in_the_lung(phantom):
    """Tissue in the lung that is no lesion is thin: vessels and walls of airways vanish under an opening."""
    volume, labels = phantom
    air = ndimage.binary_fill_holes(ndimage.binary_opening(_lungs(volume.voxels), iterations=1)[24])
    thick = ndimage.binary_opening((volume.voxels[24] > -650) & air, np.ones((5, 5), bool))
    assert (thick & (labels[24] == 0)).sum() <= 0.1 * max((labels[24] > 0).sum(), 1)


def _lungs(voxels):
    """Air inside the body: the largest components that do not touch the border of the picture."""
    components, _ = ndimage.label(voxels < -650)
    outside = np.unique(components[:, 0, :])
    return (components > 0) & ~np.isin(components, outside)


def test_looks_like_a_chest(phantom):
    volume, labels = phantom
    voxels = volume.voxels
    body = ndimage.binary_fill_holes(voxels[22] > -300)
    lungs = _lungs(voxels)[22]
    assert 0.25 < body.mean() < 0.65
    assert 0.25 < lungs.sum() / body.sum() < 0.6
    healthy = voxels[22][lungs & (labels[22] == 0)]
    assert -900 < np.median(healthy) < -780
    # Fat, muscle and bone are all there; the spine is at the back in the middle.
    inside = voxels[22][body]
    assert np.mean((inside > -130) & (inside < -70)) > 0.1
    assert np.mean((inside > 20) & (inside < 90)) > 0.15
    bone_rows = np.nonzero(voxels[22][:, 108:148] > 150)[0]
    assert np.mean(bone_rows > 150) > 0.6
    # Air outside; liver under the dome on the patient's right, the left of the picture.
    assert voxels[22][:20].mean() == pytest.approx(-1000, abs=15)
    assert voxels[44][110:140, 60:90].mean() == pytest.approx(60, abs=8)
    # Trachea in the middle of the upper chest.
    assert (voxels[10][115:145, 118:138] < -930).sum() > 40


def test_noise_is_that_of_a_scanner(phantom):
    volume, _ = phantom
    assert 6 < volume.voxels[44][110:140, 60:90].std() < 25


@pytest.mark.parametrize(("slices", "size"), [(4, 32), (5, 33), (7, 101)])
def test_small_and_odd_sizes(slices, size):
    volume, labels = make_phantom(slices, size)
    assert volume.voxels.shape == labels.shape == (slices, size, size)
    assert volume.voxels.min() < -900
    assert volume.voxels.max() > 150


@pytest.mark.parametrize(("slices", "size"), [(3, 64), (0, 64), (48, 31), (48, -1)])
def test_too_small_is_refused_in_words(slices, size):
    with pytest.raises(SettingsError, match="at least 4 slices of 32 x 32"):
        make_phantom(slices, size)
