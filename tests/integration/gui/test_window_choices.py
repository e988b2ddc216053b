"""What the menus and panels ask for arrives: cine speed, windows of the file, regions below the best 16."""

from dataclasses import replace

from gui_fakes import FakeEngine, FakeReader, make_volume
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QApplication

from model_core.base.volume import Window


def test_cine_speed_is_kept_in_state_and_shown(opened):
    commands = opened.commands
    speeds = [getattr(commands, f"cine_{speed}") for speed in (5, 10, 15, 20, 30)]
    speeds[-1].trigger()
    assert opened.state.display.cine_fps == 30
    assert [action.isChecked() for action in speeds] == [False, False, False, False, True]


def test_the_second_window_of_a_file_can_be_chosen(make_app):
    windows = (Window(350, 50, "SOFT"), Window(3000, 500, "BONE", "SIGMOID"))
    rig = make_app(engine=FakeEngine(), reader=FakeReader([make_volume(windows=windows)]))
    rig.open()
    offered = [a for a in rig.window.menus.window_menu.actions() if a.text().startswith("BONE")]
    offered[0].trigger()
    assert rig.state.display.window == windows[1]
    assert offered[0].isChecked()
    assert "(BONE)" in rig.viewport.corners.text


def test_a_region_below_the_listed_ones_gets_its_row(analysed):
    state, table = analysed.state, analysed.window.explanation.table
    analysed.window.use.set_top(2)
    assert table.model.rowCount() == 2
    candidate = state.results.shown.rois[3].candidate
    analysed.window.use.pick(candidate)
    assert state.selection.top is None
    rows = table.table.selectionModel().selectedRows()
    assert [row.row() for row in rows] == [table.model.row_of(candidate)]
    table.top_button.click()
    assert state.selection.top == 16


def test_cine_stands_still_once_an_export_is_asked_for(analysed):
    analysed.commands.cine.trigger()
    assert analysed.state.display.cine
    analysed.commands.export_png.trigger()
    assert not analysed.state.display.cine
    index = analysed.state.display.slice_index
    dialog = QApplication.activeModalWidget()
    dialog.target.setText(str(analysed.folder / "one.png"))
    asked, use = [], analysed.window.dialogs.use
    analysed.window.dialogs.use = replace(
        use, export=lambda request: (asked.append(request), use.export(request))
    )
    dialog.export_button.click()
    analysed.settle()
    assert [request.slice_index for request in asked] == [index]
    assert (analysed.folder / "one.png").is_file()


def test_opening_and_picking_a_series_leaves_the_keys_with_the_slices(make_app):
    volumes = [make_volume("one"), make_volume("second", slices=5)]
    rig = make_app(engine=FakeEngine(), reader=FakeReader(volumes))
    rig.window.activateWindow()
    rig.window.tool_bar.opacity.setFocus()
    rig.open()
    series = rig.window.series.list
    other = next(k for k in range(2) if k != series.currentRow())
    place = series.visualItemRect(series.item(other)).center()
    rig.qtbot.mouseDClick(series.viewport(), Qt.MouseButton.LeftButton, pos=place)
    rig.qtbot.mouseClick(series.viewport(), Qt.MouseButton.LeftButton, pos=place)
    rig.settle()
    assert QApplication.focusWidget() is rig.viewport
    index = rig.state.display.slice_index
    rig.qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Down)
    assert rig.state.display.slice_index == index + 1


def test_privacy_hides_titles_everywhere_in_the_window(make_app):
    volume = replace(make_volume(), title="Doe_Jane_thorax")
    rig = make_app(engine=FakeEngine(), reader=FakeReader([volume]))
    rig.open()
    rig.commands.privacy.trigger()
    item = rig.window.series.list.item(0)
    texts = (item.text(), item.toolTip(), rig.window.windowTitle(), rig.viewport.corners.text)
    assert not any("Doe" in text for text in texts)
