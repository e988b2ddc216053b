"""What a region hangs on, as colour on the slice."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from model_core.base.errors import SettingsError
from model_core.plots import region_maps
from model_core.scene.maps import RegionMap


def test_each_map_has_its_panel_around_the_region(figure, texts, artists, assert_nothing_cut):
    figure.set_size_inches(8.6, 7.6)
    grey = np.zeros((200, 300), np.uint8)
    cells = np.arange(49.0).reshape(7, 7) - 24
    pixels = np.zeros((256, 256))
    pixels[100:140, 100:180] = np.linspace(-0.01, 0.01, 80)
    maps = [
        RegionMap("cells", cells, (100, 80, 170, 115)),
        RegionMap("grid", np.eye(6), (80, 70, 190, 125)),
        RegionMap("pixels", pixels, (0, -50, 300, 250), True),
    ]
    region_maps(
        figure, grey, maps, proposal=(100, 80, 170, 115), box=(102, 82, 165, 110), name="Region 1"
    )  # fmt: skip
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title(loc="left") for axes in panels] == ["cells", "grid", "pixels"]
    for axes, one in zip(panels, maps, strict=True):
        drawn = axes.images[-1]
        np.testing.assert_array_equal(drawn.get_array(), one.values)
        left, right, bottom, top = drawn.get_extent()
        assert (left, top, right, bottom) == pytest.approx(one.box)
        # All of the proposal and of the cells is in view, and 0 hides nothing of the slice.
        (x1, x2), (y2, y1) = axes.get_xlim(), axes.get_ylim()
        assert x1 <= 80
        assert x2 >= 190
        assert y1 <= 70
        assert y2 >= 125
        assert drawn.get_cmap()(drawn.norm(0.0))[3] < 0.02
        assert drawn.norm.vmax == -drawn.norm.vmin > 0
        assert len(axes.patches) == 2
    assert any("Region 1" in text for text in texts(figure))
    assert_nothing_cut(figure)
    with pytest.raises(SettingsError, match="no plot theme"):
        region_maps(figure, grey, maps, proposal=(0, 0, 1, 1), box=(0, 0, 1, 1), name="x", theme="pink")


@pytest.mark.filterwarnings("error")
def test_an_empty_proposal_is_drawn_without_a_warning():
    figure = Figure()
    box = (5.0, 7.0, 5.0, 9.0)
    maps = [RegionMap("a", np.ones((7, 7)), box)]
    region_maps(figure, np.zeros((20, 20), np.uint8), maps, proposal=box, box=(4, 6, 6, 10), name="x")
    (drawn,) = (image for image in figure.axes[0].images if image.get_gid() == "map")
    assert drawn.get_extent()[1] > drawn.get_extent()[0]
