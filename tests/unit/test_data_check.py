"""`ctmasknet data check`: tells everything that is wrong with a data set, and what it holds."""

import json
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from model_core.cli.main import main

RNG = np.random.default_rng(7)


def picture(shape=(40, 40)):
    return RNG.integers(0, 256, shape).astype(np.uint8)


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path)


def lesion(*, value=1, side=15, shape=(40, 40)):
    mask = np.zeros(shape, np.uint8)
    mask[:side, :side] = value
    return mask


@pytest.fixture
def pairs(tmp_path):
    folder = tmp_path / "set"
    for k, mask in enumerate((lesion(), lesion(value=2, side=12), np.zeros((40, 40)))):
        write(folder / "images" / f"s{k}.png", picture())
        write(folder / "masks" / f"s{k}.png", mask)
    (folder / "index.tsv").write_text("file\tpatient\ns0.png\tp0\ns1.png\tp1\ns2.png\tp1\n")
    return folder


def check(capsys, *arguments):
    code = main(["data", "check", *map(str, arguments)])
    return code, capsys.readouterr().out


def test_a_sound_set_passes_with_its_distributions(pairs, capsys, tmp_path):
    out = tmp_path / "out"
    code, text = check(capsys, pairs, "-o", out)
    assert code == 0
    assert "Nothing is wrong" in text
    document = json.loads((out / "check.json").read_text())
    assert document["problems"] == []
    assert (document["pictures"], document["patients"], document["negative_pictures"]) == (3, 2, 1)
    assert document["instances_per_picture"] == {"0": 1, "1": 2}
    assert (document["instances_ggo"], document["instances_consolidation"]) == (1, 1)
    assert document["lesion_share"]["100"] == pytest.approx(225 / 1600)
    assert document["instance_area"]["0"] == 144
    assert document["sizes"] == {"40 x 40": 3}
    assert document["mask_value_shares"]["2"] == pytest.approx(144 / 4800)
    for name in ("sizes.png", "instances.png", "area_shares.png", "instance_areas.png"):
        with Image.open(out / name) as figure:
            assert np.asarray(figure.convert("L")).std() > 5


def test_json_and_mask_types(pairs, capsys):
    write(pairs / "masks" / "s2.png", lesion(value=2))
    documents = {}
    for kind in ("merge", "both", "ggo"):
        code, text = check(capsys, pairs, "--json", "--mask-type", kind)
        assert code == 0
        documents[kind] = json.loads(text)
    assert {kind: one["instances"] for kind, one in documents.items()} == {"merge": 3, "both": 3, "ggo": 1}
    assert documents["ggo"]["settings"]["mask_type"] == "ggo"


def test_every_problem_is_told_at_once(pairs, capsys):
    images, masks = pairs / "images", pairs / "masks"
    write(images / "lonely.png", picture())
    write(masks / "orphan.png", lesion())
    write(images / "size.png", picture((30, 20)))
    write(masks / "size.png", lesion())
    write(images / "value.png", picture())
    write(masks / "value.png", lesion(value=7))
    (images / "broken.png").write_bytes((images / "s0.png").read_bytes()[:90])
    write(masks / "broken.png", lesion())
    write(images / "deep.png", picture())
    Image.fromarray(np.zeros((40, 40), np.uint16)).save(images / "deep.png")
    write(masks / "deep.png", lesion())
    (masks / "s2.png").write_text("no picture")
    write(images / "flat.png", np.full((40, 40), 9))
    write(masks / "flat.png", lesion())
    (images / "twice.png").write_bytes((images / "s1.png").read_bytes())
    (masks / "twice.png").write_bytes((masks / "s1.png").read_bytes())
    (images / "contradiction.png").write_bytes((images / "s0.png").read_bytes())
    write(masks / "contradiction.png", lesion(side=14))
    (pairs / "index.tsv").write_text("file\tapprox_hu_at_0\tapprox_hu_at_255\ns1.png\tx\t5\ngone.png\t1\t2\n")
    code, text = check(capsys, pairs)
    assert code == 1
    for expected in (
        "images/lonely.png",
        "masks/orphan.png",
        "masks/size.png (picture 20 x 30, mask 40 x 40)",
        "masks/value.png (7)",
        "--mask-values",
        "images/broken.png",
        "images/deep.png: deep.png is not an 8-bit picture",
        "masks/s2.png",
        "images/flat.png",
        "map of 's1' is 'x' to '5'",
        "gone",
    ):
        assert expected in text, expected
    assert "different masks" in text
    assert "contradiction = s0" in text


def test_a_picture_that_claims_to_be_huge_is_one_more_problem(pairs, capsys):
    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0))
    bomb = b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    (pairs / "images" / "s0.png").write_bytes(bomb)
    (pairs / "masks" / "s0.png").write_bytes(bomb)
    code, text = check(capsys, pairs)
    assert code == 1
    assert "images/s0.png: The picture s0.png cannot be read: its header says far more" in text
    assert "masks/s0.png: The mask s0.png cannot be read: its header says far more" in text


def test_duplicates_are_a_warning(pairs, capsys):
    for folder in ("images", "masks"):
        (pairs / folder / "copy.png").write_bytes((pairs / folder / "s0.png").read_bytes())
    code, text = check(capsys, pairs)
    assert code == 0
    assert "warning: 1: Pictures stand in the set more than once" in text
    assert "copy = s0" in text


def test_long_lists_are_cut_on_screen_and_whole_in_the_document(pairs, capsys, tmp_path):
    for k in range(30):
        write(pairs / "images" / f"lonely{k:02}.png", picture((4, 4)))
    code, text = check(capsys, pairs, "-o", tmp_path / "out")
    assert code == 1
    assert "lonely19" in text
    assert "lonely20" not in text
    assert "and 10 more" in text
    (problem,) = json.loads((tmp_path / "out" / "check.json").read_text())["problems"]
    assert len(problem["files"]) == 30


def test_no_lesion_at_all_and_a_lung_mask(pairs, capsys, tmp_path):
    for k in range(3):
        write(pairs / "masks" / f"s{k}.png", lesion(side=9))
    code, text = check(capsys, pairs, "-o", tmp_path / "out")
    assert code == 0
    assert json.loads((tmp_path / "out" / "check.json").read_text())["instance_area"] is None
    assert (tmp_path / "out" / "instance_areas.png").is_file()
    assert "No slice has a lesion of more than 100 pixels" in text
    assert "No slice has" not in check(capsys, pairs, "--min-area", "50")[1]
    write(pairs / "masks" / "s0.png", lesion(side=39))
    assert "more than half" in check(capsys, pairs)[1]


def test_training_against_validation(pairs, capsys, tmp_path):
    other = tmp_path / "validation"
    for name in ("images", "masks"):
        (other / name).mkdir(parents=True)
        (other / name / "t.png").write_bytes((pairs / name / "s0.png").read_bytes())
    write(other / "images" / "u.png", picture())
    write(other / "masks" / "u.png", lesion())
    (other / "index.tsv").write_text("file\tpatient\nt.png\tp9\nu.png\tp1\n")
    code, text = check(capsys, pairs, "--against", other)
    assert code == 1
    assert "Patients are in both sets" in text
    assert "p1 (2 and 1 slices)" in text
    assert "s0 = t" in text
    code, text = check(capsys, pairs, "--against", tmp_path / "nowhere")
    assert code == 1
    assert text == ""


def test_the_papers_layout_and_lists(tmp_path, capsys):
    for name in ("1_10", "1_20", "2_10"):
        write(tmp_path / "imgs" / f"{name}.jpg", picture())
        write(tmp_path / "masks" / f"{name}.png", lesion(value=2))
    write(tmp_path / "imgs" / "3_10.jpg", picture())
    (tmp_path / "train.txt").write_text("1_10.jpg\n2_10.jpg\n3_10.jpg\n")
    (tmp_path / "test.txt").write_text("1_20.jpg\n5_50.jpg\n")
    code, text = check(capsys, tmp_path, "--mask-values", "papers")
    assert code == 0
    assert "info: 1: Pictures have no mask. Negative slices." in text
    assert "patients         3 known" in text
    code, text = check(
        capsys, tmp_path / "train.txt", "--mask-values", "papers", "--against", tmp_path / "test.txt"
    )
    assert code == 1
    assert "1 (1 and 1 slices)" in text
    code, text = check(capsys, tmp_path / "test.txt", "--mask-values", "papers")
    assert code == 1
    assert "5_50" in text
    write(tmp_path / "masks" / "1_10.png", lesion(value=1))
    assert "--mask-values papers" in check(capsys, tmp_path)[1]


def test_the_released_rule_is_told_where_it_changes_a_label(tmp_path, capsys):
    for name in ("1_10", "1_20"):
        write(tmp_path / "imgs" / f"{name}.jpg", picture())
    mask = lesion(value=3)
    mask[20:] = 1
    write(tmp_path / "masks" / "1_10.png", mask)
    write(tmp_path / "masks" / "1_20.png", np.where(np.arange(40) < 10, 2, mask))
    text = check(capsys, tmp_path, "--mask-values", "released", "--mask-type", "both")[1]
    assert "1: The released rule labels this mask otherwise" in text
    assert "1_10.png" in text
    text = check(capsys, tmp_path, "--mask-values", "released", "--mask-type", "merge")[1]
    assert "released rule" not in text


# --------------------------------------------------------------------------------------- classes


def test_class_folders(tmp_path, capsys):
    data = tmp_path / "classes"
    for name in ("normal", "covid"):
        for k in range(2):
            write(data / name / f"{name}{k}.png", picture())
    (data / "other").mkdir()
    (data / "pneumonia").mkdir()
    (data / "covid" / "covid9.png").write_bytes((data / "normal" / "normal0.png").read_bytes())
    (data / "covid" / "bad.jpg").write_bytes(b"\xff\xd8\xff")
    out = tmp_path / "out"
    code, text = check(capsys, data, "-o", out)
    assert code == 1
    for expected in (
        "class 1 (Other (non-COVID)) has no picture",
        "pneumonia",
        "covid/bad.jpg",
        "covid9 (class 2)",
        "different classes",
    ):
        assert expected in text, expected
    document = json.loads((out / "check.json").read_text())
    assert [row["pictures"] for row in document["classes"]] == [2, 0, 3]
    assert (out / "classes.png").is_file()
    (data / "other").rmdir()
    (data / "covid" / "covid9.png").unlink()
    (data / "covid" / "bad.jpg").unlink()
    code, text = check(capsys, data)
    assert code == 0
    assert "Enough for two classes only" in text


def test_covidx_and_ictcf_names(tmp_path, capsys):
    for name in ("0_1_1_0001", "1_2_1_0001", "2_3_1_0001"):
        write(tmp_path / "a" / f"{name}.png", picture())
    code, text = check(capsys, tmp_path / "a")
    assert code == 0
    assert "Common Pneumonia: 1 pictures, 1 patients" in text
    write(tmp_path / "a" / "what.png", picture())
    code, text = check(capsys, tmp_path / "a")
    assert code == 1
    assert "class of pictures is unknown" in text
    assert "what" in text
    for name in ("0_nCT1", "2_pCT1"):
        write(tmp_path / "b" / f"{name}.jpg", picture())
    assert check(capsys, tmp_path / "b")[0] == 0
    write(tmp_path / "c" / "masks" / "x.png", lesion())
    assert check(capsys, tmp_path / "c") == (1, "")
    write(tmp_path / "d" / "images" / "x.png", picture())
    assert main(["data", "check", str(tmp_path / "d")]) == 1
    assert "neither masks nor classes" in capsys.readouterr().err


def test_classes_from_different_sources_are_a_warning(tmp_path, capsys):
    for name in ("normal", "other", "covid"):
        write(tmp_path / name / f"{name}.png", picture())
    (tmp_path / "index.tsv").write_text(
        "file\tsource\nnormal/normal.png\ta\nother/other.png\tb\ncovid/covid.png\tb\n"
    )
    code, text = check(capsys, tmp_path)
    assert code == 0
    assert "No source has pictures of every class" in text


# ------------------------------------------------------------------------------------ as a command


def test_what_is_no_data_set_is_one_line(tmp_path, capsys):
    assert main(["data", "check", str(tmp_path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert len(captured.err.strip().splitlines()) == 1
    assert "images/ and masks/" in captured.err
    assert main(["data", "check", str(tmp_path / "nowhere")]) == 1
    assert "no data folder" in capsys.readouterr().err


def test_earlier_results_are_kept(pairs, capsys, tmp_path):
    out = tmp_path / "out"
    assert main(["data", "check", str(pairs), "-o", str(out)]) == 0
    before = (out / "check.json").read_text()
    (pairs / "masks" / "s0.png").unlink()
    assert main(["data", "check", str(pairs), "-o", str(out)]) == 1
    assert "exists already" in capsys.readouterr().err
    assert (out / "check.json").read_text() == before
    assert main(["data", "check", str(pairs), "-o", str(out), "--overwrite"]) == 1
    assert (out / "check.json").read_text() != before
    assert not list(out.glob(".partial*"))


@pytest.mark.shared_data
def test_real_sets(shared_data, capsys):
    code, text = check(capsys, shared_data / "A5_mosmed_lesion")
    assert code == 0
    assert "37 readable pictures" in text


def test_a_file_name_that_is_no_text_is_in_the_document(pairs, capsys, tmp_path):
    name = os.fsdecode(b"caf\xe9")
    (pairs / "images" / f"{name}.png").write_bytes((pairs / "images" / "s0.png").read_bytes())
    out = tmp_path / "out"
    assert check(capsys, pairs, "-o", out)[0] == 1
    problems = json.loads((out / "check.json").read_text("utf-8"))["problems"]
    assert f"images/{name}.png" in [file for problem in problems for file in problem["files"]]


def test_problems_have_codes(pairs, capsys):
    (pairs / "masks" / "s0.png").unlink()
    write(pairs / "images" / "s1.png", picture((9, 9)))
    codes = [one["code"] for one in json.loads(check(capsys, pairs, "--json")[1])["problems"]]
    assert codes == ["missing_mask", "size_mismatch", "no_lesion", "no_ggo"]
