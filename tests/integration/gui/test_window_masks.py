"""A mask that is dropped, picked or found beside its series is offered as reference mask."""

import shutil
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_files import segmentation
from PIL import Image

from ctmasknet_gui.controller.ports import Reader
from ctmasknet_gui.view.questions import MaskDialog
from model_core.phantom import make_phantom, write_dicom

SLICES = 5


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A CT, and its lesions as DICOM SEG and NIfTI, each in a folder of its own."""
    root = tmp_path_factory.mktemp("made")
    volume, labels = make_phantom(slices=SLICES, size=48)
    paths = write_dicom(volume, root / "ct")
    items = sorted(map(pydicom.dcmread, paths), key=lambda item: item.ImagePositionPatient[2])
    native = volume.geometry.to_native(labels)
    for folder, refers_to in (("seg", items[0].SeriesInstanceUID), ("other", "1.2.3")):
        seg = segmentation(native > 0, [i.ImagePositionPatient for i in items], refers_to=refers_to)
        shared = seg.SharedFunctionalGroupsSequence[0]
        shared.PlaneOrientationSequence[0].ImageOrientationPatient = items[0].ImageOrientationPatient
        shared.PixelMeasuresSequence[0].PixelSpacing = items[0].PixelSpacing
        (root / folder).mkdir()
        seg.save_as(root / folder / "lesions.dcm", enforce_file_format=True)
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames([item.filename for item in items])
    mask = SimpleITK.GetImageFromArray(native.astype(np.uint8))
    mask.CopyInformation(reader.Execute())
    (root / "nifti").mkdir()
    SimpleITK.WriteImage(mask, str(root / "nifti" / "lesions.nii.gz"))
    (root / "pictures").mkdir()
    for item, picture in zip(reversed(items), labels, strict=True):  # the volume begins at the head
        Image.fromarray(picture * 100).save(root / "pictures" / f"{Path(item.filename).stem}.png")
    return root, labels > 0


@pytest.fixture
def rig(make_app, made):
    rig = make_app(reader=Reader())
    rig.open(made[0] / "ct")
    assert rig.state.case.volume.slices == SLICES
    return rig


def dialog(rig):
    found = [d for d in rig.window.findChildren(MaskDialog) if d.isVisible()]
    return found[0] if found else None


def drop(rig, *paths):
    rig.drop(rig.viewport, *paths)
    rig.settle()


@pytest.mark.parametrize("mask", ["seg", "seg/lesions.dcm", "nifti", "nifti/lesions.nii.gz", "pictures"])
def test_a_dropped_mask_is_asked_about_and_drawn_over_the_series(rig, made, mask):
    root, lesions = made
    volume = rig.state.case.volume
    drop(rig, root / mask)
    asked = dialog(rig)
    assert "fits the open series" in asked.text.text()
    assert asked.use_button.isDefault()
    asked.use_button.click()
    assert rig.state.case.volume is volume
    np.testing.assert_array_equal(rig.state.case.reference > 0, lesions)
    assert rig.state.display.reference


def test_a_dropped_mask_may_be_opened_as_a_series_or_left(rig, made):
    root, _ = made
    volume = rig.state.case.volume
    drop(rig, root / "nifti" / "lesions.nii.gz")
    dialog(rig).reject()
    assert rig.state.case.volume is volume
    assert rig.state.case.reference is None
    drop(rig, root / "nifti" / "lesions.nii.gz")
    dialog(rig).open_button.click()
    rig.settle()
    assert rig.state.case.volume.title.startswith("lesions")
    assert rig.state.case.reference is None


def test_a_mask_that_does_not_fit_says_why_and_does_nothing_by_default(rig, made):
    volume = rig.state.case.volume
    drop(rig, made[0] / "other")
    asked = dialog(rig)
    assert "does not fit the open series" in asked.text.text()
    assert "another series" in asked.note.text()
    assert not asked.use_button.isVisible()
    rig.qtbot.keyClick(asked, "\r")
    assert rig.state.case.volume is volume


def test_another_ct_opens_as_before(rig, made, tmp_path):
    volume, _ = make_phantom(slices=SLICES + 1, size=48, seed=1)
    write_dicom(volume, tmp_path / "next")
    drop(rig, tmp_path / "next")
    assert dialog(rig) is None
    assert rig.state.case.volume.slices == SLICES + 1


@pytest.mark.parametrize("mask", ["seg", "nifti"])
def test_a_folder_with_a_ct_and_its_mask_opens_the_ct_and_offers_the_mask(make_app, made, tmp_path, mask):
    root, lesions = made
    shutil.copytree(root / "ct", tmp_path / "both" / "ct")
    shutil.copytree(root / mask, tmp_path / "both" / "a mask")
    rig = make_app(reader=Reader())
    drop(rig, tmp_path / "both")
    assert rig.state.case.volume.slices == SLICES
    assert rig.state.case.volume.modality == "CT"
    bar = rig.window.message_bar
    rig.qtbot.waitUntil(lambda: bar.offer_button.isVisible())
    assert "is a mask of this series" in bar.text.text()
    bar.offer_button.click()
    rig.settle()
    np.testing.assert_array_equal(rig.state.case.reference > 0, lesions)
    assert rig.texts == []


def test_a_segmentation_of_another_series_beside_the_ct_is_not_offered(make_app, made, tmp_path):
    shutil.copytree(made[0] / "ct", tmp_path / "both" / "ct")
    shutil.copytree(made[0] / "other", tmp_path / "both" / "other")
    rig = make_app(reader=Reader())
    drop(rig, tmp_path / "both")
    assert rig.state.case.volume.modality == "CT"
    assert rig.texts == []
    # Picked from the list it is what the user wants to look at.
    seg = next(e for e in rig.state.case.catalogue.series if e.modality == "SEG")
    rig.window.use.open_series(seg.series_id)
    rig.settle()
    # While it is read there is none.
    rig.qtbot.waitUntil(lambda: getattr(rig.state.case.volume, "series_id", "") == seg.series_id)


def test_a_mask_picked_from_the_list_is_asked_about(make_app, made, tmp_path):
    shutil.copytree(made[0] / "ct", tmp_path / "both" / "ct")
    shutil.copytree(made[0] / "seg", tmp_path / "both" / "seg")
    rig = make_app(reader=Reader())
    drop(rig, tmp_path / "both")
    seg = next(e for e in rig.state.case.catalogue.series if e.modality == "SEG")
    rig.window.use.open_series(seg.series_id)
    rig.settle()
    dialog(rig).open_button.click()
    rig.settle()
    assert rig.state.case.volume.series_id == seg.series_id


def test_privacy_keeps_the_name_of_the_mask(rig, made):
    rig.commands.privacy.trigger()
    drop(rig, made[0] / "nifti" / "lesions.nii.gz")
    assert "lesions" not in dialog(rig).text.text()
