"""Typed numbers mean the same under every locale of the system."""

import pytest
from PySide6.QtCore import QEvent, QLocale, Qt
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import QAbstractSpinBox, QApplication, QDoubleSpinBox, QSpinBox
from window_case import fill

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.explanation.threshold_panel import ThresholdPanel
from ctmasknet_gui.view.export_dialog import ExportDialog
from ctmasknet_gui.view.numbers import NumberBox, WholeNumberBox, plain_number

NO_KEYS = Qt.KeyboardModifier.NoModifier
LOCALES = ("en_US", "de_DE", "fr_FR", "ar_EG", "hi_IN")


@pytest.fixture(params=LOCALES)
def locale(request):
    before = QLocale()
    QLocale.setDefault(QLocale(request.param))
    yield request.param
    QLocale.setDefault(before)


def type_into(qtbot, spin, text):
    spin.setFocus()
    spin.selectAll()
    qtbot.keyClick(spin, Qt.Key.Key_Delete)
    for character in text:
        QApplication.sendEvent(spin, QKeyEvent(QEvent.Type.KeyPress, 0, NO_KEYS, character))
    qtbot.keyClick(spin, Qt.Key.Key_Return)


@pytest.mark.parametrize("typed", ["0.5", "0,5", ".5", ",50", "٠٫٥", "۰٫۵", "०.५", "0٫5"])
def test_a_threshold_is_typed_with_a_point_or_a_comma_in_any_digits(qtbot, locale, typed):
    state = fill(AppState())
    panel = ThresholdPanel(state)
    qtbot.addWidget(panel)
    panel.show()
    heard = []
    panel.detectionsChanged.connect(heard.append)
    panel.evidenceChanged.connect(heard.append)
    for slider in (panel.score, panel.evidence_score):
        type_into(qtbot, slider.spin, typed)
        assert slider.value == 0.5
        assert slider.spin.text() == "0.50", "shown as everywhere in the window"
    assert [settings.score for settings in heard] == [0.5, 0.5]


@pytest.mark.parametrize("typed", ["-2.5", "-2,5", "−2.5", "؜-٢٫٥"])
def test_a_logit_may_be_negative(qtbot, locale, typed):
    panel = ThresholdPanel(fill(AppState()))
    qtbot.addWidget(panel)
    panel.show()
    type_into(qtbot, panel.mask_level.spin, typed)
    assert panel.mask_level.value == -2.5


@pytest.mark.parametrize("typed", ["1.000,5", "0.5.5", "abc", "1e3", "0,5,", "7"])
def test_what_is_no_number_of_the_range_changes_nothing(qtbot, locale, typed):
    spin = NumberBox()
    qtbot.addWidget(spin)
    spin.setRange(0.0, 1.0)
    spin.setValue(0.25)
    spin.lineEdit().setText(typed)
    spin.interpretText()
    assert spin.value() == 0.25
    assert spin.text() == "0.25"


def test_whole_numbers_and_suffixes(qtbot, locale, tmp_path):
    dialog = ExportDialog(fill(AppState()), kind="png", folder=tmp_path)
    qtbot.addWidget(dialog)
    dialog.show()
    for typed in ("1,5", "1.5", "١٫٥"):
        dialog.scale.setValue(4.0)
        dialog.scale.lineEdit().setText(f"{typed} ×")
        dialog.scale.interpretText()
        assert dialog.scale.value() == 1.5
    for typed in ("3", "٣"):
        dialog.last.setValue(7)
        dialog.last.lineEdit().setText(typed)
        dialog.last.interpretText()
        assert dialog.last.value() == 3
    for typed in ("1.5", "1,5"):  # not 15
        dialog.first.setValue(2)
        dialog.first.lineEdit().setText(typed)
        dialog.first.interpretText()
        assert dialog.first.value() == 2


def test_every_number_field_of_the_window_is_such_a_field(qtbot, tmp_path):
    state = fill(AppState())
    for widget in (ThresholdPanel(state), ExportDialog(state, kind="png", folder=tmp_path)):
        qtbot.addWidget(widget)
        fields = widget.findChildren(QAbstractSpinBox)
        assert fields
        for kind, ours in ((QDoubleSpinBox, NumberBox), (QSpinBox, WholeNumberBox)):
            assert all(isinstance(field, ours) for field in fields if isinstance(field, kind))


def test_marks_of_direction_and_spaces_say_nothing():
    assert plain_number("\u200f\u061c-\u0663\u066b\u0661\u00a0") == "-3.1"
