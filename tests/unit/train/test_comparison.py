"""Variants of a recipe, and their comparison by cross-validation end to end."""

import dataclasses
import json

import numpy as np
import pytest
from chests import slices_of, tiny_recipe

from model_core.base.errors import DataError, SettingsError
from model_core.base.jobs import Progress, finish
from model_core.train.comparison import compare, comparison
from model_core.train.cross_validation import CrossValidation
from model_core.train.recipe import AS_IT_IS, COMPARISON, read_recipe, recipe_names

SETTINGS = CrossValidation(folds=2, size=64, plan=COMPARISON)


@pytest.fixture
def recipe():
    plain = tiny_recipe()
    short = tuple(dataclasses.replace(stage, steps=1, size=64) for stage in plain.stages)
    variants = {
        "wide": {"architecture": {"aspect_ratios": [0.5, 1.0]}, "training": {"roi_batch": 4}},
        "plain": {"stages": {"paste": 0.0, "appearance": 0.0}, "detector": {"mask_box_scale": 1.5}},
    }
    return dataclasses.replace(plain, plans={COMPARISON: short}, variants=variants)


def test_a_variant_is_the_recipe_with_its_changes(recipe):
    wide, plain = recipe.variant("wide"), recipe.variant("plain")
    assert wide.name == "tiny-wide"
    assert wide.architecture.aspect_ratios == (0.5, 1.0)
    assert wide.training.roi_batch == 4
    assert wide.stages == recipe.stages
    assert {stage.paste for stage in (*plain.stages, *plain.plans[COMPARISON])} == {0.0}
    assert [stage.steps for stage in plain.stages] == [stage.steps for stage in recipe.stages]
    assert plain.architecture == recipe.architecture
    assert (recipe.detector.mask_box_scale, plain.detector.mask_box_scale) == (1.0, 1.5)
    # What variants there are decides nothing of a run of the recipe itself.
    assert recipe.digest == tiny_recipe().digest


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sources": {}}, "cannot: sources"),
        ({"stages": {"colour": 1}}, "cannot change colour of the stages"),
        ({"stages": {"size": 128}}, "cannot change size"),
        ({"stages": {"paste": 2.0}}, "0..1"),
        ({"stages": {"paste": "much"}}, "wrong kind"),
        ({"detector": {"rpn_nms_iou": 0.5}}, "cannot change rpn_nms_iou of the detector"),
        ({"detector": {"mask_box_scale": 9}}, "1 to 4 times"),
        ({"detector": {"mask_box_scale": "wide"}}, "wrong kind"),
        ({"architecture": {"backbone": "vgg"}}, "backbone"),
        ({"architecture": {"kind": "classifier"}}, "cannot change kind"),
        ({"architecture": {"anchor_sizes": 5}}, "positive numbers"),
        ({"architecture": {"aspect_ratios": []}}, "positive numbers"),
        ({"architecture": {"anchor_sizes": ["a"]}}, "positive numbers"),
    ],
)
def test_impossible_variants_are_refused(changes, says):
    with pytest.raises(SettingsError, match=says):
        dataclasses.replace(tiny_recipe(), variants={"odd": changes})


@pytest.mark.parametrize("name", ["as-it-is", "../elsewhere", "a/b", "", "CON:", "."])
def test_names_of_variants_are_names_of_folders(name):
    with pytest.raises(SettingsError, match="no variant"):
        dataclasses.replace(tiny_recipe(), variants={name: {}})


def test_variants_of_shipped_recipes_are_possible():
    varied = [recipe for recipe in map(read_recipe, recipe_names()) if recipe.variants]
    assert varied
    for recipe in varied:
        assert recipe.plans[COMPARISON]
        anchors = {recipe.variant(name).architecture.anchor_sizes for name in recipe.variants}
        assert len(anchors | {recipe.architecture.anchor_sizes}) > 1


def test_comparing_stops_goes_on_and_reports(recipe, tmp_path):
    slices = slices_of(recipe)
    (fold1, fold2, *rest) = finish(compare(recipe, slices, tmp_path, SETTINGS, only="plain"))
    assert (fold1.parent.name, fold2.name) == ("plain", "fold2.json")
    assert [path.name for path in rest] == ["cross-validation.json", "cross-validation.md"]
    assert not (tmp_path / "comparison.json").is_file()

    stops = iter([False] * 4)
    finish(compare(recipe, slices, tmp_path, SETTINGS, stopped=lambda: next(stops, True)))
    assert not (tmp_path / AS_IT_IS / "cross-validation.json").is_file()

    job = list(compare(recipe, slices, tmp_path, SETTINGS))
    assert any(item.text.startswith("wide: fold 2 of 2") for item in job if isinstance(item, Progress))
    assert [item for item in job if not isinstance(item, Progress)][-2:] == [
        tmp_path / "comparison.json",
        tmp_path / "comparison.md",
    ]
    values = json.loads((tmp_path / "comparison.json").read_text())
    assert list(values["variants"]) == [AS_IT_IS, "wide", "plain"]
    assert values["images"] == len(slices)
    same = values["variants"][AS_IT_IS]["differences"]["dice"]
    assert (same["value"], same["low"], same["high"]) == (0, 0, 0)
    assert same["patients"] == 6  # those with lesions
    text = (tmp_path / "comparison.md").read_text()
    assert "| plain |" in text
    assert "2 folds by patient at 64 px" in text

    with pytest.raises(DataError, match="other settings"):
        finish(compare(recipe, slices, tmp_path, dataclasses.replace(SETTINGS, stride=2)))


def test_a_variant_that_is_not_there(recipe, tmp_path):
    with pytest.raises(SettingsError, match="no variant 'narrow'; it has wide, plain"):
        finish(compare(recipe, slices_of(recipe), tmp_path, SETTINGS, only="narrow"))
    with pytest.raises(SettingsError, match="has none"):
        finish(compare(tiny_recipe(), slices_of(recipe), tmp_path, SETTINGS))


def test_anchors_keep_their_size_in_the_picture(recipe, tmp_path, monkeypatch):
    seen = {}

    def cross_validated(one, *_args, **_kwargs):
        seen[one.name] = one.architecture.anchor_sizes
        yield from ()

    monkeypatch.setattr("model_core.train.comparison.cross_validate", cross_validated)
    for name in (AS_IT_IS, *recipe.variants):
        finish(compare(recipe, [], tmp_path, dataclasses.replace(SETTINGS, size=32), only=name))
    assert seen == {"tiny": (8, 16), "tiny-wide": (8, 16), "tiny-plain": (8, 16)}


def test_differences_are_paired_by_patient():
    def of(dices):
        patients = {f"p{k}": {"dice": dice, "paper_map": None} for k, dice in enumerate(dices)}
        return {
            "folds": [],
            "size": 64,
            "stages": [],
            "all": {"images": 4, "patients": 4},
            "patients": patients,
        }

    before = np.array([0.1, 0.5, 0.9, 0.3])
    after = before + np.array([0.1, 0.12, 0.08, 0.1])
    row = comparison("r", {AS_IT_IS: of(before), "new": of(after)})["variants"]["new"]
    better = row["differences"]["dice"]
    assert better["value"] == pytest.approx(0.1)
    # The patients differ far more than the variants.
    assert 0.08 <= better["low"] <= better["value"] <= better["high"] <= 0.12
    assert row["differences"]["paper_map"]["value"] is None
