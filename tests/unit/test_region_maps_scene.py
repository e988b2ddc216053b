"""Maps of a region: the number at a place, the strongest colour, where its lines run."""

import numpy as np
import pytest

from model_core.scene.maps import STRONG, RegionMap


def test_the_number_at_a_place():
    one = RegionMap("x", np.arange(6.0).reshape(2, 3), (10.0, 20.0, 16.0, 24.0))
    assert one.at(10.0, 20.0) == 0.0
    assert one.at(13.9, 21.9) == 1.0
    assert one.at(15.9, 23.9) == 5.0
    assert one.at(16.0, 22.0) is None
    assert one.at(12.0, 19.9) is None


def test_an_empty_box_has_no_numbers():
    assert RegionMap("x", np.ones((7, 7)), (5.0, 7.0, 5.0, 9.0)).at(5.0, 8.0) is None


def test_nothing_hides_nothing_and_signs_have_colours_of_their_own():
    one = RegionMap("x", np.array([[-2.0, 0.0, 2.0]]), (0, 0, 3, 1))
    against, nothing, speaks_for = one.picture()[0].astype(int).tolist()
    assert nothing[3] < 3
    assert against[3] == speaks_for[3] == round(255 * STRONG)
    assert against[2] > against[0], "blue"
    assert speaks_for[0] > speaks_for[2], "orange"
    assert RegionMap("x", np.zeros((2, 2)), (0, 0, 2, 2)).picture()[..., 3].max() < 3


def test_a_few_pixels_do_not_take_the_colours_of_all():
    values = np.full((20, 20), 0.01)
    values[3, 3] = 5.0
    pixels, cells = (RegionMap("x", values, (0, 0, 20, 20), smooth) for smooth in (True, False))
    assert pixels.largest == pytest.approx(0.01)
    assert cells.largest == 5.0


def test_lines_run_at_half_of_the_strongest():
    cells = RegionMap("x", np.array([[1.0, 0.51, 0.49, -0.6]]), (0, 0, 4, 1))
    above, below = cells.beyond()
    assert above.tolist() == [[True, True, False, False]]
    assert below.tolist() == [[False, False, False, True]]
    mask = RegionMap("x", np.array([[-3.0, 0.1, 9.0]]), (0, 0, 3, 1), kind="mask")
    assert mask.beyond()[0].tolist() == [[False, True, True]], "a probability of one half"


def test_one_pixel_of_noise_has_no_line_of_its_own():
    values = np.zeros((40, 40))
    values[10:20, 10:20] = 1.0
    values[30, 30] = 3.0
    above, _ = RegionMap("x", values, (0, 0, 40, 40), True).beyond()
    assert above[15, 15]
    assert not above[30, 30]


def test_the_legend_has_the_unit_and_the_size_of_cells():
    cells = RegionMap("x", np.ones((7, 7)), (10.0, 20.0, 24.0, 55.0), kind="cells")
    assert cells.legend == "HiResCAM, cell 2.0 × 5.0 px (logit)"
    score = RegionMap("x", np.ones((6, 6)), (0, 0, 6, 6), kind="found", unit="score")
    assert score.legend == "Occl. (score)"
    filled = RegionMap("x", np.ones((6, 6)), (0, 0, 6, 6), kind="fixed", filling="one grey")
    assert filled.legend == "Occl. (logit), one grey"
