"""The lesions of the scan in the window: joined in the background, sorted, gone to; a lesion as a whole."""

import dataclasses
import threading

import pytest
from gui_fakes import FakeEngine
from PySide6.QtCore import Qt

from model_core.explain import lesion_regions


@pytest.fixture
def listed(analysed):
    """The list of lesions, joined."""
    analysed.window.explanation.table.lesion_button.click()
    wait(analysed)
    return analysed


def wait(rig):
    rig.qtbot.waitUntil(
        lambda: rig.state.lesions.found is not None and not rig.state.lesions.computing, timeout=10_000
    )


def rows(rig):
    table = rig.window.explanation.table.lesions.table
    return [[table.item(row, column).text() for column in range(9)] for row in range(table.rowCount())]


def test_nothing_is_joined_unless_somebody_looks(analysed):
    assert analysed.engine.joined == []
    table = analysed.window.explanation.table
    table.lesion_button.click()
    wait(analysed)
    slices, _, thread = analysed.engine.joined[0]
    assert slices == tuple(range(7))
    assert thread != threading.main_thread().name
    assert table.lesions.isVisible()
    assert not table.table.isVisible()
    found = analysed.state.lesions.found
    total = sum(lesion.ml for lesion in found.lesions)
    assert table.heading.text() == f"{len(found.lesions)} lesions, {total:.1f} ml"
    assert "26 neighbours" in table.heading.toolTip()
    assert len(rows(analysed)) == len(found.lesions)
    table.top_button.click()
    assert not table.lesions.isVisible()
    assert table.table.isVisible()
    assert "CLASS RESTS ON" in table.heading.text()


def test_lesions_follow_the_thresholds_and_are_kept_where_nothing_changed(listed):
    before = len(rows(listed))
    detections = listed.state.thresholds.detections
    listed.window.use.set_detections(dataclasses.replace(detections, score=0.9))
    listed.qtbot.waitUntil(lambda: len(listed.engine.joined) == 2, timeout=10_000)
    wait(listed)
    assert len(rows(listed)) < before
    listed.window.use.step(1)
    listed.settle()
    assert len(listed.engine.joined) == 2, "another slice is no other scan"


def test_of_some_slices_the_list_is_called_partial(opened):
    opened.run_slice()
    table = opened.window.explanation.table
    table.lesion_button.click()
    wait(opened)
    assert table.heading.text().endswith("partial: 1 of 7 slices")
    assert opened.window.explanation.column.horizontalScrollBar().maximum() == 0, "a long line widens nothing"
    assert "grade need all slices" in table.heading.toolTip()


def test_slices_outside_the_lungs_take_no_part(make_app):
    rig = make_app(engine=FakeEngine(no_lung={0, 6}))
    rig.open()
    rig.run_series()
    rig.window.explanation.table.lesion_button.click()
    wait(rig)
    assert rig.engine.joined[-1][0] == (1, 2, 3, 4, 5)


def test_a_click_goes_to_the_slice_and_selects_the_lesion_there(listed):
    listed.window.use.show_slice(0)
    table = listed.window.explanation.table.lesions.table
    number = int(table.item(1, 0).text())
    place = table.visualItemRect(table.item(1, 2)).center()
    listed.qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    lesion = next(one for one in listed.state.lesions.found.lesions if one.number == number)
    listed.qtbot.waitUntil(lambda: listed.state.selection.candidate is not None, timeout=10_000)
    assert listed.state.display.slice_index == lesion.largest
    shown = listed.state.results.shown
    over = shown.masks[:, lesion.pixel[0], lesion.pixel[1]]
    assert listed.state.selection.candidate == int(shown.detections.indices[over.argmax()])
    assert listed.state.lesions.chosen == number
    assert table.currentRow() == 1
    # The same again from another slice: a click on the row that is current already.
    listed.window.use.show_slice(0)
    listed.qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert listed.state.display.slice_index == lesion.largest


def test_columns_sort_by_their_numbers(listed):
    table = listed.window.explanation.table.lesions.table
    table.sortByColumn(3, Qt.SortOrder.DescendingOrder)
    values = [float(row[3].replace("−", "-")) for row in rows(listed)]
    assert values == sorted(values, reverse=True)
    assert len(set(values)) > 1


def test_another_series_has_no_lesions_of_the_former(listed):
    listed.window.use.close_case()
    assert listed.state.lesions.found is None
    assert rows(listed) == []
    assert listed.window.explanation.table.lesions.empty.isVisible()


def test_ctrl_click_and_a_key_select_every_region_on_a_lesion(analysed):
    shown = analysed.state.results.shown
    candidate = int(shown.detections.indices[0])
    box = shown.detections.boxes[0]
    place = analysed.viewport.current_view.to_screen(float(box[0]) + 1, float(box[1]) + 1).toPoint()
    whole = lesion_regions(shown, candidate)
    analysed.qtbot.mouseClick(
        analysed.viewport, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.ControlModifier, place
    )
    assert analysed.state.selection.chosen == whole
    analysed.window.use.pick(candidate)
    analysed.key(Qt.Key.Key_Z)
    assert analysed.state.selection.chosen == whole
    assert whole[0] == candidate


def test_the_strip_is_the_profile_a_click_goes_to_the_slice(analysed):
    strip = analysed.window.strip
    analysed.qtbot.mouseClick(
        strip, Qt.MouseButton.LeftButton, pos=strip.rect().center().__class__(20, round(strip.centre_of(5)))
    )
    assert analysed.state.display.slice_index == 5
