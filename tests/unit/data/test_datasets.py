"""Data sets on disk: pairs, masks, instances, class folders, grey-to-HU maps."""

import json

import numpy as np
import pytest
from PIL import Image

from model_core.base.errors import DataError, SettingsError
from model_core.base.jobs import finish
from model_core.cli.main import main
from model_core.data import (
    instances,
    parse_mask_values,
    read_class_folders,
    read_classes,
    read_segmentation,
)
from model_core.data.checking import check_data
from model_core.data.checking.check import check_classes


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


@pytest.fixture
def folder(tmp_path):
    for name in ("one", "two"):
        write(tmp_path / "images" / f"{name}.png", np.arange(64).reshape(8, 8) * 4)
        write(tmp_path / "masks" / f"{name}.png", np.zeros((8, 8)))
    return tmp_path


def test_pairs_without_index_are_a_lung_window(folder):
    first, second = read_segmentation(folder)
    assert (first.name, second.name) == ("one", "two")
    assert first.patient == "one"
    hu = first.image_hu()
    assert hu.dtype == np.float32
    assert hu[0, 0] == -1350
    np.testing.assert_allclose(hu[7, 7], -1350 + 252 / 255 * 1500, rtol=1e-6)


@pytest.mark.parametrize(("column", "entry"), [("file", "one.png"), ("slice", "one")])
def test_index_gives_patient_and_grey_map(folder, column, entry):
    (folder / "index.tsv").write_text(
        f"{column}\tsimilarity_group\tapprox_hu_at_0\tapprox_hu_at_255\n{entry}\tgroup7\t-1020\t1530\n"
    )
    first, second = read_segmentation(folder)
    assert (first.patient, first.low_hu, first.high_hu) == ("group7", -1020, 1530)
    assert (second.patient, second.low_hu, second.high_hu) == ("two", -1350, 150)


@pytest.mark.parametrize("numbers", ["-1000\t", "abc\t3", "100\t-100", "nan\t5", "-1000\tinf"])
def test_bad_grey_map_is_named(folder, numbers):
    (folder / "index.tsv").write_text(f"file\tapprox_hu_at_0\tapprox_hu_at_255\none.png\t{numbers}\n")
    with pytest.raises(DataError, match="one"):
        read_segmentation(folder)


def test_missing_partner_folder_and_pictures(folder):
    (folder / "masks" / "two.png").unlink()
    with pytest.raises(DataError, match="'two' without mask"):
        read_segmentation(folder)
    with pytest.raises(DataError, match="masks"):
        read_segmentation(_only_images(folder))
    with pytest.raises(DataError, match="no data folder"):
        read_segmentation(folder / "nowhere")


def _only_images(folder):
    for path in (folder / "masks").iterdir():
        path.unlink()
    (folder / "masks").rmdir()
    return folder


def test_empty_folder_is_an_error(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match="no png or jpg"):
        read_segmentation(tmp_path)


def test_unknown_mask_value_names_file_and_value(folder):
    write(folder / "masks" / "one.png", np.full((8, 8), 7))
    with pytest.raises(DataError, match=r"one\.png.*7"):
        read_segmentation(folder)[0].mask()


def test_schemes(folder):
    write(folder / "masks" / "one.png", np.arange(64).reshape(8, 8) % 4)
    papers = read_segmentation(folder, mask_values="papers")[0].mask()
    np.testing.assert_array_equal(papers[0, :4], [0, 0, 1, 2])
    own = read_segmentation(folder, mask_values="1=lung, 2=consolidation,3=ggo")[0].mask()
    np.testing.assert_array_equal(own[0, :4], [0, 0, 2, 1])
    with pytest.raises(DataError):
        read_segmentation(folder)[0].mask()


@pytest.mark.parametrize("text", ["", "ggo", "1=tumour", "300=ggo", "1:ggo", "x=ggo"])
def test_bad_scheme_is_a_settings_error(text):
    with pytest.raises(SettingsError, match="shared, papers"):
        parse_mask_values(text)


def test_palette_and_bilevel_masks_keep_their_values(folder):
    values = np.zeros((8, 8), np.uint8)
    values[2:4] = 2
    picture = Image.fromarray(values, "L").convert("P")
    picture.putdata(values.ravel().tolist())
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    picture.save(folder / "masks" / "one.png")
    Image.fromarray(values > 0).save(folder / "masks" / "two.png")
    first, second = read_segmentation(folder)
    np.testing.assert_array_equal(first.mask(), values)
    np.testing.assert_array_equal(second.mask(), values > 0)


@pytest.mark.parametrize("kind", ["truncated", "text", "colour mask"])
def test_damaged_files_are_data_errors(folder, kind):
    path = folder / "masks" / "one.png"
    if kind == "truncated":
        path.write_bytes(path.read_bytes()[:40])
    elif kind == "text":
        path.write_text("no picture")
    else:
        write(path, np.random.default_rng(0).integers(0, 2, (8, 8, 3)))
    with pytest.raises(DataError, match=r"one\.png"):
        read_segmentation(folder)[0].mask()


def test_sixteen_bit_picture_is_refused(folder):
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(folder / "images" / "one.png")
    with pytest.raises(DataError, match="8-bit"):
        read_segmentation(folder)[0].image_hu()


# ------------------------------------------------------------------------------------- instances


def test_diagonal_neighbours_are_one_instance():
    mask = np.zeros((30, 30), np.uint8)
    mask[0:11, 0:11] = 1
    mask[11:22, 11:22] = 1
    masks, labels = instances(mask, "merge")
    assert masks.shape == (1, 30, 30)
    assert masks.sum() == 242
    assert labels.tolist() == [1]


def test_area_rule_is_strict():
    mask = np.zeros((40, 40), np.uint8)
    mask[:10, :10] = 1
    mask[20:30, 20:30] = 1
    mask[30, 20] = 1
    masks, _ = instances(mask, "merge")
    assert [int(m.sum()) for m in masks] == [101]
    assert len(instances(mask, "merge", min_area=1)[1]) == 2


def test_classes_merge_and_both():
    mask = np.zeros((40, 60), np.uint8)
    mask[:20, :20] = 1
    mask[:20, 20:40] = 2
    assert instances(mask, "merge")[1].tolist() == [1]
    masks, labels = instances(mask, "both")
    assert labels.tolist() == [1, 2]
    assert masks[0][:, 20:].sum() == 0
    assert instances(mask, "ggo")[1].tolist() == [1]


def test_slice_with_consolidation_alone_keeps_its_label():
    mask = np.zeros((40, 40), np.uint8)
    mask[:20, :20] = 2
    assert instances(mask, "both")[1].tolist() == [2]


def test_no_lesion_and_unknown_type():
    masks, labels = instances(np.zeros((5, 6), np.uint8), "merge")
    assert masks.shape == (0, 5, 6)
    assert labels.shape == (0,)
    with pytest.raises(SettingsError, match="merge"):
        instances(np.zeros((5, 6), np.uint8), "all")


# ---------------------------------------------------------------------------------- class folders


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("ho_healthy_00488cdf", "ho_healthy"),
        ("ho_healthy_dcabefaa", "ho_healthy"),
        ("ho_healthy_123e4567-e89b-12d3-a456-426614174000", "ho_healthy"),
        ("mosmed_ct1_000002", "mosmed_ct1"),
        ("soares_17", "soares"),
        ("scan012", "scan"),
        ("IMG-0007", "IMG"),
        ("NCP_18_1168_0067", "COVIDx-CT"),
        ("0001", "not stated"),
        ("110_104", "not stated"),
        ("1.2.840.113619.2.55", "not stated"),
        ("chest", "not stated"),
        ("normal_001", "not stated"),
        ("COVID-17", "not stated"),
    ],
)
def test_sources_by_name_are_the_same_in_training_and_in_the_check(tmp_path, capsys, name, source):
    for k, folder in enumerate(("normal", "covid")):
        write(tmp_path / folder / f"{name}.png", np.arange(16).reshape(4, 4) + k)
    assert {one.source for one in read_class_folders(tmp_path)} == {source}
    main(["data", "check", str(tmp_path), "--json"])
    found = json.loads(capsys.readouterr().out)["sources"]
    assert [(row["source"], row["pictures"]) for row in found] == [(source, 1), (source, 1)]


def test_pictures_of_one_source_are_one_source(tmp_path):
    """Pictures whose names end in random digits are not a source each."""
    names = ["00488cdf", "06eeeb21", "dfaebcda", "12345678"]
    for name in names:
        write(tmp_path / "normal" / f"ho_healthy_{name}.png", np.zeros((4, 4)))
    assert {one.source for one in read_class_folders(tmp_path)} == {"ho_healthy"}


def test_class_folders(tmp_path):
    write(tmp_path / "normal" / "a_001.png", np.zeros((4, 4)))
    write(tmp_path / "covid" / "b_002.png", np.zeros((4, 4)))
    (tmp_path / "index.tsv").write_text("file\tclass\tsource\ncovid/b_002.png\tcovid\tsomewhere\n")
    normal, covid = read_class_folders(tmp_path)
    assert (normal.label, normal.source) == (0, "a")
    assert (covid.label, covid.source) == (2, "somewhere")
    with pytest.raises(DataError, match="normal, other, covid"):
        read_class_folders(tmp_path / "normal")
    # The same name in two classes is not the same patient.
    write(tmp_path / "other" / "a_001.png", np.zeros((4, 4)))
    assert len({one.patient for one in read_class_folders(tmp_path)}) == 3


def test_lists_tell_pictures_of_one_name_apart_by_their_class(tmp_path):
    for name in ("normal/1", "normal/2", "covid/1", "covid/3"):
        write(tmp_path / f"{name}.png", np.zeros((4, 4)))

    def read(text):
        (tmp_path / "part.txt").write_text(text)
        return [(one.label, one.name) for one in read_classes(tmp_path, list_file=tmp_path / "part.txt")]

    assert read("normal/1.png\ncovid/3.png\n") == [(0, "1"), (2, "3")]
    assert read("normal/1.png\ncovid/1.png\n") == [(0, "1"), (2, "1")]
    assert read("somewhere/else/2.png\ncovid\\1.png 2\n") == [(0, "2"), (2, "1")]
    for text, says in (
        ("1.png\n", "lies in normal and covid: write the folder"),
        ("covid/2.png\n", "'covid/2'"),
        ("2.png\nnormal/2.png\n", "names '2' twice"),
        ("normal/1.png 2\n", "folder of class 0"),
    ):
        with pytest.raises(DataError, match=says):
            read(text)
        (checked,) = finish(check_classes(tmp_path, list_file=tmp_path / "part.txt"))
        assert any(problem.level == "error" for problem in checked.problems), text


def test_negative_slices_keep_the_map_of_their_index(tmp_path):
    for name in ("1_1", "1_2"):
        write(tmp_path / "imgs" / f"{name}.png", np.zeros((4, 4)))
    write(tmp_path / "masks" / "1_1.png", np.zeros((4, 4)))
    rows = "".join(f"{name}.png\t-1024\t1024\n" for name in ("1_1", "1_2"))
    (tmp_path / "index.tsv").write_text(f"file\tapprox_hu_at_0\tapprox_hu_at_255\n{rows}")
    found = read_segmentation(tmp_path, mask_values="papers")
    assert [(one.low_hu, one.high_hu, one.hu_stated) for one in found] == [(-1024, 1024, True)] * 2


# ------------------------------------------------------------------- names, and files that are not here


@pytest.mark.parametrize("folders", [("images", "masks"), ("imgs", "masks")])
@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        ("M\u00fcller_1", "Mu\u0308ller_1"),
        ("Mu\u0308ller_1", "M\u00fcller_1"),
        ("s1", "S1"),
        ("\u00c91", "e\u03011"),
    ],
)
def test_pairs_in_any_unicode_form_and_case(tmp_path, folders, picture, mask):
    write(tmp_path / folders[0] / f"{picture}.png", np.zeros((4, 4)))
    write(tmp_path / folders[1] / f"{mask}.png", np.ones((4, 4)))
    (tmp_path / "index.tsv").write_text(f"file\tpatient\n{picture}.png\tp9\n", "utf-8")
    (tmp_path / "part.txt").write_text(f"{picture}.png\n", "utf-8")
    for path in (tmp_path, tmp_path / "part.txt"):
        (one,) = read_segmentation(path)
        assert one.patient == "p9"
        assert one.mask().all()


def test_another_case_counts_only_where_it_is_unique(tmp_path):
    for name in ("s1", "S1"):
        write(tmp_path / "images" / f"{name}.png", np.zeros((4, 4)))
        write(tmp_path / "masks" / f"{name}.png", np.full((4, 4), name == "S1"))
    assert {one.name: int(one.mask().max()) for one in read_segmentation(tmp_path)} == {"s1": 0, "S1": 1}
    write(tmp_path / "images" / "a.png", np.zeros((4, 4)))
    for name in ("A", "a"):
        (tmp_path / "masks" / f"{name}.jpg").write_bytes((tmp_path / "masks" / "s1.png").read_bytes())
    with pytest.raises(DataError, match="'A' without image"):
        read_segmentation(tmp_path)


def _dead_link(path):
    path.symlink_to("../.git/annex/objects/gone.png")


def _annex_pointer(path):
    path.write_text("/annex/objects/SHA256E-s31--ab.png\n")


def _lfs_pointer(path):
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n")


NOT_HERE = {
    "a link that leads nowhere": _dead_link,
    "a pointer of git-annex": _annex_pointer,
    "a pointer of git-lfs": _lfs_pointer,
    "an empty file": lambda path: path.touch(),
}


@pytest.mark.parametrize("reason", NOT_HERE)
@pytest.mark.parametrize("folders", [("images", "masks"), ("imgs", "masks"), ("image", "mask")])
@pytest.mark.parametrize("side", [0, 1])
def test_files_that_are_not_here_are_named_and_no_negatives(tmp_path, capsys, reason, folders, side):
    for name in ("1_1", "1_2"):
        write(tmp_path / folders[0] / f"{name}.png", np.arange(16).reshape(4, 4))
        write(tmp_path / folders[1] / f"{name}.png", np.full((4, 4), 2))
    gone = tmp_path / folders[side] / "1_2.png"
    gone.unlink()
    NOT_HERE[reason](gone)
    with pytest.raises(DataError, match=rf"'{folders[side]}/1_2\.png', which is {reason}.*git annex get"):
        read_segmentation(tmp_path)
    assert main(["data", "check", str(tmp_path)]) == 1
    told = capsys.readouterr().out
    assert "Files are not here" in told
    assert f"{folders[side]}/1_2.png ({reason})" in told
    # What a list names may be here although the rest is not.
    (tmp_path / "part.txt").write_text("1_1.png\n")
    assert [one.name for one in read_segmentation(tmp_path / "part.txt")] == ["1_1"]


def test_folders_that_are_not_here_are_named(tmp_path, capsys):
    write(tmp_path / "imgs" / "110" / "1.png", np.arange(16).reshape(4, 4))
    (tmp_path / "masks").symlink_to("../gone")
    for call in (lambda: read_segmentation(tmp_path), lambda: finish(check_data(tmp_path))):
        with pytest.raises(DataError, match="masks', which is a link that leads nowhere"):
            call()
    (tmp_path / "masks").unlink()
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "110").symlink_to("../../gone")
    with pytest.raises(DataError, match="masks/110', which is a link that leads nowhere"):
        read_segmentation(tmp_path)
    assert main(["data", "check", str(tmp_path)]) == 1
    assert "masks/110" in capsys.readouterr().out


@pytest.mark.parametrize("reason", NOT_HERE)
def test_class_pictures_that_are_not_here_are_named(tmp_path, capsys, reason):
    for name in ("normal/a", "other/b", "covid/c"):
        write(tmp_path / f"{name}.png", np.arange(16).reshape(4, 4))
    NOT_HERE[reason](tmp_path / "covid" / "d.png")
    for read in (read_classes, read_class_folders):
        with pytest.raises(DataError, match=rf"'covid/d\.png', which is {reason}"):
            read(tmp_path)
    assert main(["data", "check", str(tmp_path)]) == 1
    assert f"covid/d.png ({reason})" in capsys.readouterr().out


def test_a_class_folder_that_is_not_here_is_named(tmp_path):
    write(tmp_path / "normal" / "a.png", np.zeros((4, 4)))
    (tmp_path / "covid").symlink_to("../gone")
    with pytest.raises(DataError, match="covid', which is a link"):
        read_class_folders(tmp_path)


# -------------------------------------------------------------------------------- EXIF orientation


def write_turned(path, upright, orientation, **options):
    """Write a picture as a camera that was held otherwise does: turned, with the EXIF tag that says how."""
    stored = Image.fromarray(np.asarray(upright, np.uint8))
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # Image.Transpose that takes upright to stored
    tag = Image.Exif()
    tag[0x0112] = orientation
    path.parent.mkdir(parents=True, exist_ok=True)
    stored.transpose(Image.Transpose(undo[orientation])).save(path, exif=tag, **options)


@pytest.mark.parametrize("orientation", range(2, 9))
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_exif_orientation_is_applied_to_picture_and_mask_and_told(tmp_path, capsys, orientation, ending):
    upright = np.zeros((20, 30), np.uint8)
    upright[:6, :10], upright[10:, 20:] = 250, 120
    lesion = (upright > 200).astype(np.uint8)
    options = {"quality": 100} if ending == "jpg" else {}
    write_turned(tmp_path / "images" / f"a.{ending}", upright, orientation, **options)
    write(tmp_path / "masks" / "a.png", lesion)
    write(tmp_path / "images" / "b.png", upright + 1)
    write_turned(tmp_path / "masks" / "b.png", lesion, orientation)
    for one in read_segmentation(tmp_path):
        np.testing.assert_array_equal(one.mask(), lesion)
        np.testing.assert_array_equal(one.image_hu() > -200, lesion)
    assert main(["data", "check", str(tmp_path), "--min-area", "10"]) == 0
    told = capsys.readouterr().out
    assert "warning: 2: Files are turned or mirrored by their EXIF orientation" in told
    assert f"images/a.{ending}\n" in told
    assert "masks/b.png\n" in told


def test_no_or_plain_or_impossible_orientation_is_nothing_to_tell(folder, capsys):
    for name, value in (("one", 1), ("two", 42)):
        tag = Image.Exif()
        tag[0x0112] = value
        picture = Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8) * (1 if name == "one" else 2))
        picture.save(folder / "images" / f"{name}.png", exif=tag)
    main(["data", "check", str(folder)])
    assert "EXIF" not in capsys.readouterr().out


# ------------------------------------------------------------------------------------- real data


@pytest.mark.shared_data
def test_real_sets_are_read(shared_data):
    for name, slices in (("A_lesion_ggo_consolidation", 72), ("A5_mosmed_lesion", 37)):
        pairs = read_segmentation(shared_data / name)
        assert len(pairs) == slices
        for pair in pairs[::12]:
            assert pair.image_hu().shape == pair.mask().shape
    assert len({pair.patient for pair in read_segmentation(shared_data / "A4_zenodo20_lesion")}) == 9


# ----------------------------------------------------------------------------------------- checks


@pytest.mark.parametrize(("bad", "code"), [(False, 0), (True, 1)])
def test_check_command(folder, capsys, bad, code):
    import argparse

    from model_core.cli import data

    if bad:
        write(folder / "masks" / "one.png", np.full((8, 8), 9))
    parser = argparse.ArgumentParser()
    data.add_parser(parser.add_subparsers())
    arguments = parser.parse_args(["data", "check", str(folder)])
    assert arguments.run(arguments) == code
    assert ("wrong:" in capsys.readouterr().out) == bad


# ------------------------------------------------------------------- the readers and the check agree


def _no_mask(folder):
    (folder / "masks" / "b.png").unlink()


def _no_picture(folder):
    write(folder / "masks" / "z.png", np.ones((4, 4)))


def _two_of_one_name(folder):
    (folder / "images" / "b.jpg").write_bytes((folder / "images" / "b.png").read_bytes())


def _map_of_a_listed_slice(folder):
    (folder / "index.tsv").write_text("file\tapprox_hu_at_0\tapprox_hu_at_255\na.png\t5\t1\n")


def _map_of_another_slice(folder):
    (folder / "index.tsv").write_text("file\tapprox_hu_at_0\tapprox_hu_at_255\nb.png\t5\t1\n")


def _index_without_columns(folder):
    (folder / "index.tsv").write_text("name\nb\n")


@pytest.mark.parametrize(
    ("fault", "code", "with_list"),
    [
        (_no_mask, "missing_mask", True),
        (_no_picture, "missing_picture", True),
        (_two_of_one_name, "duplicate_name", True),
        (_map_of_a_listed_slice, "grey_map", True),
        (_map_of_another_slice, "grey_map", False),
        (_index_without_columns, "index_table", True),
    ],
)
def test_what_training_refuses_is_told_and_nothing_else(tmp_path, fault, code, with_list):
    """Also of a part of a set: a mask without a picture may be that of a listed one, misnamed."""
    for k, name in enumerate("ab"):
        write(tmp_path / "images" / f"{name}.png", np.arange(400).reshape(20, 20) % 251 + k)
        write(tmp_path / "masks" / f"{name}.png", np.full((20, 20), k))
    (tmp_path / "part.txt").write_text("a.png\n")
    for path in (tmp_path, tmp_path / "part.txt"):
        assert len(read_segmentation(path)) == (2 if path == tmp_path else 1)
        assert not finish(check_data(path))[-1].errors
    fault(tmp_path)
    for path, refused in ((tmp_path, True), (tmp_path / "part.txt", with_list)):
        codes = [p.code for p in finish(check_data(path))[-1].problems if p.level == "error"]
        assert codes == [code] * refused, path
        if refused:
            with pytest.raises(DataError):
                read_segmentation(path)
        else:
            assert [one.name for one in read_segmentation(path)] == ["a"]


def test_of_class_folders_those_of_a_list_are_judged(tmp_path):
    for k, name in enumerate(("normal/1", "other/2", "covid/3", "covid/4")):
        write(tmp_path / f"{name}.png", np.arange(16).reshape(4, 4) + k)
    (tmp_path / "index.tsv").write_text("file\tapprox_hu_at_0\tapprox_hu_at_255\ncovid/4.png\t5\t1\n")
    (tmp_path / "part.txt").write_text("1.png\n2.png\n3.png\n")
    assert len(read_classes(tmp_path / "part.txt")) == 3
    assert not finish(check_data(tmp_path / "part.txt"))[-1].errors
    with pytest.raises(DataError, match="grey-to-HU map of '4'"):
        read_classes(tmp_path)
    assert [p.code for p in finish(check_data(tmp_path))[-1].problems if p.level == "error"] == ["grey_map"]


def test_every_fault_of_a_list_is_told(tmp_path):
    for k, name in enumerate(("normal/1", "covid/1", "other/2", "covid/3")):
        write(tmp_path / f"{name}.png", np.arange(16).reshape(4, 4) + k)
    (tmp_path / "part.txt").write_text("1.png\nother/2.png 0\ncovid/3.png\n3.png\ngone.png\n")
    checked = finish(check_data(tmp_path / "part.txt"))[-1]
    assert [problem.code for problem in checked.problems if problem.level == "error"] == [
        *("missing_listed_picture", "ambiguous_name", "wrong_class", "split_list")
    ]
    assert len(checked.slices) == 4
