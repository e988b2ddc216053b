"""How sure: ranges of eight small changes on the bars, beside the lesion area, and on the verdict's card."""

import dataclasses
import threading

import numpy as np
import pytest
from gui_fakes import FakeEngine, make_verdict
from PySide6.QtCore import Qt

from ctmasknet_gui.state.case import LungSlices


@pytest.fixture
def steady(analysed):
    analysed.key(Qt.Key.Key_S, Qt.KeyboardModifier.ShiftModifier)
    analysed.settle()
    return analysed


def panel(rig):
    return rig.window.explanation.classes


def test_ranges_stand_on_the_bars_and_beside_the_area(steady):
    classes = panel(steady)
    assert steady.engine.steadied[0][0] == steady.state.display.slice_index
    assert steady.engine.steadied[0][1] != threading.main_thread().name
    area = steady.state.results.shown.summary.lesion_mm2
    assert classes.area.text() == f"lesions {area / 100:.2f} cm² (0.30–{max(area, 37) / 100:.2f})"
    tip = classes.bars.toolTip()
    assert "COVID-19 0.12 to > 0.99" in tip
    assert "one pixel to each side" in tip
    assert "No confidence interval" in tip
    assert not classes.sure.isEnabled()
    assert "8 changes" in classes.sure.text()


def test_the_marks_are_drawn_where_the_ends_are(analysed):
    bars = panel(analysed).bars
    before = bars.grab().toImage()
    analysed.commands.how_sure.trigger()
    analysed.settle()
    after = bars.grab().toImage()

    def changed(row):
        y = row * 15 + 7  # the middle of a bar
        places = [x for x in range(after.width()) if before.pixel(x, y) != after.pixel(x, y)]
        return places[0], places[-1]

    # Other is 0.2 and goes down to nearly 0; COVID-19 is 1 and goes down to 0.12. On one scale:
    (left, middle), (start, end) = changed(1), changed(2)
    whole = end - left
    assert middle - left == pytest.approx(0.2 * whole, abs=6)
    assert start - left == pytest.approx(whole / (1 + np.exp(2)), abs=6)


def test_moved_thresholds_take_back_what_is_no_longer_true(steady):
    use, state = steady.window.use, steady.state
    detections, evidence = state.thresholds.detections, state.thresholds.evidence
    use.set_detections(dataclasses.replace(detections, score=0.8))
    steady.settle()
    assert (state.stability.of_class, state.stability.of_area) == (True, False)
    assert "(" not in panel(steady).area.text()
    assert "COVID-19 0.12 to" in panel(steady).bars.toolTip()
    assert panel(steady).sure.isEnabled()
    use.set_detections(detections)
    use.set_evidence(dataclasses.replace(evidence, score=0.3))
    steady.settle()
    assert (state.stability.of_class, state.stability.of_area) == (False, True)
    assert "├─┤" not in panel(steady).bars.toolTip()
    use.set_evidence(evidence)
    steady.settle()
    assert (state.stability.of_class, state.stability.of_area) == (True, True), "true again"
    assert len(steady.engine.steadied) == 1


def test_an_edit_takes_back_the_ranges_of_the_class(steady):
    steady.window.use.exclude((0,))
    steady.settle()
    assert (steady.state.stability.of_class, steady.state.stability.of_area) == (False, True)


def test_another_slice_and_other_weights_forget(steady):
    steady.window.use.step(1)
    assert steady.state.stability.found is None
    steady.window.use.step(-1)
    assert steady.state.stability.found is not None
    steady.window.use.choose_weights(("other",))
    steady.settle()
    steady.run_slice()
    assert steady.state.stability.found is None
    assert panel(steady).sure.text() == "How sure?"


def test_it_can_be_cancelled(make_app):
    rig = make_app(engine=FakeEngine(pixel_gate=threading.Event()))
    rig.open()
    rig.run_series()
    panel(rig).sure.click()
    rig.qtbot.waitUntil(lambda: rig.state.run.kind == "explain", timeout=10_000)
    assert rig.state.stability.computing
    assert not panel(rig).sure.isEnabled()
    assert rig.texts == []
    rig.commands.stop.trigger()
    rig.settle()
    assert not rig.state.stability.computing
    assert rig.state.stability.found is None
    assert panel(rig).sure.isEnabled()
    assert "of the slice was stopped. Nothing of it is kept" in rig.texts[0]
    panel(rig).sure.click()
    assert rig.texts == [], "it runs again"
    rig.commands.close_case.trigger()
    rig.engine.pixel_gate.set()
    rig.settle()
    assert rig.texts == [], "what goes with its series was not stopped by a person"


def test_asked_twice_it_goes_on(make_app):
    rig = make_app(engine=FakeEngine(pixel_gate=threading.Event()))
    rig.open()
    rig.run_series()
    for _ in range(2):
        rig.commands.how_sure.trigger()
        rig.qtbot.waitUntil(lambda: rig.state.run.done > 0)
    assert len(rig.engine.steadied) == 1, "not from the start again"
    rig.window.use.set_detections(dataclasses.replace(rig.state.thresholds.detections, score=0.8))
    rig.commands.how_sure.trigger()
    rig.engine.pixel_gate.set()
    rig.settle()
    assert len(rig.engine.steadied) == 2, "of other thresholds"
    assert rig.texts == [], "a person went on, and stopped nothing"
    assert (rig.state.stability.of_class, rig.state.stability.of_area) == (True, True)


def test_it_is_not_asked_of_a_slice_outside_the_lungs(analysed):
    shown = analysed.state.results.shown
    outside = dataclasses.replace(shown.summary, lung=False)
    analysed.state.results.shown = dataclasses.replace(shown, summary=outside)
    assert not analysed.commands.how_sure.isEnabled()
    assert not panel(analysed).sure.isVisible()


def judged(rig):
    """Give the scan a verdict: the weights of the fake engine have no calibration."""
    rig.state.results.scan = make_verdict()
    return rig.window.explanation.card


def test_ranges_stand_on_the_card_of_the_scan(analysed):
    card = judged(analysed)
    height, before = card.height(), card.sure.text()
    analysed.key(Qt.Key.Key_S, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    analysed.settle()
    assert set(analysed.engine.steadied[0][0]) == set(analysed.state.results.summaries)
    assert analysed.engine.steadied[0][1] != threading.main_thread().name
    assert before == "How sure?"
    assert card.where.text() == "in 90 of 128 lung slices (33–70 %; controls: 6 %)"
    assert card.amount.text() == "168 ml (160–168), 4 % of the lung, mostly lower third"
    assert card.sure.text() == "├─┤ other verdict in 1 of 8"
    assert "“Uncertain” after mirror image, by 3 lung slices" in card.sure.toolTip()
    assert "2 look ill, and 1 to 2 with the changes" in card.sure.toolTip()
    assert "No confidence interval" in card.sure.toolTip()
    assert card.height() == height
    card.sure.click()
    assert len(analysed.engine.steadied) == 1, "shown again, not run again"


def test_slices_that_alone_say_something_else_than_the_scan_are_told(analysed):
    card = judged(analysed)
    card.sure.click()
    analysed.settle()
    analysed.state.results.scan = dataclasses.replace(analysed.state.results.scan, verdict="uncertain")
    assert card.sure.text() == "├─┤ other verdict in 7 of 8"
    tip = card.sure.toolTip()
    assert tip.startswith("These slices alone say “Pneumonia signs”, unchanged.\nTheir verdict would be")


def test_moved_thresholds_and_other_weights_drop_what_is_known_of_the_scan(analysed):
    card, state, use = judged(analysed), analysed.state, analysed.window.use
    detections = state.thresholds.detections
    card.sure.click()
    analysed.settle()
    use.set_detections(dataclasses.replace(detections, score=0.8))
    assert state.stability.scan is None
    analysed.settle()
    use.set_detections(detections)
    analysed.settle()
    judged(analysed)
    assert state.stability.scan is None, "it does not come back by itself"
    assert card.amount.text().startswith("168 ml,")
    analysed.commands.how_sure_scan.trigger()
    analysed.settle()
    assert state.stability.scan is not None
    use.choose_weights(("other",))
    analysed.settle()
    assert state.stability.scan is None


def test_lungs_that_are_found_later_drop_what_is_known_of_the_scan(make_app):
    rig = make_app(engine=FakeEngine(pixel_gate=threading.Event()))
    rig.open()
    rig.run_series()
    card = judged(rig)
    card.sure.click()
    rig.qtbot.waitUntil(lambda: rig.state.run.done > 0)
    rig.state.case.lungs = LungSlices((True,) * 5 + (False, False))
    assert not rig.state.stability.scan_computing, "it counts slices that show no lung"
    rig.engine.pixel_gate.set()
    rig.settle()
    assert rig.state.stability.scan is None


def test_a_threshold_that_moves_stops_the_runs_of_the_scan(make_app):
    rig = make_app(engine=FakeEngine(pixel_gate=threading.Event()))
    rig.open()
    rig.run_series()
    card = judged(rig)
    card.sure.click()
    rig.qtbot.waitUntil(lambda: rig.state.run.done > 0)
    assert (card.sure.text(), card.sure.isEnabled()) == ("running…", False)
    done = len(rig.engine.backbone_calls)
    rig.commands.run_slice.trigger()
    rig.qtbot.waitUntil(lambda: len(rig.engine.backbone_calls) > done)
    assert rig.state.stability.scan_computing, "what takes minutes lets a slice go first"
    judged(rig)
    evidence = rig.state.thresholds.evidence
    rig.window.use.set_evidence(dataclasses.replace(evidence, score=0.3))
    rig.settle()
    assert (rig.state.stability.scan_computing, rig.state.stability.scan) == (False, None)
    assert rig.texts == []
    judged(rig)
    rig.commands.how_sure_scan.trigger()
    rig.qtbot.waitUntil(lambda: rig.state.run.done > 0)
    rig.commands.stop.trigger()
    rig.settle()
    assert (rig.state.stability.scan_computing, rig.state.stability.scan) == (False, None)
    assert card.sure.isEnabled()
    assert "of the scan was stopped. Nothing of it is kept" in rig.texts[0]


def test_the_scan_is_asked_only_where_its_verdict_stands(analysed):
    card, state = judged(analysed), analysed.state
    ask = analysed.commands.how_sure_scan
    assert ask.isEnabled()
    whole = state.results.summaries
    state.results.summaries = dict(list(whole.items())[:3])
    assert not ask.isEnabled(), "a part of the scan"
    state.results.summaries = whole
    state.results.scan = make_verdict(verdict=None)
    assert not ask.isEnabled()
    assert not card.sure.isVisible()
    judged(analysed)
    analysed.window.use.exclude((0,))
    analysed.settle()
    judged(analysed)
    assert not ask.isEnabled(), "changes of the picture know nothing of an edit"
