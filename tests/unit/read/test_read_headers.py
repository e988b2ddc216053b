"""Headers read one after another: what one says is not taken for the next, whatever they share."""

import numpy as np
import pytest
from dicom_files import along_z, dataset, write, write_stack
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from model_core.base.jobs import finish
from model_core.read import load, scan
from model_core.read.dicom import header as dicom_header


def varied(rng, number):
    """Return elements of a slice whose values differ in length and kind from file to file."""
    signed = bool(rng.integers(2))
    values = {
        "SOPInstanceUID": generate_uid() if rng.integers(2) else f"1.2.{number}",
        "InstanceNumber": int(rng.integers(1, 12000)),
        "ImagePositionPatient": [round(float(x), int(rng.integers(0, 5))) for x in rng.uniform(-300, 300, 3)],
        "RescaleIntercept": int(rng.choice([0, -1, -1024, -8192])),
        "SeriesDescription": "X" * int(rng.integers(0, 30)),
        "PixelPaddingValue": -2000 if signed else 63536,
        "AcquisitionTime": str(rng.choice(["120000", "120000.123456", ""])),
        "PixelRepresentation": int(signed),
        "ContrastBolusAgent": "Y" * int(rng.integers(0, 9)),
    }
    pixels = np.full((3, 4), number, np.int16 if signed else np.uint16)
    for keyword in rng.permutation(["SeriesDescription", "ContrastBolusAgent", "AcquisitionTime"])[:1]:
        if rng.integers(2):
            del values[str(keyword)]
    return pixels, values


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
def test_headers_that_share_elements_are_read_like_by_the_general_parser(tmp_path, monkeypatch, syntax):
    rng = np.random.default_rng(7)
    paths = []
    for number in range(60):
        pixels, values = varied(rng, number)
        paths.append(write(tmp_path / f"{number}.dcm", pixels, syntax=syntax, **values))
    quick = [dicom_header.read_header(path) for path in paths]
    monkeypatch.setattr(dicom_header, "read_elements", lambda stream, size: None)
    assert quick == [dicom_header.read_header(path) for path in paths]
    assert len({header.padding for header, _ in quick}) == 2


def test_the_encoding_of_one_file_is_not_that_of_the_next(tmp_path):
    for number in range(8):
        syntax = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)[number % 2]
        place = [0, 0, 3 * number]
        pixels = np.full((3, 4), number, np.int16)
        write(tmp_path / f"{number}.dcm", pixels, syntax=syntax, ImagePositionPatient=place)
    (entry,) = finish(scan(tmp_path))[-1].series
    volume = finish(load(entry))[-1]
    assert sorted(volume.voxels[:, 0, 0].tolist()) == [number - 1024 for number in range(8)]
    assert volume.geometry.spacing_mm[0] == pytest.approx(3)


def test_a_cut_header_after_whole_ones_is_reported(tmp_path):
    write_stack(tmp_path, along_z(4))
    whole = (tmp_path / "000.dcm").read_bytes()
    # Cut within the value of an element that the files before had too.
    place = whole.index(b"ORIGINAL")
    (tmp_path / "cut.dcm").write_bytes(whole[: place + 4])
    catalogue = finish(scan(tmp_path))[-1]
    report = next(item for item in catalogue.files if item.path.endswith("cut.dcm"))
    assert report.status == "error"
    assert catalogue.series[0].size[0] == 4


def test_elements_out_of_order_are_not_trusted_though_each_is_known(tmp_path):
    write_stack(tmp_path, along_z(3))
    item = dataset(np.zeros((3, 4), np.int16), InstanceNumber=9, ImagePositionPatient=[0, 0, 99])
    item.save_as(tmp_path / "odd", enforce_file_format=True)
    data = (tmp_path / "odd").read_bytes()
    rows, columns = data.index(b"\x28\x00\x10\x00"), data.index(b"\x28\x00\x11\x00")
    swapped = data[:rows] + data[columns : columns + 10] + data[rows : rows + 10] + data[columns + 10 :]
    (tmp_path / "odd").write_bytes(swapped)
    header, _ = dicom_header.read_header(tmp_path / "odd")
    assert (header.rows, header.columns) == (3, 4)


@pytest.mark.parametrize(
    ("low", "high", "intercept", "dtype"),
    [
        (-32768, 32767, -1024, np.int16),
        (-32768, 0, 1, np.int16),
        (-31744, 32767, -1024, np.int16),
        (0, 65535, -1024, np.uint16),
        (0, 33791, -1024, np.uint16),
        (0, 40000, 0, np.uint16),
        (-5, 32767, 3, np.int16),
    ],
)
def test_values_at_the_ends_of_16_bits_are_cut_and_counted(tmp_path, low, high, intercept, dtype):
    pixels = np.full((3, 4), low, dtype)
    pixels[1, 2] = high
    pixels[0, 0] = 1
    write_stack(tmp_path, along_z(3), pixels=[pixels] * 3, RescaleIntercept=intercept)
    (entry,) = finish(scan(tmp_path))[-1].series
    volume = finish(load(entry))[-1]
    wanted = pixels.astype(np.int64) + intercept
    np.testing.assert_array_equal(volume.voxels[0], np.clip(wanted, -32768, 32767))
    cut = 3 * int(((wanted < -32768) | (wanted > 32767)).sum())
    said = [problem.text for problem in volume.problems if "outside 16-bit" in problem.text]
    assert bool(said) == bool(cut)
    if cut:
        assert said[0].startswith(f"{cut} values")
