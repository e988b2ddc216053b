"""What the voxels are: rescale per slice, signs, stored bits, padding, MONOCHROME1, units, windows."""

import numpy as np
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

from model_core.errors import ReadError
from model_core.io import load, scan, thumbnail
from model_core.io.opening import stored_pixels
from model_core.types import Window, finish
from model_core.voi import apply_window, display_values

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
