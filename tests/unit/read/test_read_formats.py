"""Volume files and pictures."""

import gzip
import zlib

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from model_core.base.errors import ReadError
from model_core.base.jobs import finish
from model_core.data.pictures import read_grey, read_index_picture
from model_core.read import load, read_labels, scan, thumbnail
from model_core.read.opening import slice_origins, stored_pixels
from model_core.read.scanning import scan_reports
from model_core.scene import edge_letters

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


# ---------------------------------------------------------------------- headers of NRRD and MetaImage

RAW = VALUES.astype("<i2").tobytes()
NRRD = """NRRD0004
type: short
dimension: 3
space: left-posterior-superior
sizes: 6 5 4
space directions: (0.7,0,0) (0,0.8,0) (0,0,2.5)
endian: little
encoding: raw
space origin: (-30,20,10)
"""
META = """ObjectType = Image
NDims = 3
BinaryData = True
BinaryDataByteOrderMSB = False
TransformMatrix = 1 0 0 0 1 0 0 0 1
Offset = -30 20 10
ElementSpacing = 0.7 0.8 2.5
DimSize = 6 5 4
ElementType = MET_SHORT
"""
#: Header, and the line that names a data file, by suffix.
HEADERS = {
    ".nrrd": (NRRD, "data file: {}\n"),
    ".nhdr": (NRRD, "data file: {}\n"),
    ".mha": (META, "ElementDataFile = {}\n"),
    ".mhd": (META, "ElementDataFile = {}\n"),
}


def write_apart(folder, suffix, name, *, eol="\n", line=None):
    """Write a header that names a data file."""
    head, usual = HEADERS[suffix.lower()]
    text = head + (line or usual).format(name)
    path = folder / f"v{suffix}"
    path.write_bytes(text.replace("\n", eol).encode())
    return path


@pytest.mark.parametrize("eol", ["\n", "\r\n"], ids=["unix", "dos"])
@pytest.mark.parametrize("suffix", [".nhdr", ".nrrd", ".mhd", ".mha", ".NHDR", ".MHD"])
@pytest.mark.parametrize(
    ("named", "there"),
    [
        ("./v.raw", "v.raw"),
        (".\\v.raw", "v.raw"),
        ("V.RAW", "v.raw"),
        ("my ct 1.raw", "my ct 1.raw"),
        ("a=b.raw", "a=b.raw"),
        ("50%.raw", "50%.raw"),
        ("Größe.raw", "Größe.raw"),
        ("parts/v.raw", "parts/v.raw"),
    ],
)
def test_data_files_beside_their_header_are_found_however_they_are_named(tmp_path, named, there, suffix, eol):
    (tmp_path / "parts").mkdir()
    (tmp_path / there).write_bytes(RAW)
    entry, volume = open_one(write_apart(tmp_path, suffix, named, eol=eol))
    np.testing.assert_array_equal(volume.geometry.to_native(volume.voxels), VALUES)
    assert volume.geometry.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    assert entry.problems == ()


@pytest.mark.parametrize("suffix", [".MHA", ".Mha", ".NRRD", ".Nrrd"])
def test_suffixes_in_capitals(tmp_path, suffix):
    kind = suffix.lower()
    sitk.WriteImage(image(), str(tmp_path / f"v{kind}"))
    (tmp_path / f"v{kind}").rename(tmp_path / f"CT{suffix}")
    _, volume = open_one(tmp_path)
    np.testing.assert_array_equal(volume.geometry.to_native(volume.voxels), VALUES)


@pytest.mark.parametrize("suffix", HEADERS)
@pytest.mark.parametrize(
    "named",
    [
        "../../secret.raw",
        "../../secret=1.raw",
        "../../se cret.raw",
        "./inner/../../../secret.raw",
        "..\\..\\secret.raw",
        "{outside}/secret.raw",
        "{outside}/secret=1.raw",
        "C:\\secret.raw",
        "link.raw",
        "up/secret.raw",
    ],
)
def test_a_data_file_outside_the_folder_is_refused_by_name(tmp_path, named, suffix):
    folder = tmp_path / "in" / "x"
    (folder / "inner").mkdir(parents=True)
    for name in ("secret.raw", "secret=1.raw", "se cret.raw"):
        (tmp_path / name).write_bytes(RAW)
    (folder / "link.raw").symlink_to(tmp_path / "secret.raw")
    (folder / "up").symlink_to(tmp_path)
    named = named.replace("{outside}", str(tmp_path))
    path = write_apart(folder, suffix, named)
    with pytest.raises(ReadError, match="outside its own folder") as caught:
        finish(scan(path))
    assert f"names the data file {named}," in str(caught.value)


@pytest.mark.parametrize(
    "line",
    ["Data File: {}\n", "DATAFILE: {}\n", "data\tfile : {}\n", "\ufeffdata file: {}\n", "data file:= {}\n"],
)
def test_a_data_file_is_refused_however_its_key_is_spelled(tmp_path, line):
    (tmp_path / "in").mkdir()
    (tmp_path / "secret.raw").write_bytes(RAW)
    for suffix in (".nrrd", ".nhdr", ".mha", ".mhd"):
        spelled = line if suffix.startswith(".n") else line.lower().replace("data", "Element Data", 1)
        write_apart(tmp_path / "in", suffix, "../secret.raw", line=spelled)
    found = finish(scan_reports(tmp_path / "in"))[-1]
    assert found.series == ()
    assert {report.status for report in found.files} == {"error"}
    assert all("../secret.raw" in report.reason for report in found.files)


@pytest.mark.parametrize("suffix", HEADERS)
@pytest.mark.parametrize(
    "named", ["LIST\nv1.raw\nv2.raw", "LIST 2\nv1.raw", "v%03d.raw 1 4 1", "v%d.raw 1 4 1"]
)
def test_lists_of_data_files_are_refused_with_the_reason(tmp_path, named, suffix):
    for number in range(1, 5):
        (tmp_path / f"v{number}.raw").write_bytes(RAW)
    with pytest.raises(ReadError, match="list of data files"):
        finish(scan(write_apart(tmp_path, suffix, named)))


def test_a_second_data_file_in_a_header_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    for path in (tmp_path / "secret.raw", tmp_path / "in" / "v.raw"):
        path.write_bytes(RAW)
    path = write_apart(tmp_path / "in", ".nhdr", "v.raw\ndata file: ../secret.raw")
    with pytest.raises(ReadError, match="several data files"):
        finish(scan(path))


def test_a_header_reached_by_a_link_finds_the_data_beside_itself(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "farm").mkdir()
    (tmp_path / "real" / "v.raw").write_bytes(RAW)
    path = write_apart(tmp_path / "real", ".nhdr", "v.raw")
    for name in ("v.nhdr", "v.raw"):
        (tmp_path / "farm" / name).symlink_to(tmp_path / "real" / name)
    _, volume = open_one(tmp_path / "farm" / path.name)
    np.testing.assert_array_equal(volume.geometry.to_native(volume.voxels), VALUES)


def without(head, *keys):
    lines = [line for line in head.splitlines() if not line.startswith(keys)]
    return "\n".join(lines) + "\n"


UNPLACED = {
    "no space": (".nrrd", without(NRRD, "space:", "space d", "space o") + "spacings: 0.7 0.8 2.5\n"),
    "directions of no space": (".nrrd", NRRD.replace("space: left-posterior-superior", "space dimension: 3")),
    "space of a room": (".nrrd", NRRD.replace("left-posterior-superior", "3D-right-handed")),
    "no matrix": (".mha", without(META, "Transform")),
    "unknown letters": (".mha", without(META, "Transform") + "AnatomicalOrientation = ???\n"),
}


@pytest.mark.parametrize("kind", UNPLACED)
def test_a_header_that_says_nothing_of_the_body_gets_no_letters(tmp_path, kind):
    suffix, head = UNPLACED[kind]
    end = "\n" if suffix == ".nrrd" else "ElementDataFile = LOCAL\n"
    (tmp_path / f"v{suffix}").write_bytes((head + end).encode() + RAW)
    entry, volume = open_one(tmp_path)
    assert not any(edge_letters(volume.geometry))
    assert volume.geometry.axes is None
    assert entry.plane == volume.plane == "unknown"
    assert entry.status == "warning"
    assert "does not say how the volume lies" in entry.problems[0].text
    assert volume.geometry.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    np.testing.assert_array_equal(volume.geometry.to_native(volume.voxels), VALUES)


@pytest.mark.parametrize(
    ("letters", "directions"),
    [("RAI", (1, 1, 1)), ("LPI", (-1, -1, 1)), ("RAS", (1, 1, -1))],
)
def test_letters_of_a_metaimage_without_matrix(tmp_path, letters, directions):
    head = without(META, "Transform") + f"AnatomicalOrientation = {letters}\nElementDataFile = LOCAL\n"
    (tmp_path / "v.mha").write_bytes(head.encode() + RAW)
    entry, volume = open_one(tmp_path)
    assert entry.problems == ()
    corner = volume.geometry.from_native(np.arange(VALUES.size).reshape(VALUES.shape)) == 0
    shown = np.argwhere(corner)[0]
    point = np.array(volume.geometry.origin_mm) + (shown * volume.geometry.spacing_mm) @ volume.geometry.axes
    np.testing.assert_allclose(point, (-30, 20, 10), atol=1e-6)
    native = volume.geometry.axes[list(volume.geometry.native_axes)]
    signs = np.where(volume.geometry.native_flips, -1, 1)[:, None]
    np.testing.assert_allclose((native * signs)[::-1], np.diag(directions), atol=1e-9)


def test_spacing_that_no_header_states_is_unknown(tmp_path):
    head = without(META, "ElementSpacing") + "ElementDataFile = LOCAL\n"
    (tmp_path / "v.mha").write_bytes(head.encode() + RAW)
    (tmp_path / "v.nrrd").write_bytes((without(NRRD, "space") + "\n").encode() + RAW)
    found = finish(scan(tmp_path))[-1].series
    assert len(found) == 2
    for entry in found:
        assert entry.spacing_mm == (None, None, None)
        assert any("how far its voxels are apart" in problem.text for problem in entry.problems)


CENTIMETRES = {
    "nrrd": (
        ".nrrd",
        NRRD.replace("(0.7,0,0) (0,0.8,0) (0,0,2.5)", "(0.07,0,0) (0,0.08,0) (0,0,0.25)").replace(
            "(-30,20,10)", "(-3,2,1)"
        )
        + 'space units: "cm" "cm" "cm"\n\n',
    ),
    "metaimage": (
        ".mha",
        META.replace("0.7 0.8 2.5", "0.07 0.08 0.25").replace("-30 20 10", "-3 2 1")
        + "DistanceUnits = cm\nElementDataFile = LOCAL\n",
    ),
}


@pytest.mark.parametrize("kind", CENTIMETRES)
def test_lengths_are_millimetres_whatever_the_unit_of_the_file(tmp_path, kind):
    suffix, head = CENTIMETRES[kind]
    assert "cm" in head
    (tmp_path / f"v{suffix}").write_bytes(head.encode() + RAW)
    entry, volume = open_one(tmp_path)
    assert entry.problems == ()
    assert volume.geometry.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    assert volume.geometry.origin_mm == pytest.approx((-30, 20, 10 + 3 * 2.5))


def test_units_that_differ_are_refused(tmp_path):
    head = without(NRRD, "space") + 'spacings: 0.7 0.8 2.5\nunits: "mm" "mm" "cm"\n\n'
    (tmp_path / "v.nrrd").write_bytes(head.encode() + RAW)
    with pytest.raises(ReadError, match=r"v\.nrrd gives its axes in different units"):
        finish(scan(tmp_path))


PARTLY_SPACED = {
    "no direction": (".nrrd", NRRD.replace("(0,0,2.5)", "none")),
    "no spacing": (".nrrd", without(NRRD, "space") + "spacings: 0.7 0.8 nan\n"),
    "zero": (".mha", META.replace("0.7 0.8 2.5", "0.7 0.8 0")),
    "no number": (".mha", META.replace("0.7 0.8 2.5", "0.7 0.8 nan")),
    "too few": (".mha", META.replace("0.7 0.8 2.5", "0.7 0.8")),
    "negative": (".mha", META.replace("0.7 0.8 2.5", "0.7 0.8 -2.5")),
}


@pytest.mark.parametrize("kind", PARTLY_SPACED)
def test_a_distance_that_is_none_is_unknown_and_the_others_hold(tmp_path, kind):
    suffix, head = PARTLY_SPACED[kind]
    end = "\n" if suffix == ".nrrd" else "ElementDataFile = LOCAL\n"
    (tmp_path / f"v{suffix}").write_bytes((head + end).encode() + RAW)
    entry, volume = open_one(tmp_path)
    assert volume.geometry.spacing_mm == (None, pytest.approx(0.8), pytest.approx(0.7))
    assert any("how far its voxels are apart" in problem.text for problem in entry.problems)
    np.testing.assert_array_equal(volume.geometry.to_native(volume.voxels), VALUES)


def test_a_distance_of_zero_beside_data_in_a_file_of_their_own(tmp_path):
    (tmp_path / "v.raw").write_bytes(RAW)
    head = META.replace("0.7 0.8 2.5", "0 0 0") + "ElementDataFile = v.raw\n"
    (tmp_path / "v.mhd").write_bytes(head.encode())
    entry, volume = open_one(tmp_path / "v.mhd")
    assert entry.spacing_mm == (None, None, None)
    np.testing.assert_array_equal(volume.geometry.to_native(volume.voxels), VALUES)


def test_the_intensity_of_a_metaimage_is_a_line_of_what_it_stores(tmp_path):
    line = "ElementToIntensityFunctionSlope = 2\nElementToIntensityFunctionOffset = -1024\n"
    (tmp_path / "v.mha").write_bytes((META + line + "ElementDataFile = LOCAL\n").encode() + RAW)
    _, volume = open_one(tmp_path)
    np.testing.assert_array_equal(volume.geometry.to_native(volume.voxels), VALUES * 2 - 1024)


UNREAD = {
    "packed without a length": (
        ".mha",
        META + "CompressedData = True\nElementDataFile = LOCAL\n",
        "how long its packed data are",
    ),
    "bzip2": (".nrrd", NRRD.replace("encoding: raw", "encoding: bzip2") + "\n", "packed with bzip2"),
    "space": (".nrrd", NRRD.replace("left-posterior-superior", "LPI") + "\n", "the space 'LPI'"),
}


@pytest.mark.parametrize("kind", UNREAD)
def test_what_the_library_would_read_wrong_or_not_is_refused_with_the_reason(tmp_path, kind):
    suffix, head, words = UNREAD[kind]
    (tmp_path / f"v{suffix}").write_bytes(head.encode() + zlib.compress(RAW))
    with pytest.raises(ReadError, match=words):
        finish(scan(tmp_path))


def test_of_several_numbers_in_a_voxel_only_colours_are_mixed(tmp_path):
    times = sitk.GetImageFromArray(np.stack([VALUES, VALUES + 100, VALUES + 200], -1), isVector=True)
    sitk.WriteImage(times, str(tmp_path / "v.mha"))
    entry, volume = open_one(tmp_path / "v.mha")
    assert "3 components" in entry.problems[0].text
    np.testing.assert_array_equal(volume.geometry.to_native(volume.voxels), VALUES)
    red = np.zeros((*VALUES.shape, 3), np.uint8)
    red[..., 0] = 200
    sitk.WriteImage(sitk.GetImageFromArray(red, isVector=True), str(tmp_path / "c.mha"))
    _, volume = open_one(tmp_path / "c.mha")
    assert set(np.unique(volume.voxels)) == {60}


def test_a_sheared_nrrd_is_told(tmp_path):
    head = NRRD.replace("(0,0,2.5)", "(0,0.6,2.5)")
    (tmp_path / "v.nrrd").write_bytes((head + "\n").encode() + RAW)
    entry, volume = open_one(tmp_path)
    assert entry.problems[0].text.startswith("The stack is sheared")
    assert volume.geometry.sheared
    assert volume.geometry.spacing_mm[0] == pytest.approx(2.5)


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


def turned(picture, orientation):
    """A picture as a camera stores it that turned or mirrored it, with the EXIF that undoes that."""
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    made = Image.fromarray(picture)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return made if undo is None else made.transpose(undo), exif


UPRIGHT = np.kron(np.arange(24, dtype=np.uint8).reshape(4, 6) * 10, np.ones((8, 8), np.uint8))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_upright_as_exif_says(tmp_path, orientation):
    stored, exif = turned(UPRIGHT, orientation)
    stored.save(tmp_path / "a.png", exif=exif)
    stored.save(tmp_path / "b.jpg", exif=exif, quality=100)
    stored.convert("P").save(tmp_path / "c.png", exif=exif)
    entry, volume = open_one(tmp_path)
    assert entry.size == (3, *UPRIGHT.shape)
    for picture in volume.voxels:
        assert np.abs(picture - UPRIGHT.astype(int)).max() < 4
    assert stored_pixels(tmp_path / "a.png").shape == np.asarray(stored).shape
    # A mask beside it that is stored the same way lies on it; so does one that is stored upright.
    (tmp_path / "masks").mkdir()
    stored.point(lambda value: value > 100).save(tmp_path / "masks" / "a.png", exif=exif)
    Image.fromarray((UPRIGHT > 100).astype(np.uint8)).save(tmp_path / "masks" / "b.png")
    labels = read_labels(tmp_path / "masks", volume)
    np.testing.assert_array_equal(labels[0] > 0, UPRIGHT > 100)
    np.testing.assert_array_equal(labels[1] > 0, UPRIGHT > 100)
    # Data sets read them alike.
    np.testing.assert_array_equal(read_grey(tmp_path / "a.png"), UPRIGHT)
    np.testing.assert_array_equal(read_index_picture(tmp_path / "masks" / "a.png") > 0, UPRIGHT > 100)


@pytest.mark.parametrize(
    "exif", [b"Exif\0\0junkjunkjunk", b"Exif\0\0II*\0", b"Exif\0\0II*\0\x08\0\0\0\xff\xff"]
)
def test_damaged_exif_does_not_lose_the_picture(tmp_path, exif):
    Image.fromarray(UPRIGHT).save(tmp_path / "a.png", exif=exif)
    _, volume = open_one(tmp_path)
    np.testing.assert_array_equal(volume.voxels[0], UPRIGHT)
    np.testing.assert_array_equal(read_grey(tmp_path / "a.png"), UPRIGHT)


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
