"""The lesion mask lies on the series for any reader that knows the file's geometry."""

import numpy as np
import pydicom
import pytest
import SimpleITK

from model_core.base.errors import ExportError
from model_core.base.geometry import Geometry
from model_core.base.jobs import finish
from model_core.base.volume import Volume
from model_core.export import write_lesions
from model_core.phantom import write_dicom
from model_core.read import load, read_labels, scan

TILT = np.deg2rad(12)
ORIENTATIONS = {  # row direction, column direction; slices along +normal or -normal
    "axial": ((1, 0, 0), (0, 1, 0)),
    "axial flipped rows": ((1, 0, 0), (0, -1, 0)),
    "axial flipped columns": ((-1, 0, 0), (0, 1, 0)),
    "axial both": ((-1, 0, 0), (0, -1, 0)),
    "axial turned": ((0, 1, 0), (1, 0, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "coronal upside down": ((-1, 0, 0), (0, 0, 1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "sagittal flipped": ((0, -1, 0), (0, 0, -1)),
    "oblique": ((1, 0, 0), (0, float(np.cos(TILT)), float(np.sin(TILT)))),
}


def series(folder, row, column, sign):
    """A series as a scanner would write it, whose voxel values are all different."""
    row, column = np.array(row, float), np.array(column, float)
    axes = np.array([sign * np.cross(row, column), column, row])
    voxels = (np.arange(5 * 12 * 10) - 300).astype(np.int16).reshape(5, 12, 10)
    geometry = Geometry((2.5, 0.7, 0.9), (-31.5, 12.25, 104.75), axes)
    write_dicom(Volume("test", "Test", voxels, geometry), folder)
    entry = finish(scan(folder))[-1].series[0]
    return finish(load(entry))[-1]


def by_simpleitk(folder):
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder))
    return SimpleITK.ReadImage(names)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("name", ORIENTATIONS)
def test_mask_has_the_physical_points_of_the_series(tmp_path, name, sign):
    volume = series(tmp_path / "dicom", *ORIENTATIONS[name], sign)
    labels = ((volume.voxels > -100) * 1 + (volume.voxels > 100) * 1).astype(np.uint8)
    assert write_lesions(tmp_path / "m.nii.gz", volume, labels) == ()
    mask, image = SimpleITK.ReadImage(str(tmp_path / "m.nii.gz")), by_simpleitk(tmp_path / "dicom")
    assert mask.GetSize() == image.GetSize()
    for corner in np.ndindex(2, 2, 2):
        index = [int(c * (n - 1)) for c, n in zip(corner, image.GetSize(), strict=True)]
        expected = image.TransformIndexToPhysicalPoint(index)
        assert mask.TransformIndexToPhysicalPoint(index) == pytest.approx(expected, abs=1e-3)
    values = SimpleITK.GetArrayFromImage(image)
    assert np.array_equal(SimpleITK.GetArrayFromImage(mask), (values > -100) * 1 + (values > 100) * 1)
    assert np.array_equal(read_labels(tmp_path / "m.nii.gz", volume), labels)


def test_series_from_a_volume_file(tmp_path):
    image = SimpleITK.GetImageFromArray((np.arange(4 * 6 * 8) * 3).astype(np.int16).reshape(4, 6, 8))
    image.SetSpacing((0.8, 0.9, 3.0))
    image.SetOrigin((5.0, -7.0, 11.0))
    image.SetDirection((0, 0, 1, -1, 0, 0, 0, -1, 0))
    SimpleITK.WriteImage(image, str(tmp_path / "v.nii.gz"))
    volume = finish(load(finish(scan(tmp_path / "v.nii.gz"))[-1].series[0]))[-1]
    write_lesions(tmp_path / "m.nii", volume, (volume.voxels > 200).astype(np.uint8))
    mask = SimpleITK.ReadImage(str(tmp_path / "m.nii"))
    assert np.array_equal(SimpleITK.GetArrayFromImage(mask), SimpleITK.GetArrayFromImage(image) > 200)
    for index in ((0, 0, 0), (7, 5, 3)):
        expected = image.TransformIndexToPhysicalPoint(index)
        assert mask.TransformIndexToPhysicalPoint(index) == pytest.approx(expected, abs=1e-3)


def test_unknown_geometry_is_written_by_index_and_said(tmp_path, make_volume):
    volume = make_volume(spacing=(None, None, None))
    labels = np.zeros(volume.voxels.shape, np.uint8)
    labels[0, 3, 4] = 2
    blind = Volume("s", "t", volume.voxels, Geometry(native_flips=(True, False, False)))
    problems = write_lesions(tmp_path / "m.nii.gz", blind, labels)
    assert {problem.level for problem in problems} == {"warning"}
    assert any("by index only" in problem.action for problem in problems)
    mask = SimpleITK.ReadImage(str(tmp_path / "m.nii.gz"))
    assert mask.GetSpacing() == (1.0, 1.0, 1.0)
    assert mask.GetOrigin() == (0.0, 0.0, 0.0)
    assert mask.GetPixel(4, 3, 2) == 2


def test_uneven_slices_use_their_mean_distance_and_say_so(tmp_path, make_volume):
    positions = np.array([30.0, 27.0, 22.0])
    volume = make_volume(spacing=(None, 0.7, 0.7), slice_positions_mm=positions)
    problems = write_lesions(tmp_path / "m.nii.gz", volume, np.zeros(volume.voxels.shape, np.uint8))
    assert "4.000 mm" in problems[0].action
    assert SimpleITK.ReadImage(str(tmp_path / "m.nii.gz")).GetSpacing() == pytest.approx((0.7, 0.7, 4.0))


@pytest.mark.parametrize("even", [True, False])
@pytest.mark.parametrize("sign", [1, -1])
def test_tilted_stack_gets_the_grid_of_simpleitk(tmp_path, sign, even):
    column = np.array([0.0, np.cos(TILT), -np.sin(TILT)])
    normal = np.cross([1.0, 0.0, 0.0], column)
    heights = np.array([0.0, 3.0, 6.0, 9.0, 12.0 if even else 16.0])
    origins = np.array([[-31.5, 12.25, 104.75]]) + np.outer(heights, [0.0, 0.0, 1.0])
    rng = np.random.default_rng(1)
    native = rng.integers(-300, 300, (5, 12, 10)).astype(np.int16)
    for index in range(5):
        geometry = Geometry((1.0, 0.7, 0.9), tuple(origins[index]), np.array([normal, column, [1.0, 0, 0]]))
        volume = Volume("test", "Test", native[index : index + 1], geometry)
        (written,) = write_dicom(volume, tmp_path / str(index))
        renamed = pydicom.dcmread(written)
        renamed.SOPInstanceUID = renamed.file_meta.MediaStorageSOPInstanceUID = f"2.25.{index + 1}"
        (tmp_path / "dicom").mkdir(exist_ok=True)
        renamed.save_as(tmp_path / "dicom" / f"{index}.dcm")
    # As displayed: head first for +1, feet first for -1.
    shown = slice(None, None, -sign)
    flips = (sign == 1, False, False)
    ends = origins[shown]
    geometry = Geometry(
        (float(np.diff(heights)[0] * np.cos(TILT)) if even else None, 0.7, 0.9),
        tuple(ends[0]),
        np.array([-sign * normal, column, [1.0, 0, 0]]),
        native_flips=flips,
        last_origin_mm=tuple(ends[-1]),
    )
    volume = Volume("test", "Test", native[shown], geometry)
    problems = write_lesions(tmp_path / "m.nii.gz", volume, (native[shown] > 0).astype(np.uint8))
    assert any("tilt" in problem.text for problem in problems)
    mask = SimpleITK.ReadImage(str(tmp_path / "m.nii.gz"))
    names = SimpleITK.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path / "dicom"))
    image = SimpleITK.ReadImage(names)
    assert np.array_equal(SimpleITK.GetArrayFromImage(mask), SimpleITK.GetArrayFromImage(image) > 0)
    for index in ((0, 0, 0), (9, 11, 4)):
        expected = image.TransformIndexToPhysicalPoint(index)
        assert mask.TransformIndexToPhysicalPoint(index) == pytest.approx(expected, abs=1e-3)


def test_refusals_leave_nothing(tmp_path, make_volume):
    volume = make_volume()
    labels = np.zeros(volume.voxels.shape, np.uint8)
    with pytest.raises(ExportError, match="NIfTI"):
        write_lesions(tmp_path / "m.png", volume, labels)
    with pytest.raises(ExportError, match="shape"):
        write_lesions(tmp_path / "m.nii", volume, labels[:1])
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"'m\.nii' cannot be written"):
        write_lesions(tmp_path / "file" / "m.nii", volume, labels)
    write_lesions(tmp_path / "m.nii", volume, labels)
    with pytest.raises(ExportError, match="exists"):
        write_lesions(tmp_path / "m.nii", volume, labels)
    write_lesions(tmp_path / "m.nii", volume, labels + np.uint8(1), overwrite=True)
    assert SimpleITK.ReadImage(str(tmp_path / "m.nii")).GetPixel(0, 0, 0) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "m.nii"]
