"""Checkpoints of the papers' code load, are recognised, are written back, and cannot run anything."""

import os
import pickle
import tarfile
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.models.detection.anchor_utils import AnchorGenerator

from model_core.base.errors import WeightsError
from model_core.base.settings import Architecture
from model_core.cli.main import main
from model_core.engine.load import load_pipeline
from model_core.networks import build
from model_core.weights.names import published_name
from model_core.weights.published import PublishedCheckpoint, read_published, write_published
from model_core.weights.recognise import recognise
from model_core.weights.store import load_weights, save_weights


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return build(Architecture(kind="segmentation", truncation=2))


def released(network, **changes):
    """Return a dictionary as the released training code saves it."""
    return {
        "epoch": "100",
        "model_name": None,
        "model_weights": {published_name(k): v for k, v in network.state_dict().items()},
        "optimizer_state": torch.optim.Adam(network.parameters()).state_dict(),
        "lrate": 1e-5,
        "anchor_generator": AnchorGenerator(((2, 4, 8, 16, 32),) * 5, ((0.1, 0.25, 0.5, 1.0, 1.5, 2.0),) * 5),
        **changes,
    }


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-zip"])
def test_a_released_file_loads(network, tmp_path, zipped):
    path = tmp_path / "mrcnn_covid_segmentation_model_ckpt_100.pth"
    torch.save(released(network), path, _use_new_zipfile_serialization=zipped)
    checkpoint = read_published(path)
    assert checkpoint.anchor_sizes == (2, 4, 8, 16, 32)
    assert checkpoint.aspect_ratios == (0.1, 0.25, 0.5, 1.0, 1.5, 2.0)
    assert checkpoint.epoch == 100
    assert checkpoint.optimizer_state["param_groups"][0]["lr"] == 1e-3
    weights = load_weights(str(path))
    assert (weights.card.kind, weights.card.architecture.truncation) == ("segmentation", 2)
    for name, tensor in network.state_dict().items():
        assert torch.equal(weights.tensors[name], tensor)


@pytest.fixture(scope="module")
def resnet50():
    torch.manual_seed(0)
    shape = Architecture(
        kind="classifier", backbone="resnet50", truncation=0, roi_batch_size=256, s_width=64, extra_pool=True
    )
    return build(shape)


def test_the_first_resnet50_release_is_recognised(resnet50, tmp_path, capsys):
    """Frozen BatchNorm has no counters; the pooled fifth RPN level leaves no entry."""
    state = {k: v for k, v in resnet50.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save({"model_weights": state}, tmp_path / "first.pth")
    # A classifier alone gives the class; its masks are the default detector's.
    pipeline = load_pipeline([str(tmp_path / "first.pth")], device="cpu")
    assert [card.kind for card in pipeline.cards] == ["segmentation", "classifier"]
    assert pipeline.cards[1].architecture.extra_pool
    assert pipeline.passes == 2
    assert len(pipeline.evidence_backend.look(np.zeros((64, 64), np.float32)).maps) == 5
    assert main(["weights", "info", str(tmp_path / "first.pth")]) == 0
    assert "5 (first release" in capsys.readouterr().out


def test_a_resnet50_classifier_with_masks_is_of_the_first_release(resnet50):
    sizes = {name: tuple(tensor.shape) for name, tensor in resnet50.state_dict().items()}
    assert not recognise(sizes).extra_pool
    masked = {**sizes, "roi_heads.mask_predictor.mask_fcn_logits.weight": (2, 256, 1, 1)}
    assert recognise(masked).extra_pool
    assert recognise(masked).kind == "classifier"


def test_the_fifth_level_can_be_chosen(resnet50, tmp_path, capsys):
    source, own = tmp_path / "final.pth", tmp_path / "own.safetensors"
    torch.save({"model_weights": resnet50.state_dict()}, source)
    assert not load_weights(str(source)).card.architecture.extra_pool
    arguments = ["weights", "export", str(source), "-o", str(own)]
    assert main([*arguments, "--extra-pool"]) == 0
    chosen = load_weights(str(own))
    assert chosen.card.architecture.extra_pool
    for name, tensor in resnet50.state_dict().items():
        assert torch.equal(chosen.tensors[name], tensor)
    assert main([*arguments, "--no-extra-pool"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert main([*arguments, "--no-extra-pool", "--overwrite"]) == 0
    assert not load_weights(str(own)).card.architecture.extra_pool
    assert main(["weights", "export", str(source), "-o", str(tmp_path / "x.pth"), "--extra-pool"]) == 1
    assert not (tmp_path / "x.pth").exists()


def test_only_resnet50_has_a_fifth_level(network, tmp_path, capsys):
    torch.save(released(network), tmp_path / "a.pth")
    own = str(tmp_path / "own.safetensors")
    assert main(["weights", "export", str(tmp_path / "a.pth"), "-o", own, "--extra-pool"]) == 1
    assert "Only ResNet50" in capsys.readouterr().err


def test_a_bare_state_dict_loads(network, tmp_path):
    torch.save(network.state_dict(), tmp_path / "bare.pt")
    assert load_weights(str(tmp_path / "bare.pt")).card.architecture.backbone == "resnet18"


def test_other_anchors_are_taken_from_the_file(tmp_path):
    shape = Architecture(kind="segmentation", truncation=2, anchor_sizes=(8, 16), aspect_ratios=(1.0, 2.0))
    anchors = AnchorGenerator(((8, 16),) * 5, ((1.0, 2.0),) * 5)
    torch.save(released(build(shape), anchor_generator=anchors), tmp_path / "own.pth")
    assert load_weights(str(tmp_path / "own.pth")).card.architecture == shape


def test_written_back_as_published(network, tmp_path):
    path = tmp_path / "out.pth"
    write_published(
        path,
        PublishedCheckpoint(
            tensors=network.state_dict(), anchor_sizes=(2, 4), aspect_ratios=(1.0,), epoch=7, lrate=1e-5
        ),
    )
    raw = torch.load(path, weights_only=False)
    assert list(raw["model_weights"]) == [published_name(n) for n in network.state_dict()]
    assert raw["anchor_generator"].sizes == ((2, 4),) * 5
    again = read_published(path)
    assert (again.epoch, again.lrate, again.anchor_sizes) == (7, 1e-5, (2, 4))


def test_export_keeps_the_training_state_of_a_released_file(network, tmp_path):
    torch.save(released(network), tmp_path / "in.pth")
    assert main(["weights", "export", str(tmp_path / "in.pth"), "-o", str(tmp_path / "out.pth")]) == 0
    again = read_published(tmp_path / "out.pth")
    assert (again.epoch, again.lrate) == (100, 1e-5)
    assert again.optimizer_state["param_groups"][0]["lr"] == 1e-3


def test_single_shot_files_count_epochs_from_0(network, tmp_path):
    checkpoint = PublishedCheckpoint(tensors=network.state_dict(), epoch=50)
    write_published(tmp_path / "ssm.pth", checkpoint, single_shot=True)
    raw = torch.load(tmp_path / "ssm.pth", weights_only=False)
    assert raw["epoch"] == "49"
    assert "model_name" not in raw
    assert read_published(tmp_path / "ssm.pth").epoch == 50


@pytest.mark.parametrize("prefix", ["module.", "model.", "network.", "module.model.", "_orig_mod.module."])
def test_the_prefix_of_a_wrapper_is_left_out_and_told(network, tmp_path, caplog, prefix):
    wrapped = {prefix + name: tensor for name, tensor in network.state_dict().items()}
    for path in (tmp_path / "wrapped.pth", tmp_path / "wrapped.safetensors"):
        if path.suffix == ".pth":
            torch.save({"state_dict": wrapped}, path)
        else:
            save_file(wrapped, path)
        caplog.clear()
        weights = load_weights(str(path))
        assert weights.tensors.keys() == network.state_dict().keys()
        assert f"'{prefix}'" in weights.card.notes
        assert path.name in caplog.text
        assert f"'{prefix}'" in caplog.text


def test_what_stands_beside_a_wrapped_network_is_left_out_and_told(network, tmp_path):
    """An averaged model has a counter beside its entries; a Lightning module its losses and measures."""
    wrapped = {f"module.{name}": tensor for name, tensor in network.state_dict().items()}
    torch.save({"n_averaged": torch.tensor(3), **wrapped}, tmp_path / "averaged.pth")
    weights = load_weights(str(tmp_path / "averaged.pth"))
    assert weights.tensors.keys() == network.state_dict().keys()
    assert "1 entries without it were not read (n_averaged)" in weights.card.notes


def test_names_without_a_wrapper_stay_and_nothing_is_told(network, tmp_path, caplog):
    torch.save({"model_state_dict": network.state_dict()}, tmp_path / "plain.pth")
    assert "begin with" not in load_weights(str(tmp_path / "plain.pth")).card.notes
    assert not caplog.records


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(
    "entry",
    [
        "roi_heads.box_predictor.cls_score.weight",
        "backbone.body.layer1.0.bn1.running_mean",
        "backbone.body.bn1.running_var",
    ],
)
def test_values_that_are_no_numbers_are_refused_by_name(network, tmp_path, entry, value, kind):
    state = {k: v.to(kind) if v.is_floating_point() else v for k, v in network.state_dict().items()}
    state[entry] = state[entry].clone()
    state[entry].view(-1)[-1] = value
    torch.save(state, tmp_path / "bad.pth")
    save_file(state, tmp_path / "bad.safetensors")
    for name in ("bad.pth", "bad.safetensors"):
        with pytest.raises(WeightsError) as caught:
            load_weights(str(tmp_path / name))
        assert name in caught.value.message
        assert f"'{entry}'" in caught.value.message
        assert "1 of" in caught.value.message


def test_numbers_too_large_for_the_network_and_negative_variances_are_refused(network, tmp_path):
    for entry, value in (("rpn.head.bbox_pred.bias", 1e300), ("backbone.body.bn1.running_var", -1.0)):
        state = {**network.state_dict(), entry: torch.full_like(network.state_dict()[entry].double(), value)}
        torch.save(state, tmp_path / "bad.pth")
        with pytest.raises(WeightsError, match=entry):
            load_weights(str(tmp_path / "bad.pth"))


BOXES = "roi_heads.box_predictor.bbox_pred.weight"
SCORES = "roi_heads.box_predictor.cls_score.weight"
MASKS = "roi_heads.mask_predictor.mask_fcn_logits.weight"


@pytest.mark.parametrize("entry", [BOXES, SCORES, MASKS, "backbone.body.layer1.0.conv1.weight"])
def test_entries_that_do_not_fit_the_others_are_named(network, tmp_path, entry):
    state = dict(network.state_dict())
    state[entry] = torch.cat([state[entry]] * 2)
    torch.save(state, tmp_path / "mixed.pth")
    with pytest.raises(WeightsError, match=r"mixed\.pth was not loaded") as caught:
        load_weights(str(tmp_path / "mixed.pth"))
    # The scores say how many classes there are.
    named = (BOXES, MASKS) if entry == SCORES else (entry,)
    for name in named:
        assert name in caught.value.details


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda entries: entries.update({"extra.weight": torch.zeros(3)}),
            r"1 too many, such as 'extra\.weight'\.",
        ),
        (
            lambda entries: entries.pop(SCORES.replace("weight", "bias")),
            r"1 missing, such as '.*score\.bias'\.",
        ),
    ],
)
def test_entries_that_do_not_fit_are_named(network, tmp_path, change, told):
    entries = dict(network.state_dict())
    change(entries)
    torch.save(released(network, model_weights=entries), tmp_path / "own.pth")
    with pytest.raises(WeightsError, match=rf"'own\.pth' do not fit the architecture of its card: {told}"):
        load_pipeline([str(tmp_path / "own.pth")], device="cpu")


@pytest.mark.parametrize("kind", [torch.int8, torch.complex64])
def test_entries_of_other_numbers_are_refused(network, tmp_path, kind):
    torch.save(
        {**network.state_dict(), SCORES: network.state_dict()[SCORES].to(kind)}, tmp_path / "small.pth"
    )
    with pytest.raises(WeightsError, match=rf"'{SCORES}' holds numbers of the kind {str(kind)[6:]}"):
        load_weights(str(tmp_path / "small.pth"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_pointer_in_place_of_weights_is_told(tmp_path, suffix):
    (tmp_path / f"w{suffix}").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 9\n")
    with pytest.raises(WeightsError, match=r"is not here, this is a pointer of git-lfs"):
        load_weights(str(tmp_path / f"w{suffix}"))


def test_nan_in_the_state_of_the_optimizer_is_no_matter(network, tmp_path):
    state = {"state": {0: {"exp_avg": torch.full((3,), float("nan"))}}, "param_groups": []}
    torch.save(released(network, optimizer_state=state), tmp_path / "good.pth")
    load_weights(str(tmp_path / "good.pth"))


def test_module_s_alone_with_nan_is_refused_although_its_card_fits(tiny_weights, tmp_path):
    weights = load_weights(str(tiny_weights / "tiny-s.safetensors"))
    tensors = {name: tensor.clone() for name, tensor in weights.tensors.items()}
    tensors["s2new.fc_scores_img.bias"][0] = float("nan")
    save_weights(tmp_path / "s.safetensors", tensors, weights.card)
    with pytest.raises(WeightsError, match=r"s2new\.fc_scores_img\.bias"):
        load_pipeline([str(tmp_path / "s.safetensors")], device="cpu")


def test_a_file_with_nan_ends_a_command_with_one_line(network, tmp_path, capsys):
    state = {**network.state_dict(), "rpn.head.bbox_pred.bias": torch.full((120,), float("nan"))}
    torch.save(state, tmp_path / "bad.pth")
    assert main(["weights", "info", str(tmp_path / "bad.pth")]) == 1
    told = capsys.readouterr()
    assert not told.out
    assert told.err.count("\n") == 1
    assert "rpn.head.bbox_pred.bias" in told.err


class _Attack:
    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return os.mkdir, (self.target,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before-zip"])
def test_code_in_a_checkpoint_does_not_run(network, tmp_path, zipped):
    proof = tmp_path / "it-ran"
    path = tmp_path / "evil.pth"
    content = released(network, lrate=_Attack(str(proof)))
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="asks to run code"):
        load_weights(str(path))
    assert not proof.exists()


def test_a_class_that_calls_itself_anchor_generator_is_only_a_stub(network, tmp_path):
    class AnchorGenerator:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "it-ran"),)

    torch.save({"model_weights": {}, "anchor_generator": AnchorGenerator()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError):
        load_weights(str(tmp_path / "evil.pth"))
    assert not (tmp_path / "it-ran").exists()


def test_truncated_files_say_so(network, tmp_path):
    for zipped in (True, False):
        path = tmp_path / f"cut-{zipped}.pth"
        torch.save(released(network), path, _use_new_zipfile_serialization=zipped)
        data = path.read_bytes()
        for size in (0, 1, 40, len(data) // 2, len(data) - 9):
            path.write_bytes(data[:size])
            with pytest.raises(WeightsError):
                load_weights(str(path))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"\x80\x02.",
        pickle.dumps([1, 2]),
        pickle.dumps({"a": 1}),
        b"\x80\x04\x95\xff" + b"\0" * 40,
    ],
)
def test_other_files_say_so(tmp_path, content):
    path = tmp_path / "no.pth"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"no\.pth"):
        load_weights(str(path))


def test_a_zip_of_something_else(tmp_path):
    with zipfile.ZipFile(tmp_path / "no.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(WeightsError, match="damaged or no weight file"):
        load_weights(str(tmp_path / "no.pth"))


def test_another_network_is_named(tmp_path):
    torch.save({"conv.weight": torch.zeros(3, 3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"other\.pth: .*no Mask R-CNN of the papers"):
        load_weights(str(tmp_path / "other.pth"))


def test_info_and_export_commands(tiny_weights, tmp_path, capsys):
    assert main(["weights", "info", str(tiny_weights / "tiny-s.safetensors")]) == 0
    assert "Other (non-COVID)" in capsys.readouterr().out
    target = tmp_path / "whole.pth"
    assert main(["weights", "export", str(tiny_weights / "tiny-s.safetensors"), "-o", str(target)]) == 0
    whole = load_weights(str(target))
    assert whole.card.kind == "classifier"
    assert whole.card.architecture.anchor_sizes == (8, 16, 32)
    base = load_weights(str(tiny_weights / "tiny.safetensors"))
    name = "roi_heads.box_head.fc6.weight"
    assert torch.equal(whole.tensors[name], base.tensors[name])
    assert main(["weights", "export", str(tiny_weights / "tiny.safetensors"), "-o", str(target)]) == 1
    assert "exists already" in capsys.readouterr().err


def test_a_card_of_another_file_is_refused(tiny_weights, tmp_path):
    weights = load_weights(str(tiny_weights / "tiny.safetensors"))
    path = tmp_path / "tiny.safetensors"
    save_weights(path, weights.tensors, weights.card)
    path.write_bytes(path.read_bytes()[:-4] + b"\1\2\3\4")
    with pytest.raises(WeightsError, match="SHA-256"):
        load_weights(str(path))


def test_torchscript_is_not_loaded(tmp_path):
    # torch.load would hand such a file to the TorchScript interpreter, which runs its code.
    with zipfile.ZipFile(tmp_path / "script.pth", "w") as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"script/{name}", b"")
    with pytest.raises(WeightsError, match="TorchScript"):
        load_weights(str(tmp_path / "script.pth"))


def test_the_oldest_container_is_not_opened(tmp_path):
    with tarfile.open(tmp_path / "old.pth", "w") as archive:
        entry = tarfile.TarInfo("storages")
        entry.type = tarfile.FIFOTYPE
        archive.addfile(entry)
    with pytest.raises(WeightsError, match="damaged or no weight file"):
        load_weights(str(tmp_path / "old.pth"))


def test_a_tensor_larger_than_its_data(tmp_path):
    huge = torch.zeros(1, dtype=torch.float16).expand(1 << 40)
    torch.save({"model_weights": {"a": huge}}, tmp_path / "huge.pth")
    with pytest.raises(WeightsError, match="larger than its data"):
        load_weights(str(tmp_path / "huge.pth"))


def test_a_compressed_zip_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "no.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"0" * 10_000_000)
    with pytest.raises(WeightsError, match="damaged or no weight file"):
        load_weights(str(tmp_path / "no.pth"))
