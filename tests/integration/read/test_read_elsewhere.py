"""Files that other programs wrote: those that travel with pydicom, and what SimpleITK writes."""

import contextlib
import json
import locale
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813

from model_core.base.errors import ReadError
from model_core.base.jobs import finish
from model_core.cli.main import main
from model_core.read import load, scan
from model_core.read.opening import stored_pixels
from model_core.read.scanning import scan_reports

FILES = Path(pydicom.__file__).parent / "data" / "test_files"
# Only a decoder under the GPL, or none, gives pydicom these; SimpleITK reads the first two for us.
BEYOND_PYDICOM = {"JPEG-lossy.dcm", "JPGExtended.dcm"}


def theirs(path):
    """What pydicom decodes, None where it does not."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return pydicom.dcmread(path, force=True).pixel_array
    except Exception:  # noqa: BLE001 - any reason will do
        return None


@pytest.fixture(scope="module")
def paths():
    found = sorted(path for path in FILES.rglob("*") if path.is_file())
    if not found:
        pytest.skip("this pydicom brings no test files")
    return found


def test_every_file_of_pydicom_is_accounted_for(paths):
    found = finish(scan_reports(FILES))[-1]
    assert {report.path for report in found.files} == {str(path) for path in paths}
    used = {path for entry in found.series for path in entry.files}
    for report in found.files:
        assert report.reason or report.status == "ok", report
        assert (report.path in used) == (report.status == "ok"), report


def test_what_pydicom_decodes_is_decoded_equal(paths):
    checked = 0
    for path in paths:
        expected = theirs(path)
        if expected is None:
            continue
        np.testing.assert_array_equal(stored_pixels(path), expected, err_msg=path.name)
        checked += 1
    assert checked > 60


def test_what_pydicom_does_not_decode_is_refused_or_better_known(paths):
    for path in paths:
        if path.suffix in ("", ".dcm") and theirs(path) is None and path.name not in BEYOND_PYDICOM:
            with contextlib.suppress(ReadError):
                assert stored_pixels(path).size, path.name


def test_images_without_pixels_are_no_objects_of_another_kind(paths):
    reports = {Path(report.path).name: report for report in finish(scan_reports(FILES))[-1].files}
    for name, report in reports.items():
        if "Image Storage" in report.reason:
            assert report.status == "error", name
            assert "without its picture" in report.reason, name
    assert reports["rtplan.dcm"].reason == "A DICOM object without an image (RT Plan Storage)."


@pytest.fixture
def same_locale():
    """SimpleITK's writer of DICOM leaves the process with the locale "C"."""
    before = locale.setlocale(locale.LC_ALL)
    yield
    locale.setlocale(locale.LC_ALL, before)


@pytest.mark.parametrize(
    "kind", [sitk.sitkInt16, sitk.sitkUInt16, sitk.sitkUInt8, sitk.sitkInt32], ids=["i2", "u2", "u1", "i4"]
)
@pytest.mark.parametrize("compressed", [False, True])
def test_slices_that_simpleitk_writes(tmp_path, same_locale, kind, compressed):
    values = np.random.default_rng(0).integers(0, 200, (4, 40, 48))
    image = sitk.Cast(sitk.GetImageFromArray(values), kind)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((-10, 20, 30))
    for index in range(4):
        one = image[:, :, index]
        for tag, value in {
            "0008|0060": "CT",
            "0020|000e": "1.2.3.4",
            "0020|0013": str(index),
            "0020|0032": f"-10\\20\\{30 + 2.5 * index}",
            "0020|0037": "1\\0\\0\\0\\1\\0",
            "0028|0030": "0.8\\0.7",
        }.items():
            one.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetUseCompression(compressed)
        writer.SetFileName(str(tmp_path / f"{index}.dcm"))
        writer.Execute(one)
    found = finish(scan(tmp_path))[-1]
    (entry,) = found.series
    if compressed and kind == sitk.sitkInt32:
        # JPEG 2000 of 32 bits: not even its writer reads it again.
        with pytest.raises(ReadError, match="JPEG 2000"):
            finish(load(entry))
        return
    volume = finish(load(entry))[-1]
    np.testing.assert_array_equal(volume.voxels, values[::-1])
    assert volume.geometry.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    assert volume.geometry.origin_mm == pytest.approx((-10, 20, 37.5))


def test_a_volume_that_simpleitk_writes_as_one_dicom_file(tmp_path, same_locale):
    values = np.random.default_rng(0).integers(0, 200, (4, 40, 48)).astype(np.uint16)
    image = sitk.GetImageFromArray(values)
    sitk.WriteImage(image, str(tmp_path / "a.dcm"))
    np.testing.assert_array_equal(stored_pixels(tmp_path / "a.dcm"), values)


def test_the_command_over_pydicoms_files(paths, capsys):
    assert main(["info", str(FILES), "--json", "--pixels"]) == 0
    out = capsys.readouterr()
    document = json.loads(out.out)
    assert len(document["files"]) == len(paths)
    assert "Traceback" not in out.err
    for row in document["files"]:
        assert ("sha256" in row) == (row["status"] in ("ok", "warning") and "DICOMDIR" not in row["reason"])
