"""One selection: table, viewport and scatterplot show and set the same region."""

from PySide6.QtCore import Qt
from PySide6.QtTest import QTest


def box_centre(rig, position):
    """Point of the viewport over the middle of a shown detection."""
    box = rig.state.results.shown.detections.boxes[position]
    view = rig.viewport.current_view
    return view.to_screen(float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2).toPoint()


def selected_rank(rig):
    rows = rig.window.explanation.table.table.selectionModel().selectedRows()
    return [row.row() for row in rows]


def test_click_on_a_box_selects_its_row(analysed):
    analysed.qtbot.mouseClick(analysed.viewport, Qt.MouseButton.LeftButton, pos=box_centre(analysed, 1))
    candidate = int(analysed.state.results.shown.detections.indices[1])
    assert analysed.state.selection.candidate == candidate
    table = analysed.window.explanation.table
    assert selected_rank(analysed) == [table.model.row_of(candidate)]
    view = analysed.viewport.current_view
    outside = view.to_screen(1, 1).toPoint()
    analysed.qtbot.mouseClick(analysed.viewport, Qt.MouseButton.LeftButton, pos=outside)
    assert analysed.state.selection.candidate is None
    assert selected_rank(analysed) == []


def test_row_changes_the_picture_and_the_plots(analysed):
    table = analysed.window.explanation.table
    before = bytes(analysed.viewport.grab().toImage().constBits())
    table.table.selectRow(2)
    assert analysed.state.selection.candidate == table.model.roi(2).candidate
    assert bytes(analysed.viewport.grab().toImage().constBits()) != before


def test_click_on_a_point_of_the_scatterplot_selects_it(analysed):
    plots = analysed.window.explanation.plots
    plots.tabs.setCurrentWidget(plots.scatter)
    analysed.qtbot.waitUntil(lambda: plots.scatter.canvas is not None)
    canvas = plots.scatter.canvas
    canvas.draw()
    roi = analysed.state.results.shown.rois[1]
    x, y = canvas.figure.axes[0].transData.transform((roi.score, roi.area_px))
    ratio = canvas.device_pixel_ratio
    point = canvas.rect().topLeft()
    point.setX(round(x / ratio))
    point.setY(round(canvas.height() - y / ratio))
    QTest.mouseClick(canvas, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, point)
    assert analysed.state.selection.candidate == roi.candidate
    assert selected_rank(analysed) == [analysed.window.explanation.table.model.row_of(roi.candidate)]


def test_scrolling_forgets_the_selection(analysed):
    analysed.window.explanation.table.table.selectRow(0)
    analysed.key(Qt.Key.Key_Down)
    assert analysed.state.selection.candidate is None


def test_top_or_all(analysed):
    table = analysed.window.explanation.table
    table.all_button.click()
    assert analysed.state.selection.top is None
    assert table.model.rowCount() == len(analysed.state.results.shown.rois)
    table.top_button.click()
    assert analysed.state.selection.top == 16
