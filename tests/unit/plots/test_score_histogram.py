import numpy as np
import pytest

from model_core.base.errors import SettingsError
from model_core.plots import score_histogram

SCORES = (0.97, 0.62, 0.61, 0.41, 0.021, 0.02, 0.01, 0.0)


@pytest.fixture
def rois(roi):
    return [roi(rank + 1, score, 50.0, copies=rank + 1) for rank, score in enumerate(SCORES)]


def _heights(artist):
    return artist.get_data().values


def test_counts_of_each_bin(figure, rois, artists):
    score_histogram(figure, rois)
    (shown,) = artists(figure, "shown")
    assert np.allclose(shown.get_data().edges, np.linspace(0, 1, 21))
    expected = np.zeros(20)
    expected[[0, 8, 12, 19]] = (4, 1, 2, 1)
    assert np.array_equal(_heights(shown), expected)
    assert artists(figure, "others") == []


def test_copies_count_rows_of_the_batch(figure, rois, artists):
    score_histogram(figure, rois, copies=True)
    heights = _heights(artists(figure, "shown")[0])
    assert heights.sum() == sum(range(1, 9))
    assert heights[19] == 1
    assert heights[0] == 5 + 6 + 7 + 8
    assert figure.axes[0].get_ylabel() == "rows of the batch"


def test_top_highlights_the_best_ranks_whatever_the_order(figure, rois, artists, texts):
    score_histogram(figure, rois[::-1], top=3)
    assert _heights(artists(figure, "shown")[0]).sum() == 3
    assert _heights(artists(figure, "others")[0]).sum() == len(rois)
    assert "best 3 of 8 regions" in texts(figure)


def test_top_beyond_the_number_of_rois_is_all(figure, rois, artists, texts):
    score_histogram(figure, rois, top=16)
    assert _heights(artists(figure, "shown")[0]).sum() == 8
    assert "8 regions" in texts(figure)


def test_the_selected_score_is_marked_also_outside_the_top(figure, rois, artists, texts):
    score_histogram(figure, rois, top=2, selected=rois[3].candidate)
    (line,) = artists(figure, "selected")
    assert list(line.get_xdata()) == [0.41, 0.41]
    assert "#4: 0.41" in texts(figure)


def test_an_unknown_selection_marks_nothing(figure, rois, artists):
    score_histogram(figure, rois, selected=-5)
    assert artists(figure, "selected") == []


def test_logarithmic_counts(figure, roi, artists):
    score_histogram(figure, [roi(rank, 0.01, 9.0) for rank in range(1, 500)], log=True)
    axes = figure.axes[0]
    assert axes.get_yscale() == "log"
    figure.canvas.draw()
    assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "10", "100"]


def test_values_that_are_no_numbers_are_left_out_and_told(figure, roi, artists, texts):
    rows = [roi(1, 0.5, 10.0), roi(2, float("nan"), 10.0), roi(3, 0.4, float("inf"))]
    score_histogram(figure, rows)
    assert _heights(artists(figure, "shown")[0]).sum() == 1
    assert "1 region, 2 without values" in texts(figure)


@pytest.mark.parametrize("rows", [[], ["nan"]])
def test_without_rois_a_plain_message(figure, roi, rows, texts):
    score_histogram(figure, [roi(1, float(score), 1.0) for score in rows])
    assert set(texts(figure)) == {"No regions"}
    assert figure.axes == []


def test_scores_outside_the_range_fall_into_the_last_bins(figure, roi, artists):
    score_histogram(figure, [roi(1, 1.0000001, 4.0), roi(2, -1e-9, 4.0)])
    heights = _heights(artists(figure, "shown")[0])
    assert heights[[0, 19]].tolist() == [1, 1]


def test_drawing_again_replaces(figure, rois, artists):
    score_histogram(figure, rois, selected=rois[0].candidate)
    score_histogram(figure, rois[:2])
    assert len(figure.axes) == 1
    assert _heights(artists(figure, "shown")[0]).sum() == 2
    score_histogram(figure, [])
    assert figure.axes == []


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_labels_and_theme(figure, rois, theme, assert_nothing_cut):
    score_histogram(figure, rois, theme=theme, selected=rois[1].candidate, top=4)
    assert figure.axes[0].get_xlabel() == "raw score (0–1)"
    assert_nothing_cut(figure)
    score_histogram(figure, rois, theme=theme, calibrated=True)
    assert figure.axes[0].get_xlabel() == "calibrated score (0–1)"
    figure.canvas.draw()
    corner = np.asarray(figure.canvas.buffer_rgba())[0, 0, :3]
    assert corner.mean() < 60 if theme == "dark" else corner.mean() == 255
    assert_nothing_cut(figure)


def test_wrong_arguments_are_refused(figure, rois):
    with pytest.raises(SettingsError, match="top is 1 or more, not 0"):
        score_histogram(figure, rois, top=0)
    with pytest.raises(SettingsError, match="dark or light"):
        score_histogram(figure, rois, theme="pink")
