"""Folds of patients, cross-validation end to end, and the shipped recipes trained for two steps."""

import dataclasses
import json

import numpy as np
import pytest
from chests import chest, slices_of, tiny_recipe
from safetensors.torch import save_file
from torchvision.models import resnet18

from model_core.base.errors import DataError, SettingsError
from model_core.base.jobs import Progress, finish
from model_core.cli.main import main
from model_core.engine import calibrated
from model_core.engine.load import load_pipeline
from model_core.measure.cross_validation_report import FoldRows, for_card, markdown, read_report, report
from model_core.measure.segmentation import SWEEP, Measured
from model_core.measure.thresholds import best_threshold, choose
from model_core.train import packing, shipping
from model_core.train.cross_validation import CrossValidation, cross_validate
from model_core.train.folds import fold_recipe, held_slices, patient_folds
from model_core.train.lesion import LesionTraining
from model_core.train.recipe import read_recipe, recipe_names
from model_core.train.shipping import export_lesions
from model_core.weights.card import read_card


def reported(folds):
    recipe = tiny_recipe()
    return report(recipe.name, folds, seed=recipe.seed, size=64, stages=recipe.stages)


def many():
    """Two sources: 7 patients of 1 to 7 slices, and 12 single ones."""
    slices = [chest(f"a{p}{k}", patient=f"p{p}") for p in range(7) for k in range(p + 1)]
    return slices + [chest(f"b{k}", source="B", patient=f"b{k}") for k in range(12)]


def test_folds_are_of_patients_and_even_within_sources():
    slices = many()
    fold_of = patient_folds(slices, 4, seed=1)
    assert fold_of == patient_folds(slices, 4, seed=1)
    assert fold_of != patient_folds(slices, 4, seed=2)
    for source, largest in (("A", 8), ("B", 3)):
        sizes = np.bincount([fold_of[one.patient] for one in slices if one.source == source], minlength=4)
        assert sizes.max() <= largest
        assert sizes.min() >= largest - 2


def test_a_name_in_two_sources_is_one_patient():
    slices = [chest(str(k), source=s, patient=f"p{k}") for s in "AB" for k in range(4)]
    fold_of = patient_folds(slices, 2, seed=0)
    assert len(fold_of) == 4
    assert np.bincount(list(fold_of.values())).tolist() == [2, 2]


@pytest.mark.parametrize("folds", [1, 20, 0])
def test_impossible_folds(folds):
    with pytest.raises(SettingsError, match="patients"):
        patient_folds(many(), folds, seed=0)


def test_a_fold_trains_on_all_other_patients_by_the_short_schedule():
    recipe = with_plan()
    slices = slices_of(recipe)
    fold_of = patient_folds(slices, 3, seed=0)
    recipes = [fold_recipe(recipe, fold_of, k, size=96) for k in range(3)]
    held = [{one.name for one in held_slices(r, slices) if one.validation} for r in recipes]
    assert sorted(name for names in held for name in names) == sorted(one.name for one in slices)
    assert len({r.digest for r in recipes}) == 3
    assert [stage.size for stage in recipes[0].stages] == [64, 96]
    with pytest.raises(SettingsError, match="cross_validation"):
        fold_recipe(tiny_recipe(), fold_of, 0, size=96)
    with pytest.raises(SettingsError, match="32"):
        fold_recipe(recipe, fold_of, 0, size=100)


def with_plan():
    recipe = tiny_recipe()
    short = tuple(dataclasses.replace(stage, steps=1, paste=0.0) for stage in recipe.stages)
    return dataclasses.replace(recipe, plans={"cross_validation": short})


def test_cross_validation_stops_goes_on_and_reports(tmp_path):
    recipe = with_plan()
    slices = slices_of(recipe)
    settings = CrossValidation(folds=2, size=64)
    finish(cross_validate(recipe, slices, tmp_path, settings, max_steps=1))
    assert not list(tmp_path.glob("*.json"))
    (first,) = finish(cross_validate(recipe, slices, tmp_path, settings, only=1))
    assert first.name == "fold2.json"
    job = list(cross_validate(recipe, slices, tmp_path, settings))
    paths = [item for item in job if not isinstance(item, Progress)]
    assert [path.name for path in paths] == ["fold1.json", "cross-validation.json", "cross-validation.md"]
    values = json.loads((tmp_path / "cross-validation.json").read_text())
    assert values["all"]["images"] == len(slices)
    assert {fold["fold"] for fold in values["folds"]} == {1, 2}
    assert sum(fold["images"] for fold in values["folds"]) == len(slices)
    assert set(values["sources"]) == {"A", "N"}
    text = (tmp_path / "cross-validation.md").read_text()
    assert "2 folds by patient at 64 px" in text
    with pytest.raises(DataError, match="other settings"):
        finish(cross_validate(recipe, slices, tmp_path, dataclasses.replace(settings, stride=2)))
    (tmp_path / "fold1.json").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        finish(cross_validate(recipe, slices, tmp_path, settings))


def test_a_fold_begun_by_another_schedule_does_not_go_on(tmp_path):
    recipe, settings = with_plan(), CrossValidation(folds=2, size=64)
    slices = slices_of(recipe)
    finish(cross_validate(recipe, slices, tmp_path, settings, only=0, max_steps=1))
    (stage, *others) = recipe.plans["cross_validation"]
    faster = (dataclasses.replace(stage, learning_rate=0.5), *others)
    changes = ({"plans": {"cross_validation": faster}}, {"ema": 0.5}, {"weight_decay": 0.5})
    for changed in (dataclasses.replace(recipe, **change) for change in changes):
        with pytest.raises(DataError, match="fold1 was begun by another schedule"):
            finish(cross_validate(changed, slices, tmp_path, settings))
    finish(cross_validate(recipe, slices, tmp_path, settings, only=0))
    # What is measured by another schedule is not pooled either, nor is the network behind it measured anew.
    (tmp_path / "fold1.json").unlink()
    with pytest.raises(DataError, match="another schedule"):
        finish(cross_validate(changed, slices, tmp_path, settings))
    (tmp_path / "fold1" / "schedule.json").unlink()
    with pytest.raises(DataError, match="another schedule"):
        finish(cross_validate(recipe, slices, tmp_path, settings))


def test_stopped_while_it_measures_it_writes_nothing_and_goes_on_there(tmp_path):
    recipe, settings = with_plan(), CrossValidation(folds=2, size=64)
    slices = slices_of(recipe)
    job = cross_validate(recipe, slices, tmp_path, settings, only=0)
    measured = [next(item for item in job if isinstance(item, Progress) and "measuring" in item.text)]
    job.close()
    assert measured
    assert not (tmp_path / "fold1.json").exists()
    finish(cross_validate(recipe, slices, tmp_path, settings, only=0))
    assert (tmp_path / "fold1.json").exists()


def test_lesions_in_one_fold_alone_are_refused_before_anything_is_trained(tmp_path):
    recipe = with_plan()
    slices = [
        one if one.patient == "p0" else dataclasses.replace(one, labels=one.labels & 4)
        for one in slices_of(recipe)
    ]
    with pytest.raises(SettingsError, match="in one fold"):
        finish(cross_validate(recipe, slices, tmp_path, CrossValidation(folds=2, size=64)))
    assert not list(tmp_path.iterdir())


# ------------------------------------------------------------------------------- report, thresholds


def measured(name, *, source="A", patient, good, lesion=True):
    """One lesion, found with AP 1 up to the score ``good``; one false detection up to 0.3."""
    below, false = good > SWEEP, SWEEP < 0.3
    ap = np.repeat(below[:, None], 10, 1).astype(float) if lesion else np.repeat(~false[:, None], 10, 1) * 1.0
    return Measured(
        name=name,
        source=source,
        patient=patient,
        lesion=lesion,
        ap=ap,
        detections=false + (below if lesion else 0.0),
        lesions=int(lesion),
        found=below * float(lesion),
        right=below * float(lesion),
        predicted=100.0 * false + (100.0 * below if lesion else 0.0),
        shared=80.0 * below * float(lesion),
        reference=100 * int(lesion),
        scores=np.array([good, 0.3] if lesion else [0.3], np.float32),
        hits=np.array([True, False] if lesion else [False]),
    )


def rows(good, patient, count=24):
    found = [measured(f"{patient}{k}", patient=f"{patient}{k % 3}", good=good) for k in range(count)]
    return [*found, *(measured("n", patient=f"{patient}n{k}", good=0, lesion=False) for k in range(2))]


def test_thresholds_of_a_fold_come_from_the_others():
    setting = (0.3, 0.0)
    folds = [FoldRows({setting: rows(good, p)}, (0.1, 0.2, 0.3)) for good, p in ((0.9, "x"), (0.5, "y"))]
    values = reported(folds)
    first, second = values["folds"]
    # The first fold takes a threshold below 0.5 from the second, and finds all. The second takes the first
    # one's, which ties from 0.3 up to 0.9 and is chosen highest, so it finds nothing.
    assert first["score"] < 0.5
    assert first["sensitivity"]["value"] == 1.0
    assert values["all"]["patients"] == 10
    assert values["all"]["dice"]["value"] == pytest.approx(0.4)
    assert values["coco_ap"] == [0.1, 0.2, 0.3]
    assert second["calibration"]["ece_after"] is not None
    assert len(values["patients"]) == 6
    assert "0.4" in markdown(values)
    quoted = for_card(values)
    assert quoted["folds"] == 2
    assert quoted["schedule"] in markdown(values)
    assert (
        quoted["schedule"] == "1 dense steps, 2 slices each at 64 px; 2 detect steps, 2 slices each at 64 px"
    )
    assert quoted["A"]["dice"] == quoted["all"]["dice"] == pytest.approx(0.4)
    low, high = quoted["all"]["dice_interval"]
    assert low < 0.4 < high
    assert quoted["all"]["images"] == 52


def test_a_patient_of_two_sources_is_one():
    both = [
        dataclasses.replace(one, source=source) for source in "AB" for one in rows(0.5, "x") if one.lesion
    ]
    folds = [FoldRows({(0.3, 0.0): found}, None) for found in (both, rows(0.5, "y"))]
    values = reported(folds)
    assert values["all"]["patients"] == 3 + 5
    assert {"A/x0", "A/y0"} <= set(values["patients"])
    assert "B/x0" not in values["patients"]
    assert values["patients"]["A/x0"]["images"] == 16
    assert choose([((0.3, 0.0), one) for one in both], max_detections=9).metrics["all"]["patients"] == 3


def test_sources_of_lesion_free_slices_do_not_raise_the_measures_of_all():
    silent = measured("n", source="N", patient="n", good=0.0, lesion=False)
    found = [measured(f"a{k}", patient=f"p{k}", good=0.5) for k in range(3)]
    alone = choose([((0.3, 0.0), one) for one in found], max_detections=9).metrics
    both = choose([((0.3, 0.0), one) for one in (*found, silent)], max_detections=9).metrics
    assert both["all"] == alone["all"]
    assert both["thresholds_of_others"] == alone["thresholds_of_others"]
    assert both["N"]["paper_map"] == 1.0
    assert both["N"]["images"] == 1


def test_lesions_too_small_to_count_are_no_lesion_slices_for_ap():
    """Nothing is marked, so the papers' AP of such a slice is 1: it says nothing about lesions."""
    small = dataclasses.replace(
        measured("small", patient="s", good=0.0), lesions=0, ap=np.ones((len(SWEEP), 10))
    )
    found = [small, *(measured(f"a{k}", patient="p", good=0.0) for k in range(3))]
    metrics = choose([((0.3, 0.0), one) for one in found], max_detections=9).metrics["all"]
    assert metrics["paper_map_lesion_images"] == 0.0
    assert metrics["paper_map"] == 0.25
    folds = [FoldRows({(0.3, 0.0): one}, None) for one in (found, rows(0.9, "y"))]
    first = reported(folds)["folds"][0]
    assert first["paper_map_lesion_images"]["value"] == 0.0


def test_thresholds_need_a_lesion():
    clean = measured("n", patient="n", good=0, lesion=False)
    for found in ([], [((0.3, 0.0), clean)]):
        with pytest.raises(DataError, match="none of those held out has any"):
            choose(found, max_detections=9)


def test_few_detections_give_a_fold_no_temperature():
    folds = [FoldRows({(0.3, 0.0): rows(0.5, p, count=2)}, None) for p in "xy"]
    values = reported(folds)
    assert {fold["calibration"]["temperature"] for fold in values["folds"]} == {1.0}


def test_a_card_quotes_only_a_report_of_its_recipe(tmp_path):
    folds = [FoldRows({(0.3, 0.0): rows(0.5, p)}, None) for p in "xy"]
    values = reported(folds)
    path = tmp_path / "cross-validation.json"
    path.write_text(json.dumps(values))
    assert read_report(path, recipe="tiny") == json.loads(json.dumps(values))
    assert "coco_ap_ap50_ap75" not in for_card(values)
    with pytest.raises(DataError, match="of the recipe 'tiny', not of 'other'"):
        read_report(path, recipe="other")
    for text in ("", "[]", "{}", json.dumps({**values, "all": 3}), json.dumps({**values, "stages": [{}]})):
        path.write_text(text)
        with pytest.raises(DataError, match="no report"):
            read_report(path, recipe="tiny")
    with pytest.raises(DataError, match="no report"):
        read_report(tmp_path / "absent.json", recipe="tiny")


def test_temperature_is_chosen_and_the_threshold_moves_with_it():
    rng = np.random.default_rng(0)
    found = []
    for k in range(60):  # twice as sure as right
        scores = np.sort(rng.uniform(0.1, 0.99, 4).astype(np.float32))[::-1]
        logits = np.log(scores / (1 - scores)) / 2.0
        hits = rng.random(4) < 1 / (1 + np.exp(-logits))
        one = measured(str(k), patient=str(k), good=0.7)
        found.append(((0.3, 0.0), dataclasses.replace(one, scores=scores, hits=hits)))
    choice = choose(found, max_detections=9)
    assert choice.settings.temperature == pytest.approx(2.0, rel=0.4)
    # The highest of equally good thresholds, 0.65 of the network's scores, on the calibrated scale.
    wanted = calibrated(np.array(0.65), choice.settings.temperature)
    assert choice.settings.score == pytest.approx(float(wanted), abs=1e-4)
    assert 0.5 < choice.settings.score < 0.65
    calibration = choice.metrics["calibration"]
    assert calibration["ece_after"] < calibration["ece_before"]


def test_of_equally_good_settings_the_highest_score_then_the_best_is_taken():
    def rows_with(good, dice):
        one = measured("a", patient="p", good=good)
        return [dataclasses.replace(one, shared=dice * one.shared / 0.8)]

    # The first is best, but only at lower scores; of the others, as good up to 0.8, the third is better.
    by_setting = {
        (0.3, 0.0): rows_with(0.63, 0.8),
        (0.5, 0.0): rows_with(0.83, 0.79),
        (0.7, 0.0): rows_with(0.83, 0.795),
        (0.7, -0.5): rows_with(0.93, 0.7),
    }
    setting, index = best_threshold(by_setting)
    assert setting == (0.7, 0.0)
    assert SWEEP[index] == 0.8


def test_slices_are_also_measured_at_the_thresholds_of_other_patients():
    """Two patients' lesions are found up to 0.83, one's up to 0.53: it has the threshold of the others."""
    goods = {"x": 0.83, "y": 0.83, "z": 0.53}
    found = [
        ((0.3, 0.0), measured(f"{p}{k}", patient=p, good=good)) for p, good in goods.items() for k in "ab"
    ]
    metrics = choose(found, max_detections=9).metrics
    assert metrics["all"]["sensitivity"] == 1.0
    others = metrics["thresholds_of_others"]
    assert others["images"] == metrics["all"]["images"] == 6
    assert others["sensitivity"] == pytest.approx(4 / 6, abs=1e-4)
    assert others["dice"] == pytest.approx(0.8 * 4 / 6, abs=1e-4)
    control = [((0.3, 0.0), measured("n", patient="n", good=0, lesion=False))]
    for few in (found[:1], found[:2] + control):  # without that patient there would be no lesion
        assert "thresholds_of_others" not in choose(few, max_detections=9).metrics


def test_few_detections_give_no_temperature():
    choice = choose([((0.3, 0.0), measured("a", patient="p", good=0.7))], max_detections=9)
    assert choice.settings.temperature == 1.0
    assert choice.settings.score in SWEEP


# ------------------------------------------------------------------------------------ shipped recipes


@pytest.mark.parametrize(
    "name",
    [
        # Joint training takes longest; `test_joint` takes the same steps on a small recipe.
        pytest.param(name, marks=pytest.mark.slow if name == "single-shot-r18t1" else ())
        for name in recipe_names()
    ],
)
def test_every_recipe_takes_steps_and_exports(name, tmp_path, monkeypatch):
    monkeypatch.setattr(shipping, "InputSpec", lambda **values: dataclasses.replace(small, **values))
    from model_core.base.settings import InputSpec

    small = InputSpec(size=64)
    recipe = read_recipe(name)
    recipe = recipe.without(
        tuple(
            key
            for key, source in recipe.sources.items()
            if key not in ("A", "mosmed_normal") and source.kind != "classified"
        )
    )
    planned = recipe.planned("gpu").stages
    stages = tuple(
        dataclasses.replace(stage, steps=1, size=64, batch=2) for stage in (*planned[:2], planned[-1])
    )
    recipe = dataclasses.replace(recipe, stages=stages)
    if recipe.backbone_weights:  # of the data folder
        trunk = resnet18(weights=None).state_dict()
        save_file(trunk, tmp_path / "trunk.safetensors")
        recipe = recipe.with_backbone(file=tmp_path / "trunk.safetensors")
    slices = [chest(f"s{k}", lesion=1 + k % 2, patient=f"p{k}", seed=k) for k in range(3)]
    slices += [dataclasses.replace(chest("v", lesion=2, patient="group06"), validation=True)]
    slices += [chest("n", source="mosmed_normal", has_lung=False, patient="n")]
    slices += [
        dataclasses.replace(chest(f"{key}{k}", source=key), image_class=0, validation=k > 0)
        for key in recipe.class_weights()
        for k in range(2)
    ]
    finish(LesionTraining(recipe, slices, tmp_path, device="cpu").run())
    card = finish(export_lesions(recipe, slices, tmp_path, tmp_path / "out"))[-1]
    assert card.detections.temperature == 1.0
    assert "cross_validation" not in card.metrics
    assert card.training["held_out_controls"] == {"mosmed_ct0": recipe.sources["mosmed_normal"].hold_out}
    pipeline = load_pipeline([str(tmp_path / "out" / f"{name}.safetensors")], device="cpu")
    assert len(pipeline.region_classes) == recipe.architecture.region_classes - 1


def test_commands_train_measure_and_export(tmp_path, capsys, monkeypatch):
    recipe = with_plan()
    values = json.loads(json.dumps(dataclasses.asdict(recipe)))
    (tmp_path / "tiny.json").write_text(json.dumps(values))
    monkeypatch.setattr(packing, "pack", lambda *_: slices_of(recipe))
    common = ["--data", str(tmp_path), "--work", str(tmp_path / "work"), "--device", "cpu"]
    command = ["train", "recipe", str(tmp_path / "tiny.json"), *common]
    planned = [*command, "--plan", "cross_validation", "--workers", "0"]
    assert main([*planned, "--steps", "1"]) == 0
    checkpoint = tmp_path / "work" / "tiny-cross_validation" / "checkpoint.pt"
    told = capsys.readouterr().out
    assert f"tiny is at stage 1 of {len(recipe.plans['cross_validation'])}, step 1 of " in told
    assert f"the checkpoint is {checkpoint}" in told
    assert "goes on from there" in told
    assert main(planned) == 0
    told = capsys.readouterr().out
    assert "stages of tiny are done" in told
    assert "goes on" not in told
    assert checkpoint.is_file()
    assert main([*command, "--plan", "none"]) == 1
    folds = ["train", "cross-validate", str(tmp_path / "tiny.json"), *common, "--folds", "3", "--size", "64"]
    assert main([*folds, "--fold", "4"]) == 1
    assert "no fold 4" in capsys.readouterr().err
    assert main([*folds, "--fold", "2", "--steps", "1"]) == 0
    assert capsys.readouterr().out == "Not measured yet: fold 2. The same command goes on from there.\n"
    export = ["train", "export", str(tmp_path / "tiny.json"), *common, "-o", str(tmp_path / "out")]
    assert main(export) == 1
    assert "no checkpoint" in capsys.readouterr().err
    assert main(folds) == 0
    written = capsys.readouterr().out
    found = tmp_path / "work" / "tiny-3x64" / "cross-validation.json"
    assert str(found) in written
    assert "goes on" not in written
    quoting = [*export, "--plan", "cross_validation", "--no-classifier", "--cross-validation"]
    assert main([*quoting, str(found.with_suffix(".md"))]) == 1
    assert "no report" in capsys.readouterr().err
    assert main([*quoting, str(found)]) == 0
    card = read_card(tmp_path / "out" / "tiny.json")
    assert card.metrics["cross_validation"]["folds"] == 3
    assert card.metrics["cross_validation"]["all"]["images"] == sum(one.outlined for one in slices_of(recipe))
