"""Sliders, NMS toggle, scoring and link on the real pipeline: everything follows, the backbone rests."""

import numpy as np
import pytest
from PySide6.QtCore import Qt

from model_core.engine.onnx_backend import OnnxBackend


@pytest.fixture
def calls(monkeypatch):
    """Counts every pass through a backbone."""
    made = []
    look = OnnxBackend.look

    def counted(self, picture, **how):
        if self.in_use:  # not in the self-test
            made.append(picture.shape)
        return look(self, picture, **how)

    monkeypatch.setattr(OnnxBackend, "look", counted)
    return made


def test_sliders_never_call_the_backbone(real, calls):
    real.run_series()
    assert len(calls) == 4
    panel = real.window.explanation.thresholds
    shown = []
    for value in (0.05, 0.3, 0.45, 0.6, 0.95):
        panel.score.spin.setValue(value)
        real.settle()
        shown.append(len(real.state.results.shown.detections))
        assert real.state.thresholds.detections.score == pytest.approx(value)
    assert shown == sorted(shown, reverse=True)
    assert shown[0] > shown[-1]
    panel.score.spin.setValue(0.05)
    for value in (0.05, 0.5, 1.0):
        panel.nms.spin.setValue(value)
    real.key(Qt.Key.Key_T)
    assert real.state.thresholds.detections.nms_iou is None
    real.key(Qt.Key.Key_T)
    assert real.state.thresholds.detections.nms_iou == pytest.approx(1.0)
    panel.mask_level.spin.setValue(1.5)
    real.commands.scoring_sigmoid.trigger()
    assert real.state.thresholds.detections.scoring == "sigmoid"
    panel.evidence_score.spin.setValue(0.4)
    panel.evidence_nms.spin.setValue(0.3)
    real.settle()
    assert len(calls) == 4
    assert len(real.state.results.summaries) == 4


def test_masks_follow_the_mask_threshold(real, calls):
    real.run_slice()
    panel = real.window.explanation.thresholds
    panel.score.spin.setValue(0.2)
    real.settle()
    before = [m.sum() for m in real.state.results.shown.masks]
    panel.mask_level.spin.setValue(panel.mask_level.spin.maximum())
    real.settle()
    after = [m.sum() for m in real.state.results.shown.masks]
    assert before
    assert sum(after) < sum(before)
    assert len(calls) == 1


def test_logits_are_summed_on_request_and_the_choice_is_shown(real, calls):
    real.run_slice()
    state, commands = real.state, real.commands
    real.window.explanation.thresholds.score.spin.setValue(0.05)
    real.settle()
    greatest = state.results.shown.logit_map
    assert not commands.sum_logits.isChecked()
    commands.sum_logits.trigger()
    assert state.thresholds.detections.logit_rule == "sum"
    assert commands.sum_logits.isChecked()
    real.settle()
    summed = state.results.shown.logit_map
    assert np.array_equal(np.isnan(summed), np.isnan(greatest))
    assert not np.array_equal(summed, greatest, equal_nan=True)
    commands.sum_logits.trigger()
    real.settle()
    assert np.array_equal(state.results.shown.logit_map, greatest, equal_nan=True)
    assert len(calls) == 1


def test_touching_detections_are_joined_on_request(real, calls):
    real.run_slice()
    state, panel = real.state, real.window.explanation.thresholds
    panel.score.spin.setValue(0.05)
    panel.nms.spin.setValue(1.0)
    real.settle()
    single = state.results.shown
    assert not panel.join.isChecked()
    real.key(Qt.Key.Key_J)
    assert state.thresholds.detections.join_touching
    assert panel.join.isChecked()
    assert real.commands.join_touching.isChecked()
    real.settle()
    joined = state.results.shown
    assert 0 < len(joined.detections) < len(single.detections)
    assert np.array_equal(joined.masks.any(axis=0), single.masks.any(axis=0))
    assert joined.masks.sum(axis=0).max() == 1
    assert np.array_equal(joined.logit_map, single.logit_map, equal_nan=True)
    # A region that others stand for is still in the table, and says so when it is chosen.
    alone = {int(k) for k in single.detections.indices} - {int(k) for k in joined.detections.indices}
    row = next(roi for roi in joined.rois if roi.candidate in alone)
    assert row.detected
    assert row.why_unshown == "no lesion of its own"
    panel.join.click()
    assert not state.thresholds.detections.join_touching
    real.settle()
    assert len(state.results.shown.detections) == len(single.detections)
    assert len(calls) == 1


def test_link_makes_the_class_follow_and_is_marked_edited(real, calls):
    real.run_slice()
    state, panel = real.state, real.window.explanation.thresholds
    trained = state.results.shown.verdict
    assert trained.basis == "trained"
    assert "as these weights were trained" in real.window.status.evidence.text()
    panel.score.spin.setValue(0.3)
    assert np.array_equal(state.results.shown.verdict.logits, trained.logits)
    real.commands.link.trigger()
    assert state.thresholds.linked
    assert panel.link.isChecked()
    assert state.thresholds.evidence.score == pytest.approx(0.3)
    assert state.results.shown.verdict.basis == "edited"
    assert "edited" in real.window.status.evidence.text()
    panel.score.spin.setValue(0.6)
    assert state.thresholds.evidence.score == pytest.approx(0.6)
    panel.link.click()
    assert not state.thresholds.linked
    assert np.allclose(state.results.shown.verdict.logits, trained.logits)
    assert state.thresholds.detections.score == pytest.approx(0.6)
    assert len(calls) == 1


def test_slice_strip_and_scan_follow_the_thresholds(real, calls):
    real.run_series()
    before = sum(s.detections for s in real.state.results.summaries.values())
    real.window.explanation.thresholds.score.spin.setValue(1.0)
    real.settle()
    assert before > 0
    assert sum(s.detections for s in real.state.results.summaries.values()) == 0
    assert not real.state.results.shown.masks.any()
    assert len(calls) == 4


def test_new_masks_are_awaited_in_words_and_known_ones_are_there_at_once(real, calls):
    real.run_series()
    state, explanation = real.state, real.window.explanation
    explanation.thresholds.score.spin.setValue(0.05)
    explanation.thresholds.nms.spin.setValue(1.0)
    real.window.use.show_slice(1)
    assert state.results.shown is None
    assert "being computed" in explanation.table.empty.text()
    real.settle()
    assert state.results.shown.slice_index == 1
    assert not explanation.table.empty.isVisible()
    for index in (0, 3, 2, 1):
        real.window.use.show_slice(index)
        assert state.results.shown.slice_index == index
        assert state.results.shown.summary == state.results.summaries[index]
    assert not real.controllers.jobs.busy
    assert len(calls) == 4


def test_ctrl_z_takes_a_threshold_back_and_the_menu_says_which(analysed):
    state, commands = analysed.state, analysed.commands
    control, shift = Qt.KeyboardModifier.ControlModifier, Qt.KeyboardModifier.ShiftModifier
    assert not commands.undo.isEnabled()
    assert not commands.redo.isEnabled()
    slider, first = analysed.window.explanation.thresholds.score.slider, state.thresholds.detections.score
    for place in (50, 60, 70):
        slider.setValue(place)
    assert (commands.undo.text(), commands.undo.isEnabled()) == ("Undo score", True)
    analysed.key(Qt.Key.Key_Z, control)
    assert state.thresholds.detections.score == first
    assert slider.value() == round(100 * first)
    assert (commands.undo.text(), commands.undo.isEnabled()) == ("Undo", False)
    assert commands.redo.text() == "Redo score"
    analysed.key(Qt.Key.Key_Z, control | shift)
    assert state.thresholds.detections.score == pytest.approx(0.7)
    analysed.key(Qt.Key.Key_Z, control)
    analysed.key(Qt.Key.Key_Y, control)
    assert state.thresholds.detections.score == pytest.approx(0.7)
    assert commands.undo in analysed.window.menuBar().actions()[1].menu().actions()
