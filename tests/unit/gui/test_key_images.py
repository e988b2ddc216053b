"""Slices that a person marks: the marks, the strip, the list, what is exported of them."""

import pytest
from gui_fakes import make_volume
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QRadioButton
from window_case import fill, hear, heard_use_cases

from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.requests import ExportRequest
from ctmasknet_gui.view.export_dialog import ExportDialog
from ctmasknet_gui.view.key_images import KeyImagesDialog
from ctmasknet_gui.view.main_window import MainWindow
from ctmasknet_gui.view.strip import SliceStrip
from ctmasknet_gui.view.viewport.corners import scene_settings
from model_core.export.case_file import read_case
from model_core.scene.palette import AMBER


@pytest.fixture
def marks(opened):
    return opened.controllers.key_images


def test_a_mark_taken_off_by_mistake_comes_back_with_its_note(opened, marks):
    opened.state.display.slice_index = 2
    marks.toggle()
    assert opened.state.case.key_images == {2: ""}
    marks.note(2, "  a nodule\n here ")
    marks.toggle()
    assert opened.state.case.key_images == {}
    marks.toggle()
    assert opened.state.case.key_images == {2: "a nodule here"}
    assert scene_settings(opened.state).key_image == "a nodule here"


def test_a_slice_that_is_not_there_is_not_marked(opened, marks):
    marks.note(7, "beyond")
    marks.note(-1, "before")
    marks.unmark(3)
    assert opened.state.case.key_images == {}
    marks.note(0, "x" * 10_000)
    assert len(opened.state.case.key_images[0]) == 500
    marks.note(0, "word " * 120)
    assert opened.state.case.key_images[0].endswith("word")


def test_a_note_with_half_a_character_can_be_saved(opened, marks, tmp_path):
    marks.note(1, "half \ud83d, whole \ud83d\ude42, κείμενο")
    assert opened.state.case.key_images == {1: "half \ufffd, whole \U0001f642, κείμενο"}
    opened.controllers.case_files.save(tmp_path / "a.ctmn")
    opened.settle()
    assert read_case(tmp_path / "a.ctmn").key_images[0].note.endswith("κείμενο")


def test_going_through_them_ends_at_the_last(opened, marks):
    marks.take({1: "", 4: "four"})
    opened.state.display.slice_index = 2
    for step, expected in ((marks.next, 4), (marks.next, 4), (marks.previous, 1), (marks.previous, 1)):
        step()
        assert opened.state.display.slice_index == expected


def test_each_series_has_its_own(two_series):
    rig = two_series
    rig.open()
    marks, state = rig.controllers.key_images, rig.state
    first = state.case.volume.series_id
    other = next(entry.series_id for entry in state.case.catalogue.series if entry.series_id != first)
    marks.note(1, "of the first")
    rig.controllers.opening.open_series(other)
    rig.settle()
    assert state.case.key_images == {}
    rig.controllers.opening.open_series(first)
    rig.settle()
    assert state.case.key_images == {1: "of the first"}
    rig.controllers.opening.close_case()
    rig.settle()
    assert state.case.key_images == {}


def test_pictures_of_the_key_images_alone(opened, marks):
    request = ExportRequest(kind="png", target=opened.folder, slices="keys")
    opened.controllers.exporting.export(request)
    assert "No slice is marked" in opened.texts[-1]
    marks.take({5: "", 1: "note"})
    opened.controllers.exporting.export(request)
    opened.settle()
    (job,) = opened.exporter.jobs
    assert job.slices == (1, 5)
    assert job.key_images == {1: "note", 5: ""}


def test_the_strip_marks_them_and_says_their_note(qtbot):
    state = AppState()
    state.case.volume = make_volume(slices=20)
    strip = SliceStrip(state)
    qtbot.addWidget(strip)
    strip.resize(44, 412)
    strip.show()
    state.case.key_images = {3: "compare", 9: "", 25: "beyond the series"}
    image = strip.grab().toImage()
    marked = [
        index
        for index in range(20)
        if image.pixelColor(strip.width() - 13, round(strip.centre_of(index))).name() == AMBER.lower()
    ]
    assert marked == [3, 9]
    assert strip.describe(3).startswith("Key image: compare\nSlice 4 / 20")
    assert strip.describe(9).startswith("Key image\nSlice 10 / 20")


@pytest.fixture
def window(qtbot):
    use = heard_use_cases()
    window = MainWindow(fill(AppState()), use)
    qtbot.addWidget(window)
    window.show()
    return window


def test_the_list_goes_to_slices_and_takes_notes(qtbot, window):
    state, use = window._state, window.use
    went, noted, unmarked = (
        hear(call) for call in (use.show_slice, use.note_key_image, use.unmark_key_image)
    )
    window.commands.key_images.trigger()
    dialog = window.findChild(KeyImagesDialog)
    assert not dialog.edit.isEnabled()
    state.case.key_images = {6: "last", 3: "here"}
    assert [dialog.table.item(row, 0).text() for row in range(2)] == ["4", "7"]
    assert dialog.table.currentRow() == 0
    dialog.table.setCurrentCell(1, 1)
    assert went == [6]
    state.display.slice_index = 6
    dialog.table.item(1, 1).setText("written anew")
    assert noted == [(6, "written anew")]
    qtbot.mouseClick(dialog.remove, Qt.MouseButton.LeftButton)
    assert unmarked == [6]
    state.case.key_images = {}
    assert dialog.table.rowCount() == 0
    window.commands.key_images.trigger()
    assert window.findChildren(KeyImagesDialog) == [dialog]


def test_commands_follow_the_marks(window):
    state, commands = window._state, window.commands
    assert not commands.next_key_image.isEnabled()
    assert not commands.key_image.isChecked()
    state.case.key_images = {3: ""}
    assert commands.next_key_image.isEnabled()
    assert commands.key_image.isChecked()
    state.display.slice_index = 4
    assert not commands.key_image.isChecked()


def test_the_export_dialog_offers_them_where_there_are_some(qtbot, tmp_path):
    state = fill(AppState())
    dialog = ExportDialog(state, kind="png", folder=tmp_path)
    qtbot.addWidget(dialog)
    assert not dialog.keys.isEnabled()
    state.case.key_images = {0: "", 2: "a"}
    dialog = ExportDialog(state, kind="png", folder=tmp_path)
    qtbot.addWidget(dialog)
    assert isinstance(dialog.keys, QRadioButton)
    assert "2 slices" in dialog.keys.text()
    dialog.keys.setChecked(True)
    dialog.export_button.click()
    assert dialog.request.slices == "keys"
    assert dialog.request.target.suffix == ""


def test_marks_are_there_again_in_the_next_program(make_rig):
    first = make_rig()
    first.open()
    first.controllers.key_images.note(2, "nodule?")
    first.controllers.key_images.note(4, "Zürich")
    first.controllers.key_images.unmark(4)
    # At once, whatever the window does next.
    second = make_rig()
    second.open()
    assert second.state.case.key_images == {2: "nodule?"}
    (file,) = second.controllers.kept.files.folder.glob("*.key")
    assert file.stat().st_mode & 0o077 == 0
    second.controllers.key_images.unmark(2)
    assert not file.exists()


def test_what_is_marked_while_older_marks_are_looked_for_is_added_to_them(make_rig):
    first = make_rig()
    first.open()
    first.controllers.key_images.note(2, "of yesterday")
    second = make_rig()
    path = second.folder / "case"
    state = second.state
    state.case.events.volume.connect(lambda: second.controllers.key_images.note(3, "at once"))
    second.controllers.opening.open_paths([path], choose_best=True)
    second.settle()
    assert state.case.key_images == {2: "of yesterday", 3: "at once"}
    third = make_rig()
    third.open()
    assert third.state.case.key_images == state.case.key_images


@pytest.mark.parametrize(
    "text",
    ["", "{", "[1]", '[["x", 1]]', "[[-1, 2], [99, 3]]", '[[1e999, "x"]]', "[" * 9999, "\x00"],
)
def test_damaged_marks_count_as_none(make_rig, text):
    first = make_rig()
    first.open()
    first.controllers.key_images.note(2, "")
    (file,) = first.controllers.kept.files.folder.glob("*.key")
    file.write_text(text)
    second = make_rig()
    second.open()
    assert second.state.case.key_images == {}
    second.controllers.key_images.note(1, "new")
    third = make_rig()
    third.open()
    assert third.state.case.key_images == {1: "new"}


def test_marks_are_not_kept_where_nothing_shall_be_and_go_when_it_is_cleared(make_rig):
    rig = make_rig()
    rig.open()
    folder = rig.controllers.kept.files.folder
    rig.controllers.kept.toggle()
    rig.controllers.key_images.note(1, "of nobody")
    assert not list(folder.glob("*.key"))
    rig.controllers.kept.toggle()
    rig.settle()
    rig.qtbot.waitUntil(lambda: len(list(folder.glob("*.key"))) == 1)
    rig.controllers.kept.clear()
    assert not list(folder.glob("*.key"))
    assert rig.state.case.key_images == {1: "of nobody"}


def test_a_mark_taken_off_before_older_ones_are_there_does_not_come_back(make_rig):
    first = make_rig()
    first.open()
    first.controllers.key_images.take({1: "one", 2: "two"})
    second = make_rig()
    marks = second.controllers.key_images

    def changed():
        marks.note(2, "")
        marks.unmark(2)

    second.state.case.events.volume.connect(changed)
    second.open()
    assert second.state.case.key_images == {1: "one"}


def test_marks_that_cannot_be_kept_are_told(make_rig):
    rig = make_rig()
    rig.open()
    folder = rig.controllers.kept.files.folder
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a file in its place")
    rig.controllers.key_images.note(1, "a note")
    assert any("written" in text for text in rig.texts), rig.texts
    assert rig.state.case.key_images == {1: "a note"}
    folder.unlink()
    rig.controllers.key_images.note(1, "once more")
    assert not any("written" in text for text in rig.texts), "it went well"
