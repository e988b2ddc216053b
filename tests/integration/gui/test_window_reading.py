"""The window over the real readers: DICOM, NIfTI and pictures, with a reference mask."""

from dataclasses import replace

import numpy as np
import pytest
from gui_fakes import FakeEngine
from PIL import Image
from PySide6.QtCore import Qt

from ctmasknet_gui.controller.ports import Reader
from model_core.export import write_lesions
from model_core.phantom import make_phantom, write_dicom


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(slices=8, size=96)


@pytest.fixture
def rig(make_app):
    return make_app(engine=FakeEngine(), reader=Reader())


def test_dicom_series_with_its_reference_mask(rig, phantom, tmp_path):
    volume, labels = phantom
    folder = tmp_path / "Zoë's CT"
    write_dicom(volume, folder)
    rig.drop(rig.viewport, folder)
    rig.settle()
    assert rig.texts == []
    opened = rig.state.case.volume
    assert np.array_equal(opened.voxels, volume.voxels)
    assert not rig.window.series.list.item(0).data(Qt.ItemDataRole.DecorationRole).isNull()
    mask = tmp_path / "reference.nii.gz"
    write_lesions(mask, opened, labels)
    rig.window.use.open_reference(mask)
    rig.settle()
    assert rig.texts == []
    assert np.array_equal(rig.state.case.reference, labels)
    shown = bytes(rig.viewport.grab().toImage().constBits())
    rig.controllers.display.show_slice(int(labels.any(axis=(1, 2)).argmax()))
    rig.commands.reference.trigger()
    without = rig.viewport.grab().toImage()
    rig.commands.reference.trigger()
    assert bytes(rig.viewport.grab().toImage().constBits()) != bytes(without.constBits())
    assert shown


def test_mask_of_another_series_is_refused_in_words(rig, phantom, tmp_path):
    volume, _ = phantom
    write_dicom(volume, tmp_path / "ct")
    rig.open(tmp_path / "ct")
    other, labels = make_phantom(slices=5, size=64)
    elsewhere = replace(other.geometry, origin_mm=(9000.0, 9000.0, 9000.0))
    write_lesions(tmp_path / "other.nii.gz", replace(other, geometry=elsewhere), labels)
    rig.window.use.open_reference(tmp_path / "other.nii.gz")
    rig.settle()
    assert rig.state.case.reference is None
    assert rig.window.message_bar.isVisible()


def test_folder_of_pictures(rig, tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in (1, 2, 10):
        Image.fromarray(np.full((40, 50), number * 20, np.uint8)).save(folder / f"s{number}.png")
    rig.open(folder)
    volume = rig.state.case.volume
    assert volume.unit == "grey"
    assert [int(plane.max()) for plane in volume.voxels] == [20, 40, 200]
    assert rig.state.display.window.width > 0


def test_damaged_files_are_named_by_reason(rig, tmp_path):
    folder = tmp_path / "damaged"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    (folder / "b.nii.gz").write_bytes(b"\x1f\x8b nothing")
    rig.open(folder)
    assert rig.state.case.volume is None
    assert rig.window.message_bar.isVisible()
    assert str(tmp_path) not in rig.window.message_bar.details.toPlainText()
