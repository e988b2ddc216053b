"""Headers read one after another: what one says is not taken for the next, whatever they share."""

import dataclasses

import numpy as np
import pytest
from dicom_files import along_z, dataset, write, write_stack
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from model_core.base.jobs import finish
from model_core.read import load, scan
from model_core.read.dicom import header as dicom_header
from model_core.read.dicom.elements import PICKED, Asked, read_elements


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


# Two values of every element that is picked, in place of what `dataset` writes.
OTHERS = {
    "SpecificCharacterSet": ("ISO_IR 101", "ISO_IR 144"),
    "ImageType": ("ORIGINAL\\PRIMARY\\AXIAL", "ORIGINAL\\PRIMARY\\LOCALIZER"),
    "SOPClassUID": ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"),
    "Modality": ("CT", "MR"),
    "PatientSex": ("F", "M"),
    "PatientAge": ("040Y", "041Y"),
    "ImagePositionPatient": ([0, 0, 1], [0, 0, 2]),
    "ImageOrientationPatient": ([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1]),
    "PixelSpacing": ([0.5, 0.5], [0.75, 0.75]),
    "ImagerPixelSpacing": ([0.5, 0.5], [0.5, 0.75]),
    "NominalScannedPixelSpacing": ([0.5, 0.5], [0.5, 0.75]),
    "PixelAspectRatio": ([1, 1], [1, 2]),
    "PhotometricInterpretation": ("MONOCHROME1", "MONOCHROME2"),
    "Rows": (2, 3),
    "Columns": (2, 4),
    "BitsAllocated": (8, 16),
    "BitsStored": (12, 16),
    "HighBit": (11, 15),
    "PixelRepresentation": (0, 1),
    "NumberOfFrames": (1, None),
    "RescaleType": ("HU", "OD"),
    "BurnedInAnnotation": ("YES", "NO"),
    "LossyImageCompression": ("00", "01"),
}
OF_KIND = {
    "UI": ("1.2.3", "1.2.4"),
    "DA": ("20200101", "20210101"),
    "TM": ("120000", "130000"),
    "IS": (3, 4),
    "DS": (3.5, 4.5),
    "FD": (3.5, 4.5),
    "FL": (3.5, 4.5),
    "US": (1, 0),
    "US or SS": (3, 4),
}
# Left to the general parser, or of no effect where there is one grey sample a pixel.
NOT_COMPARED = ("ConcatenationUID", "ModalityLUTSequence", "SamplesPerPixel", "PlanarConfiguration")


@pytest.mark.parametrize("keyword", [keyword for keyword in PICKED if keyword not in NOT_COMPARED])
def test_no_element_of_one_file_is_taken_for_that_of_the_next(tmp_path, monkeypatch, keyword):
    kind = dictionary_VR(tag_for_keyword(keyword))
    paths = []
    values = [*OTHERS.get(keyword, OF_KIND.get(kind, ("AAA", "BBB"))), None]
    for number, value in enumerate(values):
        item = dataset(np.full((3, 4), 5, np.int16), PatientName="NAME", SpecificCharacterSet="ISO_IR 100")
        if keyword in ("ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio"):
            del item.PixelSpacing
        if keyword == "BitsAllocated":
            item.BitsStored, item.HighBit = 8, 7
        if value is not None:
            setattr(item, keyword, value)
        elif keyword in item and keyword not in ("SOPClassUID", "Rows", "Columns", "BitsAllocated"):
            delattr(item, keyword)
        item.SOPInstanceUID = item.SOPInstanceUID if keyword == "SOPInstanceUID" and value else "1.2.3.4"
        path = tmp_path / f"{number}.dcm"
        item.save_as(path, enforce_file_format=False)
        # In letters of which the character set says what they are.
        path.write_bytes(path.read_bytes().replace(b"NAME", b"\xd3\xe0\xd2\xe5"))
        paths.append(path)
    quick = [dicom_header.read_header(path) for path in [*paths, *paths[::-1]]]
    monkeypatch.setattr(dicom_header, "read_elements", lambda stream, size: None)
    assert quick == [dicom_header.read_header(path) for path in [*paths, *paths[::-1]]]


def test_what_readers_ask_for_is_picked(tmp_path, monkeypatch):
    asked = set()

    def watched(stream, size):
        found = read_elements(stream, size)
        assert found is not None
        values = Asked(found.values)
        values.asked = asked
        return dataclasses.replace(found, values=values)

    monkeypatch.setattr(dicom_header, "read_elements", watched)
    pixels = np.zeros((3, 4), np.int16)
    # Each leaves out what the one before it was asked for first.
    for number, gone in enumerate(((), ("SeriesDescription", "PixelSpacing"), ("Modality", "RescaleType"))):
        item = dataset(pixels, InstanceNumber=number, PixelPaddingValue=-2000)
        for keyword in gone:
            if keyword in item:
                delattr(item, keyword)
        item.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
        dicom_header.read_header(tmp_path / f"{number}.dcm")
    assert {"Rows", "PatientName", "ProtocolName", "PixelAspectRatio"} < asked
    # What a file with functional groups has ("segment" is a mark of theirs): left to the general parser.
    groups = {"SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence", "segment"}
    assert asked - {*PICKED, *groups, "PixelValueTransformationSequence"} == set()


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
