import dataclasses

import numpy as np
import pytest
from matplotlib.colors import to_hex

from model_core.base.errors import SettingsError
from model_core.plots import contribution_bars, contribution_map
from model_core.scene.palette import ORANGE, SKY


def bars(figure):
    (container,) = [item for item in figure.axes[0].containers if item.patches[0].get_gid() == "bars"]
    return [(bar.get_width(), to_hex(bar.get_facecolor()).upper()) for bar in container.patches]


def test_the_largest_contributions_are_on_top_and_their_sum_is_written(figure, texts, assert_nothing_cut):
    figure.set_size_inches(6.4, 5.4)
    contribution_bars(figure, [1, 2, 3], [0.2, -1.5, 0.7], baseline=-1.0, logit=-1.6, name="“ill”")
    assert bars(figure) == [(-1.5, SKY), (0.7, ORANGE), (0.2, ORANGE)]
    assert {
        "region 2",
        "region 3",
        "\u22121.50",
        "controls \u22121.00, regions \u22120.60: slice \u22121.60",
    } <= set(texts(figure))
    assert_nothing_cut(figure)


def test_what_has_no_bar_of_its_own_is_summed_by_sign(figure, texts, assert_nothing_cut):
    figure.set_size_inches(6.4, 5.4)
    values = np.linspace(-1, 1, 128)
    contribution_bars(figure, range(1, 129), values, baseline=-1.0, logit=-1.0, name="COVID-19")
    lengths = [width for width, _ in bars(figure)]
    assert sum(lengths) == pytest.approx(values.sum(), abs=1e-9)
    assert lengths[-2] > 0 > lengths[-1]
    assert {"114 others, for", "114 others, against"} <= set(texts(figure))
    assert_nothing_cut(figure)
    contribution_bars(figure, range(1, 129), values, baseline=None, logit=None, name="COVID-19")
    assert len(bars(figure)) == 14
    assert "the largest of 128; they do not add up" in texts(figure)


def test_regions_stay_in_the_order_of_their_scores_where_that_is_asked(figure, texts):
    values = np.linspace(-1, 1, 20)
    contribution_bars(
        figure, range(1, 21), values, baseline=None, logit=None, name="x", largest_first=False
    )  # fmt: skip
    assert [width for width, _ in bars(figure)] == pytest.approx(values[:14].tolist())
    assert "the first of 20; they do not add up" in texts(figure)
    contribution_bars(figure, range(1, 21), values, baseline=0.0, logit=0.0, name="x", largest_first=False)
    assert [width for width, _ in bars(figure)][-2:] == pytest.approx([values[14:].sum(), 0.0])


def test_boxes_lie_on_the_slice_in_the_colour_of_their_contribution(
    figure, roi, artists, texts, assert_nothing_cut
):
    figure.set_size_inches(6.4, 5.4)
    rois = [
        dataclasses.replace(roi(1, 0.9, 100.0), box=(10.0, 20.0, 30.0, 50.0)),
        dataclasses.replace(roi(2, 0.4, 100.0), box=(60.0, 5.0, 90.0, 25.0)),
    ]
    contribution_map(figure, np.zeros((100, 120), np.uint8), rois, [0.3, -0.6], name="“ill”")
    found = artists(figure, "region")
    assert [box.get_bbox().extents.tolist() for box in found] == [list(roi.box) for roi in rois]
    assert [to_hex(box.get_edgecolor()).upper() for box in found][1] == SKY
    axes = figure.axes[0]
    assert axes.get_xlim() == (0, 120)
    assert axes.get_ylim() == (100, 0), "rows run down"
    assert {"1", "2"} <= set(texts(figure))
    assert_nothing_cut(figure)


def test_without_regions_nothing_is_claimed(figure, texts):
    contribution_bars(figure, [], [], baseline=None, logit=None, name="x")
    assert "No contributions" in texts(figure)
    contribution_map(figure, np.zeros((50, 50), np.uint8), [], [], name="x")
    with pytest.raises(SettingsError):
        contribution_bars(figure, [1], [], baseline=None, logit=None, name="x")


def test_what_rounds_to_nothing_has_no_sign(figure, texts):
    contribution_bars(figure, [1, 2], [-0.001, 0.002], baseline=0.0, logit=0.001, name="x")
    assert "0.00" in texts(figure)
    assert not {"+0.00", "\u22120.00"} & set(texts(figure))
