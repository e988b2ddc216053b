"""Data sets on disk: pairs, masks, instances, class folders, grey-to-HU maps."""

import numpy as np
import pytest
from PIL import Image

from model_core.datasets import (
    instances,
    parse_mask_values,
    read_class_folders,
    read_classes,
    read_pairs,
    read_segmentation,
)
from model_core.datasets.checking.classes import check_classes
from model_core.errors import DataError, SettingsError
from model_core.types import finish


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
    first, second = read_pairs(folder)
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
    first, second = read_pairs(folder)
    assert (first.patient, first.low_hu, first.high_hu) == ("group7", -1020, 1530)
    assert (second.patient, second.low_hu, second.high_hu) == ("two", -1350, 150)


@pytest.mark.parametrize("numbers", ["-1000\t", "abc\t3", "100\t-100", "nan\t5", "-1000\tinf"])
def test_bad_grey_map_is_named(folder, numbers):
    (folder / "index.tsv").write_text(f"file\tapprox_hu_at_0\tapprox_hu_at_255\none.png\t{numbers}\n")
    with pytest.raises(DataError, match="one"):
        read_pairs(folder)


def test_missing_partner_folder_and_pictures(folder):
    (folder / "masks" / "two.png").unlink()
    with pytest.raises(DataError, match="'two' without mask"):
        read_pairs(folder)
    with pytest.raises(DataError, match="masks"):
        read_pairs(_only_images(folder))
    with pytest.raises(DataError, match="no data folder"):
        read_pairs(folder / "nowhere")


def _only_images(folder):
    for path in (folder / "masks").iterdir():
        path.unlink()
    (folder / "masks").rmdir()
    return folder


def test_empty_folder_is_an_error(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match="no png or jpg"):
        read_pairs(tmp_path)


def test_unknown_mask_value_names_file_and_value(folder):
    write(folder / "masks" / "one.png", np.full((8, 8), 7))
    with pytest.raises(DataError, match=r"one\.png.*7"):
        read_pairs(folder)[0].mask()


def test_schemes(folder):
    write(folder / "masks" / "one.png", np.arange(64).reshape(8, 8) % 4)
    papers = read_pairs(folder, mask_values="papers")[0].mask()
    np.testing.assert_array_equal(papers[0, :4], [0, 0, 1, 2])
    own = read_pairs(folder, mask_values="1=lung, 2=consolidation,3=ggo")[0].mask()
    np.testing.assert_array_equal(own[0, :4], [0, 0, 2, 1])
    with pytest.raises(DataError):
        read_pairs(folder)[0].mask()


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
    first, second = read_pairs(folder)
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
        read_pairs(folder)[0].mask()


def test_sixteen_bit_picture_is_refused(folder):
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(folder / "images" / "one.png")
    with pytest.raises(DataError, match="8-bit"):
        read_pairs(folder)[0].image_hu()


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


# ------------------------------------------------------------------------------------- real data


@pytest.mark.shared_data
def test_real_sets_are_read(shared_data):
    for name, slices in (("A_lesion_ggo_consolidation", 72), ("A5_mosmed_lesion", 37)):
        pairs = read_pairs(shared_data / name)
        assert len(pairs) == slices
        for pair in pairs[::12]:
            assert pair.image_hu().shape == pair.mask().shape
    assert len({pair.patient for pair in read_pairs(shared_data / "A4_zenodo20_lesion")}) == 9


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
