"""The class and the marked area along the slices of a scan."""

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.figure import Figure

from model_core.base.results import SliceSummary
from model_core.plots import scan_profile
from model_core.plots.style import NOTE, axes_state


def summary(index, area, chance, *, lung=True):
    return SliceSummary(
        index, int(area > 0), round(area * 2), area, (0.1, 0.2, 0.7), lung=lung, ill_probability=chance
    )


AREAS = (0, 200, 400, 250, 100, 0, 9000)
SCAN = [summary(k + 2, area, 0.1 + 0.1 * k) for k, area in enumerate(AREAS)]


def bars(axes, artists):
    (drawn,) = artists(axes.figure, "areas")
    return {round(path.get_extents().x0 + 0.5): -path.get_extents().y0 for path in drawn.get_paths()}


def note(axes):
    return " ".join(text.get_text() for text in axes.texts if text.get_gid() == NOTE)


def test_points_are_probabilities_and_bars_areas_at_their_slices(figure, artists):
    scan_profile(figure, SCAN, slices=12, deciding=(4, 3), visible=5)
    (axes,) = figure.axes
    (points,) = artists(figure, "chances")
    assert points.get_offsets().data == pytest.approx(
        np.array([(k + 3.0, 0.1 + 0.1 * k) for k in range(len(AREAS))])
    )
    # The outlier would make the others too short to tell apart: the longest stands for 4 cm².
    assert bars(axes, artists) == pytest.approx({4: 0.25, 5: 0.5, 6: 0.3125, 7: 0.125, 9: 0.5})
    ticks = dict(zip(axes.yaxis.get_major_formatter().seq, axes.yaxis.get_major_locator().locs, strict=True))
    assert ticks == {"4": -0.5, "0": 0, "0.5": 0.5, "1": 1}
    assert "marked area, cm² (1 cut)" in note(axes)
    (marks,) = artists(figure, "deciding")
    assert marks.get_offsets()[:, 0].tolist() == [5, 4]
    (here,) = artists(figure, "visible")
    assert here.get_segments()[0][:, 0].tolist() == [6, 6]
    assert axes.get_xlim() == (0.5, 12.5)
    scan_profile(figure, SCAN[:1], slices=3)
    inside = [tick for tick in axes.get_xticks() if 0.5 <= tick <= 3.5]
    assert inside == [1, 2, 3]


def test_slices_without_lung_are_shaded_analysed_or_not(figure, artists):
    scan = [replace(one, lung=one.slice_index != 4) for one in SCAN]
    scan_profile(figure, scan, slices=12, outside=(0, 1, 3, 11))
    (shaded,) = artists(figure, "outside")
    found = [(path.get_extents().x0, path.get_extents().x1) for path in shaded.get_paths()]
    assert found == [(0.5, 2.5), (3.5, 5.5), (11.5, 12.5)]
    assert "grey: no lung" in note(figure.axes[0])
    scan_profile(figure, SCAN, slices=12)
    assert artists(figure, "outside") == []
    assert "no lung" not in note(figure.axes[0])


def test_axes_stay_while_slices_are_scrolled_and_thresholds_moved(figure):
    scan_profile(figure, SCAN, slices=12, deciding=(4,), visible=5)
    (axes,), state = figure.axes, axes_state(figure.axes[0])
    moved = [replace(one, lesion_mm2=0.8 * one.lesion_mm2, ill_probability=0.4) for one in SCAN]
    scan_profile(figure, moved, slices=12, visible=7)
    assert figure.axes == [axes]
    assert axes_state(axes) == state, "so that their picture is kept"


def test_areas_without_a_pixel_size_are_pixels(figure, artists):
    scan = [replace(one, lesion_mm2=None) for one in SCAN[:3]]
    scan_profile(figure, scan, slices=12)
    assert "marked area, px" in note(figure.axes[0])
    assert bars(figure.axes[0], artists) == pytest.approx({4: 0.25, 5: 0.5})
    scan_profile(figure, [summary(0, 0, None)], slices=12)
    assert artists(figure, "areas") == []
    assert artists(figure, "chances") == []
    scan_profile(figure, [], slices=12)
    assert figure.axes == []


@pytest.mark.parametrize("width", [3.4, 4.4, 7.2])
def test_words_above_the_profile_do_not_meet(width):
    figure = Figure(figsize=(width, 1.2))
    scan_profile(figure, SCAN, slices=12, deciding=(4,), outside=(0,), theme="light")
    figure.draw_without_rendering()
    places = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(places) == 3
    assert not any(a.overlaps(b) for k, a in enumerate(places) for b in places[k + 1 :])
    assert min(place.x0 for place in places) >= 0
    assert max(place.x1 for place in places) <= figure.bbox.x1


def test_without_clear_signs_the_triangles_mark_what_looks_most_ill(figure, texts, assert_nothing_cut):
    scan_profile(figure, SCAN, slices=12, deciding=(4,), outside=(0,))
    assert "▼ deciding" in texts(figure)
    scan_profile(figure, SCAN, slices=12, deciding=(4,), outside=(0,), control=True)
    assert "▼ look most ill" in texts(figure)
    assert_nothing_cut(figure)
