"""Writes to the state that belong together are one change for those who look at all of it."""

import gc
from dataclasses import replace

import pytest

from ctmasknet_gui.state import AppState, Changes


class Looker:
    def __init__(self):
        self.seen = []
        self.value = 0

    def look(self):
        self.seen.append(self.value)


def test_what_changes_together_is_looked_at_once_at_the_end():
    changes, looker, other = Changes(), Looker(), Looker()
    look, also = changes.once(looker.look), changes.once(other.look)
    look()
    with changes.together():
        for looker.value in (1, 2, 3):
            look()
            also()
        with changes.together():
            looker.value = 4
            look()
        assert looker.seen == [0]
    assert looker.seen == [0, 4]
    assert other.seen == [0]
    look()
    assert looker.seen == [0, 4, 4]


def test_an_error_inside_leaves_nobody_waiting():
    changes, looker = Changes(), Looker()
    look = changes.once(looker.look)

    def fail():
        with changes.together():
            look()
            raise ValueError("inside")

    with pytest.raises(ValueError, match="inside"):
        fail()
    assert looker.seen == [0]
    look()
    assert looker.seen == [0, 0]


def test_an_error_of_one_keeps_no_other_from_looking():
    class Broken:
        def look(self):
            raise ValueError("broken")

    changes, looker, broken = Changes(), Looker(), Broken()
    look, fail = changes.once(looker.look), changes.once(broken.look)

    def change():
        with changes.together():
            fail()
            look()

    with pytest.raises(ValueError, match="broken"):
        change()
    assert looker.seen == [0]


def test_who_is_gone_is_not_called():
    changes = Changes()
    look = changes.once(Looker().look)
    gc.collect()
    with changes.together():
        look()


def test_a_moved_threshold_is_one_change(make_rig):
    rig = make_rig()
    rig.open()
    rig.run_all()
    looker, state = Looker(), rig.state
    look = state.changes.once(looker.look)
    for part in (state.thresholds, state.results, state.run):
        part.events.all.connect(look)
    each = []
    state.thresholds.events.all.connect(lambda *_: each.append(1))
    state.results.events.all.connect(lambda *_: each.append(1))
    rig.controllers.thresholds.set_linked(True)
    del looker.seen[:], each[:]
    rig.controllers.thresholds.set_detections(replace(state.thresholds.detections, score=0.31))
    assert len(each) > 3
    assert len(looker.seen) == 1
    assert state.results.shown.detections.settings.score == 0.31


def test_each_window_has_changes_of_its_own():
    assert AppState().changes is not AppState().changes
