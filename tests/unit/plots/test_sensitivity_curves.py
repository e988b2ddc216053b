from types import SimpleNamespace

import pytest
from gui_fakes import make_sensitivity

from model_core.base.settings import EvidenceSettings
from model_core.plots.sensitivity import sensitivity_curves


@pytest.fixture
def found():
    return make_sensitivity(0, SimpleNamespace(settings=EvidenceSettings()))


def test_lines_are_named_where_there_is_room(figure, found, texts, assert_nothing_cut):
    names = {f"■ {name}" for name in found.outputs}
    sensitivity_curves(figure, found)
    assert names <= set(texts(figure))
    assert_nothing_cut(figure)
    high = figure.axes[0].get_position().height
    figure.set_size_inches(4.4, 1.0)
    assert not names & set(texts(figure))
    short = {name.split(" (")[0] for name in found.outputs}
    assert short <= set(texts(figure)), "without a line of its own they stand beside the note"
    assert "shaded: not as trained" not in texts(figure)
    assert_nothing_cut(figure)
    figure.set_size_inches(3.2, 1.0)
    assert short <= set(texts(figure)), "the names come before the note"
    assert not any("changes at" in text for text in texts(figure))
    assert_nothing_cut(figure)
    figure.set_size_inches(4.4, 1.0)
    assert "score threshold   ↑ probability" in texts(figure)
    assert_nothing_cut(figure)
    figure.set_size_inches(3.2, 2.2)
    figure.canvas.draw()
    assert figure.axes[0].get_position().height == pytest.approx(high)


def test_without_a_calibration_it_is_the_class_that_changes(figure, found, texts):
    sensitivity_curves(figure, found)
    assert "class changes at score 0.50" in texts(figure)
