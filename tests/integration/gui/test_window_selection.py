"""One selection: table, viewport and scatterplot show and set the same region."""

from dataclasses import replace

import pytest
from gui_fakes import FakeReader
from PySide6.QtCore import QEvent, Qt
from PySide6.QtGui import QMouseEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from ctmasknet_gui.controller.ports import Engine
from model_core.engine.onnx_backend import OnnxBackend
from model_core.engine.torch_backend import TorchBackend


def box_centre(rig, position):
    """Point of the viewport over the middle of a shown detection."""
    box = rig.state.results.shown.detections.boxes[position]
    view = rig.viewport.current_view
    return view.to_screen(float(box[0] + box[2]) / 2, float(box[1] + box[3]) / 2).toPoint()


def selected_rows(rig):
    rows = rig.window.explanation.table.table.selectionModel().selectedRows()
    return [row.row() for row in rows]


def test_click_on_a_box_selects_its_row(analysed):
    analysed.qtbot.mouseClick(analysed.viewport, Qt.MouseButton.LeftButton, pos=box_centre(analysed, 1))
    candidate = int(analysed.state.results.shown.detections.indices[1])
    assert analysed.state.selection.candidate == candidate
    table = analysed.window.explanation.table
    assert selected_rows(analysed) == [table.model.row_of(candidate)]
    view = analysed.viewport.current_view
    outside = view.to_screen(1, 1).toPoint()
    analysed.qtbot.mouseClick(analysed.viewport, Qt.MouseButton.LeftButton, pos=outside)
    assert analysed.state.selection.candidate is None
    assert selected_rows(analysed) == []


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
    assert selected_rows(analysed) == [analysed.window.explanation.table.model.row_of(roi.candidate)]


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


@pytest.fixture
def two_networks(tiny_weights, tmp_path):
    """A classifier that brings a detector of its own: two passes a slice."""
    import torch

    from model_core.networks import build
    from model_core.weights.card import read_card
    from model_core.weights.store import save_weights

    card = replace(read_card(tiny_weights / "tiny-s.json"), name="own", sha256="", base_sha256="")
    torch.manual_seed(11)
    save_weights(tmp_path / "own.safetensors", build(card.architecture).state_dict(), card)
    return str(tiny_weights / "tiny.safetensors"), str(tmp_path / "own.safetensors")


def test_with_two_networks_a_number_means_one_region(make_app, two_networks):
    rig = make_app(engine=Engine(), reader=FakeReader())
    rig.open()
    rig.window.use.choose_weights(two_networks)
    rig.settle()
    rig.run_slice()
    assert rig.texts == []
    state, table = rig.state, rig.window.explanation.table
    shown = state.results.shown
    assert len(shown.detections) > 0
    assert len(shown.rois) > 0
    assert not {row.candidate for row in shown.rois} & set(shown.detections.indices.tolist())
    rig.window.use.pick(int(shown.detections.indices[0]))
    assert selected_rows(rig) == []
    table.table.selectRow(0)
    assert state.selection.candidate == table.model.roi(0).candidate
    assert rig.viewport.grab().toImage().width() > 0
    batch = shown.verdict.batch.source
    assert (batch == state.selection.candidate).any()


def drag(viewport, start, end, *, between=()):
    """Drag with the left button between points of the slice."""
    left, none = Qt.MouseButton.LeftButton, Qt.MouseButton.NoButton
    kinds = QEvent.Type
    steps = [(kinds.MouseButtonPress, start, left, left)]
    steps += [(kinds.MouseMove, point, none, left) for point in (*between, end)]
    steps.append((kinds.MouseButtonRelease, end, left, none))
    for kind, (x, y), button, buttons in steps:
        place = viewport.current_view.to_screen(x, y)
        event = QMouseEvent(
            kind, place, viewport.mapToGlobal(place), button, buttons, Qt.KeyboardModifier.NoModifier
        )
        QApplication.sendEvent(viewport, event)
        QApplication.processEvents()


def test_the_evidence_is_questioned_with_real_networks(real, monkeypatch):
    looks = []
    for backend in (TorchBackend, OnnxBackend):

        def counted(self, *given, look=backend.look, **how):
            looks.append(1)
            return look(self, *given, **how)

        monkeypatch.setattr(backend, "look", counted)
    real.run_slice()
    assert looks
    state, window = real.state, real.state.display.window
    plain = state.results.shown.verdict.logits.tolist()
    looks.clear()
    real.key(Qt.Key.Key_Q)
    assert state.display.tool == "ask"
    drag(real.viewport, (15, 20), (50, 45), between=[(30, 30)])
    real.settle()
    ((one, row),) = state.results.shown.asked_rois()
    assert one.drawn == pytest.approx((15, 20, 50, 45), abs=1e-3)
    assert one.mask.shape == state.case.volume.voxels.shape[1:]
    assert state.selection.candidate == one.candidate
    table = real.window.explanation.table.model
    assert table.row_of(one.candidate) == row.rank - 1
    assert state.results.summaries[state.display.slice_index].edited
    real.key(Qt.Key.Key_Escape)
    assert state.display.tool == ""
    real.key(Qt.Key.Key_X)
    assert state.results.shown.asked == ()
    assert state.results.shown.verdict.logits.tolist() == plain

    real.key(Qt.Key.Key_E)
    corners = [(1, 1), (79, 1), (79, 63), (1, 63)]
    drag(real.viewport, corners[0], corners[-1], between=corners[1:-1])
    chosen = state.selection.chosen
    assert len(chosen) > 1
    effect = state.results.effect.verdict.logits.tolist()
    real.key(Qt.Key.Key_X)
    real.settle()
    assert state.results.shown.verdict.logits.tolist() == effect
    assert {roi.candidate for roi in state.results.shown.rois if roi.excluded} >= set(chosen)
    real.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    real.settle()
    assert state.results.shown.verdict.logits.tolist() == plain
    assert state.display.window == window
    assert looks == [], "no backbone runs"
    assert real.texts == []
