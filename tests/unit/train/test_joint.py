"""Joint stages: lesions and image class in one network, from classified pictures to the exported file."""

import dataclasses

import numpy as np
import pytest
import torch
from chests import chest, slices_of, tiny_recipe
from PIL import Image

from model_core.base.errors import DataError, SettingsError
from model_core.base.jobs import finish
from model_core.base.results import SliceResult
from model_core.engine import run
from model_core.engine.load import load_pipeline
from model_core.measure.slices import one_slice_volume
from model_core.train import shipping
from model_core.train.augment import augment
from model_core.train.drawing import PatientSampler, StageSteps
from model_core.train.joint import JointSteps
from model_core.train.lesion import LesionTraining
from model_core.train.packing import pack
from model_core.train.recipe import Source, Stage, read_recipe
from model_core.train.shipping import export_lesions

STAGE = {"size": 64, "batch": 2, "learning_rate": 1e-3, "final_rate": 1e-4}
BRANCH = ("box_head.fc6", "box_head.fc7", "box_predictor.cls_score", "box_predictor.bbox_pred")


@pytest.fixture
def recipe():
    tiny = tiny_recipe()
    folder = {"folder": "b", "kind": "classified", "hold_out": 0.4}
    classified = {
        "control": Source(prefix="mosmed_ct0", image_class="normal", **folder),
        "sick": Source(prefix="mosmed_ct1", image_class="covid", **folder),
    }
    return dataclasses.replace(
        tiny,
        architecture=dataclasses.replace(tiny.architecture, kind="single_shot", branches=2),
        sources={**tiny.sources, **classified},
        stages=(Stage(kind="joint", steps=3, image_batch=3, **STAGE),),
    )


@pytest.fixture
def slices(recipe):
    def classified(source, image_class):
        return [
            dataclasses.replace(
                chest(f"{source}{k}", source=source, patient=f"{source}{k}", seed=k),
                labels=np.zeros((96, 120), np.uint8),
                image_class=image_class,
                validation=recipe.sources[source].holds_out(name=f"{source}{k}", patient=""),
            )
            for k in range(6)
        ]

    return [*slices_of(recipe), *classified("control", 0), *classified("sick", 2)]


def entries(network, branch):
    return {name: tensor for name, tensor in network.state_dict().items() if branch in name}


def test_detector_and_class_learn_in_the_same_step(recipe, slices, tmp_path):
    training = LesionTraining(recipe, slices, tmp_path)
    before = {name: tensor.clone() for name, tensor in training.network.state_dict().items()}
    finish(training.run(max_steps=1))
    after = training.network.state_dict()
    for part in ("rpn.head.cls_logits.weight", "roi_heads.box_head.fc6.weight", "s2new.fc_scores.weight"):
        assert not torch.equal(after[part], before[part]), part
    # The first loss is the best so far: the class branch took what the other was before it moved.
    assert training.system.joint.copies == 1
    for name in BRANCH:
        of_class = name.replace(".", "_s2.", 1)
        given = before[f"roi_heads.{name}.weight"]
        assert torch.equal(after[f"roi_heads.{of_class}.weight"], given), name
        assert not torch.equal(after[f"roi_heads.{name}.weight"], given), name


def test_the_image_loss_moves_module_s_and_the_backbone_alone(recipe, slices, tmp_path):
    training = LesionTraining(recipe, slices, tmp_path)
    joint = JointSteps(training.network)
    pictures = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    sum(joint.image_losses(pictures, torch.tensor([0, 2, 1]), seed=1).values()).backward()
    joint.after_image()
    moved = {name for name, one in training.network.named_parameters() if one.grad is not None}
    assert any(name.startswith("s2new.") for name in moved)
    assert any(name.startswith("backbone.") for name in moved)
    assert all(name.startswith(("s2new.", "backbone.")) for name in moved)


def test_module_s_also_learns_from_the_roi_batches_before(recipe, slices, tmp_path, monkeypatch):
    monkeypatch.setattr("model_core.train.joint.MEMORY", 3)
    joint = JointSteps(LesionTraining(recipe, slices, tmp_path).network)
    pictures = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    first = joint.image_losses(pictures, torch.tensor([0, 2]), seed=1)
    assert set(first) == {"loss_image"}
    second = joint.image_losses(pictures, torch.tensor([1, 1]), seed=1)
    assert set(second) == {"loss_image", "replayed"}
    second["replayed"].backward()
    moved = {n for n, one in joint._network.named_parameters() if one.grad is not None}
    assert moved
    assert all(name.startswith("s2new.") for name in moved)
    assert joint.state()["classes"].tolist() == [2, 1, 1]  # what came first leaves first
    assert len(joint.state()["rows"]) == 3


def test_the_copy_follows_the_loss_as_the_paper_writes_it(recipe, slices, tmp_path):
    joint = JointSteps(LesionTraining(recipe, slices, tmp_path).network)
    for loss in (3.0, 2.0, 4.0, 3.5):
        joint.after_detector(loss)
    assert joint.copies == 3  # a loss below the one before, not below the best of all
    again = JointSteps(LesionTraining(recipe, slices, tmp_path).network)
    again.restore(joint.state())
    again.after_detector(3.6)
    assert again.copies == 3


def test_a_stopped_run_goes_on_as_if_it_had_not(recipe, slices, tmp_path):
    whole = LesionTraining(recipe, slices, tmp_path / "whole")
    finish(whole.run())
    for _ in range(3):
        part = LesionTraining(recipe, slices, tmp_path / "parts")
        finish(part.run(max_steps=1))
    again = LesionTraining(recipe, slices, tmp_path / "parts")
    finish(again.run())
    assert again.finished
    left, right = again.system.joint.state(), whole.system.joint.state()
    assert (left["copies"], left["best_loss"]) == (right["copies"], right["best_loss"])
    assert len(left["rows"]) == 9
    assert torch.equal(left["rows"], right["rows"])
    assert torch.equal(left["classes"], right["classes"])
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name


def test_classified_pictures_are_drawn_for_the_class_alone(recipe, slices):
    (stage,) = recipe.stages
    assert set(recipe.weights()) == {"A", "N"}
    sampler = PatientSampler(slices, recipe.class_weights())
    assert all(one.image_class is not None and not one.validation for one in sampler.slices)
    steps = StageSteps(
        PatientSampler(slices, recipe.weights()),
        stage,
        key=(1, 0),
        mask_type="merge",
        classified=sampler,
    )
    drawn = steps.draw(0)
    assert [one.instances is None for one in drawn] == [False] * 2 + [True] * 3
    assert {one.label for one in drawn[:2]} == {-1}
    assert {one.label for one in drawn[2:]} <= {0, 2}
    assert {one.image.shape for one in drawn} == {(64, 64)}


def test_a_classified_picture_is_never_shown_as_nothing(slices):
    """A picture without lungs would be trained as the class of the one it replaced."""
    one = next(one for one in slices if one.image_class == 2)
    free = dataclasses.replace(one, image_class=None)

    def of_air(picture):
        draws = [augment(picture, np.random.default_rng(k), size=64, zoom=(0.9, 1.1)) for k in range(80)]
        return sum(drawn.image.std() < 0.08 for drawn in draws)

    assert of_air(free) > 0
    assert of_air(one) == 0


def test_export_gives_a_single_shot_file_measured_within_source(recipe, slices, tmp_path, monkeypatch):
    from model_core.base.settings import InputSpec

    monkeypatch.setattr(shipping, "InputSpec", lambda **values: InputSpec(size=64, **values))
    training = LesionTraining(recipe, slices, tmp_path / "run")
    finish(training.run())
    card = finish(export_lesions(recipe, slices, tmp_path / "run", tmp_path / "out"))[-1]
    assert card.kind == "single_shot"
    assert card.image_classes == ("Control", "Other (non-COVID)", "COVID-19")
    held = [one for one in slices if one.validation and one.image_class is not None]
    counts = [sum(one.image_class == wanted for one in held) for wanted in (0, 2)]
    assert min(counts) > 0
    assert card.metrics["within_source"]["mosmed"]["slices"] == counts
    assert card.metrics["all"]["images"] == 1  # the held-out slice with an outline
    assert card.training["held_out_pictures"] == {"mosmed_ct0": 0.4, "mosmed_ct1": 0.4}
    pipeline = load_pipeline([str(tmp_path / "out" / "tiny.safetensors")], device="cpu")
    (result,) = (
        i
        for i in run(pipeline, one_slice_volume(slices[0].image_hu(), name="a"), [0])
        if isinstance(i, SliceResult)
    )
    assert pipeline.image_classes == card.image_classes
    assert len(result.detection_candidates.boxes)


def test_pictures_of_a_class_are_packed_with_their_class(recipe, tmp_path):
    for name in ("normal", "covid"):
        (tmp_path / "b" / name).mkdir(parents=True)
    for folder, name in (("normal", "mosmed_ct0_1"), ("covid", "mosmed_ct1_2"), ("covid", "soares_3")):
        grey = chest(seed=len(name)).image
        Image.fromarray(grey).save(tmp_path / "b" / folder / f"{name}.png")
    only = {name: one for name, one in recipe.sources.items() if one.kind == "classified"}
    bare = dataclasses.replace(recipe, stages=(), sources=only)
    found = pack(bare, tmp_path, tmp_path / "cache")
    assert [(one.source, one.name, one.image_class) for one in found] == [
        ("control", "mosmed_ct0_1", 0),
        ("sick", "mosmed_ct1_2", 2),
    ]
    assert all(not one.outlined and not one.lesion.any() for one in found)


def test_what_a_joint_stage_cannot_be(recipe, slices, tmp_path):
    (stage,) = recipe.stages
    plain = dataclasses.replace(recipe.architecture, kind="segmentation", branches=1)
    with pytest.raises(SettingsError, match="single-shot"):
        dataclasses.replace(recipe, architecture=plain)
    with pytest.raises(SettingsError, match="classified sources"):
        recipe.without(("control", "sick"))
    with pytest.raises(SettingsError, match="image class"):
        Source(folder="b", kind="classified", image_class="healthy")
    with pytest.raises(SettingsError, match="image class"):
        Source(folder="b", kind="negatives", image_class="normal")
    with pytest.raises(SettingsError):
        dataclasses.replace(stage, image_batch=0)
    unseen = [one for one in slices if one.image_class is None]
    with pytest.raises(DataError, match="No training slice"):
        LesionTraining(recipe, unseen, tmp_path)


def test_the_shipped_recipe_holds_out_the_same_pictures_of_both_kinds():
    """A control that the image loss is measured on is not a slice without lesion for the detector either."""
    recipe = read_recipe("single-shot-r18t1")
    assert recipe.architecture.branches == 2
    assert not recipe.start
    by_prefix = {}
    for source in recipe.sources.values():
        if source.folder.startswith("B_"):
            by_prefix.setdefault(source.prefix, set()).add(source.hold_out)
    assert all(len(shares) == 1 for shares in by_prefix.values())
