"""`ctmasknet evaluate segmentation` on phantom slices: a complete report, or one clear error and nothing."""

import csv
import dataclasses
import json
import re
import shutil
import sys
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model_core.base.jobs import finish
from model_core.base.results import Detections
from model_core.base.settings import Architecture, DetectionSettings
from model_core.cli.main import main
from model_core.data import LabelledSlice, read_segmentation
from model_core.engine import run
from model_core.engine.load import load_pipeline
from model_core.explain import show
from model_core.measure import coco, segmentation, thresholds
from model_core.measure.segmentation import (
    SWEEP,
    SegmentationSettings,
    compare,
    default_mask_type,
    evaluate_slices,
)
from model_core.measure.segmentation_report import settings_document, write_segmentation_report
from model_core.measure.segmentation_summary import (
    coco_ap,
    details,
    headline,
    reason,
    scored_hits,
    sweep,
    worst,
)
from model_core.measure.slices import one_slice_volume
from model_core.weights.card import ModelCard

sys.path.insert(0, str(Path(__file__).parent))
from phantom_pairs import write_pairs

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


def command(weights, data, out, *options):
    fixed = ["--weights", str(weights), "--device", "cpu", "--data", str(data), "-o", str(out)]
    return main(["evaluate", "segmentation", *fixed, *options])


@pytest.fixture
def evaluate(tiny_weights, tmp_path):
    def run(data, *options):
        out = tmp_path / "report"
        return command(tiny_weights / "tiny.safetensors", data, out, *options), out

    return run


@pytest.fixture(scope="module")
def complete(tiny_weights, tmp_path_factory, phantom):
    """A report, made once for the tests that only read it."""
    folder = tmp_path_factory.mktemp("complete")
    data, out = write_pairs(folder / "data", phantom), folder / "report"
    for kind in ("images", "masks"):
        (data / kind / "slice_011.png").rename(data / kind / "a&b_<c>$^$.png")
    index = data / "index.tsv"
    index.write_text(index.read_text().replace("slice_011.png", "a&b_<c>$^$.png"))
    assert command(tiny_weights / "tiny.safetensors", data, out, "--score-threshold", "0.4") == 0
    return out


def folders_beside(out):
    return sorted(path.name for path in out.parent.iterdir() if path.name.startswith((".", out.name)))


def test_report_json(complete):
    report = json.loads((complete / "report.json").read_text())
    assert set(report) == KEYS
    assert (report["images"], report["negative_images"]) == (3, 1)
    assert report["settings"]["score_threshold"] == 0.4
    assert report["settings"]["nms_threshold"] == 0.3  # the card's
    assert report["settings"]["mask_type"] == "merge"
    assert 0 <= report["dice"] <= 1
    assert folders_beside(complete) == ["report"]


def test_report_for_a_colleague(complete):
    text = (complete / "report.md").read_text()
    for name in ("worst", "score_sweep", "calibration"):
        assert f"(figures/{name}.png)" in text
        with Image.open(complete / "figures" / f"{name}.png") as picture:
            assert picture.width > 300
    page = (complete / "report.html").read_text()
    assert "not a medical device" in page
    assert "a&amp;b_&lt;c&gt;" in page
    links = re.findall(r'(?:src|href)="([^"]{0,30})', page)
    assert links
    assert all(link.startswith("data:image/png;base64,") for link in links)
    body = re.sub(r"<img[^>]*>", "", page[page.index("<body>") : page.index("</html>")])
    ET.fromstring(body)


def test_tables_and_curves_agree_with_the_report(complete):
    report = json.loads((complete / "report.json").read_text())
    with (complete / "slices.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == 3
    dice = [float(row["dice"]) for row in rows if row["dice"]]
    assert len(dice) == 2
    assert np.mean(dice) == pytest.approx(report["dice"], abs=1e-4)
    details = json.loads((complete / "details.json").read_text())
    assert set(details["by_patient"]) == {"p0", "p1"}
    assert set(details["by_source"]) == {"s0", "s1"}
    lesions = details["lesions"]["Lesion"]
    assert lesions["detections"] == sum(int(row["detections"]) for row in rows)
    assert lesions["lesions"] == sum(int(row["references"]) for row in rows)
    mean = np.mean([row["dice"] for row in details["by_source"].values() if row["dice"] is not None])
    assert details["mean_over_sources"]["dice"] == pytest.approx(mean)
    sweep = details["score_sweep"]
    at = sweep["score_threshold"].index(0.4)
    assert sweep["paper_map"][at] == pytest.approx(report["paper_map"], abs=1e-6)
    assert sweep["dice"][at] == pytest.approx(report["dice"], abs=1e-6)
    assert sweep["false_positives_per_image"][at] == pytest.approx(report["false_positives_per_image"])


def test_an_earlier_report_is_kept_unless_overwritten(evaluate, complete, pairs_folder, capsys, tmp_path):
    shutil.copytree(complete, tmp_path / "report")
    code, out = evaluate(pairs_folder)
    assert code == 1
    assert "--overwrite" in capsys.readouterr().err
    (out / "notes.txt").write_text("mine")
    assert evaluate(pairs_folder, "--overwrite", "--score-threshold", "1.0")[0] == 0
    report = json.loads((out / "report.json").read_text())
    assert report["settings"]["score_threshold"] == 1.0
    assert (out / "notes.txt").read_text() == "mine"
    assert folders_beside(out) == [out.name]
    assert "dice 0.000" in capsys.readouterr().out
    # Nothing passes a threshold of 1, which is right on the slice without lesion only.
    assert report["paper_map"] == pytest.approx(1 / 3)
    assert report["paper_map_lesion_images"] == 0.0
    assert report["dice"] == 0.0
    assert report["false_positives_per_image"] == 0.0


def test_a_folder_of_other_things_is_never_overwritten(evaluate, pairs_folder, tmp_path):
    (tmp_path / "report").mkdir()
    (tmp_path / "report" / "thesis.txt").write_text("years of work")
    code, out = evaluate(pairs_folder, "--overwrite")
    assert code == 1
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]


# Half of the logit that the detections below have inside, so that their masks end where their boxes do.
SHARP = DetectionSettings(score=0.5, mask_threshold=2.5)


@dataclass(frozen=True)
class Drawn:
    """A slice whose mask is given."""

    pixels: np.ndarray
    name: str = "drawn"
    patient: str = "p"

    def image_hu(self):
        return np.zeros(self.pixels.shape, np.float32)

    def mask(self):
        return self.pixels


def detections(boxes, scores, labels, settings):
    """Detections whose masks fill their boxes."""
    return Detections(
        indices=np.arange(len(boxes)),
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.array(scores, np.float32),
        labels=np.array(labels, np.int64),
        mask_boxes=np.array(boxes, np.float32).reshape(-1, 4),
        mask_logits=np.full((len(boxes), 28, 28), 5.0, np.float32),
        settings=settings.candidates,
    )


def test_metrics_of_known_detections():
    settings = SegmentationSettings(mask_type="both", detections=SHARP)
    mask = np.zeros((128, 128), np.uint8)
    mask[10:70, 10:70] = 1
    mask[80:120, 80:120] = 2
    mask[5, 5:105] = 2  # exactly 100 px: no reference for AP, but lesion pixels
    boxes = [(10, 10, 70, 70), (80, 80, 120, 120), (0, 100, 30, 120)]
    found = compare(detections(boxes, [0.9, 0.8, 0.3], [1, 2, 1], settings), mask, settings, item=Drawn(mask))
    assert (found.references, len(found.reported), found.false_positives) == (2, 2, 0)
    assert found.ap[:8].tolist() == [1.0] * 8
    assert found.pixels.reference == 60 * 60 + 40 * 40 + 100
    assert found.pixels.precision > 0.9
    assert found.class_pixels[0].dice > 0.95
    assert found.class_pixels[1].recall == pytest.approx(1600 / 1700, abs=0.05)
    assert np.count_nonzero(found.predicted) == found.pixels.predicted
    swapped = compare(
        detections(boxes, [0.9, 0.8, 0.7], [2, 1, 1], settings), mask, settings, item=Drawn(mask)
    )
    assert swapped.ap.tolist() == [0.0] * 10
    assert swapped.false_positives == 3
    assert swapped.pixels.recall > 0.9
    clean = np.zeros_like(mask)
    none = compare(detections([], [], [], settings), clean, settings, item=Drawn(clean))
    false = compare(detections(boxes[:1], [0.9], [1], settings), clean, settings, item=Drawn(clean))
    assert (none.ap.mean(), false.ap.mean()) == (1.0, 0.0)
    outcomes = [found, swapped, none, false]
    report = headline(outcomes, coco_ap(outcomes, classes=2))
    assert report["images"] == 4
    assert report["negative_images"] == 2
    assert report["false_positives_per_image"] == (0 + 3 + 0 + 1) / 4
    assert report["paper_ap50"] == pytest.approx((1 + 0 + 1 + 0) / 4)
    assert report["dice"] == pytest.approx((found.pixels.dice + swapped.pixels.dice) / 2)
    assert reason(worst(outcomes)[0]).startswith("1 false detection ")
    assert none not in worst(outcomes)


def test_halves_of_a_lesion_are_one_where_touching_detections_are_joined():
    mask = np.zeros((128, 128), np.uint8)
    mask[10:70, 10:70] = 1
    halves, scores = [(10, 10, 70, 40), (10, 40, 70, 70)], [0.9, 0.6]
    outcomes = []
    for join in (False, True):
        shown = dataclasses.replace(SHARP, join_touching=join)
        settings = SegmentationSettings(mask_type="merge", detections=shown)
        outcomes.append(
            compare(detections(halves, scores, [1, 1], settings), mask, settings, item=Drawn(mask))
        )
    single, joined = outcomes
    assert (len(single.reported), single.found, single.false_positives) == (2, 0, 2)
    assert (len(joined.reported), joined.found, joined.false_positives) == (1, 1, 0)
    assert (single.ap[0], joined.ap[0]) == (0.0, 1.0)
    assert joined.reported.scores.tolist() == pytest.approx([0.9])
    assert single.pixels == joined.pixels
    # Calibration and COCO's AP are of single detections.
    assert len(joined.candidates) == 2
    assert joined.candidates.scores.tolist() == single.candidates.scores.tolist()
    if joined.coco is not None:
        assert len(joined.coco.predicted) == 2
    # Two detections of one whole lesion: both are right where they are joined, one where each counts.
    twice = [(10, 10, 70, 70), (12, 10, 70, 70)]
    for join, right in ((False, [False, True]), (True, [True, True])):
        shown = dataclasses.replace(SHARP, join_touching=join)
        settings = SegmentationSettings(mask_type="merge", detections=shown)
        one = compare(detections(twice, scores, [1, 1], settings), mask, settings, item=Drawn(mask))
        assert sorted(scored_hits([one.sweep])[1].tolist()) == right
    # Between the two scores one half alone is left.
    for threshold, found, false in ((0.3, 1, 0), (0.75, 0, 1), (0.95, 0, 0)):
        at, points = int(np.flatnonzero(threshold == SWEEP)[0]), joined.sweep
        assert (points.found[at], points.detections[at] - points.right[at]) == (found, false)
    assert sweep([joined])["sensitivity"][0] == 1.0


@pytest.mark.parametrize("join", [False, True])
def test_what_is_measured_is_what_the_app_shows(tiny_weights, pairs_folder, join):
    pipeline = load_pipeline([str(tiny_weights / "tiny.safetensors")], device="cpu")
    shown_settings = dataclasses.replace(pipeline.detections, score=0.4, join_touching=join)
    settings = SegmentationSettings(mask_type="merge", detections=shown_settings)
    item = next(i for i in read_segmentation(pairs_folder) if i.name == "slice_010")
    (outcome,) = finish(evaluate_slices(pipeline, [item], settings))
    volume = one_slice_volume(item.image_hu(), name=item.name)
    (result,) = finish(run(pipeline, volume, [0]))
    shown = show(pipeline, volume, result, shown_settings, pipeline.evidence)
    assert len(outcome.reported) == len(shown.detections) > 0
    np.testing.assert_allclose(outcome.reported.scores, shown.detections.scores, rtol=1e-6)
    np.testing.assert_array_equal(outcome.predicted, shown.masks.any(axis=0))


def test_thresholds_are_chosen_on_one_look_and_what_a_report_measures(
    tiny_weights, pairs_folder, monkeypatch
):
    @dataclasses.dataclass(frozen=True)
    class Sourced(LabelledSlice):
        source: str = "S"

    pipeline = load_pipeline([str(tiny_weights / "tiny.safetensors")], device="cpu")
    slices = [Sourced(**vars(item)) for item in read_segmentation(pairs_folder) if item.name >= "slice_009"][
        :3
    ]
    looks = []

    def spy(*arguments):
        looks.append(arguments)
        return run(*arguments)

    monkeypatch.setattr(segmentation, "run", spy)
    found = finish(thresholds.measure(pipeline, slices))
    assert len(looks) == len(slices) > 1
    assert len(found) == len(slices) * len(thresholds.NMS_IOUS) * len(thresholds.MASK_LOGITS)
    assert {one.source for _, one in found} == {"S"}
    shown = DetectionSettings(
        score=0.5, nms_iou=0.5, max_detections=60, mask_threshold=-0.5, join_touching=True
    )
    settings = SegmentationSettings(mask_type="merge", detections=shown)
    reported = finish(evaluate_slices(pipeline, slices, settings))
    at = int(np.flatnonzero(SWEEP == 0.5)[0])
    mine = [one for setting, one in found if setting == (0.5, -0.5)]
    assert any(len(outcome.reported) for outcome in reported)
    for one, outcome in zip(mine, reported, strict=True):
        assert one.name == outcome.name
        np.testing.assert_array_equal(one.ap[at], outcome.ap)
        assert one.detections[at] == len(outcome.reported)
        assert (one.predicted[at], one.shared[at]) == (outcome.pixels.predicted, outcome.pixels.shared)
        np.testing.assert_array_equal(one.ap, outcome.sweep.ap)
        np.testing.assert_array_equal(one.hits, outcome.sweep.hits)


def test_small_lesions_alone_are_a_lesion_image_without_reference():
    settings = SegmentationSettings(mask_type="merge", detections=SHARP)
    mask = np.zeros((64, 64), np.uint8)
    mask[:10, :10] = 1
    outcome = compare(detections([], [], [], settings), mask, settings, item=Drawn(mask))
    assert outcome.has_lesion
    assert outcome.references == 0
    report = headline([outcome], None)
    assert (report["paper_map"], report["dice"], report["negative_images"]) == (1.0, 0.0, 0)
    assert report["coco_map"] is None
    # Without a reference that counts, AP says nothing about lesions.
    assert report["paper_map_lesion_images"] is None
    assert reason(outcome) == "lesions too small for AP missed"
    large = np.zeros((64, 64), np.uint8)
    large[:30, :30] = 1
    missed = compare(detections([], [], [], settings), large, settings, item=Drawn(large))
    assert reason(missed) == "lesion missed: nothing detected"
    report = headline([outcome, missed], None)
    assert (report["paper_map"], report["paper_map_lesion_images"]) == (0.5, 0.0)
    more = details([outcome, missed], ["Lesion"], pooled=None)
    assert more["intervals"]["paper_map_lesion_images"]["value"] == 0.0
    assert sweep([outcome, missed])["paper_map_lesion_images"][0] == 0.0


def test_ggo_alone_ignores_consolidation():
    settings = SegmentationSettings(mask_type="ggo", detections=SHARP)
    mask = np.zeros((64, 64), np.uint8)
    mask[10:30, 10:30], mask[40:60, 40:60] = 1, 2
    outcome = compare(detections([(10, 10, 30, 30)], [0.9], [1], settings), mask, settings, item=Drawn(mask))
    assert (outcome.references, outcome.pixels.reference) == (1, 400)
    assert outcome.pixels.dice > 0.9


def test_a_data_set_without_any_lesion_still_gives_a_report(tmp_path):
    settings = SegmentationSettings(mask_type="merge", detections=SHARP)
    items = [Drawn(np.zeros((40, 40), np.uint8), name=f"s{k}", patient=f"p{k}") for k in range(2)]
    outcomes = [compare(detections([], [], [], settings), i.mask(), settings, item=i) for i in items]
    card = ModelCard(
        name="none", title="None", architecture=Architecture(kind="segmentation"), region_classes=("Lesion",)
    )
    about = settings_document(settings, (card,), data="clean", mask_values="shared", device="cpu")
    out = tmp_path / "report"
    report = write_segmentation_report(out, outcomes, items, settings=settings, cards=(card,), about=about)
    assert set(report) == KEYS == set(json.loads((out / "report.json").read_text()))
    assert (report["paper_map"], report["dice"], report["coco_map"]) == (1.0, None, None)
    assert report["paper_map_lesion_images"] is None
    assert "NaN" not in (out / "details.json").read_text()
    assert "nan" not in (out / "report.md").read_text()


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


def test_mask_type_follows_the_weights():
    assert default_mask_type(("Lesion",)) == "merge"
    assert default_mask_type(("GGO", "Consolidation")) == "both"
    assert default_mask_type(("GGO",)) == "ggo"


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


def test_two_class_weights_on_one_slice_without_pycocotools(tmp_path, pairs_folder, monkeypatch, caplog):
    import torch

    from model_core.base.settings import InputSpec
    from model_core.networks import build
    from model_core.weights.store import save_weights

    for kind in ("images", "masks"):
        for name in ("slice_005.png", "slice_011.png"):
            (pairs_folder / kind / name).unlink()
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
        detections=DetectionSettings(score=0.3),
    )
    path = tmp_path / "two.safetensors"
    save_weights(path, build(architecture).state_dict(), card)
    monkeypatch.setattr(coco, "available", lambda: False)
    out = tmp_path / "both"
    assert command(path, pairs_folder, out) == 0
    report = json.loads((out / "report.json").read_text())
    assert report["settings"]["mask_type"] == "both"
    assert report["coco_map"] is None
    assert "ctmasknet[evaluate]" in report["settings"]["coco_ap"]
    assert "pycocotools" in caplog.text
    details = json.loads((out / "details.json").read_text())
    assert set(details["pixels"]) == {"merged", "GGO", "Consolidation"}
    assert details["intervals"]["dice"]["low"] is None  # one patient: no interval
