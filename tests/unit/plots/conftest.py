import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from model_core.base.results import RoiRow


def make_roi(rank, score, area, *, candidate=None, label="Lesion", copies=1, detected=False):
    return RoiRow(
        rank=rank,
        candidate=100 + 7 * rank if candidate is None else candidate,
        score=score,
        label=label,
        box=(0.0, 0.0, 1.0, area),
        area_px=area,
        area_mm2=None,
        copies=copies,
        detected=detected,
    )


@pytest.fixture
def roi():
    return make_roi


@pytest.fixture
def figure():
    """A figure of the smallest panel, 320 x 220 pixels."""
    result = Figure(figsize=(3.2, 2.2), dpi=100)
    FigureCanvasAgg(result)
    return result


@pytest.fixture
def artists():
    """Find artists of a figure by gid."""

    def find(figure, gid):
        return [artist for artist in figure.findobj() if artist.get_gid() == gid]

    return find


@pytest.fixture
def texts():
    """All visible text of a figure, by what it says."""

    def find(figure):
        figure.canvas.draw()
        found = [item for item in figure.findobj() if hasattr(item, "get_text") and item.get_visible()]
        return {item.get_text(): item for item in found if item.get_text()}

    return find


@pytest.fixture
def assert_nothing_cut():
    """Every text lies inside the picture."""

    def check(figure):
        figure.canvas.draw()
        renderer = figure.canvas.get_renderer()
        width, height = figure.canvas.get_width_height()
        for axes in figure.axes:
            labels = [axes.xaxis.label, axes.yaxis.label, *axes.texts]
            for axis in (axes.xaxis, axes.yaxis):
                low, high = sorted(axis.get_view_interval())
                labels += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
                labels += [tick.label2 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
            for label in labels:
                if not label.get_visible() or not label.get_text():
                    continue
                box = label.get_window_extent(renderer)
                assert box.x0 >= -0.5, label.get_text()
                assert box.y0 >= -0.5, label.get_text()
                assert box.x1 <= width + 0.5, label.get_text()
                assert box.y1 <= height + 0.5, label.get_text()

    return check
