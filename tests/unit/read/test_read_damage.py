"""Damaged and hostile files: a reason per file, never a traceback, never a guess."""

import contextlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from dicom_files import along_z, dataset, write, write_stack
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, JPEGBaseline8Bit

from model_core.base.errors import ReadError
from model_core.base.jobs import finish
from model_core.read import load, scan
from model_core.read.scanning import scan_reports

NOISE = np.random.default_rng(0).integers(0, 4096, (24, 32)).astype(np.int16)


def report_of(path):
    (report,) = finish(scan_reports(path))[-1].files
    return report


def bare(item):
    """The bytes of a data set without preamble and meta header."""
    import io

    from pydicom.filewriter import dcmwrite

    stream = io.BytesIO()
    dcmwrite(stream, item, implicit_vr=False, little_endian=True, enforce_file_format=False)
    data = stream.getvalue()
    return data[data.index(b"\x08\x00\x08\x00CS") :]


def test_nothing_there(tmp_path):
    with pytest.raises(ReadError, match="Not found: 'gone'"):
        finish(scan(tmp_path / "gone"))


def test_empty_folder(tmp_path):
    with pytest.raises(ReadError, match="is empty: choose a folder with CT images"):
        finish(scan(tmp_path))


@pytest.mark.parametrize("data", [b"", b"hello", b"\0" * 500, b"%PDF-1.7", os.urandom(2000)], ids=range(5))
def test_something_else_is_skipped_or_told(tmp_path, data):
    (tmp_path / "x").write_bytes(data)
    report = report_of(tmp_path)
    assert report.status in ("skipped", "error")
    assert report.reason
    with pytest.raises(ReadError):
        finish(scan(tmp_path))


def test_without_preamble_and_meta(tmp_path):
    (tmp_path / "a").write_bytes(bare(dataset(NOISE)))
    found = finish(scan(tmp_path))[-1]
    assert found.files[0].status == "ok"
    assert found.files[0].reason == "Without the DICOM preamble."
    volume = finish(load(found.series[0]))[-1]
    np.testing.assert_array_equal(volume.voxels[0], NOISE - 1024)


def test_preamble_that_is_also_a_program(tmp_path):
    path = write(tmp_path / "a.dcm", NOISE)
    path.write_bytes(b"MZ" + path.read_bytes()[2:])
    found = finish(scan(tmp_path))[-1]
    assert found.files[0].status == "ok"


@pytest.mark.parametrize("keep", [0.999, 0.9, 0.5, 0.2, 0.1, 140, 132, 131, 20, 3])
def test_cut_anywhere(tmp_path, keep):
    path = write(tmp_path / "a.dcm", NOISE)
    data = path.read_bytes()
    path.write_bytes(data[: keep if isinstance(keep, int) else int(len(data) * keep)])
    report = report_of(path)
    assert report.status == "error" or (report.status == "skipped" and "without an image" in report.reason)
    assert report.reason


@pytest.mark.parametrize(("rows", "columns"), [(0, 4), (4, 0), (0, 0)])
def test_no_size(tmp_path, rows, columns):
    write(tmp_path / "a", NOISE, Rows=rows, Columns=columns)
    assert report_of(tmp_path).status == "error"


def test_huge_declared_sizes_are_checked_against_the_file(tmp_path):
    write(tmp_path / "native", NOISE, Rows=60000, Columns=60000)
    assert "more than this program opens" in report_of(tmp_path / "native").reason
    write(tmp_path / "frames", NOISE, NumberOfFrames=90000)
    assert "cut off" in report_of(tmp_path / "frames").reason
    item = dataset(NOISE, syntax=JPEGBaseline8Bit, Rows=16000, Columns=16000, NumberOfFrames=900)
    from pydicom.encaps import encapsulate

    item.PixelData = encapsulate([b"\xff\xd8\xff\xd9"])
    item["PixelData"].VR = "OB"
    item["PixelData"].is_undefined_length = True
    item.save_as(tmp_path / "packed", enforce_file_format=True)
    assert "its size is wrong" in report_of(tmp_path / "packed").reason


def test_a_pixel_element_longer_than_the_file(tmp_path):
    path = write(tmp_path / "a", NOISE)
    data = path.read_bytes()
    at = data.index(b"\xe0\x7f\x10\x00OW")
    path.write_bytes(data[: at + 8] + struct.pack("<I", 0x7FFFFFFE) + data[at + 12 :])
    found = finish(scan(tmp_path))[-1]
    np.testing.assert_array_equal(finish(load(found.series[0]))[-1].voxels[0], NOISE - 1024)


def test_an_element_longer_than_the_file(tmp_path):
    path = write(tmp_path / "a", NOISE)
    data = path.read_bytes()
    at = data.index(b"\x08\x00\x60\x00CS")
    path.write_bytes(data[: at + 6] + struct.pack("<H", 65000) + data[at + 8 :])
    assert report_of(tmp_path).status in ("error", "skipped")


def test_millions_of_tiny_elements_do_not_hang(tmp_path, monkeypatch):
    from model_core.read.dicom import dataset as dicom_dataset

    monkeypatch.setattr(dicom_dataset, "HEADER_SECONDS", 0.1)
    data = bare(dataset(NOISE))
    at = data.index(b"\x10\x00\x10\x00PN")
    (tmp_path / "a").write_bytes(data[:at] + b"\x09\x00\x01\x10SH\0\0" * 300_000 + data[at:])
    report = report_of(tmp_path)
    assert report.status == "error"
    assert "took longer than 0.1 s to read" in report.reason


@pytest.mark.parametrize("depth", [50, 900, 20_000])
def test_sequences_nested_deeply(tmp_path, depth):
    path = write(tmp_path / "a", NOISE)
    data = path.read_bytes()
    at = data.index(b"\x10\x00\x10\x00PN")
    start = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    path.write_bytes(data[:at] + start * depth + end * depth + data[at:])
    found = finish(scan_reports(tmp_path))[-1]
    assert found.files[0].status == "ok"  # the sequence is stepped over, however deep it is
    np.testing.assert_array_equal(finish(load(found.series[0]))[-1].voxels[0], NOISE - 1024)


def test_sequences_nested_deeply_in_the_general_parser(tmp_path):
    data = bare(dataset(NOISE))
    at = data.index(b"\x10\x00\x10\x00PN")
    start = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    (tmp_path / "a").write_bytes(data[:at] + start * 5000 + end * 5000 + data[at:])
    report = report_of(tmp_path)
    assert report.status == "error"
    assert "nested too deeply" in report.reason


def test_broken_character_set(tmp_path):
    path = write(tmp_path / "a", NOISE, SeriesDescription="Thorax", SpecificCharacterSet="ISO_IR 100")
    data = path.read_bytes()
    path.write_bytes(data.replace(b"Thorax", b"\xff\xfe\x1b(\x9f\xc3"))
    assert finish(scan(tmp_path))[-1].series[0].title
    path.write_bytes(data.replace(b"Thorax", b"Th\xf6rax").replace(b"ISO_IR 100", b"ISO_IR 999"))
    found = finish(scan(tmp_path))[-1]
    assert found.series[0].title
    assert finish(load(found.series[0]))[-1].slices == 1


def test_japanese_description(tmp_path):
    write(tmp_path / "a", NOISE, SpecificCharacterSet="ISO_IR 192", SeriesDescription="胸部 肺")
    assert finish(scan(tmp_path))[-1].series[0].title == "胸部 肺"


@pytest.mark.parametrize(
    "change",
    [
        {"BitsAllocated": 0},
        {"BitsAllocated": 12},
        {"BitsStored": 20},
        {"BitsStored": 0},
        {"SamplesPerPixel": 7},
        {"PhotometricInterpretation": "NONSENSE"},
        {"PixelRepresentation": 9},
        {"NumberOfFrames": -5},
        {"HighBit": 3},
    ],
    ids=str,
)
def test_contradictions_in_the_pixel_description(tmp_path, change):
    write(tmp_path / "a", NOISE, **change)
    found = finish(scan_reports(tmp_path))[-1]
    assert found.files[0].status in ("ok", "error")
    for entry in found.series:
        with contextlib.suppress(ReadError):
            assert finish(load(entry))[-1].voxels.shape[1:] == (24, 32)


@pytest.mark.parametrize("text", ["NaN", "1e999", "", "abc", "1\\2", "-1\\-1", "0\\0"])
@pytest.mark.parametrize(
    "keyword", ["PixelSpacing", "ImagePositionPatient", "RescaleSlope", "RescaleIntercept"]
)
def test_numbers_that_are_none(tmp_path, keyword, text):
    path = write(tmp_path / "a", NOISE)
    import pydicom

    tag = pydicom.datadict.tag_for_keyword(keyword)
    data = path.read_bytes()
    start = struct.pack("<HH", tag >> 16, tag & 0xFFFF) + b"DS"
    at = data.index(start)
    length = struct.unpack("<H", data[at + 6 : at + 8])[0]
    value = (text + " " * (len(text) % 2)).encode()
    path.write_bytes(data[: at + 6] + struct.pack("<H", len(value)) + value + data[at + 8 + length :])
    (entry,) = finish(scan(tmp_path))[-1].series
    volume = finish(load(entry))[-1]
    assert volume.voxels.shape == (1, 24, 32)
    assert all(step is None or 0 < step < 1e6 for step in volume.geometry.spacing_mm)


def test_a_deflated_bomb_is_not_inflated(tmp_path, monkeypatch):
    from model_core.read.dicom import dataset as dicom_dataset

    monkeypatch.setattr(dicom_dataset, "MAX_INFLATED_BYTES", 1 << 20)
    item = dataset(NOISE, syntax=DeflatedExplicitVRLittleEndian)
    item.save_as(tmp_path / "a", enforce_file_format=True)
    data = (tmp_path / "a").read_bytes()
    from model_core.read.dicom.elements import read_meta

    start = read_meta(data)[1]
    packer = zlib.compressobj(wbits=-15)
    bomb = packer.compress(b"\x08\x00\x60\x00CS\x02\x00CT" + b"\0" * (64 << 20)) + packer.flush()
    (tmp_path / "a").write_bytes(data[:start] + bomb)
    report = report_of(tmp_path)
    assert report.status == "error"
    assert "damaged or hostile" in report.reason


def test_a_dicom_object_without_an_image_is_listed_as_such(tmp_path):
    write_stack(tmp_path, along_z(2))
    item = dataset(NOISE, SOPClassUID="1.2.840.10008.5.1.4.1.1.88.11")
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(item, keyword)
    item.save_as(tmp_path / "report", enforce_file_format=True)
    reports = {report.path.rsplit("/", 1)[-1]: report for report in finish(scan(tmp_path))[-1].files}
    assert reports["report"].status == "skipped"
    assert reports["report"].reason == "A DICOM object without an image (Basic Text SR Storage)."


def test_a_syntax_that_nothing_reads_is_named(tmp_path):
    write_stack(tmp_path, along_z(2), SeriesInstanceUID="1.2.3")
    item = dataset(NOISE, syntax="1.2.840.10008.1.2.4.100", Modality="XA")
    from pydicom.encaps import encapsulate

    item.PixelData = encapsulate([b"\0\0\1\xb3"])
    item["PixelData"].VR = "OB"
    item["PixelData"].is_undefined_length = True
    item.save_as(tmp_path / "video", enforce_file_format=True)
    found = finish(scan(tmp_path))[-1]
    assert [entry.status for entry in found.series] == ["ok", "error"]
    report = next(report for report in found.files if report.path.endswith("video"))
    assert report.status == "error"
    assert "MPEG2 Main Profile / Main Level" in report.reason
    with pytest.raises(ReadError, match="MPEG2"):
        finish(load(found.series[1]))


def test_an_image_that_was_emptied_is_an_error(tmp_path):
    item = dataset(NOISE)
    del item.PixelData
    item.save_as(tmp_path / "a.dcm", enforce_file_format=True)
    report = report_of(tmp_path)
    assert report.status == "error"
    assert "without pixel data" in report.reason


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind root")
def test_files_and_folders_that_may_not_be_read(tmp_path):
    paths = write_stack(tmp_path / "in", along_z(3))
    paths[1].chmod(0)
    closed = tmp_path / "closed"
    closed.mkdir(mode=0)
    try:
        found = finish(scan(tmp_path))[-1]
        assert {report.reason for report in found.files if report.status == "error"} == {
            "The file may not be read (permissions).",
            "The folder may not be read (permissions).",
        }
        assert found.series[0].status == "warning"
    finally:
        paths[1].chmod(0o600)
        closed.chmod(0o700)


def test_permission_errors_are_told(tmp_path, monkeypatch):
    import pathlib

    paths = write_stack(tmp_path, along_z(3))
    real = pathlib.Path.open

    def refuse(self, *args, **kwargs):
        if self == paths[1]:
            raise PermissionError(13, "no", str(self))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(pathlib.Path, "open", refuse)
    found = finish(scan(tmp_path))[-1]
    assert found.files[1].reason == "The file may not be read (permissions)."
    assert found.series[0].status == "warning"


def test_links_in_a_circle_end(tmp_path):
    write_stack(tmp_path / "in", along_z(2))
    (tmp_path / "in" / "again").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "nowhere").symlink_to(tmp_path / "gone")
    found = finish(scan(tmp_path))[-1]
    assert len(found.series) == 1
    reports = {report.path.rsplit("/", 1)[-1]: report.status for report in found.files}
    assert reports["nowhere"] == "skipped"


def test_a_named_pipe_does_not_hang(tmp_path):
    write_stack(tmp_path, along_z(2))
    os.mkfifo(tmp_path / "pipe")
    found = finish(scan(tmp_path))[-1]
    assert len(found.files) == 3
    assert found.series[0].size[0] == 2


def test_names_outside_ascii_and_outside_text(tmp_path):
    write_stack(tmp_path / "肺 Ü", along_z(2), names=["ä.dcm", "б.dcm"])
    odd = os.fsencode(tmp_path) + b"/\xff\xfe.dcm"
    Path(os.fsdecode(odd)).write_bytes((tmp_path / "肺 Ü" / "ä.dcm").read_bytes())
    found = finish(scan(tmp_path))[-1]
    assert len(found.files) == 3
    assert finish(load(found.series[0]))[-1].slices == 2


def test_more_than_memory_is_refused_before_it_is_allocated(tmp_path, monkeypatch):
    from model_core.read import memory

    write_stack(tmp_path, along_z(3))
    (entry,) = finish(scan(tmp_path))[-1].series
    monkeypatch.setattr(memory, "free_bytes", lambda: 512 << 20)
    with pytest.raises(ReadError, match="needs 0 KiB of memory and 0 KiB are free"):
        finish(load(entry))


def test_the_stated_encoding_is_not_the_real_one(tmp_path):
    item = dataset(NOISE)
    item.save_as(tmp_path / "a", enforce_file_format=True)
    data = (tmp_path / "a").read_bytes()
    implicit = data.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2\0\0\0", 1)
    assert implicit != data
    (tmp_path / "a").write_bytes(implicit)
    found = finish(scan_reports(tmp_path))[-1]
    assert found.files[0].status in ("ok", "error", "skipped")
    assert ExplicitVRLittleEndian
