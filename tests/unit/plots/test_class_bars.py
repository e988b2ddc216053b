import numpy as np
import pytest
from matplotlib.colors import to_hex

from model_core.base.errors import SettingsError
from model_core.plots import class_bars
from model_core.scene import image_colour

NAMES = ("Control", "Other (non-COVID)", "COVID-19")
LONG = "Community-acquired pneumonia, bacterial, fungal or viral other than SARS-CoV-2, confirmed by culture"


@pytest.fixture
def bars(figure):
    """Lengths and colours of the bars from the top."""

    def read():
        (axes,) = figure.axes
        (container,) = [item for item in axes.containers if item.patches[0].get_gid() == "bars"]
        return [(bar.get_y(), bar.get_width(), bar.get_facecolor()) for bar in container.patches]

    return read


def test_length_is_the_probability_in_the_given_order(figure, bars):
    class_bars(figure, NAMES, [0.04, 0.21, 0.91])
    assert [width for _, width, _ in bars()] == pytest.approx([0.04, 0.21, 0.91])
    assert figure.axes[0].yaxis_inverted(), "the first class is on top"
    assert [top for top, _, _ in bars()] == sorted(top for top, _, _ in bars())
    assert figure.axes[0].get_xlim() == (0, 1)


def test_bars_have_the_colours_of_their_classes(figure, bars):
    class_bars(figure, NAMES, [0.04, 0.21, 0.91])
    assert [to_hex(colour).upper() for _, _, colour in bars()] == [image_colour(name) for name in NAMES]


def test_names_and_values_are_written(figure, texts):
    class_bars(figure, NAMES, np.array([0.04, 0.21, 0.91], np.float32))
    assert {*NAMES, "0.04", "0.21", "0.91"} <= set(texts(figure))


def test_no_probability_is_certain_and_values_have_room(figure, texts, assert_nothing_cut):
    class_bars(figure, NAMES, [0.0, 0.3, 0.9999])
    assert {"< 0.01", "> 0.99"} <= set(texts(figure))
    assert not {"0.00", "1.00"} & set(texts(figure))
    assert_nothing_cut(figure)


def test_the_bias_of_the_network_is_told_and_no_class_stands_out(figure, texts, assert_nothing_cut):
    class_bars(figure, NAMES, [0.1, 0.2, 0.9])
    assert texts(figure)["COVID-19"].get_fontweight() == "bold"
    class_bars(figure, NAMES, [0.1, 0.2, 0.9], from_bias=True)
    assert "the network's bias (0–1)" in texts(figure)
    assert all(texts(figure)[name].get_fontweight() == "normal" for name in NAMES)
    assert_nothing_cut(figure)


def test_a_probability_that_is_no_number_is_a_dash(figure, bars, texts):
    class_bars(figure, NAMES, [float("nan"), 0.5, float("inf")])
    assert [width for _, width, _ in bars()] == [0, 0.5, 0]
    assert "–" in texts(figure)
    assert "0.50" in texts(figure)


def test_values_out_of_range_stay_in_the_axes_but_are_told(figure, bars, texts):
    class_bars(figure, NAMES, [-0.5, 1.5, 1.0])
    assert [width for _, width, _ in bars()] == [0, 1, 1]
    assert {"-0.50", "1.50"} <= set(texts(figure))


@pytest.mark.parametrize("size", [(3.2, 2.2), (2.2, 1.6), (6.4, 2.2)])
def test_long_names_are_broken_and_shortened(figure, texts, size, assert_nothing_cut):
    figure.set_size_inches(*size)
    class_bars(figure, ["Control", LONG, "COVID-19"], [0.1, 0.2, 0.3])
    assert_nothing_cut(figure)
    name = next(text for text in texts(figure) if text.startswith("Community"))
    assert name.count("\n") <= 1
    # No name runs into the bar or the value of its neighbours.
    renderer = figure.canvas.get_renderer()
    boxes = [item.get_window_extent(renderer) for item in figure.axes[0].texts]
    for index, first in enumerate(boxes):
        assert not any(first.overlaps(second) for second in boxes[index + 1 :])


def test_one_class_and_none(figure, bars, texts):
    class_bars(figure, ["COVID-19"], [0.5])
    assert [width for _, width, _ in bars()] == [0.5]
    class_bars(figure, [], [])
    assert set(texts(figure)) == {"No classes"}


def test_as_many_names_as_values(figure):
    with pytest.raises(SettingsError, match="3 names, 2 values"):
        class_bars(figure, NAMES, [0.1, 0.2])
