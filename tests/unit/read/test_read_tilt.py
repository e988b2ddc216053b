"""Tilt corrected on request: every voxel of the straight volume has the value of its place in the patient."""

import itertools

import numpy as np
import pytest
from dicom_files import AXIAL, along_z, write_stack

from model_core.base.errors import SettingsError
from model_core.base.jobs import finish
from model_core.export import write_lesions
from model_core.read import load, scan, straighten, thin

ROW, COLUMN = 0.5, 0.75  # PixelSpacing of the files
SLOPE = np.array([3.0, -5.0, 7.0])


def field(points):
    """A value that changes linearly through the patient: linear interpolation reproduces it."""
    return points @ SLOPE + 40.0


def tilted(
    folder, *, orientation=AXIAL, slope=(0.31, -0.2), count=6, shape=(9, 8), step=2.0, sign=1, **elements
):
    """Write a stack whose slices shift by ``slope`` mm (down, right) per mm along the normal."""
    row, column = np.array(orientation, float).reshape(2, 3)
    normal = np.cross(row, column)
    steps = sign * step * np.arange(count)
    origins = [np.array([4.0, -6.0, 10.0]) + s * (normal + slope[0] * column + slope[1] * row) for s in steps]
    i, j = np.mgrid[: shape[0], : shape[1]]
    grid = row * (COLUMN * j)[..., None] + column * (ROW * i)[..., None]
    pixels = [np.rint(field(origin + grid) * 8 + 1024).astype(np.int16) for origin in origins]
    elements = {"RescaleSlope": 1, "RescaleType": "HU"} | elements
    return write_stack(folder, origins, orientation=orientation, pixels=pixels, **elements)


def open_straight(folder):
    (entry,) = finish(scan(folder))[-1].series
    corrected = straighten(entry)
    return entry, corrected, finish(load(corrected))[-1]


def points_of(volume):
    geometry = volume.geometry
    indices = np.moveaxis(np.indices(volume.voxels.shape), 0, -1)
    return np.array(geometry.origin_mm) + (indices * np.array(geometry.spacing_mm, float)) @ geometry.axes


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    "orientation",
    [
        *((a, 0, 0, 0, b, 0) for a, b in itertools.product((1, -1), repeat=2)),
        *((0, a, 0, b, 0, 0) for a, b in itertools.product((1, -1), repeat=2)),
        (1, 0, 0, 0, 0, -1),
        (0, -1, 0, 0, 0, 1),
    ],
    ids=str,
)
def test_values_lie_where_they_belong(tmp_path, orientation, sign):
    tilted(tmp_path, orientation=orientation, sign=sign)
    entry, corrected, volume = open_straight(tmp_path)
    assert corrected.size == volume.voxels.shape
    assert volume.voxels.shape[1] > entry.size[1]
    inside = volume.voxels != volume.padding_value
    assert inside.sum() > 0.7 * np.prod(entry.size)
    expected = field(points_of(volume)) * 8
    assert np.abs(volume.voxels - expected)[inside].max() <= 1.01
    # As many slices, at the places they had; everything in the picture has its room.
    assert volume.slices == entry.size[0]
    assert inside.any(axis=2).any(axis=1).all()
    assert volume.geometry.spacing_mm == pytest.approx(entry.spacing_mm)


def test_whole_pixels_are_moved_unchanged(tmp_path):
    tilted(tmp_path, slope=(0.25, 0.0))  # half a millimetre per slice of 2 mm: one row
    entry, _, volume = open_straight(tmp_path)
    plain = finish(load(entry))[-1]
    assert volume.voxels.shape == (6, 9 + 5, 8)
    for index in range(6):
        top = 5 - index
        np.testing.assert_array_equal(volume.voxels[index, top : top + 9], plain.voxels[index])
        outside = np.delete(volume.voxels[index], np.arange(top, top + 9), axis=0)
        assert (outside == volume.padding_value).all()


def test_what_is_said_of_it(tmp_path):
    tilted(tmp_path)
    entry, corrected, volume = open_straight(tmp_path)
    assert entry.status == "warning"
    assert corrected.status == "ok"
    assert corrected.series_id != entry.series_id
    assert corrected.title == volume.title == f"{entry.title}, tilt corrected"
    assert [problem.text for problem in volume.problems if problem.level != "info"] == []
    assert any("tilt of the gantry is corrected" in problem.text for problem in volume.problems)
    np.testing.assert_allclose(
        volume.slice_positions_mm, finish(load(entry))[-1].slice_positions_mm, atol=1e-9
    )
    assert straighten(corrected) is corrected


def test_its_mask_lies_in_the_patient(tmp_path):
    import SimpleITK

    tilted(tmp_path / "dicom")
    _, _, volume = open_straight(tmp_path / "dicom")
    assert write_lesions(tmp_path / "m.nii.gz", volume, (volume.voxels > 300).astype(np.uint8)) == ()
    mask = SimpleITK.ReadImage(str(tmp_path / "m.nii.gz"))
    points = points_of(volume)
    for index in np.ndindex(volume.voxels.shape):
        place = mask.TransformPhysicalPointToIndex(points[index])
        assert mask.GetPixel(*place) == (volume.voxels[index] > 300)
        np.testing.assert_allclose(mask.TransformIndexToPhysicalPoint(place), points[index], atol=1e-3)


def test_fewer_slices_of_a_corrected_series(tmp_path):
    tilted(tmp_path)
    (entry,) = finish(scan(tmp_path))[-1].series
    few = thin(straighten(entry), 2)
    assert not any(problem.code == "sheared" for problem in few.problems)
    volume = finish(load(few))[-1]
    assert volume.slices == 3
    inside = volume.voxels != volume.padding_value
    assert np.abs(volume.voxels - field(points_of(volume)) * 8)[inside].max() <= 1.01


def test_positions_that_no_tilt_explains_are_not_corrected(tmp_path):
    write_stack(tmp_path, [(0, 700.0 * k, 2.0 * k) for k in range(5)])
    (entry,) = finish(scan(tmp_path))[-1].series
    with pytest.raises(SettingsError, match="more than 45 degrees"):
        straighten(entry)


def test_other_series_stay_as_they_are(tmp_path):
    write_stack(tmp_path, along_z(4))
    (entry,) = finish(scan(tmp_path))[-1].series
    assert straighten(entry) is entry


@pytest.mark.shared_data
def test_the_tilted_head_stands_straight(shared_data):
    entry, _, volume = open_straight(shared_data / "C_ct_dicom_series" / "ge_hispeed_head_tilt_uneven")
    plain = finish(load(entry))[-1]

    def drift(voxels):
        """How far the middle of the head moves from the first to the last slices, in pixels."""
        rows = [np.nonzero(voxels[k] > -200)[0].mean() for k in (8, 14, 20)]
        return abs(rows[-1] - rows[0])

    assert volume.voxels.shape[1] > plain.voxels.shape[1]
    assert drift(volume.voxels) != pytest.approx(drift(plain.voxels), abs=2)
    assert volume.geometry.spacing_mm[0] is None
