"""VOI windows against the formulas of PS3.3 C.11.2.1.2 and C.11.2.1.3, written out one value at a time."""

import math

import numpy as np
import pytest

from model_core.base.errors import SettingsError
from model_core.base.geometry import Geometry
from model_core.base.voi import apply_window, automatic_window, display_values, lookup_table
from model_core.base.volume import Volume, Window


def standard(x, window):
    """The pseudo-code of the standard, for ymin 0 and ymax 255."""
    c, w = window.level, window.width
    if window.function == "SIGMOID":
        return 255 / (1 + math.exp(-4 * (x - c) / w))
    if window.function == "LINEAR_EXACT":
        if x <= c - w / 2:
            return 0
        if x > c + w / 2:
            return 255
        return ((x - c) / w + 0.5) * 255
    if x <= c - 0.5 - (w - 1) / 2:
        return 0
    if x > c - 0.5 + (w - 1) / 2:
        return 255
    return ((x - (c - 0.5)) / (w - 1) + 0.5) * 255


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("width", "level"), [(1500, -600), (400, 40), (80.5, 40.25), (2, 0), (65535, 0)])
def test_every_value_near_the_edges_follows_the_standard(function, width, level):
    window = Window(width, level, function=function)
    turns = (level - width / 2, level, level + width / 2)
    edges = np.concatenate([np.arange(-6, 7) + round(turn) for turn in turns])
    values = np.clip(edges, -32768, 32767).astype(np.int16)
    expected = [math.floor(standard(int(v), window) + 0.5) for v in values]
    assert apply_window(values[None], window)[0].tolist() == expected


def test_examples_of_the_standard():
    # C.11.2.1.2.1: "for width 100, centre 50: 0 and below is black, 99 and above is white" (8 bits).
    shown = apply_window(np.array([[-1, 0, 1, 98, 99, 100]], np.int16), Window(100, 50))
    assert shown[0, :2].tolist() == [0, 0]
    assert shown[0, -2:].tolist() == [255, 255]
    assert 0 < shown[0, 2] < shown[0, 3] < 255
    # Width 1 is a threshold.
    assert apply_window(np.array([[-1, 0, 1]], np.int16), Window(1, 0.5))[0].tolist() == [0, 0, 255]


def test_linear_exact_spans_the_whole_width():
    window = Window(100, 50, function="LINEAR_EXACT")
    assert apply_window(np.array([[0, 50, 100, 101]], np.int16), window)[0].tolist() == [0, 128, 255, 255]


def test_sigmoid_is_half_at_the_level_and_survives_a_tiny_width():
    assert display_values(40, Window(400, 40, function="SIGMOID")) == pytest.approx(127.5)
    shown = apply_window(np.array([[-32768, 32767]], np.int16), Window(0.01, 0, function="SIGMOID"))
    assert shown[0].tolist() == [0, 255]


def test_inverted_is_the_complement_at_every_value():
    values = np.arange(-32768, 32768, dtype=np.int32).astype(np.int16).reshape(256, 256)
    for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
        window = Window(350, 50, function=function)
        plain = apply_window(values, window)
        assert np.array_equal(255 - plain, apply_window(values, window, inverted=True))
        assert (np.diff(plain.ravel().astype(int)) >= 0).all()


def test_views_and_flips_are_read_in_place():
    values = np.arange(-600, 600, dtype=np.int16).reshape(30, 40)
    whole = apply_window(values, Window(400, 40))
    assert np.array_equal(apply_window(values[::-1, ::2], Window(400, 40)), whole[::-1, ::2])
    assert np.array_equal(apply_window(values.T, Window(400, 40)), whole.T)


def test_the_table_is_shared_and_cannot_be_damaged():
    table = lookup_table(Window(400, 40, "Mediastinum"))
    assert lookup_table(Window(400, 40, "another name")) is table
    with pytest.raises(ValueError, match="read-only"):
        table[0] = 1


@pytest.mark.parametrize("window", [Window(0, 0), Window(-5, 0), Window(math.nan, 0), Window(10, math.inf)])
def test_a_window_that_is_none_says_so(window):
    with pytest.raises(SettingsError, match="positive width"):
        apply_window(np.zeros((2, 2), np.int16), window)


def test_other_types_are_refused():
    with pytest.raises(TypeError):
        apply_window(np.zeros((2, 2), np.float32), Window(10, 0))


def test_automatic_window_ignores_outliers_and_padding():
    rng = np.random.default_rng(0)
    voxels = rng.integers(-100, 101, (4, 50, 50)).astype(np.int16)
    voxels[0, 0, :5] = 32767
    voxels[:, 30:] = -2000
    volume = Volume("s", "t", voxels, Geometry(), padding_value=-2000)
    window = automatic_window(volume)
    assert -101 <= window.level - window.width / 2 <= -95
    assert 95 <= window.level + window.width / 2 <= 101
    assert automatic_window(voxels).width > 2000
    assert automatic_window(voxels, padding=-2000) == window


def test_automatic_window_of_a_constant_and_of_nothing_is_usable():
    for values in (np.full((3, 3), 7, np.int16), np.zeros((0, 3), np.int16)):
        apply_window(values, automatic_window(values))
    assert automatic_window(np.full((3, 3), 7, np.int16), padding=7).level == pytest.approx(7.5)


def test_the_table_is_the_formula_at_every_value():
    values = np.arange(65536, dtype=np.uint16).view(np.int16)
    draw = np.random.default_rng(0)
    for number in range(120):
        width = float(draw.choice([0.3, 1, 1.5, 2, 80, 400.5, 70000, 10 ** draw.uniform(-3, 6)]))
        level = float(draw.choice([0, 40.5, -32768, 32767, 1e6, -1e6, draw.uniform(-4e4, 4e4)]))
        window = Window(width, level, function=("LINEAR", "LINEAR_EXACT", "SIGMOID")[number % 3])
        wanted = np.floor(display_values(values, window) + 0.5).astype(np.uint8)
        np.testing.assert_array_equal(lookup_table(window), wanted, str(window))
        np.testing.assert_array_equal(lookup_table(window, inverted=True), 255 - wanted)
