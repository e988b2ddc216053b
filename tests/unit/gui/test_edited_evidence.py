"""Regions taken out of the evidence by hand: class, table, scan, undo, exports; no backbone runs."""

from dataclasses import replace

import pytest
from PySide6.QtCore import QItemSelectionModel, Qt

from ctmasknet_gui.state import SliceEdits
from ctmasknet_gui.state.requests import ExportRequest
from ctmasknet_gui.view.explanation.class_panel import ClassPanel, ProbabilityBars
from ctmasknet_gui.view.explanation.roi_model import COPIES_COLUMN
from ctmasknet_gui.view.explanation.roi_table import RoiTable
from model_core.base.settings import EvidenceEdit


@pytest.fixture
def analysed(opened):
    opened.run_all()
    return opened


def excluded(rig):
    return [roi.candidate for roi in rig.state.results.shown.rois if roi.excluded]


def test_the_class_follows_at_once_and_no_backbone_runs(analysed):
    state, what_if = analysed.state, analysed.controllers.what_if
    calls, shows = len(analysed.engine.backbone_calls), analysed.engine.shows
    before, others = state.results.shown, dict(state.results.summaries)
    what_if.exclude([0, 2])
    assert excluded(analysed) == [0, 2], "without waiting for a worker"
    assert state.results.shown.verdict.basis == "edited"
    assert state.results.shown.masks is before.masks
    assert state.results.scan.basis == "edited"
    index = state.display.slice_index
    assert state.results.summaries[index].edited
    assert {k for k, s in state.results.summaries.items() if s is not others[k]} == {index}
    what_if.restore([2])
    assert excluded(analysed) == [0]
    what_if.restore_all()
    assert state.results.shown.verdict.basis == "trained"
    assert state.results.scan.basis == "trained"
    assert state.thresholds.edits == SliceEdits()
    analysed.settle()
    assert len(analysed.engine.backbone_calls) == calls
    assert analysed.engine.shows == shows


def test_only_some_stay_and_what_is_no_region_is_passed_over(analysed):
    what_if = analysed.controllers.what_if
    what_if.keep_only([1, 3])
    assert excluded(analysed) == [0, 2, 4, 5]
    what_if.exclude([99])
    what_if.restore([1])
    assert excluded(analysed) == [0, 2, 4, 5]
    assert analysed.state.thresholds.undo == "keeping 2 regions only, slice 4"


def test_every_edit_is_undone_and_done_again(analysed):
    state, what_if, thresholds = analysed.state, analysed.controllers.what_if, analysed.controllers.thresholds
    what_if.exclude([0])
    thresholds.set_evidence(replace(state.thresholds.evidence, score=0.2))
    what_if.exclude([2])
    assert state.thresholds.undo == "exclusion of region 3, slice 4"
    thresholds.undo()
    assert excluded(analysed) == [0]
    thresholds.undo()
    thresholds.undo()
    assert excluded(analysed) == []
    assert state.thresholds.undo == ""
    for _ in range(3):
        thresholds.redo()
    assert excluded(analysed) == [0, 2]
    analysed.settle()
    assert state.results.scan.basis == "edited"


def test_an_edit_of_another_slice_is_taken_back_there(analysed):
    state, controllers = analysed.state, analysed.controllers
    controllers.what_if.exclude([0])
    controllers.display.show_slice(5)
    analysed.settle()
    assert excluded(analysed) == []
    assert state.results.scan.basis == "edited"
    controllers.thresholds.undo()
    analysed.settle()
    assert not any(summary.edited for summary in state.results.summaries.values())
    assert state.results.scan.basis == "trained"
    controllers.thresholds.redo()
    controllers.what_if.exclude([1])
    analysed.settle()
    assert [k for k, s in state.results.summaries.items() if s.edited] == [3, 5]
    controllers.what_if.restore_everywhere()
    analysed.settle()
    assert state.results.scan.basis == "trained"


def test_what_runs_later_follows_the_edits_that_there_are(analysed):
    state, controllers = analysed.state, analysed.controllers
    controllers.what_if.exclude([0])
    index = state.display.slice_index
    state.results.slices = {k: r for k, r in state.results.slices.items() if k != index}
    state.results.summaries = {k: s for k, s in state.results.summaries.items() if k != index}
    controllers.running.run_slice()
    analysed.settle()
    assert excluded(analysed) == [0]
    assert state.results.summaries[index].edited
    controllers.thresholds.set_evidence(replace(state.thresholds.evidence, score=0.2))
    analysed.settle()
    assert state.results.summaries[index].edited
    assert excluded(analysed) == [0]


def test_edits_belong_to_their_case_and_come_back_with_it(two_series):
    rig, state = two_series, two_series.state
    controllers = rig.controllers
    rig.open()
    rig.run_all()
    controllers.thresholds.set_detections(replace(state.thresholds.detections, score=0.5))
    controllers.what_if.exclude([0])
    edited = state.thresholds.edits
    controllers.opening.open_series("second")
    rig.settle()
    assert state.thresholds.edits == SliceEdits()
    assert state.thresholds.undo == "score", "its regions are those of another series"
    rig.run_all()
    assert state.results.scan.basis == "trained"
    controllers.thresholds.undo()
    rig.settle()
    assert state.thresholds.edits == SliceEdits()
    controllers.opening.open_series("one")
    rig.settle()
    assert state.thresholds.edits == edited
    assert state.results.scan.basis == "edited"
    controllers.display.show_slice(3)
    rig.settle()
    assert excluded(rig) == [0]


def test_undo_of_a_threshold_leaves_regions_that_came_back_out(two_series):
    rig, state = two_series, two_series.state
    controllers = rig.controllers
    rig.open()
    rig.run_all()
    controllers.what_if.exclude([0])
    controllers.thresholds.set_detections(replace(state.thresholds.detections, score=0.5))
    edited = state.thresholds.edits
    controllers.opening.open_series("second")
    rig.settle()
    controllers.opening.open_series("one")
    rig.settle()
    assert state.thresholds.edits == edited
    controllers.thresholds.undo()
    rig.settle()
    assert state.thresholds.detections.score != 0.5
    assert state.thresholds.edits == edited


def test_weights_change_with_several_regions_selected(analysed):
    state, judged = analysed.state, analysed.engine.judge
    asked = []
    analysed.engine.judge = lambda pipeline, result, *rest: (
        asked.append(pipeline.weights_id == result.weights_id) or judged(pipeline, result, *rest)
    )
    analysed.controllers.selection.pick_several([0, 1, 2])
    analysed.controllers.weights.choose(["other"])
    analysed.settle()
    assert asked
    assert all(asked), "regions of one network are not judged by another"
    assert state.selection.chosen == ()
    assert state.results.slices == {}
    assert state.results.effect is None


def test_other_weights_have_other_regions(analysed):
    analysed.controllers.what_if.exclude([0])
    analysed.controllers.weights.choose(["other"])
    analysed.settle()
    assert not analysed.state.thresholds.edits
    analysed.run_all()
    assert excluded(analysed) == []
    analysed.controllers.weights.choose([])
    analysed.settle()
    assert excluded(analysed) == [0]


def test_the_effect_of_the_selected_regions_is_known_before_they_are_excluded(analysed):
    state, controllers = analysed.state, analysed.controllers
    controllers.selection.pick_several([1, 4])
    effect = state.results.effect
    assert (effect.ranks, effect.restored) == ((2, 5), False)
    controllers.what_if.exclude([1, 4])
    assert state.results.shown.verdict.logits.tolist() == effect.verdict.logits.tolist()
    assert state.results.effect.restored
    controllers.selection.pick(None)
    assert state.results.effect is None
    assert state.selection.others == ()


def test_exports_hold_the_edits(analysed):
    analysed.controllers.what_if.exclude([0])
    analysed.controllers.exporting.export(ExportRequest(kind="csv", target=analysed.folder / "table.csv"))
    analysed.settle()
    assert analysed.exporter.jobs[0].edits.of(3) == EvidenceEdit(excluded=frozenset({0}))
    assert analysed.exporter.jobs[0].edits.of(2) is None


def test_nms_is_a_choice_for_every_edited_slice(analysed):
    what_if, thresholds = analysed.controllers.what_if, analysed.controllers.thresholds
    what_if.exclude([0])
    what_if.toggle_nms_anew()
    assert analysed.state.results.shown.verdict.edit.nms_anew
    thresholds.undo()
    assert not analysed.state.results.shown.verdict.edit.nms_anew


# -------------------------------------------------------------------------------------------- window


def test_selected_rows_are_excluded_by_key_and_the_original_stays_pinned(qtbot, analysed):
    state, what_if = analysed.state, analysed.controllers.what_if
    table, panel = RoiTable(state), ClassPanel(state)
    for widget in (table, panel):
        qtbot.addWidget(widget)
        widget.show()
    table.regionsPicked.connect(analysed.controllers.selection.pick_several)
    table.candidatePicked.connect(analysed.controllers.selection.pick)
    panel.restoreAsked.connect(what_if.restore_all)
    table.table.selectRow(0)
    flags = QItemSelectionModel.SelectionFlag
    third = table.model.index(2, 0)
    table.table.selectionModel().select(third, flags.Select | flags.Rows)
    assert state.selection.chosen == (0, 2)
    assert table.effect.text().startswith("Without regions 1, 3: ")
    top = panel.answer.y()
    what_if.exclude(state.selection.chosen)
    assert table.effect.text().startswith("With regions 1, 3 again: ")
    assert state.selection.chosen == (0, 2)
    assert [table.model.data(table.model.index(row, COPIES_COLUMN)) for row in (0, 1)] == ["out", "2"]
    struck = table.model.data(table.model.index(0, 1), Qt.ItemDataRole.FontRole)
    assert struck.strikeOut()
    assert table.model.data(table.model.index(1, 1), Qt.ItemDataRole.FontRole) is None
    assert panel.badge.isVisible()
    qtbot.wait(20)
    assert panel.answer.y() == top, "nothing jumps"
    panel.restore.click()
    assert not panel.badge.isVisible()
    assert not panel.restore.isVisible()


def test_probabilities_before_the_edit_are_spoken(qtbot):
    bars = ProbabilityBars()
    qtbot.addWidget(bars)
    bars.set_values(("Control", "COVID-19"), (0.3, 0.7), former=(0.1, 0.9))
    assert "COVID-19 0.70 (original 0.90)" in bars.accessibleName()
