"""A series that does not fit into memory: the window offers every n-th slice of it."""

import pytest
from PySide6.QtWidgets import QApplication

from ctmasknet_gui.controller.ports import Reader
from ctmasknet_gui.view.questions import FewerSlicesDialog
from model_core.phantom import make_phantom, write_dicom
from model_core.read import memory

SLICES, SIZE = 12, 64
WHOLE = SLICES * SIZE * SIZE * 2


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "case"
    write_dicom(make_phantom(slices=SLICES, size=SIZE)[0], path)
    return path


@pytest.fixture
def free(monkeypatch):
    """Set how much memory a series may take."""
    monkeypatch.setattr(memory, "_RESERVE_BYTES", 0)

    def set_free(count):
        monkeypatch.setattr(memory, "free_bytes", lambda: count)

    return set_free


@pytest.fixture
def rig(make_app):
    return make_app(reader=Reader())


def question(rig):
    rig.qtbot.waitUntil(lambda: rig.window.findChildren(FewerSlicesDialog) != [])
    return rig.window.findChildren(FewerSlicesDialog)[0]


def answer(rig, dialog, *, accept=True):
    (dialog.accept if accept else dialog.reject)()
    QApplication.processEvents()
    rig.settle()


def test_every_second_slice_is_offered_and_opened(rig, folder, free):
    free(WHOLE // 2)
    rig.open(folder)
    dialog = question(rig)
    assert "96 KiB" in dialog.text.text()
    assert dialog.open_button.text() == "Open every 2nd slice (6 of 12)"
    assert [choice.text().split(":")[0] for choice in dialog.choices] == [
        "Every 2nd slice",
        "Every 3rd slice",
        "Every 4th slice",
        "Every 5th slice",
    ]
    assert rig.state.case.volume is None
    answer(rig, dialog)
    volume = rig.state.case.volume
    assert volume.slices == 6
    assert volume.title.endswith(", every 2nd slice")
    assert "every 2nd slice" in rig.window.windowTitle()
    assert "\nevery 2nd slice\n" in rig.viewport.corners.text
    rig.commands.privacy.trigger()
    assert "every 2nd slice\n" in rig.viewport.corners.text
    assert "every 2nd slice" not in rig.window.windowTitle()
    rig.commands.privacy.trigger()
    assert rig.texts == ["Only every 2nd slice is opened: 6 of 12. Small findings may lie between them."]
    listed = rig.window.series.list
    assert [listed.item(row).text().split(",")[1] for row in range(listed.count())][1] == " every 2nd slice"
    assert listed.currentRow() == 1


def test_fewer_slices_can_be_chosen_and_all_of_them_later(rig, folder, free):
    free(WHOLE // 3)
    rig.open(folder)
    dialog = question(rig)
    assert dialog.open_button.text() == "Open every 3rd slice (4 of 12)"
    dialog.choices[1].click()
    assert dialog.open_button.text() == "Open every 4th slice (3 of 12)"
    answer(rig, dialog)
    assert rig.state.case.volume.slices == 3
    free(WHOLE)
    whole = rig.state.case.catalogue.series[0]
    rig.window.use.open_series(whole.series_id)
    rig.settle()
    assert rig.state.case.volume.slices == SLICES
    assert rig.texts == []


def test_cancel_opens_nothing_and_says_why(rig, folder, free):
    free(WHOLE // 2)
    rig.open(folder)
    answer(rig, question(rig), accept=False)
    assert rig.state.case.volume is None
    assert "open every 2nd slice" in rig.texts[-1]
    assert rig.window.message_bar.isVisible()


def test_what_never_fits_is_no_question(rig, folder, free):
    free(1000)
    rig.open(folder)
    assert rig.window.findChildren(FewerSlicesDialog) == []
    assert rig.texts[-1].endswith("close other programs.")


def test_memory_that_is_gone_in_the_meantime_is_asked_about_again(rig, folder, free):
    free(WHOLE // 2)
    rig.open(folder)
    dialog = question(rig)
    free(WHOLE // 4)
    answer(rig, dialog)
    QApplication.sendPostedEvents(None, 52)  # deferred deletion of the first question
    dialog = question(rig)
    assert dialog.open_button.text() == "Open every 2nd slice (3 of 6)"
    answer(rig, dialog)
    assert rig.state.case.volume.slices == 3
    assert rig.state.case.volume.title.endswith(" mm, every 4th slice")


def test_no_title_in_privacy_mode(rig, folder, free):
    free(WHOLE // 2)
    rig.commands.privacy.trigger()
    rig.open(folder)
    dialog = question(rig)
    assert dialog.text.text().startswith("The series needs")
    answer(rig, dialog, accept=False)
