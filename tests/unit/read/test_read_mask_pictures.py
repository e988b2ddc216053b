"""Reference masks as pictures: each belongs to the slice of its name, or to none."""

import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from dicom_files import write_stack
from PIL import Image

from model_core.base.errors import ReadError
from model_core.base.jobs import finish
from model_core.read import load, read_labels, scan, thin


def named_series(folder, names):
    """Write a DICOM slice under each name, the first at the feet; return the open series."""
    write_stack(folder, [(0, 0, 5 * k) for k in range(len(names))], names=names)
    return finish(load(finish(scan(folder))[-1].series[0]))[-1]


def mask_picture(path, label):
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.full((3, 4), label, np.uint8)).save(path, "PNG")


UIDS = [f"1.2.826.0.1.3680043.8.498.{tail}" for tail in (77, 3, 1200, 55)]


@pytest.mark.parametrize("ending", [".png", ".PNG", ""])
def test_masks_named_by_uid_match_whatever_their_order(tmp_path, ending):
    volume = named_series(tmp_path / "dcm", UIDS)
    for label, name in enumerate(UIDS, 1):
        mask_picture(tmp_path / "masks" / f"{name}{ending}", label)
    # Shown from head to feet: the last slice first.
    assert read_labels(tmp_path / "masks", volume)[:, 0, 0].tolist() == [4, 3, 2, 1]
    (tmp_path / "masks" / f"{UIDS[0]}{ending}").unlink()
    assert read_labels(tmp_path / "masks", volume)[:, 0, 0].tolist() == [4, 3, 2, 0]


@pytest.mark.parametrize(
    ("slices", "masks"),
    [
        (["é1.dcm", "é2.dcm"], ["e\u03011.png", "e\u03012.png"]),
        (["e\u03011.dcm", "e\u03012.dcm"], ["é1.png", "é2.png"]),
        (["IM1.IMA", "IM2.IMA"], ["im1.png", "im2.png"]),
        (["im1", "im2"], ["IM1.PNG", "IM2.PNG"]),
        (["a.dcm", "b.dcm"], ["a.dcm.png", "b.dcm.png"]),
        (["a.v1", "a.v2"], ["a.v1.png", "a.v2.png"]),
    ],
)
def test_masks_match_in_any_unicode_form_case_and_with_the_slices_ending(tmp_path, slices, masks):
    volume = named_series(tmp_path / "dcm", slices)
    for label, name in enumerate(masks, 1):
        mask_picture(tmp_path / "masks" / name, label)
    assert read_labels(tmp_path / "masks", volume)[:, 0, 0].tolist() == [2, 1]


@pytest.mark.parametrize(
    ("slices", "masks", "says"),
    [
        (["a.dcm", "b.dcm"], ["1.png", "2.png"], r"2 of 2 mask pictures .*'1\.png'.*'b\.dcm'"),
        (["a.dcm", "b.dcm"], ["a.png", "c.png"], r"1 of 2 mask pictures .*'c\.png'"),
        (["a.dcm", "a.IMA"], ["a.png"], r"a\.png has the name of 2 slices"),
        (["a.dcm", "b.dcm"], ["a.png", "a.jpg", "b.png"], r"Two masks have the name"),
        (["a.dcm", "b.dcm"], ["A.png", "a.dcm.png"], r"Two masks have the name"),
    ],
)
def test_masks_are_never_dealt_out_by_order(tmp_path, slices, masks, says):
    volume = named_series(tmp_path / "dcm", slices)
    for name in masks:
        mask_picture(tmp_path / "masks" / name, 1)
    with pytest.raises(ReadError, match=says):
        read_labels(tmp_path / "masks", volume)


def test_masks_of_slices_that_were_not_opened_are_not_missed(tmp_path):
    names = [f"s{k}.dcm" for k in range(4)]
    named_series(tmp_path / "dcm", names)
    for label, name in enumerate(names, 1):
        mask_picture(tmp_path / "masks" / f"{name}.png", label)
    (entry,) = finish(scan(tmp_path / "dcm"))[-1].series
    volume = finish(load(thin(entry, 2)))[-1]
    assert read_labels(tmp_path / "masks", volume)[:, 0, 0].tolist() == [4, 2]


def test_one_picture_for_one_slice_may_have_any_name(tmp_path):
    volume = named_series(tmp_path / "dcm", ["a.dcm"])
    mask_picture(tmp_path / "lesions.png", 3)
    assert read_labels(tmp_path / "lesions.png", volume).tolist() == [[[3] * 4] * 3]


def test_mask_pictures_do_not_fit_a_volume_file(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((2, 3, 4), np.int16)), str(tmp_path / "v.nii"))
    volume = finish(load(finish(scan(tmp_path / "v.nii"))[-1].series[0]))[-1]
    for k in range(volume.slices):
        mask_picture(tmp_path / "masks" / f"{k}.png", 1)
    with pytest.raises(ReadError, match="give a NIfTI"):
        read_labels(tmp_path / "masks", volume)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: path.symlink_to("../.git/annex/objects/x.png"), "a link that leads nowhere"),
        (lambda path: path.symlink_to(path.name), "a link that leads nowhere"),
        (lambda path: path.write_text("/annex/objects/SHA256E-s31--ab.png\n"), "a pointer of git-annex"),
        (lambda path: path.write_text("../.git/annex/objects/a/b.png"), "a pointer of git-annex"),
        (
            lambda path: path.write_text(
                "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n"
            ),
            "a pointer of git-lfs",
        ),
        (lambda path: path.touch(), "an empty file"),
    ],
)
@pytest.mark.parametrize("name", ["b.png", "mask.nii.gz", "1.2.3"])
def test_a_mask_that_is_not_here_is_named(tmp_path, make, says, name):
    volume = named_series(tmp_path / "dcm", ["a.dcm", "b.dcm"])
    mask_picture(tmp_path / "masks" / "a.png", 1)
    make(tmp_path / "masks" / name)
    asked = tmp_path / "masks" / name if name.endswith(".gz") else tmp_path / "masks"
    with pytest.raises(ReadError, match=rf"{name} is not here: it is {says}.*git annex get"):
        read_labels(asked, volume)


def test_a_damaged_mask_picture_is_no_slice_without_lesion(tmp_path):
    volume = named_series(tmp_path / "dcm", ["a.dcm", "b.dcm"])
    mask_picture(tmp_path / "masks" / "a.png", 1)
    (tmp_path / "masks" / "b.png").write_text("<html>not found</html>")
    (tmp_path / "masks" / "._a.png").write_bytes(b"\0\5\x16\7")
    (tmp_path / "masks" / "notes.txt").touch()
    with pytest.raises(ReadError, match=r"b\.png is damaged"):
        read_labels(tmp_path / "masks", volume)
