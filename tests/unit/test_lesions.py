"""Lesions through the slices: counted, measured, placed; and what they take of the lungs."""

import numpy as np
import pytest

from model_core.base.geometry import Geometry
from model_core.base.jobs import finish
from model_core.base.volume import Volume
from model_core.engine.lungs import lungs_of
from model_core.explain import burden
from model_core.phantom import make_phantom

SPACING = (2.0, 0.5, 0.5)


def volume_of(voxels, spacing=SPACING, **fields):
    return Volume("s", "s", voxels.astype(np.int16), Geometry(spacing, (0, 0, 0), np.eye(3)), **fields)


def found(volume, labels, **lungs):
    (item,) = finish(burden(volume, labels, **lungs))
    return item


@pytest.fixture
def labels():
    """A block of 4 slices, a diagonal chain that touches only at corners, and a speck."""
    made = np.zeros((8, 40, 60), np.uint8)
    made[1:5, 5:15, 10:30] = 1
    made[2, 5:15, 10:30] = 2
    for k in range(5):
        made[2 + k, 20 + 4 * k : 24 + 4 * k, 35 + 4 * k : 39 + 4 * k] = 1
    made[7, 1, 58] = 1
    return made


def test_sizes_slices_and_places(labels):
    hu = np.full(labels.shape, -800)
    hu[labels > 0] = -600
    hu[1:5, 5:10, 10:30] = -300
    hu[1, 5:10, 10:30] = 0
    result = found(volume_of(hu), labels)
    block, chain = result.lesions
    assert result.smaller == 1
    assert (block.number, chain.number) == (1, 2)
    assert (block.first, block.last, block.pixels) == (1, 4, 800)
    assert block.ml == pytest.approx(800 * 0.5 * 0.5 * 2.0 / 1000)
    assert block.place == pytest.approx((20.0, 10.0)), "edges 10..30 and 5..15"
    assert block.pixel in ((9, 19), (9, 20), (10, 19), (10, 20)), "beside the middle"
    assert block.label == 1
    assert (block.non_aerated, block.poorly_aerated) == pytest.approx((1 / 8, 3 / 8))
    assert block.mean_hu == pytest.approx(-600 + 300 * 3 / 8 + 600 / 8)
    assert (chain.first, chain.last, chain.pixels) == (2, 6, 80), "corners hold together"
    assert (block.side, block.third, block.lung_share, result.grade, result.lung_shares) == (None,) * 5


def test_what_is_unknown_is_none(labels):
    result = found(volume_of(np.zeros(labels.shape), (None, 0.5, 0.5), unit="grey"), labels)
    lesion = result.lesions[0]
    assert lesion.ml is lesion.mean_hu is lesion.poorly_aerated is lesion.non_aerated is None
    assert lesion.pixels == 800


def test_the_pixel_of_a_lesion_lies_in_it_even_where_its_middle_does_not():
    ring = np.zeros((3, 30, 30), np.uint8)
    ring[1, 8:20, 5:17] = 1
    ring[1, 10:18, 7:15] = 0
    (lesion,) = found(volume_of(np.zeros(ring.shape)), ring).lesions
    assert lesion.place == pytest.approx((11.0, 14.0))
    assert ring[1][lesion.pixel] == 1


def test_uneven_slices_count_by_their_distance(labels):
    positions = np.array([0, 2, 4, 6, 16, 18, 20, 22.0])
    volume = volume_of(np.zeros(labels.shape), (None, 0.5, 0.5), slice_positions_mm=positions)
    steps = np.abs(np.gradient(positions))
    lesion = found(volume, labels).lesions[0]
    assert lesion.ml == pytest.approx(200 * 0.25 * steps[1:5].sum() / 1000)


def test_nothing_marked_is_grade_0():
    volume, labels = make_phantom(slices=20, size=128)
    lungs = finish(lungs_of(volume))[0]
    result = found(volume, np.zeros_like(labels), lungs=lungs)
    assert (result.lesions, result.smaller, result.grade) == ((), 0, 0)
    assert result.lung_shares == {"right": 0.0, "left": 0.0}


def test_of_a_part_of_the_lungs_shares_and_grade_are_unknown():
    """Three slices without a mark are no scan without one."""
    volume, labels = make_phantom(slices=20, size=128)
    lungs = finish(lungs_of(volume))[0]
    inside = list(lungs.slices)
    some = found(volume, np.zeros_like(labels), lungs=lungs, analysed=inside[:3])
    assert (some.lung_shares, some.grade) == (None, None)
    every = found(volume, np.zeros_like(labels), lungs=lungs, analysed=inside)
    assert every.grade == 0, "slices without lung need not be looked at"


def test_shares_and_grade_follow_the_more_affected_lung():
    volume, _ = make_phantom(slices=20, size=128)
    lungs = finish(lungs_of(volume))[0]
    sides = np.stack([lungs.sides(k) for k in range(20)])
    for share, grade in ((0.2, 1), (0.4, 2), (0.6, 3), (0.9, 4)):
        marked = np.zeros(sides.shape, np.uint8)
        right = np.flatnonzero(sides.ravel() == 1)
        marked.ravel()[right[: int(share * len(right))]] = 1
        result = found(volume, marked, lungs=lungs)
        assert result.lung_shares["right"] == pytest.approx(share, abs=0.01)
        assert result.lung_shares["left"] == 0.0
        assert result.grade == grade
        largest = result.lesions[0]
        assert largest.side == "right"
        assert largest.lung_share == pytest.approx(
            np.count_nonzero(marked) / np.count_nonzero(sides), rel=0.05
        )
    assert largest.third == lungs.third(largest.largest)
