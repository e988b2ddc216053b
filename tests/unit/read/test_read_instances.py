"""A volume knows the DICOM object of each of its slices, whatever was done to their order and number."""

import shutil
import warnings

import numpy as np
import pydicom
import pytest
from dicom_files import ENHANCED_CT, SERIES, along_z, dataset, enhanced, write_stack
from PIL import Image
from pydicom.uid import CTImageStorage

from model_core.base.jobs import finish
from model_core.base.volume import DicomInstance
from model_core.cli.main import main
from model_core.phantom import make_phantom
from model_core.read import load, scan, straighten, thin

STUDY = "1.2.826.0.1.3680043.8.498.9"
PLACE = "1.2.826.0.1.3680043.8.498.2"


def uids(count, start=0):
    return [f"1.2.3.{index}" for index in range(start, start + count)]


def only_series(path):
    (entry,) = finish(scan(path))[-1].series
    return entry


def volume_of(entry):
    return finish(load(entry))[-1]


def stored(folder):
    """Every object below a folder by its UID."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = [pydicom.dcmread(path) for path in folder.rglob("*") if path.is_file()]
    return {item.SOPInstanceUID: item for item in read}


def check_pixels(volume, folder):
    """Each slice is the picture of the object, and of the frame, that the volume says it is."""
    objects = stored(folder)
    assert len(volume.instances) == volume.slices
    for index, instance in enumerate(volume.instances):
        item = objects[instance.sop_instance_uid]
        pixels = item.pixel_array
        if instance.frame_number is not None:
            pixels = pixels[instance.frame_number - 1]
        np.testing.assert_array_equal(pixels.astype(int) - 1024, volume.voxels[index])
        assert instance.sop_class_uid == item.SOPClassUID
        assert instance.series_uid == item.SeriesInstanceUID
        assert instance.study_uid == item.StudyInstanceUID
        assert instance.frame_of_reference_uid == item.FrameOfReferenceUID


def shuffled(folder, count=6):
    """Files whose names, numbers and UIDs are all in another order than their slices."""
    order = [3, 0, 5, 1, 4, 2]
    positions = [along_z(count)[place] for place in order]
    return write_stack(folder, positions, SOPInstanceUID=uids(count), InstanceNumber=[9, 8, 7, 6, 5, 4])


def test_slices_in_display_order(tmp_path):
    shuffled(tmp_path)
    volume = volume_of(only_series(tmp_path))
    # Head first: the highest position, which is that of the third file.
    assert volume.sop_instance_uids == ("1.2.3.2", "1.2.3.4", "1.2.3.0", "1.2.3.5", "1.2.3.3", "1.2.3.1")
    assert volume.frame_numbers == (None,) * 6
    assert (volume.study_uid, volume.series_uid, volume.frame_of_reference_uid) == (STUDY, SERIES, PLACE)
    assert volume.instances[0] == DicomInstance(STUDY, SERIES, PLACE, CTImageStorage, "1.2.3.2")
    check_pixels(volume, tmp_path)


def test_every_nth_slice_and_fewer_of_fewer(tmp_path):
    shuffled(tmp_path)
    entry = only_series(tmp_path)
    assert volume_of(thin(entry, 2)).sop_instance_uids == ("1.2.3.2", "1.2.3.0", "1.2.3.3")
    twice = volume_of(thin(thin(entry, 2), 2))
    assert twice.sop_instance_uids == ("1.2.3.2", "1.2.3.3")
    check_pixels(twice, tmp_path)


def test_a_corrected_tilt(tmp_path):
    positions = [(0.0, 0.5 * k, 2.0 * k) for k in (2, 0, 3, 1)]
    write_stack(tmp_path, positions, SOPInstanceUID=uids(4))
    entry = only_series(tmp_path)
    expected = ("1.2.3.2", "1.2.3.0", "1.2.3.3", "1.2.3.1")
    assert volume_of(straighten(entry)).sop_instance_uids == expected
    assert volume_of(thin(straighten(entry), 2)).sop_instance_uids == expected[::2]


def test_copies_and_slices_that_fail_are_not_counted(tmp_path):
    paths = write_stack(tmp_path, along_z(5), SOPInstanceUID=uids(5))
    shutil.copy(paths[1], tmp_path / "copy.dcm")
    entry = only_series(tmp_path)
    assert volume_of(entry).sop_instance_uids == tuple(uids(5)[::-1])
    paths[1].unlink()
    volume = volume_of(entry)
    assert volume.sop_instance_uids == tuple(uids(5)[::-1]), "the copy is the same object"
    paths[3].unlink()
    volume = volume_of(entry)
    assert volume.sop_instance_uids == ("1.2.3.4", "1.2.3.2", "1.2.3.1", "1.2.3.0")
    check_pixels(volume, tmp_path)


def test_slices_of_one_position_stay_with_their_objects_where_another_fails(tmp_path):
    places = [(0.0, 0.0, 5.0 * k) for k in range(5)]
    positions = [*places, *places[:3]]
    paths = write_stack(
        tmp_path, positions, SOPInstanceUID=uids(8), InstanceNumber=[1, 2, 3, 4, 5, 11, 12, 13]
    )
    entry = only_series(tmp_path)
    whole = volume_of(entry)
    assert whole.slices == 8
    check_pixels(whole, tmp_path)
    paths[4].unlink()
    rest = volume_of(entry)
    assert rest.slices == 7
    assert "unreadable_slices" in {problem.code for problem in rest.problems}
    check_pixels(rest, tmp_path)


def test_a_series_and_a_frame_of_reference_in_every_slice(tmp_path):
    series, places = uids(6, 100), uids(6, 200)
    write_stack(
        tmp_path, along_z(6), SOPInstanceUID=uids(6), SeriesInstanceUID=series, FrameOfReferenceUID=places
    )
    volume = volume_of(only_series(tmp_path))
    assert [instance.series_uid for instance in volume.instances] == series[::-1]
    assert (volume.study_uid, volume.series_uid, volume.frame_of_reference_uid) == (STUDY, "", "")
    check_pixels(volume, tmp_path)


def test_frames_of_one_object(tmp_path):
    pixels = np.arange(4 * 12, dtype=np.int16).reshape(4, 3, 4)
    positions = [along_z(4)[place] for place in (2, 0, 3, 1)]
    enhanced(pixels, positions, SOPInstanceUID="1.2.3.7").save_as(tmp_path / "a", enforce_file_format=True)
    entry = only_series(tmp_path)
    volume = volume_of(entry)
    assert volume.sop_instance_uids == ("1.2.3.7",) * 4
    assert volume.frame_numbers == (3, 1, 4, 2)
    assert {instance.sop_class_uid for instance in volume.instances} == {ENHANCED_CT}
    check_pixels(volume, tmp_path)
    assert volume_of(thin(entry, 3)).frame_numbers == (3, 2)


def test_frames_of_the_parts_of_a_concatenation(tmp_path):
    for part in range(3):
        pixels = np.full((2, 3, 4), 10 * part, np.int16) + np.arange(2, dtype=np.int16)[:, None, None]
        item = enhanced(pixels, along_z(2, start=4.0 * part), SOPInstanceUID=f"1.2.3.{part}")
        item.ConcatenationUID, item.SOPInstanceUIDOfConcatenationSource = "1.2.9", "1.2.8"
        item.InConcatenationNumber, item.InConcatenationTotalNumber = part + 1, 3
        item.ConcatenationFrameOffsetNumber = 2 * part
        item.save_as(tmp_path / "cab"[part], enforce_file_format=True)
    volume = volume_of(only_series(tmp_path))
    assert volume.sop_instance_uids == ("1.2.3.2", "1.2.3.2", "1.2.3.1", "1.2.3.1", "1.2.3.0", "1.2.3.0")
    assert volume.frame_numbers == (2, 1, 2, 1, 2, 1)
    check_pixels(volume, tmp_path)


def test_other_files_have_no_objects(tmp_path):
    Image.fromarray(np.zeros((3, 4), np.uint8)).save(tmp_path / "a.png")
    for volume in (volume_of(only_series(tmp_path)), make_phantom(slices=4, size=32)[0]):
        assert volume.instances == volume.sop_instance_uids == volume.frame_numbers == ()
        assert volume.study_uid == volume.series_uid == volume.frame_of_reference_uid == ""


def test_what_a_file_does_not_state_is_empty(tmp_path):
    item = dataset(np.zeros((3, 4), np.int16), StudyInstanceUID=None, FrameOfReferenceUID=None)
    item.save_as(tmp_path / "a", enforce_file_format=True)
    volume = volume_of(only_series(tmp_path))
    assert (volume.study_uid, volume.frame_of_reference_uid) == ("", "")
    assert volume.sop_instance_uids == (item.SOPInstanceUID,)


def test_objects_stay_private(tmp_path, tiny_weights, caplog, capsys):
    """They name a study as surely as a patient's name does: in no log, output or export of a prediction."""
    folder, out = tmp_path / "in", tmp_path / "out"
    pixels = np.full((3, 32, 32), 100, np.int16)
    write_stack(folder, along_z(3), pixels=pixels, SOPInstanceUID=uids(3), SeriesInstanceUID="1.2.77.1")
    with caplog.at_level("DEBUG"):
        volume = volume_of(only_series(folder))
        weights = str(tiny_weights / "tiny.safetensors")
        assert main(["predict", str(folder), "-o", str(out), "--png", "--weights", weights]) == 0
    private = (*uids(3), STUDY, PLACE, "1.2.77.1")
    told = [caplog.text, repr(volume), *capsys.readouterr(), *(path.name for path in out.rglob("*"))]
    told += [path.read_bytes().decode("latin-1") for path in out.rglob("*") if path.is_file()]
    assert (out / "predictions.json").is_file()
    for text in told:
        assert not [uid for uid in private if uid in text]


@pytest.mark.shared_data
@pytest.mark.parametrize(
    "name", ["siemens_scope_cap_cap001_every5th", "ge_hispeed_head_tilt_uneven", "tiny_head_64x64"]
)
def test_real_series(shared_data, name):
    folder = shared_data / "C_ct_dicom_series" / name
    volume = volume_of(only_series(folder))
    objects = stored(folder)
    assert set(volume.sop_instance_uids) == set(objects)
    assert len(set(volume.sop_instance_uids)) == volume.slices
    for index in range(0, volume.slices, 7):
        item = objects[volume.sop_instance_uids[index]]
        assert item.filename.rsplit("/", 1)[-1] == volume.slice_names[index]
        if volume.unit == "HU":
            pixels = item.pixel_array * item.RescaleSlope + item.RescaleIntercept
            inside = pixels > -1024  # the rest is padding, shown as air
            assert inside.any()
            np.testing.assert_array_equal(volume.voxels[index][inside], pixels[inside])
