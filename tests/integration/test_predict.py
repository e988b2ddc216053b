"""``ctmasknet predict`` end to end on a synthetic DICOM series, with small random networks."""

import contextlib
import dataclasses
import gzip
import json
import subprocess
import sys

import numpy as np
import pydicom
import pytest
import SimpleITK
from PIL import Image
from scipy import ndimage

from model_core.base.jobs import finish
from model_core.base.volume import LUNG_WINDOW
from model_core.cli.main import main
from model_core.export import Overlays, export_slices
from model_core.phantom import make_phantom, write_dicom
from model_core.read import load, scan

SLICES, SIZE = 6, 96


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("series")
    write_dicom(make_phantom(slices=SLICES, size=SIZE)[0], folder)
    return folder


@pytest.fixture(scope="module")
def weights(tiny_weights):
    return ["--weights", str(tiny_weights / "tiny.safetensors"), str(tiny_weights / "tiny-s.safetensors")]


def predict(path, output, *options):
    return main(["predict", str(path), "-o", str(output), "--device", "cpu", *options])


def test_writes_predictions_masks_and_pictures(series, weights, tmp_path):
    assert predict(series, tmp_path / "out", *weights, "--slices", "1:4", "--png") == 0
    document = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [row["index"] for row in document["slices"]] == [1, 2, 3]
    assert [card["name"] for card in document["weights"]] == ["tiny", "tiny-s"]
    # Anchors, input and N are not those of a paper.
    assert document["settings"]["published"] is document["scan"]["published"] is False
    assert document["settings"]["evidence_basis"] == document["scan"]["evidence_basis"] == "trained"
    assert set(document["scan"]["class_probabilities"]) == {"Control", "Other (non-COVID)", "COVID-19"}

    labels = SimpleITK.ReadImage(tmp_path / "out/lesions.nii.gz")
    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(series)))
    image = reader.Execute()
    assert labels.GetSize() == image.GetSize() == (SIZE, SIZE, SLICES)
    for index in [(0, 0, 0), (5, 9, 2), (SIZE - 1, 0, SLICES - 1)]:
        np.testing.assert_allclose(
            labels.TransformIndexToPhysicalPoint(index), image.TransformIndexToPhysicalPoint(index), atol=1e-3
        )
    positions = {round(row["position_mm"], 3) for row in document["slices"]}
    array = SimpleITK.GetArrayFromImage(labels)
    marked = {
        round(labels.TransformIndexToPhysicalPoint((0, 0, k))[2], 3) for k in range(SLICES) if array[k].any()
    }
    with_masks = {
        round(row["position_mm"], 3)
        for row in document["slices"]
        if any(d["mask_area_px"] for d in row["detections"])
    }
    assert marked == with_masks <= positions

    for row in document["slices"]:
        assert len(row["image_logits"]) == 3
        probabilities = 1 / (1 + np.exp(-np.array(row["image_logits"])))
        assert list(row["class_probabilities"].values()) == pytest.approx(probabilities.tolist())
        for found in row["detections"]:
            x1, y1, x2, y2 = found["box"]
            assert 0 <= x1 <= x2 <= SIZE
            assert 0 <= y1 <= y2 <= SIZE
            assert found["area_px"] == pytest.approx((x2 - x1) * (y2 - y1))
            assert found["score"] > 0.5
            assert found["label"] == "Lesion"
    pictures = sorted((tmp_path / "out").glob("*.png"))
    assert len(pictures) == 3
    with Image.open(pictures[0]) as picture:
        assert min(picture.size) >= SIZE


def test_slices_outside_the_lungs_give_no_class(weights, tmp_path):
    chest = make_phantom(slices=16, size=96)[0]
    voxels = chest.voxels.copy()
    # Four slices of soft tissue below the lungs.
    voxels[-4:] = np.where(voxels[8] > -400, np.clip(voxels[8], -100, 80), -1000)
    body = ndimage.binary_fill_holes(ndimage.binary_opening(voxels[8] > -400, iterations=2))
    voxels[-4:, body] = 40
    write_dicom(dataclasses.replace(chest, voxels=voxels), tmp_path / "in")
    assert predict(tmp_path / "in", tmp_path / "out", *weights) == 0
    document = json.loads((tmp_path / "out/predictions.json").read_text())
    assert [row["lung"] for row in document["slices"]][4:] == [True] * 8 + [False] * 4
    assert set(document["scan"]["slices_used"]).isdisjoint(range(12, 16))
    assert document["scan"]["lung_ml"] > 2000
    assert document["scan"]["lung_slices"] <= 12

    assert predict(tmp_path / "in", tmp_path / "below", *weights, "--slices", "12:16") == 0
    document = json.loads((tmp_path / "below/predictions.json").read_text())
    assert document["scan"]["verdict"] == "no_class"
    assert document["scan"]["class"] is document["scan"]["class_index"] is None
    assert all(row["class_probabilities"] for row in document["slices"]), "what the network said stays"


def test_pictures_have_the_names_and_slices_that_the_window_gives_them(series, weights, tmp_path):
    """Numbered from 1, as on screen; ``--slices`` and indices in the document count from 0."""
    assert (
        predict(series, tmp_path / "out", *weights, "--slices", "2:5", "--png", "--score-threshold", "1") == 0
    )
    (entry,) = finish(scan(series))[-1].series
    volume = finish(load(entry))[-1]
    plain = Overlays(masks=False, outlines=False, boxes=False)
    for _ in export_slices(
        tmp_path / "window", volume, range(SLICES), window=LUNG_WINDOW, overlays=plain, scale=2.0
    ):
        pass

    def centre(path):
        with Image.open(path) as picture:
            grey = np.asarray(picture.convert("L"), float)
        top, left = (grey.shape[0] - SIZE) // 2, (grey.shape[1] - SIZE) // 2
        return grey[top : top + SIZE, left : left + SIZE]

    document = json.loads((tmp_path / "out/predictions.json").read_text())
    names = [f"slice-{row['index'] + 1:04d}.png" for row in document["slices"]]
    assert names == ["slice-0003.png", "slice-0004.png", "slice-0005.png"]
    assert sorted(path.name for path in (tmp_path / "out").glob("*.png")) == names
    every = {path.name: centre(path) for path in (tmp_path / "window").iterdir()}
    assert len(every) == SLICES
    for name in names:
        picture = centre(tmp_path / "out" / name)
        assert min(every, key=lambda other: np.abs(every[other] - picture).mean()) == name


@pytest.mark.parametrize(
    "keyword",
    [
        "SeriesDescription",
        "StudyDescription",
        "ProtocolName",
        "ImageComments",
        "InstitutionName",
        "PatientID",
    ],
)
def test_a_name_in_free_text_of_the_header_or_in_file_names_is_in_no_export(
    series, weights, tmp_path, keyword
):
    folder = tmp_path / "ZORBLATT_QUENTIN_19500101"
    folder.mkdir()
    for number, path in enumerate(sorted(series.iterdir())):
        item = pydicom.dcmread(path)
        item.PatientName = "ZORBLATT^QUENTIN"
        item.WindowCenterWidthExplanation = "Zorblatt Q"
        setattr(item, keyword, "Thorax Zorblatt Q")
        if keyword == "ProtocolName":
            del item.SeriesDescription
        if number != 2:  # so that a problem names files
            item.save_as(folder / f"ZORBLATT_QUENTIN_{number:03}.dcm")
    out = tmp_path / "out"
    assert predict(folder, out, *weights, "--slices", "1:3", "--png") == 0
    document = json.loads((out / "predictions.json").read_text())
    assert document["series"]["title"] == "CT axial"
    assert any("between slice" in problem["text"] for problem in document["series"]["problems"])
    for path in out.iterdir():
        assert "zorblatt" not in path.name.lower()
        content = path.read_bytes()
        if path.suffix == ".gz":
            content += gzip.decompress(content)
        if path.suffix == ".png":
            with Image.open(path) as picture:
                content = repr(picture.info).encode()
        assert b"zorblatt" not in content.lower()
        assert b"quentin" not in content.lower()


def test_thresholds_act_on_their_own_group(series, weights, tmp_path):
    def run(name, *options):
        assert predict(series, tmp_path / name, *weights, "--slices", "2:3", *options) == 0
        return json.loads((tmp_path / name / "predictions.json").read_text())

    plain = run("a")
    scores = [found["score"] for found in plain["slices"][0]["detections"]]
    middle = (min(scores) + max(scores)) / 2
    shown = run("b", "--score-threshold", str(middle), "--nms-threshold", "0.1")
    joined = run("d", "--nms-threshold", "1", "--join")
    single = run("e", "--nms-threshold", "1", "--no-join")
    assert joined["settings"]["detections"]["join_touching"] is True
    assert 0 < len(joined["slices"][0]["detections"]) < len(single["slices"][0]["detections"])
    evidence = run("c", "--evidence-score", "0.6", "--evidence-nms", "0.1")
    assert 0 < len(shown["slices"][0]["detections"]) < len(scores)
    assert all(found["score"] > middle for found in shown["slices"][0]["detections"])
    assert shown["slices"][0]["image_logits"] == plain["slices"][0]["image_logits"]
    assert shown["settings"]["evidence_basis"] == "trained"
    assert evidence["slices"][0]["detections"] == plain["slices"][0]["detections"]
    assert evidence["slices"][0]["image_logits"] != plain["slices"][0]["image_logits"]
    assert evidence["settings"]["evidence_basis"] == evidence["scan"]["evidence_basis"] == "edited"


@pytest.mark.parametrize("text", ["4:9", "6:7"])
def test_slices_out_of_range_are_a_usage_error(series, weights, tmp_path, capsys, text):
    assert predict(series, tmp_path / "out", *weights, "--slices", text) == 2
    assert "slices 0 to 5" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options",
    [
        ["--slices", "3:3"],
        ["--slices", "abc"],
        ["--score-threshold", "7"],
        ["--nms-threshold", "x"],
        ["--what"],
    ],
)
def test_wrong_usage_ends_with_2(series, tmp_path, options):
    with pytest.raises(SystemExit) as leave:
        predict(series, tmp_path / "out", *options)
    assert leave.value.code == 2


@pytest.mark.parametrize("text", ["0,5", "0.5", "0\u066b5", "\u0660\u066b\u0665"])
def test_a_decimal_comma_is_a_decimal_point(series, weights, tmp_path, text):
    out = tmp_path / "out"
    assert predict(series, out, *weights, "--slices", "2:3", "--score-threshold", text) == 0
    document = json.loads((out / "predictions.json").read_text())
    assert document["settings"]["detections"]["score"] == 0.5


def test_a_file_in_place_of_the_folder_is_told(series, weights, tmp_path, capsys):
    (tmp_path / "out").write_text("mine")
    assert predict(series, tmp_path / "out", *weights, "--slices", "2:3") == 1
    assert "The folder 'out' cannot be made: a file has its name." in capsys.readouterr().err


def test_existing_results_are_not_replaced_unasked(series, weights, tmp_path, capsys):
    out = tmp_path / "out"
    out.mkdir()
    (out / "predictions.json").write_text("mine")
    assert predict(series, out, *weights) == 1
    assert "exist" in capsys.readouterr().err
    assert (out / "predictions.json").read_text() == "mine"
    assert predict(series, out, *weights, "--slices", "0:1", "--overwrite") == 0


def test_errors_are_one_line(weights, tmp_path, capsys):
    assert predict(tmp_path / "nowhere", tmp_path / "out", *weights) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    (tmp_path / "empty").mkdir()
    assert predict(tmp_path / "empty", tmp_path / "out", *weights) == 1
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_no_such_weights(series, tmp_path, capsys):
    assert predict(series, tmp_path / "out", "--weights", "nothing") == 1
    assert "nothing" in capsys.readouterr().err


def test_every_second_slice_of_a_series_that_does_not_fit(series, weights, tmp_path, capsys, monkeypatch):
    from model_core.read import memory

    whole = SLICES * SIZE * SIZE * 2
    monkeypatch.setattr(memory, "_RESERVE_BYTES", 0)
    monkeypatch.setattr(memory, "free_bytes", lambda: whole // 2)
    assert predict(series, tmp_path / "out", *weights) == 1
    assert capsys.readouterr().err.endswith("or open every 2nd slice. --every 2 does so.\n")
    assert predict(series, tmp_path / "out", *weights, "--every", "2", "--slices", "0:1") == 0
    found = json.loads((tmp_path / "out/predictions.json").read_text())["series"]
    assert found["size"] == [3, SIZE, SIZE]
    assert found["title"].endswith(", every 2nd slice")
    assert found["problems"][0]["text"] == "Only every 2nd slice is opened: 3 of 6."
    assert found["problems"][0]["code"] == "every_nth_slice"
    assert SimpleITK.ReadImage(tmp_path / "out/lesions.nii.gz").GetSize() == (SIZE, SIZE, 3)
    assert predict(series, tmp_path / "b", *weights, "--every", "6") == 2


def test_overwriting_leaves_no_picture_of_the_run_before(series, weights, tmp_path, capsys):
    out = tmp_path / "out"
    assert predict(series, out, *weights, "--slices", "0:4", "--png") == 0
    (out / "slice-notes.png").write_bytes(b"of the user")
    assert predict(series, out, *weights, "--slices", "0:1", "--png", "--overwrite") == 0
    assert sorted(path.name for path in out.glob("*.png")) == ["slice-0001.png", "slice-notes.png"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "slice-0003.png").write_bytes(b"of the user, no run was here")
    assert predict(series, other, *weights, "--slices", "0:1", "--png", "--overwrite") == 0
    assert (other / "slice-0003.png").is_file()
    (out / "lesions.nii.gz").unlink()
    (out / "lesions.nii.gz").mkdir()
    before = (out / "predictions.json").read_bytes()
    assert predict(series, out, *weights, "--slices", "1:2", "--overwrite") == 1
    assert "is a folder" in capsys.readouterr().err
    assert (out / "predictions.json").read_bytes() == before


def test_of_several_series_it_tells_which_is_taken(weights, tmp_path, capsys):
    volume, _ = make_phantom(slices=4, size=64)
    for name in ("first", "second"):
        folder = tmp_path / "case" / name
        folder.mkdir(parents=True)
        for index in range(2):
            grey = (volume.voxels[index].astype(float) + 1000) / 8
            Image.fromarray(np.clip(grey, 0, 255).astype(np.uint8)).save(folder / f"{name}_{index}.png")
    assert predict(tmp_path / "case", tmp_path / "out", *weights) == 0
    told = capsys.readouterr().err
    assert "of 2; others, for --series: " in told
    other = told.split("for --series: ")[1].split()[0]
    assert predict(tmp_path / "case", tmp_path / "again", *weights, "--series", other) == 0
    assert "for --series" not in capsys.readouterr().err


@pytest.mark.parametrize("device", ["cpu:abc", "cuda:99", "gpu"])
def test_devices_that_are_none(series, weights, tmp_path, capsys, device):
    assert main(["predict", str(series), "-o", str(tmp_path), *weights, "--device", device]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_output_that_nobody_reads_to_its_end_is_no_error(series):
    """As in ``ctmasknet info --json FOLDER | head -1``."""
    command = [sys.executable, "-m", "model_core.cli.main", "info", "--json", str(series)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.close()
        said = process.stderr.read()
        assert process.wait(60) == 1
    assert said == ""


def test_stored_values_are_told_and_give_the_lesions_of_hounsfield_units(weights, tmp_path, capsys):
    volume = make_phantom(slices=SLICES, size=SIZE)[0]
    hounsfield = volume.geometry.to_native(volume.voxels)
    found = {}
    for name, values in (("hu", hounsfield), ("stored", hounsfield.astype(np.int32) + 1024)):
        image = SimpleITK.GetImageFromArray(np.ascontiguousarray(values))
        image.SetSpacing((0.7, 0.7, 5.0))
        SimpleITK.WriteImage(image, tmp_path / f"{name}.nii.gz")
        assert predict(tmp_path / f"{name}.nii.gz", tmp_path / name, *weights) == 0
        err = capsys.readouterr().err
        assert ("their distribution is that of HU + 1024" in err) == (name == "stored")
        found[name] = json.loads((tmp_path / name / "predictions.json").read_text())
    assert found["stored"]["slices"] == found["hu"]["slices"]
    assert found["stored"]["series"]["unit"] == "HU"
    assert found["hu"]["series"]["problems"] == []
    (problem,) = found["stored"]["series"]["problems"]
    assert problem["level"] == "warning"
    assert "1024 is subtracted" in problem["action"]


def test_a_page_on_the_scan(series, weights, tmp_path):
    assert predict(series, tmp_path, *weights, "--slices", "1:4", "--report", "--figure", "3", "2") == 0
    html = (tmp_path / "report.html").read_text()
    assert f"Scan of {SLICES} slices" in html
    assert f"3 of {SLICES}" in html
    document = json.loads((tmp_path / "predictions.json").read_text())
    assert document["lesions"], "random networks mark something"
    listed = sum(lesion["pixels"] for lesion in document["lesions"])
    marked = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(tmp_path / "lesions.nii.gz")) > 0
    assert listed == pytest.approx(np.count_nonzero(marked), abs=200)
    assert set(document["lung_shares"] or {"right": 0, "left": 0}) == {"right", "left"}
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    assert b"/FontFile2" in (tmp_path / "figure.pdf").read_bytes()
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.size[0] == pytest.approx(178 / 25.4 * 300, abs=2)
    assert predict(series, tmp_path, *weights, "--slices", "1:4", "--overwrite") == 0
    assert not [*tmp_path.glob("report.*"), *tmp_path.glob("figure.*")], "they were of another run"


@pytest.mark.parametrize(
    ("numbers", "said"), [("1", "only slices 2 to 4"), ("5", "only slices 2 to 4"), ("0", "0")]
)
def test_a_figure_is_of_slices_that_are_analysed(series, weights, tmp_path, capsys, numbers, said):
    with contextlib.suppress(SystemExit):
        assert predict(series, tmp_path / "out", *weights, "--slices", "1:4", "--figure", numbers) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
