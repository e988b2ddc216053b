"""Dropping anything that holds images on any part of the window opens it, or the choice in it."""

import shutil
import zipfile

import numpy as np
import pydicom
import pytest
import SimpleITK
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage
from PySide6.QtCore import QMimeData, QPoint, QPointF, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent, QDragLeaveEvent, QDropEvent
from PySide6.QtWidgets import QApplication

from ctmasknet_gui.controller.ports import Reader
from model_core.phantom import make_phantom, write_dicom

SLICES = 5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Two series of one study, side by side in a folder."""
    root = tmp_path_factory.mktemp("made")
    for seed, name in enumerate(("one", "two")):
        volume, _ = make_phantom(slices=SLICES + seed, size=48, seed=seed)
        for path in write_dicom(volume, root / name):
            item = pydicom.dcmread(path)
            item.SeriesInstanceUID = f"2.25.{seed + 1}"
            item.save_as(path)
    return root


@pytest.fixture
def rig(make_app):
    return make_app(reader=Reader())


def drop(rig, widget, *paths, accepted=True):
    """Drop as Qt delivers it: entering finds the widget that takes it, however deep the mouse is."""
    data = QMimeData()
    data.setUrls([QUrl.fromLocalFile(str(path)) for path in paths])
    place, button, plain = QPoint(9, 9), Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
    entering = QDragEnterEvent(place, Qt.DropAction.CopyAction, data, button, plain)
    QApplication.sendEvent(widget, entering)
    assert entering.isAccepted() == accepted
    if accepted:
        dropping = QDropEvent(QPointF(place), Qt.DropAction.CopyAction, data, button, plain)
        QApplication.sendEvent(widget, dropping)
        assert dropping.isAccepted()
    else:
        QApplication.sendEvent(widget, QDragLeaveEvent())
    rig.settle()


def listed(rig):
    series = rig.window.series.list
    items = (series.item(row) for row in range(series.count()))
    return [item.text() for item in items if item.flags() & Qt.ItemFlag.ItemIsSelectable]


@pytest.mark.parametrize(
    "where",
    [
        lambda window: window,
        lambda window: window.viewport,
        lambda window: window.viewport.empty,
        lambda window: window.series.list.viewport(),
        lambda window: window.explanation,
        lambda window: window.tool_bar,
        lambda window: window.menuBar(),
    ],
    ids=["window", "slice", "invitation", "series list", "explanation", "tool bar", "menu bar"],
)
def test_a_folder_dropped_anywhere(rig, made, where):
    drop(rig, where(rig.window), made / "one")
    assert rig.state.case.volume.slices == SLICES
    assert rig.texts == []


def test_a_folder_of_two_series_is_a_choice(rig, made):
    drop(rig, rig.viewport, made)
    assert rig.state.case.volume is None
    assert len(listed(rig)) == 2
    assert "Choose a series" in rig.viewport.empty.text


@pytest.mark.parametrize(("first", "second"), [("one", "two"), ("two", "one")])
def test_of_two_folders_the_first_opens_and_both_are_listed(rig, made, first, second):
    drop(rig, rig.viewport, made / first, made / second)
    assert rig.state.case.volume.slices == SLICES + ("one", "two").index(first)
    assert len(listed(rig)) == 2


def test_of_a_folder_of_two_series_and_another_one_the_user_picks(rig, made, tmp_path):
    shutil.copytree(made / "one", tmp_path / "three")
    for path in (tmp_path / "three").iterdir():
        item = pydicom.dcmread(path)
        item.SeriesInstanceUID = "2.25.3"
        item.save_as(path)
    drop(rig, rig.viewport, made, tmp_path / "three")
    assert rig.state.case.volume is None
    assert len(listed(rig)) == 3


def test_one_file_opens_its_series(rig, made):
    drop(rig, rig.viewport, sorted((made / "two").iterdir())[2])
    assert rig.state.case.volume.slices == SLICES + 1
    assert len(listed(rig)) == 1


def test_some_files_of_a_series_open_it(rig, made):
    drop(rig, rig.viewport, *sorted((made / "one").iterdir())[:3])
    assert rig.state.case.volume.slices == SLICES


def test_of_files_of_two_folders_the_first_opens(rig, made):
    drop(rig, rig.viewport, *(sorted((made / name).iterdir())[0] for name in ("two", "one")))
    assert rig.state.case.volume.slices == SLICES + 1
    assert len(listed(rig)) == 2


def test_two_files_of_one_series_in_two_folders_are_one_series(rig, made, tmp_path):
    for number, path in enumerate(sorted((made / "one").iterdir())):
        target = tmp_path / ("left" if number % 2 else "right")
        target.mkdir(exist_ok=True)
        shutil.copy(path, target)
    drop(rig, rig.viewport, tmp_path / "left", tmp_path / "right")
    assert len(listed(rig)) == 1
    assert rig.state.case.volume.slices == SLICES


def test_the_same_folder_twice_is_one_series(rig, made):
    drop(rig, rig.viewport, made / "one", made / "one")
    assert len(listed(rig)) == 1
    assert rig.state.case.volume.slices == SLICES


def test_a_zip(rig, made, tmp_path):
    archive = tmp_path / "any.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in (made / "one").iterdir():
            packed.write(path, f"study/{path.name}")
    drop(rig, rig.viewport, archive)
    assert rig.state.case.volume.slices == SLICES
    assert rig.settings.recent == (archive,)


def test_a_zip_of_two_series_is_a_choice_that_opens(rig, made, tmp_path):
    archive = shutil.make_archive(str(tmp_path / "both"), "zip", made)
    drop(rig, rig.viewport, archive)
    assert len(listed(rig)) == 2
    rig.window.use.open_series(rig.state.case.catalogue.series[0].series_id)
    rig.settle()
    assert rig.state.case.volume is not None


def test_a_dicomdir_opens_its_folder(rig, made, tmp_path):
    shutil.copytree(made / "one", tmp_path / "IMAGES")
    index = Dataset()
    index.file_meta = FileMetaDataset()
    index.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    index.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    index.file_meta.MediaStorageSOPInstanceUID = "2.25.9"
    index.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    drop(rig, rig.viewport, tmp_path / "DICOMDIR")
    assert rig.state.case.volume.slices == SLICES


def test_a_nifti(rig, tmp_path):
    image = SimpleITK.GetImageFromArray(np.full((SLICES, 8, 9), -800, np.int16))
    SimpleITK.WriteImage(image, str(tmp_path / "v.nii.gz"))
    drop(rig, rig.viewport, tmp_path / "v.nii.gz")
    assert rig.state.case.volume.voxels.shape == (SLICES, 8, 9)


def test_a_nifti_with_a_folder_is_a_choice(rig, made, tmp_path):
    image = SimpleITK.GetImageFromArray(np.full((SLICES, 8, 9), -800, np.int16))
    SimpleITK.WriteImage(image, str(tmp_path / "v.nii.gz"))
    drop(rig, rig.viewport, tmp_path / "v.nii.gz", made / "one")
    assert len(listed(rig)) == 2


def test_something_without_images_says_so_and_keeps_what_is_open(rig, made, tmp_path):
    drop(rig, rig.viewport, made / "one")
    volume = rig.state.case.volume
    (tmp_path / "notes.txt").write_text("nothing")
    drop(rig, rig.viewport, tmp_path / "notes.txt")
    assert rig.state.case.volume is volume
    assert "'notes.txt' cannot be opened" in rig.texts[-1]


def test_one_of_two_without_images_does_not_stop_the_other(rig, made, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    drop(rig, rig.viewport, tmp_path / "notes.txt", made / "one")
    assert rig.state.case.volume.slices == SLICES
    assert "notes.txt" in rig.texts[-1]


def test_links_of_a_browser_are_not_taken(rig):
    data = QMimeData()
    data.setUrls([QUrl("https://example.org/scan.zip")])
    entering = QDragEnterEvent(
        QPoint(9, 9),
        Qt.DropAction.CopyAction,
        data,
        Qt.MouseButton.LeftButton,
        Qt.KeyboardModifier.NoModifier,
    )
    QApplication.sendEvent(rig.viewport, entering)
    assert not entering.isAccepted()


def test_the_empty_window_and_the_dialog_name_what_opens(rig, monkeypatch):
    from PySide6.QtWidgets import QFileDialog

    for word in ("DICOM", "ZIP", "DICOMDIR", "NIfTI", "NRRD", "MHA", "PNG", "JPEG"):
        assert word in rig.viewport.empty.text, word
    asked = []
    monkeypatch.setattr(
        QFileDialog, "getOpenFileNames", lambda *args, **_: (asked.append(args[3]), ([], ""))[1]
    )
    rig.commands.open_file.trigger()
    for pattern in ("*.zip", "DICOMDIR", "*.dcm", "*.nii.gz", "*.nrrd", "*.mha", "*.png", "*.jpg"):
        assert pattern in asked[0], pattern
