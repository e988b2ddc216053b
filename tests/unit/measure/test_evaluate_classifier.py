"""`ctmasknet evaluate classifier` on phantom slices, and the papers' class metrics."""

import dataclasses
import json

import numpy as np
import pytest

from model_core.base.errors import DataError, SettingsError
from model_core.cli.main import main
from model_core.data import read_classes
from model_core.measure import classification as metrics
from model_core.measure.classifier import logit_of_label
from model_core.measure.classifier_report import headline

KEYS = {"accuracy", "balanced_accuracy", "f1", "sensitivity", "ppv", "confusion", "images", "settings"}

# Rows true, columns predicted: Control, Common Pneumonia, COVID-19; the papers' own matrices.
PUBLISHED = [
    ([[9322, 123, 5], [174, 7139, 82], [27, 277, 4042]], (98.65, 96.54, 93.01), 96.75, 96.76),
    ([[9236, 188, 26], [116, 7150, 129], [20, 298, 4028]], (97.74, 96.69, 92.68), 96.33, 96.35),
    ([[9158, 278, 14], [204, 7030, 161], [15, 251, 4080]], (96.91, 95.06, 93.88), 95.64, 95.66),
]


@pytest.mark.parametrize(("matrix", "sensitivity", "accuracy", "f1"), PUBLISHED)
def test_published_confusion_matrices(matrix, sensitivity, accuracy, f1):
    counts = np.array(matrix)
    np.testing.assert_allclose(100 * metrics.sensitivity(counts), sensitivity, atol=0.006)
    assert 100 * metrics.accuracy(counts) == pytest.approx(accuracy, abs=0.006)
    assert 100 * metrics.f1(counts, metrics.PAPER_F1_WEIGHTS) == pytest.approx(f1, abs=0.006)
    assert metrics.f1(counts) != metrics.f1(counts, metrics.PAPER_F1_WEIGHTS)
    report = headline(counts, ("Control", "Common Pneumonia", "COVID-19"))
    assert 100 * report["f1"] == pytest.approx(f1, abs=0.006)
    assert report["confusion"] == matrix


def test_published_predictive_values():
    found = 100 * metrics.positive_predictive_value(np.array(PUBLISHED[0][0]))
    np.testing.assert_allclose(found, (97.89, 94.69, 97.89), atol=0.006)


def test_classes_that_never_occur_count_zero_but_do_not_lower_the_balanced_accuracy():
    matrix = metrics.confusion_matrix([0, 0, 2, 2], [0, 2, 2, 2], classes=3)
    assert matrix.tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 2]]
    assert metrics.sensitivity(matrix).tolist() == [0.5, 0.0, 1.0]
    assert metrics.positive_predictive_value(matrix).tolist() == [1.0, 0.0, pytest.approx(2 / 3)]
    assert metrics.balanced_accuracy(matrix) == 0.75
    with pytest.raises(SettingsError):
        metrics.confusion_matrix([3], [0], classes=3)
    with pytest.raises(SettingsError):
        metrics.f1(matrix, (0.5, 0.5))


def test_auc_by_hand():
    assert metrics.auc([0.1, 0.4, 0.35, 0.8], [False, False, True, True]) == 0.75
    assert metrics.auc([0.5, 0.5], [False, True]) == 0.5
    assert np.isnan(metrics.auc([0.5, 0.6], [True, True]))


@pytest.fixture
def evaluate(tiny_weights, tmp_path):
    def run(data, *options, weights="tiny-s"):
        out = tmp_path / "report"
        command = ["evaluate", "classifier", "--data", str(data), "-o", str(out), "--device", "cpu"]
        return main([*command, "--weights", str(tiny_weights / f"{weights}.safetensors"), *options]), out

    return run


def test_a_complete_report(evaluate, class_folder):
    code, out = evaluate(class_folder, "--roi-sample", "1")
    assert code == 0
    report = json.loads((out / "report.json").read_text())
    assert set(report) == KEYS
    assert report["images"] == 4
    assert np.array(report["confusion"]).sum(axis=1).tolist() == [1, 1, 2]
    assert set(report["sensitivity"]) == {"Control", "Other (non-COVID)", "COVID-19"}
    details = json.loads((out / "details.json").read_text())
    assert details["by_source"]["phantom"]["images"] == 4
    rois = json.loads((out / "rois.json").read_text())
    assert rois["slices"] == {"Control": 1, "Other (non-COVID)": 1, "COVID-19": 1}
    assert [t["first"] for t in rois["above"]["0.2"]["ks_tests"]] == [
        "COVID-19",
        "COVID-19",
        "Other (non-COVID)",
    ]
    assert (out / "figures" / "roi_counts.png").stat().st_size > 1000
    assert "not a medical device" in (out / "report.html").read_text()
    assert len((out / "slices.csv").read_text().splitlines()) == 5
    assert len((out / "rois.csv").read_text().splitlines()) == 4


def test_weights_without_a_class(evaluate, class_folder, capsys):
    code, out = evaluate(class_folder, weights="tiny")
    assert code == 1
    assert "no image class" in capsys.readouterr().err
    assert not out.exists()


def test_folders_without_classes(tmp_path, evaluate, capsys):
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "nowhere"):
        code, out = evaluate(tmp_path / folder)
        error = capsys.readouterr().err
        assert code == 1
        assert len(error.splitlines()) == 1
        assert folder in error
        assert not out.exists()


def test_only_listed_pictures_named_as_in_the_papers(evaluate, class_folder, tmp_path):
    flat = tmp_path / "flat"
    flat.mkdir()
    for label, folder in enumerate(("normal", "other", "covid")):
        for number, path in enumerate(sorted((class_folder / folder).iterdir())):
            path.rename(flat / f"{label}_p{number}_1_{number}.png")
    (tmp_path / "test.txt").write_text("0_p0_1_0.png\n2_p1_1_1.png\n")
    code, out = evaluate(flat, "--list", str(tmp_path / "test.txt"), "--grey-map", "estimate")
    assert code == 0
    report = json.loads((out / "report.json").read_text())
    assert np.array(report["confusion"]).sum(axis=1).tolist() == [1, 0, 1]
    assert "estimated" in report["settings"]["grey_map"]


def test_a_head_with_two_logits_has_no_class_one():
    assert [logit_of_label(label, 2) for label in (0, 2)] == [0, 1]
    assert [logit_of_label(label, 3) for label in (0, 1, 2)] == [0, 1, 2]
    with pytest.raises(DataError):
        logit_of_label(1, 2)


def test_a_classifier_with_its_own_detector_runs_that_detector_alone(tiny_weights, tmp_path, class_folder):
    import torch
    from safetensors.torch import load_file

    from model_core.base.jobs import finish
    from model_core.engine import run
    from model_core.engine.load import load_pipeline
    from model_core.measure.classifier import evaluate_classes
    from model_core.measure.slices import one_slice_volume
    from model_core.weights.card import read_card
    from model_core.weights.store import save_weights

    card = read_card(tiny_weights / "tiny-s.json")
    detector = load_file(tiny_weights / "tiny.safetensors")
    own = {name: tensor for name, tensor in detector.items() if ".mask_" not in name}
    own["backbone.body.conv1.weight"] = own["backbone.body.conv1.weight"] + 0.01 * torch.ones(1)
    own |= load_file(tiny_weights / "tiny-s.safetensors")
    path = tmp_path / "own.safetensors"
    save_weights(path, own, dataclasses.replace(card, name="own", base_sha256=""))
    pipeline = load_pipeline([str(tiny_weights / "tiny.safetensors"), str(path)], device="cpu")
    assert pipeline.passes == 2
    assert pipeline.class_alone().passes == 1
    item = next(i for i in read_classes(class_folder) if i.label == 2)
    (outcome,) = finish(evaluate_classes(pipeline, [item]))
    (expected,) = finish(run(pipeline, one_slice_volume(item.image_hu(), name="x"), [0]))
    np.testing.assert_array_equal(outcome.logits, expected.verdict.logits)
    assert outcome.label == 2
    assert len(outcome.rois.scores) == len(expected.verdict.batch.kept)
    assert (np.diff(outcome.rois.scores) <= 0).all()
    assert (outcome.rois.areas > 0).all()
    # Pictures are given the greys that the app gives the network behind the class, not the one behind masks.
    estimating = dataclasses.replace(
        card, base_sha256="", input=dataclasses.replace(card.input, grey="estimate")
    )
    save_weights(path, own, estimating)
    assert read_card(tiny_weights / "tiny.json").input.grey == "window"
    command = ["evaluate", "classifier", "--data", str(class_folder), "-o", str(tmp_path / "out")]
    weights = ["--weights", str(tiny_weights / "tiny.safetensors"), str(path), "--device", "cpu"]
    assert main([*command, *weights]) == 0
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert "estimated" in report["settings"]["grey_map"]


def test_one_class_alone_still_gives_a_report(tmp_path, tiny_weights):
    from model_core.measure.classifier import ClassOutcome
    from model_core.measure.classifier_report import write_classifier_report
    from model_core.measure.roi_statistics import SliceRois
    from model_core.weights.card import read_card

    card = read_card(tiny_weights / "tiny-s.json")
    logits = np.array([0.5, -1.0, 2.0], np.float32)
    rois = SliceRois(np.array([0.9, 0.1], np.float32), np.array([50.0, 10.0], np.float32))
    outcome = ClassOutcome(
        name="s",
        patient="p",
        source="x",
        label=2,
        predicted=2,
        logits=logits,
        probabilities=logits / 4,
        rois=rois,
    )
    report = write_classifier_report(
        tmp_path / "out", [outcome], class_names=card.image_classes, cards=(card,), about={"data": "one"}
    )
    assert report["accuracy"] == 1.0
    assert report["sensitivity"]["Control"] == 0.0
    assert json.loads((tmp_path / "out" / "rois.json").read_text())["above"]["0.5"]["ks_tests"] == []
    assert "nan" not in (tmp_path / "out" / "report.md").read_text()
