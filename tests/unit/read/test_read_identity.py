"""Whose slices make one series: patients behind one UID, a UID in every slice, equal positions, names."""

import shutil

import numpy as np
import pytest
from dicom_files import SERIES, along_z, dataset, write, write_stack
from pydicom.uid import generate_uid

from model_core.base.jobs import finish
from model_core.base.volume import readable_name
from model_core.read import load, scan

STUDY = "1.2.826.0.1.3680043.8.498.9"


def catalogue(path):
    return finish(scan(path))[-1]


def folders_of(entry):
    return {path.rsplit("/", 2)[1] for path in entry.files}


def texts(entry):
    return " ".join(problem.text + " " + problem.action for problem in entry.problems)


def two(folder, one, other, *, step=2.0, count=6, between=1.0, backwards=False, **both):
    """Two scans in folders a and b: interleaved, or at equal positions where ``between`` is 0."""
    numbers = list(range(1, count + 1))
    write_stack(folder / "a", along_z(count, step), InstanceNumber=numbers, **{**both, **one})
    turned = numbers[::-1] if backwards else numbers
    write_stack(folder / "b", along_z(count, step, between), InstanceNumber=turned, **{**both, **other})


# What sets the two apart, and what the message must name.
DIFFERENCES = {
    "name with equal number": ({"PatientName": "A^A"}, {"PatientName": "B^B"}, "PatientName"),
    "number with equal name": ({"PatientID": "1"}, {"PatientID": "2"}, "PatientID"),
    "name without number": (
        {"PatientName": "A^A", "PatientID": ""},
        {"PatientName": "B^B", "PatientID": ""},
        "PatientName",
    ),
    "birth date": (
        {"PatientName": "", "PatientID": None, "PatientBirthDate": "19600101"},
        {"PatientName": "", "PatientID": None, "PatientBirthDate": "19700101"},
        "PatientBirthDate",
    ),
    "study": ({}, {"StudyInstanceUID": "1.2.3"}, "StudyInstanceUID"),
    "study date without study": (
        {"StudyInstanceUID": None, "StudyDate": "20200101"},
        {"StudyInstanceUID": None, "StudyDate": "20210101"},
        "StudyDate",
    ),
    "ideographic name": (
        {"PatientName": "=山田^太郎", "SpecificCharacterSet": "ISO_IR 192"},
        {"PatientName": "=山本^太郎", "SpecificCharacterSet": "ISO_IR 192"},
        "PatientName",
    ),
}


@pytest.mark.parametrize("both", [{}, {"SeriesInstanceUID": None}, {"SeriesInstanceUID": ""}], ids=str)
@pytest.mark.parametrize("between", [0.0, 1.0], ids=["equal positions", "interleaved"])
@pytest.mark.parametrize(("one", "other", "named"), DIFFERENCES.values(), ids=DIFFERENCES.keys())
def test_patients_and_studies_are_never_mixed(tmp_path, one, other, named, between, both):
    two(tmp_path / "x", one, other, between=between, backwards=True, **both)
    # In one folder too: what lies where does not decide.
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in sorted((tmp_path / "x").rglob("*.dcm")):
        shutil.copy(path, flat / f"{path.stem}{path.parent.name}.dcm")
    for folder in (flat,) if both else (flat, tmp_path / "x"):
        found = catalogue(folder)
        assert [entry.size[0] for entry in found.series] == [6, 6]
        for entry in found.series:
            assert len({path[-5] for path in entry.files} if folder is flat else folders_of(entry)) == 1
            assert entry.spacing_mm[0] == 2.0
            assert entry.status == "warning"
            assert named in texts(entry)
            assert f"of 2 {'studies' if named.startswith('Study') else 'patients'}" in texts(entry)
            assert "They are never mixed" in texts(entry)
        assert len({entry.series_id for entry in found.series}) == 2


SAME = [
    ("Doe^Jane", "DOE^JANE"),
    ("Doe^Jane", "Doe^Jane^^^"),
    ("Doe^Jane", " Doe ^Jane "),
    ("Doe^Jane", "Doe Jane"),
    ("Doe^Jane", "Doe, Jane"),
    ("Doe^Jane", "Doe^Jane^^Dr.^PhD"),
    ("Müller^Jürgen", "Mu\u0308ller^Ju\u0308rgen"),
    ("Yamada^Tarou=山田^太郎", "Yamada^Tarou"),
    ("Doe^Jane", ""),
    ("Doe^Jane", "Anonymous"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_spelling_alone_splits_no_series(tmp_path, one, other):
    names = [one, other, one, other, other, one]
    write_stack(tmp_path, along_z(6), PatientName=names, SpecificCharacterSet="ISO_IR 192")
    (entry,) = catalogue(tmp_path).series
    assert entry.size[0] == 6
    assert entry.problems == ()
    assert entry.patient.name.strip() in (one.strip(), other.strip())
    assert entry.patient.name


def test_a_character_set_that_some_slices_do_not_state_splits_no_series(tmp_path):
    paths = write_stack(tmp_path, along_z(6), PatientName="Müller^Jürgen", SpecificCharacterSet="ISO_IR 192")
    stated = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 192"
    for path, instead in zip(paths, (b"", stated[:-3] + b"100"), strict=False):
        data = path.read_bytes()
        assert stated in data
        path.write_bytes(data.replace(stated, instead))
    (entry,) = catalogue(tmp_path).series
    assert entry.size[0] == 6
    assert entry.problems == ()


@pytest.mark.parametrize(
    "lost",
    [
        ("PatientID",),
        ("PatientName", "PatientID"),
        ("StudyInstanceUID",),
        ("PatientName", "StudyInstanceUID"),
    ],
)
def test_what_some_slices_do_not_say_splits_no_series(tmp_path, lost):
    kept = dataset(np.zeros((3, 4), np.int16))
    elements = {word: [kept.get(word), "", kept.get(word), "", "", kept.get(word)] for word in lost}
    write_stack(tmp_path, along_z(6), **elements)
    (entry,) = catalogue(tmp_path).series
    assert entry.size[0] == 6
    assert entry.problems == ()
    assert (entry.patient.name, entry.patient.patient_id) == ("SECRET^NAME", "SECRET-ID")


def test_a_slice_that_fits_two_patients_is_given_to_neither_unless_it_shares_more_with_one(tmp_path):
    two(tmp_path, {"PatientName": "A^A"}, {"PatientName": "B^B", "StudyInstanceUID": "1.2.3"}, between=100)
    nobody = {"PatientName": "", "PatientID": ""}
    write(tmp_path / "a" / "of a", ImagePositionPatient=[-10, -20, 12], **nobody)
    write(tmp_path / "a" / "of none", ImagePositionPatient=[-10, -20, 14], StudyInstanceUID="", **nobody)
    found = catalogue(tmp_path)
    assert sorted(entry.size[0] for entry in found.series) == [1, 6, 7]
    (alone,) = [entry for entry in found.series if entry.size[0] == 1]
    assert alone.files[0].endswith("of none")


def test_a_study_uid_in_every_file_does_not_tear_the_stack(tmp_path):
    write_stack(tmp_path, along_z(6), StudyInstanceUID=[f"1.2.{index}" for index in range(6)])
    (entry,) = catalogue(tmp_path).series
    assert entry.size[0] == 6
    assert "6 different studies" in texts(entry)


def test_series_without_uid_are_told_apart_by_their_number(tmp_path):
    two(tmp_path / "x", {"SeriesNumber": 1}, {"SeriesNumber": 2}, SeriesInstanceUID=None)
    flat = tmp_path / "flat"
    flat.mkdir()
    for path in sorted((tmp_path / "x").rglob("*.dcm")):
        shutil.copy(path, flat / f"{path.stem}{path.parent.name}.dcm")
    assert [entry.size[0] for entry in catalogue(flat).series] == [6, 6]


def test_no_patient_is_in_what_is_told(tmp_path):
    two(tmp_path, {"PatientName": "SECRET^ONE"}, {"PatientName": "SECRET^TWO", "PatientID": "SECRET-2"})
    found = catalogue(tmp_path)
    assert len(found.series) == 2
    assert "SECRET" not in repr(found) + "".join(texts(entry) + entry.title for entry in found.series)
    assert {entry.patient.name for entry in found.series} == {"SECRET^ONE", "SECRET^TWO"}


def test_one_file_opens_the_series_of_its_patient_only(tmp_path):
    numbers = [1, 2, 3]
    write_stack(tmp_path, along_z(3), names=["a1", "a2", "a3"], InstanceNumber=numbers)
    write_stack(
        tmp_path, along_z(3, start=1.0), names=["b1", "b2", "b3"], InstanceNumber=numbers, PatientName="B^B"
    )
    (entry,) = catalogue(tmp_path / "b2").series
    assert [path[-2:] for path in entry.files] == ["b3", "b2", "b1"]


# ------------------------------------------------------------------------------------- equal positions


def test_equal_positions_are_not_dealt_out_by_file_name(tmp_path):
    """Two scans at one place, numbered against each other, of which nothing says which slice is whose."""
    write_stack(tmp_path, along_z(5), names=[f"a{k}" for k in range(5)], InstanceNumber=[1, 2, 3, 4, 5])
    write_stack(tmp_path, along_z(5), names=[f"b{k}" for k in range(5)], InstanceNumber=[5, 4, 3, 2, 1])
    (entry,) = catalogue(tmp_path).series
    assert entry.size[0] == 10
    assert entry.spacing_mm[0] is None
    assert entry.status == "warning"
    assert "nothing in the files says which belong together" in texts(entry)


def test_positions_that_are_nearly_all_the_same_make_no_twelve_series(tmp_path):
    positions = [(0, 0, 0)] * 7 + [(0, 0, 30)]
    times = [f"1200{number:02d}" for number in range(8)]
    write_stack(tmp_path, positions, ContentTime=times, names=[f"{9 - k}" for k in range(8)])
    (entry,) = catalogue(tmp_path).series
    volume = finish(load(entry))[-1]
    assert (volume.voxels[:, 2, 2] + 1024).tolist() == [8, 1, 2, 3, 4, 5, 6, 7]
    assert entry.spacing_mm[0] is None
    assert "6 slice(s) lie at the position of another one" in texts(entry)


@pytest.mark.parametrize(
    ("first", "second"),
    [((1, 2, 3, 4), (5, 6, 7, 8)), ((1, 2, 3, 4), (8, 7, 6, 5)), ((1, 3, 5, 7), (2, 4, 6, 8))],
    ids=["one after another", "there and back", "in turn"],
)
def test_passes_are_told_apart_by_instance_number(tmp_path, first, second):
    write_stack(tmp_path, along_z(4), names=["z1", "a2", "z3", "a4"], InstanceNumber=list(first))
    write_stack(tmp_path, along_z(4), names=["b1", "y2", "b3", "y4"], InstanceNumber=list(second))
    found = catalogue(tmp_path)
    assert [sorted(path[-2:] for path in entry.files) for entry in found.series] == [
        ["a2", "a4", "z1", "z3"],
        ["b1", "b3", "y2", "y4"],
    ]


def test_scans_numbered_alike_in_folders_of_their_own_are_two(tmp_path):
    two(tmp_path, {}, {}, between=1.0)
    found = catalogue(tmp_path)
    assert [folders_of(entry) for entry in found.series] == [{"a"}, {"b"}]
    assert all(entry.spacing_mm[0] == 2.0 for entry in found.series)


def test_a_scan_exported_to_two_folders_stays_one(tmp_path):
    write_stack(tmp_path / "a", along_z(4))
    write_stack(tmp_path / "b", along_z(4, start=8.0))
    (entry,) = catalogue(tmp_path).series
    assert entry.size[0] == 8
    assert entry.spacing_mm[0] == 2.0


# ------------------------------------------------------------------------ one position for all slices


@pytest.mark.parametrize("position", [(0, 0, 0), (-120.5, -130, 44)])
def test_slices_that_all_state_one_position_are_in_order_of_instance_number(tmp_path, position):
    numbers = [3, 1, 2, 12, 10, 11]
    times = [f"1200{number:02d}" for number in numbers]
    write_stack(tmp_path, [position] * 6, InstanceNumber=numbers, ContentTime=times, AcquisitionTime=times)
    (entry,) = catalogue(tmp_path).series
    volume = finish(load(entry))[-1]
    assert (volume.voxels[:, 2, 2] + 1024).tolist() == [2, 3, 1, 5, 6, 4]
    assert entry.spacing_mm == (None, 0.5, 0.75)
    assert volume.slice_positions_mm is None
    assert "All 6 images state one position" in texts(entry)
    assert entry.status == "warning"


def test_two_phases_at_one_position_are_two(tmp_path):
    for phase in (1, 2):
        write_stack(tmp_path / str(phase), [(0, 0, 0)] * 4, TemporalPositionIdentifier=phase)
    assert [entry.size[0] for entry in catalogue(tmp_path).series] == [4, 4]


# ---------------------------------------------------------------------------- a series UID in every slice


def uids(count):
    return [generate_uid() for _ in range(count)]


@pytest.mark.parametrize(("modality", "told"), [("CT", True), ("CR", False)])
def test_slices_with_a_series_each_and_no_position_stay_apart_with_a_hint(tmp_path, modality, told):
    nowhere = {"ImageOrientationPatient": None, "ImagePositionPatient": None, "Modality": modality}
    for index, uid in enumerate(uids(4)):
        write(tmp_path / f"{index}", SeriesInstanceUID=uid, InstanceNumber=index + 1, **nowhere)
    found = catalogue(tmp_path).series
    assert len(found) == 4
    for entry in found:
        assert ("4 series of one image each are alike" in texts(entry)) == told


def test_a_series_uid_in_every_slice_makes_one_stack_and_is_told(tmp_path):
    paths = write_stack(tmp_path, along_z(6), SeriesInstanceUID=uids(6))
    (entry,) = catalogue(tmp_path).series
    assert entry.files == tuple(map(str, paths[::-1]))
    assert entry.spacing_mm[0] == 2.0
    assert "Each of these 6 images has a SeriesInstanceUID of its own" in texts(entry)
    assert finish(load(entry))[-1].slices == 6
    assert catalogue(paths[3]).series[0].files == entry.files
    assert catalogue(tmp_path).series[0].series_id == entry.series_id


def test_one_file_that_is_a_series_by_itself_opens_alone(tmp_path):
    """Whatever lies beside it: slices that each have a UID, and a whole series with a copy."""
    write_stack(tmp_path, along_z(5), names=list("abcde"), SeriesInstanceUID=uids(5))
    whole = write_stack(tmp_path, along_z(4), names=["w1", "w2", "w3", "w4"])
    shutil.copy(whole[0], tmp_path / "w1 copy")
    write(tmp_path / "alone", SeriesInstanceUID="1.2.3", InstanceNumber=9, ImagePositionPatient=[0, 0, 77])
    found = catalogue(tmp_path / "alone")
    assert [entry.files for entry in found.series] == [(str(tmp_path / "alone"),)]
    assert [report.path for report in found.files] == [str(tmp_path / "alone")]


def test_numbers_and_frames_of_reference_of_every_slice_say_nothing(tmp_path):
    write_stack(
        tmp_path,
        along_z(6),
        SeriesInstanceUID=uids(6),
        FrameOfReferenceUID=uids(6),
        SeriesNumber=[1, 2, 3, 4, 5, 6],
    )
    assert [entry.size[0] for entry in catalogue(tmp_path).series] == [6]


def test_a_missing_slice_is_told_and_a_damaged_one_named(tmp_path):
    paths = write_stack(tmp_path, along_z(8), SeriesInstanceUID=uids(8))
    paths[2].write_bytes(paths[2].read_bytes()[:-10])
    (entry,) = catalogue(tmp_path).series
    assert entry.size[0] == 7
    assert "1 slice(s) are missing" in texts(entry)
    assert any(problem.files == ("002.dcm",) for problem in entry.problems)


APART = {
    "descriptions": {"SeriesDescription": [f"view {k}" for k in range(6)]},
    "patients": {"PatientID": [str(k) for k in range(6)], "PatientName": ""},
    "studies": {"StudyInstanceUID": ["1.2.1", "1.2.2"] * 3},
    "numbers, each the first of its series": {"SeriesNumber": [1, 2, 3, 4, 5, 6], "InstanceNumber": 1},
    "localizers": {"ImageType": "LOCALIZER"},
    "kernels": {"ConvolutionKernel": ["B30f", "B70f"] * 3},
}


@pytest.mark.parametrize("elements", APART.values(), ids=APART.keys())
def test_series_of_one_slice_that_differ_stay_apart(tmp_path, elements):
    own = {"InstanceNumber": [1, 2, 3, 4, 5, 6], **elements}
    # Uneven, so that not even what two of them have in common makes a stack.
    positions = [(-10.0, -20.0, z) for z in (0.0, 2.0, 4.0, 6.0, 9.0, 11.0)]
    even = elements is not APART["kernels"] and elements is not APART["studies"]
    write_stack(tmp_path, along_z(6) if even else positions, SeriesInstanceUID=uids(6), **own)
    assert [entry.size[0] for entry in catalogue(tmp_path).series] == [1] * 6


def test_slices_in_uneven_steps_or_beside_one_line_stay_apart(tmp_path):
    uneven = [(-10.0, -20.0, z) for z in (0.0, 1.0, 5.0, 5.5, 11.0, 30.0)]
    write_stack(tmp_path / "a", uneven, SeriesInstanceUID=uids(6))
    beside = [(7.0 * (index % 3), -20.0, 2.0 * index) for index in range(6)]
    write_stack(tmp_path / "b", beside, SeriesInstanceUID=uids(6))
    for name in "ab":
        found = catalogue(tmp_path / name)
        assert len(found.series) == 6
        told = "6 series of one image each are alike, but they do not stand in equal steps."
        assert all(told in texts(entry) and entry.status == "ok" for entry in found.series)


def test_phases_with_a_series_uid_in_every_slice_are_not_mixed(tmp_path):
    for phase in (1, 2):
        write_stack(tmp_path / str(phase), along_z(5), SeriesInstanceUID=uids(5), AcquisitionNumber=phase)
    found = catalogue(tmp_path)
    assert [(entry.size[0], folders_of(entry)) for entry in found.series] == [(5, {"1"}), (5, {"2"})]
    flat = tmp_path / "flat"
    for phase in "ab":
        names = [f"{phase}{index}" for index in range(5)]
        write_stack(flat, along_z(5), names=names, SeriesInstanceUID=uids(5))
    assert [entry.size[0] for entry in catalogue(flat).series] == [1] * 10


# ------------------------------------------------------------------------------------------------- names


def test_the_name_is_kept_as_it_is_written_and_read_by_people(tmp_path):
    write_stack(tmp_path, along_z(3), PatientName="Doe^Jane^Mary^Dr.", SeriesInstanceUID=SERIES)
    (entry,) = catalogue(tmp_path).series
    volume = finish(load(entry))[-1]
    assert volume.patient.name == entry.patient.name == "Doe^Jane^Mary^Dr."
    assert volume.patient.patient_id == "SECRET-ID"
    assert readable_name(volume.patient.name) == "Doe, Jane Mary"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2"])
@pytest.mark.parametrize(
    ("charset", "name", "read"),
    [
        ("ISO_IR 100", "Müller^Jürgen", "Müller, Jürgen"),
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう", "Yamada, Tarou"),
        ("ISO_IR 192", "=山田^太郎=やまだ^たろう", "山田 太郎"),
        ("ISO_IR 192", "==やまだ^たろう", "やまだ たろう"),
    ],
)
def test_names_of_any_script(tmp_path, syntax, charset, name, read):
    write(tmp_path / "a", PatientName=name, SpecificCharacterSet=charset, syntax=syntax)
    (entry,) = catalogue(tmp_path).series
    assert entry.patient.name == name
    assert readable_name(entry.patient.name) == read
