"""A written phantom is a valid CT series that the reader gives back voxel by voxel."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest

from model_core.base.errors import ExportError, SettingsError
from model_core.base.geometry import Geometry
from model_core.base.jobs import finish
from model_core.phantom import make_phantom, write_dicom
from model_core.read import load, scan

REQUIRED = [
    "SOPClassUID",
    "SOPInstanceUID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "FrameOfReferenceUID",
    "Modality",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyDate",
    "StudyTime",
    "ReferringPhysicianName",
    "StudyID",
    "AccessionNumber",
    "SeriesNumber",
    "Manufacturer",
    "ImageType",
    "InstanceNumber",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "SliceThickness",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "RescaleIntercept",
    "RescaleSlope",
    "KVP",
    "AcquisitionNumber",
    "PositionReferenceIndicator",
]


@pytest.fixture(scope="module")
def volume():
    return make_phantom(6, 48)[0]


def test_round_trip_through_the_reader(volume, tmp_path):
    files = write_dicom(volume, tmp_path / "series")
    assert len(files) == volume.slices
    catalogue = finish(scan(tmp_path / "series"))[-1]
    assert [entry.size for entry in catalogue.series] == [(6, 48, 48)]
    entry = catalogue.series[0]
    assert entry.problems == ()
    read = finish(load(entry))[-1]
    assert np.array_equal(read.voxels, volume.voxels)
    assert read.unit == "HU"
    assert read.plane == "axial"
    assert read.geometry.spacing_mm == pytest.approx(volume.geometry.spacing_mm)
    assert read.geometry.origin_mm == pytest.approx(volume.geometry.origin_mm, abs=1e-4)
    assert np.allclose(read.geometry.axes, volume.geometry.axes)
    assert np.allclose(read.slice_positions_mm, volume.slice_positions_mm, atol=1e-4)
    assert [(window.width, window.level) for window in read.windows] == [(1500, -600), (400, 40)]


def test_files_shuffled_by_name_are_put_in_order(volume, tmp_path):
    files = write_dicom(volume, tmp_path)
    for file, name in zip(files, ("d", "a", "f", "c", "b", "e"), strict=True):
        file.rename(tmp_path / f"{name}.dcm")
    read = finish(load(finish(scan(tmp_path))[-1].series[0]))[-1]
    assert np.array_equal(read.voxels, volume.voxels)


def test_writing_twice_gives_equal_files(volume, tmp_path):
    first, second = write_dicom(volume, tmp_path / "a"), write_dicom(volume, tmp_path / "b")
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]


def test_attributes_of_the_ct_image_iod(volume, tmp_path):
    """Type 1 and 2 attributes of PS3.3 A.3, and values that fit their VR."""
    items = [pydicom.dcmread(file) for file in write_dicom(volume, tmp_path)]
    for item in items:
        assert [name for name in REQUIRED if name not in item] == []
        assert item.Modality == "CT"
        assert item.file_meta.MediaStorageSOPInstanceUID == item.SOPInstanceUID
        assert all(len(str(value)) <= 16 for value in item.ImagePositionPatient)
        assert all(len(str(value)) <= 16 for value in item.PixelSpacing)
        assert pydicom.uid.UID(item.SOPInstanceUID).is_valid
        assert len(item.SOPInstanceUID) <= 64
    assert len({item.SOPInstanceUID for item in items}) == len(items)
    assert len({item.SeriesInstanceUID for item in items}) == 1
    assert "PHANTOM" in str(items[0].PatientName)


def test_extreme_hu_survive(volume, tmp_path):
    voxels = volume.voxels.copy()
    voxels[0, 0, :2] = (-1024, 3071)
    voxels[1, 0, :2] = (-2048, 30000)
    write_dicom(replace(volume, voxels=voxels), tmp_path)
    read = finish(load(finish(scan(tmp_path))[-1].series[0]))[-1]
    assert np.array_equal(read.voxels, voxels)


@pytest.mark.parametrize(
    "changes",
    [
        {"unit": "grey"},
        {"geometry": Geometry()},
        {"geometry": Geometry(spacing_mm=(None, 1.0, 1.0), origin_mm=(0.0, 0.0, 0.0), axes=np.eye(3))},
    ],
)
def test_a_volume_without_hu_or_geometry_is_refused(volume, tmp_path, changes):
    with pytest.raises(SettingsError, match="can be written as DICOM"):
        write_dicom(replace(volume, **changes), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_values_that_do_not_fit_are_refused_instead_of_clipped(volume, tmp_path):
    voxels = volume.voxels.copy()
    voxels[2, 3, 4] = 32000
    with pytest.raises(SettingsError, match="32000 HU"):
        write_dicom(replace(volume, voxels=voxels), tmp_path)


def test_a_folder_that_is_a_file_is_reported(volume, tmp_path):
    target = tmp_path / "taken"
    target.write_text("x")
    with pytest.raises(ExportError, match="cannot be written"):
        write_dicom(volume, target)
