"""The layouts of the papers' data: CNCB masks, COVIDx-CT and iCTCF classes, split lists."""

import numpy as np
import pytest
from PIL import Image

from model_core.base.errors import DataError, SettingsError
from model_core.data import class_names, read_classes, read_segmentation


def write(path, array=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((8, 8), np.uint8) if array is None else np.asarray(array, np.uint8)).save(path)


@pytest.fixture
def cncb(tmp_path):
    mask = np.arange(64).reshape(8, 8) % 4
    for name in ("110_104", "110_26", "2_46"):
        write(tmp_path / "imgs" / f"{name}.jpg", np.full((8, 8), 90))
        write(tmp_path / "masks" / f"{name}.png", mask)
    write(tmp_path / "imgs" / "9_1.jpg", np.full((8, 8), 90))
    (tmp_path / "test_split_segmentation.txt").write_text("2_46.jpg\n9_1.jpg\n")
    return tmp_path


def test_cncb_slices_patients_values_and_negatives(cncb):
    slices = {one.name: one for one in read_segmentation(cncb, mask_values="papers")}
    assert {name: one.patient for name, one in slices.items()} == {
        "110_104": "110",
        "110_26": "110",
        "2_46": "2",
        "9_1": "9",
    }
    np.testing.assert_array_equal(slices["2_46"].mask()[0, :4], [0, 0, 1, 2])
    np.testing.assert_array_equal(slices["9_1"].mask(), np.zeros((8, 8)))
    assert slices["9_1"].image_hu().shape == (8, 8)
    with pytest.raises(DataError, match=r"2_46\.png.*3.*--mask-values"):
        read_segmentation(cncb)[2].mask()
    with pytest.raises(SettingsError):
        read_segmentation(cncb, mask_values="others")


def test_a_list_is_an_option_or_the_data_itself(cncb):
    listed = cncb / "test_split_segmentation.txt"
    names = [one.name for one in read_segmentation(cncb, list_file=listed, mask_values="papers")]
    assert names == ["2_46", "9_1"]
    assert [one.name for one in read_segmentation(listed, mask_values="papers")] == names


def test_folders_per_patient_as_distributed(tmp_path):
    write(tmp_path / "image" / "110" / "104.jpg")
    write(tmp_path / "image" / "2" / "104.jpg")
    write(tmp_path / "mask" / "110" / "104.png")
    first, second = read_segmentation(tmp_path, mask_values="papers")
    assert (first.name, first.patient, second.name, second.patient) == ("110_104", "110", "2_104", "2")
    assert first.mask_path.is_file()
    assert not second.mask_path.exists()
    assert not second.mask().any()


def test_own_layout_stays_strict_and_takes_lists(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / "images" / f"{name}.png")
        write(tmp_path / "masks" / f"{name}.png")
    (tmp_path / "list.txt").write_text("# one\n\nb.png\n")
    assert [one.name for one in read_segmentation(tmp_path / "list.txt")] == ["b"]
    (tmp_path / "masks" / "a.png").unlink()
    with pytest.raises(DataError, match="'a' without mask"):
        read_segmentation(tmp_path)


def test_segmentation_errors_say_what_was_expected(cncb, tmp_path):
    with pytest.raises(DataError, match=r"imgs/ and masks/.*<patient>_<slice>"):
        read_segmentation(cncb / "imgs")
    with pytest.raises(DataError, match="no data folder"):
        read_segmentation(tmp_path / "nowhere")
    write(cncb / "masks" / "77_1.png")
    with pytest.raises(DataError, match="'77_1'"):
        read_segmentation(cncb)
    (cncb / "masks" / "77_1.png").unlink()
    write(cncb / "imgs" / "2_46.png")
    with pytest.raises(DataError, match="'2_46'"):
        read_segmentation(cncb)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "names no picture"),
        ("2_46.jpg\n2_46.jpg\n", "'2_46' twice"),
        ("2_46.jpg\nnowhere_1.jpg\n", "'nowhere_1'"),
        ("2_46.jpg not a class\n", "Line 1"),
        ("2_46.jpg 7\n", "class 7"),
        (b"\xff\xfe\x00", "cannot be read"),
    ],
)
def test_bad_lists_are_named(cncb, text, message):
    path = cncb / "bad.txt"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError, match=message) as caught:
        read_segmentation(cncb, list_file=path)
    assert "bad.txt" in str(caught.value)


# --------------------------------------------------------------------------------------- classes


def test_covidx_names_of_the_released_code(tmp_path):
    for name in ("0_1728_1013_0023", "1_3905_5437_0094", "2_96_1328_0035", "2_96_1328_0036"):
        write(tmp_path / f"{name}.png")
    slices = read_classes(tmp_path)
    assert [one.label for one in slices] == [0, 1, 2, 2]
    assert [one.patient for one in slices] == ["0_1728", "1_3905", "2_96", "2_96"]
    assert class_names(slices) == ("Control", "Common Pneumonia", "COVID-19")
    (tmp_path / "train.txt").write_text("2_96_1328_0036.png\n")
    assert [one.name for one in read_classes(tmp_path / "train.txt")] == ["2_96_1328_0036"]


def test_covidx_as_distributed(tmp_path):
    for name in ("Normal_1_2_0003", "CP_7_8_0009", "NCP_96_1328_0035", "volume-covid19-A-0003_0012"):
        write(tmp_path / "2A_images" / f"{name}.png")
    (tmp_path / "val_COVIDx-CT.txt").write_text(
        "NCP_96_1328_0035.png 2 9 94 512 405\nCP_7_8_0009.png 1 0 0 512 512\n"
        "volume-covid19-A-0003_0012.png 2 1 2 3 4\n"
    )
    slices = read_classes(tmp_path / "val_COVIDx-CT.txt")
    assert {one.name: (one.label, one.patient) for one in slices} == {
        "CP_7_8_0009": (1, "1_7"),
        "NCP_96_1328_0035": (2, "2_96"),
        "volume-covid19-A-0003_0012": (2, "volume-covid19-A-0003"),
    }
    (tmp_path / "train_split_classification.txt").write_text("0_1_2_0003.png\n2_96_1328_0035.png\n")
    renamed = read_classes(tmp_path / "train_split_classification.txt")
    assert [one.name for one in renamed] == ["NCP_96_1328_0035", "Normal_1_2_0003"]
    with pytest.raises(DataError, match=r"volume-covid19-A-0003_0012.*class_patient_scan_slice"):
        read_classes(tmp_path)


def test_ictcf(tmp_path):
    for name in ("2_pCT12", "0_nCT7", "nCT8"):
        write(tmp_path / f"{name}.jpg")
    slices = read_classes(tmp_path)
    assert {one.name: one.label for one in slices} == {"0_nCT7": 0, "2_pCT12": 2, "nCT8": 0}
    assert {one.source for one in slices} == {"iCTCF"}
    assert class_names(slices)[2] == "COVID-19"
    write(tmp_path / "2_nCT9.jpg")
    with pytest.raises(DataError, match="'2_nCT9' contradicts"):
        read_classes(tmp_path)


def test_class_folders_and_index(tmp_path):
    write(tmp_path / "a" / "normal" / "x.png")
    write(tmp_path / "a" / "covid" / "y.png")
    (tmp_path / "a" / "list.txt").write_text("y.png 2\n")
    assert [one.label for one in read_classes(tmp_path / "a")] == [0, 2]
    assert class_names(read_classes(tmp_path / "a"))[1] == "Other (non-COVID)"
    assert [one.name for one in read_classes(tmp_path / "a" / "list.txt")] == ["y"]
    (tmp_path / "a" / "list.txt").write_text("y.png 1\n")
    with pytest.raises(DataError, match="class 1"):
        read_classes(tmp_path / "a" / "list.txt")
    write(tmp_path / "b" / "images" / "x.png")
    (tmp_path / "b" / "index.tsv").write_text("file\tclass\tpatient\tsource\nx.png\tother\tp1\there\n")
    (one,) = read_classes(tmp_path / "b")
    assert (one.label, one.patient, one.source) == (1, "p1", "here")
    (tmp_path / "b" / "index.tsv").write_text("file\tclass\nx.png\tflu\n")
    with pytest.raises(DataError, match="'flu'"):
        read_classes(tmp_path / "b")


def test_a_class_that_contradicts_itself_is_an_error(tmp_path):
    write(tmp_path / "NCP_1_2_0003.png")
    (tmp_path / "split.txt").write_text("NCP_1_2_0003.png 0 1 2 3 4\n")
    with pytest.raises(DataError, match="2 by its name, 0 by its list"):
        read_classes(tmp_path / "split.txt")


def test_nothing_that_fits_says_every_layout(tmp_path):
    with pytest.raises(DataError, match=r"class folders.*COVIDx-CT.*iCTCF"):
        read_classes(tmp_path)


@pytest.mark.parametrize(
    ("stored", "mask_type", "expected"),
    [
        ([0, 1, 2, 3], "both", [0, 0, 1, 2]),
        ([0, 1, 2, 3], "merge", [0, 0, 1, 1]),
        ([0, 1, 2, 3], "ggo", [0, 0, 1, 0]),
        # Consolidation alone is called GGO.
        ([0, 1, 3, 3], "both", [0, 0, 1, 1]),
        # Without clean lung the first class is lost.
        ([0, 2, 3, 3], "both", [0, 0, 1, 1]),
        ([0, 2, 2, 3], "merge", [0, 0, 0, 0]),
        ([1, 2, 3, 3], "both", [0, 0, 1, 1]),
        ([0, 0, 0, 2], "ggo", [0, 0, 0, 0]),
    ],
)
def test_released_rule_labels_by_position(tmp_path, stored, mask_type, expected):
    write(tmp_path / "imgs" / "1_1.jpg", np.full((8, 8), 90))
    write(tmp_path / "masks" / "1_1.png", np.repeat(stored, 16).reshape(8, 8))
    (one,) = read_segmentation(tmp_path, mask_values="released", mask_type=mask_type)
    np.testing.assert_array_equal(one.mask(), np.repeat(expected, 16).reshape(8, 8))


def test_released_rule_still_refuses_unknown_values(tmp_path):
    write(tmp_path / "imgs" / "1_1.jpg", np.full((8, 8), 90))
    write(tmp_path / "masks" / "1_1.png", np.full((8, 8), 4))
    (one,) = read_segmentation(tmp_path, mask_values="released", mask_type="both")
    with pytest.raises(DataError, match="4"):
        one.mask()
