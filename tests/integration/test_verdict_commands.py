"""Calibrating weights, what they then say of slices and scans, and the table of scans."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from model_core.base.jobs import finish
from model_core.base.results import SliceResult
from model_core.cli.main import main
from model_core.data import read_class_folders, read_classes
from model_core.engine import run
from model_core.engine.load import load_pipeline
from model_core.measure.slices import one_slice_volume, with_grey_map
from model_core.phantom import make_phantom, write_dicom
from model_core.train import calibrated_card
from model_core.weights.card import read_card
from model_core.weights.store import load_weights

PATIENTS = 12


@pytest.fixture(scope="module")
def weights(tiny_weights, tmp_path_factory):
    """Random networks: what they say means nothing, so that each test has its own copy to calibrate."""
    folder = tmp_path_factory.mktemp("weights")
    for path in tiny_weights.glob("tiny*"):
        shutil.copy(path, folder)
    return [str(folder / "tiny.safetensors"), str(folder / "tiny-s.safetensors")]


@pytest.fixture(scope="module")
def classes(weights, tmp_path_factory):
    """Pictures of two sources, those ill of which the network says so rather than of the others."""
    folder, rng = tmp_path_factory.mktemp("pictures"), np.random.default_rng(4)
    (folder / "normal").mkdir()
    volume, _ = make_phantom(slices=2 * PATIENTS, size=96, seed=1)
    for k, slice_ in enumerate(volume.voxels):
        grey = np.clip((slice_ + 1350) / 1500 * rng.uniform(0.6, 1.0) * 255, 0, 255).astype(np.uint8)
        Image.fromarray(grey).save(folder / "normal" / f"{'ab'[k % 2]}_{k:02d}.png")
    pipeline, likeliness = load_pipeline(weights, device="cpu"), {}
    for item in with_grey_map(read_classes(folder), "window"):
        shown = one_slice_volume(item.image_hu(), name=item.name)
        (result,) = (one for one in run(pipeline, shown, [0]) if isinstance(one, SliceResult))
        likeliness[item.image_path] = result.verdict.logits[2] - result.verdict.logits[0]
    (folder / "covid").mkdir()
    for path in sorted(likeliness, key=likeliness.get)[PATIENTS:]:
        path.rename(folder / "covid" / path.name)
    return folder


@pytest.fixture(scope="module")
def calibrated(weights, classes, tmp_path_factory):
    out = tmp_path_factory.mktemp("calibrated")
    assert main(["train", "calibrate", "--weights", *weights, "--data", str(classes), "-o", str(out)]) == 0
    return [weights[0], str(out / "tiny-s.safetensors")]


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scans") / "phantom"
    write_dicom(make_phantom(slices=14, size=96)[0], folder)
    return folder


def test_a_calibration_is_added_to_the_card_and_nothing_else_changes(weights, calibrated):
    before, after = load_weights(weights[1]), load_weights(calibrated[1])
    assert before.card.calibration is None
    found = after.card.calibration
    assert found.slope > 0
    assert found.ill_classes == (2,)  # class 1 is any other patient
    assert 0 <= found.control_rate <= found.control_limit < 1
    assert (found.kinds_told, found.checked) == (False, None)
    assert len(found.cloud.features) <= 20
    assert after.card.metrics["verdict"]["fitted_on"]["patients"] == 2 * PATIENTS
    same = {"calibration": None, "metrics": before.card.metrics}
    assert dataclasses.replace(after.card, **same) == before.card
    assert after.card.sha256 == before.card.sha256
    assert load_pipeline(calibrated, device="cpu").weights_id != load_pipeline(weights).weights_id


def predicted(series, weights, out):
    assert main(["predict", str(series), "-o", str(out), "--weights", *weights, "--device", "cpu"]) == 0
    return json.loads((out / "predictions.json").read_text())


def test_predictions_say_ill_or_not_only_with_a_calibration(series, weights, calibrated, tmp_path):
    plain = predicted(series, weights, tmp_path / "plain")
    told = predicted(series, calibrated, tmp_path / "told")
    for row in plain["slices"]:
        assert row["ill_probability"] is row["kind"] is row["unlike_training"] is None
    assert plain["scan"]["verdict"] is plain["scan"]["kind"] is plain["scan"]["control_rate"] is None
    assert plain["scan"]["class"] in ("Control", "Other (non-COVID)", "COVID-19")
    calibration = read_card(tmp_path / calibrated[1].replace(".safetensors", ".json")).calibration
    for row, before in zip(told["slices"], plain["slices"], strict=True):
        assert isinstance(row["unlike_training"], bool)
        assert row["class_probabilities"] == before["class_probabilities"]
        if row["lung"] is False:
            assert row["ill_probability"] is row["kind"] is None
            continue
        control, _, covid = row["image_logits"]
        odds = calibration.slope * (covid - control) + calibration.bias
        assert row["ill_probability"] == pytest.approx(1 / (1 + np.exp(-odds)), abs=1e-6)
        assert row["kind"] == "undecided"
    scan = told["scan"]
    assert scan["verdict"] in ("control", "uncertain", "ill")
    assert scan["kind"] == "undecided"
    assert scan["class"] == ("Control" if scan["verdict"] == "control" else None)
    inside = [row for row in told["slices"] if row["lung"] is not False]
    assert scan["lung_slices"] == len(inside) > 5
    assert scan["ill_slices"] == sum(row["ill_probability"] > 0.5 for row in inside)
    areas = sum(found["mask_area_px"] for row in inside for found in row["detections"])
    assert (scan["lesion_ml"] > 0) == (areas > 0)
    assert scan["lesion_ml"] == plain["scan"]["lesion_ml"]
    assert scan["class_probabilities"] == plain["scan"]["class_probabilities"]


def test_scans_are_tried_and_the_check_is_quoted_in_the_card(series, calibrated, tmp_path, capsys):
    listed = series.parent / "list.tsv"
    listed.write_text("path\tlabel\tgroup\n# a comment\nphantom\till\tours\nphantom,control\n", "utf-8")
    command = ["evaluate", "scans", str(listed), "--weights", *calibrated, "--device", "cpu"]
    assert main([*command, "-o", str(tmp_path / "report")]) == 0
    report = json.loads((tmp_path / "report/report.json").read_text())
    told = predicted(series, calibrated, tmp_path / "told")
    (first, second) = report["list"]
    assert first["verdict"] == second["verdict"] == told["scan"]["verdict"]
    assert first["lesion_ml"] == pytest.approx(told["scan"]["lesion_ml"])
    assert (report["scans"], report["right"] + report["uncertain"] // 2) == (2, 1)
    assert set(report["by_group"]) == {"ours"}
    assert set(report["by_label"]) == {"ill", "control"}
    assert first["changes"] < 14
    rows = (tmp_path / "report/scans.csv").read_text().splitlines()
    assert len(rows) == 3
    assert "Exact 95 % limits" in (tmp_path / "report/report.md").read_text()
    assert "scans," in capsys.readouterr().out

    out = tmp_path / "checked"
    command = ["train", "calibrate", "--weights", *calibrated, "-o", str(out)]
    assert main([*command, "--checked", str(tmp_path / "report")]) == 0
    before = read_card(tmp_path / calibrated[1].replace(".safetensors", ".json"))
    after = read_card(out / "tiny-s.json")
    assert (after.calibration.checked.scans, after.calibration.checked.right) == (2, report["right"])
    assert dataclasses.replace(after.calibration, checked=None) == before.calibration
    checked = predicted(series, [calibrated[0], str(out / "tiny-s.safetensors")], tmp_path / "again")
    assert checked["scan"]["checked"]["scans"] == 2
    # Checked again, the earlier check is replaced: it is no part of what is checked.
    command = ["train", "calibrate", "--weights", calibrated[0], str(out / "tiny-s.safetensors")]
    command += ["--checked", str(tmp_path / "report"), "-o"]
    assert main([*command, str(tmp_path / "twice")]) == 0
    assert read_card(tmp_path / "twice/tiny-s.json") == after
    # The same weights with another calibration give other verdicts: none of theirs was checked.
    other = dataclasses.replace(after.calibration, bias=after.calibration.bias + 1.0)
    (out / "tiny-s.json").write_text(dataclasses.replace(after, calibration=other).to_json(), "utf-8")
    capsys.readouterr()
    assert main([*command, str(tmp_path / "thrice")]) == 1
    assert "another calibration" in capsys.readouterr().err
    assert not (tmp_path / "thrice").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("phantom\n", "Line 1 of list.csv is no scan"),
        ("phantom,sick\n", "ill, control or no_class"),
        ("elsewhere,ill\n", "'elsewhere', which is not there"),
        ("# nothing\n", "names no scan"),
        (f"phantom,{'x' * 200_000}\n", "Line 1 of list.csv is no scan"),
    ],
)
def test_lists_that_are_none(series, calibrated, tmp_path, capsys, text, message):
    listed = series.parent / "list.csv"
    listed.write_text(text, "utf-8")
    command = ["evaluate", "scans", str(listed), "--weights", *calibrated, "-o", str(tmp_path / "report")]
    assert main(command) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


@pytest.mark.slow
def test_how_sure_scans_are_is_told_after_each_change(series, calibrated, tmp_path):
    listed = series.parent / "one.csv"
    listed.write_text("phantom,ill\n", "utf-8")
    command = ["evaluate", "scans", str(listed), "--weights", *calibrated, "--device", "cpu", "--stability"]
    assert main([*command, "-o", str(tmp_path / "report")]) == 0
    report = json.loads((tmp_path / "report/report.json").read_text())
    (scan,) = report["list"]
    first, *changed = scan["stability"]
    assert (first["change"], first["lesion_ml"]) == ("none", scan["lesion_ml"])
    assert [one["change"] for one in changed][-2:] == ["mirror image", "noise of 20 HU"]
    assert len(changed) == 8
    # 20 mm apart: every lung slice is among them.
    assert {one["slices"] for one in scan["stability"]} == {scan["lung_slices"]}
    assert (first["ill"], first["verdict"]) == (scan["ill_slices"], scan["verdict"])
    assert "stability" not in (tmp_path / "report/scans.csv").read_text()
    words = (tmp_path / "report/report.md").read_text()
    assert "Verdict of these slices" in words
    assert "more than a twentieth of the volume run for themselves" in words


def test_controls_are_described_in_the_card_and_nothing_else_changes(
    calibrated, classes, series, tmp_path, capsys
):
    command = ["train", "calibrate", "--weights", *calibrated, "--controls", str(classes)]
    assert main([*command, "--limit", "3", "-o", str(tmp_path)]) == 0
    before, after = read_card(tmp_path / calibrated[1].replace(".safetensors", ".json")), None
    after = read_card(tmp_path / "tiny-s.json")
    told = after.control_rois
    assert dataclasses.replace(after, control_rois=None) == before
    assert (told.patients, told.sources, told.seen) == (6, ("a", "b"), None)
    assert sum(told.scores.mean) == pytest.approx(1, abs=1e-3)
    assert told.areas.low == (), "of so few no envelope"
    assert "6 control patients, a slice each, a, b" in _weights_info(tmp_path / "tiny-s.safetensors", capsys)
    empty = tmp_path / "empty"
    (empty / "covid").mkdir(parents=True)
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(empty / "covid" / "x_1.png")
    assert main([*command[:-1], str(empty), "-o", str(tmp_path / "none")]) == 1
    assert "none of a control" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_controls_without_a_region_are_not_counted_among_those_seen(
    calibrated, classes, tmp_path, monkeypatch
):
    left = iter([None])
    regions_of = calibrated_card.slice_regions
    monkeypatch.setattr(calibrated_card, "slice_regions", lambda result: next(left, regions_of(result)))
    names = {item.name: False for item in read_class_folders(classes)}
    monkeypatch.setattr(calibrated_card, "held_out_slices", lambda _: names)
    job = calibrated_card.add_calibration(calibrated, None, tmp_path, controls=classes, limit=3)
    told = finish(job)[-1].control_rois
    assert (told.patients, told.seen) == (5, 5)


def _weights_info(path, capsys):
    capsys.readouterr()
    assert main(["weights", "info", str(path)]) == 0
    return capsys.readouterr().out


def test_weights_without_calibration_give_no_verdict_of_scans(series, weights, tmp_path, capsys):
    listed = series.parent / "list.csv"
    listed.write_text("phantom,ill\n", "utf-8")
    assert main(["evaluate", "scans", str(listed), "--weights", *weights, "-o", str(tmp_path / "r")]) == 1
    assert "train calibrate" in capsys.readouterr().err


def test_what_calibrates_nothing_is_told(series, weights, classes, calibrated, tmp_path, capsys):
    base = ["train", "calibrate", "--weights", *weights, "-o", str(tmp_path)]
    assert main(base) == 1
    assert "--data" in capsys.readouterr().err
    assert main([*base, "--data", str(classes), "--limit", "2"]) == 1
    assert "at least 10 patients" in capsys.readouterr().err
    assert main([*base, "--checked", str(classes)]) == 1
    assert "has no calibration yet" in capsys.readouterr().err
    again = ["train", "calibrate", "--weights", *calibrated, "-o", str(tmp_path)]
    assert main([*again, "--checked", str(classes)]) == 1
    assert "holds no report" in capsys.readouterr().err
    assert (
        main(["train", "calibrate", "--weights", weights[0], "--data", str(classes), "-o", str(tmp_path)])
        == 1
    )
    assert "no image class" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
