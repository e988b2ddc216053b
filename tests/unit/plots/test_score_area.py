from dataclasses import replace

import numpy as np
import pytest
from matplotlib.backend_bases import MouseEvent
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from model_core.plots import picked_candidate, score_area
from model_core.scene import region_colour


@pytest.fixture
def rois(roi):
    return [
        roi(1, 0.95, 4320.0, candidate=31, detected=True),
        roi(2, 0.70, 900.0, candidate=7, detected=True),
        roi(3, 0.41, 1080.0, candidate=256),
        roi(4, 0.20, 64.0, candidate=2),
        roi(5, 0.02, 9.5, candidate=99),
    ]


def _points(artist):
    """(candidate, score, area) of each point."""
    offsets = np.asarray(artist.get_offsets())
    return {
        (int(candidate), float(score), float(area))
        for candidate, (score, area) in zip(artist.candidates, offsets, strict=True)
    }


def test_points_stand_at_score_and_area_and_know_their_candidate(figure, rois, artists):
    score_area(figure, rois)
    groups = artists(figure, "candidate")
    assert set.union(*map(_points, groups)) == {(roi.candidate, roi.score, roi.area_px) for roi in rois}
    assert all(artist.pickable() for artist in groups)


def test_detected_differ_in_shape_not_only_in_colour(figure, rois, artists):
    score_area(figure, rois)
    groups = {len(artist.candidates): artist for artist in artists(figure, "candidate")}
    detected, others = groups[2], groups[3]
    assert set(detected.candidates) == {31, 7}
    assert len(detected.get_paths()[0].vertices) != len(others.get_paths()[0].vertices)
    assert len(others.get_facecolor()) == 0, "open circles"
    assert len(detected.get_facecolor()) > 0, "filled diamonds"


def test_top_leaves_the_rest_as_dots_that_cannot_be_picked(figure, rois, artists):
    score_area(figure, rois[::-1], top=2)
    assert [sorted(artist.candidates) for artist in artists(figure, "candidate")] == [[7, 31]]
    (rest,) = artists(figure, "others")
    assert len(rest.get_offsets()) == 3
    assert not rest.pickable()


def test_the_selected_roi_is_ringed_also_outside_the_top(figure, rois, artists):
    score_area(figure, rois, top=1, selected=2)
    (ring,) = artists(figure, "selected")
    assert np.asarray(ring.get_offsets()).tolist() == [[0.20, 64.0]]


def _click(figure, roi, events, *, off=(0.0, 0.0)):
    axes = figure.axes[0]
    figure.canvas.draw()
    x, y = axes.transData.transform((roi.score, roi.area_px))
    figure.canvas.mpl_connect("pick_event", events.append)
    figure.canvas.callbacks.process(
        "button_press_event",
        MouseEvent("button_press_event", figure.canvas, x + off[0], y + off[1], button=1),
    )


@pytest.mark.parametrize("index", range(5))
@pytest.mark.parametrize("dpi", [100, 200])
def test_a_click_picks_the_roi_under_it(figure, rois, index, dpi):
    figure.set_dpi(dpi)
    score_area(figure, rois, selected=rois[0].candidate)
    events = []
    _click(figure, rois[index], events, off=(1.5, -1.0))
    assert [picked_candidate(event) for event in events] == [rois[index].candidate]


def test_of_two_close_points_the_nearest_is_meant(figure, roi):
    rois = [roi(1, 0.500, 100.0), roi(2, 0.507, 100.0)]
    score_area(figure, rois)
    events = []
    _click(figure, rois[1], events, off=(1.0, 0.0))
    assert [len(event.ind) for event in events] == [2]
    assert picked_candidate(events[0]) == rois[1].candidate


def test_of_two_equal_points_the_best_rank_is_meant(figure, roi):
    rois = [roi(2, 0.5, 100.0), roi(1, 0.5, 100.0)]
    score_area(figure, rois)
    events = []
    _click(figure, rois[0], events)
    assert picked_candidate(events[0]) == rois[1].candidate


def test_other_artists_mean_no_candidate(figure, rois, artists):
    class Event:
        ind = (0,)

    score_area(figure, rois, top=1, selected=31)
    for gid in ("selected", "others"):
        Event.artist = artists(figure, gid)[0]
        assert picked_candidate(Event) is None


def test_area_axis_is_logarithmic_and_readable(figure, rois, texts):
    score_area(figure, rois)
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    assert axes.get_ylabel() == "box area (px)"
    assert {"10", "100", "1\u2009000"} <= set(texts(figure))
    low, high = axes.get_ylim()
    assert low < 9.5
    assert high > 4320


def test_boxes_without_area_have_a_place(figure, roi, artists, texts):
    rois = [roi(1, 0.9, 250.0), roi(2, 0.1, 0.0), roi(3, 0.05, 0.3)]
    score_area(figure, rois)
    axes = figure.axes[0]
    figure.canvas.draw()
    assert axes.get_ylim()[0] < 0
    assert "0" in texts(figure)
    heights = axes.transData.transform([(0.5, roi.area_px) for roi in rois])[:, 1]
    assert np.isfinite(heights).all()
    assert heights[0] > heights[2] > heights[1] > 0


@pytest.mark.parametrize("area", [0.0, 0.4, 1.0, 37.0, 1e6])
def test_one_single_roi(figure, roi, area, assert_nothing_cut):
    score_area(figure, [roi(1, 0.5, area)])
    low, high = figure.axes[0].get_ylim()
    assert low < area < high
    assert_nothing_cut(figure)


def test_values_that_are_no_numbers_are_left_out(figure, roi, artists):
    rois = [roi(1, float("nan"), 5.0), roi(2, 0.4, float("nan")), roi(3, 0.3, 20.0, candidate=5)]
    score_area(figure, rois, selected=rois[0].candidate)
    assert [list(artist.candidates) for artist in artists(figure, "candidate")] == [[5]]
    assert artists(figure, "selected") == []


def test_without_rois_a_plain_message(figure, texts):
    score_area(figure, [])
    assert set(texts(figure)) == {"No regions"}


def test_two_classes_are_named_in_their_colours(figure, roi, texts, artists, assert_nothing_cut):
    rois = [
        roi(1, 0.9, 500.0, label="Ground-glass opacity", detected=True),
        roi(2, 0.5, 300.0, label="Consolidation"),
    ]
    score_area(figure, rois)
    shown = texts(figure)
    assert shown["■ Ground-glass opacity"].get_color() == region_colour("GGO")
    assert shown["■ Consolidation"].get_color() == region_colour("consolidation")
    assert "all 2 regions:   ◆ 1 shown   ○ 1 not shown" in shown
    assert_nothing_cut(figure)


def test_classes_stand_in_the_order_of_the_network(figure, roi, texts):
    labels = ["Ground-glass opacity", "Consolidation"]
    rois = [replace(roi(k, 0.9 / k, 500.0, label=labels[2 - k]), class_number=3 - k) for k in (1, 2)]
    score_area(figure, rois)
    places = [texts(figure)[f"■ {label}"].get_window_extent().x0 for label in labels]
    assert places[0] < places[1]


@pytest.mark.parametrize(("width", "height", "dpi"), [(320, 220, 100), (640, 440, 200), (900, 300, 100)])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nothing_is_cut_at_any_size(figure, rois, width, height, dpi, theme, assert_nothing_cut):
    figure.set_dpi(dpi)
    figure.set_size_inches(width / dpi, height / dpi)
    score_area(figure, rois, theme=theme, selected=31)
    assert_nothing_cut(figure)


@pytest.mark.parametrize(("width", "height"), [(60, 40), (10, 300), (1, 1)])
def test_a_collapsed_panel_draws_without_complaint(figure, rois, width, height):
    figure.set_size_inches(width / 100, height / 100)
    score_area(figure, rois)
    figure.canvas.draw()
    box = figure.axes[0].get_position()
    assert box.width > 0
    assert box.height > 0


def test_a_thousand_rois(figure, roi, artists):
    generator = np.random.default_rng(0)
    rois = [
        roi(rank, float(generator.random()), float(generator.integers(1, 9000))) for rank in range(1, 1001)
    ]
    score_area(figure, rois)
    figure.canvas.draw()
    assert sum(len(artist.candidates) for artist in artists(figure, "candidate")) == 1000


def test_regions_of_the_class_alone_are_counted_as_such(figure, roi, texts, assert_nothing_cut):
    score_area(figure, [roi(k, 0.9 / k, 500.0 * k, detected=None) for k in (1, 2, 3)])
    assert "○ 3 regions of the class, apart from the detections" in texts(figure)
    assert_nothing_cut(figure)


def test_a_low_plot_names_both_axes_in_one_line(figure, rois, texts, assert_nothing_cut):
    figure.set_size_inches(4.4, 1.0)
    score_area(figure, rois, calibrated=True)
    assert "calibrated score (0–1)   ↑ box area (px)" in texts(figure)
    assert "box area (px)" not in texts(figure)
    assert_nothing_cut(figure)
    figure.set_size_inches(4.4, 3.0)
    assert {"calibrated score (0–1)", "box area (px)"} <= set(texts(figure))


def test_a_figure_that_is_drawn_again_looks_like_a_new_one(rois):
    pictures = []
    for times in ([rois[:2], rois[::-1], rois[1:4]], [rois[1:4]]):
        figure = Figure((4, 2.5))
        canvas = FigureCanvasAgg(figure)
        for some in times:
            score_area(figure, some, top=2, selected=some[0].candidate)
        canvas.draw()
        pictures.append(np.asarray(canvas.buffer_rgba()).copy())
    assert pictures[0].std() > 5
    np.testing.assert_array_equal(*pictures)
