"""After a click on any control the reading keys still move the slices; Tab reaches every control."""

import pytest
from gui_fakes import make_volume
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QApplication,
    QComboBox,
    QListWidget,
    QStyle,
    QStyleOptionSpinBox,
)
from window_case import fill, hear, heard_use_cases

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.main_window import MainWindow

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def state():
    return fill(AppState())


@pytest.fixture
def window(qtbot, state):
    window = MainWindow(state, heard_use_cases())
    qtbot.addWidget(window)
    window.resize(1280, 800)
    window.show()
    qtbot.waitExposed(window)
    window.activateWindow()
    window.viewport.setFocus()
    return window


def controls(window):
    thresholds, table = window.explanation.thresholds, window.explanation.table
    return {
        "slider": thresholds.score.slider,
        "opacity": window.tool_bar.opacity,
        "link": thresholds.link,
        "NMS": thresholds.nms.check,
        "reset": thresholds.reset_detections,
        "top": table.top_button,
        "all": table.all_button,
    }


@pytest.mark.parametrize("name", ["slider", "opacity", "link", "NMS", "reset", "top", "all"])
def test_a_click_leaves_the_keys_with_the_slices(qtbot, window, state, name):
    from dataclasses import replace

    state.thresholds.detections = replace(state.thresholds.detections, score=0.3)
    qtbot.mouseClick(controls(window)[name], LEFT)
    steps, cines = hear(window.use.step), hear(window.use.toggle_cine)
    detections, opacities = hear(window.use.set_detections), hear(window.use.set_opacity)
    assert QApplication.focusWidget() is window.viewport
    for key in (Qt.Key.Key_Down, Qt.Key.Key_PageDown, Qt.Key.Key_Space):
        QTest.keyClick(QApplication.focusWidget(), key)
    assert steps == [1, 10]
    assert len(cines) == 1
    assert (detections, opacities) == ([], [])


def test_tab_reaches_every_control(window):
    kinds = (QAbstractButton, QAbstractSlider, QComboBox, QListWidget)
    found = [w for kind in kinds for w in window.findChildren(kind) if w.focusPolicy()]
    assert len(found) > 25
    for control in found:
        assert control.focusPolicy() & Qt.FocusPolicy.TabFocus, control
        assert not control.focusPolicy() & Qt.FocusPolicy.ClickFocus, control


def test_a_choice_from_a_list_box_gives_the_keys_back(qtbot, window):
    box = window.explanation.thresholds.scoring
    qtbot.mouseClick(box, LEFT)
    qtbot.waitUntil(box.view().isVisible)
    qtbot.keyClick(box.view(), Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: not box.view().isVisible())
    assert QApplication.focusWidget() is window.viewport


def test_numbers_are_typed_after_a_click_and_return_gives_the_keys_back(qtbot, window):
    detections, steps = hear(window.use.set_detections), hear(window.use.step)
    spin = window.explanation.thresholds.score.spin
    qtbot.mouseClick(spin.lineEdit(), LEFT)
    assert spin.hasFocus()
    spin.selectAll()
    qtbot.keyClicks(spin, "0.25")
    qtbot.keyClick(spin, Qt.Key.Key_Return)
    assert [settings.score for settings in detections] == [0.25]
    assert QApplication.focusWidget() is window.viewport
    qtbot.keyClick(window.viewport, Qt.Key.Key_Down)
    assert steps == [1]


def test_escape_drops_what_was_typed_and_stops_nothing(qtbot, window, state):
    state.run.total, state.run.kind = 148, "run"
    detections, stops = hear(window.use.set_detections), hear(window.use.stop)
    spin = window.explanation.thresholds.score.spin
    spin.setFocus()
    before = spin.text()
    spin.selectAll()
    qtbot.keyClicks(spin, "0.9")
    qtbot.keyClick(spin, Qt.Key.Key_Escape)
    assert spin.text() == before
    assert (detections, stops) == ([], [])
    assert QApplication.focusWidget() is window.viewport
    qtbot.keyClick(window.viewport, Qt.Key.Key_Escape)
    assert len(stops) == 1


def test_the_arrows_of_a_number_take_no_keys(qtbot, window):
    detections = hear(window.use.set_detections)
    spin = window.explanation.thresholds.score.spin
    option = QStyleOptionSpinBox()
    spin.initStyleOption(option)
    control, part = QStyle.ComplexControl.CC_SpinBox, QStyle.SubControl.SC_SpinBoxUp
    up = spin.style().subControlRect(control, option, part, spin)
    qtbot.mouseClick(spin, LEFT, pos=up.center())
    assert [settings.score for settings in detections] == [pytest.approx(0.41)]
    assert QApplication.focusWidget() is window.viewport


def test_a_picked_series_and_an_opened_volume_give_the_keys_to_the_slices(qtbot, window, state):
    chosen = hear(window.use.open_series)
    series = window.series.list
    series.setFocus(Qt.FocusReason.TabFocusReason)
    place = series.visualItemRect(series.item(1)).center()
    qtbot.mouseClick(series.viewport(), LEFT, pos=QPoint(place))
    assert chosen == ["second"]
    assert QApplication.focusWidget() is window.viewport
    window.tool_bar.opacity.setFocus()
    state.case.volume = make_volume("second", slices=5)
    assert QApplication.focusWidget() is window.viewport
