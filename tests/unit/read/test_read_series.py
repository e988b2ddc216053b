"""What makes one series: splits, copies, phases, frames of reference, broken neighbours."""

import shutil

import numpy as np
import pytest
from dicom_files import SERIES, along_z, dataset, write, write_stack

from model_core.base.errors import ReadError, SettingsError
from model_core.base.jobs import finish
from model_core.read import load, scan, thin


def catalogue(path):
    return finish(scan(path))[-1]


def volume_of(entry):
    return finish(load(entry))[-1]


def reports(found):
    return {report.path.rsplit("/", 1)[-1]: (report.status, report.reason) for report in found.files}


def test_two_series_in_one_folder_are_two_entries_the_larger_first(tmp_path):
    write_stack(tmp_path, along_z(3), names=["a1", "a2", "a3"])
    write_stack(tmp_path, along_z(5), names=["b1", "b2", "b3", "b4", "b5"], SeriesInstanceUID="1.2.3")
    found = catalogue(tmp_path)
    assert [entry.size[0] for entry in found.series] == [5, 3]
    assert [entry.series_uid for entry in found.series] == ["1.2.3", SERIES]
    assert len(found.files) == 8
    assert len({entry.series_id for entry in found.series}) == 2


def test_one_file_opens_the_series_that_it_belongs_to(tmp_path):
    write_stack(tmp_path, along_z(3), names=["a1", "a2", "a3"])
    write_stack(tmp_path, along_z(5), names=["b1", "b2", "b3", "b4", "b5"], SeriesInstanceUID="1.2.3")
    found = catalogue(tmp_path / "a2")
    assert [entry.size[0] for entry in found.series] == [3]
    assert {report.path for report in found.files} == {str(tmp_path / name) for name in ("a1", "a2", "a3")}


def test_localizer_and_coronal_of_one_series_are_split_off(tmp_path):
    write_stack(tmp_path, along_z(4), names=["1", "2", "3", "4"])
    write(
        tmp_path / "scout",
        ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        ImageOrientationPatient=[0, 1, 0, 0, 0, -1],
    )
    write_stack(
        tmp_path, [(0, y, 0) for y in (0, 2, 4)], orientation=(1, 0, 0, 0, 0, -1), names=["c1", "c2", "c3"]
    )
    found = catalogue(tmp_path)
    assert [(entry.plane, entry.size[0]) for entry in found.series] == [
        ("axial", 4),
        ("coronal", 3),
        ("sagittal", 1),
    ]
    assert found.series[-1].title.endswith("(localizer)")
    assert all("image type (localizer), orientation" in entry.problems[0].text for entry in found.series)
    assert volume_of(found.series[-1]).unit == "values"


def test_different_sizes_are_split(tmp_path):
    write_stack(tmp_path, along_z(3), names=["1", "2", "3"])
    write(tmp_path / "4", np.zeros((5, 5), np.int16), ImagePositionPatient=[-10, -20, 6])
    assert [entry.size for entry in catalogue(tmp_path).series] == [(3, 3, 4), (1, 5, 5)]


def test_two_acquisitions_at_the_same_positions_are_two_series(tmp_path):
    write_stack(tmp_path, along_z(3), names=["a", "b", "c"], AcquisitionNumber=1)
    write_stack(tmp_path, along_z(3), names=["d", "e", "f"], AcquisitionNumber=2)
    found = catalogue(tmp_path)
    assert [entry.files for entry in found.series] == [
        tuple(str(tmp_path / name) for name in "cba"),
        tuple(str(tmp_path / name) for name in "fed"),
    ]
    assert "acquisition 1 of 2" in found.series[0].title


def test_phases_by_time_are_split(tmp_path):
    for phase in (1, 2, 3):
        write_stack(tmp_path / str(phase), along_z(3), TemporalPositionIdentifier=phase)
    assert [entry.size[0] for entry in catalogue(tmp_path).series] == [3, 3, 3]


def test_times_that_differ_from_slice_to_slice_are_no_phases(tmp_path):
    for phase in range(2):
        write_stack(
            tmp_path / str(phase),
            along_z(5),
            InstanceNumber=[5 * phase + index + 1 for index in range(5)],
            AcquisitionTime=[f"1200{phase}{index}" for index in range(5)],
            ContentTime=[f"1300{phase}{index}" for index in range(5)],
        )
    found = catalogue(tmp_path)
    assert [entry.size[0] for entry in found.series] == [5, 5]
    for phase, entry in enumerate(found.series):
        assert all(f"/{phase}/" in path for path in entry.files)


def test_copies_are_left_out_and_told(tmp_path):
    paths = write_stack(tmp_path, along_z(3))
    shutil.copy(paths[1], tmp_path / "copy.dcm")
    found = catalogue(tmp_path)
    (entry,) = found.series
    assert entry.size[0] == 3
    assert entry.spacing_mm[0] == 2.0
    assert reports(found)["copy.dcm"] == (
        "warning",
        "It has the SOPInstanceUID of 001.dcm, which is used; their pixels were not compared.",
    )
    (problem,) = entry.problems
    assert problem.level == "warning"
    assert set(problem.files) == {"001.dcm", "copy.dcm"}


def test_the_chosen_copy_is_the_one_that_is_used(tmp_path):
    paths = write_stack(tmp_path, along_z(3))
    shutil.copy(paths[1], tmp_path / "copy.dcm")
    (entry,) = catalogue(tmp_path / "copy.dcm").series
    assert str(tmp_path / "copy.dcm") in entry.files
    assert str(paths[1]) not in entry.files


def test_a_damaged_file_is_replaced_by_its_copy(tmp_path):
    paths = write_stack(tmp_path, along_z(3))
    shutil.copy(paths[1], tmp_path / "copy.dcm")
    (entry,) = catalogue(tmp_path).series
    paths[1].unlink()
    volume = volume_of(entry)
    assert volume.slices == 3
    assert volume.voxels[1, 2, 2] == 2 - 1024


def test_another_image_at_one_position_is_left_out_by_name(tmp_path):
    write_stack(tmp_path, along_z(4))
    write(tmp_path / "x.dcm", ImagePositionPatient=[-10, -20, 2])
    found = catalogue(tmp_path)
    (entry,) = found.series
    assert entry.size[0] == 4
    assert reports(found)["x.dcm"] == ("warning", "It lies at the position of 001.dcm, which is used.")
    assert "nothing in the files tells them apart" in entry.problems[0].text


def test_a_frame_of_reference_in_every_file_does_not_tear_the_stack(tmp_path):
    uids = [f"1.2.3.{index}" for index in range(6)]
    write_stack(tmp_path, along_z(6), FrameOfReferenceUID=uids)
    (entry,) = catalogue(tmp_path).series
    assert entry.size[0] == 6
    assert entry.status == "warning"
    assert "6 different frames of reference" in entry.problems[0].text


def test_two_frames_of_reference_are_two_stacks(tmp_path):
    write_stack(tmp_path, along_z(6), FrameOfReferenceUID=["1.2.3"] * 3 + ["1.2.4"] * 3)
    assert [entry.size[0] for entry in catalogue(tmp_path).series] == [3, 3]


def test_a_truncated_slice_is_named_in_its_series_only(tmp_path):
    paths = write_stack(tmp_path, along_z(4))
    write_stack(tmp_path, along_z(3), names=["b1", "b2", "b3"], SeriesInstanceUID="1.2.3")
    paths[1].write_bytes(paths[1].read_bytes()[:-10])
    found = catalogue(tmp_path)
    damaged, sound = found.series
    assert damaged.size[0] == 3
    assert any("1 file(s) of this series cannot be read" in problem.text for problem in damaged.problems)
    assert any(problem.files == ("001.dcm",) for problem in damaged.problems)
    assert sound.problems == ()
    status, reason = reports(found)["001.dcm"]
    assert status == "error"
    assert "14 of 24 bytes" in reason


def test_a_file_that_vanishes_is_left_out_and_named(tmp_path):
    paths = write_stack(tmp_path, along_z(5))
    (entry,) = catalogue(tmp_path).series
    paths[2].unlink()
    volume = volume_of(entry)
    assert volume.slices == 4
    assert volume.geometry.spacing_mm[0] is None
    texts = [problem.text for problem in volume.problems]
    assert any("1 slice(s) cannot be read: The file is gone." in text for text in texts)
    assert any("1 slice(s) are missing" in text for text in texts)


def test_a_series_whose_files_all_vanish_is_an_error(tmp_path):
    paths = write_stack(tmp_path, along_z(2))
    (entry,) = catalogue(tmp_path).series
    for path in paths:
        path.unlink()
    with pytest.raises(ReadError, match="The file is gone"):
        volume_of(entry)


def test_files_without_a_series_uid_are_grouped_by_folder_with_a_warning(tmp_path):
    write_stack(tmp_path / "a", along_z(3), SeriesInstanceUID=None)
    write_stack(tmp_path / "b", along_z(2), SeriesInstanceUID=None)
    found = catalogue(tmp_path)
    assert [entry.size[0] for entry in found.series] == [3, 2]
    assert all("SeriesInstanceUID is missing" in entry.problems[0].text for entry in found.series)


def test_nothing_identifying_reaches_entries_or_messages(tmp_path):
    paths = write_stack(tmp_path, along_z(3))
    paths[0].write_bytes(paths[0].read_bytes()[:-4])
    found = catalogue(tmp_path)
    volume = volume_of(found.series[0])
    assert volume.patient.name == "SECRET^NAME"
    assert "SECRET" not in repr(found)
    assert "SECRET" not in repr(volume)


def test_large_series_is_read_in_display_order_with_progress(tmp_path):
    write_stack(tmp_path, along_z(40))
    (entry,) = catalogue(tmp_path).series
    steps = list(load(entry))
    assert [step.done for step in steps[:-1]] == sorted(step.done for step in steps[:-1])
    assert steps[-2].done == steps[-2].total == 40
    np.testing.assert_array_equal(steps[-1].voxels[:, 2, 2] + 1024, np.arange(40, 0, -1))


def test_every_third_slice(tmp_path):
    write_stack(tmp_path, along_z(8))
    (entry,) = catalogue(tmp_path).series
    few = thin(entry, 3)
    assert few.size == (3, 3, 4)
    assert few.spacing_mm[0] == 6.0
    assert few.series_id != entry.series_id
    volume = volume_of(few)
    np.testing.assert_allclose(volume.slice_positions_mm, [14, 8, 2])
    assert volume.problems[0].text == "Only every 3rd slice is opened: 3 of 8."
    assert volume.problems[0].level == "warning"
    assert volume.title == few.title == f"{entry.title}, every 3rd slice"
    for step in (-1, 0, 1, 8):
        with pytest.raises(SettingsError):
            thin(entry, step)


def test_a_closed_volume_is_freed(tmp_path):
    import gc
    import weakref

    write_stack(tmp_path, along_z(10))
    (entry,) = catalogue(tmp_path).series
    volume = volume_of(entry)
    voxels = weakref.ref(volume.voxels)
    del volume
    gc.collect()
    assert voxels() is None


def test_scan_and_load_can_be_stopped_between_steps(tmp_path):
    write_stack(tmp_path, along_z(40))
    job = scan(tmp_path)
    next(job)
    job.close()
    (entry,) = catalogue(tmp_path).series
    job = load(entry)
    next(job)
    job.close()


def test_dataset_helper_is_a_valid_file(tmp_path):
    item = dataset(np.zeros((2, 2), np.int16))
    item.save_as(tmp_path / "a", enforce_file_format=True)
    assert catalogue(tmp_path).files[0].status == "ok"


def test_several_paths_are_one_catalogue(tmp_path):
    paths = write_stack(tmp_path / "a", along_z(4))
    (tmp_path / "b").mkdir()
    for path in paths[::2]:
        path.rename(tmp_path / "b" / path.name)
    write_stack(tmp_path / "c", along_z(3), SeriesInstanceUID="1.2.3")
    whole = finish(scan(tmp_path / "a", tmp_path / "b", tmp_path / "a"))[-1]
    assert [entry.size[0] for entry in whole.series] == [4]
    assert len(whole.files) == 4
    file = tmp_path / "c" / "001.dcm"
    found = finish(scan(tmp_path / "a", file, tmp_path / "gone"))[-1]
    assert sorted(entry.size[0] for entry in found.series) == [2, 3]
    assert [(report.status, report.reason) for report in found.files if report.path.endswith("gone")] == [
        ("error", "Not found: 'gone'. Check the path.")
    ]
    with pytest.raises(ReadError, match="None of these 2 files and folders is there"):
        finish(scan(tmp_path / "x", tmp_path / "y"))


def test_a_split_series_names_a_file_of_each_part(tmp_path):
    write_stack(tmp_path, along_z(4), PixelSpacing=[[1, 1], [1, 1], [2, 2], [1, 1]])
    large, small = catalogue(tmp_path).series
    assert large.problems[0].files == ("000.dcm", "002.dcm")
    assert small.problems[0].files == ("002.dcm", "000.dcm")


@pytest.mark.parametrize(
    ("code", "positions", "elements"),
    [
        ("gap", [(0, 0, z) for z in (0, 2, 6, 8, 10)], {}),
        ("unevenly_spaced", [(0, 0, z) for z in (0, 1, 4, 5, 9)], {}),
        ("almost_even_spacing", [(0, 0, z) for z in (0, 2.1, 4, 6, 8)], {}),
        ("sheared", [(0, 0.5 * z, z) for z in range(5)], {}),
        ("single_position", [(0, 0, 0)] * 5, {}),
        ("missing_pixel_spacing", along_z(5), {"PixelSpacing": None}),
        ("missing_series_uid", along_z(5), {"SeriesInstanceUID": None}),
        ("frame_of_reference_per_slice", along_z(5), {"FrameOfReferenceUID": list("12345")}),
        ("series_uid_per_slice", along_z(5), {"SeriesInstanceUID": list("12345")}),
        ("study_uid_per_slice", along_z(5), {"StudyInstanceUID": list("12345")}),
        ("localizer", along_z(5), {"ImageType": ["ORIGINAL", "PRIMARY", "LOCALIZER"]}),
        ("burned_in_annotation", along_z(5), {"BurnedInAnnotation": "YES"}),
        ("modality_by_sop_class", along_z(5), {"Modality": ""}),
    ],
)
def test_a_problem_has_a_code(tmp_path, code, positions, elements):
    elements = {key: [value] * 5 if key == "ImageType" else value for key, value in elements.items()}
    write_stack(tmp_path, positions, **elements)
    (entry,) = catalogue(tmp_path).series
    assert [problem.code for problem in entry.problems] == [code]
