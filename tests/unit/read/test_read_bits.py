"""How pixels are stored: unused bits, signs, widths, floats, colour, frames and their offset tables.

The truth is the array that was stored, and pydicom where it takes the same view.
"""

import io

import imagecodecs
import numpy as np
import pydicom
import pytest
from dicom_files import along_z, dataset, enhanced, write, write_stack
from PIL import Image
from pydicom._uid_dict import UID_dictionary
from pydicom.encaps import encapsulate, encapsulate_extended
from pydicom.pixels import compress
from pydicom.uid import (
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from model_core.base.errors import ReadError
from model_core.base.jobs import finish
from model_core.read import load, scan
from model_core.read.dicom.header import read_header
from model_core.read.opening import stored_pixels
from model_core.read.scanning import scan_reports

RNG = np.random.default_rng(5)
TWELVE = RNG.integers(0, 4096, (24, 32)).astype(np.uint16)
WHOLE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)


def open_one(path):
    (entry,) = finish(scan(path))[-1].series
    return entry, finish(load(entry))[-1]


def save(path, words, syntax, **elements):
    """Write words as they are, unused bits and all."""
    item = dataset(words, syntax=syntax, **elements)
    if syntax == ExplicitVRBigEndian:
        item.PixelData = words.astype(words.dtype.newbyteorder(">")).tobytes()
    elif syntax == RLELossless:
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        item.BitsStored, item.HighBit = 16, 15
        compress(item, RLELossless, generate_instance_uid=False)
        item.BitsStored, item.HighBit = elements["BitsStored"], elements["HighBit"]
    item.save_as(path, enforce_file_format=True)
    return path


# ------------------------------------------------------------------------------------- unused bits


@pytest.mark.parametrize("syntax", [*WHOLE, RLELossless], ids=lambda uid: uid.name)
@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize(("stored", "high"), [(12, 11), (10, 9), (12, 15), (10, 13), (15, 14)])
def test_used_bits_wherever_they_lie(tmp_path, stored, high, signed, syntax):
    truth = RNG.integers(0, 1 << stored, (24, 32))
    truth = truth - (1 << (stored - 1)) if signed else truth
    below = high + 1 - stored
    used = ((1 << stored) - 1) << below
    garbage = RNG.integers(0, 1 << 16, truth.shape) & ~used
    words = (((truth << below) & used) | garbage).astype(np.uint16).view(np.int16 if signed else np.uint16)
    path = save(tmp_path / "a", words, syntax, BitsStored=stored, HighBit=high)
    found = stored_pixels(path)
    np.testing.assert_array_equal(found, truth)
    assert found.dtype == words.dtype
    if below == 0:  # the library takes no notice of HighBit
        np.testing.assert_array_equal(found, pydicom.dcmread(path).pixel_array)
    _, volume = open_one(tmp_path)
    np.testing.assert_array_equal(volume.voxels[0], truth - 1024)


@pytest.mark.parametrize("high", [3, 40, 0])
def test_a_high_bit_that_contradicts_the_stored_bits_is_not_believed(tmp_path, high):
    write(tmp_path / "a", TWELVE, BitsStored=12, HighBit=high)
    np.testing.assert_array_equal(open_one(tmp_path)[1].voxels[0], TWELVE.astype(int) - 1024)


@pytest.mark.parametrize("stored", [5, 8])
@pytest.mark.parametrize("kind", [np.uint8, np.int8])
def test_eight_bits_and_fewer(tmp_path, kind, stored):
    low = -(1 << (stored - 1)) if kind is np.int8 else 0
    truth = RNG.integers(low, low + (1 << stored), (5, 7))
    words = (truth & ((1 << stored) - 1)).astype(np.uint8).view(kind)
    path = write(tmp_path / "a", words, BitsStored=stored, HighBit=stored - 1)
    np.testing.assert_array_equal(stored_pixels(path), truth)
    np.testing.assert_array_equal(open_one(tmp_path)[1].voxels[0], truth - 1024)


@pytest.mark.parametrize("kind", [np.uint32, np.int32])
def test_32_bits(tmp_path, kind):
    truth = RNG.integers(-(1 << 20) if kind is np.int32 else 0, 1 << 20, (5, 7)).astype(kind)
    path = write(tmp_path / "a", truth, Modality="OT", RescaleIntercept=0)
    np.testing.assert_array_equal(stored_pixels(path), truth)
    _, volume = open_one(tmp_path)
    order = np.argsort(truth, axis=None)
    assert (np.diff(volume.voxels.ravel()[order].astype(int)) >= 0).all()
    assert any("do not fit" in problem.text for problem in volume.problems)


@pytest.mark.parametrize(("keyword", "kind"), [("FloatPixelData", "<f4"), ("DoubleFloatPixelData", "<f8")])
def test_floating_point_pixels(tmp_path, keyword, kind):
    truth = RNG.normal(0, 1, (24, 32)).astype(kind)
    item = dataset(TWELVE, Modality="OT", RescaleSlope=None, RescaleIntercept=None)
    for name in ("PixelData", "BitsStored", "HighBit", "PixelRepresentation"):
        delattr(item, name)
    item.BitsAllocated = truth.itemsize * 8
    setattr(item, keyword, truth.tobytes())
    item.save_as(tmp_path / "a", enforce_file_format=True)
    np.testing.assert_array_equal(stored_pixels(tmp_path / "a"), truth)
    _, volume = open_one(tmp_path)
    assert (np.diff(volume.voxels.ravel()[np.argsort(truth, axis=None)].astype(int)) >= 0).all()


# ------------------------------------------------------------------------------------------ padding


@pytest.mark.parametrize("syntax", WHOLE[:2], ids=lambda uid: uid.name)
def test_a_range_of_padding(tmp_path, syntax):
    pixels = TWELVE.astype(np.int16)
    pixels[0, :4] = (-3000, -2500, -2000, -1999)
    item = dataset(pixels, syntax=syntax)
    item.add_new("PixelPaddingValue", "SS", -3000)
    item.add_new("PixelPaddingRangeLimit", "SS", -2000)
    item.save_as(tmp_path / "a", enforce_file_format=True)
    _, volume = open_one(tmp_path)
    assert volume.voxels[0, 0, :4].tolist() == [-1024, -1024, -1024, -3023]
    np.testing.assert_array_equal(volume.voxels[0, 1:], TWELVE[1:].astype(int) - 1024)
    assert volume.padding_value == -1024


def test_padding_of_signed_pixels_in_an_unsigned_element(tmp_path):
    pixels = TWELVE.astype(np.int16)
    pixels[0, :4] = -2000
    item = dataset(pixels)
    item.add_new("PixelPaddingValue", "US", 65536 - 2000)
    item.save_as(tmp_path / "a", enforce_file_format=True)
    assert open_one(tmp_path)[1].voxels[0, 0, :4].tolist() == [-1024] * 4


def test_padding_with_a_rescale_of_each_slice(tmp_path):
    pixels = np.stack([TWELVE, TWELVE]).astype(np.int16)
    pixels[:, 0, 0] = -2000
    write_stack(tmp_path, along_z(2), pixels=pixels, PixelPaddingValue=-2000, RescaleSlope=["1", "0.5"])
    _, volume = open_one(tmp_path)
    assert volume.voxels[:, 0, 0].tolist() == [-1024, -1024]
    np.testing.assert_array_equal(volume.voxels[0, 1], np.rint(TWELVE[1] * 0.5 - 1024))


@pytest.mark.parametrize("signed", [False, True])
def test_monochrome1_keeps_its_values_in_every_width(tmp_path, signed):
    pixels = (TWELVE.astype(int) - 2048 * signed).astype(np.int16 if signed else np.uint16)
    write(tmp_path / "a", pixels, PhotometricInterpretation="MONOCHROME1", BitsStored=12, HighBit=11)
    _, volume = open_one(tmp_path)
    assert volume.inverted
    np.testing.assert_array_equal(volume.voxels[0], pixels.astype(int) - 1024)


# --------------------------------------------------------------------------- syntaxes that can be written


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize("stored", [8, 10, 12, 16])
@pytest.mark.parametrize(
    "syntax",
    [RLELossless, JPEGLSLossless, JPEGLSNearLossless, JPEG2000Lossless, JPEG2000],
    ids=lambda uid: uid.name,
)
def test_compressed_pixels_of_every_depth(tmp_path, syntax, stored, signed):
    if signed and syntax == JPEGLSNearLossless:
        pytest.skip("JPEG-LS knows no sign: values near zero would wrap")
    low = -(1 << (stored - 1)) if signed else 0
    kind = np.dtype(f"{'i' if signed else 'u'}{1 if stored == 8 else 2}")
    ramp = np.add.outer(np.arange(48) * 3, np.arange(64)) * (1 << stored) // 250
    truth = (np.clip(ramp, 0, (1 << stored) - 1) + low).astype(kind)
    item = dataset(truth, BitsStored=stored, HighBit=stored - 1)
    options = {JPEGLSNearLossless: {"jls_error": 1}, JPEG2000: {"j2k_psnr": [120]}}.get(syntax, {})
    compress(item, syntax, generate_instance_uid=False, **options)
    item.save_as(tmp_path / "a", enforce_file_format=True)
    found = stored_pixels(tmp_path / "a")
    assert found.dtype == kind
    allowed = 1 if options else 0
    assert np.abs(found.astype(int) - truth).max() <= allowed
    np.testing.assert_array_equal(found, pydicom.dcmread(tmp_path / "a").pixel_array)
    entry, volume = open_one(tmp_path)
    assert volume.voxels.shape == (1, 48, 64)
    assert volume.lossy == (syntax in (JPEGLSNearLossless, JPEG2000))
    assert entry.files == (str(tmp_path / "a"),)


def test_losses_are_told_by_the_codestream(tmp_path):
    ramp = (np.add.outer(np.arange(48) * 3, np.arange(64)) * 15).astype(np.uint16)
    for name, syntax, options, lossy in (
        ("near", JPEGLSNearLossless, {"jls_error": 2}, True),
        ("exact", JPEGLSLossless, {}, False),
        ("wavelet", JPEG2000, {"j2k_psnr": [80]}, True),
        ("reversible", JPEG2000Lossless, {}, False),
    ):
        item = dataset(ramp, BitsStored=12, HighBit=11)
        compress(item, syntax, generate_instance_uid=False, **options)
        # The syntaxes that may be either; the header says nothing.
        either = JPEGLSNearLossless if "LS" in syntax.name else JPEG2000
        item.file_meta.TransferSyntaxUID = either
        if "LossyImageCompression" in item:
            del item.LossyImageCompression
        item.save_as(tmp_path / name, enforce_file_format=True)
        header, _ = read_header(tmp_path / name)
        assert header.lossy == lossy, name
        item.LossyImageCompression = "01"
        item.save_as(tmp_path / name, enforce_file_format=True)
        assert read_header(tmp_path / name)[0].lossy


def jpeg(picture, quality=95):
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


@pytest.mark.parametrize("fragments", [1, 3])
@pytest.mark.parametrize("offsets", ["none", "basic", "extended"])
@pytest.mark.parametrize("frames", [1, 4])
def test_frames_with_every_kind_of_offset_table(tmp_path, frames, offsets, fragments):
    if frames > 1 and fragments > 1 and offsets == "none":
        pytest.skip("nothing would say where a frame begins but its codestream: a test of its own")
    base = np.add.outer(np.arange(40), np.arange(48)).astype(np.uint8)
    pictures = [np.roll(base, 5 * number, 0) + number for number in range(frames)]
    streams = [jpeg(picture) for picture in pictures]
    item = dataset(base, syntax=JPEGBaseline8Bit, Modality="US", RescaleIntercept=0)
    item.NumberOfFrames = frames
    if offsets == "extended":
        item.PixelData, item.ExtendedOffsetTable, item.ExtendedOffsetTableLengths = encapsulate_extended(
            streams
        )
    else:
        item.PixelData = encapsulate(streams, fragments_per_frame=fragments, has_bot=offsets == "basic")
    item["PixelData"].VR = "OB"
    item["PixelData"].is_undefined_length = True
    item.save_as(tmp_path / "a", enforce_file_format=True)
    found = stored_pixels(tmp_path / "a").reshape(frames, 40, 48)
    for picture, truth in zip(found, streams, strict=True):
        decoded = np.asarray(Image.open(io.BytesIO(truth)))
        assert np.abs(picture.astype(int) - decoded).max() <= 1
    assert open_one(tmp_path)[1].slices == frames


def test_fragments_of_many_frames_without_offsets_are_told_apart_by_their_codestreams(tmp_path):
    base = np.add.outer(np.arange(40), np.arange(48)).astype(np.uint8)
    streams = [jpeg(np.roll(base, 7 * number, 1)) for number in range(3)]
    item = dataset(base, syntax=JPEGBaseline8Bit, Modality="US", RescaleIntercept=0)
    item.NumberOfFrames = 3
    item.PixelData = encapsulate(streams, fragments_per_frame=2, has_bot=False)
    item["PixelData"].VR = "OB"
    item["PixelData"].is_undefined_length = True
    item.save_as(tmp_path / "a", enforce_file_format=True)
    for picture, stream in zip(stored_pixels(tmp_path / "a"), streams, strict=True):
        assert np.abs(picture.astype(int) - np.asarray(Image.open(io.BytesIO(stream)))).max() <= 1


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless], ids=lambda uid: uid.name)
def test_compressed_enhanced_ct(tmp_path, syntax):
    pixels = RNG.integers(0, 4096, (3, 48, 64)).astype(np.int16)
    item = enhanced(pixels, along_z(3))
    compress(item, syntax, generate_instance_uid=False)
    item.save_as(tmp_path / "a", enforce_file_format=True)
    np.testing.assert_array_equal(stored_pixels(tmp_path / "a"), pixels)
    np.testing.assert_array_equal(open_one(tmp_path)[1].voxels, pixels[::-1] - 1024)


def test_a_damaged_frame_is_left_out_and_named(tmp_path):
    base = np.add.outer(np.arange(40), np.arange(48)).astype(np.uint8)
    item = dataset(base, syntax=JPEGBaseline8Bit, Modality="US", RescaleIntercept=0)
    item.NumberOfFrames = 5
    item.PixelData = encapsulate(
        [jpeg(base), b"\xff\xd8 nonsense", jpeg(base + 1), b"\xff\xd8 no picture", jpeg(base + 2)]
    )
    item["PixelData"].VR = "OB"
    item["PixelData"].is_undefined_length = True
    item.save_as(tmp_path / "a", enforce_file_format=True)
    _, volume = open_one(tmp_path)
    # The damaged frames alone are lost, and each is told once.
    assert volume.slice_names == ("a#0", "a#2", "a#4")
    assert [int(picture.min()) for picture in volume.voxels] == [0, 1, 2]
    (problem,) = (problem for problem in volume.problems if "cannot be read" in problem.text)
    assert problem.text.startswith("2 slice(s) cannot be read: The pixels cannot be decoded (JPEG Baseline")
    assert problem.text.count("The pixels cannot be decoded") == 1
    assert problem.files == ("a#1", "a#3")


# ------------------------------------------------------------------------------------------- colour


def colour(path, picture, **elements):
    item = dataset(picture[..., 0], SamplesPerPixel=3, RescaleSlope=None, RescaleIntercept=None, **elements)
    item.Modality = "OT"
    return item, path


@pytest.mark.parametrize("syntax", WHOLE, ids=lambda uid: uid.name)
@pytest.mark.parametrize("planar", [0, 1])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_rgb(tmp_path, kind, planar, syntax):
    picture = RNG.integers(0, 256, (6, 8, 3)).astype(kind)
    item, path = colour(
        tmp_path / "a", picture, syntax=syntax, PhotometricInterpretation="RGB", PlanarConfiguration=planar
    )
    stored = picture.transpose(2, 0, 1) if planar else picture
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    item.PixelData = np.ascontiguousarray(stored, dtype=stored.dtype.newbyteorder(order)).tobytes()
    item.save_as(path, enforce_file_format=True)
    np.testing.assert_array_equal(stored_pixels(path), picture)
    luma = picture @ np.array([0.299, 0.587, 0.114])
    assert np.abs(open_one(tmp_path)[1].voxels[0] - luma).max() <= 1


@pytest.mark.parametrize("photometric", ["YBR_FULL", "YBR_FULL_422"])
def test_ybr_is_shown_as_rgb(tmp_path, photometric):
    rgb = np.repeat(RNG.integers(0, 256, (6, 4, 3)), 2, axis=1).astype(np.uint8)
    ybr = np.asarray(Image.fromarray(rgb).convert("YCbCr"))
    item, path = colour(tmp_path / "a", rgb, PhotometricInterpretation=photometric, PlanarConfiguration=0)
    if photometric == "YBR_FULL":
        item.PixelData = ybr.tobytes()
    else:
        pairs = ybr.reshape(6, 4, 2, 3)
        four = np.stack([pairs[:, :, 0, 0], pairs[:, :, 1, 0], pairs[:, :, 0, 1], pairs[:, :, 0, 2]], axis=-1)
        item.PixelData = four.tobytes()
    item.save_as(path, enforce_file_format=True)
    assert np.abs(stored_pixels(path).astype(int) - rgb).max() <= 2


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless], ids=lambda uid: uid.name)
def test_palettes(tmp_path, syntax, bits):
    picture = RNG.integers(0, 200, (24, 32)).astype(np.uint8)
    item = dataset(picture, Modality="OT", PhotometricInterpretation="PALETTE COLOR")
    del item.RescaleSlope, item.RescaleIntercept
    palettes = RNG.integers(0, 1 << bits, (3, 256)).astype(f"<u{bits // 8}")
    for name, palette in zip(("Red", "Green", "Blue"), palettes, strict=True):
        item.add_new(f"{name}PaletteColorLookupTableDescriptor", "US", [256, 0, bits])
        item.add_new(f"{name}PaletteColorLookupTableData", "OW", palette.tobytes())
    if syntax == RLELossless:
        compress(item, syntax, generate_instance_uid=False)
    item.save_as(tmp_path / "a", enforce_file_format=True)
    np.testing.assert_array_equal(stored_pixels(tmp_path / "a"), picture)
    luma = palettes.T.astype(float)[picture] @ np.array([0.299, 0.587, 0.114])
    _, volume = open_one(tmp_path)
    if bits == 8:
        assert np.abs(volume.voxels[0] - luma).max() <= 1
    else:
        order = np.argsort(luma, axis=None)
        assert np.diff(volume.voxels.ravel()[order].astype(int)).min() >= -1


def test_a_palette_without_its_tables_is_told(tmp_path):
    item = dataset(TWELVE.astype(np.uint8), Modality="OT", PhotometricInterpretation="PALETTE COLOR")
    item.save_as(tmp_path / "a", enforce_file_format=True)
    found = finish(scan_reports(tmp_path))[-1]
    for entry in found.series:
        with pytest.raises(Exception, match="No slice of this series can be read"):
            finish(load(entry))


# ------------------------------------------------------------------------------ every syntax there is


@pytest.mark.parametrize("kind", ["u2", "u1", "rgb"])
def test_uncompressed_frames_in_fragments(tmp_path, kind):
    rgb = kind == "rgb"
    pixels = RNG.integers(0, 200, (3, 24, 32, *((3,) if rgb else ()))).astype("u1" if rgb else kind)
    item = dataset(pixels[0, ..., 0] if rgb else pixels[0], Modality="OT", RescaleIntercept=0)
    item.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1.98"
    item.NumberOfFrames = 3
    if rgb:
        item.SamplesPerPixel, item.PhotometricInterpretation, item.PlanarConfiguration = 3, "RGB", 0
    item.PixelData = encapsulate([picture.tobytes() for picture in pixels])
    item["PixelData"].VR = "OB"
    item["PixelData"].is_undefined_length = True
    item.save_as(tmp_path / "a", enforce_file_format=True)
    np.testing.assert_array_equal(stored_pixels(tmp_path / "a"), pixels)


SYNTAXES = sorted(uid for uid, entry in UID_dictionary.items() if entry[1] == "Transfer Syntax")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_nonsense_in_every_syntax_is_told_by_its_name(tmp_path, syntax):
    item = dataset(TWELVE.astype(np.uint8), syntax=ExplicitVRLittleEndian)
    item.file_meta.TransferSyntaxUID = syntax
    if pydicom.uid.UID(syntax).is_encapsulated:
        item.PixelData = encapsulate([b"\xff\xd8 no picture"])
        item["PixelData"].VR = "OB"
        item["PixelData"].is_undefined_length = True
    item.save_as(tmp_path / "a", enforce_file_format=True)
    (report,) = finish(scan_reports(tmp_path))[-1].files
    assert report.status in ("ok", "error")
    assert report.transfer_syntax == syntax
    if not pydicom.uid.UID(syntax).is_encapsulated:
        return
    with pytest.raises(ReadError) as caught:
        stored_pixels(tmp_path / "a")
    assert "GPL" not in caught.value.message or "pylibjpeg-libjpeg" in caught.value.message
    if report.status == "error":
        assert pydicom.uid.UID(syntax).name in report.reason
        assert "Export" in report.reason


# ------------------------------------------------------------------------------------ lossless JPEG


def lossless_jpeg(path, words, *, precision, cut=0, **elements):
    """Write a frame as lossless JPEG, whose encoder knows no sign; without its last bytes where asked."""
    codestream = imagecodecs.jpeg8_encode(words.view(np.uint16), lossless=True, bitspersample=precision)
    item = dataset(words, BitsStored=12, HighBit=11, **elements)
    item.file_meta.TransferSyntaxUID = JPEGLosslessSV1
    item.PixelData = encapsulate([codestream[: len(codestream) - cut]])
    item["PixelData"].VR = "OB"
    item["PixelData"].is_undefined_length = True
    item.save_as(path, enforce_file_format=True)
    return path


@pytest.mark.parametrize("precision", [12, 16])
@pytest.mark.parametrize("signed", [False, True])
def test_lossless_jpeg_is_what_was_stored_and_what_pydicom_says(tmp_path, signed, precision):
    values = (TWELVE.astype(np.int16) - 2048) if signed else TWELVE
    words = values & 0xFFF if precision == 12 else values
    path = lossless_jpeg(tmp_path / "a.dcm", words, precision=precision)
    stored = stored_pixels(path)
    np.testing.assert_array_equal(stored, values)
    assert stored.dtype == values.dtype
    np.testing.assert_array_equal(stored, pydicom.dcmread(path).pixel_array)


def test_a_lossless_jpeg_that_was_cut_off_is_no_picture(tmp_path):
    path = lossless_jpeg(tmp_path / "a.dcm", TWELVE, precision=12, cut=200)
    with pytest.raises(ReadError, match="damaged or unusual"):
        stored_pixels(path)


def test_a_lossless_jpeg_of_another_size_than_its_header_says_is_refused(tmp_path):
    path = lossless_jpeg(tmp_path / "a.dcm", TWELVE, precision=12, Rows=12)
    with pytest.raises(ReadError, match="The picture in the file is 32 x 24 pixels"):
        stored_pixels(path)
