"""``ctmasknet train`` end to end: three systems on a handful of slices, chained as the papers chain them."""

import csv
import dataclasses
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from model_core.cli.main import main
from model_core.data import read_classes
from model_core.engine.load import load_pipeline
from model_core.measure.slices import with_grey_map
from model_core.phantom import make_phantom
from model_core.train import examples
from model_core.weights.published import read_published
from model_core.weights.store import load_weights, save_weights

SMALL = ["--size", "64", "--device", "cpu", "--lr", "1e-4"]
SHAPE = ["--truncation", "2", "--anchor-sizes", "8", "16", "--aspect-ratios", "1.0", "2.0", "--min-area", "4"]


def write_pictures(folder, volume, slices):
    folder.mkdir(parents=True)
    for index in slices:
        grey = np.clip((volume.voxels[index] + 1350) / 1500 * 255, 0, 255).astype(np.uint8)
        Image.fromarray(grey).save(folder / f"p{index}.png")


@pytest.fixture(scope="module")
def masks(tmp_path_factory):
    """Four slices with masks, as images/ and masks/."""
    folder = tmp_path_factory.mktemp("masks")
    volume, labels = make_phantom(slices=12, size=64)
    chosen = np.argsort(-(labels > 0).sum(axis=(1, 2)))[:4].tolist()
    write_pictures(folder / "images", volume, chosen)
    (folder / "masks").mkdir()
    for index in chosen:
        Image.fromarray(labels[index]).save(folder / "masks" / f"p{index}.png")
    return folder


@pytest.fixture(scope="module")
def classes(tmp_path_factory):
    """Two slices of each class."""
    folder = tmp_path_factory.mktemp("classes")
    volume, _ = make_phantom(slices=6, size=64)
    for k, name in enumerate(("normal", "other", "covid")):
        write_pictures(folder / name, volume, [2 * k, 2 * k + 1])
    return folder


@pytest.fixture(scope="module")
def segmentation(masks, tmp_path_factory):
    out = tmp_path_factory.mktemp("segmentation")
    command = ["train", "segmentation", "--data", str(masks), "-o", str(out), "--name", "seg", *SMALL, *SHAPE]
    assert main([*command, "--epochs", "1", "--batch", "2", "--released", "--validation-share", "0.25"]) == 0
    return out


def test_segmentation_writes_weights_log_plot_and_the_released_form(segmentation):
    card = load_weights(str(segmentation / "seg.safetensors")).card
    assert card.kind == "segmentation"
    assert card.training["preset"] == "p2"
    assert card.training["epochs"] == 1
    released = read_published(segmentation / "seg_ckpt_1.pth")
    assert (released.epoch, released.anchor_sizes) == (1, (8, 16))
    assert released.optimizer_state["state"]
    with (segmentation / "log.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    assert float(row["loss_mask"]) > 0
    assert float(row["validation"]) > 0
    with Image.open(segmentation / "losses.png") as plot:
        assert plot.size == (840, 540)


def test_a_training_that_stops_says_where_it_stands_and_how_it_goes_on(masks, tmp_path, capsys):
    out = tmp_path / "out"
    command = ["train", "segmentation", "--data", str(masks), "-o", str(out), "--name", "seg", *SMALL, *SHAPE]
    command += ["--epochs", "2", "--batch", "2"]
    assert main([*command, "--max-steps", "1"]) == 0
    told = capsys.readouterr().out
    assert "0 of 2 epochs done (1 of 4 steps)" in told
    assert str(out / "checkpoint.pt") in told
    assert "none yet" in told
    assert "same command again" in told
    assert main([*command, "--max-steps", "2"]) == 0
    told = capsys.readouterr().out
    assert "1 of 2 epochs done (3 of 4 steps)" in told
    assert str(out / "seg.safetensors") in told
    assert (out / "seg.safetensors").is_file()
    assert main(command) == 0
    told = capsys.readouterr().out
    assert "2 of 2 epochs done (4 of 4 steps)" in told
    assert "again" not in told


def test_a_side_that_no_network_takes_is_a_usage_error(masks, tmp_path, capsys):
    command = ["train", "segmentation", "--data", str(masks), "-o", str(tmp_path / "out"), *SMALL, *SHAPE]
    with pytest.raises(SystemExit) as caught:
        main([*command, "--size", "100"])
    assert caught.value.code == 2
    assert "100 is not a multiple of 32" in capsys.readouterr().err


def test_an_extra_that_is_absent_is_told_before_anything_is_trained(masks, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    command = ["train", "segmentation", "--data", str(masks), "-o", str(tmp_path / "out"), *SMALL, *SHAPE]
    assert main([*command, "--epochs", "1", "--tensorboard"]) == 1
    assert "ctmasknet[log]" in capsys.readouterr().err
    assert not list(tmp_path.rglob("*.safetensors"))


@pytest.fixture(scope="module")
def classifier(segmentation, classes, tmp_path_factory):
    out = tmp_path_factory.mktemp("classifier")
    command = ["train", "classifier", "--data", str(classes), "-o", str(out), "--name", "cls", *SMALL]
    command += ["--segmentation", str(segmentation / "seg.safetensors"), "--roi-batch-size", "16"]
    assert main([*command, "--s-features", "8", "--epochs", "1"]) == 0
    shutil.copy(segmentation / "seg.safetensors", out)
    shutil.copy(segmentation / "seg.json", out)
    return out


def test_an_s_only_classifier_runs_in_one_pass_on_its_segmentation(classifier):
    stored = load_weights(str(classifier / "cls.safetensors"))
    assert all(name.startswith("s2new.") for name in stored.tensors)
    pipeline = load_pipeline([str(classifier / "cls.safetensors")], device="cpu")
    assert pipeline.passes == 1
    assert pipeline.image_classes == ("Control", "Other (non-COVID)", "COVID-19")


def test_a_classifier_learns_from_the_greys_that_it_is_shown_in_use(segmentation, tmp_path, monkeypatch):
    """Of weights that find the window of a picture by itself, wide windows are found in training, too."""
    base = load_weights(str(segmentation / "seg.safetensors"))
    spec = dataclasses.replace(base.card.input, grey="estimate")
    save_weights(tmp_path / "base.safetensors", base.tensors, dataclasses.replace(base.card, input=spec))
    volume, _ = make_phantom(slices=6, size=96)
    for k, name in enumerate(("normal", "other", "covid")):
        (tmp_path / "data" / name).mkdir(parents=True)
        wide = np.clip((volume.voxels[2 + k % 2] + 1250) / 2500 * 255, 0, 255).astype(np.uint8)
        Image.fromarray(wide).save(tmp_path / "data" / name / f"p{k}.png")
    seen = []
    plain = examples.ClassExamples.__init__

    def spy(self, slices, **others):
        seen.extend(slices)
        plain(self, slices, **others)

    monkeypatch.setattr(examples.ClassExamples, "__init__", spy)
    command = ["train", "classifier", "--data", str(tmp_path / "data"), "-o", str(tmp_path / "out"), *SMALL]
    command += ["--segmentation", str(tmp_path / "base.safetensors"), "--roi-batch-size", "16"]
    assert main([*command, "--s-features", "8", "--epochs", "1"]) == 0
    wanted = {one.high_hu for one in with_grey_map(read_classes(tmp_path / "data"), "estimate")}
    assert {one.high_hu for one in seen} == wanted
    assert wanted != {one.high_hu for one in read_classes(tmp_path / "data")}


def test_fine_tuning_on_two_classes_keeps_two_logits(classifier, segmentation, classes, tmp_path, capsys):
    two = tmp_path / "two"
    shutil.copytree(classes, two)
    for name in ("cls.safetensors", "cls.json"):  # away from the segmentation file it reads
        shutil.copy(classifier / name, tmp_path)
    command = ["train", "classifier", "--from-classifier", str(tmp_path / "cls.safetensors"), *SMALL]
    assert main([*command, "--data", str(two), "-o", str(tmp_path / "out"), "--name", "tuned"]) == 1
    assert "Give that segmentation file" in capsys.readouterr().err
    other = ["--segmentation", "lesion-r18t1", "--data", str(two), "-o", str(tmp_path / "out")]
    assert main([*command, *other, "--name", "tuned"]) == 1
    assert "other segmentation weights" in capsys.readouterr().err
    command += ["--segmentation", str(segmentation / "seg.safetensors")]
    command += ["--two-logits", "--epochs", "1", "-o", str(tmp_path / "out"), "--name", "tuned"]
    assert main([*command, "--data", str(two)]) == 1  # class 1 is still there
    shutil.rmtree(two / "other")
    assert main([*command, "--data", str(two), "--mode", "s_bn"]) == 0
    card = load_weights(str(tmp_path / "out" / "tuned.safetensors")).card
    assert card.image_classes == ("Control", "COVID-19")
    assert card.architecture.image_classes == 2


def test_single_shot_trains_and_runs_alone(masks, classes, tmp_path):
    command = ["train", "single-shot", "--data", str(classes), "--segmentation-data", str(masks), *SMALL]
    command += [*SHAPE, "-o", str(tmp_path), "--name", "ssm", "--epochs", "1"]
    assert main(command) == 0
    pipeline = load_pipeline([str(tmp_path / "ssm.safetensors")], device="cpu")
    assert pipeline.passes == 1
    assert pipeline.cards[0].kind == "single_shot"


def test_a_stopped_training_goes_on(masks, tmp_path):
    def train(out, *options):
        command = ["train", "segmentation", "--data", str(masks), "-o", str(tmp_path / out), "--name", "x"]
        assert main([*command, *SMALL, *SHAPE, "--epochs", "1", "--batch", "2", *options]) == 0
        return torch.load(tmp_path / out / "checkpoint.pt", weights_only=True)["network"]

    whole = train("whole")
    train("parts", "--max-steps", "1")
    assert not (tmp_path / "parts" / "x.safetensors").exists()
    parts = train("parts")
    assert all(torch.equal(whole[name], parts[name]) for name in whole)


@pytest.mark.parametrize("file", ["resnet18.pth", "resnet18.safetensors"])
def test_a_backbone_file_is_recorded(masks, tmp_path, file):
    from safetensors.torch import save_file
    from torchvision.models import resnet18

    torch.manual_seed(4)
    network = resnet18(weights=None)
    save = save_file if file.endswith("safetensors") else torch.save
    save(network.state_dict(), tmp_path / file)
    command = ["train", "segmentation", "--data", str(masks), "-o", str(tmp_path / "out"), "--name", "x"]
    command += [*SMALL, *SHAPE, "--epochs", "1", "--lr", "1e-12"]
    assert main([*command, "--backbone-weights", str(tmp_path / file)]) == 0
    weights = load_weights(str(tmp_path / "out" / "x.safetensors"))
    assert weights.card.training["backbone_file"] == file
    torch.testing.assert_close(weights.tensors["backbone.body.conv1.weight"], network.conv1.weight.detach())
    save({"conv1.weight": torch.zeros(1)}, tmp_path / file)
    assert main([*command, "--backbone-weights", str(tmp_path / file)]) == 1


def test_the_imagenet_trunk_starts_a_backbone(shared_data, masks, tmp_path):
    trunk = shared_data / "E_imagenet_resnet18" / "resnet18_imagenet_trunk.safetensors"
    command = ["train", "segmentation", "--data", str(masks), "-o", str(tmp_path / "out"), "--name", "x"]
    command += [*SMALL, *SHAPE, "--epochs", "1", "--lr", "1e-12", "--backbone-weights", str(trunk)]
    assert main(command) == 0
    weight = load_weights(str(tmp_path / "out" / "x.safetensors")).tensors["backbone.body.conv1.weight"]
    expected = torch.tensor([-0.010417, -0.006134, -0.001809])  # of the data's description
    torch.testing.assert_close(weight[0, 0, 0, :3], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("system", ["segmentation", "classifier", "single-shot"])
def test_real_data_a_few_steps(shared_data, tmp_path, segmentation, system):
    data = {"segmentation": "A5_mosmed_lesion"}.get(system, "B_slice_classification")
    command = ["train", system, "--data", str(shared_data / data), "-o", str(tmp_path), *SMALL]
    if system == "classifier":
        command += ["--segmentation", str(segmentation / "seg.safetensors")]
    else:
        command += SHAPE
    if system == "single-shot":
        command += ["--segmentation-data", str(shared_data / "A_lesion_ggo_consolidation")]
    assert main([*command, "--batch", "2", "--max-steps", "2"]) == 0
    state = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert (state["epoch"], state["position"]) == (0, 2)


def damage_values(folder):
    path = next((folder / "masks").iterdir())
    Image.fromarray(np.full((64, 64), 7, np.uint8)).save(path)


def damage_size(folder):
    path = next((folder / "masks").iterdir())
    Image.fromarray(np.zeros((32, 64), np.uint8)).save(path)


def damage_pair(folder):
    next((folder / "masks").iterdir()).unlink()


def damage_all(folder):
    for path in (folder / "images").iterdir():
        path.unlink()


@pytest.mark.parametrize("damage", [damage_values, damage_size, damage_pair, damage_all])
def test_bad_data_is_one_clear_line(masks, tmp_path, capsys, damage):
    folder = tmp_path / "bad"
    shutil.copytree(masks, folder)
    damage(folder)
    command = ["train", "segmentation", "--data", str(folder), "-o", str(tmp_path / "out"), *SMALL, *SHAPE]
    assert main([*command, "--epochs", "1"]) == 1
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1
    assert error[0].startswith("ctmasknet: ")
    assert not list((tmp_path / "out").glob("*.safetensors"))
