"""In privacy mode no warning of the window names a file or folder: the names may be those of patients."""

import re
import shutil

import pytest
from dicom_files import along_z, write_stack
from gui_fakes import FakeEngine
from PySide6.QtCore import Qt
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import QApplication, QLabel, QMessageBox, QPlainTextEdit

from ctmasknet_gui.controller.ports import Reader
from ctmasknet_gui.state.requests import ExportRequest

NAMES = [f"DOE JANE {index}.dcm" for index in range(6)]


def words(rig):
    """Everything that the window says of the case, seen, in tips, or read aloud."""
    window = rig.window
    lists = (window.series.list, window.series.problems)
    roles = Qt.ItemDataRole
    told = [
        str(listed.item(row).data(role) or "")
        for listed in lists
        for row in range(listed.count())
        for role in (roles.DisplayRole, roles.ToolTipRole, roles.AccessibleTextRole)
    ]
    told += [label.text() for label in window.findChildren(QLabel)]
    told += [edit.toPlainText() for edit in window.findChildren(QPlainTextEdit)]
    bar = window.message_bar
    bar.copy_button.click()
    told += [bar.accessibleName(), QGuiApplication.clipboard().text(), window.windowTitle()]
    return "\n".join(told)


@pytest.fixture
def rig(make_app):
    return make_app(engine=FakeEngine(), reader=Reader())


@pytest.fixture
def uneven(tmp_path):
    """A series with a gap, a copy and a damaged file, all named after the patient."""
    folder = tmp_path / "DOE^JANE"
    positions = [*along_z(4), (-10.0, -20.0, 11.0), (-10.0, -20.0, 13.0)]
    paths = write_stack(folder, positions, names=NAMES)
    shutil.copy(paths[1], folder / "DOE COPY.dcm")
    (folder / "DOE BROKEN.dcm").write_bytes(paths[2].read_bytes()[:400])
    return folder


def test_warnings_name_files_by_number_in_privacy_mode(rig, uneven):
    rig.open(uneven)
    assert rig.state.case.volume.slices == 6
    before = words(rig)
    assert "DOE JANE" in before
    rig.commands.privacy.trigger()
    QApplication.processEvents()
    said = words(rig)
    assert "DOE" not in said
    assert "JANE" not in said
    assert "file 3 of 8" in said or "of 8" in said
    assert "Slices are not evenly spaced: 2.00 mm between file " in said
    rig.commands.privacy.trigger()
    assert words(rig) == before


@pytest.mark.parametrize("name", ["DOE JANE 1961", "Doe_Jane", "doe", "DOE_JANE"])
def test_folders_that_hold_nothing_are_not_named(rig, tmp_path, name):
    rig.commands.privacy.trigger()
    for path, said in ((tmp_path / name, "Not found"), (tmp_path / "DOE" / name, "empty")):
        if said == "empty":
            path.mkdir(parents=True)
        rig.open(path)
        assert rig.window.message_bar.isVisible()
        assert said in words(rig)
        assert name.lower() not in words(rig).lower()
        assert "'the folder'" not in words(rig), "what stands for a name is none"
        assert "Privacy mode" in rig.viewport.empty.text


def test_targets_of_exports_are_not_named(rig, uneven, tmp_path, monkeypatch):
    rig.open(uneven)
    rig.commands.privacy.trigger()
    target = tmp_path / "JANE DOE.png"
    asked = []
    monkeypatch.setattr(QMessageBox, "question", lambda *words: asked.append(words[2]) or words[4])
    for _ in range(2):  # the second asks whether to replace the first
        rig.window.use.export(ExportRequest(kind="png", target=target))
        rig.settle()
    assert target.exists()
    assert "is written to" in rig.window.message_bar.text.text()
    assert "DOE" not in words(rig)
    assert asked == ["A file exists already. Replace it?"]


def test_a_folder_called_like_a_word_leaves_the_sentence_as_it_is(rig, uneven, tmp_path):
    rig.open(uneven)
    rig.run_slice()
    rig.commands.privacy.trigger()
    rig.window.use.export(ExportRequest(kind="plots", target=tmp_path / "plots"))
    rig.settle()
    assert re.fullmatch(r"\d+ plots are written to plots\.", rig.window.message_bar.text.text())


def test_what_the_files_say_of_the_patient_is_told_in_no_form(rig, tmp_path):
    """The name as the reader gives it, of every patient of the folder, opened or not."""
    write_stack(tmp_path / "a", along_z(3), PatientName="Doe^Jane^Mary", PatientID="4711-99")
    write_stack(tmp_path / "b", along_z(2), PatientName="Roe^Richard", SeriesInstanceUID="1.2.3")
    rig.open(tmp_path)
    rig.window.use.open_series(rig.state.case.catalogue.series[0].series_id)
    rig.settle()
    assert rig.state.case.volume.patient.name == "Doe^Jane^Mary"
    assert "Doe, Jane Mary" in rig.viewport.corners.text
    said = "Doe^Jane^Mary, Doe Jane, Mary and Roe, Richard (4711-99) cannot be written."
    rig.controllers.messages.post("error", said, said)
    assert "Mary" in rig.window.message_bar.text.text()
    assert "Mary" not in rig.window.message_bar.details.toPlainText()
    rig.commands.privacy.trigger()
    QApplication.processEvents()
    for word in ("Doe", "Jane", "Mary", "Roe", "Richard", "4711"):
        assert word not in words(rig) + rig.viewport.corners.text
    assert "cannot be written." in words(rig)


def test_a_path_that_holds_nothing_is_not_named(rig, tmp_path):
    rig.commands.privacy.trigger()
    path = tmp_path / "DOE JANE.dcm"
    path.write_bytes(b"nothing of the kind")
    rig.open(path)
    assert rig.window.message_bar.isVisible()
    assert "DOE" not in words(rig)
