"""ZIP archives and DICOMDIR: members stay inside, caps hold, everything is accounted for."""

import io
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom_files import along_z, dataset, write_stack
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from model_core.base.errors import ReadError
from model_core.base.jobs import finish
from model_core.read import archives, load, scan, thumbnail
from model_core.read.opening import stored_pixels
from model_core.read.scanning import scan_reports


@pytest.fixture(autouse=True)
def nothing_left(tmp_path, monkeypatch):
    """Unpack below the test's own folder, and look that it is empty afterwards."""
    import tempfile

    private = tmp_path / "private"
    private.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(private))
    yield private
    archives.remove_all()
    assert list(private.iterdir()) == []


def dicom_bytes(index):
    picture = np.full((4, 6), index, np.int16)
    item = dataset(picture, ImagePositionPatient=list(along_z(9)[index]), InstanceNumber=index)
    stream = io.BytesIO()
    item.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def archive(path, members, **options):
    with zipfile.ZipFile(path, "w", options.pop("compression", zipfile.ZIP_DEFLATED)) as target:
        for name, data in members.items():
            target.writestr(name, data)
    return path


def series(count=3):
    return {f"study/series/{index}.dcm": dicom_bytes(index) for index in range(count)}


def test_a_zip_opens_like_a_folder(tmp_path):
    path = archive(tmp_path / "scan.zip", {**series(), "readme.txt": b"hello"})
    found = finish(scan(path))[-1]
    (entry,) = found.series
    assert entry.files == tuple(f"{path}/study/series/{index}.dcm" for index in (2, 1, 0))
    assert {report.path: report.status for report in found.files} == {
        str(path): "ok",
        f"{path}/readme.txt": "skipped",
        **{f"{path}/study/series/{index}.dcm": "ok" for index in range(3)},
    }
    volume = finish(load(entry))[-1]
    assert volume.voxels[:, 0, 0].tolist() == [-1022, -1023, -1024]
    assert thumbnail(entry).ndim == 2
    np.testing.assert_array_equal(stored_pixels(Path(entry.files[0])), np.full((4, 6), 2))


def test_a_zip_in_a_folder_is_found(tmp_path):
    write_stack(tmp_path / "in", along_z(2), SeriesInstanceUID="1.2.3")
    archive(tmp_path / "in" / "more.zip", series())
    found = finish(scan(tmp_path / "in"))[-1]
    assert sorted(entry.size[0] for entry in found.series) == [2, 3]


def test_pictures_in_a_zip_are_named_after_it(tmp_path):
    stream = io.BytesIO()
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(stream, "PNG")
    path = archive(tmp_path / "slices.zip", {f"{n}.png": stream.getvalue() for n in range(3)})
    (entry,) = finish(scan(path))[-1].series
    assert entry.title == "slices pictures"


def test_an_archive_is_unpacked_once(tmp_path, nothing_left):
    path = archive(tmp_path / "scan.zip", series())
    for _ in range(5):
        finish(scan(path))
    assert len(list(nothing_left.iterdir())) == 1
    for number in range(10):
        finish(scan(archive(tmp_path / f"{number}.zip", series())))
    assert len(list(nothing_left.iterdir())) <= 5


@pytest.mark.parametrize(
    "name",
    [
        "../evil.dcm",
        "a/../../evil.dcm",
        "/evil.dcm",
        "C:\\evil.dcm",
        "..\\evil.dcm",
        "\\\\host\\share\\evil.dcm",
    ],
)
def test_members_that_climb_out_are_left_out(tmp_path, name):
    path = archive(tmp_path / "scan.zip", {**series(), name: dicom_bytes(5)})
    found = finish(scan(path))[-1]
    assert found.series[0].size[0] == 3
    assert [report.reason for report in found.files if report.status == "error"] == [
        "The name of this member leads out of the archive: it is left out."
    ]
    assert not list(tmp_path.rglob("evil.dcm"))


def test_links_are_no_files(tmp_path):
    path = tmp_path / "scan.zip"
    with zipfile.ZipFile(path, "w") as target:
        link = zipfile.ZipInfo("link.dcm")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        target.writestr(link, "/etc/passwd")
        target.writestr("0.dcm", dicom_bytes(0))
    found = finish(scan(path))[-1]
    assert [report.reason for report in found.files if report.status == "error"] == [
        "This member of the archive is a link or a device: it is left out."
    ]


def test_a_bomb_is_stopped_while_it_grows(tmp_path, monkeypatch, nothing_left):
    monkeypatch.setattr(archives, "SMALL_ARCHIVE_BYTES", 1 << 20)
    path = archive(tmp_path / "bomb.zip", {"a": b"\0" * (30 << 20)})
    report = finish(scan_reports(path))[-1].files[0]
    assert report.status == "error"
    assert "grows to more than" in report.reason
    assert list(nothing_left.iterdir()) == []


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MAX_ARCHIVE_FILES", 10)
    path = archive(tmp_path / "many.zip", {str(n): b"x" for n in range(11)})
    with pytest.raises(ReadError, match="holds 11 files; at most 10"):
        finish(scan(path))


def test_an_archive_in_an_archive_stays_closed(tmp_path):
    inner = archive(tmp_path / "inner.zip", series()).read_bytes()
    path = archive(tmp_path / "outer.zip", {"inner.zip": inner, **series(2)})
    found = finish(scan(path))[-1]
    assert found.series[0].size[0] == 2
    reasons = {Path(report.path).name: report.reason for report in found.files}
    assert reasons["inner.zip"] == "An archive inside an archive is not opened: unpack it yourself."


def test_a_damaged_member_is_named_and_the_rest_is_read(tmp_path):
    path = archive(tmp_path / "scan.zip", series(), compression=zipfile.ZIP_STORED)
    data = bytearray(path.read_bytes())
    at = data.index(dicom_bytes(1)[-40:-10])
    data[at] ^= 0xFF
    path.write_bytes(data)
    found = finish(scan(path))[-1]
    assert found.series[0].size[0] == 2
    assert [Path(report.path).name for report in found.files if report.status == "error"] == ["1.dcm"]


@pytest.mark.parametrize("keep", [4, 60, 0.5, 0.99])
def test_a_cut_archive_says_so(tmp_path, keep):
    path = archive(tmp_path / "scan.zip", series())
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    with pytest.raises(ReadError, match="The archive is damaged"):
        finish(scan(path))


def test_two_members_of_one_name(tmp_path):
    path = tmp_path / "scan.zip"
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("0.dcm", dicom_bytes(0))
        with pytest.warns(UserWarning, match="Duplicate"):
            target.writestr("0.dcm", dicom_bytes(1))
    found = finish(scan(path))[-1]
    assert sorted(report.status for report in found.files) == ["error", "ok", "ok"]


def test_an_empty_archive(tmp_path):
    with pytest.raises(ReadError, match="cannot be opened"):
        finish(scan(archive(tmp_path / "empty.zip", {})))


# ------------------------------------------------------------------------------------------- DICOMDIR


def dicomdir(path, references):
    item = Dataset()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.1.3.10"
    item.file_meta.MediaStorageSOPInstanceUID = "1.2.3"
    records = []
    for parts in references:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = list(parts)
        records.append(record)
    item.DirectoryRecordSequence = records
    item.save_as(path, enforce_file_format=True)
    return path


def test_a_dicomdir_opens_its_folder(tmp_path):
    disc = tmp_path / "disc"
    write_stack(disc / "IMAGES", along_z(3), names=["A", "B", "C"])
    path = dicomdir(disc / "DICOMDIR", [("IMAGES", name) for name in "ABC"])
    found = finish(scan(path))[-1]
    assert found.series[0].size[0] == 3
    report = next(report for report in found.files if report.path == str(path))
    assert (report.status, report.reason) == (
        "skipped",
        "A DICOMDIR: the index of other files, not an image.",
    )


def test_a_dicomdir_under_another_name_does_too(tmp_path):
    disc = tmp_path / "disc"
    write_stack(disc / "IMAGES", along_z(3))
    path = dicomdir(disc / "index.dcm", [])
    assert finish(scan(path))[-1].series[0].size[0] == 3


def test_missing_files_and_names_that_climb_out_are_told(tmp_path):
    disc = tmp_path / "disc"
    write_stack(disc / "IMAGES", along_z(2), names=["A", "B"])
    write_stack(tmp_path / "secret", along_z(4), SeriesInstanceUID="1.2.3", names=["1", "2", "3", "4"])
    path = dicomdir(
        disc / "DICOMDIR", [("IMAGES", "A"), ("IMAGES", "GONE"), ("..", "secret", "1"), ("/etc/passwd",)]
    )
    found = finish(scan(path))[-1]
    assert [entry.size[0] for entry in found.series] == [2]
    report = next(report for report in found.files if report.path == str(path))
    assert report.status == "warning"
    assert "2 of the 4 files that it lists lie outside its folder: not followed." in report.reason
    assert "1 of the 4 files that it lists are not there." in report.reason


def test_a_damaged_dicomdir_still_opens_its_folder(tmp_path):
    disc = tmp_path / "disc"
    write_stack(disc / "IMAGES", along_z(3))
    path = dicomdir(disc / "DICOMDIR", [("IMAGES", "A")] * 30)
    path.write_bytes(path.read_bytes()[:-300])
    found = finish(scan(disc))[-1]
    assert found.series[0].size[0] == 3
    assert len(found.files) == 4


@pytest.mark.parametrize("listed", ["IMAGES/A", "images/a", "Images/a.", "IMAGES/A;1"])
@pytest.mark.parametrize("there", ["IMAGES/A", "images/a", "Images/a"])
def test_a_dicomdir_lists_files_in_another_case(tmp_path, listed, there):
    folder, name = there.split("/")
    write_stack(tmp_path / folder, along_z(1), names=[name])
    path = dicomdir(tmp_path / "DICOMDIR", [listed.split("/"), ("IMAGES", "GONE"), ("IMAGES",)])
    found = finish(scan(path))[-1]
    assert found.series[0].size[0] == 1
    report = next(report for report in found.files if report.path == str(path))
    assert report.reason.endswith("2 of the 3 files that it lists are not there.")
