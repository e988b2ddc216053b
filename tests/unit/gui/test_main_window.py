"""The whole window over state alone: intents, shortcuts, layout, what is imported when."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from gui_fakes import make_card, make_volume
from PySide6.QtCore import QByteArray, QEvent, QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QAction, QDropEvent, QGuiApplication, QStatusTipEvent
from PySide6.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QAbstractSpinBox,
    QApplication,
    QComboBox,
    QMenu,
    QWidget,
)
from window_case import Heard, fill, hear, heard_use_cases

from ctmasknet_gui.state import AppState, Message
from ctmasknet_gui.view.commands import COMMANDS
from ctmasknet_gui.view.layout import from_bytes
from ctmasknet_gui.view.main_window import MainWindow
from ctmasknet_gui.view.menus import short_path, weight_choices
from ctmasknet_gui.view.status import DISCLAIMER, describe_seconds
from ctmasknet_gui.view.style import style_sheet
from model_core.base.resources import resource
from model_core.base.volume import Window
from model_core.weights.card import read_card

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True, scope="module")
def styled(qapp):
    """Sizes are those of the real style; the style of other tests comes back."""
    qapp.setStyleSheet(style_sheet())
    yield
    qapp.setStyleSheet("")


@pytest.fixture
def state():
    return fill(AppState())


@pytest.fixture
def make_window(qtbot):
    def make(state, size=(1280, 800)):
        window = MainWindow(state, heard_use_cases())
        qtbot.addWidget(window)
        window.resize(*size)
        window.show()
        qtbot.waitExposed(window)
        return window

    return make


@pytest.fixture
def window(make_window, state):
    return make_window(state)


# ----------------------------------------------------------------------------------------- shortcuts


def test_keys_emit_what_they_stand_for(qtbot, window):
    steps, first, last = hear(window.use.step), hear(window.use.first), hear(window.use.last)
    presets, switches = hear(window.use.preset), hear(window.use.toggle)
    overlays, nms, findings = (
        hear(window.use.toggle_overlays),
        hear(window.use.toggle_nms),
        (hear(window.use.next_finding), hear(window.use.previous_finding)),
    )
    opacity, cine = hear(window.use.change_opacity), hear(window.use.toggle_cine)
    viewport = window.viewport
    viewport.setFocus()
    key = Qt.Key
    for pressed in (key.Key_Up, key.Key_Down, key.Key_PageUp, key.Key_PageDown, key.Key_Home, key.Key_End):
        qtbot.keyClick(viewport, pressed)
    for pressed in (key.Key_0, key.Key_1, key.Key_2, key.Key_7):
        qtbot.keyClick(viewport, pressed)
    for pressed in (key.Key_I, key.Key_H, key.Key_V, key.Key_S, key.Key_T, key.Key_N, key.Key_P):
        qtbot.keyClick(viewport, pressed)
    for pressed in (key.Key_A, key.Key_D, key.Key_Space):
        qtbot.keyClick(viewport, pressed)
    assert steps == [-1, 1, -10, 10]
    assert (len(first), len(last)) == (1, 1)
    assert presets == [0, 1, 2, 7]
    assert switches == ["inverted", "flip_horizontal", "flip_vertical"]
    assert (len(overlays), len(nms), len(cine)) == (1, 1, 1)
    assert [len(asked) for asked in findings] == [1, 1]
    assert opacity == [-0.1, 0.1]


def test_view_keys_ask_for_zoom(qtbot, window):
    zooms, resets = hear(window.use.set_zoom), hear(window.use.reset_view)
    window.viewport.setFocus()
    qtbot.keyClick(window.viewport, "+")
    qtbot.keyClick(window.viewport, "-")
    qtbot.keyClick(window.viewport, "=")
    qtbot.keyClick(window.viewport, "r")
    assert zooms[0][0] > zooms[1][0]
    assert zooms[2] == (None, (0.0, 0.0))
    assert len(resets) == 1


def test_typing_a_number_fires_no_shortcut(qtbot, window):
    presets, zooms, detections = (
        hear(window.use.preset),
        hear(window.use.set_zoom),
        hear(window.use.set_detections),
    )
    spin = window.explanation.thresholds.score.spin
    spin.setFocus()
    spin.selectAll()
    qtbot.keyClicks(spin, "0.25")
    qtbot.keyClick(spin, Qt.Key.Key_Return)
    assert presets == []
    assert zooms == []
    assert [settings.score for settings in detections] == [0.25]


def test_editing_keys_belong_to_the_field(qtbot, window, state):
    state.selection.candidate = 1
    picked = hear(window.use.pick)
    spin = window.explanation.thresholds.score.spin
    spin.setFocus()
    spin.selectAll()
    qtbot.keyClicks(spin, "0.77")
    qtbot.keyClick(spin, Qt.Key.Key_Backspace)
    assert spin.text() in ("0.7", "0,7")
    assert picked == []
    qtbot.keyClick(window.viewport, Qt.Key.Key_Backspace)
    assert picked == [None]


def test_arrows_move_the_focused_slider_not_the_slices(qtbot, window):
    steps, detections = hear(window.use.step), hear(window.use.set_detections)
    slider = window.explanation.thresholds.score.slider
    slider.setFocus()
    qtbot.keyClick(slider, Qt.Key.Key_Up)
    assert steps == []
    assert detections[0].score == pytest.approx(0.41)
    # Keys it does not need still work.
    presets = hear(window.use.preset)
    qtbot.keyClick(slider, Qt.Key.Key_3)
    assert presets == [3]


def test_clicked_tools_leave_the_keys_with_the_slices(qtbot, window):
    window.viewport.setFocus()
    switches, steps = hear(window.use.toggle), hear(window.use.step)
    button = window.tool_bar.widgetForAction(window.commands.masks)
    qtbot.mouseClick(button, Qt.MouseButton.LeftButton)
    qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Down)
    assert switches == ["masks"]
    assert steps == [1]


# ------------------------------------------------------------------------------------------- intents


def test_every_action_is_connected(window):
    for command in (command for group in COMMANDS.values() for command in group):
        action = getattr(window.commands, command.name)
        # A check that state decides is set again after every click, whatever the click did.
        others = 0 if command.checked is None else 1
        assert action.receivers("2triggered(bool)") > others, f"{action.text()} does nothing"


def test_checks_show_state_not_clicks(window, state):
    action = window.commands.masks
    action.trigger()
    assert not action.isChecked(), "nobody changed state"
    state.display.masks = True
    assert action.isChecked()
    lung = window.commands.preset_2
    lung.trigger()
    assert lung.isChecked()


def test_cine_speed_is_chosen_in_the_menu(window, state):
    speeds = hear(window.use.set_cine_speed)
    menu = next(
        action.menu()
        for top in window.menuBar().actions()
        for action in top.menu().actions()
        if action.menu() is not None and "Cine" in action.text()
    )

    def speed(action):
        return float(action.text().split()[0])

    assert [speed(action) for action in menu.actions()] == [5, 10, 15, 20, 30]

    def checked():
        return [speed(action) for action in menu.actions() if action.isChecked()]

    assert checked() == [10.0]
    menu.actions()[3].trigger()
    assert speeds == [20.0]
    assert checked() == [10.0], "nobody changed state"
    state.display.cine_fps = 20.0
    assert checked() == [20.0]
    state.display.cine_fps = 12.5
    assert checked() == []


def test_every_window_of_the_file_is_offered(window, state):
    from dataclasses import replace

    windows = (Window(350, 50, "Soft & tissue"), Window(2000.5, 300, "BONE"), Window(1600, -600))
    chosen = hear(window.use.choose_window)
    menus = [m for m in window.commands.window_file.associatedObjects() if isinstance(m, QMenu)]
    assert len(menus) == 2

    def offered(menu):
        return [a for a in menu.actions() if a.statusTip() == "Window stored in the file" and a.isCheckable()]

    assert [offered(menu) for menu in menus] == [[], []], "one window has its own action"
    state.case.volume = replace(state.case.volume, windows=windows)
    texts = ["Soft && tissue (350 / 50)", "BONE (2000.5 / 300)", "File 3 (1600 / −600)"]
    for menu in menus:
        assert [action.text() for action in offered(menu)] == texts
    offered(window.menus.window_menu)[1].trigger()
    offered(window.menus.window_menu)[2].trigger()
    assert chosen == [windows[1], replace(windows[2], name="File 3")]
    assert not any(action.isChecked() for action in offered(window.menus.window_menu))
    state.display.window = chosen[1]
    assert [action.isChecked() for action in offered(window.menus.window_menu)] == [False, False, True]
    state.case.volume = replace(state.case.volume, windows=windows[:1])
    assert offered(window.menus.window_menu) == []
    state.case.volume = None


def test_run_stop_and_link(window, state):
    slices, series, stops = (
        hear(window.use.run_slice),
        hear(window.use.run_series),
        hear(window.use.stop),
    )
    links, scorings, resets = (
        hear(window.use.set_linked),
        hear(window.use.set_scoring),
        hear(window.use.reset_thresholds),
    )
    commands = window.commands
    commands.run_slice.trigger()
    window.tool_bar.run_button.click()
    assert not commands.stop.isEnabled()
    state.run.kind = "run"
    window.status.cancel.click()
    commands.link.trigger()
    commands.scoring_sigmoid.trigger()
    commands.reset_thresholds.trigger()
    assert (len(slices), len(series), len(stops), len(resets)) == (1, 1, 1, 1)
    assert links == [True]
    assert scorings == ["sigmoid"]


def test_a_box_a_row_and_a_point_ask_for_the_same_selection(qtbot, window, state):
    picked = hear(window.use.pick)
    roi = state.results.shown.rois[1]
    view = window.viewport.current_view
    centre = view.transform.map(QPointF((roi.box[0] + roi.box[2]) / 2, (roi.box[1] + roi.box[3]) / 2))
    qtbot.mouseClick(window.viewport, Qt.MouseButton.LeftButton, pos=centre.toPoint())
    table = window.explanation.table
    rect = table.table.visualRect(table.model.index(1, 0))
    qtbot.mouseClick(table.table.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())
    window.explanation.plots.candidatePicked.emit(1)
    assert picked == [1, 1, 1]


def test_the_region_commands_step_through_the_rows_and_copy_them(window, state):
    picked, commands = hear(window.use.pick), window.commands
    commands.next_region.trigger()
    state.selection.candidate = picked[-1]
    commands.next_region.trigger()
    state.selection.candidate = 0
    commands.previous_region.trigger()
    commands.clear_selection.trigger()
    assert picked == [0, 1, 0, None]
    commands.copy_table.trigger()
    lines = QGuiApplication.clipboard().text().splitlines()
    assert len(lines) == 7
    assert lines[1].split("\t")[:3] == ["1", "lesion", "0.950"]


def test_strip_and_wheel_ask_for_slices(qtbot, window):
    wanted = hear(window.use.show_slice)
    qtbot.mouseClick(window.strip, Qt.MouseButton.LeftButton, pos=QPoint(20, window.strip.height() - 10))
    assert wanted[-1] == 6


def test_the_buttons_of_the_empty_window_do_what_the_menu_does(qtbot, make_window):
    window = make_window(AppState())
    demos = hear(window.use.open_demo)
    qtbot.mouseClick(window.viewport.empty.demo, Qt.MouseButton.LeftButton)
    assert len(demos) == 1


def test_dropped_files_are_opened(window, tmp_path):
    paths = hear(window.use.open_paths)
    for target in (window, window.viewport):
        data = QMimeData()
        data.setUrls([QUrl.fromLocalFile(str(tmp_path / "ü x.dcm")), QUrl("https://example.org/x")])
        event = QDropEvent(
            QPointF(50, 50),
            Qt.DropAction.CopyAction,
            data,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
        target.dropEvent(event)
    assert paths == [(tmp_path / "ü x.dcm",)] * 2


def test_opacity_slider_and_state(window, state):
    assert window.tool_bar.opacity.accessibleName() == "Opacity of masks"
    heard = hear(window.use.set_opacity)
    window.tool_bar.opacity.setValue(80)
    assert heard == [0.8]
    state.display.opacity = 0.2
    assert window.tool_bar.opacity.value() == 20
    assert heard == [0.8]


def test_recent_cases_open_and_hide_their_names_in_privacy_mode(window, state, tmp_path):
    paths, cleared = hear(window.use.open_paths), hear(window.use.clear_recent)
    window.set_recent((tmp_path / "Doe & Jane", tmp_path / "other"))
    menu = window.menus.recent_menu
    assert menu.isEnabled()
    assert "Doe && Jane" in menu.actions()[0].text()
    menu.actions()[0].trigger()
    assert paths == [(tmp_path / "Doe & Jane",)]
    state.display.privacy = True
    assert "Doe" not in "".join(action.text() + action.toolTip() for action in menu.actions())
    menu.actions()[-1].trigger()
    assert len(cleared) == 1
    window.set_recent(())
    assert not menu.isEnabled()


def test_weights_menu_offers_models_and_pairs(window, state):
    from dataclasses import replace

    from model_core.base.settings import Architecture

    base = replace(
        make_card("seg"), architecture=Architecture(kind="segmentation"), image_classes=(), sha256="aa"
    )
    head = replace(make_card("cls"), architecture=Architecture(kind="classifier"), base_sha256="aa")
    orphan = replace(head, name="lost", base_sha256="zz")
    assert [names for names, _ in weight_choices((base, head, orphan))] == [("seg",), ("seg", "cls")]
    state.weights.available = (base, head)
    chosen = hear(window.use.choose_weights)
    window.menus.weights_menu.actions()[3].trigger()
    window.menus.weights_menu.actions()[0].trigger()
    assert chosen == [("seg", "cls"), ()]
    state.weights.chosen = ("/x/My weights.safetensors",)
    checked = [a.text() for a in window.menus.weights_menu.actions() if a.isChecked()]
    assert checked == ["My weights.safetensors"]


def test_weights_are_named_for_people_and_by_their_cards_alone(qtbot, window, state):
    state.weights.available = cards = tuple(
        read_card(path) for path in sorted(resource("weights").glob("*.json")) if path.stem != "default"
    )
    by_name = {card.name: card for card in cards}
    texts = [action.text() for action in window.menus.weights_menu.actions() if "\t" in action.text()]
    assert len(texts) == len(set(texts)) == 9
    pair = by_name["lesion-r18t1"], by_name["covid-s-r18t1"]
    dice = pair[0].metrics["all"]["dice"]
    line = f"Lesions and image class · Dice {dice:.2f} (102 slices)"
    assert f"{line}\tResNet18-T1" in texts
    assert any(text.startswith("Ground glass and consolidation · Dice") for text in texts)
    state.weights.cards = pair
    window.resize(1600, 900)
    assert window.status.weights.text() == line
    # Where room is short, progress comes first.
    window.resize(1100, 700)
    state.run.total, state.run.done, state.run.text, state.run.kind = 48, 3, "Slice 29 (3 of 48)", "run"
    state.run.seconds_left = 210.0
    qtbot.wait(10)
    assert window.status.weights.text() != line
    assert window.status.text.width() >= window.status.text.sizeHint().width()
    state.run.kind = ""
    window.resize(1600, 900)
    assert window.tool_bar.weights_button.text() == "Lesions and image class"
    for tip in (window.status.weights.toolTip(), window.tool_bar.weights_button.toolTip()):
        assert "ResNet18-T1" in tip
        assert "Not validated for diagnosis" in tip
    state.weights.cards = (make_card("own"),)
    assert window.status.weights.text() == "Lesions and image class", "nothing is made up"


def test_export_dialog_returns_a_request(qtbot, window, tmp_path):
    window.dialogs.files.export_folder = tmp_path
    requests = hear(window.use.export)
    window.commands.export_csv.trigger()
    dialog = QApplication.activeModalWidget()
    qtbot.waitUntil(dialog.isVisible)
    dialog.export_button.click()
    assert [(r.kind, r.target) for r in requests] == [("csv", tmp_path / "ctmasknet_regions.csv")]


def test_the_slices_stand_still_while_the_export_is_asked_for(qtbot, window, state):
    cines = hear(window.use.toggle_cine)
    window.commands.export_png.trigger()
    QApplication.activeModalWidget().reject()
    assert cines == []
    state.display.cine = True
    window.commands.export_png.trigger()
    assert len(cines) == 1
    QApplication.activeModalWidget().reject()


def test_menu_of_the_slice(qtbot, window):
    window.viewport.menu_requested.emit(window.mapToGlobal(QPoint(300, 300)))
    menu = QApplication.activePopupWidget()
    texts = [action.text() for action in menu.actions()]
    assert "Run slice" in texts
    assert {"Outlines", "Labels", "Fill", "Boxes", "Logits", "Reference"} <= set(texts)
    menu.close()


def test_full_screen_and_back(qtbot, window):
    window.commands.full_screen.trigger()
    assert window.isFullScreen()
    window.commands.full_screen.trigger()
    assert not window.isFullScreen()
    # However it came to be so: as the window was when the program ended, or by the window manager.
    window.showFullScreen()
    assert window.commands.full_screen.isChecked()
    window.commands.full_screen.trigger()
    assert not window.isFullScreen()
    assert not window.commands.full_screen.isChecked()


def test_help_dialogs_open(qtbot, window):
    for action, words in (
        (window.commands.keys, "Ctrl+Shift+O"),
        (window.commands.about, "MIT licence"),
        (window.commands.about_weights, "Fake weights"),
    ):
        action.trigger()
        dialog = QApplication.activeModalWidget()
        assert words in dialog.browser.toPlainText()
        dialog.close()
        qtbot.waitUntil(lambda: QApplication.activeModalWidget() is None)


def test_closing_is_told(window):
    closing = []
    window.closing.connect(lambda: closing.append(True))
    window.close()
    assert len(closing) == 1


# ------------------------------------------------------------------------------------- state to view


def test_title_hides_the_series_in_privacy_mode(window, state):
    assert window.windowTitle().startswith("Series one")
    state.display.privacy = True
    assert window.windowTitle() == "CTMaskNet"


@pytest.mark.parametrize(
    ("basis", "text"),
    [
        ("published", "evidence as published"),
        ("trained", "evidence as these weights were trained"),
        ("edited", "edited evidence"),
    ],
)
def test_only_published_evidence_is_called_so(window, state, basis, text):
    shown = state.results.shown
    state.results.shown = replace(shown, verdict=replace(shown.verdict, basis=basis))
    label = window.status.evidence
    assert label.text() == text
    assert ("edited" in label.text()) == (label.property("role") == "edited")
    spoken = [label.text(), label.toolTip()]
    for part in (window, *window.findChildren(QWidget), *window.findChildren(QAction)):
        spoken += [part.toolTip(), part.text() if callable(getattr(part, "text", None)) else ""]
    assert any("published" in words.casefold() for words in spoken) == (basis == "published")


def test_what_another_slice_leaves_as_it_is_is_neither_laid_out_nor_painted(qtbot, window, state):
    status, why = window.status, window.explanation.why

    def show(index):
        shown = state.results.shown
        rows = tuple(replace(roi, score=roi.score / 2) for roi in shown.rois)
        state.results.shown = shown.changed(slice_index=index, rois=rows)
        QApplication.processEvents()

    show(4)
    qtbot.waitUntil(lambda: not window.explanation.plots.scatter.pending)
    heard = {
        "basis styled": Heard(status.evidence, QEvent.Type.StyleChange),
        "status laid out": Heard(status, QEvent.Type.LayoutRequest),
        "status painted": Heard(status),
        "verdict painted": Heard(window.explanation.card),
        "reason painted": Heard(why.words),
        "bar painted": Heard(why.bar),
    }
    listed = Heard(window.explanation.table.table.viewport())
    for index in (5, 6):
        show(index)
    qtbot.waitUntil(lambda: listed.count > 0)
    assert {name: one.count for name, one in heard.items()} == dict.fromkeys(heard, 0)


def test_status_bar_tells_progress_time_and_evidence(window, state):
    status = window.status
    assert status.text.text() == "7 of 7 slices analysed · 7 with findings"
    state.weights.cards = (make_card(),)
    assert status.evidence.text() == "evidence as these weights were trained"
    state.run.total, state.run.done, state.run.seconds_left = 148, 37, 21.0
    state.run.kind, state.run.text = "run", "37 of 148 slices"
    assert status.text.text() == "37 of 148 slices · 25 % · 21 s left"
    assert (status.progress.value(), status.progress.maximum()) == (37, 148)
    state.run.total = 0
    assert status.progress.maximum() == 0
    assert DISCLAIMER in status.disclaimer.text()
    assert describe_seconds(0.2) == "1 s left"
    assert describe_seconds(170) == "3 min left"
    assert describe_seconds(9000) == "2.5 h left"


def test_actions_are_available_when_they_can_do_something(window, make_window):
    empty = make_window(AppState()).commands
    for action in (
        empty.run_slice,
        empty.export,
        empty.next_finding,
        empty.cine,
        empty.zoom_in,
        empty.close_case,
    ):
        assert not action.isEnabled()
    assert empty.open_file.isEnabled()
    filled = window.commands
    assert not empty.about_weights.isEnabled()
    for action in (filled.run_slice, filled.export_csv, filled.next_finding, filled.window_file):
        assert action.isEnabled()
    assert not filled.reference.isEnabled()


def test_messages_sent_before_the_window_are_shown(make_window):
    state = AppState()
    state.messages.messages = (Message("error", "No weights."),)
    assert make_window(state).message_bar.isVisible()


# -------------------------------------------------------------------------------------------- layout


@pytest.mark.parametrize("size", [(1100, 700), (1280, 800), (2560, 1440)])
def test_nothing_is_cut(qtbot, make_window, size):
    state = fill(AppState())
    state.run.total, state.run.done, state.run.kind = 148, 37, "run"
    window = make_window(state, size)
    qtbot.wait(20)
    assert (window.width(), window.height()) == size
    assert window.tool_bar.needed_width() <= size[0]
    extension = window.tool_bar.findChild(QAbstractButton, "qt_toolbar_ext_button")
    assert extension is None or not extension.isVisible()
    panel = window.explanation.column
    assert panel.widget().width() <= panel.viewport().width()
    window.resizeDocks([window.explanation_dock], [100], Qt.Orientation.Horizontal)
    qtbot.wait(20)
    assert panel.widget().width() <= panel.viewport().width(), "the narrowest panel is still whole"
    if size[1] >= 800:
        assert panel.widget().height() <= panel.viewport().height(), "no scrolling where there is room"
    assert window.viewport.width() >= 380
    status = window.status
    assert status.text.width() >= status.text.sizeHint().width()
    assert status.disclaimer.width() >= status.disclaimer.sizeHint().width()


def test_status_tips_never_cover_progress_and_cancel(qtbot, window, state):
    status = window.status
    QApplication.sendEvent(window.tool_bar, QStatusTipEvent("Analyse every slice"))
    assert status.text.text() == "Analyse every slice"
    state.run.total, state.run.done, state.run.kind = 148, 37, "run"
    QApplication.sendEvent(window.tool_bar, QStatusTipEvent("Analyse every slice, this one first"))
    assert status.currentMessage() == ""
    assert "25 %" in status.text.text()
    for widget in (status.text, status.progress, status.cancel):
        assert widget.isVisible()
        middle = widget.mapTo(window, widget.rect().center())
        assert window.childAt(middle) in (widget, *widget.findChildren(QWidget))
    state.run.kind = ""
    assert "analysed" in status.text.text(), "what came of it, though the mouse still rests on the button"
    QApplication.sendEvent(window.tool_bar, QStatusTipEvent("Analyse this slice"))
    assert status.text.text() == "Analyse this slice"
    QApplication.sendEvent(window.tool_bar, QStatusTipEvent(""))
    assert "analysed" in status.text.text()


def test_in_a_narrow_window_the_series_list_gives_way_to_the_picture(qtbot, make_window):
    state = fill(AppState())
    window = make_window(state, (1100, 700))
    panel = window.commands.series_panel
    assert window.series_dock.isHidden()
    assert not panel.isChecked()
    qtbot.waitUntil(lambda: window.viewport.width() >= 560)
    window.resize(1280, 800)
    qtbot.waitUntil(window.series_dock.isVisible)
    assert panel.isChecked()
    # Opened by hand it stays, and so it is when it was closed by hand.
    window.resize(1100, 700)
    qtbot.waitUntil(window.series_dock.isHidden)
    qtbot.keyClick(window, Qt.Key.Key_F8)
    assert window.series_dock.isVisible()
    window.resize(1120, 700)
    qtbot.wait(10)
    assert window.series_dock.isVisible()
    window.resize(1280, 800)
    qtbot.keyClick(window, Qt.Key.Key_F8)
    window.resize(1100, 700)
    window.resize(1300, 800)
    qtbot.wait(10)
    assert window.series_dock.isHidden()
    qtbot.keyClick(window, Qt.Key.Key_F9)
    assert window.explanation_dock.isHidden()
    assert not window.commands.explanation_panel.isChecked()


def test_a_hidden_list_says_how_many_series_it_holds(make_window):
    state = fill(AppState())
    window = make_window(state, (1100, 700))
    button = window.tool_bar.series_button
    assert window.series_dock.isHidden()
    count = len(state.case.catalogue.series)
    assert count > 1
    assert button.text() == f"{count} series"
    assert button.toolButtonStyle() == Qt.ToolButtonStyle.ToolButtonTextBesideIcon
    assert button.toolTip().startswith(f"{count} series were found.")
    assert window.commands.series_panel.text() == "Series list", "as the menu calls it"
    first = state.case.catalogue.series[:1]
    state.case.catalogue = replace(state.case.catalogue, series=first)
    assert button.toolButtonStyle() == Qt.ToolButtonStyle.ToolButtonIconOnly
    state.case.catalogue = replace(state.case.catalogue, series=first * 2)
    window.commands.series_panel.trigger()
    assert window.series_dock.isVisible()
    assert button.toolButtonStyle() == Qt.ToolButtonStyle.ToolButtonIconOnly


def test_a_list_to_choose_from_is_shown_in_a_narrow_window_too(qtbot, make_window):
    state = fill(AppState())
    window = make_window(state, (1100, 700))
    volume = state.case.volume
    state.case.volume = None
    assert window.series_dock.isVisible()
    state.case.volume = volume
    assert window.series_dock.isHidden()
    window.commands.find_series.trigger()
    assert window.series_dock.isVisible()
    assert window.focusWidget() is window.series.list


@pytest.mark.parametrize("opened", [False, True])
def test_what_gave_way_and_what_was_opened_all_the_same_come_back(qtbot, make_window, opened):
    first = make_window(fill(AppState()), (1100, 700))
    if opened:
        first.commands.series_panel.trigger()
    geometry, layout = first.layout_bytes()
    second = MainWindow(fill(AppState()), heard_use_cases())
    qtbot.addWidget(second)
    second.restore_layout(geometry, layout)
    second.show()
    qtbot.waitExposed(second)
    second.resize(1100, 700)
    qtbot.wait(10)
    assert second.series_dock.isVisible() == opened
    second.resize(1400, 900)
    qtbot.waitUntil(second.series_dock.isVisible)


def test_layout_comes_back_and_damage_changes_nothing(make_window, qtbot):
    first = make_window(fill(AppState()))
    first.series_dock.hide()
    first.resize(1400, 900)
    geometry, layout = first.layout_bytes()
    second = MainWindow(AppState(), heard_use_cases())
    qtbot.addWidget(second)
    second.restore_layout(geometry, layout)
    assert second.series_dock.isHidden()
    third = MainWindow(AppState(), heard_use_cases())
    qtbot.addWidget(third)
    third.restore_layout(QByteArray(b"rubbish"), QByteArray(b"rubbish"))
    assert not third.series_dock.isHidden()


def test_splitter_plot_and_notes_come_back(make_window, qtbot):
    first = make_window(fill(AppState()), (1280, 1000))
    qtbot.wait(10)
    split = first.explanation.split
    heights = split.sizes()
    assert abs(heights[0] - heights[1]) <= 2
    split.moveSplitter(heights[0] + 40, 1)
    wanted = split.sizes()
    assert wanted[0] > heights[0] + 20
    first.explanation.plots.tabs.setCurrentIndex(2)
    first.series.notes_open = True
    geometry, layout = first.layout_bytes()
    second = MainWindow(fill(AppState()), heard_use_cases())
    qtbot.addWidget(second)
    second.restore_layout(geometry, layout)
    second.show()
    qtbot.waitExposed(second)
    # The screen of the tests is lower than the window was.
    second.resize(1280, 1000)
    qtbot.wait(10)
    assert second.explanation.split.sizes() == pytest.approx(wanted, abs=3)
    assert second.explanation.plots.tabs.currentIndex() == 2
    assert second.series.notes_open
    again = from_bytes(second.layout_bytes()[1])
    assert again.share == from_bytes(layout).share, "nothing creeps from start to start"


def test_layouts_of_other_versions_and_cut_ones_are_taken_as_far_as_they_go(make_window, qtbot):
    first = make_window(fill(AppState()))
    first.series_dock.hide()
    first.explanation.plots.tabs.setCurrentIndex(1)
    _, layout = first.layout_bytes()
    for cut in (3, 10, layout.size() // 2, layout.size() - 1):
        window = MainWindow(AppState(), heard_use_cases())
        qtbot.addWidget(window)
        window.restore_layout(QByteArray(), layout.first(cut))
        assert not window.series_dock.isHidden()
        assert window.explanation.plots.tabs.currentIndex() == 0
    # The layout of the docks alone, as it was remembered before.
    docks = first.saveState(1)
    window = MainWindow(AppState(), heard_use_cases())
    qtbot.addWidget(window)
    window.restore_layout(QByteArray(), docks)
    assert window.series_dock.isHidden()


def test_docks_sized_by_the_user_stay(qtbot, window):
    window.resizeDocks([window.explanation_dock], [500], Qt.Orientation.Horizontal)
    qtbot.wait(10)
    width = window.explanation_dock.width()
    assert width > 450
    window.resize(1500, 900)
    qtbot.wait(10)
    assert abs(window.explanation_dock.width() - width) <= 2


def test_every_control_can_be_reached_and_has_a_name(window):
    kinds = (QAbstractButton, QAbstractSlider, QAbstractSpinBox, QComboBox)
    for kind in kinds:
        for control in window.findChildren(kind):
            if not control.isVisible() or control.focusPolicy() == Qt.FocusPolicy.NoFocus:
                continue
            text = control.text() if hasattr(control, "text") else ""
            assert control.accessibleName() or text or control.toolTip(), control


def test_paths_in_menus_are_short():
    assert short_path(Path("/a/b/c/d.dcm")) == "c/d.dcm"
    assert len(short_path(Path("/") / ("x" * 200))) < 70


def test_screenshot_of_the_window(window, tmp_path):
    assert window.save_picture(tmp_path / "w.png")
    assert not window.save_picture(tmp_path / "absent" / "w.png")
    assert (tmp_path / "w.png").stat().st_size > 10_000


def test_empty_window_imports_neither_torch_nor_matplotlib():
    code = (
        "import sys\n"
        "from PySide6.QtWidgets import QApplication\n"
        "app = QApplication([])\n"
        "from ctmasknet_gui.state import AppState\n"
        "from ctmasknet_gui.view.main_window import MainWindow\n"
        "from ctmasknet_gui.view.use_cases import UseCases\n"
        "from dataclasses import fields\n"
        "use = UseCases(**{field.name: print for field in fields(UseCases)})\n"
        "window = MainWindow(AppState(), use)\n"
        "window.show()\n"
        "app.processEvents()\n"
        "print([m for m in ('torch', 'matplotlib', 'scipy', 'SimpleITK') if m in sys.modules])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "[]"


def test_volume_without_spacing_is_shown(make_window):
    from model_core.base.geometry import Geometry

    state = AppState()
    state.case.volume = make_volume(geometry=Geometry(), slice_positions_mm=None, windows=())
    window = make_window(state)
    assert not window.grab().isNull()
    assert not window.commands.window_file.isEnabled()
