"""`ctmasknet info`: exit codes and the JSON document."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pydicom
import pytest
import SimpleITK
from dicom_files import along_z, write, write_stack
from pydicom.encaps import encapsulate
from pydicom.uid import JPEGLSLossless

from model_core.cli.main import main
from model_core.phantom import make_phantom

FILE_KEYS = {"path", "status", "reason", "transfer_syntax"}
SERIES_KEYS = {"uid", "status", "warnings", "size", "spacing_mm", "origin_mm", "direction", "files"}


def info(capsys, *arguments):
    code = main(["info", *(str(argument) for argument in arguments)])
    out = capsys.readouterr()
    return code, out.out, out.err


def document(capsys, *arguments):
    code, out, err = info(capsys, *arguments, "--json")
    return code, json.loads(out), err


def test_document(tmp_path, capsys):
    paths = write_stack(tmp_path, along_z(3))
    (tmp_path / "notes.txt").write_text("hello")
    code, found, err = document(capsys, tmp_path)
    assert (code, err) == (0, "")
    assert found["schema_version"] == 1
    assert [set(row) for row in found["files"]] == [FILE_KEYS] * 4
    assert [row["status"] for row in found["files"]] == ["ok", "ok", "ok", "skipped"]
    assert found["files"][0]["transfer_syntax"] == "1.2.840.10008.1.2.1"
    (series,) = found["series"]
    assert set(series) >= SERIES_KEYS
    assert series["status"] == "ok"
    assert series["warnings"] == []
    assert series["size"] == [3, 3, 4]
    assert series["spacing_mm"] == [2.0, 0.5, 0.75]
    assert series["origin_mm"] == [-10, -20, 4]
    assert series["direction"] == [[0, 0, -1], [0, 1, 0], [1, 0, 0]]
    assert series["files"] == [str(path) for path in paths[::-1]]


def test_pixels_are_those_before_rescale(tmp_path, capsys):
    paths = write_stack(tmp_path, along_z(2), RescaleSlope=2)
    _, found, _ = document(capsys, tmp_path, "--pixels")
    for path, row in zip(paths, found["files"], strict=True):
        stored = pydicom.dcmread(path).pixel_array
        assert row["shape"] == [3, 4]
        assert row["dtype"] == "int16"
        assert row["sha256"] == hashlib.sha256(stored.astype("<i2").tobytes()).hexdigest()


def test_pixels_that_cannot_be_decoded_are_told(tmp_path, capsys):
    write_stack(tmp_path, along_z(2))
    item = pydicom.dcmread(tmp_path / "001.dcm")
    item.file_meta.TransferSyntaxUID = JPEGLSLossless
    item.PixelData = encapsulate([b"\xff\xd8nonsense\xff\xd9"])
    item["PixelData"].VR = "OB"
    item["PixelData"].is_undefined_length = True
    item.save_as(tmp_path / "001.dcm")
    code, found, _ = document(capsys, tmp_path, "--pixels")
    assert code == 0
    assert [row["status"] for row in found["files"]] == ["ok", "error"]
    assert "JPEG-LS Lossless" in found["files"][1]["reason"]
    assert found["series"][0]["status"] == "warning"


def test_unknown_numbers_are_null(tmp_path, capsys):
    write(tmp_path / "a", PixelSpacing=None, ImagePositionPatient=None)
    _, found, _ = document(capsys, tmp_path)
    (series,) = found["series"]
    assert series["spacing_mm"] == [None, None, None]
    assert series["origin_mm"] is None
    assert series["slice_origins_mm"] is None


def test_table(tmp_path, capsys):
    write_stack(tmp_path, [*along_z(3), (-10.0, -20.0, 12.0)])
    code, out, _ = info(capsys, tmp_path)
    assert code == 0
    assert "4 slices of 4 x 3, 4 files" in out
    assert "spacing slices unknown, rows 0.500 mm, columns 0.750 mm" in out
    assert "warning: 3 slice(s) are missing" in out
    assert "1 series, 4 files" in out


@pytest.mark.parametrize("arguments", [[], ["--json"], ["--json", "--pixels"]], ids=str)
def test_nothing_to_open_is_1_with_one_line(tmp_path, capsys, arguments):
    (tmp_path / "x.dcm").write_bytes(b"nothing")
    code, out, err = info(capsys, tmp_path, *arguments)
    assert code == 1
    assert err.count("\n") == 1
    assert "cannot be opened" in err
    if arguments:
        assert json.loads(out)["files"][0]["status"] == "error"


@pytest.mark.parametrize("name", ["gone", ""])
def test_missing_path_and_empty_folder_are_1(tmp_path, capsys, name):
    code, _, err = info(capsys, tmp_path / name)
    assert code == 1
    assert err.count("\n") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["a", "--nonsense"]], ids=str)
def test_usage_is_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["info", *arguments])
    assert stop.value.code == 2


def test_names_that_are_no_text_and_a_poor_terminal(tmp_path):
    path = write(tmp_path / "a")
    path.rename(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xe4.dcm"))
    write(tmp_path / "肺.dcm")
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    for arguments in (["--json"], []):
        done = subprocess.run(
            [sys.executable, "-m", "model_core.cli.main", "info", str(tmp_path), *arguments],
            capture_output=True,
            env=environment,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr


def test_real_corpus_in_one_call(shared_data, capsys):
    folder = shared_data / "D_dicom_compliance" / "wg04"
    code, found, _ = document(capsys, folder, "--pixels")
    assert code == 0
    assert len(found["files"]) == sum(1 for path in folder.rglob("*") if path.is_file())
    lossless = {row["sha256"] for row in found["files"] if "CT1" in row["path"] and "JLSN" not in row["path"]}
    assert len({row["sha256"] for row in found["files"]}) < len(found["files"])
    assert np.all([row["shape"] == [512, 512] for row in found["files"]])
    assert lossless


def test_pixels_of_a_volume_file_tell_of_its_values(tmp_path, capsys):
    volume = make_phantom(slices=4, size=96)[0]
    values = volume.geometry.to_native(volume.voxels).astype(np.float32) + 1024
    values[:, :3, :3] = np.nan
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(values), str(tmp_path / "v.nii.gz"))
    _, found, _ = document(capsys, tmp_path, "--pixels")
    (series,) = found["series"]
    assert series["status"] == "warning"
    assert "that of HU + 1024" in series["problems"][0]["text"]
    assert "36 of 36864 values are no numbers" in series["problems"][1]["text"]
    _, out, _ = info(capsys, tmp_path, "--pixels")
    assert "1024 is subtracted" in out


def test_the_document_has_a_code_beside_each_text(tmp_path, capsys):
    write_stack(tmp_path, [(0, 0, z) for z in (0, 2, 6, 8, 10)])
    assert main(["info", str(tmp_path), "--json"]) == 0
    (problem,) = json.loads(capsys.readouterr().out)["series"][0]["problems"]
    assert set(problem) == {"level", "code", "text", "action", "files"}
    assert (problem["level"], problem["code"]) == ("warning", "gap")
