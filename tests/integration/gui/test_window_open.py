"""Opening by dialog, drop and list; scrolling; windows by keys; messages."""

import gc
import threading
import weakref

import numpy as np
import pytest
from gui_fakes import FakeEngine, FakeReader, make_volume, warning
from PySide6.QtCore import QPoint, QPointF, QRect, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtWidgets import QApplication, QFileDialog

from ctmasknet_gui.state import Message
from ctmasknet_gui.state.display import PRESETS
from model_core.base.volume import Window
from model_core.scene import Overlays

Key = Qt.Key


def wheel(widget, steps, modifier=Qt.KeyboardModifier.NoModifier):
    centre = QPointF(widget.width() / 2, widget.height() / 2)
    event = QWheelEvent(
        centre,
        widget.mapToGlobal(centre),
        QPoint(),
        QPoint(0, -120 * steps),
        Qt.MouseButton.NoButton,
        modifier,
        Qt.ScrollPhase.NoScrollPhase,
        False,
    )
    QApplication.sendEvent(widget, event)


def test_empty_window_invites_and_runs_nothing(rig):
    assert rig.window.windowTitle() == "CTMaskNet"
    assert not rig.commands.run_series.isEnabled()
    assert not rig.commands.export.isEnabled()
    assert rig.viewport.empty.isVisible()
    assert not rig.window.message_bar.isVisible()


def test_folder_dialog(rig, monkeypatch):
    path = rig.case()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *a, **k: str(path))
    rig.commands.open_folder.trigger()
    rig.settle()
    assert rig.state.case.volume is not None
    assert rig.window.series.list.count() == 1
    assert rig.settings.recent == (path,)
    assert rig.settings.last_folder == path
    assert rig.window.dialogs.files.folder == path


def test_file_dialog_takes_several_files_together(rig, monkeypatch):
    path = rig.case()
    files = [path / f"{k}.dcm" for k in range(3)]
    for file in files:
        file.touch()
    seen = []
    scan = rig.reader.scan
    monkeypatch.setattr(rig.reader, "scan", lambda *p: (seen.append(p), (yield from scan(*p)))[1])
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *a, **k: ([str(f) for f in files], ""))
    rig.commands.open_file.trigger()
    rig.settle()
    assert seen == [tuple(files)]
    assert rig.state.case.volume is not None


def test_cancelled_dialogs_change_nothing(opened, monkeypatch):
    volume = opened.state.case.volume
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *a, **k: ([], ""))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *a, **k: ("", ""))
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *a, **k: "")
    for action in (
        opened.commands.open_file,
        opened.commands.open_folder,
        opened.commands.load_reference,
        opened.commands.load_weights,
    ):
        action.trigger()
    opened.settle()
    assert opened.state.case.volume is volume
    assert opened.texts == []


@pytest.mark.parametrize("target", ["window", "viewport"])
def test_drop(rig, target):
    rig.drop(getattr(rig, target), rig.case())
    rig.settle()
    assert rig.state.case.volume is not None


def test_dropped_weights_are_loaded_and_not_opened(opened):
    volume = opened.state.case.volume
    file = opened.folder / "own.safetensors"
    opened.drop(opened.viewport, file)
    opened.settle()
    assert opened.state.weights.chosen == (str(file),)
    assert opened.state.case.volume is volume


def test_several_series_are_listed_with_thumbnails_and_one_is_picked(make_app):
    rig = make_app(reader=FakeReader([make_volume("one"), make_volume("second", slices=5)]))
    rig.open()
    assert rig.state.case.volume is None
    series = rig.window.series.list
    assert series.count() == 2
    assert not series.item(0).data(Qt.ItemDataRole.DecorationRole).isNull()
    place = series.visualItemRect(series.item(1)).center()
    rig.qtbot.mouseClick(series.viewport(), Qt.MouseButton.LeftButton, pos=place)
    rig.settle()
    assert rig.state.case.volume.series_id == "second"
    assert not rig.viewport.empty.isVisible()


def test_reference_mask_by_dialog(opened, monkeypatch):
    name = str(opened.folder / "mask.nii")
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *a, **k: (name, ""))
    opened.commands.load_reference.trigger()
    opened.settle()
    assert np.count_nonzero(opened.state.case.reference) == 7 * 100
    assert opened.commands.reference.isEnabled()
    opened.commands.close_reference.trigger()
    assert opened.state.case.reference is None


def test_keys_and_wheel_scroll(opened):
    shown = opened.state.display
    assert shown.slice_index == 3
    for key, expected in (
        (Key.Key_Down, 4),
        (Key.Key_Down, 5),
        (Key.Key_Up, 4),
        (Key.Key_Home, 0),
        (Key.Key_Up, 0),
        (Key.Key_PageDown, 6),
        (Key.Key_PageUp, 0),
        (Key.Key_End, 6),
        (Key.Key_Down, 6),
    ):
        opened.key(key)
        assert shown.slice_index == expected, key
    wheel(opened.viewport, -2)
    assert shown.slice_index == 4
    wheel(opened.viewport, 1)
    assert shown.slice_index == 5


def test_strip_shows_the_slice_clicked(opened):
    strip = opened.window.strip
    opened.qtbot.mouseClick(strip, Qt.MouseButton.LeftButton, pos=QPoint(strip.width() // 2, 3))
    assert opened.state.display.slice_index == 0


def test_presets_by_keys_change_the_picture(opened):
    pictures = set()
    for number, preset in enumerate(PRESETS, start=2):
        opened.key(getattr(Key, f"Key_{number}"))
        assert opened.state.display.window == preset
        assert getattr(opened.commands, f"preset_{number}").isChecked()
        image = opened.viewport.grab().toImage()
        pictures.add(bytes(image.constBits()))
    assert len(pictures) == len(PRESETS)
    opened.key(Key.Key_1)
    assert opened.state.display.window == Window(350, 50, "File's own")
    opened.key(Key.Key_0)
    assert opened.state.display.window.name == "Auto"


def test_drag_sets_the_window_and_double_click_fits(opened):
    view, bot = opened.viewport, opened.qtbot
    before = opened.state.display.window
    start = QPoint(view.width() // 2, view.height() // 2)
    bot.mousePress(view, Qt.MouseButton.LeftButton, pos=start)
    bot.mouseMove(view, start + QPoint(40, 30))
    bot.mouseRelease(view, Qt.MouseButton.LeftButton, pos=start + QPoint(40, 30))
    after = opened.state.display.window
    assert after.width > before.width
    assert after.level != before.level
    wheel(view, -2, Qt.KeyboardModifier.ControlModifier)
    assert opened.state.display.zoom is not None
    bot.mouseDClick(view, Qt.MouseButton.LeftButton, pos=start)
    assert opened.state.display.zoom is None


def test_view_keys(opened):
    display = opened.state.display
    for key, name in ((Key.Key_I, "inverted"), (Key.Key_H, "flip_horizontal"), (Key.Key_V, "flip_vertical")):
        opened.key(key)
        assert getattr(display, name)
    opened.commands.zoom_in.trigger()
    zoom = display.zoom
    assert zoom is not None
    opened.commands.zoom_out.trigger()
    assert display.zoom < zoom
    opened.commands.zoom_fit.trigger()
    assert display.zoom is None
    opened.key(Key.Key_R)
    assert not any((display.inverted, display.flip_horizontal, display.flip_vertical))
    opened.key(Key.Key_S)
    assert not display.overlays.findings
    opened.key(Key.Key_S)
    assert display.overlays == Overlays()
    for key, name in (
        (Key.Key_F, "masks"),
        (Key.Key_O, "outlines"),
        (Key.Key_B, "boxes"),
        (Key.Key_L, "labels"),
        (Key.Key_M, "logits"),
    ):
        before = getattr(display, name)
        opened.key(key)
        assert getattr(display, name) != before, name
        opened.key(key)
    assert display.overlays == Overlays()
    opened.controllers.opening.open_reference(opened.folder / "mask.nii")
    opened.settle()
    opened.key(Key.Key_G)
    assert not display.reference
    opacity = display.opacity
    opened.key(Key.Key_D)
    assert display.opacity > opacity
    opened.key(Key.Key_A)
    assert display.opacity == pytest.approx(opacity)


def test_cine_key(opened):
    opened.state.display.cine_fps = 100
    opened.key(Key.Key_Space)
    opened.qtbot.waitUntil(lambda: opened.state.display.slice_index != 3)
    opened.key(Key.Key_Space)
    assert not opened.state.display.cine


def test_privacy_mode_hides_the_patient(opened):
    assert "Doe" in str(opened.viewport.corners)
    opened.key(Key.Key_P, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    assert "Doe" not in str(opened.viewport.corners)
    assert "Doe" not in opened.window.windowTitle()


def test_errors_are_shown_in_the_message_area_and_can_be_dismissed(opened):
    bar = opened.window.message_bar
    opened.open(opened.case("broken"))
    assert bar.isVisible()
    assert "cut off" in bar.text.text()
    assert "Doe" not in bar.details.toPlainText()
    assert opened.state.case.volume is not None
    opened.open(opened.case("empty"))
    assert "No image was found" in bar.text.text()
    bar.close_button.click()
    assert not bar.isVisible()
    assert opened.texts == []


def place(widget, window):
    return QRect(widget.mapTo(window, QPoint(0, 0)), widget.size())


def test_what_stays_until_it_is_answered_makes_room_and_covers_no_picture(opened):
    window, bar, before = opened.window, opened.window.message_bar, opened.viewport.height()
    opened.open(opened.case("broken"))
    assert bar.isVisible()
    inside, wait = bar.geometry(), opened.qtbot.waitUntil
    wait(lambda: place(opened.viewport, window).top() > bar.geometry().bottom())
    assert bar.geometry().top() > window.tool_bar.geometry().bottom()
    assert bar.path.text() == str(opened.case("broken"))
    bar.details_button.click()
    assert bar.details.isVisible()
    assert bar.height() > inside.height()
    wait(lambda: place(opened.viewport, window).top() > bar.geometry().bottom())
    window.resize(1100, 700)
    wait(
        lambda: bar.geometry().right() <= window.strip.mapTo(window, QPoint(0, 0)).x() + window.strip.width()
    )
    window.resize(1280, 800)
    bar.close_button.click()
    wait(lambda: opened.viewport.height() == before)


def test_a_note_moves_nothing_and_covers_neither_picture_nor_cancel(opened):
    window, bar = opened.window, opened.window.message_bar
    before = place(opened.viewport, window)
    opened.state.messages.messages = (Message("info", "1 page is written to a.html.", path="/data/a.html"),)
    assert bar.isVisible()
    assert place(opened.viewport, window) == before
    assert not bar.geometry().intersects(before.adjusted(0, 0, 0, -10)), "but for the rim below all texts"
    assert bar.path.isVisible()
    state = opened.state
    state.run.total, state.run.done, state.run.kind = 148, 37, "run"
    cancel = window.status.cancel
    opened.qtbot.waitUntil(lambda: bar.geometry().left() > place(cancel, window).right())
    assert bar.path.isHidden() or bar.path.width() >= 140
    for width in (1100, 1180, 1280):
        window.resize(width, 800)
        opened.qtbot.wait(20)
        assert bar.geometry().right() <= window.width(), "the button that closes it can be reached"
        assert place(opened.viewport, window).intersected(bar.geometry()).height() <= 10
    state.run.kind = ""
    opened.qtbot.waitUntil(lambda: bar.geometry().left() == 0)
    state.messages.messages = (Message("info", "much to say " * 40),)
    opened.qtbot.waitUntil(lambda: place(opened.viewport, window).top() > bar.geometry().bottom())
    state.messages.messages = ()
    opened.qtbot.waitUntil(lambda: place(opened.viewport, window) == before)


def test_warnings_of_a_series_are_shown(make_app):
    rig = make_app(reader=FakeReader([make_volume(problems=(warning(),))]))
    rig.open()
    assert "missing" in rig.window.message_bar.text.text()


def test_warnings_of_the_former_series_are_forgotten(make_app):
    rig = make_app(reader=FakeReader([make_volume("one", problems=(warning(),)), make_volume("second")]))
    rig.open()
    rig.window.use.open_series("one")
    rig.settle()
    assert rig.window.message_bar.isVisible()
    rig.window.use.open_series("second")
    rig.settle()
    assert not rig.window.message_bar.isVisible()


def test_opening_shows_progress_and_can_be_cancelled(make_app):
    rig = make_app(reader=FakeReader(gate=threading.Event()))
    rig.window.use.open_paths((rig.case(),))
    rig.qtbot.waitUntil(lambda: rig.state.case.catalogue is not None)
    assert rig.window.status.progress.isVisible()
    assert rig.commands.stop.isEnabled()
    rig.key(Key.Key_Escape)
    rig.qtbot.waitUntil(lambda: rig.reader.closed == ["one"])
    rig.settle()
    assert rig.state.case.volume is None
    assert not rig.window.status.progress.isVisible()


def test_closing_the_series_returns_to_the_invitation(opened):
    opened.commands.close_case.trigger()
    assert opened.state.case.volume is None
    assert opened.viewport.empty.isVisible()
    assert opened.window.series.list.count() == 0


def test_the_reference_mask_of_a_former_series_is_let_go(make_app):
    rig = make_app(engine=FakeEngine(), reader=FakeReader([make_volume("one"), make_volume("second")]))
    rig.open()
    rig.window.use.open_series("one")
    rig.settle()
    rig.controllers.opening.open_reference(rig.folder / "mask.nii")
    rig.settle()
    rig.window.grab()  # the viewport prepares its outline
    labels = weakref.ref(rig.state.case.reference)
    rig.window.use.open_series("second")
    rig.settle()
    assert rig.state.case.volume.series_id == "second"
    rig.window.grab()
    gc.collect()
    assert labels() is None
