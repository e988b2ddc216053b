"""ZIP archives and the disk: names that last, room, odd members, and nothing left behind after a crash."""

import errno
import io
import os
import stat
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom_files import along_z, dataset, enhanced
from PIL import Image

from model_core.base.errors import ReadError
from model_core.base.jobs import finish
from model_core.read import archives, load, scan
from model_core.read.sandbox import PREFIX, PrivateFolder, remove_stale
from model_core.read.scanning import scan_reports

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def private(tmp_path, monkeypatch):
    """Unpack below the test's own folder, and look that it is empty afterwards."""
    folder = tmp_path / "private"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield folder
    archives.remove_all()
    assert list(folder.iterdir()) == []


def dicom_bytes(item):
    stream = io.BytesIO()
    item.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def slice_bytes(index, **elements):
    picture = np.full((4, 6), index, np.int16)
    return dicom_bytes(dataset(picture, ImagePositionPatient=list(along_z(9)[index]), **elements))


def nifti_bytes(folder):
    import SimpleITK as sitk  # noqa: N813

    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((3, 4, 5), np.int16)), str(folder / "v.nii"))
    return (folder / "v.nii").read_bytes()


def png_bytes():
    stream = io.BytesIO()
    Image.fromarray(np.zeros((4, 6), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def archive(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as target:
        for name, data in members.items():
            target.writestr(name, data)
    return path


def test_series_ids_are_the_same_in_every_session(tmp_path):
    lone = dicom_bytes(enhanced(np.zeros((3, 4, 6), np.int16), along_z(3), SOPInstanceUID=""))
    members = {
        "a/0.dcm": slice_bytes(0, SeriesInstanceUID=None),
        "a/1.dcm": slice_bytes(1, SeriesInstanceUID=None),
        "b/0.dcm": slice_bytes(2),
        "b/multi.dcm": lone,
        "c/1.png": png_bytes(),
        "d/1.png": png_bytes(),
        "v.nii": nifti_bytes(tmp_path),
    }
    path = archive(tmp_path / "scan.zip", members)
    sessions = []
    for _ in range(2):
        found = finish(scan(path))[-1]
        sessions.append([(entry.series_id, entry.title, entry.files) for entry in found.series])
        archives.remove_all()
    assert sessions[0] == sessions[1]
    assert len({series_id for series_id, _, _ in sessions[0]}) == len(sessions[0]) == 6
    other = finish(scan(archive(tmp_path / "other.zip", members)))[-1]
    by_uid = {entry.series_id for entry in other.series if entry.series_uid}
    by_place = {entry.series_id for entry in other.series if not entry.series_uid}
    assert by_uid & {series_id for series_id, _, _ in sessions[0]}
    assert not by_place & {series_id for series_id, _, _ in sessions[0]}


def test_a_folder_of_many_archives_opens_whole(tmp_path, private):
    folder = tmp_path / "in"
    folder.mkdir()
    for number in range(9):
        archive(folder / f"{number}.zip", {"0.dcm": slice_bytes(0, SeriesInstanceUID=f"1.2.{number}")})
    found = finish(scan(folder))[-1]
    assert len(found.series) == 9
    for entry in found.series:
        assert finish(load(entry))[-1].slices == 1
    # The next scan pushes out what no running scan uses.
    finish(scan(folder / "0.zip"))
    finish(scan(archive(tmp_path / "new.zip", {"0.dcm": slice_bytes(1)})))
    assert len(list(private.iterdir())) <= 4


def test_a_full_disk_is_told_and_nothing_is_left(tmp_path, private, monkeypatch):
    path = archive(tmp_path / "scan.zip", {"0.dcm": slice_bytes(0), "1.dcm": slice_bytes(1)})
    real = Path.open

    class Full(io.BytesIO):
        def write(self, data):
            raise OSError(errno.ENOSPC, "no space")

    def fill(self, mode="r", *args, **kwargs):
        if mode == "xb" and self.name == "1.dcm":
            return Full()
        return real(self, mode, *args, **kwargs)

    monkeypatch.setattr(Path, "open", fill)
    (report,) = finish(scan_reports(path))[-1].files
    assert "do not fit on the disk for temporary files" in report.reason
    assert list(private.iterdir()) == []


def test_little_room_is_told_before_the_disk_is_full(tmp_path, monkeypatch):
    path = archive(tmp_path / "scan.zip", {"a": b"x" * 5000})
    usage = archives.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(
        archives.shutil, "disk_usage", lambda _: usage._replace(free=archives._RESERVE_BYTES + 100)
    )
    (report,) = finish(scan_reports(path))[-1].files
    assert "do not fit on the disk for temporary files" in report.reason


def test_no_folder_for_temporary_files(tmp_path, monkeypatch, private):
    path = archive(tmp_path / "scan.zip", {"0.dcm": slice_bytes(0)})
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    (report,) = finish(scan_reports(path))[-1].files
    assert "full or closed" in report.reason
    monkeypatch.setattr(tempfile, "tempdir", str(private))


def test_members_that_cannot_be_read_say_why(tmp_path):
    path = archive(
        tmp_path / "scan.zip", {"0.dcm": slice_bytes(0), "1.dcm": b"deflate64", "2.dcm": b"secret"}
    )
    data = bytearray(path.read_bytes())
    # Member 1: compression method 9 (Deflate64). Member 2: the bit of an encrypted file.
    for name, offset, value in (("1.dcm", 8, 9), ("2.dcm", 6, 1)):
        local = data.index(name.encode()) - 30
        central = data.rindex(name.encode()) - 46
        data[local + offset] = value
        data[central + offset + 2] = value
    path.write_bytes(data)
    found = finish(scan(path))[-1]
    reasons = {Path(report.path).name: report.reason for report in found.files if report.status == "error"}
    assert "compressed in a way that cannot be read" in reasons["1.dcm"]
    assert "protected by a password" in reasons["2.dcm"]
    assert found.series[0].size[0] == 1


def test_a_name_that_is_too_long(tmp_path):
    path = archive(tmp_path / "scan.zip", {"0.dcm": slice_bytes(0), "n" * 300 + ".dcm": slice_bytes(1)})
    found = finish(scan(path))[-1]
    assert [report.reason for report in found.files if report.status == "error"] == [
        "The name of this member is too long: unpack it yourself under a shorter one."
    ]


@pytest.mark.parametrize("name", ["...zip", ".in-use.zip", " .zip", "肺.zip"])
def test_archives_of_any_name(tmp_path, name):
    path = archive(tmp_path / name, {"0.dcm": slice_bytes(0)})
    assert finish(scan(path))[-1].series[0].size[0] == 1


def test_a_member_whose_folder_is_a_file(tmp_path):
    path = archive(tmp_path / "scan.zip", {"0.dcm": slice_bytes(0), "0.dcm/1.dcm": slice_bytes(1)})
    found = finish(scan(path))[-1]
    assert sorted(report.status for report in found.files) == ["error", "ok", "ok"]


def test_an_archive_of_archives_only(tmp_path):
    inner = archive(tmp_path / "inner.zip", {"0.dcm": slice_bytes(0)}).read_bytes()
    with pytest.raises(ReadError):
        finish(scan(archive(tmp_path / "outer.zip", {"inner.zip": inner})))


# ----------------------------------------------------------------------------------- nothing is left


def test_folders_are_private(private):
    folder = PrivateFolder()
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    with PrivateFolder() as inside:
        (inside / "x").write_bytes(b"1")
    assert not inside.exists()
    assert remove_stale() == 0  # the first one is in use
    folder.remove()
    assert not folder.path.exists()


CRASH = """
import os, sys, tempfile
tempfile.tempdir = sys.argv[1]
from pathlib import Path
from model_core.read import scan
from model_core.base.jobs import finish
finish(scan(Path(sys.argv[2])))
sys.stdout.write("open\\n")
sys.stdout.flush()
if sys.argv[3] == "wait":
    sys.stdin.read()
os.kill(os.getpid(), 9)
"""


def start(private, path, what):
    return subprocess.Popen(
        [sys.executable, "-c", CRASH, str(private), str(path), what],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


@pytest.mark.skipif(sys.platform == "win32", reason="ends a process the POSIX way")
def test_what_a_crash_left_goes_at_the_next_start_and_what_is_used_stays(tmp_path, private):
    path = archive(tmp_path / "scan.zip", {"0.dcm": slice_bytes(0)})
    with start(private, path, "crash") as crashed:
        assert crashed.stdout.readline() == "open\n"
    assert len(list(private.iterdir())) == 1
    with start(private, path, "wait") as running:
        assert running.stdout.readline() == "open\n"  # it removed what the first one left
        (used,) = private.iterdir()
        assert remove_stale() == 0
        assert list(used.rglob("0.dcm"))
    finish(scan(path))
    assert not used.exists()
    assert len(list(private.iterdir())) == 1


def test_only_own_folders_are_removed(tmp_path, private):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / ".in-use").touch()
    (private / f"{PREFIX}link").symlink_to(elsewhere, target_is_directory=True)
    (private / f"{PREFIX}file").touch()
    young, old = private / f"{PREFIX}young", private / f"{PREFIX}old"
    young.mkdir()
    old.mkdir()
    os.utime(old, (time.time() - 200_000,) * 2)
    assert remove_stale() == 1
    assert elsewhere.is_dir()
    assert young.is_dir()
    assert not old.exists()
    (private / f"{PREFIX}link").unlink()
    (private / f"{PREFIX}file").unlink()
    young.rmdir()
