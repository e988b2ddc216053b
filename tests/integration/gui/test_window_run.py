"""Running, cancelling, replacing and closing, with what the window shows of it."""

import threading

from gui_fakes import FakeEngine, FakeReader, make_volume
from PySide6.QtCore import Qt, QTimer
from PySide6.QtWidgets import QFileDialog

from model_core.engine.onnx_backend import OnnxBackend


def test_run_series_fills_panel_strip_and_status(opened):
    opened.run_series()
    assert len(opened.state.results.slices) == 7
    assert "7 of 7 slices analysed" in opened.window.status.text.text()
    assert opened.window.status.computes.text() == "Fake, CPU"
    assert opened.state.results.scan is not None
    assert opened.window.explanation.table.model.rowCount() > 0
    assert opened.texts == []


def test_run_by_keys(opened):
    control = Qt.KeyboardModifier.ControlModifier
    opened.key(Qt.Key.Key_R, control)
    opened.settle()
    assert list(opened.state.results.slices) == [3]
    opened.key(Qt.Key.Key_R, control | Qt.KeyboardModifier.ShiftModifier)
    opened.settle()
    assert len(opened.state.results.slices) == 7
    opened.key(Qt.Key.Key_N)
    assert opened.state.display.slice_index == 4
    opened.key(Qt.Key.Key_P)
    assert opened.state.display.slice_index == 3


def test_window_stays_responsive_and_shows_progress_during_a_run(make_app):
    rig = make_app(engine=FakeEngine(gate=threading.Event()))
    rig.open()
    rig.commands.run_series.trigger()
    rig.qtbot.waitUntil(lambda: rig.state.run.total > 0)
    # The engine waits at its gate: only a window that does not wait with it has events that come.
    ticks = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(rig.state.run.kind))
    timer.start(0)
    rig.qtbot.waitUntil(lambda: len(ticks) >= 20)
    timer.stop()
    assert set(ticks) == {"run"}
    assert rig.window.status.progress.isVisible()
    rig.key(Qt.Key.Key_Down)
    assert rig.state.display.slice_index == 4


def test_cancel_keeps_results_and_hides_progress(make_app):
    engine = FakeEngine()
    rig = make_app(engine=engine)
    rig.open()
    rig.run_slice()
    engine.gate = threading.Event()
    rig.commands.run_series.trigger()
    rig.qtbot.waitUntil(lambda: rig.state.run.total > 0)
    assert engine.runners == 1
    rig.window.status.cancel.click()
    rig.settle()
    rig.qtbot.waitUntil(lambda: engine.runners == 0)
    assert list(rig.state.results.slices) == [3]
    assert not rig.window.status.progress.isVisible()


def test_closing_during_a_run_joins_the_worker(make_app):
    engine = FakeEngine(gate=threading.Event())
    rig = make_app(engine=engine)
    rig.open()
    rig.commands.run_series.trigger()
    rig.qtbot.waitUntil(lambda: rig.state.run.total > 0)
    rig.window.close()
    assert not rig.controllers.thread.running
    assert rig.state.results.slices == {}
    assert not rig.window.isVisible()


def test_closing_during_a_real_run_joins_the_worker(real, monkeypatch):
    looks, gate, look = [], threading.Event(), OnnxBackend.look

    def held(self, *given, **how):
        """Let the first slice through, and the others once the window closes."""
        assert not looks or gate.wait(60)
        looks.append(1)
        return look(self, *given, **how)

    shutdown = real.controllers.shutdown
    monkeypatch.setattr(OnnxBackend, "look", held)
    monkeypatch.setattr(real.controllers, "shutdown", lambda: (gate.set(), shutdown())[1])
    real.commands.run_series.trigger()
    real.qtbot.waitUntil(lambda: len(real.state.results.slices) >= 1)
    assert real.state.run.kind == "run"
    real.window.close()
    assert not real.controllers.thread.running
    assert len(real.state.results.slices) < 4


def test_results_of_a_replaced_run_never_appear(make_app):
    engine = FakeEngine(gate=threading.Event())
    rig = make_app(engine=engine, reader=FakeReader([make_volume("one"), make_volume("second", slices=5)]))
    rig.open()
    rig.window.use.open_series("one")
    rig.settle()
    rig.commands.run_series.trigger()
    rig.qtbot.waitUntil(lambda: rig.state.run.total > 0)
    rig.window.use.open_series("second")
    engine.gate.set()
    rig.settle()
    assert rig.state.case.volume.series_id == "second"
    assert rig.state.results.slices == {}
    assert rig.viewport.grab().toImage().width() > 0


def test_no_weights_is_a_clear_message_and_the_slice_stays(make_app):
    rig = make_app(engine=FakeEngine(missing=True))
    rig.commands.open_demo.trigger()
    rig.settle()
    assert "There are no weights" in rig.window.message_bar.text.text()
    assert rig.state.case.volume.series_id == "phantom"
    assert rig.state.case.reference is not None
    assert rig.state.results.slices == {}


def test_demo_from_the_menu_runs_at_its_largest_lesion(rig):
    rig.commands.open_demo.trigger()
    rig.settle()
    assert rig.state.display.slice_index == 6
    assert len(rig.state.results.slices) == 9
    assert rig.engine.backbone_calls[0] == 6


def test_weights_by_dialog_replace_results(analysed, monkeypatch):
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *a, **k: (["second"], ""))
    analysed.commands.load_weights.trigger()
    analysed.settle()
    assert analysed.state.weights.cards[0].name == "second"
    assert analysed.state.results.slices == {}
    monkeypatch.setattr(QFileDialog, "getOpenFileNames", lambda *a, **k: (["nothing"], ""))
    analysed.commands.load_weights.trigger()
    analysed.settle()
    assert "no weights" in analysed.window.message_bar.text.text()
