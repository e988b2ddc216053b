"""Why a slice has its class, in the window: computed beside it, in words, bars and curves, and tried."""

import threading
from dataclasses import replace

import pytest
from gui_fakes import make_reason, make_sensitivity
from PySide6.QtCore import QPoint, Qt
from window_case import fill

from ctmasknet_gui.controller.controllers import Controllers
from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.explanation.hint import Hint
from ctmasknet_gui.view.explanation.plots import PlotPanel
from ctmasknet_gui.view.explanation.roi_model import ADDS_COLUMN
from ctmasknet_gui.view.explanation.roi_table import RoiTable
from ctmasknet_gui.view.explanation.why_panel import WhyPanel


@pytest.fixture
def analysed(opened):
    opened.controllers.reasons.watch_sensitivity(True)
    opened.run_all()
    explain(opened)
    return opened


def explain(rig):
    reasons, jobs = rig.state.reasons, rig.controllers.jobs
    rig.qtbot.waitUntil(lambda: not reasons.computing and not jobs.busy)


@pytest.fixture
def state():
    """A window's state with a reason of the slice that is shown."""
    state = fill(AppState())
    tell(state)
    return state


def heard(signal):
    """Return a list that grows by what a signal carries from now on."""
    values = []
    signal.connect(lambda *carried: values.append(carried[0] if carried else None))
    return values


def tell(state, **changes):
    shown = state.results.shown
    state.reasons.reason = make_reason(shown, **changes)
    state.reasons.sensitivity = make_sensitivity(shown.slice_index, shown.verdict)


# ---------------------------------------------------------------------------------------- controller


def test_the_shown_slice_is_explained_without_being_asked(analysed):
    reasons = analysed.state.reasons
    assert reasons.reason.slice_index == analysed.state.display.slice_index
    assert reasons.sensitivity.slice_index == analysed.state.display.slice_index
    assert analysed.engine.explained[-1] == (3, "integrated_gradients")


def test_curves_that_nobody_looks_at_are_not_computed(opened):
    opened.run_all()
    explain(opened)
    assert opened.state.reasons.reason is not None
    assert opened.state.reasons.sensitivity is None
    opened.controllers.reasons.watch_sensitivity(True)
    opened.qtbot.waitUntil(lambda: opened.state.reasons.sensitivity is not None)
    assert len(opened.engine.explained) == 1


def test_a_later_change_wins_and_the_window_never_waits(analysed):
    engine, controllers, reasons = analysed.engine, analysed.controllers, analysed.state.reasons
    engine.reason_gate = threading.Event()
    count = len(engine.explained)
    controllers.what_if.exclude([0])
    analysed.qtbot.waitUntil(lambda: len(engine.explained) == count + 1)
    assert reasons.computing
    assert 0 in reasons.reason.candidates, "the former stays until the new one is there"
    controllers.what_if.exclude([1])
    assert reasons.computing
    engine.reason_gate.set()
    explain(analysed)
    assert reasons.reason.candidates == (2, 3, 4, 5)


def test_moves_in_one_go_are_explained_once(analysed):
    engine, thresholds = analysed.engine, analysed.controllers.thresholds
    count = len(engine.explained)
    for score in (0.1, 0.2, 0.3, 0.35):
        thresholds.set_evidence(replace(analysed.state.thresholds.evidence, score=score))
    explain(analysed)
    assert len(engine.explained) == count + 1


def test_what_was_explained_once_comes_back_at_once(analysed):
    engine, display, reasons = analysed.engine, analysed.controllers.display, analysed.state.reasons
    first, count = reasons.reason, len(engine.explained)
    display.show_slice(5)
    assert reasons.reason is None, "never that of another slice"
    explain(analysed)
    display.show_slice(3)
    assert reasons.reason is first
    assert len(engine.explained) == count + 1
    analysed.controllers.opening.close_case()
    analysed.settle()
    assert reasons.reason is None
    assert reasons.sensitivity is None


def test_another_way_is_computed_another_logit_only_shown(analysed):
    controllers, reasons = analysed.controllers, analysed.state.reasons
    assert reasons.shown_output == 2
    count = len(analysed.engine.explained)
    controllers.reasons.choose_output(0)
    controllers.reasons.choose_grouping("side")
    assert reasons.shown_output == 0
    assert reasons.shown_grouping == "region", "no lung was found"
    assert len(analysed.engine.explained) == count
    controllers.reasons.choose_way("leave_one_out")
    explain(analysed)
    assert reasons.reason.way == "leave_one_out"


def test_a_failure_is_told_and_ends_the_waiting(analysed):
    def broken(*_):
        raise ValueError("x")
        yield

    analysed.engine.explain = broken
    analysed.controllers.what_if.exclude([0])
    analysed.qtbot.waitUntil(lambda: not analysed.state.reasons.computing)
    assert analysed.state.reasons.reason is None
    assert any(message.level == "error" for message in analysed.state.messages.messages)


def test_the_hint_is_shown_once_in_a_lifetime(opened):
    remember, reasons = opened.controllers.remember, opened.state.reasons
    remember.restore()
    assert reasons.hint
    remember.store()
    remember.restore()
    assert reasons.hint, "nobody has read it yet"
    opened.controllers.reasons.dismiss_hint()
    remember.store()
    later = AppState()
    controllers = Controllers(
        later, opened.settings, engine=opened.engine, reader=opened.reader, exporter=opened.exporter
    )
    controllers.remember.restore()
    assert not later.reasons.hint
    assert controllers.shutdown()


# --------------------------------------------------------------------------------------------- view


def test_the_panel_says_what_carries_the_class_and_tries_what_would_change_it(qtbot, state):
    panel = WhyPanel(state)
    qtbot.addWidget(panel)
    panel.resize(440, 120)
    panel.show()
    assert panel.words.text() == "“COVID-19” rests on lesion 1 (90 %); without it Control 0.73."
    assert panel.changes.text() == "Without lesion 1: Control 0.73"
    assert panel.exclude.text() == "Exclude: COVID-19 0.73", "what comes in stands in for it"
    assert panel.sum.text().endswith("= +2.00")
    assert "together +2.00:\nprobability 0.88." in panel.sum.toolTip()
    excluded, kept, picked = map(heard, (panel.excludeAsked, panel.keepAsked, panel.regionsPicked))
    panel.exclude.click()
    panel.keep.click()
    panel.select.click()
    assert excluded == kept == picked == [(0, 1)]
    first, rest = panel.bar.rects
    assert rest.left() == pytest.approx(first.right()), "in the order of scores"
    place = QPoint(round(first.center().x()), 8)
    qtbot.mouseClick(panel.bar, Qt.MouseButton.LeftButton, pos=place)
    assert picked[-1] == state.reasons.reason.groups["lesion"][0].candidates
    qtbot.mouseClick(panel.bar, Qt.MouseButton.LeftButton, pos=QPoint(round(rest.center().x()), 8))
    assert picked[-1] == state.reasons.reason.groups["lesion"][1].candidates


def test_choosers_offer_what_there_is(qtbot, state):
    panel = WhyPanel(state)
    qtbot.addWidget(panel)
    ways = {action.text(): action for action in panel.way.menu().actions()}
    chosen = heard(panel.wayChosen)
    ways["Shapley"].trigger()
    assert chosen == ["shapley"]
    sides = {action.text(): action.isEnabled() for action in panel.grouping.menu().actions()}
    assert sides == {"Region": True, "Lesion": True, "Lung side": False}
    tell(state, way="closed_up", references=0, verdict=None, without=None, alone=None)
    enabled = {action.text() for action in panel.way.menu().actions() if action.isEnabled()}
    assert enabled == {"Ranks closed up"}
    assert "No evidence of controls" in panel.changes.text()
    assert "train calibrate" in panel.carries.text()
    assert not panel.exclude.isVisibleTo(panel)


def test_the_table_sorts_by_what_regions_add(qtbot, state):
    table = RoiTable(state)
    qtbot.addWidget(table)
    table.table.sortByColumn(ADDS_COLUMN, Qt.SortOrder.AscendingOrder)
    texts = [table.model.index(row, ADDS_COLUMN).data() for row in range(6)]
    assert [float(text) for text in texts] == sorted(float(text) for text in texts)
    assert table.model.roi(0).rank == 6
    state.reasons.output = 0
    assert table.model.roi(0).rank == 1, "it speaks most against Control"
    assert "−" in table.model.index(0, ADDS_COLUMN).data()
    assert "to the logit of Control" in table.model.index(0, 0).data(Qt.ItemDataRole.ToolTipRole)
    state.reasons.reason = None
    assert table.model.index(0, ADDS_COLUMN).data() == ""
    table.show()
    table.grab()


def test_a_click_on_a_curve_asks_for_the_threshold_there(qtbot, state):
    panel = PlotPanel(state)
    qtbot.addWidget(panel)
    panel.resize(440, 200)
    panel.tabs.setCurrentWidget(panel.sensitivity)
    panel.show()
    qtbot.waitUntil(lambda: panel.sensitivity.canvas is not None)
    asked = heard(panel.evidenceAsked)
    left, right = panel.sensitivity.canvas.figure.axes
    canvas = panel.sensitivity.canvas
    buttons = Qt.MouseButton.LeftButton, Qt.MouseButton.LeftButton, Qt.MouseButton.RightButton
    for axes, place, button in zip((left, right, right), (0.3, 0.55, 0.1), buttons, strict=True):
        x, y = axes.transData.transform((place, 0.5)) / canvas.device_pixel_ratio
        qtbot.mouseClick(canvas, button, pos=QPoint(round(x), round(canvas.height() - y)))
    score, iou = asked
    assert score.score == pytest.approx(0.3, abs=0.011)
    assert score.nms_iou == state.thresholds.evidence.nms_iou
    assert iou.nms_iou == pytest.approx(0.55, abs=0.011)
    assert iou.score == state.thresholds.evidence.score
    gids = [artist.get_gid() for artist in left.get_children()]
    assert gids.count("flip") == 1
    assert "now" in gids
    assert "untrained" in gids


def test_the_hint_goes_with_a_click(qtbot, state):
    hint = Hint(state)
    qtbot.addWidget(hint)
    dismissed = heard(hint.dismissed)
    assert not hint.isVisible()
    state.reasons.hint = True
    assert hint.isVisible()
    reason, state.reasons.reason = state.reasons.reason, None
    assert hint.isVisible(), "a slice without a reason is scrolled past: the picture must not jump"
    state.reasons.reason = reason
    hint.button.click()
    assert len(dismissed) == 1
    state.reasons.hint = False
    assert not hint.isVisible()
