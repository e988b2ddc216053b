"""`ctmasknet evaluate segmentation` on phantom slices: a complete report, or one clear error and nothing."""

import csv
import json
import shutil
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from model_core.cli.main import main
from model_core.evaluation import coco
from model_core.inference import load_pipeline

KEYS = {
    "paper_map",
    "paper_ap50",
    "paper_ap75",
    "paper_map_lesion_images",
    "coco_map",
    "dice",
    "images",
    "negative_images",
    "false_positives_per_image",
    "settings",
}


@pytest.fixture
def evaluate(tiny_weights, tmp_path):
    def run(data, *options, out="report"):
        weights = str(tiny_weights / "tiny.safetensors")
        command = ["evaluate", "segmentation", "--data", str(data), "-o", str(tmp_path / out)]
        return main([*command, "--weights", weights, "--device", "cpu", *options]), tmp_path / out

    return run


def folders_beside(out):
    return sorted(path.name for path in out.parent.iterdir() if path.name.startswith((".", out.name)))


def test_a_complete_report(evaluate, pairs_folder):
    code, out = evaluate(pairs_folder, "--score-threshold", "0.4")
    assert code == 0
    report = json.loads((out / "report.json").read_text())
    assert set(report) == KEYS
    assert (report["images"], report["negative_images"]) == (5, 1)
    assert report["settings"]["score_threshold"] == 0.4
    assert report["settings"]["nms_threshold"] == 0.3  # the card's
    assert report["settings"]["mask_type"] == "merge"
    assert 0 <= report["dice"] <= 1
    assert folders_beside(out) == [out.name]

    page = (out / "report.html").read_text()
    assert "not a medical device" in page
    assert 'src="data:image/png' in page
    assert 'src="figures' not in page
    text = (out / "report.md").read_text()
    for name in ("worst", "score_sweep", "calibration"):
        assert f"(figures/{name}.png)" in text
        with Image.open(out / "figures" / f"{name}.png") as picture:
            assert picture.width > 300
    with (out / "slices.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 5
    dice = [float(row["dice"]) for row in rows if row["dice"]]
    assert len(dice) == 4
    assert np.mean(dice) == pytest.approx(report["dice"], abs=1e-4)
    details = json.loads((out / "details.json").read_text())
    assert set(details["by_patient"]) == {"p0", "p1"}
    assert set(details["by_source"]) == {"s0", "s1"}
    sweep = details["score_sweep"]
    at = sweep["score_threshold"].index(0.4)
    assert sweep["paper_map"][at] == pytest.approx(report["paper_map"], abs=1e-6)
    assert sweep["dice"][at] == pytest.approx(report["dice"], abs=1e-6)
    assert sweep["false_positives_per_image"][at] == pytest.approx(report["false_positives_per_image"])


def test_nothing_detected_is_right_on_the_slice_without_lesion_only(evaluate, pairs_folder):
    code, out = evaluate(pairs_folder, "--score-threshold", "1.0")
    report = json.loads((out / "report.json").read_text())
    assert code == 0
    assert report["paper_map"] == pytest.approx(1 / 5)
    assert report["paper_map_lesion_images"] == 0.0
    assert report["dice"] == 0.0
    assert report["false_positives_per_image"] == 0.0


def test_detections_that_are_the_reference_score_one(pairs_folder, tiny_weights, phantom):
    # Through the comparison that the command uses, with detections made from the reference itself.
    from model_core.config import DetectionSettings
    from model_core.datasets import instances, read_pairs
    from model_core.evaluation.segmentation import SegmentationSettings, compare
    from model_core.evaluation.segmentation_summary import coco_ap, headline
    from model_core.types import Detections

    settings = SegmentationSettings(mask_type="merge", detections=DetectionSettings(score=0.5))
    outcomes = []
    for item in read_pairs(pairs_folder):
        masks, labels = instances(item.mask(), "merge", 0)
        boxes = np.zeros((len(masks), 4), np.float32)
        for box, mask in zip(boxes, masks, strict=True):
            rows, columns = np.nonzero(mask)
            box[:] = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
        found = Detections(
            indices=np.arange(len(masks)),
            boxes=boxes,
            scores=np.linspace(0.9, 0.8, len(masks)).astype(np.float32),
            labels=labels,
            mask_logits=np.full((len(masks), 28, 28), 5.0, np.float32),
            settings=settings.candidates,
        )
        outcomes.append(compare(found, item.mask(), settings, item=item))
    report = headline(outcomes, coco_ap(outcomes, classes=1))
    # Whole boxes instead of outlines: every lesion is found, and its box holds more than the lesion.
    assert report["paper_map"] > 0.2
    assert report["dice"] > 0.6
    assert report["coco_map"] > 0
    assert all((o.found() >= 0).mean() > 0.5 for o in outcomes if o.references)


def test_an_earlier_report_is_kept_unless_overwritten(evaluate, pairs_folder, capsys):
    assert evaluate(pairs_folder)[0] == 0
    code, out = evaluate(pairs_folder)
    assert code == 1
    assert "--overwrite" in capsys.readouterr().err
    (out / "notes.txt").write_text("mine")
    assert evaluate(pairs_folder, "--overwrite", "--score-threshold", "0.9")[0] == 0
    assert json.loads((out / "report.json").read_text())["settings"]["score_threshold"] == 0.9
    assert (out / "notes.txt").read_text() == "mine"
    assert folders_beside(out) == [out.name]


def test_a_folder_of_other_things_is_never_overwritten(evaluate, pairs_folder, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "thesis.txt").write_text("years of work")
    code, out = evaluate(pairs_folder, "--overwrite")
    assert code == 1
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


def _unknown_value(folder):
    path = folder / "masks" / "slice_010.png"
    mask = np.array(Image.open(path))
    mask[0, 0] = 7
    Image.fromarray(mask).save(path)


def _other_size(folder):
    Image.fromarray(np.zeros((100, 128), np.uint8)).save(folder / "masks" / "slice_010.png")


def _missing_pair(folder):
    (folder / "masks" / "slice_010.png").unlink()


def _empty(folder):
    for kind in ("images", "masks"):
        shutil.rmtree(folder / kind)
        (folder / kind).mkdir()


def _damaged(folder):
    path = folder / "images" / "slice_010.png"
    path.write_bytes(path.read_bytes()[:200])


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_unknown_value, ("7", "slice_010")),
        (_other_size, ("slice_010", "128 x 128", "128 x 100")),
        (_missing_pair, ("slice_010", "mask")),
        (_empty, ("images",)),
        (_damaged, ("slice_010",)),
        (shutil.rmtree, ("pairs",)),
    ],
)
def test_bad_data_is_one_clear_error_and_nothing_written(evaluate, pairs_folder, capsys, spoil, words):
    spoil(pairs_folder)
    code, out = evaluate(pairs_folder)
    error = capsys.readouterr().err.strip()
    assert code == 1
    assert len(error.splitlines()) == 1
    for word in words:
        assert word in error
    assert folders_beside(out) == []


def test_classes_apart_need_weights_with_two_classes(evaluate, pairs_folder, capsys):
    code, out = evaluate(pairs_folder, "--mask-type", "both")
    assert code == 1
    assert "merge" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    "options",
    [("--score-threshold", "2"), ("--mask-type", "all"), ("--min-area", "-3"), ("--nms-threshold", "x")],
)
def test_wrong_usage_exits_with_two(evaluate, pairs_folder, options):
    with pytest.raises(SystemExit) as exit_info:
        evaluate(pairs_folder, *options)
    assert exit_info.value.code == 2


def test_an_unknown_scheme_of_mask_values(evaluate, pairs_folder, capsys):
    code, out = evaluate(pairs_folder, "--mask-values", "5=bone")
    assert code == 1
    assert "5=bone" in capsys.readouterr().err
    assert not out.exists()


def test_without_pycocotools_the_rest_is_still_measured(evaluate, pairs_folder, monkeypatch, caplog):
    monkeypatch.setattr(coco, "available", lambda: False)
    code, out = evaluate(pairs_folder)
    report = json.loads((out / "report.json").read_text())
    assert code == 0
    assert report["coco_map"] is None
    assert "ctmasknet[evaluate]" in report["settings"]["coco_ap"]
    assert "pycocotools" in caplog.text


def test_the_page_is_well_formed(evaluate, pairs_folder):
    (pairs_folder / "images" / "slice_010.png").rename(pairs_folder / "images" / "a&b_<c>.png")
    (pairs_folder / "masks" / "slice_010.png").rename(pairs_folder / "masks" / "a&b_<c>.png")
    _, out = evaluate(pairs_folder)
    page = (out / "report.html").read_text()
    body = page[page.index("<body>") : page.index("</html>")]
    for tag in ("img alt", "meta"):
        body = body.replace(f"<{tag}", "<x alt" if tag == "img alt" else f"<{tag}")
    ET.fromstring(body.replace("png;base64,", "").replace('"><figcaption', '"/><figcaption'))
    assert "a&amp;b_&lt;c&gt;" in page


def test_two_class_weights_measure_classes_apart(tmp_path, pairs_folder):
    import torch

    from model_core.config import Architecture, InputSpec
    from model_core.networks import build
    from model_core.weights.card import ModelCard
    from model_core.weights.store import save_weights

    torch.manual_seed(1)
    architecture = Architecture(
        kind="segmentation", truncation=2, region_classes=3, anchor_sizes=(8, 16), aspect_ratios=(1.0,)
    )
    card = ModelCard(
        name="two",
        title="Two classes",
        architecture=architecture,
        region_classes=("GGO", "Consolidation"),
        input=InputSpec(size=128),
    )
    path = tmp_path / "two.safetensors"
    save_weights(path, build(architecture).state_dict(), card)
    assert load_pipeline([str(path)], device="cpu").region_classes == ("GGO", "Consolidation")
    for mask_type, classes in (("both", {"GGO", "Consolidation"}), ("ggo", {"GGO"}), ("merge", {"Lesion"})):
        out = tmp_path / mask_type
        command = ["evaluate", "segmentation", "--data", str(pairs_folder), "-o", str(out)]
        options = ["--weights", str(path), "--device", "cpu", "--score-threshold", "0.3"]
        asked = [] if mask_type == "both" else ["--mask-type", mask_type]
        assert main([*command, *options, *asked]) == 0
        assert json.loads((out / "report.json").read_text())["settings"]["mask_type"] == mask_type
        assert set(json.loads((out / "details.json").read_text())["pixels"]) == classes | {"merged"}
