"""The slice strip: what it says, and where it leads."""

from dataclasses import replace

import numpy as np
import pytest
from gui_fakes import make_card, make_verdict, make_volume
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QApplication

from ctmasknet_gui.state import AppState, LungSlices
from ctmasknet_gui.view.strip import SliceStrip
from model_core.base.results import SliceSummary
from model_core.base.volume import PartialVolume
from model_core.scene.palette import AMBER, GREEN, NEUTRAL, NO_CLASS, PNEUMONIA

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def state():
    state = AppState()
    state.weights.cards = (make_card(),)
    state.case.volume = make_volume(slices=20)
    return state


@pytest.fixture
def strip(qtbot, state):
    widget = SliceStrip(state)
    qtbot.addWidget(widget)
    widget.resize(44, 412)
    widget.show()
    return widget


def summary(index, detections=2, px=300, mm2=1420.0, probabilities=(0.1, 0.2, 0.91)):
    return SliceSummary(index, detections, px, mm2, probabilities)


def bar_length(strip, index):
    image, y = strip.grab().toImage(), round(strip.centre_of(index))
    return sum(image.pixelColor(x, y).name() == NEUTRAL.lower() for x in range(14, image.width()))


def test_every_row_leads_to_its_slice(strip):
    for index in range(20):
        assert strip.index_at(strip.centre_of(index)) == index
    assert strip.index_at(-50) == 0
    assert strip.index_at(9999) == 19


def test_click_and_drag_ask_for_slices(strip, qtbot):
    asked = []
    strip.slice_requested.connect(asked.append)
    qtbot.mousePress(strip, LEFT, pos=QPoint(20, round(strip.centre_of(4))))
    qtbot.mouseRelease(strip, LEFT, pos=QPoint(20, round(strip.centre_of(4))))
    qtbot.mouseClick(strip, Qt.MouseButton.RightButton, pos=QPoint(20, round(strip.centre_of(9))))
    assert asked == [4]
    qtbot.mousePress(strip, LEFT, pos=QPoint(20, round(strip.centre_of(6))))
    qtbot.mouseMove(strip, QPoint(20, round(strip.centre_of(12))))
    assert asked[1] == 6


def test_keys_and_wheel_move(strip, state, qtbot):
    asked = []
    strip.slice_requested.connect(asked.append)
    state.display.slice_index = 12
    for key in ("Up", "Down", "PageUp", "PageDown", "Home", "End"):
        qtbot.keyClick(strip, getattr(Qt.Key, f"Key_{key}"))
    assert asked == [11, 13, 2, 19, 0, 19]
    position = QPointF(10, 10)
    event = QWheelEvent(
        position, strip.mapToGlobal(position), QPoint(), QPoint(0, -240), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(strip, event)
    assert asked[-1] == 14
    assert state.display.slice_index == 12, "a view never writes state"


def test_words_for_every_kind_of_slice(strip, state):
    assert strip.describe(3) == "Slice 4 / 20: not analysed yet"
    state.results.summaries = {
        3: summary(3),
        4: summary(4, detections=1, mm2=None, probabilities=None),
        5: summary(5, detections=0, px=0, mm2=0.0, probabilities=(0.9, 0.0, 0.1)),
    }
    assert strip.describe(3) == "Slice 4 / 20: 2 findings, 14.2 cm²\nCOVID-19 0.91"
    assert strip.describe(4) == "Slice 5 / 20: 1 finding, 300 px"
    assert strip.describe(5) == "Slice 6 / 20: no findings\nControl 0.90"
    state.display.slice_index = 3
    assert "COVID-19" in strip.accessibleDescription()


def test_the_networks_bias_is_no_class_of_a_slice(strip, state):
    state.results.summaries = {3: summary(3)}
    before = strip.grab().toImage()
    state.results.summaries = {3: replace(summary(3), from_bias=True)}
    assert "no region left in the evidence: the network's bias (COVID-19" in strip.describe(3)
    assert strip.grab().toImage() != before


def test_calibrated_weights_say_ill_or_not_in_words_and_colours(strip, state):
    ill = replace(summary(3), lung=True, ill_probability=0.93, kind="undecided")
    well = replace(summary(5, detections=0, px=0), lung=True, ill_probability=0.08)
    doubt = replace(well, slice_index=7, ill_probability=0.9)
    outside = replace(summary(9, detections=0, px=0), lung=False)
    state.results.summaries = {s.slice_index: s for s in (ill, well, doubt, outside)}
    assert strip.describe(3).endswith("14.2 cm²\nPneumonia signs, pneumonia 0.93, kind undecided")
    assert strip.describe(5).endswith("no findings\nNo clear pneumonia signs, pneumonia 0.08")
    assert "Uncertain" in strip.describe(7)
    assert strip.describe(9).endswith("Outside the lung: no class")
    image = strip.grab().toImage()
    colours = [image.pixelColor(8, round(strip.centre_of(k))).name() for k in (3, 5, 7, 9)]
    assert colours == [colour.lower() for colour in (PNEUMONIA, GREEN, AMBER, NO_CLASS)]


def test_the_slices_that_decide_are_marked(strip, state):
    state.results.summaries = {k: summary(k) for k in range(20)}
    before = strip.grab().toImage()
    state.results.scan = make_verdict(deciding=(4, 9))
    image = strip.grab().toImage()
    changed = [
        k
        for k in range(20)
        if image.pixel(1, round(strip.centre_of(k))) != before.pixel(1, round(strip.centre_of(k)))
    ]
    assert changed == [4, 9]
    assert "One of the slices that decide" in strip.describe(4)
    assert "decide" not in strip.describe(5)


def test_bars_follow_the_lesion_area(strip, state):
    assert bar_length(strip, 6) == 0
    state.results.summaries = {6: summary(6, px=400), 8: summary(8, px=200), 10: summary(10, px=0)}
    assert bar_length(strip, 6) > 15
    assert bar_length(strip, 8) == pytest.approx(bar_length(strip, 6) / 2, abs=1)
    assert bar_length(strip, 10) == 0


def has_tip(strip, index):
    image, y = strip.grab().toImage(), round(strip.centre_of(index))
    return image.pixelColor(37, y).name() == "#ffffff"


def test_one_outlier_does_not_flatten_the_strip(strip, state):
    areas = {k: summary(k, px=100 + 10 * k) for k in range(1, 10)}
    state.results.summaries = areas
    usual = bar_length(strip, 5)
    assert usual > 15
    state.display.slice_index = 19
    state.results.summaries = {**areas, 12: summary(12, px=40_000)}
    assert bar_length(strip, 5) == pytest.approx(usual, abs=2)
    assert bar_length(strip, 12) == pytest.approx(bar_length(strip, 9) - 5, abs=1), "full, but for the tip"
    assert "(bar cut)" in strip.describe(12)
    assert has_tip(strip, 12)
    assert not has_tip(strip, 9)
    assert "(bar cut)" not in strip.describe(9)


def test_areas_that_merely_differ_are_drawn_whole(strip, state):
    state.results.summaries = {k: summary(k, px=100 * k) for k in range(1, 12)}
    assert strip.full_scale == 1100
    state.results.summaries = {1: summary(1, px=10), 2: summary(2, px=9000)}
    assert strip.full_scale == 9000, "of two slices none is the outlier"
    state.results.summaries = {}
    assert strip.full_scale == 0


def test_class_and_area_have_colours_of_their_own(strip, state):
    state.results.summaries = {6: summary(6)}
    image, y = strip.grab().toImage(), round(strip.centre_of(6))
    assert image.pixelColor(8, y).red() > image.pixelColor(8, y).green() + 40, "the class"
    assert image.pixelColor(18, y).name() == NEUTRAL.lower(), "the area, of whatever regions"


def test_analysed_and_not_analysed_rows_differ(strip, state):
    state.results.summaries = {6: summary(6, detections=0, px=0)}
    image = strip.grab().toImage()
    done, pale = (image.pixelColor(8, round(strip.centre_of(k))) for k in (6, 7))
    assert done.lightness() > pale.lightness()


def test_slices_outside_the_lungs_are_grey_and_take_no_part(strip, state):
    state.case.lungs = LungSlices((False, False, *[True] * 16, None, False))
    first, *more = strip.describe(0).splitlines()
    assert first == "Slice 1 / 20: outside the lung, no class"
    assert more == ["A run of the series leaves it out; Run slice (Ctrl+R) analyses it"]
    assert strip.describe(18) == "Slice 19 / 20: not analysed yet", "unknown is not outside"
    before = strip.grab().toImage()
    state.results.summaries = {1: summary(1, px=90_000), 6: summary(6), 18: summary(18), 19: summary(19)}
    assert "2 findings, 14.2 cm², which count for nothing" in strip.describe(1)
    assert "COVID-19" not in strip.describe(1)
    assert "COVID-19" in strip.describe(18)
    assert strip.full_scale == 300
    after = strip.grab().toImage()
    for index in (0, 1, 19):
        y = round(strip.centre_of(index))
        grey = after.pixelColor(8, y)
        assert max(grey.red(), grey.green(), grey.blue()) - min(grey.red(), grey.green(), grey.blue()) < 12
        assert grey == before.pixelColor(8, y) == after.pixelColor(30, y)
    assert bar_length(strip, 1) == 0
    assert bar_length(strip, 6) > 20


@pytest.mark.parametrize("slices", [1, 2, 399, 3000])
def test_any_number_of_slices(strip, state, slices):
    state.case.volume = make_volume(slices=slices, shape=(2, 2))
    state.results.summaries = {slices - 1: summary(slices - 1)}
    state.display.slice_index = slices - 1
    for height in (80, 412):
        strip.resize(44, height)
        assert not strip.grab().isNull()
        assert strip.index_at(height) == slices - 1


@pytest.mark.parametrize(("slices", "height"), [(20, 412), (148, 671), (300, 713), (300, 412), (399, 600)])
def test_rows_drawn_one_by_one_are_those_drawn_at_once(strip, state, slices, height):
    state.case.volume = make_volume(slices=slices, shape=(2, 2))
    strip.resize(44, height)
    strip.grab()
    draw = np.random.default_rng(slices)
    for number in draw.permutation(slices)[: slices // 2].tolist():
        area = int(draw.integers(0, 400))
        new = summary(
            number, px=area, detections=int(area > 0), probabilities=tuple(draw.dirichlet((1, 1, 1)))
        )
        state.results.summaries = {**state.results.summaries, number: new}
        strip.grab()
    some = next(iter(state.results.summaries))
    state.results.summaries = {k: s for k, s in state.results.summaries.items() if k != some}
    drawn = strip.grab().toImage()
    # Another size is drawn anew.
    strip.resize(44, height + 1)
    strip.grab()
    strip.resize(44, height)
    assert drawn == strip.grab().toImage()


def test_nothing_open(strip, state, qtbot):
    state.case.volume = None
    asked = []
    strip.slice_requested.connect(asked.append)
    qtbot.mouseClick(strip, LEFT)
    qtbot.keyClick(strip, Qt.Key.Key_Down)
    strip.grab()
    assert asked == []


def test_rows_appear_as_slices_are_read(strip, state):
    ready = np.zeros(20, bool)
    ready[4] = True
    volume, state.case.volume = state.case.volume, None
    state.case.partial = PartialVolume(volume, ready, 4)

    def colour(index):
        return strip.grab().toImage().pixelColor(8, round(strip.centre_of(index)))

    assert strip.slices == 20
    assert "not read yet" in strip.describe(9)
    assert "not analysed yet" in strip.describe(4)
    assert colour(4) != colour(9)
    ready[9] = True
    state.run.done = 2
    assert colour(4) == colour(9)
