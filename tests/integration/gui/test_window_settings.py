"""What one start leaves behind for the next."""

import pytest
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from ctmasknet_gui.app import build


def test_window_and_choices_are_remembered(make_app):
    first = make_app()
    first.open()
    first.key(Qt.Key.Key_3)
    first.commands.logits.trigger()
    first.commands.boxes.trigger()
    first.commands.labels.trigger()
    first.window.use.set_opacity(0.6)
    first.commands.privacy.trigger()
    first.window.resize(1400, 860)
    first.window.series_dock.hide()
    QApplication.processEvents()
    assert first.close()
    second = make_app()
    display = second.state.display
    assert display.window.name == "Mediastinum"
    assert display.logits
    assert display.boxes
    assert not display.labels
    second.commands.logits.trigger()
    assert display.outlines, "the logit map had taken them off"
    assert display.opacity == pytest.approx(0.6)
    assert display.privacy
    assert second.commands.privacy.isChecked()
    assert not second.window.series_dock.isVisible()
    assert second.settings.last_folder == first.folder / "case"
    recent = [action.text() for action in second.window.menus.recent_menu.actions()]
    assert recent[0].endswith("Case 1")
    second.commands.privacy.trigger()
    recent = [action.text() for action in second.window.menus.recent_menu.actions()]
    assert recent[0].endswith("case")
    second.window.use.open_paths(second.settings.recent[:1])
    second.settle()
    assert second.state.case.volume is not None


def test_window_state_is_remembered(make_app):
    first = make_app()
    first.window.showMaximized()
    first.close()
    again = build(settings=first.settings)
    try:
        assert again.window.isMaximized()
    finally:
        assert again.close()


def test_recent_files_can_be_forgotten(opened):
    opened.window.use.clear_recent()
    assert opened.settings.recent == ()


def test_weights_chosen_in_the_window_are_remembered(make_app, tmp_path):
    first = make_app()
    file = tmp_path / "own.safetensors"
    file.touch()
    first.window.use.choose_weights((str(file),))
    first.settle()
    first.close()
    second = make_app()
    assert second.state.weights.chosen == (str(file),)
    second.close()
    file.unlink()
    assert make_app().state.weights.chosen == ()
