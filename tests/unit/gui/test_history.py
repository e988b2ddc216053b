"""Undo and redo of thresholds and window."""

from dataclasses import replace

import pytest

from ctmasknet_gui.controller import history as module
from ctmasknet_gui.state.display import LUNG, PRESETS


@pytest.fixture
def rig(opened):
    opened.run_all()
    return opened


def score(rig, value):
    detections = rig.state.thresholds.detections
    rig.controllers.thresholds.set_detections(replace(detections, score=value))


def test_thresholds_and_windows_come_back_step_by_step(rig):
    history, state = rig.controllers.history, rig.state
    calls = len(rig.engine.backbone_calls)
    first = state.thresholds.detections.score
    score(rig, 0.7)
    history._record()
    rig.controllers.display.preset(3)
    history._record()
    shown = len(state.results.shown.detections)
    history.undo()
    assert state.display.window == LUNG
    assert state.thresholds.detections.score == 0.7
    history.undo()
    assert state.thresholds.detections.score == first
    assert len(state.results.shown.detections) > shown
    history.undo()
    assert state.thresholds.detections.score == first
    history.redo()
    history.redo()
    assert state.thresholds.detections.score == 0.7
    assert state.display.window == PRESETS[1]
    history.redo()
    rig.settle()
    assert len(rig.engine.backbone_calls) == calls
    assert all(s.detections == shown for k, s in state.results.summaries.items() if k)


def test_a_drag_is_one_step(rig, monkeypatch):
    first = rig.state.thresholds.detections.score
    for value in (0.5, 0.55, 0.6, 0.65):
        score(rig, value)
    rig.controllers.history.undo()
    assert rig.state.thresholds.detections.score == first
    rig.controllers.history.redo()
    assert rig.state.thresholds.detections.score == 0.65
    rig.controllers.history._pause.setInterval(1)
    score(rig, 0.7)
    rig.qtbot.wait(30)
    score(rig, 0.8)
    rig.controllers.history.undo()
    assert rig.state.thresholds.detections.score == 0.7


def test_the_link_comes_back_with_its_evidence(rig):
    history, thresholds = rig.controllers.history, rig.state.thresholds
    rig.controllers.thresholds.set_linked(True)
    history._record()
    score(rig, 0.6)
    assert thresholds.evidence.score == 0.6
    history.undo()
    assert thresholds.linked
    history.undo()
    assert not thresholds.linked
    assert not thresholds.evidence_edited
    history.redo()
    history.redo()
    assert (thresholds.linked, thresholds.evidence.score) == (True, 0.6)


def test_a_new_change_ends_what_could_be_redone(rig):
    history = rig.controllers.history
    score(rig, 0.7)
    history.undo()
    score(rig, 0.9)
    history.redo()
    assert rig.state.thresholds.detections.score == 0.9


def test_another_series_or_other_weights_begin_anew(rig):
    score(rig, 0.7)
    rig.controllers.display.preset(4)
    rig.open("again")
    window = rig.state.display.window
    rig.controllers.history.undo()
    assert rig.state.display.window == window
    assert rig.state.thresholds.detections.score == 0.7
    score(rig, 0.8)
    rig.controllers.weights.choose(["second"])
    rig.settle()
    kept = rig.state.thresholds.detections
    rig.controllers.history.undo()
    assert rig.state.thresholds.detections == kept


def test_what_was_remembered_is_no_step(make_rig):
    rig = make_rig()
    rig.state.display.window = PRESETS[2]
    rig.controllers.history.undo()
    assert rig.state.display.window == PRESETS[2]


def test_steps_are_few(rig, monkeypatch):
    monkeypatch.setattr(module, "MAX_STEPS", 3)
    for key in (3, 4, 5, 6, 7):
        rig.controllers.display.preset(key)
        rig.controllers.history._record()
    for _ in range(9):
        rig.controllers.history.undo()
    assert rig.state.display.window == PRESETS[2]
