"""The real corpora: every file accounted for, pixels equal to pydicom, volumes equal to SimpleITK."""

import csv
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from model_core.base.errors import ReadError
from model_core.base.jobs import finish
from model_core.read import load, scan
from model_core.read.opening import slice_origins, stored_pixels
from model_core.read.scanning import scan_reports

pytestmark = pytest.mark.shared_data

SERIES = (
    "ge_hispeed_head_tilt_uneven",
    "philips_brilliance16p_chest_J2K",
    "siemens_scope_cap_cap001_every5th",
    "siemens_scope_covid_P001",
    "siemens_scope_normal_normal001_every5th",
    "tiny_head_64x64",
)
LARGE = ("philips_brilliance16p_chest_J2K", "siemens_scope_covid_P001")
# 12-bit JPEG: pydicom's decoders without the GPL do not read it, SimpleITK does.
BEYOND_PYDICOM = ("JPEGProcess6_8", "JPEGProcess10_12", "JPEGProcess2_4", "JPEG-lossy", "JPGExtended")


def index(shared_data):
    with (shared_data / "D_dicom_compliance" / "index.tsv").open(newline="") as lines:
        return list(csv.DictReader(lines, delimiter="\t"))


def test_every_file_of_every_folder_is_accounted_for(shared_data):
    folders = [
        *(shared_data / "C_ct_dicom_series").iterdir(),
        *(path for path in (shared_data / "D_dicom_compliance").iterdir() if path.is_dir()),
    ]
    for folder in folders:
        found = finish(scan_reports(folder))[-1]
        there = {str(path) for path in folder.rglob("*") if path.is_file()}
        assert {report.path for report in found.files} == there, folder.name
        assert len(found.files) == len(there), folder.name
        used = {path for entry in found.series for path in entry.files}
        for report in found.files:
            if report.status == "ok":
                assert report.path in used, report
            else:
                assert report.reason, report


def test_what_the_reference_decodes_is_decoded_equal(shared_data):
    root = shared_data / "D_dicom_compliance"
    checked = 0
    for row in index(shared_data):
        path = root / row["file"]
        if row["reference_decoder"] == "no pixels":
            if path.suffix == ".jpeg" or path.name.startswith("parametric_map"):
                continue  # pictures, and float pixels under another name
            with pytest.raises(ReadError):
                stored_pixels(path)
            continue
        if row["reference_decoder"] != "decodes":
            continue
        ours = stored_pixels(path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                theirs = pydicom.dcmread(path, force=True).pixel_array
        except Exception:  # noqa: BLE001 - the reference had a decoder under the GPL for these
            assert any(name in row["file"] for name in (*BEYOND_PYDICOM, "jpeg_baseline.51")), row["file"]
            continue
        assert ours.dtype == theirs.dtype.newbyteorder("="), row["file"]
        np.testing.assert_array_equal(ours, theirs, err_msg=row["file"])
        checked += 1
    assert checked > 180


def test_one_image_in_every_syntax_has_equal_pixels(shared_data):
    folder = shared_data / "D_dicom_compliance" / "cornerstone" / "examples" / "test-images"
    paths = {path.name: path for path in folder.glob("CTImage.dcm_*")}
    pictures = {name: stored_pixels(path).astype(int) for name, path in paths.items()}
    truth = next(picture for name, picture in pictures.items() if "DeflatedExplicit" in name)
    lossless = ("Deflated", "J2KR", "LosslessOnly", "JPEGLSLossless", "Process14", "RLE")
    for name, picture in pictures.items():
        if any(part in name for part in lossless):
            np.testing.assert_array_equal(picture, truth, err_msg=name)
    # The lossy ones, some with a rescale of their own: the same picture in Hounsfield units.
    for name, picture in pictures.items():
        header = pydicom.dcmread(paths[name], stop_before_pixels=True)
        values = picture * float(header.RescaleSlope) + float(header.RescaleIntercept)
        allowed = 32 if header.BitsStored == 8 else 4
        assert np.abs(values - (truth - 1024)).mean() < allowed, name


def test_masks_in_unusual_syntaxes_equal_the_plain_one(shared_data):
    folder = shared_data / "D_dicom_compliance" / "pydicom-data"
    for plain, others in (
        ("liver.dcm", ("liver_deflate.dcm", "liver_rle.dcm", "liver_j2k.dcm")),
        ("liver_nonbyte_aligned.dcm", ("liver_nonbyte_aligned_deflate.dcm", "liver_nonbyte_aligned_rle.dcm")),
    ):
        truth = stored_pixels(folder / plain)
        for other in others:
            np.testing.assert_array_equal(stored_pixels(folder / other), truth, err_msg=other)


def test_every_series_that_is_listed_loads(shared_data):
    for folder in (shared_data / "D_dicom_compliance").iterdir():
        if not folder.is_dir():
            continue
        for entry in finish(scan(folder))[-1].series:
            volume = finish(load(entry))[-1]
            assert volume.voxels.dtype == np.int16
            assert volume.voxels.shape[1:] == entry.size[1:]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in SERIES],
)
def test_values_and_positions_agree_with_simpleitk(shared_data, name):
    folder = shared_data / "C_ct_dicom_series" / name
    (entry,) = finish(scan(folder))[-1].series
    volume = finish(load(entry))[-1]
    assert volume.plane == "axial"
    assert len(entry.files) == sum(1 for _ in folder.iterdir())
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(entry.files[::-1])
    theirs = reader.Execute()
    values = sitk.GetArrayFromImage(theirs)[::-1]
    outside = values < -1024
    np.testing.assert_array_equal(volume.voxels[~outside], values[~outside])
    assert (volume.voxels[outside] == -1024).all()
    if name.startswith("ge_"):
        assert entry.spacing_mm[0] is None
        texts = " ".join(problem.text for problem in entry.problems)
        assert "not evenly spaced" in texts
        assert "sheared" in texts
        assert "18.5°" in texts
        return
    geometry = volume.geometry
    for where in np.ndindex(2, 2, 2):
        shown = [edge * (count - 1) for edge, count in zip(where, volume.voxels.shape, strict=True)]
        point = np.array(geometry.origin_mm) + (np.array(geometry.spacing_mm) * shown) @ geometry.axes
        theirs_at = [float(shown[2]), float(shown[1]), float(volume.slices - 1 - shown[0])]
        np.testing.assert_allclose(
            point, theirs.TransformContinuousIndexToPhysicalPoint(theirs_at), atol=1e-3
        )


@pytest.mark.parametrize("name", SERIES)
def test_every_slice_lies_where_its_file_says(shared_data, name):
    (entry,) = finish(scan(shared_data / "C_ct_dicom_series" / name))[-1].series
    for path, origin in zip(entry.files, slice_origins(entry), strict=True):
        stated = pydicom.dcmread(path, stop_before_pixels=True).ImagePositionPatient
        np.testing.assert_allclose(origin, [float(value) for value in stated], atol=1e-3)


def test_chest_series_are_upright(shared_data):
    """Most bone, the spine, is in the lower half of the picture: behind."""
    folder = shared_data / "C_ct_dicom_series" / "siemens_scope_cap_cap001_every5th"
    (entry,) = finish(scan(folder))[-1].series
    volume = finish(load(entry))[-1]
    bone = volume.voxels[10:25] > 500
    assert np.nonzero(bone)[1].mean() > volume.voxels.shape[1] * 0.5
    np.testing.assert_allclose(volume.geometry.axes, [[0, 0, -1], [0, 1, 0], [1, 0, 0]])


def test_one_file_gives_its_whole_series(shared_data):
    folder = shared_data / "C_ct_dicom_series" / "tiny_head_64x64"
    path = sorted(folder.iterdir())[5]
    (entry,) = finish(scan(path))[-1].series
    assert entry.size == (93, 64, 64)
    assert str(path) in entry.files
    assert Path(entry.files[0]).parent == folder
