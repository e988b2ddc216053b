"""Self-training: which answers become labels, where they lie, and that a stopped run goes on with them."""

import dataclasses

import numpy as np
import pytest
import torch
from chests import GREY_LESION, chest, disc, slices_of, tiny_recipe
from PIL import Image
from torch.nn import functional as F

from model_core.base.errors import DataError, SettingsError
from model_core.base.jobs import finish
from model_core.train.drawing import PatientSampler, StageSteps
from model_core.train.lesion import LesionTraining
from model_core.train.packing import pack
from model_core.train.recipe import Source, Stage
from model_core.train.self_training import key_of, label_slices, sure_lesion, with_labels
from model_core.train.shipping import export_lesions, split_lists

UNLABELLED = Source(folder="u", kind="unlabelled", hold_out=0.4)
STAGE = {"size": 64, "batch": 4, "learning_rate": 1e-3, "final_rate": 1e-4}


def unlabelled(name, **changes):
    one = dataclasses.replace(chest(name, lesion=1, source="U", patient=name), unlabelled=True, **changes)
    return dataclasses.replace(one, labels=np.zeros_like(one.labels))


@pytest.fixture
def recipe():
    plain = tiny_recipe()
    taught = Stage(kind="dense", steps=3, shares={"A": 0.5, "U": 0.5}, **STAGE)
    return dataclasses.replace(
        plain, sources={**plain.sources, "U": UNLABELLED}, stages=(*plain.stages, taught)
    )


@pytest.fixture
def slices(recipe):
    found = slices_of(tiny_recipe())
    names = [f"u{k}" for k in range(8)]
    return found + [
        unlabelled(name, validation=UNLABELLED.holds_out(name=name, patient=name)) for name in names
    ]


class Seeing:
    """In place of network and head: a lesion is what has the grey of one."""

    def eval(self):
        return self

    def features(self, images):
        return {"0": F.avg_pool2d(images[:, :1], 4)}

    def __call__(self, features):
        lesion = 6.0 - 100.0 * (features - GREY_LESION / 255).abs()
        return torch.cat((lesion, torch.zeros_like(lesion)), 1)


def labelled(slices):
    """What eyes that see would label."""
    yield from label_slices(Seeing(), Seeing(), slices, device=torch.device("cpu"))


# ------------------------------------------------------------------------------------- the answers


def test_a_sure_answer_is_a_mask_without_dots():
    probability = np.full((60, 80), 0.05, np.float32)
    spot = disc((60, 80), (30, 40), 9)
    probability[spot] = 0.95
    probability[3:6, 3:6] = 0.95
    np.testing.assert_array_equal(sure_lesion(probability) > 0, spot)


def test_no_lesion_and_a_doubtful_one_are_no_answer():
    nothing = np.full((60, 80), 0.1, np.float32)
    assert sure_lesion(nothing) is None
    doubtful = nothing.copy()
    doubtful[disc((60, 80), (30, 40), 12)] = 0.55
    assert sure_lesion(doubtful) is None


@pytest.mark.parametrize("shape", [(96, 120), (130, 90)])
def test_labels_lie_where_the_lesion_is(shape):
    one = unlabelled("u")
    image = np.full(shape, 60, np.uint8)
    spot = disc(shape, (40, 30), 11)
    image[spot] = GREY_LESION
    one = dataclasses.replace(one, image=image, labels=np.zeros_like(image))
    labels = list(labelled([one]))[-1]
    (known,) = with_labels([one], labels)
    mask = known.lesion > 0
    assert (mask & spot).sum() / (mask | spot).sum() > 0.85


def test_slices_without_an_answer_are_left_out():
    one, other = unlabelled("u1"), unlabelled("u2")
    known = chest("s", lesion=1)
    bits = torch.from_numpy(np.packbits(np.ones(one.image.shape, np.uint8)))
    kept = with_labels([known, one, other], {key_of(one): bits})
    assert [item.name for item in kept] == ["s", "u1"]
    assert kept[0] is known
    assert kept[1].lesion.all()


# -------------------------------------------------------------------------------------- the recipe


def test_unlabelled_sources_join_where_a_stage_names_them(recipe):
    assert set(recipe.weights(recipe.stages[0])) == {"A", "N"}
    assert recipe.weights(recipe.stages[2]) == {"A": 0.5, "N": 1.0, "U": 0.5}
    nothing = dataclasses.replace(recipe.stages[2], shares={"N": 0.0})
    assert set(recipe.weights(nothing)) == {"A"}
    # A run that began before they joined goes on.
    assert recipe.digest == tiny_recipe().digest


def test_a_recipe_without_the_source_has_no_share_of_it(recipe):
    left = recipe.without(("U",))
    assert left.stages[2].shares == {"A": 0.5}
    with pytest.raises(SettingsError, match="not there: U"):
        dataclasses.replace(recipe, sources=tiny_recipe().sources)


def test_impossible_sources_are_refused(recipe):
    with pytest.raises(SettingsError, match="merged"):
        dataclasses.replace(recipe, architecture=dataclasses.replace(recipe.architecture, region_classes=3))
    with pytest.raises(SettingsError, match="kinds"):
        Source(folder="u", kind="unlabeled")
    with pytest.raises(SettingsError, match="negative"):
        Stage(kind="dense", steps=1, shares={"A": -1.0}, **STAGE)


def test_packing_takes_the_pictures_of_patients_with_disease(tmp_path):
    rng = np.random.default_rng(0)
    for label in ("normal", "other", "covid"):
        (tmp_path / "u" / label).mkdir(parents=True)
        for source in ("here", "there"):
            picture = rng.integers(0, 255, (40, 50)).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / "u" / label / f"{source}_1.png")
    sources = {"U": Source(folder="u", kind="unlabelled", prefix="here")}
    found = pack(dataclasses.replace(tiny_recipe(), sources=sources), tmp_path, tmp_path)
    assert [(one.name, one.unlabelled, bool(one.lesion.any())) for one in found] == [("here_1", True, False)]
    shown = np.asarray(Image.open(tmp_path / "u" / "covid" / "here_1.png"))
    assert np.corrcoef(found[0].image.ravel(), shown.ravel())[0, 1] > 0.8


# ---------------------------------------------------------------------------------------- the run


def test_pasted_lesions_come_from_outlined_slices_alone(slices):
    labels = {key_of(one): torch.full((one.image.size // 8,), 255) for one in slices if one.unlabelled}
    labels = {key: value.to(torch.uint8) for key, value in labels.items()}
    stage = Stage(kind="dense", steps=1, paste=1.0, **STAGE)
    sampler = PatientSampler(with_labels(slices, labels), {"U": 1.0})
    assert sampler.slices
    with pytest.raises(DataError, match="paste from"):
        StageSteps(sampler, stage, key=(0, 0), mask_type="merge")


@pytest.fixture
def sure(monkeypatch):
    """The tiny network is unsure of everything: stand in for it where pictures are labelled."""
    from model_core.train import lesion

    seen = []

    def spy(_network, _head, slices, **_where):
        seen.append([one.name for one in slices])
        yield from labelled(slices)

    monkeypatch.setattr(lesion, "label_slices", spy)
    return seen


def test_a_stopped_run_goes_on_with_its_labels(recipe, slices, sure, tmp_path):
    whole = LesionTraining(recipe, slices, tmp_path / "whole")
    finish(whole.run())
    held = {one.name for one in slices if one.unlabelled and one.validation}
    assert held
    assert set(sure[0]) == {f"u{k}" for k in range(8)} - held
    assert len(whole.course.labels) == len(sure[0])
    for steps in (4, 1):  # inside the stage that self-trains
        finish(LesionTraining(recipe, slices, tmp_path / "parts").run(max_steps=steps))
    again = LesionTraining(recipe, slices, tmp_path / "parts")
    finish(again.run())
    assert again.finished
    assert len(sure) == 2  # each run labelled once
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, again.network.state_dict()[name]), name


def test_a_stop_while_labelling_labels_nothing(recipe, slices, sure, tmp_path):
    training = LesionTraining(recipe, slices, tmp_path)
    job = training.run()
    next(item for item in job if sure)
    job.close()
    assert sure  # it had begun
    assert not training.course.labels
    again = LesionTraining(recipe, slices, tmp_path)
    assert (again.epoch, again.position) == (2, 0)
    finish(again.run())
    assert again.finished
    assert again.course.labels


def test_what_the_network_labelled_is_not_measured_and_is_listed(recipe, slices, sure, tmp_path):
    finish(LesionTraining(recipe, slices, tmp_path / "run").run())
    (card,) = finish(export_lesions(recipe, slices, tmp_path / "run", tmp_path / "out"))
    outlined = [one for one in slices if one.validation and not one.unlabelled]
    assert card.metrics["all"]["images"] == len(outlined)
    assert card.training["self_trained"] == {"": 0.4}
    assert card.training["self_labelled"] == len(sure[0])
    lists = split_lists(slices)
    # What starts from these weights has seen those pictures, too.
    plain = dataclasses.replace(tiny_recipe(), name="later", start=str(tmp_path / "out" / "tiny.safetensors"))
    finish(LesionTraining(plain, slices_of(plain), tmp_path / "later").run())
    (later,) = finish(export_lesions(plain, slices_of(plain), tmp_path / "later", tmp_path / "out"))
    assert later.training["self_trained"] == {"": 0.4}
    assert later.training["self_labelled"] == 0
    assert set(lists["train"]["U"]) | set(lists["validation"]["U"]) == {f"u{k}" for k in range(8)}
