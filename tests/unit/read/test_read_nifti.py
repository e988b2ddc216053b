"""NIfTI: which of its forms is used, what is told of them, and that an exported mask keeps them."""

import gzip
import struct

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813

from model_core.base.errors import ReadError
from model_core.base.jobs import finish
from model_core.export import write_lesions
from model_core.read import load, read_labels, scan, straighten
from model_core.read.opening import slice_origins
from model_core.scene import edge_letters

VALUES = (np.arange(5 * 6 * 8) - 1000).astype(np.int16).reshape(5, 6, 8)
TYPES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "c8": 32, "i1": 256, "u2": 512, "i8": 1024}
#: Columns run to the left, rows to the back, slices to the head (RAS mm), as DICOM files have it.
LPS = np.array([[-0.7, 0, 0, 11], [0, -0.8, 0, -7], [0, 0, 2.5, 30]])


def write_nifti(
    path,
    values=VALUES,
    *,
    sform=None,
    qform=None,
    pixdim=(1, 0.7, 0.8, 2.5),
    version=1,
    order="<",
    packed=False,
    scale=(0, 0),
    units=2,
):
    """Write a file by nifti1.h or nifti2.h; forms are (code, (3, 4)) and (code, (b, c, d), offset)."""
    code, srow = sform or (0, np.zeros((3, 4)))
    qcode, quaternion, qoffset = qform or (0, (0, 0, 0), (0, 0, 0))
    dim = [values.ndim, *values.shape[::-1], *[1] * (7 - values.ndim)]
    real = [*pixdim, *[1] * (8 - len(pixdim))]
    kind = values.dtype.str[1:]
    if version == 1:
        head = bytearray(352)
        fields = [(0, "i", [348]), (40, "8h", dim), (70, "2h", [TYPES[kind], values.itemsize * 8])]
        fields += [(76, "8f", real), (108, "3f", [352, *scale]), (123, "B", [units])]
        fields += [(252, "2h", [qcode, code]), (256, "6f", [*quaternion, *qoffset])]
        fields += [(280, "12f", np.ravel(srow)), (344, "4s", [b"n+1\0"])]
    else:
        head = bytearray(544)
        fields = [
            (0, "i", [540]),
            (4, "8s", [b"n+2\0\r\n\x1a\n"]),
            (12, "2h", [TYPES[kind], values.itemsize * 8]),
        ]
        fields += [(16, "8q", dim), (104, "8d", real), (168, "q", [544]), (176, "2d", scale)]
        fields += [(344, "2i", [qcode, code]), (352, "6d", [*quaternion, *qoffset])]
        fields += [(400, "12d", np.ravel(srow)), (500, "i", [units])]
    for offset, layout, numbers in fields:
        struct.pack_into(order + layout, head, offset, *numbers)
    data = bytes(head) + values.astype(values.dtype.newbyteorder(order)).tobytes()
    path.write_bytes(gzip.compress(data) if packed else data)
    return path


#: The qform that is the same as `LPS`: half a turn about the third axis.
SAME = (1, (0, 0, 1), (11, -7, 30))


def open_one(path):
    (entry,) = finish(scan(path))[-1].series
    return entry, finish(load(entry))[-1]


def ras(volume, index):
    """Where a displayed voxel lies, RAS mm, by origin, last origin and steps of the geometry."""
    geometry = volume.geometry
    first, last = np.array(geometry.origin_mm), np.array(geometry.last_origin_mm)
    step = (last - first) / (volume.slices - 1)
    point = first + index[0] * step
    point = point + index[1] * geometry.spacing_mm[1] * geometry.axes[1]
    point = point + index[2] * geometry.spacing_mm[2] * geometry.axes[2]
    return point * (-1, -1, 1)


def check_places(volume, affine, values=VALUES):
    """Every voxel lies where the affine of the file puts it."""
    for z, y, x in np.ndindex(values.shape):
        if (z, y, x) == (z, 0, 0) or x == y:
            shown = np.argwhere(volume.voxels == values[z, y, x])
            assert len(shown) == 1
            expected = np.asarray(affine)[:, :3] @ (x, y, z) + np.asarray(affine)[:, 3]
            np.testing.assert_allclose(ras(volume, shown[0]), expected, atol=1e-4)


def forms(path):
    """What a NIfTI-1 file says of its place: pixdim, codes, quaternion, offset, rows."""
    data = path.read_bytes()
    data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    return (
        *struct.unpack_from("<4f", data, 76),
        *struct.unpack_from("<2h", data, 252),
        *struct.unpack_from("<18f", data, 256),
    )


MOVED = LPS + np.array([[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 500]])
SWAPPED = LPS * np.array([[-1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]])
TEMPLATE = np.array([[0, -0.8, 0, 1], [-0.7, 0, 0, 2], [0, 0, 2.5, 3]])


@pytest.mark.parametrize(
    ("sform", "words"),
    [
        ((1, MOVED), ("500.0 mm", "sform (code 1, scanner, axes to LPS)")),
        ((2, SWAPPED), ("sform (code 2, aligned, axes to RPS)",)),
        ((4, TEMPLATE), ("sform (code 4, MNI 152, axes to PLS)",)),
        ((5, MOVED), ("sform (code 5, axes to LPS)",)),
    ],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_of_two_forms_that_disagree_the_sform_is_used_and_both_are_told_and_kept(
    tmp_path, sform, words, suffix
):
    path = write_nifti(tmp_path / f"v{suffix}", sform=sform, qform=SAME, packed=suffix == ".nii.gz")
    entry, volume = open_one(path)
    check_places(volume, sform[1])
    assert entry.status == "warning"
    (told,) = entry.problems
    assert "qform (code 1, scanner, axes to LPS)" in told.text
    assert all(word in told.text for word in words)
    assert told.files == (path.name,)
    labels = (volume.voxels > -900).astype(np.uint8)
    assert write_lesions(tmp_path / f"m{suffix}", volume, labels) == ()
    assert forms(tmp_path / f"m{suffix}") == forms(path)
    # Written in the order of the file, and read back onto it.
    data = (tmp_path / f"m{suffix}").read_bytes()
    data = gzip.decompress(data) if suffix == ".nii.gz" else data
    assert data[-VALUES.size :] == (VALUES > -900).astype(np.uint8).tobytes()
    np.testing.assert_array_equal(read_labels(tmp_path / f"m{suffix}", volume), labels)


@pytest.mark.parametrize(
    ("sform", "qform", "affine"),
    [
        ((1, LPS), SAME, LPS),
        ((1, LPS), None, LPS),
        ((0, MOVED), SAME, LPS),
        ((2, MOVED), None, MOVED),
        ((1, LPS + 1e-3 * np.eye(3, 4)), SAME, LPS),
    ],
)
def test_forms_that_agree_or_stand_alone_are_not_worth_a_word(tmp_path, sform, qform, affine):
    entry, volume = open_one(write_nifti(tmp_path / "v.nii", sform=sform, qform=qform))
    np.testing.assert_allclose(ras(volume, (4, 0, 0)), affine[:, 3], atol=1e-3)
    assert volume.problems == entry.problems == ()


def test_a_qform_turns_its_third_axis_over(tmp_path):
    # A quarter of a turn about the first axis, and a negative qfac.
    half = float(np.sqrt(0.5))
    affine = np.array([[0.7, 0, 0, 1], [0, 0, 2.5, 2], [0, 0.8, 0, 3]])
    path = write_nifti(tmp_path / "v.nii", qform=(1, (half, 0, 0), (1, 2, 3)), pixdim=(-1, 0.7, 0.8, 2.5))
    entry, volume = open_one(path)
    check_places(volume, affine)
    assert entry.plane == "coronal"


@pytest.mark.parametrize("length", [0, np.nan, -2.5])
def test_spacing_comes_from_the_sform_where_pixdim_has_none(tmp_path, length):
    path = write_nifti(tmp_path / "v.nii", sform=(1, LPS), qform=SAME, pixdim=(1, 0.7, 0.8, length))
    entry, volume = open_one(path)
    assert entry.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    check_places(volume, LPS)
    write_lesions(tmp_path / "m.nii", volume, (volume.voxels > -900).astype(np.uint8))
    assert sitk.ReadImage(str(tmp_path / "m.nii")).GetSpacing() == pytest.approx((0.7, 0.8, 2.5))


@pytest.mark.parametrize("length", [0, np.nan])
def test_spacing_that_only_pixdim_could_say_is_unknown_and_told(tmp_path, length):
    path = write_nifti(tmp_path / "v.nii", qform=SAME, pixdim=(1, 0.7, 0.8, length))
    entry, volume = open_one(path)
    assert volume.geometry.spacing_mm == (None, pytest.approx(0.8), pytest.approx(0.7))
    assert volume.geometry.origin_mm is None
    assert all(edge_letters(volume.geometry))
    assert [problem.level for problem in entry.problems] == ["warning"]
    assert "how far its voxels are apart" in entry.problems[0].text


def test_two_sizes_of_a_voxel_are_told(tmp_path):
    larger = LPS * 1.2
    entry, volume = open_one(write_nifti(tmp_path / "v.nii", sform=(1, larger)))
    check_places(volume, larger)
    assert "0.84 x 0.96 x 3 mm by its sform, 0.7 x 0.8 x 2.5 mm by its pixdim" in entry.problems[0].text


def test_a_sform_of_unit_vectors_leaves_the_sizes_to_pixdim(tmp_path):
    units = np.c_[np.diag([-1.0, -1.0, 1.0]), LPS[:, 3]]
    entry, volume = open_one(write_nifti(tmp_path / "v.nii", sform=(1, units)))
    check_places(volume, LPS)
    assert "sizes of pixdim are used" in entry.problems[0].action


@pytest.mark.parametrize("broken", [np.nan, 0.0])
def test_a_sform_that_is_no_matrix_gives_way_to_the_qform(tmp_path, broken):
    bad = LPS.copy()
    bad[:, 1] = broken
    entry, volume = open_one(write_nifti(tmp_path / "v.nii", sform=(1, bad), qform=SAME))
    check_places(volume, LPS)
    assert "sform of the file is no usable matrix" in entry.problems[0].text


def test_without_codes_nobody_knows_the_sides(tmp_path):
    path = write_nifti(tmp_path / "v.nii", sform=(0, LPS), qform=(0, *SAME[1:]))
    entry, volume = open_one(path)
    assert volume.geometry.axes is None
    assert not any(edge_letters(volume.geometry))
    assert volume.plane == "unknown"
    assert volume.geometry.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    assert "does not say how the volume lies" in entry.problems[0].text
    problems = write_lesions(tmp_path / "m.nii", volume, (volume.voxels > -900).astype(np.uint8))
    assert any("by index only" in problem.action for problem in problems)
    assert forms(tmp_path / "m.nii")[4:6] == (0, 0)


@pytest.mark.parametrize("broken", [np.nan, 0.0])
def test_a_sform_that_is_no_matrix_alone_says_nothing_of_the_sides(tmp_path, broken):
    bad = LPS.copy()
    bad[:, 1] = broken
    entry, volume = open_one(write_nifti(tmp_path / "v.nii", sform=(1, bad)))
    assert volume.geometry.axes is None
    assert entry.plane == "unknown"
    assert volume.geometry.spacing_mm == pytest.approx((2.5, 0.8, 0.7))


def sheared(slope):
    tilted = LPS.copy()
    tilted[1, 2] = slope * 2.5
    return tilted


@pytest.mark.parametrize("slanted", [True, False], ids=["length", "height"])
@pytest.mark.parametrize("slope", [0.02, 0.27, -0.4])
def test_a_sheared_form_is_read_told_and_kept(tmp_path, slope, slanted):
    affine = sheared(slope)
    size = 2.5 * np.hypot(1, slope) if slanted else 2.5
    path = write_nifti(tmp_path / "v.nii", sform=(1, affine), pixdim=(1, 0.7, 0.8, size))
    entry, volume = open_one(path)
    assert len(entry.problems) == 1
    check_places(volume, affine)
    assert volume.geometry.sheared
    assert volume.geometry.spacing_mm == pytest.approx((2.5, 0.8, 0.7))
    assert entry.problems[0].text.startswith("The stack is sheared")
    origins = slice_origins(entry)
    np.testing.assert_allclose(origins[1] - origins[0], -affine[:, 2] * (-1, -1, 1), atol=1e-5)
    labels = (volume.voxels > -900).astype(np.uint8)
    assert write_lesions(tmp_path / "m.nii", volume, labels) == ()
    assert forms(tmp_path / "m.nii") == forms(path)
    np.testing.assert_array_equal(read_labels(tmp_path / "m.nii", volume), labels)


@pytest.mark.parametrize("slope", [0.0, 1e-6, 1e-4, 1e-3])
def test_a_trace_of_shear_is_not_worth_a_word(tmp_path, slope):
    entry, volume = open_one(write_nifti(tmp_path / "v.nii", sform=(1, sheared(slope))))
    check_places(volume, sheared(slope))
    assert entry.problems == ()
    np.testing.assert_allclose(volume.geometry.axes @ volume.geometry.axes.T, np.eye(3), atol=1e-6)


def test_the_tilt_of_a_sheared_form_is_corrected(tmp_path):
    values = np.full((5, 20, 20), -1000, np.int16)
    values[:, 8, 9] = 500
    affine = np.array([[-1.0, 0, 0, 0], [0, -1.0, 0.4 * 5, 0], [0, 0, 5.0, 0]])
    path = write_nifti(tmp_path / "v.nii", values, sform=(1, affine), pixdim=(1, 1, 1, float(np.hypot(2, 5))))
    entry, _ = open_one(path)
    upright = straighten(entry)
    volume = finish(load(upright))[-1]
    assert volume.voxels.shape == upright.size == (5, 28, 20)
    assert not volume.geometry.sheared
    assert volume.geometry.forms is None
    for index in range(5):
        (where,) = np.argwhere(volume.voxels[index] == 500)
        native = 4 - index
        np.testing.assert_allclose(ras(volume, (index, *where)), affine @ (9, 8, native, 1), atol=1e-4)


def test_pixels_without_right_angles_are_told(tmp_path):
    skewed = LPS.copy()
    skewed[0, 1] = 0.2
    entry, volume = open_one(write_nifti(tmp_path / "v.nii", sform=(1, skewed)))
    assert any("not at right angles" in problem.text for problem in entry.problems)
    np.testing.assert_array_equal(np.unique(volume.voxels), np.unique(VALUES))


# ------------------------------------------------------------------------------------------- kinds


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("name", ["v.nii", "v.nii.gz", "V.NII", "V.NII.GZ"])
def test_versions_byte_orders_and_packing_whatever_the_name(tmp_path, name, packed, order, version):
    path = write_nifti(tmp_path / name, sform=(1, LPS), version=version, order=order, packed=packed)
    entry, volume = open_one(path)
    check_places(volume, LPS)
    assert volume.unit == "HU"
    assert entry.problems == ()


@pytest.mark.parametrize("kind", ["i2", "i4", "i8", "f4", "f8"])
def test_kinds_of_numbers(tmp_path, kind):
    _, volume = open_one(write_nifti(tmp_path / "v.nii", VALUES.astype(kind), sform=(1, LPS)))
    check_places(volume, LPS)


def test_slope_and_intercept(tmp_path):
    stored = ((VALUES + 1024) // 2).astype(np.uint16)
    _, volume = open_one(write_nifti(tmp_path / "v.nii", stored, sform=(1, LPS), scale=(2, -1024)))
    np.testing.assert_array_equal(np.unique(volume.voxels), np.unique(stored.astype(int) * 2 - 1024))
    assert volume.unit == "HU"


@pytest.mark.parametrize("scale", [(2, np.nan), (np.inf, -1024), (2, np.inf)])
def test_a_scaling_that_is_no_number_is_told(tmp_path, scale):
    entry, volume = open_one(write_nifti(tmp_path / "v.nii", sform=(1, LPS), scale=scale))
    check_places(volume, LPS)
    assert entry.problems[0].text.startswith("The scaling of the file is unusable: slope")


@pytest.mark.parametrize("scale", [(0, -1024), (np.nan, np.nan), (0, 0)])
def test_a_scaling_that_is_none_is_not_worth_a_word(tmp_path, scale):
    entry, volume = open_one(write_nifti(tmp_path / "v.nii", sform=(1, LPS), scale=scale))
    check_places(volume, LPS)
    assert entry.problems == ()


@pytest.mark.parametrize(("units", "factor"), [(0, 1), (1, 1e3), (2, 1), (3, 1e-3)])
def test_units_of_length(tmp_path, units, factor):
    path = write_nifti(
        tmp_path / "v.nii",
        sform=(1, LPS / factor),
        units=units,
        pixdim=(1, *(np.array((0.7, 0.8, 2.5)) / factor)),
    )
    entry, volume = open_one(path)
    check_places(volume, LPS)
    assert entry.problems == ()


def test_a_slice_of_two_dimensions_lies_where_its_form_says(tmp_path):
    path = write_nifti(tmp_path / "v.nii", VALUES[2], sform=(1, LPS))
    entry, volume = open_one(path)
    assert volume.geometry.spacing_mm == (None, pytest.approx(0.8), pytest.approx(0.7))
    assert all(edge_letters(volume.geometry))
    assert entry.problems == ()


def test_complex_numbers_are_no_picture(tmp_path):
    write_nifti(tmp_path / "raw.nii", VALUES.astype(np.complex64), sform=(1, LPS))
    with pytest.raises(ReadError, match=r"raw\.nii holds complex numbers"):
        finish(scan(tmp_path / "raw.nii"))


def test_a_text_named_like_nifti_is_told_by_name(tmp_path):
    (tmp_path / "notes.nii").write_text("not a volume " * 100)
    with pytest.raises(ReadError, match=r"notes\.nii is named like NIfTI, but it is none"):
        finish(scan(tmp_path / "notes.nii"))


@pytest.mark.parametrize("packed", [False, True])
def test_a_pair_of_header_and_data(tmp_path, packed):
    whole_path = write_nifti(tmp_path / "whole.nii", sform=(1, LPS))
    whole = whole_path.read_bytes()
    head = bytearray(whole[:348])
    struct.pack_into("<f", head, 108, 0)
    head[344:348] = b"ni1\0"
    whole_path.unlink()
    (tmp_path / "v.hdr").write_bytes(head)
    data = tmp_path / ("v.img.gz" if packed else "v.img")
    data.write_bytes(gzip.compress(whole[352:]) if packed else whole[352:])
    entry, volume = open_one(tmp_path)
    check_places(volume, LPS)
    assert entry.problems == ()
    with pytest.raises(ReadError, match=r"cannot be opened. The data of v\.hdr: open that file"):
        finish(scan(data))
    data.unlink()
    with pytest.raises(ReadError, match=r"v\.img of v\.hdr is not beside it"):
        finish(scan(tmp_path / "v.hdr"))
    # Analyze 7.5 has no such magic.
    (tmp_path / "v.hdr").write_bytes(head[:344] + b"\0\0\0\0")
    with pytest.raises(ReadError, match=r"v\.hdr is a header of Analyze 7\.5"):
        finish(scan(tmp_path / "v.hdr"))


def test_headers_of_other_programs_are_left_alone(tmp_path):
    write_nifti(tmp_path / "v.nii", sform=(1, LPS))
    (tmp_path / "map.hdr").write_text("ENVI\nsamples = 3\n")
    found = finish(scan(tmp_path))[-1]
    assert [report.status for report in found.files] == ["skipped", "ok"]
    assert found.series[0].problems == ()
