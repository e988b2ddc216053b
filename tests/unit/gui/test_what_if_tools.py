"""Areas, score ranges and questions drawn with the mouse: what is selected, asked and shown, live."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from gui_fakes import FakeEngine
from PySide6.QtCore import QEvent, QPointF, Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtWidgets import QApplication

from ctmasknet_gui.state.requests import ExportRequest
from ctmasknet_gui.view.actions import Actions
from ctmasknet_gui.view.explanation.plots import PlotPanel
from ctmasknet_gui.view.explanation.roi_table import RoiTable
from ctmasknet_gui.view.lasso import Lasso
from ctmasknet_gui.view.viewport import Viewport
from ctmasknet_gui.view.viewport.drawing import tool_text
from ctmasknet_gui.view.what_if_dialogs import BoxDialog, ScoreRangeDialog
from model_core.scene import rgb
from model_core.scene.palette import ASKED

LEFT, NONE = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
PLAIN, SHIFT = Qt.KeyboardModifier.NoModifier, Qt.KeyboardModifier.ShiftModifier
BOX = (30.0, 20.0, 60.0, 44.0)


def mouse(widget, kind, place, button, buttons, modifiers=PLAIN):
    event = QMouseEvent(kind, place, widget.mapToGlobal(place), button, buttons, modifiers)
    QApplication.sendEvent(widget, event)


def press(widget, place, modifiers=PLAIN):
    mouse(widget, QEvent.Type.MouseButtonPress, place, LEFT, LEFT, modifiers)


def move(widget, *places, modifiers=PLAIN):
    for place in places:
        mouse(widget, QEvent.Type.MouseMove, place, NONE, LEFT, modifiers)
    QApplication.processEvents()


def release(widget, place):
    mouse(widget, QEvent.Type.MouseButtonRelease, place, LEFT, NONE)


def draw(widget, places, modifiers=PLAIN):
    press(widget, places[0], modifiers)
    move(widget, *places[1:], modifiers=modifiers)
    release(widget, places[-1])


@pytest.fixture
def analysed(opened):
    opened.run_all()
    return opened


@pytest.fixture
def viewport(qtbot, analysed):
    """The slice over the controllers, wired as in the window."""
    widget = Viewport(analysed.state)
    qtbot.addWidget(widget)
    controllers = analysed.controllers
    widget.candidate_selected.connect(controllers.selection.pick)
    widget.regions_selected.connect(controllers.selection.pick_several)
    widget.region_asked.connect(controllers.what_if.ask)
    widget.window_requested.connect(controllers.display.set_window)
    widget.resize(600, 500)
    widget.show()
    return widget


def corners(viewport, left, top, right, bottom):
    """The corners of a box of the slice, on the screen, and the first once more."""
    places = ((left, top), (right, top), (right, bottom), (left, bottom), (left, top))
    return [viewport.current_view.to_screen(x, y) for x, y in places]


# -------------------------------------------------------------------------------------------- area


def test_the_class_follows_while_an_area_is_drawn(analysed, viewport):
    """The middles of the fake regions lie at (8 + 8k, 11 + 4k)."""
    state, calls = analysed.state, len(analysed.engine.backbone_calls)
    analysed.controllers.display.set_tool("area")
    window = state.display.window
    places = corners(viewport, 2, 5, 27, 22)
    press(viewport, places[0])
    move(viewport, *places[1:3])
    assert state.selection.chosen == (2,), "a triangle so far"
    assert state.results.effect.ranks == (3,)
    move(viewport, *places[3:])
    assert state.selection.chosen == (0, 1, 2)
    effect = state.results.effect
    assert effect.ranks == (1, 2, 3)
    assert effect.verdict.probabilities[2] == pytest.approx(3 / 6)
    assert effect.alone.probabilities[2] == pytest.approx(3 / 6)
    assert tool_text(state)[0].startswith("Without regions 1, 2, 3: ")
    release(viewport, places[-1])
    assert not viewport.drawing.active
    analysed.controllers.what_if.exclude(state.selection.chosen)
    assert [roi.candidate for roi in state.results.shown.rois if roi.excluded] == [0, 1, 2]
    analysed.controllers.what_if.restore(state.selection.chosen)
    analysed.controllers.what_if.keep_only(state.selection.chosen)
    assert [roi.candidate for roi in state.results.shown.rois if roi.excluded] == [3, 4, 5]
    assert state.display.window == window, "the left button draws"
    assert len(analysed.engine.backbone_calls) == calls


def test_moves_that_come_at_once_are_looked_at_once(analysed, viewport):
    analysed.controllers.display.set_tool("area")
    told, judged = [], []
    viewport.regions_selected.connect(told.append)
    judge = analysed.engine.judge
    analysed.engine.judge = lambda *args: judged.append(1) or judge(*args)
    places = corners(viewport, 2, 5, 60, 40)
    many = [places[0] + (places[2] - places[0]) * k / 50 for k in range(51)]
    press(viewport, many[0], SHIFT)
    move(viewport, *many[1:], modifiers=SHIFT)
    assert told == [(0, 1, 2, 3, 4, 5)]
    assert len(judged) == 2, "without them, and they alone"
    release(viewport, many[-1])
    assert told == [(0, 1, 2, 3, 4, 5)]


def test_leaving_the_tool_in_the_middle_brings_the_selection_back(analysed, viewport):
    state, display = analysed.state, analysed.controllers.display
    analysed.controllers.selection.pick(5)
    display.set_tool("area")
    places = corners(viewport, 2, 5, 27, 22)
    press(viewport, places[0])
    move(viewport, *places[1:])
    assert state.selection.chosen == (0, 1, 2)
    display.leave_tool()
    assert state.selection.chosen == (5,)
    release(viewport, places[-1])
    assert state.selection.chosen == (5,)
    assert viewport.cursor().shape() == Qt.CursorShape.CrossCursor


def test_a_click_with_a_tool_selects_as_ever(analysed, viewport):
    for tool in ("area", "ask"):
        analysed.controllers.display.set_tool(tool)
        analysed.controllers.selection.pick(None)
        draw(viewport, [viewport.current_view.to_screen(16, 15)] * 2)
        assert analysed.state.selection.chosen == (1,)
    assert analysed.engine.asks == []


def test_the_list_stays_as_long_as_it_is_while_an_area_is_drawn(qtbot, analysed, viewport):
    table = RoiTable(analysed.state)
    qtbot.addWidget(table)
    table.topChosen.connect(analysed.controllers.selection.set_top)
    analysed.controllers.selection.set_top(2)
    analysed.controllers.display.set_tool("area")
    draw(viewport, corners(viewport, 36, 20, 60, 40))
    assert analysed.state.selection.chosen == (4, 5)
    assert table.model.rowCount() == 2
    analysed.controllers.display.leave_tool()
    analysed.controllers.selection.pick(3)
    assert table.model.rowCount() == 6


def test_what_is_encircled_twice_lies_inside():
    lasso = Lasso(QPointF(0, 0))
    for x, y in ((10, 0), (10, 10), (0, 10), (0, 1), (9, 1), (9, 9), (1, 9)):
        lasso.add(QPointF(x, y))
    assert lasso.holds([(5, 5), (11, 5), (-1, 5)]) == [True, False, False]


def test_escape_belongs_to_the_tool_before_it_stops_a_run(analysed):
    actions, state = Actions(analysed.state), analysed.state
    state.run.kind = "run"
    assert actions.stop.isEnabled()
    assert not actions.leave_tool.isEnabled()
    state.display.tool = "ask"
    assert not actions.stop.isEnabled()
    assert actions.leave_tool.isEnabled()
    assert actions.ask_tool.isChecked()
    state.run.kind = ""


# --------------------------------------------------------------------------------------- questions


def test_a_drawn_box_is_asked_about_and_its_answer_joins_the_evidence(analysed, viewport):
    state, controllers = analysed.state, analysed.controllers
    before = state.results.shown.verdict.logits.tolist()
    calls = len(analysed.engine.backbone_calls)
    controllers.display.set_tool("ask")
    assert viewport.cursor().shape() == Qt.CursorShape.WhatsThisCursor
    draw(viewport, corners(viewport, *BOX)[:3])
    analysed.settle()
    ((box, thread),) = analysed.engine.asks
    np.testing.assert_allclose(box, BOX, atol=1e-6)
    assert thread != "MainThread"
    ((one, row),) = state.results.shown.asked_rois()
    assert row.asked == 0
    assert state.selection.candidate == one.candidate
    assert state.results.shown.verdict.basis == "edited"
    assert state.results.shown.verdict.logits.tolist() != before
    assert state.thresholds.undo == "question about a region, slice 4"
    assert len(analysed.engine.backbone_calls) == calls
    assert "asked: lesion 0.60" in tool_text(state)[0]
    controllers.thresholds.undo()
    assert state.results.shown.asked == ()
    assert state.results.shown.verdict.logits.tolist() == before
    controllers.thresholds.redo()
    ((one, _),) = state.results.shown.asked_rois()
    controllers.what_if.exclude([one.candidate])
    assert not state.thresholds.edits, "what was asked is none of the slice's regions"
    assert state.thresholds.undo.startswith("exclusion of region 7")


def test_a_box_can_be_given_by_keyboard(qtbot, analysed):
    state, controllers = analysed.state, analysed.controllers
    controllers.selection.pick(2)
    dialog = BoxDialog(state)
    qtbot.addWidget(dialog)
    dialog.boxAsked.connect(controllers.what_if.ask)
    dialog.show()
    assert dialog.box == (20.0, 14.0, 28.0, 24.0), "that of the selected region"
    *_, right, bottom = dialog.edges
    right.setValue(21)
    assert not dialog.ask_button.isEnabled()
    right.setValue(40)
    bottom.setFocus()
    qtbot.keyClick(bottom, Qt.Key.Key_Return)
    analysed.settle()
    assert [box for box, _ in analysed.engine.asks] == [(20.0, 14.0, 40.0, 24.0)]
    assert dialog.isVisible()
    assert "asked: lesion 0.60" in dialog.note.text()
    dialog.reject()
    controllers.thresholds.undo()
    assert not state.thresholds.edits


def test_drawn_and_decoded_box_are_on_the_slice_and_can_be_clicked(qtbot, analysed, viewport):
    analysed.controllers.what_if.ask(BOX)
    analysed.settle()
    analysed.controllers.selection.pick(None)
    image = viewport.grab().toImage()
    place = viewport.current_view.box_to_screen(BOX)
    edge = [image.pixelColor(round(x), round(place.top())).getRgb()[:3]
            for x in np.arange(place.left() + 5, place.right() - 5)]  # fmt: skip
    assert sum(np.abs(np.array(edge) - rgb(ASKED)).max(axis=1) < 40) > len(edge) * 0.3
    draw(viewport, [viewport.current_view.to_screen(58, 24)] * 2)
    ((one, _),) = analysed.state.results.shown.asked_rois()
    assert analysed.state.selection.candidate == one.candidate


def test_the_table_calls_it_asked(qtbot, analysed):
    table = RoiTable(analysed.state)
    qtbot.addWidget(table)
    analysed.controllers.what_if.ask(BOX)
    analysed.settle()
    row = table.model.row_of(analysed.state.selection.candidate)
    cells = [table.model.index(row, column).data() for column in range(table.model.columnCount())]
    assert "asked" in cells
    assert "30,20–60,44" in cells
    assert "asked about" in table.model.index(row, 0).data(Qt.ItemDataRole.ToolTipRole)


def test_each_question_is_undone_by_itself_however_soon_it_came(analysed):
    state, controllers = analysed.state, analysed.controllers
    for box in (BOX, (1.0, 2.0, 20.0, 30.0)):
        controllers.what_if.ask(box)
        analysed.settle()
    assert len(state.results.shown.asked) == 2
    controllers.thresholds.undo()
    assert [one.drawn for one in state.results.shown.asked] == [BOX]
    controllers.thresholds.undo()
    assert state.results.shown.asked == ()
    assert state.thresholds.undo == ""


def test_asked_and_kept_regions_go_together(analysed):
    state, what_if = analysed.state, analysed.controllers.what_if
    for box in (BOX, (1.0, 2.0, 20.0, 30.0)):
        what_if.ask(box)
        analysed.settle()
    numbers = [one.candidate for one, _ in state.results.shown.asked_rois()]
    what_if.keep_only([1, numbers[1]])
    edit = state.thresholds.edits.of(3)
    assert [one.box for one in edit.asked] == [(1.0, 2.0, 20.0, 30.0)]
    assert edit.only == {1}
    what_if.restore_all()
    assert not state.thresholds.edits
    assert state.results.shown.asked == ()


def test_maps_that_were_given_up_are_made_again_and_that_is_told(make_rig):
    rig = make_rig(engine=FakeEngine(maps=100))
    rig.open()
    rig.run_all()
    state, index = rig.state, rig.state.display.slice_index
    shown = state.results.shown
    given_up = {k: r for k, r in state.results.slices.items() if k != index}
    given_up[index] = replace(state.results.slices[index], features={})
    state.results.slices = given_up
    calls = len(rig.engine.backbone_calls)
    rig.controllers.what_if.ask(BOX)
    assert any("runs this slice again" in text for text in rig.texts)
    assert state.run.kind == "run", "it can be stopped"
    rig.settle()
    assert rig.engine.backbone_calls[calls:] == [index]
    assert state.results.slices[index].features
    assert len(state.results.shown.asked) == 1
    assert not any("runs this slice again" in text for text in rig.texts)
    assert state.results.shown.detections.indices.tolist() == shown.detections.indices.tolist()
    rig.controllers.what_if.ask((1.0, 1.0, 20.0, 20.0))
    rig.settle()
    assert rig.engine.backbone_calls[calls:] == [index], "the maps are back"


def test_an_answer_goes_to_the_slice_that_was_asked_about(analysed):
    analysed.controllers.what_if.ask(BOX)
    analysed.controllers.display.show_slice(5)
    analysed.settle()
    assert list(analysed.state.thresholds.edits) == [3]
    assert analysed.state.results.shown.asked == ()
    assert analysed.state.results.summaries[3].edited
    assert analysed.state.selection.candidate is None


@pytest.mark.parametrize("leave", ["stop", "close"])
def test_a_question_can_be_stopped_and_ends_with_its_case(make_rig, leave):
    rig = make_rig(engine=FakeEngine(maps=100))
    rig.open()
    rig.run_all()
    results = rig.state.results
    results.slices = {k: replace(r, features={}) for k, r in results.slices.items()}
    rig.engine.gate = threading.Event()
    rig.controllers.what_if.ask(BOX)
    rig.controllers.stop() if leave == "stop" else rig.controllers.opening.close_case()
    rig.engine.gate.set()
    rig.settle()
    assert not rig.state.thresholds.edits
    assert rig.engine.asks == []
    assert rig.state.run.kind == ""


def test_a_slice_that_was_not_analysed_says_what_to_do_first(opened, qtbot):
    opened.controllers.what_if.ask(BOX)
    assert opened.texts == ["Analyse this slice first (Run slice), then ask about a region of it."]
    opened.controllers.display.set_tool("ask")
    assert tool_text(opened.state)[0].startswith("Analyse this slice first")


def test_exports_hold_what_was_asked(analysed):
    analysed.controllers.what_if.ask(BOX)
    analysed.settle()
    analysed.controllers.exporting.export(ExportRequest(kind="csv", target=analysed.folder / "t.csv"))
    analysed.settle()
    assert [one.box for one in analysed.exporter.jobs[0].edits.of(3).asked] == [BOX]


# ---------------------------------------------------------------------------------- plots and scores


@pytest.fixture
def plots(qtbot, analysed):
    panel = PlotPanel(analysed.state)
    qtbot.addWidget(panel)
    panel.regionsPicked.connect(analysed.controllers.selection.pick_several)
    panel.resize(420, 260)
    panel.show()
    qtbot.waitUntil(lambda: panel.scatter.canvas is not None)
    panel.scatter.canvas.draw()
    return panel


def places_of(canvas, *points):
    """Where points of the first axes lie on the canvas."""
    pixels = canvas.figure.axes[0].transData.transform(points) / canvas.device_pixel_ratio
    return [QPointF(x, canvas.height() - y) for x, y in pixels]


def test_a_lasso_in_the_scatterplot_selects_the_points_in_it_as_it_grows(analysed, plots):
    """The fake regions have areas of 80 pixels and scores 0.95, 0.77, ... 0.05."""
    state, canvas = analysed.state, plots.scatter.canvas
    around = places_of(canvas, (0.5, 20), (0.85, 20), (0.85, 200), (0.5, 200))
    press(canvas, around[0])
    move(canvas, *around[1:3])
    assert state.selection.chosen == (1,), "a triangle so far"
    assert state.results.effect.ranks == (2,)
    move(canvas, around[3])
    assert state.selection.chosen == (1, 2)
    release(canvas, around[3])
    assert state.selection.chosen == (1, 2)
    box = places_of(canvas, (0.02, 20), (0.3, 200))
    draw(canvas, box, SHIFT)
    assert state.selection.chosen == (4, 5)


def test_a_drag_over_the_histogram_selects_a_range_of_scores(qtbot, analysed, plots):
    analysed.controllers.selection.set_top(2)
    plots.tabs.setCurrentWidget(plots.histogram)
    qtbot.waitUntil(lambda: plots.histogram.canvas is not None)
    qtbot.wait(60)
    plots.histogram.canvas.draw()
    draw(plots.histogram.canvas, places_of(plots.histogram.canvas, (0.02, 0.2), (0.45, 0.5)))
    assert analysed.state.selection.chosen == (3, 4, 5), "those below the listed ones, too"


def test_scores_can_be_given_by_keyboard(qtbot, analysed):
    state, controllers = analysed.state, analysed.controllers
    actions = Actions(state)
    actions.exclude_region.triggered.connect(lambda: controllers.what_if.exclude(state.selection.chosen))
    dialog = ScoreRangeDialog(state, actions)
    qtbot.addWidget(dialog)
    dialog.regionsPicked.connect(controllers.selection.pick_several)
    dialog.show()
    dialog.high.setValue(0.45)
    assert state.selection.chosen == (3, 4, 5)
    assert dialog.count.text() == "3 of 6 regions selected"
    assert dialog.effect.text().startswith("Without regions 4, 5, 6: ")
    assert "They alone: " in dialog.effect.text()
    exclude = next(button for button in dialog.buttons.buttons() if button.text() == "Exclude")
    exclude.click()
    assert [roi.candidate for roi in state.results.shown.rois if roi.excluded] == [3, 4, 5]
    assert dialog.effect.text().startswith("With regions 4, 5, 6 again: ")
    dialog.low.setValue(0.9)
    assert state.selection.chosen == (1, 2), "between the two, whichever is greater"
    dialog.reject()
