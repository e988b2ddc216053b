"""Runs that are stopped, joined, cautioned, and kept within memory; the class while thresholds move."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from gui_fakes import FakeEngine, FakeReader, make_entry, make_volume

from ctmasknet_gui.controller import feature_maps
from ctmasknet_gui.controller.feature_maps import (
    map_bytes,
    mask_bytes,
    masks_within_budget,
    within_budget,
)
from ctmasknet_gui.controller.run_case import Analysed
from ctmasknet_gui.controller.run_queue import RunQueue
from ctmasknet_gui.controller.unlike_training import unlike_training
from ctmasknet_gui.state.requests import ExportRequest
from ctmasknet_gui.state.verdict import analysed_slices, wanted_slices
from model_core.base.errors import SettingsError
from model_core.base.volume import Catalogue, Problem


def gated(make_rig, **kwargs):
    """Return an open case whose engine waits at every slice."""
    rig = make_rig(engine=FakeEngine(gate=threading.Event()), **kwargs)
    rig.open()
    return rig


# ------------------------------------------------------------------------------------- stop and join


def test_a_stopped_run_leaves_no_result_without_its_summary(rig, qtbot):
    rig.open()
    running, results = rig.controllers.running, rig.state.results
    running.result_taken.connect(lambda index: rig.controllers.stop())
    for _ in range(3):
        running.run_series()
        rig.settle()
        assert results.slices.keys() == results.summaries.keys()
    assert 1 <= len(results.slices) < 7


def test_a_result_and_its_summary_are_one_item(opened):
    engine, state = opened.engine, opened.state
    seen = []
    opened.controllers.thread.worker.produced.connect(lambda job, item: seen.append(item))
    opened.controllers.running.run_slice()
    opened.settle()
    analysed = [item for item in seen if isinstance(item, Analysed)]
    assert [item.result.slice_index for item in analysed] == [3]
    assert analysed[0].summarised.summary == state.results.summaries[3]
    assert engine.backbone_calls == [3]


def test_run_series_runs_what_has_no_summary(opened):
    opened.run_all()
    results = opened.state.results
    results.summaries = {k: s for k, s in results.summaries.items() if k != 5}
    opened.engine.backbone_calls.clear()
    opened.run_all()
    assert opened.engine.backbone_calls == [5]
    assert sorted(results.summaries) == list(range(7))


def test_run_slice_during_a_series_run_puts_the_visible_slice_next(make_rig):
    rig = gated(make_rig)
    completed = []
    rig.controllers.running.completed.connect(lambda: completed.append(True))
    rig.controllers.running.run_series()
    rig.qtbot.waitUntil(lambda: rig.state.run.total > 0)
    rig.controllers.display.show_slice(6)
    rig.controllers.running.run_slice()
    rig.engine.gate.set()
    rig.settle()
    assert rig.engine.backbone_calls[:2] == [3, 6]
    assert sorted(rig.engine.backbone_calls) == list(range(7))
    assert rig.engine.loads == [()]
    assert completed == [True]


def test_run_series_during_the_run_of_a_slice_goes_on_with_the_rest(make_rig):
    rig = gated(make_rig)
    rig.controllers.running.run_slice()
    rig.qtbot.waitUntil(lambda: rig.state.run.total > 0)
    rig.controllers.running.run_series()
    rig.engine.gate.set()
    rig.settle()
    assert sorted(rig.state.results.summaries) == list(range(7))


def test_slices_asked_for_at_the_very_end_of_a_run_are_run(opened):
    running = opened.controllers.running
    asked = []

    def ask(_index):
        if not asked:
            asked.append(True)
            # The worker has taken its last slice; the window does not know yet that the job has ended.
            opened.qtbot.waitUntil(lambda: not opened.controllers.thread._queue._jobs)
            opened.controllers.display.show_slice(0)
            running.run_slice()

    running.result_taken.connect(ask)
    running.run_slice()
    opened.settle()
    assert opened.engine.backbone_calls == [3, 0]
    assert sorted(opened.state.results.summaries) == [0, 3]


def test_queue_counts_what_was_asked_for():
    queue = RunQueue([4, 5])
    queue.add([5, 9])
    assert queue.total == 3
    assert [queue.take(8), queue.take(0), queue.rest(), queue.take(0), queue.take(0)] == [9, 4, (5,), 5, None]


def taken(queue, centres):
    """Take slices while another is visible each time, the last one to the end."""
    return [queue.take(centre) for centre in centres] + list(iter(lambda: queue.take(centres[-1]), None))


def test_a_run_begins_with_what_is_likely_seen_and_every_eighth_slice():
    order = taken(RunQueue(range(40), strip=8), [20])
    assert order[:5] == [20, 19, 21, 18, 22]
    assert order[5:10] == [16, 24, 8, 32, 0]
    assert order[10:14] == [17, 23, 15, 25]
    assert sorted(order) == list(range(40))


def test_a_run_follows_a_person_who_scrolls():
    order = taken(RunQueue(range(40), strip=8), [10, 12, 13, 30])
    assert order[:4] == [10, 12, 13, 30], "what is visible comes next, whatever was to come"
    assert order[4:8] == [31, 32, 33, 34], "then those ahead"
    assert order[8:12] == [29, 24, 16, 8]
    upward = taken(RunQueue(range(40), strip=8), [30, 20])
    assert upward[1:6] == [20, 19, 18, 17, 16]


def test_slices_that_turn_out_to_be_of_no_use_are_not_taken():
    queue = RunQueue(range(6))
    assert queue.take(0) == 0
    rest = [queue.take(0, left_out=lambda k: k in (1, 4)) for _ in range(4)]
    assert rest == [2, 3, 5, None]
    assert queue.total == 4


def test_a_slice_that_is_being_done_is_not_done_twice():
    queue = RunQueue([4])
    assert queue.take(4) == 4
    queue.add([4, 5])
    assert (queue.total, queue.rest()) == (2, (5,))
    assert [queue.take(4), queue.take(4)] == [5, None]
    queue.add([5])  # it may be asked for again once it is done
    assert queue.rest() == (5,)


def test_a_finished_series_says_so(opened):
    opened.run_all()
    assert opened.texts == []
    opened.run_all()
    assert opened.texts == ["All slices are analysed."]
    assert len(opened.engine.backbone_calls) == 7


def test_a_run_ends_with_the_volume_it_is_about(make_rig):
    reader = FakeReader([make_volume("one"), make_volume("second", slices=5)], gate=threading.Event())
    rig = make_rig(engine=FakeEngine(gate=threading.Event()), reader=reader)
    reader.gate.set()
    rig.open()
    reader.gate.clear()
    rig.controllers.opening.open_series("second")
    rig.controllers.running.run_series()
    rig.qtbot.waitUntil(lambda: rig.state.case.opening == "second")
    reader.gate.set()
    rig.qtbot.waitUntil(lambda: rig.state.case.volume.series_id == "second")
    assert not rig.controllers.jobs.active("run")
    rig.engine.gate.set()
    rig.settle()
    assert rig.state.results.slices == {}


# ------------------------------------------------------------------------------------------- caution


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"plane": "coronal"}, "coronal series"),
        ({"plane": "sagittal"}, "sagittal series"),
        ({"modality": "MR"}, "MR series"),
        ({"modality": "PT", "plane": "coronal"}, "PT series"),
    ],
)
def test_caution_on_what_is_no_axial_chest_ct_once_per_series(make_rig, changes, what):
    rig = make_rig(reader=FakeReader([make_volume(**changes)]))
    rig.open()
    assert rig.texts == []
    rig.controllers.running.run_slice()
    rig.settle()
    expected = f"The networks were trained on axial chest CT; results on this {what} mean nothing reliable."
    assert rig.texts == [expected]
    assert rig.state.messages.messages[0].level == "warning"
    rig.run_all()
    assert rig.texts == [expected]
    rig.open("again")
    rig.controllers.running.run_slice()
    rig.settle()
    assert rig.texts == [expected]


def test_caution_on_a_localizer_and_none_on_plain_ct_and_pictures():
    volume = make_volume()
    overview = make_entry(volume, problems=(Problem("info", "An overview.", code="localizer"),))
    assert "this localizer mean" in unlike_training(volume, overview)
    assert unlike_training(volume, make_entry(volume)) == ""
    assert unlike_training(volume) == ""
    assert unlike_training(make_volume(unit="grey", modality="", plane="unknown")) == ""


# -------------------------------------------------------------------------------------------- memory


def test_maps_of_the_farthest_slices_are_dropped_first(opened):
    engine = FakeEngine(maps=100)
    pipeline = engine.load(())
    results = {k: engine.result(pipeline, opened.state.case.volume, k) for k in range(7)}
    assert map_bytes(results[0]) == 200
    kept = within_budget(results, centre=2, budget=650)
    assert [k for k, result in kept.items() if result.features] == [1, 2, 3]
    assert kept[6].detection_candidates is results[6].detection_candidates
    assert kept[6].mask_cache is results[6].mask_cache
    assert all(result.features for result in results.values())
    assert [k for k, r in within_budget(results, centre=6, budget=0).items() if r.features] == [6]


def test_slices_without_maps_are_run_again_when_new_masks_are_wanted(make_rig, monkeypatch):
    monkeypatch.setattr(feature_maps.within_budget, "__kwdefaults__", {"budget": 650})
    rig = make_rig(engine=FakeEngine(maps=100))
    rig.open()
    rig.run_all()
    results, thresholds = rig.state.results, rig.controllers.thresholds
    assert [k for k, result in results.slices.items() if result.features] == [3, 2, 4]
    detections = rig.state.thresholds.detections
    thresholds.set_detections(replace(detections, score=0.7))
    rig.settle()
    assert len(results.summaries) == len(results.slices) == 7
    assert rig.texts == []
    thresholds.set_detections(replace(detections, score=0.2))
    rig.settle()
    assert sorted(results.slices) == sorted(results.summaries) == [2, 3, 4]
    assert len(rig.texts) == 1
    assert "4 slices must be run again" in rig.texts[0]
    assert results.scan is not None
    rig.engine.backbone_calls.clear()
    rig.run_all()
    assert sorted(rig.engine.backbone_calls) == [0, 1, 5, 6]
    assert len(results.summaries) == 7


def test_the_visible_slice_is_run_again_at_once(make_rig, monkeypatch):
    monkeypatch.setattr(feature_maps.within_budget, "__kwdefaults__", {"budget": 650})
    rig = make_rig(engine=FakeEngine(maps=100))
    rig.open()
    rig.run_all()
    rig.controllers.display.show_slice(6)
    assert rig.state.results.shown is not None
    rig.engine.backbone_calls.clear()
    rig.controllers.thresholds.set_detections(replace(rig.state.thresholds.detections, score=0.2))
    assert rig.state.results.shown is None
    rig.settle()
    assert rig.engine.backbone_calls == [6]
    assert rig.state.results.shown.slice_index == 6
    assert sorted(rig.state.results.summaries) == [2, 3, 4, 6]


def test_thresholds_lowered_during_a_run_forget_what_cannot_be_drawn(make_rig, monkeypatch):
    monkeypatch.setattr(feature_maps.within_budget, "__kwdefaults__", {"budget": 250})
    rig = make_rig(engine=FakeEngine(maps=100))
    rig.open()
    rig.run_all()
    rig.engine.gate = threading.Event()
    rig.state.results.summaries = {}
    rig.controllers.running.run_series()
    rig.qtbot.waitUntil(lambda: rig.state.run.total > 0)
    rig.controllers.thresholds.set_detections(replace(rig.state.thresholds.detections, score=0.2))
    rig.engine.gate.set()
    rig.settle()
    results, detections = rig.state.results, rig.state.thresholds.detections
    assert results.slices.keys() == results.summaries.keys()
    assert all(rig.engine.can_show(result, detections) for result in results.slices.values())


# ------------------------------------------------------------------------------------ thresholds move


@pytest.fixture
def slow_masks(opened, monkeypatch):
    """An analysed series whose masks wait for ``gate``; the slices and threads of ``asked`` made some."""
    opened.run_all()
    opened.gate, opened.asked = threading.Event(), []
    show = opened.engine.show

    def slow(pipeline, volume, result, *settings):
        opened.asked.append((result.slice_index, threading.current_thread().name))
        assert opened.gate.wait(60)
        return show(pipeline, volume, result, *settings)

    monkeypatch.setattr(opened.engine, "show", slow)
    yield opened
    opened.gate.set()


def move(rig, **changes):
    rig.controllers.thresholds.set_detections(replace(rig.state.thresholds.detections, **changes))


def test_of_twenty_moves_of_a_slider_the_last_is_shown(slow_masks):
    rig, state = slow_masks, slow_masks.state
    calls, before = len(rig.engine.backbone_calls), state.results.shown
    for step in range(20):
        move(rig, score=0.9 - 0.04 * step)
        rig.qtbot.wait(1)
    assert state.results.computing
    shown = state.results.shown
    assert np.array_equal(shown.masks[:4], before.masks), "those that are known are there at once"
    assert (len(shown.detections), shown.pending) == (5, 1)
    assert not shown.masks[4].any()
    assert state.results.summaries[3].detections == 4, "no summary of a part of the masks"
    rig.gate.set()
    rig.settle()
    assert state.results.shown.detections.settings == state.thresholds.detections
    assert state.results.shown.detections.settings.score == pytest.approx(0.14)
    assert not state.results.computing
    here, others = ([asked for asked in rig.asked if (asked[0] == 3) is own] for own in (True, False))
    assert len(here) <= 2, "what was begun first, and the last"
    assert {asked[0] for asked in others} == {0, 1, 2, 4, 5, 6}
    assert not state.results.shown.pending
    assert state.results.shown.masks[4].any()
    assert threading.current_thread().name not in {thread for _, thread in rig.asked}
    assert len(rig.engine.backbone_calls) == calls


def test_thresholds_that_went_back_keep_their_masks(slow_masks):
    rig, state = slow_masks, slow_masks.state
    before = state.results.shown
    move(rig, score=0.9)
    rig.qtbot.waitUntil(lambda: rig.asked != [])
    move(rig, score=0.4)
    assert not state.results.computing
    rig.gate.set()
    rig.settle()
    assert np.array_equal(state.results.shown.masks, before.masks)
    assert state.results.shown.detections.settings == state.thresholds.detections
    assert not state.results.computing
    assert not state.results.updating


def test_class_table_and_known_masks_need_not_wait_for_new_ones(slow_masks):
    rig, state = slow_masks, slow_masks.state
    before = state.results.shown
    rig.controllers.thresholds.set_linked(True)
    move(rig, score=0.1)
    shown = state.results.shown
    assert shown.verdict.settings == state.thresholds.evidence
    assert shown.verdict.basis == "edited"
    assert [roi.detected for roi in shown.rois] == [True] * 5
    assert np.array_equal(shown.masks[:4], before.masks)
    assert (len(shown.masks), shown.pending) == (5, 1)
    assert state.results.computing
    assert state.results.summaries[3].detections == 4, "no mixture of two settings is summed up"
    rig.gate.set()
    rig.settle()
    assert state.results.shown.pending == 0
    assert state.results.shown.masks[4].any()
    assert state.results.summaries[3] == state.results.shown.summary
    move(rig, score=0.7)
    assert not state.results.computing, "nothing is new"
    assert len(state.results.shown.masks) == 2


def test_other_evidence_needs_no_masks(slow_masks):
    rig, state = slow_masks, slow_masks.state
    masks = state.results.shown.masks
    rig.controllers.thresholds.set_evidence(replace(state.thresholds.evidence, score=0.5))
    assert not state.results.computing
    assert state.results.shown.masks is masks
    assert len(state.results.shown.rois) == 3
    assert state.results.summaries[3] == state.results.shown.summary


def test_masks_follow_while_a_network_is_at_work(opened, monkeypatch):
    opened.controllers.running.run_slice()
    opened.settle()
    gate, run = threading.Event(), opened.engine.run

    def busy(pipeline, volume, slices):
        assert gate.wait(60)
        yield from run(pipeline, volume, slices)

    monkeypatch.setattr(opened.engine, "run", busy)
    opened.controllers.running.run_series()
    move(opened, score=0.9)
    opened.qtbot.waitUntil(lambda: len(opened.state.results.shown.detections) == 1)
    assert opened.controllers.jobs.active("run")
    gate.set()
    opened.settle()
    assert {s.detections for k, s in opened.state.results.summaries.items() if k} == {1}


def test_masks_of_a_slice_that_was_left_are_not_shown(slow_masks):
    rig, state = slow_masks, slow_masks.state
    seen = []
    state.results.events.shown.connect(lambda shown, _old=None: seen.append(shown and shown.slice_index))
    move(rig, score=0.9)
    rig.qtbot.waitUntil(lambda: rig.asked != [])
    rig.gate.set()
    rig.controllers.display.show_slice(5)
    assert state.results.shown.slice_index == 5, "known masks are there at once"
    rig.settle()
    assert set(seen[1:]) == {5}, "the first move left the masks of slice 3 as they were"
    assert all(s.detections == (k > 0) for k, s in state.results.summaries.items())


def test_masks_that_cannot_be_made_are_told(opened, monkeypatch):
    opened.run_all()

    def fail(*_arguments):
        raise SettingsError("There are no such masks.")

    monkeypatch.setattr(opened.engine, "show", fail)
    move(opened, score=0.1)
    assert opened.state.results.shown is not None
    opened.settle()
    assert opened.state.results.shown is None
    assert not opened.state.results.computing
    assert "no such masks" in opened.texts[-1]


def test_leaving_a_series_drops_what_was_on_its_way(make_rig, monkeypatch):
    rig = make_rig(reader=FakeReader([make_volume("one"), make_volume("second", slices=5)]))
    rig.open()
    rig.run_all()
    show, gate, begun = rig.engine.show, threading.Event(), threading.Event()

    def slow(pipeline, volume, result, *settings):
        begun.set()
        assert gate.wait(60)
        return show(pipeline, volume, result, *settings)

    monkeypatch.setattr(rig.engine, "show", slow)
    move(rig, score=0.9)
    assert begun.wait(60)
    rig.controllers.opening.open_series("second")
    rig.qtbot.waitUntil(lambda: rig.state.case.volume.series_id == "second")
    gate.set()
    rig.settle()
    assert rig.state.results.shown is None
    assert rig.state.results.summaries == {}
    rig.controllers.opening.open_series("one")
    rig.settle()
    assert len(rig.state.results.shown.detections) == 1
    assert sorted(rig.state.results.summaries) == list(range(7))


def test_an_export_holds_nothing_that_cannot_be_drawn(make_rig, monkeypatch):
    monkeypatch.setattr(feature_maps.within_budget, "__kwdefaults__", {"budget": 650})
    rig = make_rig(engine=FakeEngine(maps=100))
    rig.open()
    rig.run_all()
    move(rig, score=0.2)
    rig.controllers.exporting.export(ExportRequest(kind="csv", target=rig.folder / "rois.csv"))
    rig.settle()
    assert rig.exporter.jobs[0].slices == (2, 3, 4)


# --------------------------------------------------------------------------------------------- class


def test_no_class_of_the_scan_while_summaries_are_of_two_settings(opened):
    opened.run_all()
    state = opened.state
    before = state.results.scan
    assert before is not None
    opened.controllers.thresholds.set_evidence(replace(state.thresholds.evidence, score=0.5))
    assert state.results.scan is None
    seen = []
    state.results.events.scan.connect(lambda scan, _old=None: seen.append(scan))
    opened.settle()
    assert len(seen) == 1
    summaries = state.results.summaries
    assert seen[0].probabilities == pytest.approx(
        tuple(np.mean([s.probabilities for s in summaries.values()], axis=0))
    )
    assert seen[0].basis == "edited"


def test_the_class_of_the_scan_stays_while_only_the_shown_detections_change(opened):
    opened.run_all()
    state, thresholds = opened.state, opened.controllers.thresholds
    before = state.results.scan
    seen = []
    state.results.events.scan.connect(lambda scan, _old=None: seen.append(scan))
    thresholds.set_detections(replace(state.thresholds.detections, score=0.6))
    assert state.results.updating
    assert state.results.scan.probabilities == before.probabilities
    opened.settle()
    assert None not in seen
    assert not state.results.updating
    # With the link on it is another class; moved on before that has followed, there is still none.
    thresholds.set_linked(True)
    assert state.results.scan is None
    thresholds.set_linked(False)
    thresholds.set_detections(replace(state.thresholds.detections, score=0.7))
    assert state.results.scan is None
    opened.settle()
    assert state.results.scan.probabilities == pytest.approx(before.probabilities)


def test_summaries_that_cannot_follow_are_forgotten(opened, monkeypatch):
    opened.run_all()
    summarise = opened.engine.summarise

    def fail(pipeline, volume, result, *settings):
        if result.slice_index == 1:
            raise SettingsError("Module S does not read so many RoIs.")
        return summarise(pipeline, volume, result, *settings)

    monkeypatch.setattr(opened.engine, "summarise", fail)
    opened.controllers.thresholds.set_evidence(replace(opened.state.thresholds.evidence, score=0.5))
    opened.settle()
    assert "Module S" in opened.texts[-1]
    results = opened.state.results
    # Nearest first: slices 3, 2, 4 were done before slice 1 failed.
    assert sorted(results.summaries) == [2, 3, 4]
    assert results.scan is not None


def test_the_class_named_first_is_the_control_class(opened):
    opened.run_all()
    assert opened.engine.controls == {"Control"}
    card = opened.state.weights.cards[0]
    opened.state.weights.cards = (replace(card, image_classes=("Normal", "CP", "NCP")),)
    opened.controllers.shown.update_scan()
    assert opened.engine.controls == {"Control", "Normal"}


def test_catalogue_without_the_series_gives_no_entry_to_caution(opened):
    opened.state.case.catalogue = Catalogue("elsewhere", (), ())
    opened.controllers.running.run_slice()
    opened.settle()
    assert list(opened.state.results.slices) == [3]


# ------------------------------------------------------------------------------------------ idle time


def test_masks_are_made_ahead_in_idle_time_nearest_first(make_rig, monkeypatch):
    engine = FakeEngine(maps=100)
    made, threads = [], set()

    def make(pipeline, result, settings):
        threads.add(threading.current_thread().name)
        made.append((result.slice_index, settings.score < 0, settings.max_detections))
        result.mask_cache.update({k: np.zeros((28, 28), np.float32) for k in range(6)})
        yield 6

    monkeypatch.setattr(engine, "make_masks", make)
    rig = make_rig(engine=engine)
    rig.open()
    rig.run_all()
    rig.qtbot.waitUntil(lambda: not rig.controllers.jobs.active("ahead") and len(made) == 7)
    assert made == [(k, True, 128) for k in (3, 2, 4, 1, 5, 0, 6)]
    assert threading.current_thread().name not in threads
    calls = len(rig.engine.backbone_calls)
    move(rig, score=0.01)
    assert not rig.state.results.computing, "every mask is known"
    rig.settle()
    rig.qtbot.wait(20)
    assert len(made) == 7, "what was made ahead is not made again"
    assert len(rig.engine.backbone_calls) == calls


def test_masks_made_ahead_wait_while_a_person_moves_something(make_rig, monkeypatch):
    engine = FakeEngine(maps=100)
    made = []

    def make(pipeline, result, settings):
        for part in range(300):
            time.sleep(0.002)
            made.append(part)
            yield 1

    monkeypatch.setattr(engine, "make_masks", make)
    rig = make_rig(engine=engine)
    rig.open()
    rig.controllers.running.run_slice()
    rig.qtbot.waitUntil(lambda: len(made) > 0)
    rig.state.display.slice_index = 1
    rig.qtbot.wait(60)
    before = len(made)
    for k in range(10):
        rig.state.display.slice_index = k % 7
        rig.qtbot.wait(20)
    assert len(made) == before
    rig.qtbot.waitUntil(lambda: len(made) > before, timeout=3000)


def test_masks_of_far_slices_go_first_where_they_can_be_made_again(opened):
    engine = FakeEngine(maps=100)
    results = {k: engine.result(engine.load(()), opened.state.case.volume, k) for k in range(7)}
    for result in results.values():
        result.mask_cache.update({k: np.zeros((28, 28), np.float32) for k in range(2)})
    results[6] = replace(results[6], features={})
    one = mask_bytes(results[0])
    assert one == 2 * 28 * 28 * 4
    kept = masks_within_budget(results, centre=2, budget=4 * one)
    assert [k for k, r in kept.items() if not r.mask_cache] == [0, 4, 5], "those without maps stay"
    assert all(kept[k].features for k in (0, 4, 5)), "theirs can be made again"
    assert masks_within_budget(results, centre=2, budget=100 * one) == results


# -------------------------------------------------------------------------------------- outside lungs


def test_the_lungs_are_looked_for_in_the_worker_when_a_series_is_opened(rig):
    rig.engine.no_lung = {0, 6}
    rig.open()
    rig.settle()
    lungs = rig.state.case.lungs
    assert lungs.inside == (False, True, True, True, True, True, False)
    assert [lungs.outside(k) for k in (0, 1, 6, 7)] == [True, False, True, False]
    assert rig.engine.lung_threads
    assert threading.current_thread().name not in rig.engine.lung_threads
    rig.state.case.volume = None
    assert rig.state.case.lungs.inside == ()


def test_a_run_waits_for_the_lungs(make_rig):
    rig = make_rig(engine=FakeEngine(no_lung={2}))
    seen = []
    rig.state.case.events.lungs.connect(lambda lungs: seen.append(("lungs", len(lungs.inside))))
    rig.state.results.events.summaries.connect(lambda found: seen.append(("summaries", len(found))))
    rig.state.case.events.volume.connect(lambda volume: volume and rig.controllers.running.run_series())
    rig.open()
    rig.settle()
    told = [item for item in seen if item[1]]
    assert told[0] == ("lungs", 7)
    lung = {k: s.lung for k, s in rig.state.results.summaries.items()}
    assert lung.keys() >= {0, 1, 3, 4, 5, 6}
    assert lung == {k: k != 2 for k in lung}


def test_a_run_leaves_out_slices_without_lung_but_for_those_asked_for(make_rig):
    rig = make_rig(engine=FakeEngine(no_lung={0, 5, 6}))
    rig.open()
    rig.run_all()
    state, running = rig.state, rig.controllers.running
    assert sorted(rig.engine.backbone_calls) == [1, 2, 3, 4]
    assert (analysed_slices(state), wanted_slices(state)) == (4, 4)
    running.run_series()
    assert "3 without are left out" in state.messages.messages[-1].text
    state.display.slice_index = 5
    running.run_slice()
    rig.settle()
    assert state.results.summaries[5].lung is False
    assert state.results.shown.slice_index == 5
    assert (analysed_slices(state), wanted_slices(state)) == (4, 4), "outside it counts for nothing"
    running.run_series()
    rig.settle()
    assert sorted(rig.engine.backbone_calls) == [1, 2, 3, 4, 5], "nothing is done twice or in addition"


def test_where_no_slice_shows_lung_none_is_left_out(make_rig):
    rig = make_rig(engine=FakeEngine(no_lung=set(range(7))))
    rig.open()
    rig.run_all()
    assert sorted(rig.engine.backbone_calls) == list(range(7))


def test_lungs_that_are_found_late_are_heeded(opened):
    opened.run_all()
    shows, volume = opened.engine.shows, opened.state.case.volume
    opened.state.case.events.volume.emit(volume, volume)
    opened.settle()
    assert opened.engine.shows == shows, "nothing is new"
    opened.engine.no_lung = {5}
    opened.state.case.events.volume.emit(volume, volume)
    opened.settle()
    assert {k for k, summary in opened.state.results.summaries.items() if not summary.lung} == {5}


def test_without_lungs_a_run_goes_on(make_rig, monkeypatch):
    engine = FakeEngine()

    def fail(volume):
        raise MemoryError
        yield

    monkeypatch.setattr(engine, "find_lungs", fail)
    rig = make_rig(engine=engine)
    rig.open()
    rig.run_all()
    assert rig.state.case.lungs.inside == ()
    assert len(rig.state.results.summaries) == 7
