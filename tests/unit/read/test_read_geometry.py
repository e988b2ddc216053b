"""Where voxels lie: order, orientation signs, gaps, tilt; positions against an independent computation."""

import itertools

import numpy as np
import pytest
from dicom_files import AXIAL, along_z, write, write_stack

from model_core.base.jobs import finish
from model_core.read import load, scan
from model_core.read.opening import slice_origins

SIGNS = list(itertools.product((1, -1), repeat=3))
# In-plane axes of each plane: (axis of the row direction, axis of the column direction, slice axis).
PLANES = {"axial": (0, 1, 2), "coronal": (0, 2, 1), "sagittal": (1, 2, 0)}
# Display: what the first voxel's neighbours along slices, rows and columns move towards (LPS).
SHOWN = {
    "axial": [(0, 0, -1), (0, 1, 0), (1, 0, 0)],
    "coronal": [(0, 1, 0), (0, 0, -1), (1, 0, 0)],
    "sagittal": [(1, 0, 0), (0, 0, -1), (0, 1, 0)],
}


def open_one(path):
    (entry,) = finish(scan(path))[-1].series
    return entry, finish(load(entry))[-1]


def position(volume, k, row, column):
    geometry = volume.geometry
    steps = np.array(geometry.spacing_mm, float) * (k, row, column)
    return np.array(geometry.origin_mm) + steps @ geometry.axes


def expected_positions(paths):
    """Every voxel's LPS position by its value, straight from the files (PS3.3 C.7.6.2.1.1)."""
    import pydicom

    found = {}
    for path in paths:
        item = pydicom.dcmread(path)
        origin = np.array(item.ImagePositionPatient, float)
        row, column = np.array(item.ImageOrientationPatient, float).reshape(2, 3)
        between_rows, between_columns = (float(value) for value in item.PixelSpacing)
        for i, j in np.ndindex(item.Rows, item.Columns):
            value = int(item.pixel_array[i, j]) - 1024
            found[value] = origin + row * between_columns * j + column * between_rows * i
    return found


@pytest.mark.parametrize("swapped", [False, True], ids=["straight", "transposed"])
@pytest.mark.parametrize("signs", SIGNS, ids=str)
@pytest.mark.parametrize("plane", PLANES)
def test_every_orientation_sign_is_upright_and_in_place(tmp_path, plane, signs, swapped):
    first, second, along = PLANES[plane]
    if swapped:
        first, second = second, first
    row, column, normal = np.zeros((3, 3))
    row[first], column[second] = signs[0], signs[1]
    normal[along] = signs[2]  # order in which the files are written and numbered
    count, height, width = 3, 3, 4
    values = np.arange(count * height * width, dtype=np.int16).reshape(count, height, width)
    positions = [np.array([5.0, -7.0, 11.0]) + normal * 2.5 * k for k in range(count)]
    paths = write_stack(tmp_path, positions, orientation=(*row, *column), pixels=values)
    entry, volume = open_one(tmp_path)
    assert entry.plane == volume.plane == plane
    np.testing.assert_allclose(volume.geometry.axes, SHOWN[plane])
    truth = expected_positions(paths)
    origins = slice_origins(entry)
    for k, i, j in np.ndindex(volume.voxels.shape):
        np.testing.assert_allclose(position(volume, k, i, j), truth[int(volume.voxels[k, i, j])], atol=1e-3)
        if i == j == 0:
            np.testing.assert_allclose(origins[k], truth[int(volume.voxels[k, 0, 0])], atol=1e-3)
    # The file's own order comes back, slices ascending along the files' normal.
    native = volume.geometry.to_native(volume.voxels)
    ascending = np.argsort([np.cross(row, column) @ place for place in positions])
    np.testing.assert_array_equal(native, values[ascending] - 1024)
    np.testing.assert_array_equal(volume.geometry.from_native(native), volume.voxels)


def test_oblique_directions_keep_their_positions(tmp_path):
    angle = np.radians(20)
    row = (np.cos(angle), np.sin(angle), 0)
    column = (-np.sin(angle), np.cos(angle), 0)
    values = np.arange(36, dtype=np.int16).reshape(3, 3, 4)
    paths = write_stack(tmp_path, along_z(3), orientation=(*row, *column), pixels=values)
    _, volume = open_one(tmp_path)
    truth = expected_positions(paths)
    for index in np.ndindex(volume.voxels.shape):
        np.testing.assert_allclose(position(volume, *index), truth[int(volume.voxels[index])], atol=1e-3)


def test_slices_are_sorted_by_position_not_by_number_or_name(tmp_path):
    heights = [4.0, 0.0, 6.0, 2.0]
    write_stack(
        tmp_path,
        [(0, 0, height) for height in heights],
        InstanceNumber=[7, 7, 1, 3],
        names=["a.dcm", "b.dcm", "c.dcm", "d.dcm"],
    )
    entry, volume = open_one(tmp_path)
    assert volume.slice_names == ("c.dcm", "a.dcm", "d.dcm", "b.dcm")  # head to feet
    np.testing.assert_allclose(volume.slice_positions_mm, [6, 4, 2, 0])
    assert volume.geometry.spacing_mm == (2.0, 0.5, 0.75)
    assert entry.status == "ok"


def test_missing_slices_are_named_and_the_distance_is_unknown(tmp_path):
    positions = [place for index, place in enumerate(along_z(8)) if index not in (3, 4)]
    write_stack(tmp_path, positions)
    entry, volume = open_one(tmp_path)
    (problem,) = [item for item in entry.problems if item.level == "warning"]
    assert "2 slice(s) are missing" in problem.text
    assert "6.00 mm between 002.dcm and 003.dcm" in problem.text
    assert problem.files == ("002.dcm", "003.dcm")
    assert entry.spacing_mm == (None, 0.5, 0.75)
    assert volume.geometry.voxel_volume_mm3 is None
    np.testing.assert_allclose(slice_origins(entry)[:, 2], [14, 12, 10, 4, 2, 0])


def test_uneven_slices_name_the_pairs(tmp_path):
    write_stack(tmp_path, [(0, 0, height) for height in (0, 1, 2.4, 5.9, 7, 8.3)])
    entry, _ = open_one(tmp_path)
    (problem,) = [item for item in entry.problems if item.level == "warning"]
    assert (
        "not evenly spaced: 1.00 mm between 000.dcm and 001.dcm, 3.50 mm between 002.dcm and 003.dcm"
        in problem.text
    )
    assert entry.spacing_mm[0] is None


def test_rounded_positions_are_no_defect(tmp_path):
    heights = [0.0, 0.703, 1.406, 2.11, 2.813, 3.516, 4.219]
    write_stack(tmp_path, [(0, 0, height) for height in heights])
    entry, _ = open_one(tmp_path)
    assert entry.problems == ()
    assert entry.spacing_mm[0] == pytest.approx(0.7031666, abs=1e-6)


def test_tilted_gantry_is_told_with_its_angle_and_each_slice_keeps_its_place(tmp_path):
    shift = np.tan(np.radians(12))
    positions = [(0, shift * 3 * k, 3.0 * k) for k in range(5)]
    write_stack(tmp_path, positions, GantryDetectorTilt=12)
    entry, volume = open_one(tmp_path)
    (problem,) = entry.problems
    assert "sheared" in problem.text
    assert "12.0° over the stack (GantryDetectorTilt 12°)" in problem.text
    np.testing.assert_allclose(slice_origins(entry), positions[::-1], atol=1e-9)
    assert volume.slices == 5


def test_of_a_tilted_stack_volumes_hold_only_where_its_slices_are_even(tmp_path):
    shift = np.tan(np.radians(12))
    for name, heights in (("even", (0, 3, 6, 9, 12)), ("uneven", (0, 1, 4.4, 9, 12))):
        (tmp_path / name).mkdir()
        write_stack(tmp_path / name, [(0, shift * height, height) for height in heights])
    said = {
        name: [one.action for one in open_one(tmp_path / name)[0].problems] for name in ("even", "uneven")
    }
    assert ["areas and volumes hold" in action for action in said["even"]] == [True]
    assert not any("volumes hold" in action for action in said["uneven"])
    assert any("volumes in mm³ are off" in action for action in said["uneven"])
    assert any("areas hold" in action for action in said["uneven"])


def test_a_stack_with_tilted_normal_is_not_sheared(tmp_path):
    angle = np.radians(15)
    row, column = (1, 0, 0), (0, np.cos(angle), np.sin(angle))
    normal = np.cross(row, column)
    write_stack(
        tmp_path, [normal * 4 * k for k in range(4)], orientation=(*row, *column), GantryDetectorTilt=15
    )
    entry, _ = open_one(tmp_path)
    assert entry.problems == ()
    assert entry.plane == "axial"
    assert entry.spacing_mm[0] == pytest.approx(4, abs=1e-6)


def test_without_positions_the_order_is_the_number_with_a_warning(tmp_path):
    for number, name in ((10, "a.dcm"), (2, "c.dcm"), (1, "b.dcm")):
        write(tmp_path / name, InstanceNumber=number, ImagePositionPatient=None)
    entry, volume = open_one(tmp_path)
    assert volume.slice_names == ("b.dcm", "c.dcm", "a.dcm")
    assert entry.status == "warning"
    assert volume.geometry.origin_mm is None
    assert volume.slice_positions_mm is None
    assert slice_origins(entry) is None


def test_unknown_pixel_size_stays_unknown(tmp_path):
    write_stack(tmp_path, along_z(3), PixelSpacing=None)
    entry, volume = open_one(tmp_path)
    assert entry.spacing_mm == (2.0, None, None)
    assert volume.geometry.pixel_area_mm2 is None
    assert any("PixelSpacing" in problem.text for problem in entry.problems)


def test_a_single_slice_has_no_distance(tmp_path):
    write(tmp_path / "one.dcm")
    entry, volume = open_one(tmp_path)
    assert entry.spacing_mm == (None, 0.5, 0.75)
    assert volume.slices == 1
    np.testing.assert_allclose(volume.geometry.axes[0], (0, 0, -1))


@pytest.mark.parametrize("orientation", [(1, 0, 0, 1, 0, 0), (0, 0, 0, 0, 0, 0), (5, 0, 0, 0, 1, 0)])
def test_impossible_directions_are_not_believed(tmp_path, orientation):
    write_stack(tmp_path, along_z(3), orientation=orientation)
    entry, _ = open_one(tmp_path)
    assert entry.plane == "unknown"
    assert entry.status == "warning"


def test_nothing_is_taken_from_the_slice_thickness(tmp_path):
    write_stack(tmp_path, along_z(4, step=10.0), SliceThickness=2, SpacingBetweenSlices=2)
    entry, _ = open_one(tmp_path)
    assert entry.spacing_mm[0] == 10.0
    assert tuple(AXIAL) == (1, 0, 0, 0, 1, 0)


def test_one_slice_shifted_on_its_own_is_no_tilt(tmp_path):
    positions = [(3.0 * (k == 4), 0, 2.0 * k) for k in range(9)]
    write_stack(tmp_path, positions)
    entry, _ = open_one(tmp_path)
    (problem,) = entry.problems
    assert problem.text == (
        "1 slice(s) are shifted sideways against the others, 004.dcm by 3.0 mm against 003.dcm."
    )
    assert problem.files == ("004.dcm", "003.dcm")


def test_a_tilted_stack_with_a_shifted_slice_is_both(tmp_path):
    positions = [(2.0 * (k == 0), 0.3 * k, 1.0 * k) for k in range(9)]
    write_stack(tmp_path, positions)
    entry, _ = open_one(tmp_path)
    tilt, shift = entry.problems
    assert "16.7° over the stack" in tilt.text
    assert "000.dcm by 2.0 mm against 001.dcm" in shift.text


def test_positions_that_cannot_be_are_no_positions(tmp_path):
    write_stack(tmp_path, [("1e30", "-1e30", f"{k}e29") for k in range(4)])
    entry, volume = open_one(tmp_path)
    assert entry.status == "warning"
    assert volume.geometry.spacing_mm[0] is None
    assert volume.slice_positions_mm is None
