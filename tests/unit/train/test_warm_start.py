"""A recipe that starts from weights: what is taken over, for other classes too, and what is refused."""

import dataclasses

import pytest
import torch
from chests import slices_of, tiny_recipe
from safetensors.torch import load_file, save_file
from torchvision.models import resnet18

from model_core.base.errors import SettingsError, WeightsError
from model_core.base.jobs import finish
from model_core.networks import build
from model_core.train.folds import fold_recipe
from model_core.train.lesion import LesionTraining
from model_core.train.recipe import Stage
from model_core.train.shipping import export_lesions


@pytest.fixture
def weights(tmp_path):
    """The file of a run of the tiny recipe."""
    recipe = tiny_recipe()
    finish(LesionTraining(recipe, slices_of(recipe), tmp_path / "first").run())
    finish(export_lesions(recipe, slices_of(recipe), tmp_path / "first", tmp_path))
    return str(tmp_path / "tiny.safetensors")


def of_architecture(recipe, **changes):
    return dataclasses.replace(recipe, architecture=dataclasses.replace(recipe.architecture, **changes))


def test_a_run_starts_from_its_weights_and_then_from_its_checkpoint(weights, tmp_path):
    recipe = dataclasses.replace(tiny_recipe(), start=weights)
    slices = slices_of(recipe)
    training = LesionTraining(recipe, slices, tmp_path / "run")
    before = {name: tensor.clone() for name, tensor in training.network.state_dict().items()}
    fresh = LesionTraining(tiny_recipe(), slices, tmp_path / "fresh").network.state_dict()
    name = "backbone.body.layer1.0.conv1.weight"
    assert not torch.equal(before[name], fresh[name])
    assert torch.equal(training.system.average.state[name], before[name])
    finish(training.run(max_steps=1))
    again = LesionTraining(recipe, slices, tmp_path / "run")
    assert (again.epoch, again.position) == (1, 0)
    assert torch.equal(again.network.state_dict()[name], training.network.state_dict()[name])
    assert not torch.equal(again.network.state_dict()[name], before[name])


def test_every_lesion_class_starts_as_the_one_there_was(weights, tmp_path):
    from model_core.weights.store import load_weights

    given = load_weights(weights).tensors
    recipe = of_architecture(dataclasses.replace(tiny_recipe(), start=weights), region_classes=3)
    own = LesionTraining(recipe, slices_of(recipe), tmp_path / "run").network.state_dict()
    scores = "roi_heads.box_predictor.cls_score.weight"
    assert torch.equal(own[scores], given[scores][[0, 1, 1]])
    boxes = "roi_heads.box_predictor.bbox_pred.bias"
    assert torch.equal(own[boxes], torch.cat((given[boxes], given[boxes][4:])))
    masks = "roi_heads.mask_predictor.mask_fcn_logits.weight"
    assert torch.equal(own[masks], given[masks][[0, 1, 1]])


def test_a_deeper_network_takes_what_fits(weights, tmp_path):
    recipe = of_architecture(dataclasses.replace(tiny_recipe(), start=weights), truncation=1)
    own = LesionTraining(recipe, slices_of(recipe), tmp_path / "run").network.state_dict()
    from model_core.weights.store import load_weights

    given = load_weights(weights).tensors
    assert torch.equal(
        own["backbone.body.layer2.1.conv2.weight"], given["backbone.body.layer2.1.conv2.weight"]
    )
    torch.manual_seed(recipe.seed)
    drawn = build(recipe.architecture, training=recipe.training).state_dict()
    assert torch.equal(
        own["backbone.body.layer3.0.conv1.weight"], drawn["backbone.body.layer3.0.conv1.weight"]
    )


def test_more_blocks_start_by_computing_the_same(weights, tmp_path):
    recipe = of_architecture(dataclasses.replace(tiny_recipe(), start=weights), backbone="resnet34")
    deeper = LesionTraining(recipe, slices_of(recipe), tmp_path / "run")
    shallow = LesionTraining(
        dataclasses.replace(tiny_recipe(), start=weights), slices_of(recipe), tmp_path / "s"
    )
    assert deeper.network.state_dict().keys() > shallow.network.state_dict().keys()
    pictures = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = shallow.network.eval().features(pictures)["0"]
        torch.testing.assert_close(deeper.network.eval().features(pictures)["0"], expected)
    finish(deeper.run(max_steps=1))  # the factor moves first, then everything in the block
    assert deeper.network.state_dict()["backbone.body.layer2.2.bn2.weight"].abs().max() > 0


def test_weights_that_do_not_fit_or_are_not_there(weights, tmp_path):
    missing = dataclasses.replace(tiny_recipe(), start="nothing-of-this-name")
    with pytest.raises(WeightsError):
        LesionTraining(missing, slices_of(missing), tmp_path / "a")
    classifier = dataclasses.replace(tiny_recipe(), start="covid-s-r18t1")  # module S alone
    with pytest.raises(SettingsError, match="do not fit"):
        LesionTraining(classifier, slices_of(classifier), tmp_path / "b")


@pytest.fixture
def trunk(tmp_path):
    """A file with the entries of torchvision's ResNet18 that a truncated network keeps."""
    torch.manual_seed(9)
    tensors = resnet18(weights=None).state_dict()
    kept = ("conv1.", "bn1.", "layer1.", "layer2.", "layer3.")
    path = tmp_path / "data" / "trunk.safetensors"
    path.parent.mkdir()
    save_file({name: tensor for name, tensor in tensors.items() if name.startswith(kept)}, path)
    return path


def test_a_backbone_starts_from_its_file_and_then_from_the_checkpoint(trunk, tmp_path):
    recipe = dataclasses.replace(tiny_recipe(), backbone_weights="trunk.safetensors")
    located = recipe.with_backbone(data=trunk.parent)
    training = LesionTraining(located, slices_of(recipe), tmp_path / "run")
    given = load_file(trunk)
    own = training.network.backbone.body.state_dict()
    assert all(torch.equal(tensor, given[name]) for name, tensor in own.items())
    assert torch.equal(training.system.average.state["backbone.body.conv1.weight"], given["conv1.weight"])
    finish(training.run())
    moved = trunk.rename(tmp_path / trunk.name)  # the same file elsewhere is the same recipe
    again = LesionTraining(recipe.with_backbone(file=moved), slices_of(recipe), tmp_path / "run")
    assert again.finished
    card = finish(export_lesions(recipe, slices_of(recipe), tmp_path / "run", tmp_path))[-1]
    assert card.training["backbone_file"] == "trunk.safetensors"
    assert len(card.training["backbone_sha256"]) == 64
    assert located.digest == recipe.digest != tiny_recipe().digest


def test_a_backbone_file_that_cannot_be_used(trunk, tmp_path):
    recipe = dataclasses.replace(tiny_recipe(), backbone_weights="trunk.safetensors")

    def start():
        return LesionTraining(recipe.with_backbone(data=trunk.parent), slices_of(recipe), tmp_path / "run")

    with pytest.raises(SettingsError, match="not from both"):
        dataclasses.replace(recipe, start="lesion-r18t1")
    tensors = load_file(trunk)
    save_file({**tensors, "layer1.0.bn1.running_var": torch.full((64,), torch.nan)}, trunk)
    with pytest.raises(WeightsError, match=r"layer1\.0\.bn1\.running_var"):
        start()
    trunk.write_bytes(trunk.read_bytes()[:1000])
    with pytest.raises(WeightsError, match=r"not a complete safetensors"):
        start()
    trunk.unlink()
    for located in (recipe, recipe.with_backbone(data=trunk.parent)):
        with pytest.raises(WeightsError, match="--backbone-weights"):
            LesionTraining(located, slices_of(recipe), tmp_path / "run")


def test_a_fold_starts_from_the_backbone_file_but_not_from_weights_that_saw_its_patients():
    stage = Stage(kind="dense", steps=1, size=64, batch=1, learning_rate=1e-3, final_rate=1e-4)
    recipe = dataclasses.replace(tiny_recipe(), start="lesion-r18t1", plans={"cross_validation": (stage,)})
    assert fold_recipe(recipe, {"p0": 0, "p1": 1}, 0, size=64).start == ""
    assert recipe.digest != tiny_recipe().digest
    backbone = dataclasses.replace(recipe, start="", backbone_weights="trunk.safetensors")
    fold = fold_recipe(backbone, {"p0": 0, "p1": 1}, 0, size=64)
    assert fold.backbone_weights == "trunk.safetensors"


@pytest.mark.parametrize(("first", "later", "held"), [(0.5, 0.3, 0.3), (0.4, 0.5, 0.4), (0.0, 0.5, None)])
def test_controls_are_held_out_where_the_start_held_them_out_too(first, later, held, tmp_path):
    def run_of(name, share, **changes):
        recipe = dataclasses.replace(tiny_recipe(), name=name, **changes)
        controls = dataclasses.replace(recipe.sources["N"], prefix="n", hold_out=share)
        recipe = dataclasses.replace(recipe, sources={**recipe.sources, "N": controls})
        slices = slices_of(recipe)
        finish(LesionTraining(recipe, slices, tmp_path / name).run())
        return finish(export_lesions(recipe, slices, tmp_path / name, tmp_path / "out"))[-1]

    card = run_of("before", first)
    assert card.training["held_out_controls"] == ({"n": first} if first else {})
    # Weights of earlier versions may have labelled pictures themselves: what starts from them has seen those.
    taught = {**card.training, "self_trained": {"mosmed_ct1": 0.35}}
    (tmp_path / "out" / "before.json").write_text(
        dataclasses.replace(card, training=taught).to_json(), "utf-8"
    )
    card = run_of("after", later, start=str(tmp_path / "out" / "before.safetensors"))
    assert card.training["held_out_controls"] == ({} if held is None else {"n": held})
    assert card.training["self_trained"] == {"mosmed_ct1": 0.35}
