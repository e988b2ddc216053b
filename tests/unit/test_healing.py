"""Areas filled with healthy lung, planted ground glass, sham heals: pixels alone, no network."""

import numpy as np
import pytest
from scipy.ndimage import distance_transform_edt

from model_core.base.geometry import Geometry
from model_core.base.jobs import finish
from model_core.base.settings import InputSpec
from model_core.base.volume import Volume
from model_core.engine.lungs import lungs_of
from model_core.explain.healing import (
    LungSlice,
    NothingHealthy,
    drawn_area,
    heal,
    lung_slice,
    plant,
    sham_heals,
    to_heal,
)
from model_core.phantom import make_phantom

SHAPE = (120, 160)
LUNG, WALL, LESION, VESSEL = -850, 40, -300, 20


def disc(row, column, radius):
    rows, columns = np.indices(SHAPE)
    return np.hypot(rows - row, columns - column) <= radius


def ground(*, marked=None, lesion=None, seed=0):
    """Two round lungs with noise, and a lesion."""
    rng = np.random.default_rng(seed)
    right, left = disc(60, 40, 34), disc(60, 120, 34)
    hu = np.where(right | left, LUNG + rng.normal(0, 25, SHAPE), WALL)
    if lesion is not None:
        hu[lesion] = LESION
    values = hu.round().astype(np.int16)
    marked = (np.zeros(SHAPE, bool) if lesion is None else lesion) if marked is None else marked
    sides = (right + 2 * left).astype(np.uint8)
    return LungSlice(values, values.astype(np.float32), 1.0, (-32768, 32767), right | left, sides, marked)


def test_a_healed_lesion_looks_like_the_lung_around_it_and_nothing_else_changes():
    lesion = disc(60, 40, 8)
    own = ground(lesion=lesion)
    area = to_heal(own, lesion)
    healed, pieces = heal(own, area)
    assert pieces == 1
    assert (area & ~lesion).any(), "what surrounds a mask is healed with it"
    assert np.array_equal(healed[~area], own.values[~area])
    assert healed[lesion].mean() == pytest.approx(LUNG, abs=15)
    assert healed[lesion].std() == pytest.approx(25, rel=0.25), "texture, not one grey"
    assert np.array_equal(heal(own, area)[0], healed)


def test_an_area_that_no_donor_fits_is_filled_in_pieces():
    lesion = disc(60, 40, 22)
    own = ground(lesion=lesion, marked=lesion | disc(60, 120, 16))
    healed, pieces = heal(own, to_heal(own, lesion))
    assert pieces > 1
    assert healed[lesion].mean() == pytest.approx(LUNG, abs=15)


@pytest.mark.parametrize("dense", [True, False])
def test_without_healthy_lung_healing_is_refused(dense):
    # What is as dense as a lesion is not healthy, marked or not.
    own = ground(lesion=disc(60, 40, 34) | disc(60, 120, 34), marked=np.zeros(SHAPE, bool)) if dense else (
        ground(lesion=disc(60, 40, 8), marked=np.ones(SHAPE, bool)))  # fmt: skip
    with pytest.raises(NothingHealthy, match="no healthy lung"):
        heal(own, disc(60, 40, 8))


def test_an_area_outside_the_lungs_is_refused():
    with pytest.raises(NothingHealthy, match="hardly any lung"):
        to_heal(ground(), disc(10, 80, 5))


def test_a_mask_that_touches_the_chest_wall_leaves_it_alone():
    lesion = disc(60, 70, 8)
    own = ground(lesion=lesion & disc(60, 40, 34), marked=lesion)
    area = to_heal(own, lesion & disc(60, 40, 36))
    wall = ~disc(60, 40, 36) & ~disc(60, 120, 36)
    assert area.any()
    assert not (area & wall).any()


def test_sham_heals_have_the_shape_in_unmarked_lung_and_are_drawn_by_the_seed():
    lesion = disc(50, 30, 7) | disc(50, 36, 4)
    own = ground(lesion=lesion)
    area = to_heal(own, lesion)
    shams = list(sham_heals(own, area, 8, seed=3, away_from=area))
    assert len(shams) == 8
    for where, voxels in shams:
        assert where.sum() == area.sum()
        assert own.lung[where].all()
        assert not (where & (area | own.marked)).any()
        assert np.array_equal(voxels[~where], own.values[~where])
        assert not np.array_equal(voxels[where], own.values[where])
    again, other = (list(sham_heals(own, area, 8, seed=seed, away_from=area)) for seed in (3, 4))
    assert all(np.array_equal(a, b) for (a, _), (b, _) in zip(shams, again, strict=True))
    assert not all(np.array_equal(a, b) for (a, _), (b, _) in zip(shams, other, strict=True))


def test_where_no_sham_fits_there_is_none():
    assert list(sham_heals(ground(), disc(60, 60, 50), 8)) == []
    # A shape that is larger than the picture itself.
    assert list(sham_heals(ground(), np.ones((200, 300), bool), 8)) == []


def test_planted_ground_glass_lifts_the_lung_and_keeps_texture_and_vessels():
    own = ground()
    vessel = disc(60, 40, 2)
    own.values[vessel] = own.hu[vessel] = VESSEL
    planted, area = plant(own, disc(60, 40, 16), -500.0)
    core = disc(60, 40, 8) & ~disc(60, 40, 4)
    assert planted[core].mean() == pytest.approx(-500, abs=10)
    assert planted[core].std() == pytest.approx(own.values[core].std(), rel=0.05)
    assert np.array_equal(planted[vessel], own.values[vessel])
    assert np.array_equal(planted[~area], own.values[~area])
    assert not (area & ~disc(60, 40, 16)).any()
    rim = area & ~disc(60, 40, 15)
    assert planted[rim].mean() < -600, "its edge is soft"


@pytest.mark.parametrize(
    ("area", "said"),
    [(disc(10, 80, 6), "hardly any lung"), (disc(60, 40, 10), "marked or dense already")],
)
def test_ground_glass_is_planted_in_healthy_lung_alone(area, said):
    with pytest.raises(NothingHealthy, match=said):
        plant(ground(lesion=disc(60, 40, 12)), area, -500.0)


def test_a_drawn_area_holds_the_pixels_whose_middle_it_holds():
    area = drawn_area([(2, 3), (6, 3), (6, 5), (2, 5)], (10, 12))
    assert np.argwhere(area).min(axis=0).tolist() == [3, 2]
    assert np.argwhere(area).max(axis=0).tolist() == [4, 5]
    assert not drawn_area([(50, 50), (60, 50), (60, 60)], (10, 12)).any()


def test_a_series_whose_lungs_are_unknown_is_refused():
    volume = Volume("s", "s", np.zeros((1, 32, 32), np.int16), Geometry())
    with pytest.raises(NothingHealthy, match="choose a slice through the lungs"):
        lung_slice(volume, 0, InputSpec(), np.zeros((32, 32), bool))


def test_greys_of_a_picture_stay_greys():
    phantom, _ = make_phantom(slices=4, size=96)
    grey = np.clip((phantom.voxels.astype(float) + 1350) / 1500 * 255, 0, 255).astype(np.int16)
    volume = Volume("g", "g", grey, Geometry(), unit="grey", plane="axial")
    finish(lungs_of(volume))
    own = lung_slice(volume, 1, InputSpec(), np.zeros(grey.shape[1:], bool))
    deep = distance_transform_edt(own.healthy)
    row, column = np.unravel_index(int(deep.argmax()), deep.shape)
    area = np.zeros_like(own.lung)
    area[row - 5 : row + 5, column - 5 : column + 5] = True
    planted, inside = plant(own, area & own.lung, -400.0)
    assert planted.min() >= 0
    assert planted.max() <= 255
    assert planted[inside].mean() > grey[1][inside].mean() + 20
