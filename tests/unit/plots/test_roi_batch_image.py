import numpy as np
import pytest

from model_core.base.errors import SettingsError
from model_core.plots import roi_batch_image

ROWS = np.array(
    [[0.8, 2.0, -0.5, 0.1, 0.0], [0.4, -1.0, 0.25, 0.2, 0.0], [0.2, 0.5, 1.0, -0.4, 0.0]], np.float32
)


def _picture(artists, figure):
    (image,) = artists(figure, "batch")
    return np.ma.filled(image.get_array(), np.nan)


def test_each_column_is_scaled_on_its_own(figure, artists):
    roi_batch_image(figure, ROWS)
    shares = _picture(artists, figure)
    assert shares[:, 0] == pytest.approx([1, 0.5, 0.25])
    assert shares[:, 1] == pytest.approx([1, -0.5, 0.25])
    assert shares[:, 2] == pytest.approx([-0.5, 0.25, 1])
    assert shares[:, 3] == pytest.approx([0.25, 0.5, -1])
    assert shares[:, 4] == pytest.approx([0, 0, 0])
    assert artists(figure, "batch")[0].get_clim() == (-1, 1)


def test_columns_are_named_with_their_scale(figure, texts):
    roi_batch_image(figure, ROWS)
    assert {"raw score\n≤ 0.80", "right\n± 2", "down\n± 1", "wider\n± 0.4", "taller\n± 0"} <= set(
        texts(figure)
    )


def test_the_greatest_score_is_never_called_certain(figure, texts):
    rows = np.array(ROWS, np.float32)
    rows[0, 0] = 0.9996
    roi_batch_image(figure, rows)
    assert "raw score\n> 0.99" in texts(figure)


def test_rank_axis_counts_from_one_downwards(figure, texts):
    roi_batch_image(figure, np.repeat(ROWS, 43, axis=0)[:128])
    axes = figure.axes[0]
    assert axes.get_ylabel() == "rank"
    assert axes.get_ylim() == (128.5, 0.5)
    assert {"1", "128"} <= set(texts(figure))


def test_rows_lie_at_their_rank(figure, artists):
    """The pixel in the middle of a row has the colour of its value."""
    roi_batch_image(figure, ROWS)
    figure.canvas.draw()
    image = artists(figure, "batch")[0]
    picture = np.asarray(figure.canvas.buffer_rgba())
    for row, column in ((0, 1), (1, 1), (2, 3), (0, 4)):
        x, y = figure.axes[0].transData.transform((column, row + 1))
        seen = picture[picture.shape[0] - 1 - int(y), int(x), :3]
        expected = np.array(image.cmap(image.norm(_picture(artists, figure)[row, column]))[:3]) * 255
        assert np.abs(seen - expected).max() <= 2


def test_values_that_are_no_numbers_stay_blank(figure, artists):
    rows = ROWS.copy()
    rows[1, 1], rows[2, 2] = np.nan, np.inf
    roi_batch_image(figure, rows)
    figure.canvas.draw()
    shares = _picture(artists, figure)
    assert np.isnan(shares[1, 1])
    assert np.isnan(shares[2, 2])
    assert shares[:, 2][:2] == pytest.approx([-1, 0.5])


def test_selected_rows_are_pointed_at_and_neighbours_join(figure, artists):
    roi_batch_image(figure, np.repeat(ROWS, 5, axis=0), selected=[3, 4, 5, 9, 77, -1])
    (lines,) = artists(figure, "selected")
    spans = sorted((segment[:, 1].min(), segment[:, 1].max()) for segment in lines.get_segments())
    assert spans == [(3.5, 6.5), (9.5, 10.5)]


@pytest.mark.parametrize("rows", [np.zeros((0, 5)), np.zeros((128, 5)), np.full((4, 5), np.nan)])
def test_an_empty_batch_is_a_plain_message(figure, rows, texts):
    roi_batch_image(figure, rows.astype(np.float32))
    assert set(texts(figure)) == {"No regions"}


@pytest.mark.parametrize("shape", [(5,), (5, 4), (2, 5, 1)])
def test_another_shape_is_refused(figure, shape):
    with pytest.raises(SettingsError, match="N x 5"):
        roi_batch_image(figure, np.ones(shape, np.float32))


@pytest.mark.parametrize("count", [1, 2, 128, 1000])
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_nothing_is_cut(figure, count, theme, assert_nothing_cut):
    rows = np.random.default_rng(0).normal(size=(count, 5)).astype(np.float32)
    roi_batch_image(figure, rows, selected=[0], theme=theme)
    assert_nothing_cut(figure)
