"""Masks and images told apart, and DICOM segmentations on the grid of their series."""

import numpy as np
import pytest
import SimpleITK
from dicom_files import along_z, segmentation, write, write_stack
from PIL import Image

from model_core.base.errors import ReadError
from model_core.base.jobs import finish
from model_core.phantom import make_phantom
from model_core.read import load, mask_for, masks_among, read_labels, scan

SLICES = 6
SHAPE = (3, 4)


def series(folder):
    return finish(scan(folder))[-1].series


def opened(folder):
    entry = next(entry for entry in series(folder) if entry.modality == "CT")
    return finish(load(entry))[-1]


@pytest.fixture
def case(tmp_path):
    write_stack(tmp_path / "ct", along_z(SLICES))
    return tmp_path


def drawn(volume):
    """A mask of two slices, in the order of the files; foot to head, so the display order is turned."""
    mask = np.zeros((SLICES, *SHAPE), np.uint8)
    mask[1, 0, 1] = mask[1, 2, 3] = mask[4, 1, 0] = 1
    shown = np.zeros(volume.voxels.shape, np.uint8)
    shown[:] = mask[::-1]
    return mask, shown


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_a_segmentation_lies_where_it_was_drawn(case, kind):
    volume = opened(case / "ct")
    mask, shown = drawn(volume)
    values = {"BINARY": mask, "FRACTIONAL": mask * 100, "LABELMAP": mask * 7}[kind]
    segmentation(values, along_z(SLICES), kind=kind).save_as(case / "seg.dcm", enforce_file_format=True)
    expected = shown * 7 if kind == "LABELMAP" else shown
    np.testing.assert_array_equal(read_labels(case / "seg.dcm", volume), expected)


def test_frames_that_say_less_than_half_are_background(case):
    volume = opened(case / "ct")
    values = np.full((1, *SHAPE), 99, np.uint8)
    values[0, 1, 2] = 100
    item = segmentation(values, along_z(1), kind="FRACTIONAL")
    item.save_as(case / "seg.dcm", enforce_file_format=True)
    labels = read_labels(case / "seg.dcm", volume)
    assert labels.sum() == 1
    assert labels[-1, 1, 2] == 1


def test_sparse_frames_in_any_order_and_several_segments(case):
    volume = opened(case / "ct")
    places = along_z(SLICES)
    masks = np.zeros((3, *SHAPE), np.uint8)
    masks[0, 0, 0] = masks[1, 1, 1] = masks[2, 2, 2] = 1
    item = segmentation(masks, [places[4], places[1], places[4]], segments=[1, 2, 3])
    item.save_as(case / "seg.dcm", enforce_file_format=True)
    labels = read_labels(case / "seg.dcm", volume)
    at_four, at_one = labels[SLICES - 1 - 4], labels[SLICES - 1 - 1]
    assert (at_four[0, 0], at_four[2, 2], at_one[1, 1]) == (1, 3, 2)
    assert np.count_nonzero(labels) == 3


def test_a_segmentation_of_another_series_is_refused(case):
    volume = opened(case / "ct")
    item = segmentation(np.ones((1, *SHAPE)), along_z(1), refers_to="1.2.3.4")
    item.save_as(case / "seg.dcm", enforce_file_format=True)
    with pytest.raises(ReadError, match=r"'seg\.dcm' is a segmentation of another series"):
        read_labels(case / "seg.dcm", volume)
    catalogue = finish(scan(case / "seg.dcm"))[-1]
    assert masks_among(catalogue) == {catalogue.series[0].series_id}
    with pytest.raises(ReadError, match="another series"):
        mask_for(catalogue.series[0], volume)


def test_a_segmentation_elsewhere_or_in_other_planes_is_refused(case):
    volume = opened(case / "ct")
    item = segmentation(np.ones((1, *SHAPE)), along_z(1, start=500.0))
    item.save_as(case / "far.dcm", enforce_file_format=True)
    with pytest.raises(ReadError, match="elsewhere in the patient"):
        read_labels(case / "far.dcm", volume)
    item = segmentation(np.ones((1, *SHAPE)), along_z(1))
    shared = item.SharedFunctionalGroupsSequence[0]
    shared.PlaneOrientationSequence[0].ImageOrientationPatient = [1, 0, 0, 0, 0, -1]
    item.save_as(case / "coronal.dcm", enforce_file_format=True)
    with pytest.raises(ReadError, match="other planes"):
        read_labels(case / "coronal.dcm", volume)


def test_a_ct_image_is_no_segmentation(case):
    volume = opened(case / "ct")
    with pytest.raises(ReadError, match="is a DICOM image, not a segmentation"):
        read_labels(case / "ct" / "000.dcm", volume)


def test_a_tilted_stack_takes_its_segmentation_slice_by_slice(tmp_path):
    places = [(-10.0, -20.0 + 0.5 * k, 2.0 * k) for k in range(SLICES)]  # shifted by a row per slice
    write_stack(tmp_path / "ct", places)
    volume = opened(tmp_path / "ct")
    assert volume.geometry.sheared
    mask, shown = drawn(volume)
    segmentation(mask, places).save_as(tmp_path / "seg.dcm", enforce_file_format=True)
    np.testing.assert_array_equal(read_labels(tmp_path / "seg.dcm", volume), shown)


# ----------------------------------------------------------------------------------- masks and images


@pytest.fixture(scope="module")
def phantom():
    return make_phantom(slices=6, size=64)


def written(volume, values, path):
    image = SimpleITK.GetImageFromArray(volume.geometry.to_native(values))
    image.SetSpacing((1.0, 1.0, 5.0))
    SimpleITK.WriteImage(image, str(path))
    return path


def masks_in(path, **beside):
    catalogue = finish(scan(path))[-1]
    masks = masks_among(catalogue, **beside)
    return sorted(e.files[0].rsplit("/", 1)[-1] for e in catalogue.series if e.series_id in masks)


@pytest.mark.parametrize("name", ["m.nii.gz", "m.nrrd", "m.mha"])
def test_label_volumes_are_masks_and_images_are_none(tmp_path, phantom, name):
    volume, labels = phantom
    written(volume, labels, tmp_path / name)
    written(volume, volume.voxels, tmp_path / f"ct-{name}")
    grey = np.clip((volume.voxels.astype(int) + 1350) * 255 // 1500, 0, 255).astype(np.uint8)
    written(volume, grey, tmp_path / f"grey-{name}")
    assert masks_in(tmp_path) == [name]


def test_a_mask_fits_its_own_grid_only(tmp_path, phantom):
    volume, labels = phantom
    written(volume, volume.voxels, tmp_path / "ct.nii")
    written(volume, labels, tmp_path / "mask.nii")
    written(volume, labels[:, :32], tmp_path / "part.nii")
    by_name = {entry.files[0].rsplit("/", 1)[-1]: entry for entry in series(tmp_path)}
    ct = finish(load(by_name["ct.nii"]))[-1]
    found = mask_for(by_name["mask.nii"], ct)
    assert np.count_nonzero(found) == np.count_nonzero(labels)
    assert masks_in(tmp_path) == ["mask.nii"], "no image here has the size of the part"
    assert masks_in(tmp_path / "part.nii") == []
    assert masks_in(tmp_path / "part.nii", volume=ct) == ["part.nii"]


def test_a_mask_of_another_size_without_a_place_is_refused(tmp_path, phantom):
    volume, labels = phantom
    for folder, picture in (("images", volume.voxels[0] > -500), ("masks", labels[0, :32] > 0)):
        (tmp_path / folder).mkdir()
        Image.fromarray((picture * 200).astype(np.uint8)).save(tmp_path / folder / "a.png")
    by_size = {entry.size: entry for entry in series(tmp_path)}
    with pytest.raises(ReadError, match="64 x 32 pixels"):
        mask_for(by_size[1, 32, 64], finish(load(by_size[1, 64, 64]))[-1])


def test_mask_pictures_are_masks_and_slices_are_none(tmp_path, phantom):
    volume, labels = phantom
    grey = np.clip((volume.voxels.astype(int) + 1350) * 255 // 1500, 0, 255).astype(np.uint8)
    for folder, pictures in (("images", grey), ("masks", labels)):
        (tmp_path / folder).mkdir()
        for index, picture in enumerate(pictures):
            Image.fromarray(picture).save(tmp_path / folder / f"{index:02d}.png")
    images, masks = sorted(series(tmp_path), key=lambda entry: entry.title)
    assert masks_among(finish(scan(tmp_path))[-1]) == {masks.series_id}
    found = mask_for(masks, finish(load(images))[-1])
    np.testing.assert_array_equal(found, labels)


def test_series_of_dicom_images_are_no_masks(tmp_path):
    write(tmp_path / "a.dcm", np.zeros((8, 8), np.int16))
    catalogue = finish(scan(tmp_path))[-1]
    assert masks_among(catalogue, volume=finish(load(catalogue.series[0]))[-1]) == frozenset()
