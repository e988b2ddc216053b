"""Volume files and pictures."""

import gzip

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from model_core.errors import ReadError
from model_core.io import load, read_labels, scan, thumbnail
from model_core.io.opening import slice_origins, stored_pixels
from model_core.types import finish

VALUES = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6) - 1000
DIRECTIONS = {
    "identity": (1, 0, 0, 0, 1, 0, 0, 0, 1),
    "RAS": (-1, 0, 0, 0, -1, 0, 0, 0, 1),
    "flipped": (1, 0, 0, 0, 1, 0, 0, 0, -1),
    "coronal": (1, 0, 0, 0, 0, 1, 0, -1, 0),
}


def image(direction=DIRECTIONS["identity"], values=VALUES, spacing=(0.7, 0.8, 2.5)):
    made = sitk.GetImageFromArray(values)
    made.SetSpacing(spacing)
    made.SetOrigin((-30.0, 20.0, 10.0))
    made.SetDirection([float(value) for value in direction])
    return made


def open_one(path):
    (entry,) = finish(scan(path))[-1].series
    return entry, finish(load(entry))[-1]


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "v.nrrd", "v.mha", "v.mhd", "v.nhdr"])
def test_volume_formats_keep_values_and_physical_points(tmp_path, name, direction):
    truth = image(DIRECTIONS[direction])
    sitk.WriteImage(truth, str(tmp_path / name))
    entry, volume = open_one(tmp_path / name)
    assert volume.unit == "HU"
    geometry = volume.geometry
    for index in np.ndindex(volume.voxels.shape):
        point = np.array(geometry.origin_mm) + (np.array(geometry.spacing_mm) * index) @ geometry.axes
        found = truth.TransformPhysicalPointToContinuousIndex([float(value) for value in point])
        where = np.rint(found)
        np.testing.assert_allclose(found, where, atol=1e-3)
        assert truth[[int(value) for value in where]] == volume.voxels[index]
        if index[1:] == (0, 0):
            np.testing.assert_allclose(slice_origins(entry)[index[0]], point, atol=1e-6)
    np.testing.assert_array_equal(stored_pixels(tmp_path / name), VALUES)


def test_a_folder_with_a_header_and_its_data_is_one_series(tmp_path):
    sitk.WriteImage(image(), str(tmp_path / "v.mhd"))
    found = finish(scan(tmp_path))[-1]
    assert len(found.series) == 1
    assert sorted(report.status for report in found.files) == ["ok", "skipped"]


def test_names_outside_ascii(tmp_path):
    folder = tmp_path / "Größe Ω 肺"
    folder.mkdir()
    truth = image()
    sitk.WriteImage(truth, str(tmp_path / "v.mhd"))
    for suffix in ("mhd", "raw"):
        (tmp_path / f"v.{suffix}").rename(folder / f"v.{suffix}")
    sitk.WriteImage(truth, str(tmp_path / "w.nii.gz"))
    (tmp_path / "w.nii.gz").rename(folder / "Lücke.nii.gz")
    found = finish(scan(folder))[-1]
    assert len(found.series) == 2
    for entry in found.series:
        np.testing.assert_array_equal(np.unique(finish(load(entry))[-1].voxels), np.unique(VALUES))


def test_a_header_that_points_out_of_its_folder_is_not_followed(tmp_path):
    sitk.WriteImage(image(), str(tmp_path / "v.mhd"))
    inside = tmp_path / "inside"
    inside.mkdir()
    text = (tmp_path / "v.mhd").read_text().replace("v.raw", "../v.raw")
    (inside / "v.mhd").write_text(text)
    with pytest.raises(ReadError, match="outside its own folder"):
        finish(scan(inside))


def test_a_header_without_its_data_says_so(tmp_path):
    sitk.WriteImage(image(), str(tmp_path / "v.mhd"))
    (tmp_path / "v.raw").unlink()
    with pytest.raises(ReadError, match="not beside it"):
        finish(scan(tmp_path / "v.mhd"))


def test_a_volume_that_declares_more_than_it_holds_is_refused(tmp_path):
    sitk.WriteImage(image(), str(tmp_path / "v.mhd"))
    text = (tmp_path / "v.mhd").read_text().replace("DimSize = 6 5 4", "DimSize = 60000 50000 400")
    (tmp_path / "v.mhd").write_text(text)
    with pytest.raises(ReadError, match="its size is wrong"):
        finish(scan(tmp_path / "v.mhd"))


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "packed"])
@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "v.nrrd", "v.mha"])
def test_a_cut_volume_is_an_error_not_a_black_half(tmp_path, name, packed):
    noise = np.random.default_rng(0).integers(-1000, 1000, (30, 40, 50)).astype(np.int16)
    path = tmp_path / name
    sitk.WriteImage(image(values=noise), str(path), useCompression=packed)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    (entry,) = finish(scan(tmp_path))[-1].series
    with pytest.raises(ReadError, match="cut off"):
        finish(load(entry))


def test_four_dimensions_show_the_first_volume(tmp_path):
    parts = [image(values=VALUES + shift) for shift in (0, 500)]
    sitk.WriteImage(sitk.JoinSeries(parts), str(tmp_path / "v.nii"))
    entry, volume = open_one(tmp_path)
    assert "holds 2 volumes" in entry.problems[0].text
    assert volume.voxels.min() == VALUES.min()
    assert volume.voxels.max() == VALUES.max()


def test_a_nifti_without_orientation_is_told(tmp_path):
    sitk.WriteImage(image(), str(tmp_path / "v.nii"))
    data = bytearray((tmp_path / "v.nii").read_bytes())
    data[252:256] = b"\0\0\0\0"  # qform_code and sform_code
    (tmp_path / "v.nii").write_bytes(data)
    entry, volume = open_one(tmp_path)
    assert entry.status == "warning"
    assert volume.geometry.axes is None


def test_gzip_of_something_else_is_an_error(tmp_path):
    (tmp_path / "v.nii.gz").write_bytes(gzip.compress(b"not a volume" * 100))
    with pytest.raises(ReadError, match="cannot be opened"):
        finish(scan(tmp_path / "v.nii.gz"))


# ------------------------------------------------------------------------------------------- pictures


def test_pictures_are_in_natural_order(tmp_path):
    for number in (1, 2, 9, 10, 11, 100):
        Image.fromarray(np.full((6, 8), number, np.uint8)).save(tmp_path / f"slice{number}.png")
    entry, volume = open_one(tmp_path)
    assert volume.voxels[:, 0, 0].tolist() == [1, 2, 9, 10, 11, 100]
    assert volume.slice_names[3] == "slice10.png"
    assert volume.unit == "grey"
    assert volume.geometry.spacing_mm == (None, None, None)
    assert entry.status == "ok"


def test_picture_kinds(tmp_path):
    grey = np.linspace(0, 255, 48).astype(np.uint8).reshape(6, 8)
    Image.fromarray(grey).convert("RGB").save(tmp_path / "rgb.png")
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png")
    alpha = np.dstack([grey, grey, grey, np.where(grey > 99, 255, 0).astype(np.uint8)])
    Image.fromarray(alpha).save(tmp_path / "alpha.png")
    Image.fromarray(grey).save(tmp_path / "one.jpg", quality=95)
    _, volume = open_one(tmp_path)
    by_name = dict(zip(volume.slice_names, volume.voxels, strict=True))
    np.testing.assert_array_equal(by_name["rgb.png"], grey)
    np.testing.assert_array_equal(by_name["palette.png"], grey)
    np.testing.assert_array_equal(by_name["alpha.png"], np.where(grey > 99, grey, 0))
    assert np.abs(by_name["one.jpg"] - grey.astype(int)).max() < 12
    assert volume.lossy
    assert stored_pixels(tmp_path / "rgb.png").shape == (6, 8, 3)


def test_sixteen_bit_pictures_keep_their_values(tmp_path):
    deep = np.linspace(0, 30000, 48).astype(np.uint16).reshape(6, 8)
    Image.fromarray(deep).save(tmp_path / "a.png")
    _, volume = open_one(tmp_path)
    assert volume.unit == "values"
    np.testing.assert_array_equal(volume.voxels[0], deep)


def test_different_sizes_are_series_of_their_own(tmp_path):
    for index, size in enumerate([(6, 8), (6, 8), (7, 9)]):
        Image.fromarray(np.zeros(size, np.uint8)).save(tmp_path / f"{index}.png")
    assert [entry.size for entry in finish(scan(tmp_path))[-1].series] == [(2, 6, 8), (1, 7, 9)]


def test_damaged_pictures_are_left_out(tmp_path):
    for index in range(3):
        noise = np.random.default_rng(index).integers(0, 255, (60, 80)).astype(np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{index}.png")
    data = (tmp_path / "1.png").read_bytes()
    (tmp_path / "1.png").write_bytes(data[: len(data) // 2])
    (tmp_path / "2.png").write_bytes(data[:12])
    found = finish(scan(tmp_path))[-1]
    assert [report.status for report in found.files] == ["ok", "ok", "error"]
    volume = finish(load(found.series[0]))[-1]
    assert volume.slice_names == ("0.png",)
    assert any(problem.files == ("1.png",) for problem in volume.problems)


def test_a_picture_bomb_is_refused(tmp_path):
    # A PNG header that declares 60000 x 60000 pixels over no data.
    start = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + (60000).to_bytes(4, "big") * 2 + b"\x08\0\0\0\0"
    import zlib

    (tmp_path / "a.png").write_bytes(start + zlib.crc32(start[12:]).to_bytes(4, "big"))
    with pytest.raises(ReadError):
        finish(scan(tmp_path / "a.png"))


@pytest.mark.parametrize("size", [16, 64])
def test_thumbnails_have_the_shape_of_the_patient(tmp_path, size):
    sitk.WriteImage(image(spacing=(2.0, 1.0, 9.0)), str(tmp_path / "v.nii"))
    (entry,) = finish(scan(tmp_path))[-1].series
    shown = thumbnail(entry, size)
    assert shown.dtype == np.uint8
    assert max(shown.shape) == size
    assert shown.shape[1] / shown.shape[0] == pytest.approx(12 / 5, rel=0.15)


# --------------------------------------------------------------------------------------- label masks


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_labels_come_back_on_the_grid_of_the_volume(tmp_path, direction):
    labels = (VALUES > -950).astype(np.uint8)
    sitk.WriteImage(image(DIRECTIONS[direction]), str(tmp_path / "v.nii"))
    sitk.WriteImage(image(DIRECTIONS[direction], labels), str(tmp_path / "mask.nrrd"))
    _, volume = open_one(tmp_path / "v.nii")
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.nrrd", volume), volume.voxels > -950)


def test_a_mask_elsewhere_in_the_patient_is_refused(tmp_path):
    sitk.WriteImage(image(), str(tmp_path / "v.nii"))
    far = image(values=np.ones_like(VALUES, np.uint8))
    far.SetOrigin((5000.0, 0.0, 0.0))
    sitk.WriteImage(far, str(tmp_path / "mask.nii"))
    _, volume = open_one(tmp_path / "v.nii")
    with pytest.raises(ReadError, match="elsewhere in the patient"):
        read_labels(tmp_path / "mask.nii", volume)


def test_an_image_is_no_mask(tmp_path):
    sitk.WriteImage(image(), str(tmp_path / "v.nii"))
    _, volume = open_one(tmp_path / "v.nii")
    with pytest.raises(ReadError, match="no label mask"):
        read_labels(tmp_path / "v.nii", volume)


def test_mask_pictures_match_by_name(tmp_path):
    for name in ("a", "b", "c"):
        Image.fromarray(np.zeros((6, 8), np.uint8)).save(tmp_path / f"{name}.png")
    masks = tmp_path / "masks"
    masks.mkdir()
    Image.fromarray(np.full((6, 8), 2, np.uint8)).save(masks / "b.png")
    _, volume = open_one(tmp_path / "a.png")
    assert volume.slices == 1
    entry = next(entry for entry in finish(scan(tmp_path))[-1].series if entry.size[0] == 3)
    volume = finish(load(entry))[-1]
    assert read_labels(masks, volume)[:, 0, 0].tolist() == [0, 2, 0]
