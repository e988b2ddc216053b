"""Files that are made to hang, to eat memory or to vanish, and what must never be written down."""

import ast
import errno
import io
import logging
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from dicom_files import along_z, dataset, enhanced, write_stack
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.pixels import compress
from pydicom.uid import DeflatedExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEG2000Lossless

import model_core
from model_core.base.errors import DataError, ReadError
from model_core.base.jobs import finish
from model_core.read import load, read_labels, scan, thumbnail
from model_core.read.dicom import dataset as dicom_dataset
from model_core.read.dicom import directory as dicomdir
from model_core.read.dicom import header as dicom_header
from model_core.read.opening import stored_pixels
from model_core.read.scanning import scan_reports

NOISE = np.random.default_rng(0).integers(0, 4096, (24, 32)).astype(np.int16)
CORE = Path(model_core.__file__).resolve().parent


def report_of(path):
    (report,) = finish(scan_reports(path))[-1].files
    return report


def dicom_bytes(item):
    stream = io.BytesIO()
    item.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


# ------------------------------------------------------------------------------------------ no hang


def with_items(data, count, *, tag=b"\x00\x52\x30\x92", before=b"\xe0\x7f\x10\x00OW"):
    at = data.index(before)
    items = b"\xfe\xff\x00\xe0\0\0\0\0" * count
    return data[:at] + tag + b"SQ\0\0" + struct.pack("<I", len(items)) + items + data[at:]


def test_a_sequence_of_countless_items_is_left_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_dataset, "HEADER_SECONDS", 0.2)
    (tmp_path / "a").write_bytes(with_items(dicom_bytes(dataset(NOISE)), 300_000))
    start = time.thread_time()
    report = report_of(tmp_path)
    assert time.thread_time() - start < 5
    assert report.status == "error"
    assert "took longer than 0.2 s" in report.reason


def test_a_dicomdir_of_countless_records_too(tmp_path, monkeypatch):
    monkeypatch.setattr(dicom_dataset, "HEADER_SECONDS", 0.2)
    item = dataset(NOISE, SOPClassUID="1.2.840.10008.1.3.10")
    for keyword in ("PixelData", "Rows", "Columns"):
        delattr(item, keyword)
    data = with_items(dicom_bytes(item), 300_000, tag=b"\x04\x00\x20\x12", before=b"\x08\x00\x08\x00CS")
    (tmp_path / "DICOMDIR").write_bytes(data)
    assert "The index is damaged" in dicomdir.complaint(tmp_path / "DICOMDIR")


def test_many_frames_are_read_in_time(tmp_path):
    item = dataset(np.zeros((1, 2), np.int16), Modality="US")
    item.NumberOfFrames = 20_000
    item.PixelData = bytes(4 * 20_000)
    item.save_as(tmp_path / "a", enforce_file_format=True)
    start = time.thread_time()
    _, frames = dicom_header.read_header(tmp_path / "a")
    assert len(frames) == 20_000
    assert frames[-1].index == 19_999
    assert time.thread_time() - start < 2


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian])
def test_sequences_in_every_encoding_are_read_as_the_library_does(tmp_path, syntax):
    pixels = np.arange(3 * 12, dtype=np.int16).reshape(3, 3, 4)
    item = enhanced(pixels, along_z(3), slopes=[1, 2, 3])
    item.file_meta.TransferSyntaxUID = syntax
    item.save_as(tmp_path / "a", enforce_file_format=True)
    _, frames = dicom_header.read_header(tmp_path / "a")
    assert [frame.slope for frame in frames] == [1, 2, 3]
    assert [frame.position for frame in frames] == along_z(3)


def test_sequences_nested_deeply_in_functional_groups(tmp_path):
    data = dicom_bytes(dataset(NOISE))
    at = data.index(b"\xe0\x7f\x10\x00OW")
    start = b"\x00\x52\x29\x92SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    end = b"\xfe\xff\x0d\xe0\0\0\0\0\xfe\xff\xdd\xe0\0\0\0\0"
    (tmp_path / "a").write_bytes(data[:at] + start * 3000 + end * 3000 + data[at:])
    report = report_of(tmp_path)
    assert report.status == "error"
    assert "nested too deeply" in report.reason


def test_countless_windows_are_cut_to_what_a_menu_shows(tmp_path):
    item = dataset(NOISE, syntax=ImplicitVRLittleEndian)
    item.WindowCenter = [str(number) for number in range(60_000)]
    item.WindowWidth = ["100"] * 60_000
    item.save_as(tmp_path / "a", enforce_file_format=True)
    (entry,) = finish(scan(tmp_path))[-1].series
    start = time.thread_time()
    assert len(finish(load(entry))[-1].windows) == 64
    assert time.thread_time() - start < 5


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.EIO, "The system cannot read the file: Input/output error."),
        (errno.ENOSPC, "no space left on the disk for temporary files"),
        (errno.EMFILE, "Too many files are open"),
        (errno.EACCES, "may not be read (permissions)"),
        (errno.ENOENT, "The file is gone."),
    ],
)
def test_what_the_system_answers_is_no_damage_of_the_file(tmp_path, monkeypatch, code, words):
    path = write_stack(tmp_path, along_z(1))[0]
    real = Path.open

    def refuse(self, *args, **kwargs):
        if self == path:
            raise OSError(code, os.strerror(code), str(path))
        return real(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    reason = report_of(tmp_path).reason
    assert words in reason
    assert "damaged" not in reason
    assert str(tmp_path) not in reason


# ---------------------------------------------------------------------------------------- vanishing


@pytest.mark.parametrize("packed", [False, True])
def test_files_that_vanish_after_the_scan(tmp_path, packed):
    paths = []
    for index, position in enumerate(along_z(4)):
        item = dataset(np.tile(NOISE, (2, 2)), ImagePositionPatient=list(position), InstanceNumber=index)
        if packed:
            compress(item, JPEG2000Lossless, generate_instance_uid=False)
        item.save_as(tmp_path / f"{index}.dcm", enforce_file_format=True)
        paths.append(tmp_path / f"{index}.dcm")
    (entry,) = finish(scan(tmp_path))[-1].series
    paths[1].unlink()
    volume = finish(load(entry))[-1]
    assert volume.slices == 3
    problem = next(problem for problem in volume.problems if "cannot be read" in problem.text)
    assert "The file is gone." in problem.text
    assert problem.files == ("1.dcm",)
    for path in paths[2:]:
        path.unlink()
    with pytest.raises(ReadError):
        thumbnail(entry)
    paths[0].unlink()
    with pytest.raises(ReadError, match="No slice of this series can be read: The file is gone"):
        finish(load(entry))


def test_a_file_that_shrinks_while_it_is_read(tmp_path):
    paths = write_stack(tmp_path, along_z(3), pixels=[NOISE] * 3)
    (entry,) = finish(scan(tmp_path))[-1].series
    os.truncate(paths[0], paths[0].stat().st_size - 100)
    volume = finish(load(entry))[-1]
    assert volume.slices == 2
    assert any("became shorter" in problem.text for problem in volume.problems)


def test_a_folder_that_vanishes(tmp_path):
    write_stack(tmp_path / "in", along_z(2))
    job = scan(tmp_path / "in")
    next(job)
    for path in (tmp_path / "in").iterdir():
        path.unlink()
    with pytest.raises(ReadError):
        finish(job)


@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "v.mha", "v.nrrd", "p.png"])
def test_volumes_and_pictures_that_vanish(tmp_path, name):
    import SimpleITK as sitk  # noqa: N813

    path = tmp_path / name
    if name.endswith("png"):
        Image.fromarray(np.zeros((8, 9), np.uint8)).save(path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(np.zeros((4, 5, 6), np.int16)), str(path))
    (entry,) = finish(scan(path))[-1].series
    path.unlink()
    for attempt in (lambda: finish(load(entry)), lambda: thumbnail(entry), lambda: stored_pixels(path)):
        with pytest.raises(ReadError):
            attempt()


# ------------------------------------------------------------------------------------------ names


def test_paths_outside_ascii_in_every_format(tmp_path):
    import SimpleITK as sitk  # noqa: N813

    folder = tmp_path / "Больной 肺 ü"
    folder.mkdir()
    item = dataset(np.tile(NOISE, (2, 2)))
    compress(item, JPEG2000Lossless, generate_instance_uid=False)
    item.save_as(folder / "ж.dcm", enforce_file_format=True)
    for suffix in (".nii", ".nii.gz", ".mha", ".nrrd", ".mhd"):
        sitk.WriteImage(sitk.GetImageFromArray(np.full((3, 4, 5), 7, np.int16)), str(tmp_path / f"v{suffix}"))
        (tmp_path / f"v{suffix}").rename(folder / f"объём{suffix}")
    (tmp_path / "v.raw").rename(folder / "v.raw")
    Image.fromarray(np.full((4, 5), 9, np.uint8)).save(folder / "絵.png")
    found = finish(scan(folder))[-1]
    assert sorted(report.status for report in found.files) == ["ok"] * 7 + ["skipped"]
    assert len(found.series) == 7
    for entry in found.series:
        assert finish(load(entry))[-1].voxels.size


# --------------------------------------------------------------------------------- what is written down


def hostile_folder(folder):
    """Damage of many kinds, each with patient data in it."""
    write_stack(folder, along_z(3), SeriesDescription="SECRET^DESC")
    whole = dicom_bytes(dataset(NOISE, SeriesInstanceUID="1.2.3", InstitutionName="SECRET^PLACE"))
    for name, data in {
        "cut.dcm": whole[: len(whole) // 2],
        "odd.dcm": whole.replace(b"\x28\x00\x10\x00US\x02\x00", b"\x28\x00\x10\x00US\x02\x01"),
        "number.dcm": whole.replace(b"0.5\\0.75", b"SECRET\\2"),
        "charset.dcm": whole.replace(b"SECRET^NAME", b"\xff\xfeCRET^\x1b$B"),
        "deep.dcm": whole[132:].replace(b"SECRET", b"SEC\0ET"),
    }.items():
        (folder / name).write_bytes(data)
    packed = dataset(np.tile(NOISE, (2, 2)), SeriesInstanceUID="1.2.4")
    compress(packed, JPEG2000Lossless, generate_instance_uid=False)
    packed.PixelData = packed.PixelData[:400] + b"SECRET" * 20 + packed.PixelData[520:]
    packed.save_as(folder / "packed.dcm", enforce_file_format=True)


def test_no_patient_data_in_logs_reasons_or_errors(tmp_path, caplog, capfd):
    caplog.set_level(logging.DEBUG)
    hostile_folder(tmp_path)
    found = finish(scan(tmp_path))[-1]
    texts = [report.reason for report in found.files]
    for entry in found.series:
        try:
            volume = finish(load(entry))[-1]
            texts += [problem.text + problem.action for problem in volume.problems]
            texts.append(repr(volume)[:100_000])
        except ReadError as error:
            texts += [error.message, error.details, repr(error.__cause__)]
        texts += [entry.series_id, *(problem.text + problem.action for problem in entry.problems)]
    written = caplog.text + "".join(capfd.readouterr())
    assert "SECRET" not in written
    assert not any("SECRET^NAME" in text or "SECRET-ID" in text or "SECRET^PLACE" in text for text in texts)


def test_names_and_ids_say_nothing_about_the_patient(tmp_path):
    write_stack(tmp_path, along_z(2))
    (entry,) = finish(scan(tmp_path))[-1].series
    volume = finish(load(entry))[-1]
    assert volume.patient.name == "SECRET^NAME"
    for text in (entry.series_id, entry.title, volume.title, repr(entry), repr(volume)):
        assert "SECRET" not in text


FORBIDDEN_CALLS = {"eval", "exec", "compile", "__import__"}
FORBIDDEN_MODULES = {
    "pickle", "cPickle", "marshal", "shelve", "dill", "cloudpickle", "joblib",
    "socket", "ssl", "http", "urllib", "ftplib", "smtplib", "requests", "xmlrpc", "aiohttp", "httpx",
}  # fmt: skip


# Reads the papers' own checkpoints of the oldest format, with an unpickler that knows tensors only.
RESTRICTED_LOADER = CORE / "weights" / "published.py"


def sources():
    found = sorted(path for root in (CORE, CORE.parent / "ctmasknet_gui") for path in root.rglob("*.py"))
    assert {"networks", "train", "view"} <= {path.parent.name for path in found}
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda path: path.relative_to(CORE.parent).as_posix())
def test_no_network_no_pickle_no_eval(path):
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in FORBIDDEN_CALLS, f"line {node.lineno}"
        modules = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        for module in modules:
            if (path, module) != (RESTRICTED_LOADER, "pickle"):
                assert module.partition(".")[0] not in FORBIDDEN_MODULES, f"line {node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            keywords = {keyword.arg: keyword.value for keyword in node.keywords}
            name = node.func.attr
            owner = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            if name == "load" and owner == "torch" and path != RESTRICTED_LOADER:
                assert ast.unparse(keywords["weights_only"]) == "True", f"line {node.lineno}"
            if name == "load" and owner in ("np", "numpy"):
                assert "allow_pickle" not in keywords, f"line {node.lineno}"
            assert not (owner == "os" and name in ("system", "popen")), f"line {node.lineno}"
            shell = keywords.get("shell")
            assert shell is None or ast.unparse(shell) == "False", f"line {node.lineno}"


def test_the_restricted_loader_runs_nothing(tmp_path):
    import pickle

    import torch

    from model_core.base.errors import WeightsError
    from model_core.weights.published import read_published

    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    for name, zipped in (("new.pth", True), ("old.pth", False)):
        path = tmp_path / name
        torch.save({"model_weights": Evil()}, path, _use_new_zipfile_serialization=zipped)
        with pytest.raises(WeightsError, match="asks to run code"):
            read_published(path)
    (tmp_path / "bare.pth").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(WeightsError):
        read_published(tmp_path / "bare.pth")
    assert not marker.exists()


# ------------------------------------------------------------------------------------------ pictures


def bomb(path, width=60_000, height=60_000):
    """A PNG that declares far more pixels than it has bytes."""
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
    )
    return path


def test_a_picture_bomb_is_refused_everywhere(tmp_path):
    from model_core.data.pictures import read_grey, read_index_picture

    path = bomb(tmp_path / "a.png")
    assert report_of(path).status == "error"
    for read in (read_grey, read_index_picture):
        with pytest.raises(DataError, match=r"a\.png"):
            read(path)
    (entry,) = finish(scan(write_stack(tmp_path / "ct", along_z(1))[0]))[-1].series
    with pytest.raises(ReadError, match=r"a\.png"):
        read_labels(path, finish(load(entry))[-1])


@pytest.mark.parametrize("damage", ["cut", "crc", "empty", "text"])
def test_damaged_pictures_of_data_sets_are_our_own_errors(tmp_path, damage):
    from model_core.data.pictures import read_grey, read_index_picture

    path = tmp_path / "a.png"
    Image.fromarray(NOISE.astype(np.uint8)).save(path)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "crc":
        data[20] ^= 0xFF
    elif damage == "empty":
        data = b""
    else:
        data = b"no picture"
    path.write_bytes(data)
    for read in (read_grey, read_index_picture):
        with pytest.raises(DataError, match=r"a\.png"):
            read(path)


def test_an_empty_item_among_the_functional_groups(tmp_path):
    item = enhanced(np.zeros((2, 3, 4), np.int16), along_z(2))
    item.PerFrameFunctionalGroupsSequence[1] = Dataset()
    item.save_as(tmp_path / "a", enforce_file_format=True)
    _, frames = dicom_header.read_header(tmp_path / "a")
    assert frames[1].position is None
    assert report_of(tmp_path).status in ("ok", "warning")
