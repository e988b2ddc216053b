"""Modality LUT and VOI LUT: values and display as pydicom and the standard have them."""

import numpy as np
import pytest
from dicom_files import along_z, dataset, write, write_stack
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from model_core.base.errors import ReadError
from model_core.base.jobs import finish
from model_core.base.voi import apply_window, lookup_table
from model_core.base.volume import Window
from model_core.read import load, scan, thumbnail
from model_core.read.scanning import scan_reports

NOISE = np.random.default_rng(1).integers(0, 300, (24, 32)).astype(np.int16)


def table(entries, first=0, bits=16, *, vr="US", data_vr="OW", **elements):
    item = Dataset()
    item.add_new("LUTDescriptor", vr, [len(entries) % 65536, first, bits])
    data = np.asarray(entries, "<u2")
    item.add_new("LUTData", data_vr, data.tobytes() if data_vr == "OW" else [int(value) for value in data])
    for keyword, value in elements.items():
        setattr(item, keyword, value)
    return item


def open_one(path):
    (entry,) = finish(scan(path))[-1].series
    return entry, finish(load(entry))[-1]


# -------------------------------------------------------------------------------------- Modality LUT


@pytest.mark.parametrize("data_vr", ["OW", "US"])
@pytest.mark.parametrize("kind", ["US", "HU", "OD"])
@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
def test_a_modality_lut_gives_the_values_of_pydicom(tmp_path, syntax, kind, data_vr):
    entries = (np.arange(200) ** 2 // 3 + 7).astype(np.uint16)
    item = dataset(NOISE, syntax=syntax, RescaleSlope=None, RescaleIntercept=None)
    item.ModalityLUTSequence = [table(entries, 50, data_vr=data_vr, ModalityLUTType=kind)]
    item.save_as(tmp_path / "a", enforce_file_format=True)
    _, volume = open_one(tmp_path)
    np.testing.assert_array_equal(volume.voxels[0], apply_modality_lut(NOISE, item))
    assert volume.unit == "values"  # a table has no negative entries, so no air: never Hounsfield units


def test_a_table_excludes_the_rescale(tmp_path):
    item = dataset(NOISE, RescaleSlope=2, RescaleIntercept=-1000)
    item.ModalityLUTSequence = [table(np.arange(300)[::-1])]
    item.save_as(tmp_path / "a", enforce_file_format=True)
    _, volume = open_one(tmp_path)
    np.testing.assert_array_equal(volume.voxels[0], 299 - NOISE)
    assert thumbnail(_).ndim == 2


def test_tables_of_signed_values_start_below_zero(tmp_path):
    signed = (NOISE - 150).astype(np.int16)
    entries = np.arange(300) * 5
    for name, vr, first in (("ss", "SS", -150), ("us", "US", 65536 - 150)):
        item = dataset(signed, RescaleSlope=None, RescaleIntercept=None)
        item.ModalityLUTSequence = [table(entries, first, vr=vr)]
        (tmp_path / name).mkdir()
        item.save_as(tmp_path / name / "a", enforce_file_format=True)
        _, volume = open_one(tmp_path / name)
        np.testing.assert_array_equal(volume.voxels[0], (signed.astype(int) + 150) * 5)


def test_a_table_of_65536_entries_is_declared_as_0(tmp_path):
    item = dataset(NOISE.astype(np.uint16), RescaleSlope=None, RescaleIntercept=None)
    item.ModalityLUTSequence = [table(np.arange(65536) // 4)]
    item.save_as(tmp_path / "a", enforce_file_format=True)
    np.testing.assert_array_equal(open_one(tmp_path)[1].voxels[0], NOISE // 4)


def test_entries_beyond_int16_keep_their_order(tmp_path):
    entries = 30_000 + np.arange(300) * 100
    item = dataset(NOISE, RescaleSlope=None, RescaleIntercept=None)
    item.ModalityLUTSequence = [table(entries)]
    item.save_as(tmp_path / "a", enforce_file_format=True)
    _, volume = open_one(tmp_path)
    order = np.argsort(NOISE, axis=None, kind="stable")
    steps = np.diff(volume.voxels.ravel()[order].astype(int))
    assert (steps >= 0).all()
    assert len(np.unique(volume.voxels)) == len(np.unique(NOISE))
    assert any("do not fit" in problem.text for problem in volume.problems)


def test_each_slice_has_its_own_table(tmp_path):
    for index, path in enumerate(write_stack(tmp_path, along_z(3), RescaleSlope=None, RescaleIntercept=None)):
        import pydicom

        item = pydicom.dcmread(path)
        item.ModalityLUTSequence = [table(np.arange(300) * (index + 1))]
        item.save_as(path)
    _, volume = open_one(tmp_path)
    assert volume.voxels[:, 2, 2].tolist() == [9, 4, 1]


@pytest.mark.parametrize("damage", ["short", "empty", "no data", "bits"])
def test_a_damaged_modality_lut_is_told(tmp_path, damage):
    item = dataset(NOISE)
    broken = table(np.arange(100))
    if damage == "short":
        broken.LUTDescriptor = [200, 0, 16]
    elif damage == "empty":
        broken.LUTData = b""
    elif damage == "no data":
        del broken.LUTData
    else:
        broken.LUTDescriptor = [100, 0, 64]
    item.ModalityLUTSequence = [broken]
    item.save_as(tmp_path / "a", enforce_file_format=True)
    (report,) = finish(scan_reports(tmp_path))[-1].files
    assert report.status == "error"
    assert "lookup table" in report.reason
    with pytest.raises(ReadError):
        finish(scan(tmp_path))


# ------------------------------------------------------------------------------------------- VOI LUT


def shown_by_pydicom(item, values, bits):
    picture = apply_voi(values, item)
    return np.floor(picture.astype(float) * 255 / ((1 << bits) - 1) + 0.5)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_voi_lut_is_a_preset_that_shows_what_pydicom_shows(tmp_path, bits):
    entries = np.sort(np.random.default_rng(2).integers(0, 1 << bits, 150))
    item = dataset(NOISE, RescaleIntercept=0)
    item.VOILUTSequence = [table(entries, 60, bits, data_vr="US", LUTExplanation="Bone curve")]
    item.save_as(tmp_path / "a", enforce_file_format=True)
    _, volume = open_one(tmp_path)
    (window,) = volume.windows
    assert (window.name, window.width, window.level) == ("Bone curve", 150, 135)
    shown = apply_window(volume.voxels[0], window)
    np.testing.assert_allclose(shown, shown_by_pydicom(item, NOISE, bits), atol=0.51)


def test_windows_come_first_and_tables_follow(tmp_path):
    item = dataset(NOISE, WindowCenter=[40, 50], WindowWidth=[400, 350])
    item.VOILUTSequence = [
        table(np.arange(256), 65536 - 1024, 8, LUTExplanation="A"),
        table(np.arange(256)[::-1], -1024, 8, vr="SS"),
        table(np.arange(256), 65536 - 1024, 8, LUTExplanation="A"),
    ]
    item.save_as(tmp_path / "a", enforce_file_format=True)
    windows = open_one(tmp_path)[1].windows
    assert [(window.name, window.width, window.level) for window in windows] == [
        ("", 400, 40),
        ("", 350, 50),
        ("A", 256, -896),
        ("Table 2", 256, -896),
    ]
    assert np.argmax(lookup_table(windows[2]).view()[np.arange(-1024, -768).astype(np.uint16)]) == 255
    assert np.argmax(lookup_table(windows[3]).view()[np.arange(-1024, -768).astype(np.uint16)]) == 0


def test_a_damaged_voi_lut_is_left_out_and_logged_without_patient(tmp_path, caplog):
    item = dataset(NOISE, WindowCenter=40, WindowWidth=400)
    broken = table(np.arange(10), LUTExplanation="SECRET^NAME")
    broken.LUTDescriptor = [500, 0, 16]
    item.VOILUTSequence = [broken]
    item.save_as(tmp_path / "a", enforce_file_format=True)
    assert open_one(tmp_path)[1].windows == (Window(400, 40),)
    assert "A VOI LUT is left out" in caplog.text
    assert "SECRET" not in caplog.text


def test_a_curve_is_stretched_with_its_window():
    window = Window(4, 2, curve=bytes([0, 10, 200, 255]))
    assert apply_window(np.array([[-5, 0, 1, 2, 3, 9]], np.int16), window)[0].tolist() == [
        0, 0, 10, 200, 255, 255
    ]  # fmt: skip
    wide = Window(7, 3.5, curve=window.curve)
    assert apply_window(np.array([[0, 2, 4, 6]], np.int16), wide)[0].tolist() == [0, 10, 200, 255]
    inverted = apply_window(np.array([[1]], np.int16), window, inverted=True)
    assert inverted[0, 0] == 245
    assert apply_window(np.array([[1]], np.int16), Window(1, 0, curve=b"\x40"))[0, 0] == 64


@pytest.mark.parametrize("name", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_functions_stay_with_every_value_of_a_multiple_window(tmp_path, name):
    write(tmp_path / "a", NOISE, WindowCenter=[1, 2], WindowWidth=[10, 20], VOILUTFunction=name)
    assert {window.function for window in open_one(tmp_path)[1].windows} == {name}
