"""Folders of links, and what a Mac leaves beside files: each image once, no circles, dead links by name."""

import zipfile

import numpy as np
import pytest
from dicom_files import along_z, write_stack
from PIL import Image

from model_core.base.errors import ReadError
from model_core.base.jobs import finish
from model_core.read import archives, load, scan
from model_core.read.scanning import scan_reports

# A file beside IM.dcm as a Mac writes it on other disks: magic, version, one empty entry.
APPLE_DOUBLE = bytes.fromhex("0005160700020000") + b"Mac OS X        " + b"\0" * 200


def catalogue(*paths):
    return finish(scan(*paths))[-1]


def reasons(found):
    return {report.path.rsplit("/", 1)[-1]: (report.status, report.reason) for report in found.files}


@pytest.fixture
def store(tmp_path):
    write_stack(tmp_path / "store" / "s1", along_z(4))
    return tmp_path / "store"


def test_a_folder_of_links_to_series_opens(tmp_path, store):
    study = tmp_path / "study"
    study.mkdir()
    (study / "first").symlink_to("../store/s1")
    (entry,) = catalogue(study).series
    assert entry.size[0] == 4
    assert entry.files == tuple(str(study / "first" / f"00{index}.dcm") for index in (3, 2, 1, 0))
    assert finish(load(entry))[-1].slices == 4


def test_links_to_links_open_too(tmp_path, store):
    (tmp_path / "between").mkdir()
    (tmp_path / "between" / "s").symlink_to(store / "s1")
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "x").symlink_to(tmp_path / "between")
    assert [entry.size[0] for entry in catalogue(tmp_path / "study").series] == [4]


def test_what_is_reached_twice_is_read_once(tmp_path, store):
    (store / "again").symlink_to("s1")
    (store / "s1" / "000 link.dcm").symlink_to("000.dcm")
    (store / "s2").mkdir()
    for index in range(4):
        (store / "s2" / f"{index}.dcm").symlink_to(f"../s1/00{index}.dcm")
    found = catalogue(store)
    (entry,) = found.series
    assert entry.size[0] == 4
    assert entry.problems == ()
    assert all("/s1/00" in path for path in entry.files)
    told = reasons(found)
    assert told["again"] == ("skipped", "A link to the folder s1, which is read already.")
    assert told["000 link.dcm"] == ("skipped", "A link to 000.dcm, which is read already.")
    assert [told[f"{index}.dcm"][0] for index in range(4)] == ["skipped"] * 4


def test_a_file_linked_twice_is_read_once(tmp_path, store):
    both = tmp_path / "both"
    for name in "ab":
        (both / name).mkdir(parents=True)
        for index in range(4):
            (both / name / f"{index}.dcm").symlink_to(store / "s1" / f"00{index}.dcm")
    (entry,) = catalogue(both).series
    assert entry.size[0] == 4
    assert entry.problems == ()


def test_links_in_circles_and_to_everything_are_not_followed(tmp_path, store):
    inner = store / "s1" / "deep"
    inner.mkdir()
    write_stack(tmp_path / "other", along_z(3), SeriesInstanceUID="1.2.3")
    for name, target in {"up": store, "root": "/", "itself": inner, "outside": tmp_path}.items():
        (inner / name).symlink_to(target)
    (inner / "loop").symlink_to("loop")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "back").symlink_to(tmp_path)
    (inner / "elsewhere").symlink_to(elsewhere)
    found = catalogue(store)
    assert [entry.size[0] for entry in found.series] == [4]
    told = reasons(found)
    for name in ("up", "root", "itself", "outside", "back"):
        assert told[name] == ("skipped", "A link to a folder that it lies in: not followed."), name
    assert told["loop"][0] == "skipped"
    assert "link to what is not here" in told["loop"][1]


def test_dead_links_are_named(tmp_path):
    folder = tmp_path / "annex"
    folder.mkdir()
    for index in range(3):
        (folder / f"IM{index}.dcm").symlink_to(f"../.git/annex/objects/{index}.dcm")
    with pytest.raises(ReadError, match="3 of 3 files are links to what is not here") as caught:
        catalogue(folder)
    for index in range(3):
        assert f"IM{index}.dcm" in caught.value.message
    with pytest.raises(ReadError, match=r"IM1.dcm' cannot be opened. A link to what is not here"):
        catalogue(folder / "IM1.dcm")


def test_dead_links_beside_slices_are_told_with_their_series(tmp_path):
    paths = write_stack(tmp_path, along_z(5))
    for path in paths[3:]:
        path.unlink()
        path.symlink_to(tmp_path / "gone" / path.name)
    (tmp_path / "notes.txt").symlink_to(tmp_path / "gone.txt")
    (entry,) = catalogue(tmp_path).series
    assert entry.size[0] == 3
    (problem,) = entry.problems
    assert problem.text == "2 link(s) beside this series lead to files that are not here."
    assert problem.files == ("003.dcm", "004.dcm")


LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:1234\nsize 12\n"
ANNEX = b"/annex/objects/SHA256E-s123--1234.dcm\n"


@pytest.mark.parametrize("pointer", [LFS, ANNEX], ids=["lfs", "annex"])
def test_pointers_in_place_of_images_are_told(tmp_path, pointer):
    for path in write_stack(tmp_path / "ct", along_z(5))[3:]:
        path.write_bytes(pointer)
    (tmp_path / "pictures").mkdir()
    for index in range(3):
        Image.fromarray(np.full((8, 9), 50 * index, np.uint8)).save(tmp_path / "pictures" / f"{index}.png")
    (tmp_path / "pictures/2.png").write_bytes(pointer)
    for folder, names in (("ct", ("003.dcm", "004.dcm")), ("pictures", ("2.png",))):
        (entry,) = catalogue(tmp_path / folder).series
        problem = entry.problems[-1]
        assert problem.text == f"{len(names)} link(s) beside this series lead to files that are not here."
        assert problem.files == names
    for name in ("v.nii.gz", "v.mha", "v.dcm", "v.png"):
        (tmp_path / name).write_bytes(pointer)
        with pytest.raises(ReadError, match=rf"'{name}' cannot be opened. The file itself is not here"):
            catalogue(tmp_path / name)


# ------------------------------------------------------------------------------------- what a Mac leaves


def test_notes_of_a_mac_are_no_damaged_images(tmp_path):
    paths = write_stack(tmp_path, along_z(4))
    for path in paths:
        path.with_name(f"._{path.name}").write_bytes(APPLE_DOUBLE)
    for name in ("._x.nii", "._x.png", "._x", "._x.nii.gz"):
        (tmp_path / name).write_bytes(APPLE_DOUBLE)
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1" + b"\0" * 600)
    found = catalogue(tmp_path)
    (entry,) = found.series
    assert entry.size[0] == 4
    assert entry.problems == ()
    told = reasons(found)
    assert told["._000.dcm"] == ("skipped", "What a Mac noted of another file (AppleDouble), not an image.")
    assert {status for status, _ in told.values()} == {"ok", "skipped"}
    assert catalogue(paths[1]).series[0].problems == ()


def test_notes_of_a_mac_in_an_archive_are_left_out(tmp_path):
    paths = write_stack(tmp_path / "in", along_z(4))
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as target:
        for path in paths:
            target.write(path, f"study/{path.name}")
            target.writestr(f"__MACOSX/study/._{path.name}", APPLE_DOUBLE)
        target.writestr("study/._odd.dcm", APPLE_DOUBLE)
    found = finish(scan_reports(tmp_path / "scan.zip"))[-1]
    (entry,) = found.series
    assert entry.size[0] == 4
    assert entry.problems == ()
    assert len(found.files) == 6
    assert not any("__MACOSX" in report.path for report in found.files)
    archives.remove_all()


def test_a_file_of_these_first_bytes_that_is_dicom_is_read(tmp_path):
    (path,) = write_stack(tmp_path, along_z(1))
    path.write_bytes(APPLE_DOUBLE[:8] + path.read_bytes()[8:])
    assert len(catalogue(tmp_path).series) == 1
