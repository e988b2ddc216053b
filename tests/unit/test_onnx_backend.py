"""The second CPU backend gives the reference's numbers, is chosen where it does, and says so where not."""

import json
import sys

import numpy as np
import pytest
import torch
import torchvision

from model_core.base.cache import VARIABLE, Cache, cache_folder
from model_core.base.errors import SettingsError
from model_core.base.jobs import finish
from model_core.base.settings import BACKEND_VARIABLE, Architecture, DetectorSettings
from model_core.engine import prepared, roi_align, run, self_test
from model_core.engine.load import load_pipeline
from model_core.engine.onnx_backend import OnnxBackend
from model_core.engine.onnx_graph import build_graphs
from model_core.engine.preprocess import network_input
from model_core.engine.torch_backend import TorchBackend
from model_core.networks import build
from model_core.phantom import make_phantom
from model_core.weights.card import ModelCard
from model_core.weights.store import load_weights, shipped

NETWORKS = {
    "resnet18-t1": (Architecture(kind="segmentation"), DetectorSettings()),
    "resnet18-t0": (Architecture(kind="segmentation", truncation=0, region_classes=3), DetectorSettings()),
    "resnet34-t2": (Architecture(kind="classifier", backbone="resnet34", truncation=2), DetectorSettings()),
    "resnet50": (Architecture(kind="segmentation", backbone="resnet50", truncation=0), DetectorSettings()),
    "resnet50-pool": (
        Architecture(kind="classifier", backbone="resnet50", truncation=0, extra_pool=True),
        DetectorSettings(),
    ),
    "single-shot": (
        Architecture(kind="single_shot", branches=2),
        DetectorSettings(rpn_pre_nms=2000, rpn_min_size=2.0),
    ),
}


@pytest.fixture(autouse=True)
def plain_cache(tiny_weights):
    """The cache of the program, not that of the tests."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(prepared, "_CACHE", Cache("graphs", limit=600 << 20))
        yield


def made(name):
    """Return both backends of a network with random weights whose BatchNorm does something."""
    architecture, detector = NETWORKS[name]
    torch.manual_seed(5)
    network = build(architecture, detector)
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm2d):
                layer.running_mean.uniform_(-0.2, 0.2)
                layer.running_var.uniform_(0.5, 2)
                layer.weight.uniform_(0.2, 0.6)
    card = ModelCard(
        name=name,
        title=name,
        architecture=architecture,
        region_classes=("a",) * (architecture.region_classes - 1),
        detector=detector,
    )
    arrays = {key: tensor.numpy() for key, tensor in network.state_dict().items()}
    return TorchBackend(network), OnnxBackend(build_graphs(architecture, card.input, arrays), card), card


@pytest.mark.parametrize(
    ("name", "compiled"),
    [(name, True) for name in NETWORKS] + [("resnet18-t0", False), ("resnet50-pool", False)],
)
def test_every_network_of_the_papers_gives_the_numbers_of_the_reference(name, compiled):
    reference, backend, card = made(name)
    backend.use(compiled=compiled)
    picture = np.random.default_rng(1).random((96, 96), np.float32)
    wanted = reference.look(picture)
    found = backend.look(picture)
    assert list(found.maps) == list(wanted.maps)
    for level, one in wanted.maps.items():
        np.testing.assert_allclose(found.maps[level], one, atol=1e-5)
    same = torchvision.ops.box_iou(*(torch.from_numpy(one.proposals) for one in (wanted, found)))
    large = ((wanted.proposals[:, 2:] - wanted.proposals[:, :2]) > 0.1).all(axis=1)
    assert len(found.proposals) == len(wanted.proposals)
    assert (same.max(dim=1).values[torch.from_numpy(large)] > 0.999).float().mean() > 0.98
    for branch in ("detections", "evidence"):
        theirs = reference.regions(wanted, wanted.proposals, branch=branch)
        ours = backend.regions(wanted, wanted.proposals, branch=branch)
        for field in ("proposals", "boxes", "deltas", "scores", "logits", "labels"):
            one, other = getattr(ours, field), getattr(theirs, field)
            assert one.dtype == other.dtype
            np.testing.assert_allclose(one, other, atol=1e-4 if field == "boxes" else 1e-5, err_msg=field)
    if card.architecture.has_masks:
        some = np.arange(0, len(theirs.boxes), 101)
        halved = {level: one.astype(np.float16) for level, one in wanted.maps.items()}
        masks = [
            which.masks(halved, theirs.boxes[some], theirs.labels[some], size=96)
            for which in (backend, reference)
        ]
        np.testing.assert_allclose(*masks, atol=1e-5)
        none = backend.masks(halved, np.zeros((0, 4), np.float32), np.zeros(0, np.int64), size=96)
        assert none.shape == (0, 28, 28)


@pytest.mark.parametrize("channels_first", [False, True])
@pytest.mark.parametrize(("pool", "reach"), [(7, (1, 30)), (14, (10, 200)), (7, (100, 400))])
def test_compiled_roi_align_is_that_of_torchvision(pool, reach, channels_first):
    kernels = roi_align.compiled(wait=True)
    generator = np.random.default_rng(2)
    maps = generator.standard_normal((16, 16, 40)).astype(np.float32)
    middles, sides = generator.uniform(-20, 276, (60, 2)), generator.uniform(*reach, (60, 2))
    boxes = np.hstack((middles - sides / 2, middles + sides / 2)).astype(np.float32)
    planes = torch.from_numpy(maps).permute(2, 0, 1)[None].contiguous()
    wanted = torchvision.ops.roi_align(planes, [torch.from_numpy(boxes)], pool, 1 / 16, 2).numpy()
    found = np.empty((60, 40, pool**2) if channels_first else (60, pool**2, 40), np.float32)
    kernels.roi_align(
        maps, boxes, np.arange(60), found, scale=1 / 16, pool=pool, channels_first=channels_first
    )
    found = found if channels_first else found.transpose(0, 2, 1)
    np.testing.assert_allclose(found.reshape(wanted.shape), wanted, atol=2e-6)


@pytest.mark.parametrize("iou", [0.3, 0.75, 1.0])
def test_compiled_nms_is_that_of_torchvision(iou):
    generator = np.random.default_rng(3)
    corners = generator.uniform(0, 60, (400, 2)).round()
    boxes = np.hstack((corners, corners + generator.uniform(0, 30, (400, 2)).round())).astype(np.float32)
    wanted = torchvision.ops.nms(torch.from_numpy(boxes), torch.arange(400, 0, -1).float(), iou).numpy()
    kernels = roi_align.compiled(wait=True)
    assert np.array_equal(kernels.nms(boxes, iou, 400), wanted)
    assert np.array_equal(kernels.nms(boxes, iou, 7), wanted[:7])


def test_it_is_chosen_by_itself_and_may_be_overruled(tiny_weights, monkeypatch):
    names = [str(tiny_weights / "tiny.safetensors")]
    assert load_pipeline(names).computes == "ONNX Runtime, CPU"
    assert load_pipeline(names, backend="torch").computes == "PyTorch, CPU"
    monkeypatch.setenv(BACKEND_VARIABLE, "torch")
    assert load_pipeline(names).computes == "PyTorch, CPU"
    assert load_pipeline(names, backend="onnx").computes == "ONNX Runtime, CPU"
    monkeypatch.setenv(BACKEND_VARIABLE, "abacus")
    with pytest.raises(SettingsError, match=f"{BACKEND_VARIABLE}.*abacus.*auto, onnx, torch"):
        load_pipeline(names)


def test_one_that_fails_its_self_test_is_not_used_and_says_so(tiny_weights, monkeypatch, caplog):
    def wrong(architecture, spec, arrays):
        changed = {**arrays, "roi_heads.box_predictor.cls_score.bias": np.full(2, 0.01, np.float32)}
        return build_graphs(architecture, spec, changed)

    monkeypatch.setattr("model_core.engine.onnx_graph.build_graphs", wrong)
    names = [str(tiny_weights / "tiny.safetensors")]
    pipeline = load_pipeline(names)
    assert pipeline.computes == "PyTorch, CPU"
    assert "failed its self-test (logits detections: off by" in pipeline.backend_note
    assert pipeline.backend_note in caplog.text
    with pytest.raises(SettingsError, match="self-test"):
        load_pipeline(names, backend="onnx")


def test_without_onnx_runtime_the_reference_computes(tiny_weights, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *_: None)
    pipeline = load_pipeline([str(tiny_weights / "tiny.safetensors")])
    assert pipeline.computes == "PyTorch, CPU"
    assert "not installed" in pipeline.backend_note


def test_gradients_are_those_of_the_reference(tiny_weights):
    volume, _ = make_phantom(slices=4, size=128)
    found = []
    for backend in ("onnx", "torch"):
        pipeline = load_pipeline([str(tiny_weights / "tiny.safetensors")], backend=backend)
        (result,) = finish(run(pipeline, volume, [2]))
        picture, own = network_input(volume, 2, pipeline.input), pipeline.backend
        proposal = np.array([20, 30, 70, 90], np.float32)
        _, slope = own.region_gradient(picture, proposal, 1)
        logit, cells = own.region_cells(result.features, proposal, 1, size=len(picture))
        assert np.abs(slope).max() > 0
        found.append((slope, cells, logit))
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-3 * np.abs(other).max())


@pytest.mark.parametrize("module", ["prepared", "onnx_graph"])
def test_where_a_package_is_broken_the_reference_computes(module, tiny_weights, monkeypatch):
    """As onnxruntime or onnx without the libraries of the system that it needs."""
    monkeypatch.setitem(sys.modules, f"model_core.engine.{module}", None)
    names = [str(tiny_weights / "tiny.safetensors")]
    pipeline = load_pipeline(names)
    assert pipeline.computes == "PyTorch, CPU"
    assert "cannot be loaded" in pipeline.backend_note
    with pytest.raises(SettingsError, match="cannot be loaded"):
        load_pipeline(names, backend="onnx")


def test_graphs_are_kept_and_damaged_ones_made_anew(tiny_weights, tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    names = [str(tiny_weights / "tiny.safetensors")]
    first = load_pipeline(names, backend="onnx")
    (kept,) = (tmp_path / "cache").rglob("*.graphs")
    assert kept.parent.stat().st_mode & 0o077 == 0
    monkeypatch.setattr("model_core.engine.prepared._graphs", None)  # nothing is made
    again = load_pipeline(names, backend="onnx")
    volume, _ = make_phantom(slices=4, size=128)
    results = [finish(run(pipeline, volume, [2]))[0] for pipeline in (first, again)]
    assert np.array_equal(*(result.detection_candidates.logits for result in results))
    monkeypatch.undo()
    monkeypatch.setenv(VARIABLE, str(tmp_path / "cache"))
    whole = kept.read_bytes()
    kept.write_bytes(whole[: len(whole) // 2])
    load_pipeline(names, backend="onnx")
    assert len(kept.read_bytes()) == len(whole)


def test_a_cache_is_bounded_and_needs_no_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    cache = Cache("things", limit=250)
    for key in ("a", "b", "c"):
        cache.write(key, b"x" * 100)
    assert cache.read("a") is None
    assert (cache.read("b"), cache.read("c")) == (b"x" * 100,) * 2
    cache.write("huge", b"x" * 251)
    assert cache.read("huge") is None
    file = tmp_path / "file"
    file.touch()
    monkeypatch.setenv(VARIABLE, str(file))
    cache.write("d", b"x")
    assert cache.read("d") is None
    monkeypatch.setenv(VARIABLE, "off")
    assert cache_folder() is None
    cache.write("d", b"x")
    assert cache.read("d") is None


@pytest.mark.parametrize(
    "card", [card for card in shipped() if card.kind != "classifier"], ids=lambda card: card.name
)
def test_shipped_numbers_are_those_of_the_reference(card):
    """Where this fails: python -m model_core.engine.self_test."""
    weights = load_weights(card.name)
    wanted = self_test.shipped_numbers(weights.card)
    assert wanted is not None
    assert self_test.difference(prepared._reference_numbers(weights), wanted) == ""
    changed = json.loads(json.dumps(wanted))
    changed["logits detections"][3] += 0.01
    assert "logits detections" in self_test.difference(changed, wanted)
