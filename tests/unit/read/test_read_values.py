"""What the voxels are: rescale per slice, signs, stored bits, padding, MONOCHROME1, units, windows."""

import numpy as np
import pydicom
import pytest
from dicom_files import along_z, dataset, enhanced, write, write_stack
from pydicom.dataset import Dataset
from pydicom.pixels import compress
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from model_core.base.errors import ReadError
from model_core.base.jobs import finish
from model_core.base.settings import InputSpec
from model_core.base.voi import apply_window, display_values
from model_core.base.volume import Window
from model_core.engine.preprocess import placement
from model_core.export.sampling import sampling
from model_core.read import load, scan, thumbnail
from model_core.read.dicom import header as dicom_header
from model_core.read.opening import stored_pixels

NOISE = np.random.default_rng(0).integers(0, 4096, (64, 48)).astype(np.int16)


def open_one(path):
    (entry,) = finish(scan(path))[-1].series
    return entry, finish(load(entry))[-1]


def test_each_slice_has_its_own_rescale(tmp_path):
    pixels = np.full((3, 3, 4), 1000, np.int16)
    write_stack(
        tmp_path,
        along_z(3),
        pixels=pixels,
        RescaleSlope=[1, 2, "0.5"],
        RescaleIntercept=[-1024, -1000, "-1024.25"],
    )
    _, volume = open_one(tmp_path)
    assert volume.unit == "HU"
    assert volume.voxels[:, 0, 0].tolist() == [-524, 1000, -24]


@pytest.mark.parametrize(
    "syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian]
)
@pytest.mark.parametrize("kind", [np.int16, np.uint16])
def test_native_syntaxes_and_signs(tmp_path, kind, syntax):
    pixels = NOISE.astype(kind)
    pixels[0, 0] = -1000 if kind is np.int16 else 4000
    write(tmp_path / "a", pixels, syntax=syntax)
    _, volume = open_one(tmp_path)
    np.testing.assert_array_equal(volume.voxels[0], pixels.astype(int) - 1024)
    np.testing.assert_array_equal(stored_pixels(tmp_path / "a"), pixels)


def test_big_endian(tmp_path):
    item = dataset(NOISE, syntax=ExplicitVRBigEndian)
    item.PixelData = NOISE.astype(">i2").tobytes()
    item.save_as(tmp_path / "a", enforce_file_format=True)
    _, volume = open_one(tmp_path)
    np.testing.assert_array_equal(volume.voxels[0], NOISE - 1024)
    np.testing.assert_array_equal(stored_pixels(tmp_path / "a"), NOISE)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless], ids=lambda uid: uid.name)
def test_compressed_without_loss_is_equal(tmp_path, syntax):
    item = dataset(NOISE)
    compress(item, syntax, generate_instance_uid=False)
    item.save_as(tmp_path / "a", enforce_file_format=True)
    _, volume = open_one(tmp_path)
    np.testing.assert_array_equal(volume.voxels[0], NOISE - 1024)
    assert not volume.lossy


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEGLSLossless], ids=lambda uid: uid.name)
def test_a_codestream_of_another_size_is_not_decoded(tmp_path, syntax):
    item = dataset(NOISE)
    compress(item, syntax, generate_instance_uid=False)
    data = item.PixelData
    if syntax is JPEG2000Lossless:
        at = data.index(b"\xff\x4f\xff\x51") + 8
        data = data[:at] + (60000).to_bytes(4, "big") + data[at + 4 :]
    else:
        at = data.index(b"\xff\xf7") + 5
        data = data[:at] + (60000).to_bytes(2, "big") + data[at + 2 :]
    item.PixelData = data
    item.save_as(tmp_path / "a", enforce_file_format=True)
    with pytest.raises(ReadError, match=r"The picture in the file is .*60000.* the header says 48 x 64"):
        stored_pixels(tmp_path / "a")


def test_bits_above_those_stored_are_dropped(tmp_path):
    # 12 of 16 bits; old files keep overlays in the upper four (PS3.5 8.1.1).
    overlay = (NOISE.astype(np.uint16) | 0xA000).astype(np.uint16)
    write(tmp_path / "u" / "a", overlay, BitsStored=12, HighBit=11)
    _, volume = open_one(tmp_path / "u")
    np.testing.assert_array_equal(volume.voxels[0], NOISE - 1024)
    signed = (NOISE.astype(int) - 2048).astype(np.int16)
    write(tmp_path / "s" / "a", (signed & 0x0FFF).astype(np.int16), BitsStored=12, HighBit=11)
    _, volume = open_one(tmp_path / "s")
    np.testing.assert_array_equal(volume.voxels[0], signed - 1024)


def test_padding_outside_the_field_counts_as_air(tmp_path):
    pixels = NOISE.copy()
    pixels[:5] = -2000
    write(tmp_path / "a", pixels, PixelPaddingValue=-2000)
    _, volume = open_one(tmp_path)
    assert volume.padding_value == -1024
    assert (volume.voxels[0, :5] == -1024).all()
    np.testing.assert_array_equal(volume.voxels[0, 5:], NOISE[5:] - 1024)
    assert any("240 pixels lie outside the scanned field" in problem.text for problem in volume.problems)


def test_padding_among_real_values_is_left_alone(tmp_path):
    write(tmp_path / "a", NOISE, PixelPaddingValue=1500)
    _, volume = open_one(tmp_path)
    np.testing.assert_array_equal(volume.voxels[0], NOISE - 1024)


def test_values_beyond_int16_are_cut_and_told(tmp_path):
    pixels = np.array([[0, 65535], [40000, 1]], np.uint16)
    write(tmp_path / "a", pixels)
    _, volume = open_one(tmp_path)
    np.testing.assert_array_equal(volume.voxels[0], [[-1024, 32767], [32767, -1023]])
    assert any("2 values lie outside 16-bit" in problem.text for problem in volume.problems)


def test_monochrome1_is_told_and_its_values_kept(tmp_path):
    write(tmp_path / "a", NOISE, PhotometricInterpretation="MONOCHROME1", WindowCenter=1000, WindowWidth=4000)
    entry, volume = open_one(tmp_path)
    assert volume.inverted
    np.testing.assert_array_equal(volume.voxels[0], NOISE - 1024)
    write(tmp_path / "2" / "a", NOISE, WindowCenter=1000, WindowWidth=4000)
    (other,) = finish(scan(tmp_path / "2"))[-1].series
    np.testing.assert_allclose(thumbnail(entry), 255.0 - thumbnail(other), atol=1)


def test_ct_without_rescale_is_no_hounsfield(tmp_path):
    write_stack(tmp_path, along_z(2), RescaleSlope=None, RescaleIntercept=None)
    _, volume = open_one(tmp_path)
    assert volume.unit == "values"
    assert volume.voxels[0, 2, 2] == 2
    assert "The images do not say how their values become Hounsfield" in volume.problems[0].text


def test_ct_without_air_is_no_hounsfield(tmp_path):
    write_stack(tmp_path, along_z(2), RescaleIntercept=0)
    _, volume = open_one(tmp_path)
    assert volume.unit == "values"
    assert any("not Hounsfield units" in problem.text for problem in volume.problems)


def test_rescale_to_something_else_is_no_hounsfield(tmp_path):
    write_stack(tmp_path, along_z(3), RescaleType=["HU", "US", "HU"])
    _, volume = open_one(tmp_path)
    assert volume.unit == "values"
    (problem,) = volume.problems
    assert problem.text == "1 of 3 images hold values that are not Hounsfield units (RescaleType US)."
    assert problem.files == ("001.dcm",)


def test_fractions_of_other_modalities_keep_their_order(tmp_path):
    write(tmp_path / "a", NOISE, Modality="PT", RescaleSlope="0.001", RescaleIntercept=0)
    _, volume = open_one(tmp_path)
    order = np.argsort(NOISE.ravel(), kind="stable")
    assert (np.diff(volume.voxels.ravel()[order]) >= 0).all()
    assert any("are fractions" in problem.text for problem in volume.problems)


def test_windows_become_presets_with_names_and_function(tmp_path):
    write(
        tmp_path / "a",
        WindowCenter=[-600, 40, 40],
        WindowWidth=[1500, 400, 400],
        WindowCenterWidthExplanation=["LUNG", "SOFT", "SOFT"],
        VOILUTFunction="SIGMOID",
    )
    _, volume = open_one(tmp_path)
    assert volume.windows == (Window(1500, -600, "LUNG", "SIGMOID"), Window(400, 40, "SOFT", "SIGMOID"))


def test_window_comes_from_the_middle_slice(tmp_path):
    write_stack(tmp_path, along_z(3), WindowCenter=[1, 2, 3], WindowWidth=[10, 20, 30])
    assert open_one(tmp_path)[1].windows == (Window(20, 2),)


def test_enhanced_multi_frame_ct_is_one_volume(tmp_path):
    pixels = np.arange(4 * 3 * 4, dtype=np.int16).reshape(4, 3, 4)
    heights = [6.0, 0.0, 2.0, 4.0]
    item = enhanced(pixels, [(1, 2, height) for height in heights], slopes=[1, 1, 2, 1])
    item.save_as(tmp_path / "multi.dcm", enforce_file_format=True)
    entry, volume = open_one(tmp_path)
    assert entry.size == (4, 3, 4)
    assert entry.plane == "axial"
    assert volume.unit == "HU"
    assert volume.geometry.spacing_mm == (2.0, 0.5, 0.75)
    np.testing.assert_allclose(volume.geometry.origin_mm, (1, 2, 6))
    np.testing.assert_array_equal(volume.voxels[0], pixels[0] - 1024)
    np.testing.assert_array_equal(volume.voxels[2], pixels[2] * 2 - 1024)
    assert volume.slice_names == ("multi.dcm#0", "multi.dcm#3", "multi.dcm#2", "multi.dcm#1")
    assert volume.windows[0].level == -598
    assert stored_pixels(tmp_path / "multi.dcm").shape == (4, 3, 4)


def test_enhanced_ct_with_two_acquisitions_is_two_series(tmp_path):
    pixels = np.zeros((6, 3, 4), np.int16)
    positions = [(0, 0, 2.0 * (index % 3)) for index in range(6)]
    enhanced(pixels, positions, stacks=[1, 1, 1, 2, 2, 2]).save_as(tmp_path / "m", enforce_file_format=True)
    assert [entry.size[0] for entry in finish(scan(tmp_path))[-1].series] == [3, 3]


def test_multi_frame_without_positions_keeps_the_order_of_the_file(tmp_path):
    pixels = np.arange(3 * 12, dtype=np.uint8).reshape(3, 3, 4)
    item = dataset(pixels[0], Modality="US", ImagePositionPatient=None, ImageOrientationPatient=None)
    item.NumberOfFrames = 3
    item.PixelData = pixels.tobytes()
    item.save_as(tmp_path / "clip", enforce_file_format=True)
    entry, volume = open_one(tmp_path)
    assert entry.spacing_mm[0] is None
    assert volume.slice_names == ("clip#0", "clip#1", "clip#2")


def test_colour_becomes_luminance(tmp_path):
    pixels = np.zeros((4, 6, 3), np.uint8)
    pixels[..., 1] = 200
    item = dataset(pixels[..., 0], SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0)
    item.RescaleIntercept = 0
    item.PixelData = pixels.tobytes()
    item.save_as(tmp_path / "a", enforce_file_format=True)
    _, volume = open_one(tmp_path)
    assert volume.unit == "values"
    assert abs(int(volume.voxels[0, 0, 0]) - 117) <= 1
    np.testing.assert_array_equal(stored_pixels(tmp_path / "a"), pixels)


def test_lossy_is_told(tmp_path):
    write(tmp_path / "a", NOISE, LossyImageCompression="01")
    entry, volume = open_one(tmp_path)
    assert volume.lossy
    assert entry.status == "ok"
    assert "compressed with loss" in entry.problems[0].text


def test_a_nested_sequence_before_the_pixels_changes_nothing(tmp_path):
    inner = Dataset()
    inner.Rows = 999  # inside a sequence: not the image's
    item = dataset(NOISE)
    item.RequestAttributesSequence = [inner]
    item["RequestAttributesSequence"].is_undefined_length = True
    item.save_as(tmp_path / "a", enforce_file_format=True)
    _, volume = open_one(tmp_path)
    np.testing.assert_array_equal(volume.voxels[0], NOISE - 1024)


def stored_window(values, window):
    """What a window of the file's own values makes of them."""
    return display_values(np.asarray(values, np.float64), window)


def lut_item(entries, first):
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, 8]
    item.LUTData = np.asarray(entries, np.uint16).tobytes()
    item["LUTDescriptor"].VR = "US"
    item["LUTData"].VR = "OW"
    return item


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize(("slope", "intercept"), [(2.5e-4, 0), (3.7, -5), (1e-3, -5)])
def test_windows_follow_values_that_are_scaled(tmp_path, function, slope, intercept):
    stored = np.linspace(0, 60000, 24 * 32).astype(np.uint16).reshape(24, 32)
    values = stored * slope + intercept
    low, high = values.min(), values.max()
    width = max((high - low) * 0.4, 1.0)
    write(
        tmp_path / "a",
        stored,
        Modality="PT",
        RescaleSlope=slope,
        RescaleIntercept=intercept,
        WindowCenter=float(f"{low + 0.5 * (high - low):.6g}"),
        WindowWidth=float(f"{width:.6g}"),
        WindowCenterWidthExplanation="Wide",
        VOILUTFunction=function,
    )
    _, volume = open_one(tmp_path)
    assert any("scaled linearly" in problem.text + problem.action for problem in volume.problems)
    (window,) = volume.windows
    assert window.name == "Wide"
    own = Window(float(f"{width:.6g}"), float(f"{low + 0.5 * (high - low):.6g}"), "", function)
    expected = stored_window(values, own)
    off = np.abs(apply_window(volume.voxels[0], window) - expected)
    # Where the window is a step, values that stand at it may fall to either side.
    assert np.percentile(off, 99) <= 1.0


def test_a_voi_lut_follows_values_that_are_scaled(tmp_path):
    stored = np.linspace(0, 60000, 24 * 32).astype(np.uint16).reshape(24, 32)
    entries = np.round(255 * (np.arange(200) / 199) ** 2).astype(int)
    write(
        tmp_path / "a",
        stored,
        Modality="PT",
        RescaleSlope=4,
        RescaleIntercept=0,
        VOILUTSequence=[lut_item(entries, 30000)],
    )
    _, volume = open_one(tmp_path)
    (window,) = volume.windows
    assert window.curve
    curve = bytes(entries.astype(np.uint8))
    own = Window(200.0, 30000 + 100.0, curve=curve)
    # 240,000 values share 32,767 numbers: one of them covers up to 8 values, so a step of the table is 27.
    exact = (volume.voxels[0].astype(float) * (stored.max() * 4.0 / 32767)).round(3)
    assert np.abs(apply_window(volume.voxels[0], window) - stored_window(exact, own)).max() <= 1.0


def test_windows_of_values_that_fit_stay_as_they_are(tmp_path):
    write(tmp_path / "a", NOISE, Modality="MR", RescaleIntercept=0, WindowCenter=40, WindowWidth=400)
    _, volume = open_one(tmp_path)
    assert volume.windows == (Window(400, 40),)


def test_no_window_is_left_of_one_value_that_does_not_fit(tmp_path):
    write(
        tmp_path / "a",
        np.full((3, 4), 60000, np.uint16),
        Modality="PT",
        RescaleSlope=4,
        WindowCenter=40,
        WindowWidth=400,
    )
    _, volume = open_one(tmp_path)
    assert volume.windows == ()
    assert not volume.voxels.any()


# ------------------------------------------------------------------------------ padding of either sign


def round_field(kind):
    """Air and tissue stored with an offset of 1024, and where a ring of padding is to be."""
    rows, columns = np.mgrid[:12, :12] - 5.5
    ring = rows**2 + columns**2 > 30
    pixels = np.random.default_rng(1).integers(24, 2200, (12, 12)).astype(kind)
    return pixels, ring


PADDINGS = {
    "unsigned": (np.uint16, 63536, "US", 63536),
    "unsigned, stated as signed": (np.uint16, 63536, "SS", -2000),
    "unsigned, largest": (np.uint16, 65535, "US", 65535),
    "unsigned, largest, stated as signed": (np.uint16, 65535, "SS", -1),
    "signed": (np.int16, -2000, "SS", -2000),
    "signed, stated as unsigned": (np.int16, -2000, "US", 63536),
    "signed, largest": (np.int16, 32767, "SS", 32767),
}


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize(("kind", "stored", "vr", "stated"), PADDINGS.values(), ids=PADDINGS.keys())
def test_padding_is_background_whatever_its_sign(tmp_path, kind, stored, vr, stated, syntax):
    pixels, ring = round_field(kind)
    truth = pixels.astype(int) - 1024
    pixels[ring] = stored
    native = ExplicitVRLittleEndian if syntax is RLELossless else syntax
    item = dataset(pixels, syntax=native, PixelSpacing=[1, 1])
    item.add_new("PixelPaddingValue", vr, stated)
    if syntax is RLELossless:
        compress(item, RLELossless, generate_instance_uid=False)
    item.save_as(tmp_path / "a", enforce_file_format=True)
    entry, volume = open_one(tmp_path)
    assert volume.unit == "HU"
    np.testing.assert_array_equal(volume.voxels[0], np.where(ring, -1024, truth))
    told = [problem.text for problem in volume.problems]
    assert f"{ring.sum()} pixels lie outside the scanned field." in told
    assert not any("16-bit" in text for text in told)
    picture = thumbnail(entry, size=12)
    assert picture[ring].max() <= picture[~ring].min() + 1


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless])
@pytest.mark.parametrize(("vr", "stated"), [("US", 63536), ("SS", -2000)])
def test_padding_that_needs_more_than_the_stored_bits_is_background(tmp_path, vr, stated, syntax):
    pixels, ring = round_field(np.uint16)
    pixels[6, 6] = 3500  # brighter than the twelve lower bits of 63536, which are 2096
    truth = pixels.astype(int) - 1024
    pixels[ring] = 63536
    item = dataset(pixels, BitsStored=12, HighBit=11)
    item.add_new("PixelPaddingValue", vr, stated)
    if syntax is RLELossless:
        compress(item, RLELossless, generate_instance_uid=False)
    item.save_as(tmp_path / "a", enforce_file_format=True)
    _, volume = open_one(tmp_path)
    np.testing.assert_array_equal(volume.voxels[0], np.where(ring, -1024, truth))


def test_padding_cut_to_the_stored_bits_is_background(tmp_path):
    pixels, ring = round_field(np.uint16)
    pixels = np.minimum(pixels, 2000)
    truth = pixels.astype(int) - 1024
    pixels[ring] = 63536 & 0xFFF
    write(tmp_path / "a", pixels, BitsStored=12, HighBit=11, PixelPaddingValue=63536)
    _, volume = open_one(tmp_path)
    np.testing.assert_array_equal(volume.voxels[0], np.where(ring, -1024, truth))


def test_a_slope_of_zero_is_no_rescale(tmp_path):
    write(tmp_path / "a", np.arange(12, dtype=np.int16).reshape(3, 4), RescaleSlope=0)
    entry, volume = open_one(tmp_path)
    assert volume.unit == "values"
    assert any("RescaleSlope" in problem.text for problem in (*entry.problems, *volume.problems))


def test_a_range_of_padding_above_the_values(tmp_path):
    pixels, ring = round_field(np.uint16)
    pixels[ring] = np.linspace(60000, 65535, int(ring.sum())).astype(np.uint16)
    write(tmp_path / "a", pixels, PixelPaddingValue=60000, PixelPaddingRangeLimit=65535)
    _, volume = open_one(tmp_path)
    assert (volume.voxels[0][ring] == -1024).all()
    assert (volume.voxels[0][~ring] > -1024).all()


def test_a_slice_of_nothing_but_padding_is_background(tmp_path):
    pixels, ring = round_field(np.uint16)
    pixels[ring] = 63536
    nothing = np.full_like(pixels, 63536)
    write_stack(tmp_path, along_z(2), pixels=[pixels, nothing], PixelPaddingValue=63536)
    _, volume = open_one(tmp_path)
    assert (volume.voxels[0] == -1024).all()
    assert volume.voxels[1].max() < 1300


def test_values_that_are_no_padding_and_do_not_fit_are_told_still(tmp_path):
    pixels, ring = round_field(np.uint16)
    pixels[ring] = 63536
    pixels[6, 6] = 65000
    write(tmp_path / "a", pixels, PixelPaddingValue=63536)
    _, volume = open_one(tmp_path)
    assert any(
        problem.text.startswith("1 values lie outside") or "16-bit" in problem.text
        for problem in volume.problems
    )


def test_padding_of_other_images_does_not_decide_their_greys(tmp_path):
    pixels, ring = round_field(np.uint16)
    truth = pixels.astype(int)
    pixels[ring] = 63536
    write(tmp_path / "a", pixels, Modality="MR", RescaleIntercept=0, PixelPaddingValue=63536)
    _, volume = open_one(tmp_path)
    np.testing.assert_array_equal(volume.voxels[0], np.where(ring, truth[~ring].min(), truth))


# ------------------------------------------------------------------------ what says Hounsfield units


SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.mark.parametrize(
    ("elements", "told"),
    [
        ({"Modality": None}, "Modality is missing"),
        ({"Modality": ""}, "Modality is missing"),
        ({"Modality": None, "RescaleType": "HU"}, "Modality is missing"),
        ({"Modality": "OT", "RescaleType": "HU"}, "Modality is OT"),
        ({"Modality": "OT", "RescaleType": "Hounsfield"}, "Modality is OT"),
    ],
    ids=str,
)
@pytest.mark.parametrize("in_meta", [False, True])
def test_ct_is_known_by_its_sop_class(tmp_path, elements, told, in_meta):
    write_stack(tmp_path, along_z(3), **elements)
    if in_meta:
        for path in tmp_path.iterdir():
            item = pydicom.dcmread(path)
            del item.SOPClassUID
            item.save_as(path)
    entry, volume = open_one(tmp_path)
    assert (entry.modality, volume.modality, volume.unit) == ("CT", "CT", "HU")
    assert any(told in problem.text for problem in entry.problems)
    assert entry.status == "ok"


def test_modality_missing_in_some_slices_splits_nothing(tmp_path):
    write_stack(tmp_path, along_z(4), Modality=["CT", "", "CT", ""])
    entry, volume = open_one(tmp_path)
    assert (entry.size[0], volume.unit) == (4, "HU")
    assert [problem.files for problem in entry.problems] == [("003.dcm", "001.dcm")]


@pytest.mark.parametrize("modality", ["", "OT"])
def test_a_rescale_to_hu_by_name_is_believed_without_modality(tmp_path, modality):
    write_stack(
        tmp_path / "a", along_z(3), Modality=modality, SOPClassUID=SECONDARY_CAPTURE, RescaleType="HU"
    )
    assert open_one(tmp_path / "a")[1].unit == "HU"
    write_stack(tmp_path / "b", along_z(3), Modality=modality, SOPClassUID=SECONDARY_CAPTURE)
    _, volume = open_one(tmp_path / "b")
    assert volume.unit == "values"
    assert any("may be Hounsfield units" in problem.text for problem in volume.problems)


@pytest.mark.parametrize("modality", ["MR", "PT", "NM"])
def test_other_scanners_stay_what_they_say(tmp_path, modality):
    write_stack(tmp_path, along_z(3), Modality=modality, RescaleType="HU")
    _, volume = open_one(tmp_path)
    assert (volume.modality, volume.unit) == (modality, "values")


def test_enhanced_ct_without_modality_is_hu(tmp_path):
    pixels = np.arange(4 * 3 * 4, dtype=np.int16).reshape(4, 3, 4)
    item = enhanced(pixels, along_z(4), Modality="")
    item.save_as(tmp_path / "multi.dcm", enforce_file_format=True)
    entry, volume = open_one(tmp_path)
    assert (entry.modality, volume.unit) == ("CT", "HU")


HOUNSFIELD = [
    "HU",
    "hu",
    "HU\0",
    "H.U.",
    "Hounsfield",
    "HOUNSFIELD UNITS",
    "hounsfield_unit",
    "Hounsfield Units (HU)",
]


@pytest.mark.parametrize("word", [*HOUNSFIELD, "[HU]", "Hounsfieldeinheiten", "UH", ""])
def test_rescale_types_that_mean_hounsfield_units(tmp_path, word):
    write_stack(tmp_path, along_z(2), RescaleType=word)
    _, volume = open_one(tmp_path)
    assert volume.unit == "HU"
    assert volume.problems == ()


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("US", "RescaleType US"),
        ("hu_mod", "RescaleType HU_MOD"),
        ("normalized", 'RescaleType "normalized"'),
        ("HU / 10", 'RescaleType "HU / 10"'),
        ("not Hounsfield", 'RescaleType "not Hounsfield"'),
        ("x" * 60, f'RescaleType "{"x" * 24}…"'),
    ],
)
def test_rescale_types_that_do_not_are_told_by_their_word(tmp_path, word, told):
    write_stack(tmp_path, along_z(2), RescaleType=word)
    _, volume = open_one(tmp_path)
    assert volume.unit == "values"
    assert f"The images hold values that are not Hounsfield units ({told})." in volume.problems[0].text


# --------------------------------------------------------------------------------------- decimal commas


def with_commas(path, *numbers):
    """Write numbers of a file as programs do under a locale with decimal commas."""
    data = path.read_bytes()
    for number in numbers:
        assert number.encode() in data
        data = data.replace(number.encode(), number.replace(".", ",").encode())
    path.write_bytes(data)


@pytest.mark.parametrize("general", [False, True], ids=["quick parser", "general parser"])
def test_decimal_commas_are_read_and_told(tmp_path, general, monkeypatch):
    if general:
        monkeypatch.setattr(dicom_header, "read_elements", lambda stream, size: None)
    paths = write_stack(
        tmp_path,
        [(-10.25, -20.5, 2.5 * index) for index in range(4)],
        PixelSpacing=r"0.7\0.80",
        RescaleSlope="1.0",
        RescaleIntercept="-1024.0",
        WindowCenter="-600.5",
        WindowWidth="1500.0",
    )
    for path in paths:
        with_commas(path, "0.7\\0.80", "1.0", "-1024.0", "-10.25", "-20.5", "-600.5", "1500.0")
    entry, volume = open_one(tmp_path)
    assert entry.spacing_mm == (2.5, 0.7, 0.8)
    assert volume.unit == "HU"
    assert volume.voxels[0, 2, 2] == 4 - 1024
    assert volume.geometry.origin_mm == (-10.25, -20.5, 7.5)
    assert volume.windows == (Window(1500, -600.5),)
    (problem,) = entry.problems
    assert problem.level == "warning"
    assert "decimal comma" in problem.text
    for keyword in ("ImagePositionPatient", "PixelSpacing", "RescaleIntercept"):
        assert keyword in problem.text


def test_a_comma_in_one_slice_is_told_of_that_slice(tmp_path):
    paths = write_stack(tmp_path, [(0, 0, f"{2.5 * index}") for index in range(4)])
    with_commas(paths[3], "7.5")
    entry, _ = open_one(tmp_path)
    assert entry.spacing_mm[0] == 2.5
    assert [problem.files for problem in entry.problems] == [("003.dcm",)]


@pytest.mark.parametrize("wrong", ["0,7,5", "a,b", "0.7,0.8", ",", "1.000,5"])
def test_what_is_no_number_with_a_comma_either_is_missing(tmp_path, wrong):
    (path,) = write_stack(tmp_path, along_z(1), PixelSpacing=r"0.111111\0.222222")
    data = path.read_bytes().replace(b"0.111111", wrong.ljust(8).encode())
    path.write_bytes(data)
    assert open_one(tmp_path)[0].spacing_mm[1:] == (None, None)


def test_commas_in_functional_groups(tmp_path):
    pixels = np.zeros((3, 3, 4), np.int16)
    item = enhanced(pixels, [(0.25, 0, 2.5 * index) for index in range(3)])
    item.save_as(tmp_path / "multi.dcm", enforce_file_format=True)
    with_commas(tmp_path / "multi.dcm", "0.25", "0.5\\0.75", "2.5")
    entry, _ = open_one(tmp_path)
    assert entry.spacing_mm == (2.5, 0.5, 0.75)
    assert "(ImagePositionPatient, PixelSpacing)" in entry.problems[0].text


# ----------------------------------------------------------------------------------- shape of a pixel


@pytest.mark.parametrize(
    ("elements", "aspect"),
    [
        ({"PixelAspectRatio": r"2\1"}, 2.0),
        ({"PixelAspectRatio": r"3\4"}, 0.75),
        ({"ImagerPixelSpacing": r"0.4\0.2"}, 2.0),
        ({"NominalScannedPixelSpacing": r"0.1\0.2", "PixelAspectRatio": r"7\1"}, 0.5),
        ({"PixelAspectRatio": r"0\1"}, 1.0),
        ({"PixelAspectRatio": r"-2\1"}, 1.0),
        ({"PixelAspectRatio": r"1\999999"}, 1.0),
        ({}, 1.0),
        ({"PixelSpacing": r"0.5\1.0", "PixelAspectRatio": r"7\1"}, 0.5),
    ],
    ids=str,
)
def test_pixels_of_unknown_size_keep_their_stated_shape(tmp_path, elements, aspect):
    write_stack(
        tmp_path, along_z(3), pixels=[np.zeros((8, 8), np.int16)] * 3, **{"PixelSpacing": None, **elements}
    )
    entry, volume = open_one(tmp_path)
    assert volume.geometry.pixel_aspect == pytest.approx(aspect)
    if "PixelSpacing" not in elements:
        assert entry.spacing_mm[1:] == (None, None)
        assert volume.geometry.pixel_area_mm2 is None
    place = placement(volume, InputSpec(size=64))
    assert place.scale_y / place.scale_x == pytest.approx(aspect, rel=0.02)
    height, width = thumbnail(entry, size=64).shape
    assert height / width == pytest.approx(aspect, rel=0.02)
    picture = sampling(volume, scale=4)
    assert picture.size[0] / picture.size[1] == pytest.approx(aspect, rel=0.02)


def test_the_shape_of_a_pixel_turns_with_the_picture(tmp_path):
    sagittal = (0, 0, -1, 0, 1, 0)  # rows run downwards in the file, columns to the back: shown the other way
    positions = [(2.0 * index, 0, 0) for index in range(3)]
    write_stack(tmp_path, positions, orientation=sagittal, PixelSpacing=None, PixelAspectRatio=r"2\1")
    _, volume = open_one(tmp_path)
    assert volume.geometry.native_axes == (0, 2, 1)
    assert volume.geometry.pixel_aspect == 0.5


def test_slices_of_other_pixel_shapes_are_no_stack(tmp_path):
    write_stack(tmp_path, along_z(4), PixelSpacing=None, PixelAspectRatio=[r"2\1", r"2\1", r"1\1", r"1\1"])
    assert [entry.size[0] for entry in finish(scan(tmp_path))[-1].series] == [2, 2]


# -------------------------------------------------------------------------------------- concatenations


def concatenation(folder, *, parts=3, frames=4, names="cab", placed=True, **elements):
    """One object of ``parts * frames`` frames in files whose names are not in their order."""
    for part in range(parts):
        pixels = (
            np.full((frames, 3, 4), part * 100, np.int16) + np.arange(frames, dtype=np.int16)[:, None, None]
        )
        item = enhanced(pixels, along_z(frames, start=2.0 * frames * part))
        item.SOPInstanceUID = item.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.{part + 1}"
        item.ConcatenationUID, item.SOPInstanceUIDOfConcatenationSource = "1.2.9", "1.2.8"
        item.InConcatenationNumber, item.InConcatenationTotalNumber = part + 1, parts
        item.ConcatenationFrameOffsetNumber = frames * part
        for keyword, value in elements.items():
            setattr(item, keyword, value)
        if not placed:
            for frame in item.PerFrameFunctionalGroupsSequence:
                del frame.PlanePositionSequence
        item.save_as(folder / names[part], enforce_file_format=True)


def test_the_parts_of_a_concatenation_are_one_volume(tmp_path):
    concatenation(tmp_path)
    entry, volume = open_one(tmp_path)
    assert entry.size == (12, 3, 4)
    assert entry.spacing_mm == (2.0, 0.5, 0.75)
    assert entry.problems == ()
    expected = [100 * (k // 4) + k % 4 - 1024 for k in range(12)]
    assert volume.voxels[::-1, 0, 0].tolist() == expected
    (alone,) = finish(scan(tmp_path / "a"))[-1].series
    assert alone.files == entry.files


def test_parts_without_positions_are_in_their_order(tmp_path):
    concatenation(tmp_path, placed=False)
    entry, volume = open_one(tmp_path)
    assert volume.voxels[:, 0, 0].tolist() == [100 * (k // 4) + k % 4 - 1024 for k in range(12)]
    assert entry.spacing_mm[0] is None


def test_a_missing_part_is_told(tmp_path):
    concatenation(tmp_path, parts=4, names="abcd")
    (tmp_path / "b").unlink()
    (tmp_path / "d").unlink()
    entry, volume = open_one(tmp_path)
    assert volume.slices == 8
    assert any(
        problem.text == "2 of 4 files of this concatenation are missing (InConcatenationNumber 2, 4)."
        for problem in entry.problems
    )


def test_parts_that_name_different_series_and_count_from_0_are_one_volume(tmp_path):
    concatenation(tmp_path)
    for number, name in enumerate("cab"):
        item = pydicom.dcmread(tmp_path / name)
        item.SeriesInstanceUID, item.InConcatenationNumber = f"1.2.7.{number}", number
        item.save_as(tmp_path / name)
    entry, _ = open_one(tmp_path)
    assert entry.size[0] == 12
    assert entry.problems == ()


def test_two_concatenations_are_two_volumes(tmp_path):
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        concatenation(tmp_path / name, ConcatenationUID=f"1.2.{len(name) + ord(name)}")
        for path in (tmp_path / name).iterdir():
            item = pydicom.dcmread(path)
            item.SOPInstanceUID += f".{ord(name)}"
            item.save_as(path)
    assert [entry.size[0] for entry in finish(scan(tmp_path))[-1].series] == [12, 12]
