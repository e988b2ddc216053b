"""What does not fit into memory is refused before it is allocated, with how many slices would fit."""

import numpy as np
import pytest
import SimpleITK
from dicom_files import along_z, write_stack
from PIL import Image

from model_core.base.errors import MemoryNeeded, ReadError, SettingsError, ordinal
from model_core.base.jobs import finish
from model_core.read import load, memory, scan, straighten, thin


@pytest.fixture
def allow(monkeypatch):
    """Set how many bytes a series may take."""
    monkeypatch.setattr(memory, "_RESERVE_BYTES", 0)

    def set_free(count):
        monkeypatch.setattr(memory, "free_bytes", lambda: count)

    return set_free


def only_series(path):
    (entry,) = finish(scan(path))[-1].series
    return entry


def refused(entry):
    with pytest.raises(MemoryNeeded) as caught:
        finish(load(entry))
    return caught.value


def test_a_long_series_says_every_how_many_slices_fit():
    slices, one = 3000, 512 * 512 * 2
    error = MemoryNeeded(slices * one, 400 << 20, slices=slices)
    assert error.steps == (4, 5, 6, 7)
    assert -(-slices // error.steps[0]) * one <= 400 << 20
    assert error.message == (
        "The series needs 1.5 GiB of memory and 400 MiB are free for it: close other programs, or open every "
        "4th slice."
    )
    assert MemoryNeeded(100, 10, slices=2).steps == ()
    assert MemoryNeeded(100, -5, slices=50).steps == ()
    assert MemoryNeeded(100, -5).message.endswith("close other programs.")


@pytest.mark.parametrize(("step", "text"), [(2, "2nd"), (3, "3rd"), (4, "4th"), (11, "11th"), (22, "22nd")])
def test_ordinals(step, text):
    assert ordinal(step) == text


def test_every_nth_slice_fits_into_what_was_said(tmp_path, allow):
    write_stack(tmp_path, along_z(10))
    entry = only_series(tmp_path)
    allow(5 * 3 * 4 * 2)
    error = refused(entry)
    assert (error.needed, error.free, error.slices, error.steps[0]) == (10 * 24, 5 * 24, 10, 2)
    few = finish(load(thin(entry, 2)))[-1]
    assert (few.slices, few.every) == (5, 2)


def test_values_that_are_no_whole_numbers_need_more(tmp_path, allow):
    write_stack(tmp_path, along_z(10), Modality="MR", RescaleSlope=0.5)
    entry = only_series(tmp_path)
    allow(10 * 24 + 1)
    assert refused(entry).needed == 10 * 12 * 6


def test_the_grown_picture_of_a_corrected_tilt_counts(tmp_path, allow):
    write_stack(tmp_path, [(0, 0.5 * k, 2.0 * k) for k in range(6)])
    entry = only_series(tmp_path)
    allow(6 * 24)
    assert finish(load(entry))[-1].slices == 6
    assert refused(straighten(entry)).needed == 6 * 24 + 6 * (3 + 5) * 4 * 2


def test_pictures(tmp_path, allow):
    for index in range(6):
        Image.fromarray(np.full((4, 5), index, np.uint8)).save(tmp_path / f"{index}.png")
    entry = only_series(tmp_path)
    allow(3 * 4 * 5 * 2)
    assert refused(entry).steps[0] == 2
    few = thin(entry, 2)
    volume = finish(load(few))[-1]
    assert volume.voxels[:, 0, 0].tolist() == [0, 2, 4]
    assert volume.title == f"{entry.title}, every 2nd slice"
    assert [path.rsplit("/", 1)[-1] for path in few.files] == ["0.png", "2.png", "4.png"]


def test_volume_files_are_whole_or_not(tmp_path, allow):
    image = SimpleITK.GetImageFromArray(np.zeros((4, 5, 6), np.int16))
    SimpleITK.WriteImage(image, str(tmp_path / "v.nii"))
    entry = only_series(tmp_path)
    with pytest.raises(ReadError, match="fewer slices"):
        thin(entry, 2)
    allow(10)
    assert refused(entry).steps == ()


def test_fewer_of_fewer_slices(tmp_path):
    write_stack(tmp_path, along_z(12))
    entry = only_series(tmp_path)
    few = thin(thin(entry, 2), 3)
    assert few.every == 6
    assert few.title == f"{entry.title}, every 6th slice"
    assert few.problems[0].text == "Only every 6th slice is opened: 2."
    assert len(few.problems) == 1
    np.testing.assert_allclose(finish(load(few))[-1].slice_positions_mm, [22, 10])


def test_too_few_slices_cannot_be_made_fewer(tmp_path):
    write_stack(tmp_path, along_z(2))
    with pytest.raises(SettingsError, match="too short"):
        thin(only_series(tmp_path), 2)
