"""From a region to pixels in the window: asked for, shown as it comes, laid on the slice, forgotten."""

import re
import threading
from dataclasses import replace

import pytest
from gui_fakes import FakeEngine
from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QColor

from ctmasknet_gui.controller.ports import Engine
from ctmasknet_gui.view.explanation import pixel_page
from model_core.base.jobs import finish
from model_core.explain import explain_region
from model_core.scene.palette import CIVIDIS


@pytest.fixture
def asked(analysed):
    """The best region of the visible slice, with its maps."""
    analysed.window.use.pick(0)
    analysed.commands.explain_pixels.trigger()
    analysed.settle()
    return analysed


def page(rig):
    return rig.window.explanation.plots.pixels


def test_maps_come_one_after_the_other_and_the_page_says_what_is_fixed(make_app):
    rig = make_app(engine=FakeEngine(pixel_gate=threading.Event()))
    rig.open()
    rig.run_series()
    assert not rig.commands.explain_pixels.isEnabled()
    assert "Select a region" in page(rig).hint.text()
    rig.window.use.pick(0)
    assert "region 1" in page(rig).hint.text()
    rig.key(Qt.Key.Key_L, Qt.KeyboardModifier.ShiftModifier)
    rig.qtbot.waitUntil(lambda: rig.state.pixels.found is not None, timeout=10_000)
    assert rig.window.explanation.plots.tabs.currentWidget() is page(rig)
    assert [one.kind for one in rig.state.pixels.found.maps] == ["mask"]
    assert rig.state.pixels.computing
    assert "Cancel" in rig.window.status.cancel.text()
    assert rig.window.status.cancel.isVisible()
    rig.engine.pixel_gate.set()
    rig.settle()
    assert not rig.state.pixels.computing
    assert len(rig.state.pixels.found.maps) == 5
    assert page(rig).readout.text().startswith("Region 1: logit +2.00 · proposal and selection fixed")
    told = page(rig).note.toolTip()
    assert "miss 1.0 % of the difference (20 steps).\n" in told
    assert "Filled with texture of healthy lung of this slice." in told
    for line in (page(rig).readout, page(rig).note):
        assert line.fontMetrics().horizontalAdvance(line.text()) <= page(rig).width(), "nothing is cut"
    assert page(rig).note.text().endswith("."), "whole sentences, as many as the line holds"
    grey = replace(rig.state.pixels.found, filling="around", why_grey="no lung was found in the slice")
    rig.state.pixels.found = grey
    assert page(rig).readout.text().startswith("Region 1: logit +2.00 · filled with one grey · ")
    assert "what lies around the region (no lung was found in the slice)." in page(rig).note.toolTip()
    assert "held fixed" in page(rig).readout.toolTip()
    assert rig.engine.pixels[0][2] != threading.main_thread().name, "the window never waits"


def test_cancel_keeps_what_is_there_and_asks_again(make_app):
    rig = make_app(engine=FakeEngine(pixel_gate=threading.Event()))
    rig.open()
    rig.run_series()
    rig.window.use.pick(0)
    rig.commands.explain_pixels.trigger()
    rig.qtbot.waitUntil(lambda: rig.state.pixels.found is not None, timeout=10_000)
    rig.window.status.cancel.click()
    rig.settle()
    assert not rig.state.pixels.computing
    assert [one.kind for one in rig.state.pixels.found.maps] == ["mask"]
    assert "logit +2.00 · stopped, ask again (Shift+L)" in page(rig).readout.text()
    assert "no gradients" not in page(rig).note.text(), "they had no time to come"
    rig.engine.pixel_gate.set()
    rig.commands.explain_pixels.trigger()
    rig.settle()
    assert len(rig.state.pixels.found.maps) == 5
    assert "stopped" not in page(rig).readout.text()
    rig.commands.explain_pixels.trigger()
    rig.settle()
    assert len(rig.engine.pixels) == 2, "what is known is not computed again"


def test_asked_twice_the_maps_go_on(make_app):
    rig = make_app(engine=FakeEngine(pixel_gate=threading.Event()))
    rig.open()
    rig.run_series()
    rig.window.use.pick(0)
    rig.commands.explain_pixels.trigger()
    rig.qtbot.waitUntil(lambda: rig.state.pixels.found is not None)
    rig.commands.explain_pixels.trigger()
    assert rig.state.pixels.computing
    rig.engine.pixel_gate.set()
    rig.settle()
    assert len(rig.engine.pixels) == 1, "not from the start again"
    assert len(rig.state.pixels.found.maps) == 5


def test_another_region_has_maps_of_its_own_and_the_first_keeps_its(asked):
    first = asked.state.pixels.found
    asked.window.use.pick(1)
    assert asked.state.pixels.found is None
    asked.window.use.pick(0)
    assert asked.state.pixels.found is first
    asked.window.use.step(1)
    assert asked.state.pixels.found is None
    asked.window.use.choose_weights(("other",))
    asked.settle()
    asked.run_slice()
    asked.window.use.step(-1)
    asked.run_slice()
    asked.window.use.pick(0)
    assert asked.state.pixels.found is None, "other weights, other maps"


def test_a_click_on_a_map_lays_it_on_the_slice_and_takes_it_off(asked):
    assert asked.state.pixels.overlay == "cells", "the map that is there first"
    maps, pixels = page(asked).maps, asked.state.pixels
    places = dict(maps.panels)
    assert list(places) == ["mask", "cells", "gradients", "fixed", "found"]
    assert all(maps.rect().toRectF().contains(place) for place in places.values())
    asked.qtbot.mouseClick(maps, Qt.MouseButton.LeftButton, pos=places["mask"].center().toPoint())
    assert pixels.overlay == "mask"
    view, box = asked.viewport.current_view, pixels.found.roi.box
    middle = view.to_screen((box[0] + box[2]) / 2, (box[1] + box[3]) / 2).toPoint()

    def seen():
        return asked.viewport.grab().toImage().pixelColor(middle)

    assert seen() == QColor(CIVIDIS[-1]), "the strongest logit there is"
    asked.qtbot.mouseClick(maps, Qt.MouseButton.LeftButton, pos=places["mask"].center().toPoint())
    assert pixels.overlay == ""
    assert seen() != QColor(CIVIDIS[-1])


def test_nothing_can_look_like_a_minus_before_the_strongest_value(asked, monkeypatch):
    told = []
    monkeypatch.setattr(pixel_page, "halo_text", lambda _painter, _place, text, _colour: told.append(text))
    page(asked).maps.grab()
    assert len(told) == 5
    assert all(re.fullmatch(r"±\d+\.\d+", text) for text in told), told


def test_one_map_at_a_time_lies_on_the_slice(asked):
    asked.commands.logits.trigger()
    assert asked.state.pixels.overlay == ""
    kinds = []
    for _ in range(6):
        asked.commands.next_pixel_map.trigger()
        kinds.append(asked.state.pixels.overlay)
    assert kinds == ["mask", "cells", "gradients", "fixed", "found", ""]
    assert not asked.state.display.logits


def test_one_cursor_over_all_maps_says_what_is_there(asked):
    maps, found = page(asked).maps, asked.state.pixels.found
    panel = dict(maps.panels)["fixed"]
    view = maps.view_of(panel.width())
    x, y = found.roi.box[0] + 0.6, found.roi.box[1] + 0.6
    asked.qtbot.mouseMove(maps, (panel.topLeft() + view.to_screen(x, y)).toPoint())
    at = asked.state.pixels.cursor
    assert at == pytest.approx((x, y), abs=1.0 / view.zoom)
    volume, index = asked.state.case.volume, asked.state.display.slice_index
    value = str(volume.voxels[index, int(at[1]), int(at[0])]).replace("-", "−")
    assert page(asked).readout.text() == (
        f"x {int(at[0])}  y {int(at[1])}  {value} HU  mask logit 3.0 (p 0.95)"
    )
    # From the slice to the maps, too.
    here = asked.viewport.current_view.to_screen(x + 1, y + 2)
    asked.qtbot.mouseMove(asked.viewport, here.toPoint())
    assert asked.state.pixels.cursor == pytest.approx((x + 1, y + 2), abs=0.5)
    asked.viewport.leaveEvent(None)
    assert asked.state.pixels.cursor is None


@pytest.mark.parametrize("flip", ["", "flip_horizontal", "flip_vertical"])
def test_panels_are_turned_as_the_slice_is(asked, flip):
    if flip:
        asked.window.use.toggle(flip)
    maps, box = page(asked).maps, asked.state.pixels.found.roi.box
    side = maps.panels[0][1].width()
    small, large = maps.view_of(side), asked.viewport.current_view
    corners = [(box[0], box[1]), (box[2], box[3])]
    for one in corners:
        assert 0 <= small.to_screen(*one).x() <= side
        assert 0 <= small.to_screen(*one).y() <= side
    (a, b), (c, d) = ([view.to_screen(*one) for one in corners] for view in (small, large))
    assert ((b - a).x() > 0) == ((d - c).x() > 0)
    assert ((b - a).y() > 0) == ((d - c).y() > 0)
    assert small.to_slice(QPointF(small.to_screen(*corners[0]))) == pytest.approx(corners[0])


def test_all_overlays_off_takes_the_map_along_and_brings_it_back(asked):
    assert asked.commands.overlays.isChecked()
    asked.key(Qt.Key.Key_S)
    assert asked.state.pixels.overlay == ""
    assert not asked.state.display.outlines
    assert not asked.commands.overlays.isChecked()
    asked.key(Qt.Key.Key_S)
    assert asked.state.pixels.overlay == "cells"
    assert asked.state.display.outlines
    asked.commands.outlines.trigger()
    asked.commands.labels.trigger()
    asked.key(Qt.Key.Key_S)
    asked.key(Qt.Key.Key_S)
    assert asked.state.pixels.overlay == "cells"
    assert not asked.state.display.outlines, "it was off before"


@pytest.mark.slow
def test_the_real_network_answers(real, monkeypatch):
    """Region, ranges and lesions of one window over the real engine: what the fakes promise."""
    monkeypatch.setitem(explain_region.__kwdefaults__, "grid", 2)
    real.run_slice()
    shown = real.state.results.shown
    real.window.use.pick(shown.rois[0].candidate)
    real.commands.explain_pixels.trigger()
    real.commands.how_sure.trigger()
    real.settle(timeout=60_000)
    found = real.state.pixels.found
    assert [one.kind for one in found.maps] == ["mask", "cells", "gradients", "fixed", "found"]
    assert found.roi == shown.rois[0]
    assert len(real.state.stability.found.changes) == 8
    # Noise has no lung, so the window lists no lesions of it: those of the slice all the same.
    parts = (real.controllers.weights.pipeline, real.state.case.volume, real.state.results.slices)
    *_, burden = finish(Engine().lesions(*parts, shown.detections.settings))
    listed = sum(lesion.pixels for lesion in burden.lesions)
    assert shown.summary.lesion_px - 20 * burden.smaller <= listed <= shown.summary.lesion_px
    assert real.texts == []
