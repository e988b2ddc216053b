"""Drawing of batches: pasted and computed lesions, workers, travel file, recipe fields."""

import dataclasses
import weakref
from itertools import chain

import numpy as np
import pytest
import torch
from chests import GREY_LESION, GREY_LUNG, GREY_SOFT, chest, disc, slices_of, tiny_recipe

from model_core.base.errors import DataError, SettingsError
from model_core.base.jobs import finish
from model_core.data import instances
from model_core.train import parenchyma
from model_core.train.course import drawn
from model_core.train.drawing import MIN_AREA, PatientSampler, StageSteps
from model_core.train.examples import Instances, stack_images
from model_core.train.lesion import LesionTraining
from model_core.train.packing import LUNG_BIT
from model_core.train.parenchyma import find_lung
from model_core.train.pasting import paste_lesion
from model_core.train.recipe import Source, Stage, held_out, read_recipe, recipe_names
from model_core.train.synthetic import add_lesions


def in_air(one):
    """The same chest as part of a full field of view, with a table of the lungs' grey below."""
    image = np.zeros((200, 200), np.uint8)
    labels = np.zeros((200, 200), np.uint8)
    image[25:151, 25:175] = GREY_SOFT
    image[40:136, 40:160], labels[40:136, 40:160] = one.image, one.labels
    image[160:185, 20:180] = GREY_LUNG
    return dataclasses.replace(one, image=image, labels=labels, cropped=False)


# --------------------------------------------------------------------------------------------- lung


def test_lung_without_a_mask_is_the_dark_of_the_body_alone():
    true = (in_air(chest()).labels & LUNG_BIT) > 0
    found = find_lung(in_air(chest(has_lung=False)))
    assert (found.inside & true).sum() / (found.inside | true).sum() > 0.85
    assert not found.inside[150:].any()
    assert found.level == pytest.approx(GREY_LUNG / 255, abs=0.02)


def test_the_lung_of_a_slice_is_kept_while_there_is_the_slice(monkeypatch):
    monkeypatch.setattr(parenchyma, "_KEPT", 2)
    first, second, third = (chest(seed=k) for k in range(3))
    lung = find_lung(first)
    others = weakref.ref(find_lung(second))
    assert find_lung(first) is lung
    assert others() is not None
    find_lung(third)  # of more slices than are kept, the one that was used longest ago goes
    assert others() is None
    assert find_lung(first) is lung
    # What is made for one step goes with the step.
    pasted = add_lesions(first, np.random.default_rng(0))
    gone = weakref.ref(pasted), weakref.ref(find_lung(pasted))
    del pasted
    assert [reference() for reference in gone] == [None, None]


def test_a_slice_of_soft_tissue_or_air_has_no_lung():
    for grey in (0, 30, GREY_SOFT, 255):
        flat = np.full((64, 64), grey, np.uint8)
        one = dataclasses.replace(chest(has_lung=False), image=flat, labels=np.zeros_like(flat))
        if grey != 30:  # corners of a lung-dark picture count as air
            assert find_lung(one) is None
        assert add_lesions(one, np.random.default_rng(0)) is one


# ------------------------------------------------------------------------------------------ pasting


@pytest.mark.parametrize("seed", range(6))
def test_pasted_lesions_lie_in_the_lung_and_keep_their_class(seed):
    target, donor = chest(seed=1), chest("d", lesion=2, seed=2)
    new = paste_lesion(target, donor, np.random.default_rng(seed))
    added = new.lesion > 0
    lung = (target.labels & LUNG_BIT) > 0
    assert added.sum() > 40
    assert not (added & ~lung).any()
    assert set(np.unique(new.lesion)) == {0, 2}
    np.testing.assert_array_equal(new.labels & LUNG_BIT, target.labels & LUNG_BIT)
    far = ~disc(added.shape, (0, 0), 0) & (new.image == target.image)
    assert far[~lung].mean() > 0.99
    middle = added & (new.image > target.image.astype(int) + 30)
    assert middle.sum() > 0.5 * added.sum()
    assert not target.lesion.any()


def test_pasting_matches_the_grey_level_of_the_lung():
    bright = chest(seed=3)
    lifted = dataclasses.replace(bright, image=np.where(bright.image < 100, bright.image + 30, bright.image))
    new = paste_lesion(lifted, chest("d", lesion=1), np.random.default_rng(1))
    inner = np.median(new.image[new.lesion > 0])
    assert inner == pytest.approx(GREY_LESION + 30, abs=8)


def test_nothing_to_paste_leaves_the_slice():
    empty, one = chest(), chest(lesion=1)
    assert paste_lesion(one, empty, np.random.default_rng(0)) is one
    tiny = np.zeros_like(one.labels)
    tiny[40:42, 40:42] = 1
    dots = dataclasses.replace(one, labels=tiny, has_lung=False)
    assert paste_lesion(empty, dots, np.random.default_rng(0)) is empty


def test_lesions_that_are_there_stay():
    one = chest(lesion=1)
    for seed in range(5):
        new = paste_lesion(one, chest("d", lesion=2), np.random.default_rng(seed))
        assert (new.lesion[one.lesion > 0] == 1).all()


# ---------------------------------------------------------------------------------------- synthetic


def test_computed_lesions_are_brighter_lung_with_a_label():
    one, seen = chest(), set()
    for seed in range(20):
        new = add_lesions(one, np.random.default_rng(seed))
        lung = (one.labels & LUNG_BIT) > 0
        added = new.lesion > 0
        assert not (added & ~lung).any()
        np.testing.assert_array_equal(new.labels & LUNG_BIT, one.labels & LUNG_BIT)
        if added.any():
            assert np.median(new.image[added]) > GREY_LUNG + 15
            assert np.abs(new.image.astype(int) - one.image)[~lung].max() <= 1
        seen |= set(np.unique(new.lesion).tolist())
        consolidated = new.lesion == 2
        if consolidated.sum() > 60:  # -100..50 HU
            assert np.median(new.image[consolidated]) > 150
    assert seen == {0, 1, 2}


def test_changed_slices_are_deterministic():
    one, donor = chest(), chest("d", lesion=1)
    for change in (lambda g: add_lesions(one, g), lambda g: paste_lesion(one, donor, g)):
        first, again = change(np.random.default_rng(7)), change(np.random.default_rng(7))
        np.testing.assert_array_equal(first.image, again.image)
        np.testing.assert_array_equal(first.labels, again.labels)


# ------------------------------------------------------------------------------------------- batches


def steps(**values):
    slices = [chest(str(k), lesion=k % 3, patient=str(k), seed=k) for k in range(6)]
    settings = {"kind": "detect", "steps": 3, "size": 64, "batch": 4, "learning_rate": 1e-3}
    stage = Stage(**settings | {"final_rate": 1e-4} | values)
    return StageSteps(PatientSampler(slices, {"A": 1.0}), stage, key=(5, 0), mask_type="merge")


def test_workers_draw_what_the_process_itself_draws():
    draw = steps(paste=0.5, synthetic=0.5).draw
    alone, together = (list(drawn(draw, range(1, 3), workers)) for workers in (0, 2))
    assert len(alone) == len(together) == 2
    for first, second in zip(chain(*alone), chain(*together), strict=True):
        for name in ("image", "pixels", "known"):
            np.testing.assert_array_equal(getattr(first, name), getattr(second, name))
        np.testing.assert_array_equal(first.instances.regions, second.instances.regions)
        np.testing.assert_array_equal(first.instances.labels, second.instances.labels)


def test_an_error_in_a_worker_is_told_as_it_is():
    with pytest.raises(DataError, match=r"^no picture 7$"):
        list(drawn(refuse, [7], 1))


def refuse(step):
    raise DataError(f"no picture {step}")


def test_shares_of_zero_leave_the_stream_as_it_was():
    from model_core.train.augment import augment

    generator = np.random.default_rng([5, 0, 2])
    sampler = PatientSampler(
        [chest(str(k), lesion=k % 3, patient=str(k), seed=k) for k in range(6)], {"A": 1.0}
    )
    wanted = [augment(one, generator, size=64, zoom=(0.85, 1.4)) for one in sampler.draw(generator, 4)]
    batch = steps().draw(2)
    images = stack_images(batch, "cpu")
    assert images.shape == (4, 3, 64, 64)
    for channel in range(3):
        assert np.array_equal(images[:, channel].numpy(), np.stack([one.image for one in wanted]))
    for one, found in zip(wanted, batch, strict=True):
        np.testing.assert_array_equal(found.pixels[0], one.lesion > 0)
        assert found.known.tolist() == [True, one.lung is not None]
        masks, labels = instances(one.lesion, "merge", MIN_AREA)
        target = found.instances.target()
        assert np.array_equal(target["masks"].numpy(), masks)
        assert np.array_equal(target["labels"].numpy(), labels)
        assert [target[key].dtype for key in ("boxes", "labels", "masks")] == [
            torch.float32,
            torch.int64,
            torch.uint8,
        ]


def test_one_map_holds_all_lesions_and_empty_ones_are_dropped():
    masks = np.zeros((3, 20, 20), bool)
    masks[0, 2:5, 3:9] = masks[2, 10:20, 0:4] = True
    target = Instances.of(masks, np.array([1, 2, 2])).target()
    assert target["boxes"].tolist() == [[3, 2, 9, 5], [0, 10, 4, 20]]
    assert target["labels"].tolist() == [1, 2]
    np.testing.assert_array_equal(target["masks"].numpy(), masks[[0, 2]])


def test_pasting_gives_more_lesions():
    def lesions(stage):
        return sum(int(one.pixels[0].sum()) for k in range(3) for one in stage.draw(k))

    assert lesions(steps(paste=1.0, synthetic=1.0)) > 1.2 * lesions(steps())


def test_pasting_needs_a_lesion():
    sampler = PatientSampler([chest()], {"A": 1.0})
    stage = Stage(kind="dense", steps=1, size=64, batch=1, learning_rate=1, final_rate=1, paste=0.1)
    with pytest.raises(DataError, match="paste"):
        StageSteps(sampler, stage, key=(0, 0), mask_type="merge")


# ---------------------------------------------------------------------------------------------- runs


@pytest.fixture
def recipe():
    return tiny_recipe()


def test_a_run_with_workers_gives_the_same_weights(recipe, tmp_path):
    slices = slices_of(recipe)
    alone = LesionTraining(recipe, slices, tmp_path / "alone", device="cpu", workers=0)
    finish(alone.run())
    for steps_at_once in (2, None):
        shared = LesionTraining(recipe, slices, tmp_path / "shared", device="cpu", workers=1)
        finish(shared.run(max_steps=steps_at_once))
    assert shared.finished
    for name, tensor in alone.network.state_dict().items():
        assert torch.equal(tensor, shared.network.state_dict()[name]), name


def test_the_mixed_precision_path_holds_together(recipe, tmp_path, monkeypatch):
    """What a GPU runs in bfloat16 runs here too, in the CPU's autocast."""
    training = LesionTraining(recipe, slices_of(recipe), tmp_path, device="cpu")
    monkeypatch.setattr(training._stepper, "_mixed", True)
    finish(training.run(max_steps=2))
    assert training.epoch == 1
    assert all(torch.isfinite(t).all() for t in training.network.state_dict().values())
    assert all(p.dtype == torch.float32 for p in training.network.parameters())


def test_a_worker_that_dies_is_one_clear_line(recipe, tmp_path, monkeypatch):
    import os

    monkeypatch.setattr(StageSteps, "draw", lambda _self, _step: os._exit(9))
    training = LesionTraining(recipe, slices_of(recipe), tmp_path, device="cpu", workers=1)
    with pytest.raises(SettingsError, match="fewer workers"):
        finish(training.run())


def test_an_unknown_device_is_refused(recipe, tmp_path):
    with pytest.raises(SettingsError, match="device"):
        LesionTraining(recipe, slices_of(recipe), tmp_path, device="abacus")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_run_changes_devices(recipe, tmp_path):
    slices = slices_of(recipe)
    for device in ("cuda", "cpu", "cuda"):
        training = LesionTraining(recipe, slices, tmp_path, device=device, workers=1)
        finish(training.run(max_steps=1))
    assert training.finished
    assert all(torch.isfinite(t).all() for t in training.system.average.state.values())


# ------------------------------------------------------------------------------------- recipe fields


def test_what_a_checkpoint_belongs_to():
    """Stages may be lengthened; other pictures, networks and starts are another training."""
    recipe = dataclasses.replace(read_recipe("lesion-r18t1"), backbone_weights="")
    sources = recipe.sources | {"A": dataclasses.replace(recipe.sources["A"], exclude=("x",))}
    assert dataclasses.replace(recipe, stages=recipe.stages[:2], notes="x", ema=0.5).digest == recipe.digest
    others = ({"sources": sources}, {"seed": 1}, {"start": "lesion-r18t2"}, {"backbone_weights": "a/b.pth"})
    digests = {dataclasses.replace(recipe, **change).digest for change in others}
    assert len(digests) == len(others)
    assert recipe.digest not in digests
    moved = dataclasses.replace(recipe, backbone_weights="elsewhere/b.pth")
    assert moved.digest in digests


def test_names_are_held_out_by_their_share_and_nested():
    names = [f"slice_{k}" for k in range(2000)]
    few, many = ({n for n in names if held_out(n, share)} for share in (0.1, 0.3))
    assert 0.07 < len(few) / 2000 < 0.13
    assert 0.26 < len(many) / 2000 < 0.34
    assert few < many
    assert not any(held_out(n, 0.0) for n in names)


def test_wrong_fields_are_settings_errors():
    stage = {"kind": "dense", "steps": 1, "size": 64, "batch": 1, "learning_rate": 1, "final_rate": 1}
    for wrong in ({"paste": 1.5}, {"synthetic": -0.1}, {"size": 100}, {"batch": 0}):
        with pytest.raises(SettingsError):
            Stage(**stage | wrong)
    with pytest.raises(SettingsError):
        Source(folder="x", hold_out=1.0)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_has_one_patient_split(name):
    """What one recipe holds out, no other trains on."""
    reference = read_recipe("lesion-r18t1")
    for key, source in read_recipe(name).sources.items():
        if source.kind == "classified":
            continue
        assert source.validation == reference.sources[key].validation
        assert source.folder == reference.sources[key].folder


def test_the_two_class_recipe_takes_only_sources_with_two_classes():
    recipe = read_recipe("lesion-both-r18t1")
    assert recipe.architecture.region_classes == 3
    assert {key for key, source in recipe.sources.items() if source.kind == "pairs"} == {"A", "A3"}
    assert len(recipe.sources["A3"].exclude) == 6


def test_unknown_plan():
    with pytest.raises(SettingsError, match="no plan"):
        read_recipe("lesion-r18t1").planned("never")
