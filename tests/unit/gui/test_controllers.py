"""Use cases without a window: what each does to state, with counted fakes of engine and reader."""

import dataclasses
import threading
from dataclasses import replace

import numpy as np
import pytest
from gui_fakes import CANDIDATES, FakeEngine, FakeReader, make_volume, warning
from psygnal import EmitLoopError

from ctmasknet_gui.controller.display import OVERLAYS
from ctmasknet_gui.controller.ports import numbered_apart
from ctmasknet_gui.controller.time_left import TimeLeft
from ctmasknet_gui.settings import Settings
from ctmasknet_gui.state.display import LUNG, PRESETS
from ctmasknet_gui.state.requests import ExportRequest
from model_core.base.errors import ExportError
from model_core.base.volume import PatientText
from model_core.scene import Overlays

# ------------------------------------------------------------------------------------------- opening


def test_opening_one_series_shows_its_middle_slice(rig):
    path = rig.open(choose_best=False)
    state = rig.state
    assert state.case.volume.series_id == "one"
    assert state.display.slice_index == 3
    assert state.display.window == LUNG
    assert rig.settings.recent == (path,)
    assert state.run.kind == ""
    assert rig.texts == []


def test_several_series_wait_for_the_choice(two_series):
    two_series.open(choose_best=False)
    assert two_series.state.case.volume is None
    assert len(two_series.state.case.catalogue.series) == 2
    two_series.controllers.opening.open_series("second")
    two_series.settle()
    assert two_series.state.case.volume.series_id == "second"
    assert sorted(two_series.reader.thumbnails) == ["one", "second"]


def test_best_series_is_opened_for_the_command_line(two_series):
    two_series.open(choose_best=True)
    assert two_series.state.case.volume.series_id == "one"


def test_opening_another_series_forgets_results_and_reference(two_series):
    two_series.open()
    two_series.run_all()
    two_series.controllers.opening.open_reference(two_series.folder / "mask.nii")
    two_series.settle()
    assert two_series.state.case.reference is not None
    two_series.controllers.selection.pick(2)
    two_series.controllers.opening.open_series("second")
    two_series.settle()
    state = two_series.state
    assert state.results.slices == {}
    assert state.results.summaries == {}
    assert state.results.shown is None
    assert state.results.scan is None
    assert state.case.reference is None
    assert state.selection.candidate is None
    assert state.display.slice_index < state.case.volume.slices


def test_failures_are_told_in_words_and_what_is_open_stays(opened):
    for name, expected in (("broken", "cut off"), ("empty", "No image was found")):
        opened.open(name)
        assert expected in opened.texts[-1]
        assert opened.state.case.volume is not None
    opened.controllers.opening.open_paths([opened.folder / "gone"])
    opened.settle()
    assert opened.texts[-1] == "Not found: 'gone'. Check the path."


def test_details_hold_no_patient_text_and_no_paths(opened):
    opened.open("broken")
    details = opened.state.messages.messages[-1].details
    assert "Doe" not in details
    assert "/home" not in details


FORMS = (
    *("Doe^Jane^Mary", "DOE^JANE^MARY", "Doe, Jane Mary", "Doe Jane Mary", "Jane Mary Doe", "Jane Doe"),
    *("doe_jane.dcm", "DoeJane", "Doe-Jane", "Mary", "JANE", "山田^太郎", "山田太郎", "太郎 山田"),
    *("4711-99", "MR_4711-99_chest", "19600102", "1960-01-02", "02.01.1960", "St. Elsewhere"),
)


@pytest.mark.parametrize("form", FORMS)
def test_details_hold_the_patient_in_no_form(make_rig, form):
    patient = PatientText(
        "Doe^Jane^Mary=山田^太郎", "4711-99", "19600102", study_date="20200301", institution="St. Elsewhere"
    )
    rig = make_rig(reader=FakeReader([make_volume(patient=patient)]))
    rig.open()
    rig.controllers.messages.post("error", "It failed.", f"line 7: value {form} of element, see {form}!")
    details = rig.state.messages.messages[-1].details
    for word in ("doe", "jane", "mary", "山田", "太郎", "4711", "1960", "elsewhere"):
        assert word not in details.lower()
    assert details.startswith("line 7: value ")
    assert " of element, see " in details


def test_words_that_are_no_names_stay_in_details(make_rig):
    patient = PatientText("Anonymous^Patient^Lee", "12")
    rig = make_rig(reader=FakeReader([make_volume(patient=patient)]))
    rig.open()
    text = "12 slices: where the patient lies; sleeve, Leeds"
    rig.controllers.messages.post("error", "It failed.", text)
    assert rig.state.messages.messages[-1].details == text


def test_warnings_of_a_series_are_told(make_rig):
    rig = make_rig(reader=FakeReader([make_volume(problems=(warning(),))]))
    rig.open()
    assert rig.state.messages.messages[0].level == "warning"
    assert "missing" in rig.texts[0]


def test_cancelled_opening_closes_the_reader(make_rig):
    rig = make_rig(reader=FakeReader(gate=threading.Event()))
    path = rig.folder / "case"
    path.mkdir()
    rig.controllers.opening.open_paths([path], choose_best=True)
    rig.qtbot.waitUntil(lambda: rig.state.case.catalogue is not None)
    assert rig.state.run.kind == "open"
    rig.controllers.stop()
    rig.qtbot.waitUntil(lambda: rig.reader.closed == ["one"])
    rig.settle()
    assert rig.state.case.volume is None
    assert rig.state.run.kind == ""
    assert rig.texts == []


def test_pictures_open_with_their_own_window(make_rig):
    rig = make_rig(reader=FakeReader([make_volume(unit="grey", windows=())]))
    rig.open()
    assert rig.state.display.window.name == "Auto"


def test_demo_opens_with_labels(rig):
    rig.controllers.opening.open_demo()
    rig.settle()
    assert rig.state.case.volume.series_id == "phantom"
    assert rig.state.case.reference.max() == 2


def test_wrong_reference_mask_is_told(opened):
    opened.controllers.opening.open_reference(opened.folder / "wrong.nii")
    opened.settle()
    assert opened.state.case.reference is None
    assert "another size" in opened.texts[-1]
    assert opened.state.messages.messages[-1].path == str(opened.folder / "wrong.nii")
    opened.controllers.opening.open_reference(opened.folder / "right.nii")
    opened.settle()
    assert opened.state.case.reference is not None
    assert opened.texts == [], "what failed went well since"


# ------------------------------------------------------------------------------------------- running


def test_visible_slice_first_then_outward(opened):
    opened.controllers.display.show_slice(2)
    opened.run_all()
    assert opened.engine.backbone_calls == [2, 1, 3, 0, 4, 5, 6]
    assert sorted(opened.state.results.summaries) == list(range(7))
    assert opened.state.results.scan is not None
    assert opened.state.results.shown.slice_index == 2


def test_scrolling_steers_the_run(make_rig):
    rig = make_rig(engine=FakeEngine(gate=threading.Event()))
    rig.open()
    rig.controllers.running.run_series()
    rig.qtbot.waitUntil(lambda: rig.state.run.kind == "run")
    rig.qtbot.waitUntil(lambda: rig.engine.threads != set())  # the first slice is begun
    rig.controllers.display.show_slice(6)
    rig.engine.gate.set()
    rig.settle()
    assert rig.engine.backbone_calls[:3] == [3, 6, 5]


def test_running_again_does_only_what_is_missing(opened):
    opened.controllers.running.run_slice()
    opened.settle()
    opened.run_all()
    opened.run_all()
    assert sorted(opened.engine.backbone_calls) == list(range(7))
    assert opened.engine.loads == [()]


def test_engine_runs_in_the_worker_and_results_equal_direct_ones(opened):
    opened.run_all()
    assert threading.current_thread().name not in opened.engine.threads
    pipeline = opened.engine.load(())
    volume = opened.state.case.volume
    thresholds = opened.state.thresholds
    for index, result in opened.state.results.slices.items():
        direct = opened.engine.result(pipeline, volume, index)
        assert np.array_equal(direct.detection_candidates.scores, result.detection_candidates.scores)
        summary = opened.engine.summarise(
            pipeline, volume, direct, thresholds.detections, thresholds.evidence
        )
        assert summary == opened.state.results.summaries[index]


def test_cancel_keeps_what_is_done(make_rig):
    rig = make_rig(engine=FakeEngine())
    rig.open()
    rig.controllers.running.run_slice()
    rig.settle()
    rig.engine.gate = threading.Event()
    rig.controllers.running.run_series()
    rig.qtbot.waitUntil(lambda: rig.state.run.total > 0)
    rig.controllers.stop()
    rig.settle()
    assert list(rig.state.results.slices) == [3]
    assert rig.state.run.kind == ""


def test_results_of_a_replaced_job_never_appear(two_series):
    engine = two_series.engine
    two_series.open()
    engine.gate = threading.Event()
    two_series.controllers.running.run_series()
    two_series.qtbot.waitUntil(lambda: two_series.state.run.kind == "run")
    two_series.controllers.opening.open_series("second")
    engine.gate.set()
    two_series.settle()
    assert two_series.state.case.volume.series_id == "second"
    assert two_series.state.results.slices == {}


@pytest.mark.parametrize("field", ["series_id", "weights_id"])
def test_result_of_another_series_or_other_weights_is_dropped(opened, field):
    pipeline = opened.engine.load(())
    result = opened.engine.result(pipeline, opened.state.case.volume, 1)
    opened.engine.stray = dataclasses.replace(result, **{field: "other"})
    opened.controllers.running.run_slice()
    opened.settle()
    assert list(opened.state.results.slices) == [3]


def test_without_weights_a_clear_message_and_no_result(make_rig):
    rig = make_rig(engine=FakeEngine(missing=True))
    rig.open()
    rig.controllers.running.run_slice()
    rig.settle()
    assert "There are no weights" in rig.texts[-1]
    assert rig.state.results.slices == {}


def test_running_nothing_is_told(rig):
    rig.controllers.running.run_slice()
    assert "Open a CT series first" in rig.texts[-1]
    assert not rig.controllers.jobs.busy


def test_other_weights_forget_results_and_bring_their_thresholds(opened):
    opened.run_all()
    opened.controllers.weights.choose(["second"])
    opened.settle()
    state = opened.state
    assert state.weights.chosen == ("second",)
    assert state.weights.cards[0].name == "second"
    assert state.results.slices == {}
    assert state.thresholds.detections.score == 0.4
    opened.controllers.weights.choose(["nothing"])
    opened.settle()
    assert "no weights" in opened.texts[-1]
    assert state.weights.chosen == ("second",)
    assert state.weights.cards[0].name == "second"


def test_progress_counts_passes_and_tells_the_time_left():
    now = [0.0]
    left = TimeLeft(lambda: now[0])
    assert left.update(0, 10) is None
    now[0] = 0.5
    assert left.update(1, 10) is None
    now[0] = 4.0
    assert left.update(4, 10) == pytest.approx(6.0)
    assert left.update(10, 10) == 0.0
    assert left.update(0, 0) is None


# ---------------------------------------------------------------------------------------- thresholds


def test_thresholds_never_call_the_backbone(opened):
    opened.run_all()
    calls = len(opened.engine.backbone_calls)
    thresholds, state = opened.controllers.thresholds, opened.state
    before = len(state.results.shown.detections)
    for score in np.linspace(0.1, 0.9, 15):
        thresholds.set_detections(replace(state.thresholds.detections, score=float(score)))
        opened.settle()
        assert len(state.results.shown.detections) == (np.linspace(0.95, 0.05, CANDIDATES) > score).sum()
    thresholds.toggle_nms()
    thresholds.set_scoring("sigmoid")
    thresholds.set_evidence(replace(state.thresholds.evidence, score=0.5))
    opened.settle()
    assert len(opened.engine.backbone_calls) == calls
    assert before > 0
    assert all(s.detections == 1 for k, s in state.results.summaries.items() if k != 0)
    assert state.results.summaries[0].detections == 0


def test_link_makes_the_evidence_follow_and_unlinking_restores_it(opened):
    opened.run_all()
    thresholds, state = opened.controllers.thresholds, opened.state
    published = state.thresholds.default_evidence
    assert not state.thresholds.evidence_edited
    assert state.results.scan.basis == "trained"
    thresholds.set_linked(True)
    thresholds.set_detections(replace(state.thresholds.detections, score=0.7, nms_iou=0.3))
    evidence = state.thresholds.evidence
    assert (evidence.score, evidence.nms_iou) == (0.7, 0.3)
    assert state.thresholds.evidence_edited
    assert state.results.shown.verdict.basis == "edited"
    assert len(state.results.shown.rois) == 2
    opened.settle()
    assert state.results.scan.basis == "edited"
    thresholds.toggle_nms()
    assert state.thresholds.evidence.nms_iou is None
    thresholds.toggle_nms()
    assert state.thresholds.evidence.nms_iou == 0.3
    thresholds.set_linked(False)
    assert state.thresholds.evidence == published
    assert state.thresholds.detections.score == 0.7
    assert state.results.shown.verdict.basis == "trained"
    opened.settle()
    assert state.results.scan.basis == "trained"


def test_moving_the_evidence_by_hand_ends_the_link(opened):
    thresholds, state = opened.controllers.thresholds, opened.state
    thresholds.set_linked(True)
    thresholds.set_evidence(replace(state.thresholds.evidence, score=0.33))
    assert not state.thresholds.linked
    assert state.thresholds.evidence.score == 0.33
    thresholds.reset()
    assert not state.thresholds.evidence_edited


def test_unlinked_detections_leave_the_class_alone(opened):
    opened.run_all()
    state = opened.state
    before = state.results.shown.verdict.probabilities.copy()
    opened.controllers.thresholds.set_detections(replace(state.thresholds.detections, score=0.9))
    assert np.array_equal(state.results.shown.verdict.probabilities, before)


def test_thresholds_moved_during_a_run_hold_for_every_slice(make_rig):
    rig = make_rig(engine=FakeEngine())
    rig.open()
    rig.controllers.running.run_slice()
    rig.settle()
    rig.engine.gate = threading.Event()
    rig.controllers.running.run_series()
    rig.controllers.thresholds.set_detections(replace(rig.state.thresholds.detections, score=0.9))
    rig.engine.gate.set()
    rig.settle()
    assert {s.detections for k, s in rig.state.results.summaries.items() if k} == {1}


# ---------------------------------------------------------------------------------------------- undo


@pytest.fixture
def edits(opened, monkeypatch):
    """An analysed series; ``now`` is the time that edits are told apart by, in seconds."""
    opened.run_all()
    opened.now = 100.0
    monkeypatch.setattr(opened.controllers.thresholds, "_clock", lambda: opened.now)

    def edit(change, *arguments, pause=5.0):
        change(*arguments)
        opened.now += pause

    opened.edit = edit
    return opened


def test_edits_are_undone_and_done_again_one_by_one(edits):
    state, thresholds, edit = edits.state.thresholds, edits.controllers.thresholds, edits.edit
    first = state.values
    edit(thresholds.set_detections, replace(state.detections, score=0.6))
    second = state.values
    edit(thresholds.toggle_nms)
    edit(thresholds.set_evidence, replace(state.evidence, score=0.5))
    last = state.values
    assert (state.undo, state.redo) == ("score of the evidence", "")
    thresholds.undo()
    assert (state.undo, state.redo) == ("NMS", "score of the evidence")
    thresholds.undo()
    assert state.values == second
    thresholds.undo()
    thresholds.undo()
    assert state.values == first
    assert (state.undo, state.redo) == ("", "score")
    edits.settle()
    assert edits.state.results.shown.detections.settings == first.detections
    for _ in range(4):
        thresholds.redo()
    assert state.values == last
    assert (state.undo, state.redo) == ("score of the evidence", "")
    edits.settle()
    assert edits.state.results.scan.basis == "edited"
    thresholds.undo()
    edits.settle()
    assert edits.state.results.scan.basis == "trained"
    edit(thresholds.set_scoring, "sigmoid")
    assert (state.undo, state.redo) == ("scoring", ""), "what was undone is given up"


def test_a_drag_is_one_edit_and_a_pause_ends_it(edits):
    state, thresholds = edits.state.thresholds, edits.controllers.thresholds
    first = state.values
    for step in range(20):
        edits.edit(thresholds.set_detections, replace(state.detections, score=0.5 + 0.01 * step), pause=0.2)
    dragged = state.values
    edits.edit(thresholds.set_detections, replace(state.detections, mask_threshold=1.0), pause=0.2)
    edits.now += 3.0
    edits.edit(thresholds.set_detections, replace(state.detections, mask_threshold=2.0), pause=0.2)
    thresholds.undo()
    assert state.detections.mask_threshold == 1.0
    thresholds.undo()
    assert state.values == dragged
    thresholds.undo()
    assert state.values == first
    assert state.undo == ""
    # What is moved at once after an undo is an edit of its own.
    thresholds.redo()
    thresholds.set_detections(replace(state.detections, score=0.99))
    thresholds.undo()
    assert state.values == dragged


def test_link_and_reset_are_edits_too(edits):
    state, thresholds, edit = edits.state.thresholds, edits.controllers.thresholds, edits.edit
    edit(thresholds.set_detections, replace(state.detections, score=0.7))
    edit(thresholds.set_linked, True)
    linked = state.values
    assert (linked.linked, linked.evidence.score, state.undo) == (True, 0.7, "link of the evidence")
    edit(thresholds.reset)
    assert (state.linked, state.detections, state.undo) == (
        False,
        state.default_detections,
        "reset of the thresholds",
    )
    thresholds.undo()
    assert state.values == linked
    thresholds.undo()
    assert not state.linked
    assert not state.evidence_edited


def test_other_weights_forget_the_edits_of_former_ones(edits, monkeypatch):
    state, thresholds = edits.state.thresholds, edits.controllers.thresholds
    edits.edit(thresholds.set_detections, replace(state.detections, score=0.7))
    edits.controllers.weights.choose(["like-before"])
    edits.settle()
    assert (state.detections.score, state.undo) == (0.7, "score")
    load = edits.engine.load

    def other(names):
        pipeline = load(names)
        pipeline.detections = replace(pipeline.detections, score=0.25)
        return pipeline

    monkeypatch.setattr(edits.engine, "load", other)
    edits.controllers.weights.choose(["other"])
    edits.settle()
    assert (state.detections.score, state.undo, state.redo) == (0.25, "", "")
    thresholds.undo()
    assert state.detections.score == 0.25


# -------------------------------------------------------------------------------------------- export


def test_export_covers_the_slices_asked_for(opened):
    opened.run_all()
    opened.controllers.thresholds.set_detections(replace(opened.state.thresholds.detections, score=0.6))
    opened.settle()
    folder = opened.folder / "out"
    folder.mkdir()
    export = opened.controllers.exporting.export
    for request, slices in (
        (ExportRequest(kind="png", target=folder / "one.png"), (3,)),
        (ExportRequest(kind="png", target=folder / "asked.png", slice_index=5), (5,)),
        (ExportRequest(kind="png", target=folder, slices="range", first=2, last=99), (2, 3, 4, 5, 6)),
        (ExportRequest(kind="csv", target=folder / "rois.csv"), tuple(range(7))),
        (ExportRequest(kind="lesions", target=folder / "l.nii.gz"), tuple(range(7))),
        (ExportRequest(kind="plots", target=folder), (3,)),
    ):
        with opened.qtbot.waitSignal(opened.controllers.exporting.exported) as signal:
            export(request)
        assert opened.exporter.jobs[-1].slices == slices
        assert all(path.exists() for path in signal.args[0])
    opened.exporter.jobs.clear()
    with opened.qtbot.waitSignal(opened.controllers.exporting.overwrite_asked) as asked:
        export(ExportRequest(kind="png", target=folder, slices="findings"))
    opened.settle()
    assert opened.exporter.jobs == []
    with opened.qtbot.waitSignal(opened.controllers.exporting.exported):
        opened.controllers.exporting.replace_files(asked.args[0])
    assert opened.exporter.jobs[0].slices == (1, 2, 3, 4, 5, 6)
    assert "6 pictures are written" in opened.texts[-1]


def test_nothing_to_export_is_told(rig):
    export = rig.controllers.exporting.export
    csv = ExportRequest(kind="csv", target=rig.folder / "a.csv")
    export(csv)
    assert "Open a CT series" in rig.texts[-1]
    rig.open()
    export(csv)
    assert "Nothing is analysed" in rig.texts[-1]
    export(ExportRequest(kind="png", target=rig.folder, slices="range", first=40, last=50))
    assert "no slice in this range" in rig.texts[-1]
    rig.run_all()
    rig.controllers.thresholds.set_detections(replace(rig.state.thresholds.detections, score=1.0))
    rig.settle()
    export(ExportRequest(kind="png", target=rig.folder, slices="findings"))
    assert "None of the 7 analysed slices" in rig.texts[-1]
    assert rig.exporter.jobs == []


def test_export_into_nowhere_is_told_and_a_cancelled_one_is_closed(opened):
    export = opened.controllers.exporting.export
    export(ExportRequest(kind="png", target=opened.folder / "gone" / "a.png"))
    opened.settle()
    assert "folder does not exist" in opened.texts[-1]
    opened.exporter.gate = threading.Event()
    export(ExportRequest(kind="png", target=opened.folder / "a.png"))
    opened.qtbot.waitUntil(lambda: len(opened.exporter.jobs) == 2)
    assert opened.state.run.kind == "export"
    opened.controllers.stop()
    opened.qtbot.waitUntil(lambda: opened.exporter.closed == 2)
    assert not (opened.folder / "a.png").exists()
    assert opened.state.run.kind == ""


def test_export_holds_what_was_on_screen_when_asked(opened):
    opened.exporter.gate = threading.Event()
    opened.controllers.display.preset(3)
    opened.controllers.exporting.export(ExportRequest(kind="png", target=opened.folder / "a.png"))
    opened.controllers.display.preset(4)
    opened.controllers.display.step(1)
    opened.exporter.gate.set()
    opened.settle()
    job = opened.exporter.jobs[0]
    assert job.appearance.window.name == "Mediastinum"
    assert job.slices == (3,)


def test_regions_of_a_second_network_get_numbers_of_their_own(opened):
    opened.run_all()
    shown = opened.state.results.shown
    apart = numbered_apart(shown, CANDIDATES)
    assert [row.candidate for row in apart.rois] == [row.candidate + CANDIDATES for row in shown.rois]
    assert not {row.candidate for row in apart.rois} & set(apart.detections.indices.tolist())
    assert set(apart.verdict.batch.source.tolist()) == {CANDIDATES}
    assert np.array_equal(apart.verdict.batch.kept, shown.verdict.batch.kept + CANDIDATES)


# ------------------------------------------------------------------------------------------- display


def test_slices_are_clamped_and_findings_stepped_through(opened):
    display, state = opened.controllers.display, opened.state
    display.step(-100)
    assert state.display.slice_index == 0
    display.last()
    assert state.display.slice_index == 6
    display.show_slice(10_000)
    assert state.display.slice_index == 6
    display.show_slice(3)
    opened.run_all()
    opened.controllers.thresholds.set_detections(replace(state.thresholds.detections, score=0.5))
    opened.settle()
    display.first()
    display.previous_finding()
    assert state.display.slice_index == 0
    display.next_finding()
    assert state.display.slice_index == 1
    assert state.results.shown.slice_index == 1
    display.last()
    display.next_finding()
    assert state.display.slice_index == 6
    display.previous_finding()
    assert state.display.slice_index == 5


def test_windows(opened):
    display, state = opened.controllers.display, opened.state
    for key, preset in enumerate(PRESETS, start=2):
        display.preset(key)
        assert state.display.window == preset
    display.preset(1)
    assert (state.display.window.width, state.display.window.level) == (350, 50)
    display.preset(0)
    low, high = np.percentile(state.case.volume.voxels[3], (1, 99))
    assert state.display.window.width == pytest.approx(high - low)
    display.preset(9)
    display.set_window(-5, 12)
    assert state.display.window.width == 1
    assert state.display.window.level == 12


def test_the_logit_map_takes_masks_and_outlines_off_until_it_goes(opened):
    display, state = opened.controllers.display, opened.state.display

    def on():
        return {name for name in ("masks", "outlines", "boxes", "logits") if getattr(state, name)}

    display.toggle("boxes")
    display.toggle("logits")
    assert on() == {"logits", "boxes"}
    display.toggle("masks")  # wanted all the same
    assert on() == {"logits", "boxes", "masks"}
    display.toggle("masks")
    display.toggle("logits")
    assert on() == {"boxes", "outlines"}
    display.toggle("logits")
    display.toggle_overlays()  # hides the map, and the choice of what it covers is kept
    display.toggle("logits")
    display.toggle("logits")
    assert on() == {"outlines"}


def test_overlays_go_and_come_back_together(opened):
    display, state = opened.controllers.display, opened.state.display
    shown = Overlays()
    assert state.overlays == shown
    assert (shown.outlines, shown.labels, shown.masks, shown.boxes) == (True, True, False, False)
    display.toggle("boxes")
    display.toggle_overlays()
    assert not any(getattr(state, name) for name in OVERLAYS)
    display.toggle_overlays()
    assert state.overlays == replace(shown, boxes=True)
    for name in ("outlines", "boxes", "labels"):  # the switch of the reference alone shows nothing
        display.toggle(name)
    display.toggle_overlays()
    assert state.overlays == shown
    display.set_opacity(7)
    assert state.opacity == 1.0
    display.change_opacity(-0.1)
    assert state.opacity == pytest.approx(0.9)


def test_reset_view(opened):
    display, state = opened.controllers.display, opened.state.display
    display.set_zoom(3.0, (10, -4))
    display.toggle("inverted")
    display.toggle("flip_horizontal")
    display.preset(3)
    assert state.zoom == 3.0
    display.reset_view()
    assert state.zoom is None
    assert state.pan == (0.0, 0.0)
    assert not state.inverted
    assert not state.flip_horizontal
    assert state.window == LUNG


def test_cine_plays_in_a_loop_and_stops_with_the_volume(opened):
    state = opened.state
    state.display.cine_fps = 100
    opened.controllers.display.show_slice(5)
    opened.controllers.cine.toggle()
    opened.qtbot.waitUntil(lambda: state.display.slice_index < 5)
    opened.controllers.opening.close_case()
    assert not state.display.cine
    assert state.case.volume is None
    opened.controllers.cine.toggle()
    assert not state.display.cine


# --------------------------------------------------------------------------------- messages, settings


def test_unexpected_errors_keep_text_out_of_the_log(opened, caplog):
    try:
        raise ValueError("Doe^Jane in /home/somebody/case/1.dcm")
    except ValueError as error:
        opened.controllers.messages.report(error)
    message = opened.state.messages.messages[-1]
    assert "unexpected" in message.text
    assert "ValueError" in message.details
    for text in (message.details, message.text, caplog.text):
        assert "Doe" not in text
        assert "/home" not in text
    assert "ValueError" in caplog.text


def test_errors_of_observers_are_shown_as_what_they_are(opened):
    def observer():
        raise ExportError("The disk is full.")

    opened.state.display.events.inverted.connect(observer)
    with pytest.raises(EmitLoopError) as raised:
        opened.controllers.display.toggle("inverted")
    opened.controllers.messages.report(raised.value)
    assert opened.texts == ["The disk is full."]


def test_hooks_of_every_thread_end_in_messages(rig, monkeypatch):
    import sys

    rig.controllers.messages.install_hooks()
    try:
        thread = threading.Thread(target=lambda: 1 / 0)
        thread.start()
        thread.join()
        sys.excepthook(ValueError, ValueError("x"), None)
        rig.qtbot.waitUntil(lambda: len(rig.texts) == 2)
    finally:
        rig.controllers.messages.remove_hooks()
    assert "ZeroDivisionError" in rig.state.messages.messages[0].details


def test_the_newest_note_takes_the_place_of_older_ones_and_errors_stay(rig):
    messages = rig.controllers.messages
    messages.post("info", "1 picture is written to a.png.")
    messages.report(ExportError("The disk is full."))
    messages.post("info", "1 picture is written to b.png.")
    messages.report(ExportError("The disk is full."))
    messages.post("info", "A mask is here.", offer="Use it")
    messages.post("info", "1 picture is written to c.png.")
    assert rig.texts == ["The disk is full.", "A mask is here.", "1 picture is written to c.png."]
    messages.forget(rig.state.messages.messages[-1])
    assert rig.texts == ["The disk is full.", "A mask is here."]


def test_expected_errors_show_their_own_text(rig):
    rig.controllers.messages.report(ExportError("The disk is full.", details="errno 28"))
    assert rig.texts == ["The disk is full."]
    assert rig.state.messages.messages[0].details == "errno 28"


def test_choices_are_remembered(make_rig, tmp_path):
    first = make_rig()
    first.open()
    first.controllers.display.preset(3)
    first.controllers.display.toggle("logits")
    first.controllers.display.set_opacity(0.6)
    first.controllers.display.toggle("privacy")
    first.controllers.cine.set_speed(20)
    first.controllers.weights.set_choice(["fake"])
    first.controllers.remember.store()
    second = make_rig()
    second.controllers.remember.restore()
    assert second.state.display.window.name == "Mediastinum"
    assert second.state.display.logits
    assert not second.state.display.outlines
    second.controllers.display.toggle("logits")
    assert second.state.display.outlines
    assert second.state.display.opacity == 0.6
    assert second.state.display.privacy
    assert second.state.display.cine_fps == 20
    assert second.state.weights.chosen == ("fake",)
    second.controllers.weights.set_choice(["deleted.safetensors"])
    second.controllers.remember.store()
    third = make_rig()
    third.controllers.remember.restore()
    assert third.state.weights.chosen == ()


def test_recent_paths_are_few_and_newest_first(tmp_path):
    settings = Settings(tmp_path / "s.ini")
    folders = [tmp_path / f"f{k}" for k in range(14)]
    for folder in folders:
        folder.mkdir()
        settings.add_recent(folder)
    settings.add_recent(folders[5])
    settings.remove_recent(folders[13])
    settings.sync()
    recent = Settings(tmp_path / "s.ini").recent
    assert recent[0] == folders[5]
    assert folders[13] not in recent
    assert len(recent) <= 10


def test_damaged_settings_count_as_absent(tmp_path):
    path = tmp_path / "s.ini"
    path.write_bytes(
        b"[display]\nopacity=nan\nmasks=perhaps\nwindow=\xff\xfe\n[%General]\nrecent=@Invalid()\n"
    )
    settings = Settings(path)
    assert settings.flag("display/masks", default=True)
    assert settings.number("display/opacity", 0.35) == 0.35
    assert settings.recent == ()
