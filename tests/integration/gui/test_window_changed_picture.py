"""A changed picture in the window: shown before it runs, never a result of the slice, gone with it."""

import threading
from dataclasses import replace

import pytest
from gui_fakes import FakeEngine, FakeReader
from PySide6.QtCore import QPointF, Qt
from PySide6.QtWidgets import QApplication

from ctmasknet_gui.view.what_if_dialogs import BoxDialog
from model_core.base.picture_edit import ABOUT_THE_NETWORK

BOX = ((30, 20), (50, 20), (50, 36), (30, 36))


@pytest.fixture
def rig(make_app):
    rig = make_app(engine=FakeEngine(), reader=FakeReader())
    rig.open()
    rig.run_slice()
    return rig


def change(rig, kind="heal", polygon=BOX):
    rig.window.use.edit_area(kind, polygon)
    rig.settle()
    return rig.window.dialogs.picture_edit


def results(rig):
    state = rig.state.results
    return state.shown, state.summaries, state.slices, state.scan


def test_a_selected_lesion_is_shown_healed_before_anything_runs(rig):
    first = rig.state.results.shown.rois[0]
    rig.window.use.pick(first.candidate)
    ran, before = len(rig.engine.backbone_calls), results(rig)
    rig.key(Qt.Key.Key_C)
    rig.settle()
    dialog = rig.window.dialogs.picture_edit
    assert dialog.isVisible()
    assert not dialog.isModal()
    assert rig.engine.edits[-1].regions == ((first.rank, first.box),)
    assert dialog.note.text() == ABOUT_THE_NETWORK
    assert dialog.effect.text() == "Nothing has run yet"
    assert not dialog.table.isVisible()
    assert not dialog.level.isVisible()
    assert len(rig.engine.backbone_calls) == ran
    assert all(one is other for one, other in zip(results(rig), before, strict=True))


def test_it_runs_and_says_what_became_of_the_class_beside_the_shams(rig):
    before, dialog = results(rig), change(rig)
    dialog.run_button.click()
    rig.settle()
    assert dialog.effect.text() == "ill 0.90 → 0.20 (logit −2.00): the verdict changes"
    assert dialog.shams.text().startswith("Beyond the shams: 2 sham heals")
    assert "1 gone in the changed area" in dialog.counts.text()
    cells = [dialog.table.item(0, column).text() for column in range(5)]
    assert cells == ["Gone", "In the changed area", "lesion", "0.90", "–"]
    dialog.table.selectRow(0)
    assert dialog.before.box == (30, 20, 40, 30)
    assert dialog.after.box is None
    assert not dialog.run_button.isEnabled()
    assert all(one is other for one, other in zip(results(rig), before, strict=True))
    dialog.close()
    assert rig.state.picture_edit.edited is None
    assert rig.state.picture_edit.effect is None
    assert rig.window.dialogs.picture_edit is None


def test_what_has_come_out_stays_where_the_shams_are_stopped(rig):
    dialog = change(rig)
    rig.engine.gate = threading.Event()
    dialog.run_button.click()
    rig.qtbot.waitUntil(lambda: rig.state.run.text == "waiting")
    assert dialog.progress.isVisible()
    assert rig.state.run.kind == "run"
    dialog.stop_button.click()
    rig.engine.gate.set()
    rig.settle()
    assert not rig.state.picture_edit.running
    assert dialog.shams.text() == "0 of at most 2 sham heals have run"
    assert dialog.run_button.isEnabled()
    dialog.run_button.click()
    rig.settle()
    assert dialog.shams.text().startswith("Beyond the shams")


@pytest.mark.parametrize("running", [False, True])
def test_it_goes_with_its_slice(rig, running):
    dialog = change(rig)
    if running:
        rig.engine.gate = threading.Event()
        dialog.run_button.click()
        rig.qtbot.waitUntil(lambda: rig.state.run.text == "waiting")
    rig.window.use.step(1)
    if running:
        rig.engine.gate.set()
    rig.settle()
    assert rig.window.dialogs.picture_edit is None
    assert rig.state.picture_edit.edited is None
    assert not rig.state.picture_edit.running


def test_it_goes_with_its_case(rig):
    change(rig)
    rig.commands.close_case.trigger()
    assert rig.window.dialogs.picture_edit is None


def test_changed_thresholds_make_it_outdated(rig):
    dialog = change(rig)
    dialog.run_button.click()
    rig.settle()
    rig.window.use.set_detections(replace(rig.state.thresholds.detections, score=0.7))
    rig.settle()
    assert "run it again" in dialog.running.text()
    assert dialog.note.text() == ABOUT_THE_NETWORK
    assert dialog.run_button.isEnabled()
    rig.commands.undo.trigger()
    rig.settle()
    assert dialog.running.text() == "", "true again"
    rig.commands.redo.trigger()
    rig.settle()
    assert "run it again" in dialog.running.text()
    dialog.run_button.click()
    rig.settle()
    assert dialog.running.text() == ""


def test_a_refusal_says_why_and_opens_nothing(rig):
    assert change(rig, polygon=((0, 0), (9, 0), (9, 9))) is None
    assert rig.texts[-1] == "There is hardly any lung in this area."
    change(rig)
    assert rig.texts == [], "what was told of the last try is no longer true"


def test_the_density_of_ground_glass_is_chosen_beside_its_picture(rig):
    dialog = change(rig, "plant")
    assert dialog.level.isVisible()
    dialog.level.setValue(-425)
    rig.settle()
    assert rig.engine.edits[-1].level_hu == -425.0
    assert rig.engine.edits[-1].polygon == BOX
    assert "−425 HU" in dialog.shams.text()
    assert rig.window.dialogs.picture_edit is dialog


def test_the_density_is_that_of_the_picture_that_is_shown(rig):
    dialog = change(rig, "plant")
    dialog.level.setValue(-425)
    rig.settle()
    change(rig, "plant", polygon=((0, 0), (9, 0), (9, 9)))
    assert "hardly any lung" in rig.texts[-1]
    assert dialog.level.value() == -425
    dialog.level.setValue(-450)
    rig.settle()
    assert rig.engine.edits[-1].polygon == BOX, "of the picture that is shown, not of what was refused"
    other = ((60, 20), (80, 20), (80, 36), (60, 36))
    change(rig, "plant", polygon=other)
    assert rig.engine.edits[-1].level_hu == -500
    assert dialog.level.value() == -500
    dialog.level.setValue(-600)
    rig.settle()
    assert "as dense as" in rig.texts[-1]
    assert dialog.level.value() == -500


def test_a_density_that_was_typed_is_what_runs(rig):
    dialog = change(rig, "plant")
    dialog.level.setValue(-425)  # as the click on Run takes the keyboard from the box
    dialog.run_button.click()
    rig.settle()
    assert rig.state.picture_edit.edited.level_hu == -425
    assert rig.state.picture_edit.effect.edited is rig.state.picture_edit.edited
    dialog.level.setValue(-600)
    dialog.run_button.click()
    rig.settle()
    assert "as dense as" in rig.texts[-1]
    assert rig.state.picture_edit.effect.edited is rig.state.picture_edit.edited, "nothing else runs instead"
    assert not rig.state.picture_edit.running


def test_a_slice_that_must_run_again_says_so(rig):
    dialog = change(rig)
    rig.state.results.slices = {}
    dialog.run_button.click()
    assert "Analyse this slice first" in rig.texts[-1]


def test_without_a_result_a_picture_is_not_changed(make_app):
    rig = make_app(engine=FakeEngine(), reader=FakeReader())
    rig.open()
    assert change(rig) is None
    assert "Analyse this slice first" in rig.texts[-1]
    assert not rig.commands.heal_tool.isEnabled()


@pytest.mark.parametrize("kind", ["heal", "plant"])
def test_an_area_is_drawn_with_the_tool_or_given_as_numbers(rig, kind):
    getattr(rig.commands, f"{kind}_tool").trigger()
    drawing = rig.viewport.drawing
    drawing.begin(QPointF(30, 20), boxed=True)
    drawing.add(QPointF(50, 36))
    drawing.end()
    rig.settle()
    drawn = rig.engine.edits[-1]
    assert drawn.kind == kind
    assert set(drawn.polygon) >= set(BOX)
    drawing.begin(QPointF(30, 20), boxed=True)
    drawing.end()
    assert rig.engine.edits[-1] is drawn, "a click is no area"
    rig.window.use.forget_edited()
    getattr(rig.commands, f"{kind}_box").trigger()
    dialog = rig.window.findChild(BoxDialog)
    for edge, value in zip(dialog.edges, (30, 20, 50, 36), strict=True):
        edge.setValue(value)
    dialog.ask_button.click()
    rig.settle()
    assert rig.engine.edits[-1].kind == kind
    assert rig.engine.edits[-1].polygon == BOX
    QApplication.processEvents()
    assert rig.window.dialogs.picture_edit is not None


def test_the_dialog_says_that_edits_of_the_evidence_play_no_part(rig):
    dialog = change(rig)
    assert not dialog.unedited.isVisible()
    rig.window.use.exclude((rig.state.results.shown.rois[0].candidate,))
    rig.settle()
    assert dialog.unedited.isVisible()
    assert "left out of the evidence of this slice" in dialog.unedited.text()
    rig.commands.undo.trigger()
    rig.settle()
    assert not dialog.unedited.isVisible()
