"""The networks compute what the published models compute.

Each case names an architecture (settings and entry shapes) and holds the numbers that the authors' code
gave for weights drawn by ``recipe``. Two small cases come with the project, in ``data``: without the input,
which ``recipe`` draws too, and with some of the numbers. They run where there is no ``../shared/golden``; run
other folders with ``pytest tests/golden --golden-dir DIR``.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from model_core.base.settings import DetectorSettings, EvidenceSettings
from model_core.engine.onnx_backend import OnnxBackend
from model_core.engine.onnx_graph import build_graphs
from model_core.engine.torch_backend import module_s
from model_core.explain import paste_maps
from model_core.networks import build
from model_core.ranking import rank_regions, roi_batch
from model_core.weights.card import ModelCard
from model_core.weights.names import modern_name, published_name
from model_core.weights.recognise import recognise

sys.path.insert(0, str(Path(__file__).parent))
import recipe

DATA = Path(__file__).resolve().parent / "data"
FLOAT = {"rtol": 1e-3, "atol": 1e-3}
MASK = {"rtol": 1e-2, "atol": 1e-2}
# Scores of the two implementations that differ by less may be one row's: the tolerance of a score of 1.
TIE = 2e-3
# Objectness that differs by less is a tie: another thread count alone has been seen to swap proposals whose
# scores differ by 5e-5. Half the folder's tolerance.
OBJECTNESS_TIE = 5e-4


def pytest_generate_tests(metafunc):
    if "case" in metafunc.fixturenames:
        folder = metafunc.config.getoption("--golden-dir")
        cases = sorted(folder.glob("*.json")) if folder.is_dir() else []
        if not cases:
            mark = pytest.mark.skip(reason=f"no golden cases in {folder.name}")
            metafunc.parametrize("case", [pytest.param(None, marks=mark)])
        else:
            metafunc.parametrize("case", cases, ids=[c.stem for c in cases])


def load(case):
    about = json.loads(case.read_text())
    settings = about["settings"]
    architecture = recognise(about["shapes"])
    network = build(architecture)
    network.rpn.nms_thresh = settings["rpn_nms"]
    if about["kind"] == "single_shot":
        network.rpn._pre_nms_top_n["testing"] = 2000
    weights = recipe.checkpoint(about["shapes"], about["seed"])
    state = {modern_name(name): torch.from_numpy(array) for name, array in weights.items()}
    network.load_state_dict(state, strict=True)
    assert [published_name(name) for name in network.state_dict()] == list(about["shapes"])
    assert sum(p.numel() for p in network.parameters()) == about["parameters"]
    assert architecture.backbone == settings["backbone"]
    assert str(architecture.truncation) == settings["trunc"]
    assert architecture.region_classes == settings["n_c"]
    return about, network.eval(), Golden(case.with_suffix(".npz"), about)


class Golden:
    """The numbers of a case; ``compare`` looks at as many of an array as the case has."""

    def __init__(self, path, about):
        self._strides = about.get("strides", {})
        with np.load(path) as archive:
            self._arrays = {key: archive[key] for key in archive}
        self._arrays.setdefault("image", recipe.slice_image(about["seed"]))

    def __contains__(self, key):
        return key in self._arrays

    def __getitem__(self, key):
        assert key not in self._strides
        return self._arrays[key]

    def compare(self, key, found, columns=slice(None), **tolerance):
        expected = self._arrays[key][:, columns] if columns != slice(None) else self._arrays[key]
        assert expected.size
        np.testing.assert_allclose(recipe.kept(key, found, self._strides), expected, **tolerance)

    def compare_masks(self, found, labels):
        """Compare (D, 28, 28) mask logits with those of their own class."""
        expected = self._arrays["mask_logits"]
        found = recipe.kept("mask_logits", found, self._strides)
        own = recipe.kept("mask_logits", labels, self._strides)
        assert len(found) == len(expected) == len(own) > 0
        np.testing.assert_allclose(found, expected[np.arange(len(own)), own], **MASK)


def test_small_cases_are_small_and_hold_the_numbers_of_the_whole_ones(pytestconfig):
    cases = sorted(DATA.glob("*.json"))
    assert {json.loads(case.read_text())["kind"] for case in cases} == {"segmentation", "classifier"}
    for case in cases:
        assert case.stat().st_size + case.with_suffix(".npz").stat().st_size <= 50_000
        about = json.loads(case.read_text())
        whole = pytestconfig.getoption("--golden-dir") / case.name
        if whole.parent.resolve() == DATA or not whole.is_file():
            continue
        assert json.loads(whole.read_text()).items() <= about.items()
        with np.load(case.with_suffix(".npz")) as small, np.load(whole.with_suffix(".npz")) as full:
            assert np.array_equal(recipe.slice_image(about["seed"]), full["image"])
            assert {*small, "image"} == {*full}
            for key in small:
                assert np.array_equal(small[key], recipe.kept(key, full[key], about["strides"]))


def as_sets(found, expected, keys, tie=TIE, **tolerance):
    """Compare rows that may come in any order where scores tie; return found's row for each expected one.

    The first key is the score. Float noise of another thread count or processor is enough to swap
    neighbours whose scores are equal but for the last digits.
    """
    scores = found[keys[0]], expected[keys[0]]
    assert scores[0].shape == scores[1].shape
    np.testing.assert_allclose(*scores, **tolerance)
    size = len(scores[1])
    order = np.full(size, -1)
    used = np.zeros(size, bool)
    for row in range(size):
        tied = np.where((np.abs(scores[0] - scores[1][row]) <= tie) & ~used)[0]
        tied = tied[np.argsort(np.abs(tied - row), kind="stable")]
        match = [
            t for t in tied if all(np.allclose(found[k][t], expected[k][row], **tolerance) for k in keys)
        ]
        assert match, f"row {row} has no partner"
        order[row] = match[0]
        used[match[0]] = True
    return order


def proposals_in_order(network, image, features, golden):
    """Return the proposals in the golden order, after checking that only tied ones were out of it."""
    kept_scores = []
    original = network.rpn.filter_proposals

    def watched(*arguments):
        boxes, scores = original(*arguments)
        kept_scores.append(scores[0].numpy())
        return boxes, scores

    network.rpn.filter_proposals = watched
    (boxes,) = network.propose(image, features)
    network.rpn.filter_proposals = original
    assert boxes.shape == golden["proposals"].shape
    # The golden file has no objectness; where rows agree it is ours, so ours ranks both.
    found = {"score": kept_scores[0], "box": boxes.numpy()}
    expected = {"score": kept_scores[0], "box": golden["proposals"]}
    order = as_sets(found, expected, ["score", "box"], OBJECTNESS_TIE, **FLOAT)
    return [boxes[order]]


def test_case(case):
    about, network, golden = load(case)
    image = torch.from_numpy(golden["image"].astype(np.float32) / 255).expand(1, 3, -1, -1)
    with torch.inference_mode():
        features = network.features(image)
        for level, name in enumerate(features):
            key = f"feature_{level}_first8"
            if key in golden:
                golden.compare(key, features[name][0, :8].numpy(), **FLOAT)
                np.testing.assert_allclose(
                    features[name].abs().mean().item(), golden[f"feature_{level}_mean_abs"], **FLOAT
                )
        proposals = proposals_in_order(network, image, features, golden)
        heads = network.roi_heads
        logits, deltas = heads.box_predictor(
            heads.box_head(heads.box_roi_pool(features, proposals, [(512, 512)]))
        )
        golden.compare("class_logits", logits.numpy(), **FLOAT)
        golden.compare("box_regression", deltas.numpy(), **FLOAT)
        if about["kind"] != "classifier":
            check_detections(network, image, features, proposals, golden, about)
        if about["kind"] != "segmentation":
            check_image_class(network, image, features, proposals, golden, about)


def test_the_second_backend_computes_the_case(case):
    about = json.loads(case.read_text())
    settings, golden = about["settings"], Golden(case.with_suffix(".npz"), about)
    architecture = recognise(about["shapes"])
    weights = recipe.checkpoint(about["shapes"], about["seed"])
    arrays = {modern_name(name): array for name, array in weights.items()}
    pre_nms = 2000 if about["kind"] == "single_shot" else 1000
    card = ModelCard(
        name="golden",
        title="golden",
        architecture=architecture,
        region_classes=("a",) * (architecture.region_classes - 1),
        detector=DetectorSettings(rpn_nms_iou=settings["rpn_nms"], rpn_pre_nms=pre_nms),
    )
    backend = OnnxBackend(build_graphs(architecture, card.input, arrays), card)
    backend.use(compiled=True)
    look = backend.look(golden["image"].astype(np.float32) / 255)
    for level, one in enumerate(look.maps.values()):
        if f"feature_{level}_first8" in golden:
            golden.compare(f"feature_{level}_first8", one[:8], **FLOAT)
    wanted = golden["proposals"]
    assert look.proposals.shape == wanted.shape
    apart = np.abs(look.proposals[None] - wanted[:, None]).max(axis=2).min(axis=1)
    assert (apart < 1e-2).mean() > 0.995  # of two that tie, NMS may keep the other
    for branch, suffix in (("detections", ""), ("evidence", "_s2"))[: architecture.branches]:
        found = backend.regions(look, wanted, branch=branch)
        shape = (len(wanted), architecture.region_classes - 1)
        golden.compare(f"class_logits{suffix}", found.logits.reshape(shape), columns=slice(1, None), **FLOAT)
        deltas = found.deltas.reshape(len(wanted), -1)
        golden.compare(f"box_regression{suffix}", deltas, columns=slice(4, None), **FLOAT)
    if about["kind"] != "classifier":
        masks = backend.masks(look.maps, golden["boxes"], golden["labels"], size=512)
        golden.compare_masks(masks, golden["labels"])


def check_detections(network, image, features, proposals, golden, about):
    settings = about["settings"]
    single = about["kind"] == "single_shot"
    (regions,) = network.regions(image, features, proposals)
    keep = rank_regions(
        regions.boxes.numpy(),
        regions.scores.numpy(),
        regions.labels.numpy(),
        score=settings["score" if single else "conf"],
        nms_iou=settings["nms" if single else "roi_nms"],
        min_area=None if single else 0.0,
        limit=settings["N" if single else "det"],
    )
    masks = network.mask_logits(features, [regions.boxes[keep]], size=(512, 512))
    found = {
        "scores": regions.scores[keep].numpy(),
        "boxes": regions.boxes[keep].numpy(),
        "labels": regions.labels[keep].numpy(),
    }
    order = as_sets(found, golden, ["scores", "boxes", "labels"], **FLOAT)
    golden.compare("mask_logits", masks.numpy()[order], **MASK)
    own = masks[torch.arange(len(keep)), regions.labels[keep]]
    if single:
        own = own.sigmoid()
    pasted = np.zeros((len(keep), 512, 512), np.float32)
    patches = paste_maps(own.numpy(), regions.boxes[keep].numpy(), (512, 512))
    for picture, patch in zip(pasted, patches, strict=True):
        picture[patch.region] = patch.values
    pasted = pasted[order]
    golden.compare("pasted_first4", pasted[:4], **MASK)
    np.testing.assert_allclose(pasted.sum((1, 2)), golden["pasted_sum"], **MASK)


def check_image_class(network, image, features, proposals, golden, about):
    settings = about["settings"]
    single = about["kind"] == "single_shot"
    evidence = EvidenceSettings(
        nms_iou=settings["nmsc" if single else "roi_nms"],
        batch_size=settings["N"],
        min_area=1e-5 if single else 0.0,
    )
    assert network.architecture.roi_batch_size == settings["N"]
    assert network.architecture.s_width == settings["s"]
    if "class_logits_s2" in golden:
        heads = network.roi_heads
        logits, deltas = heads.box_predictor_s2(
            heads.box_head_s2(heads.box_roi_pool(features, proposals, [(512, 512)]))
        )
        golden.compare("class_logits_s2", logits.numpy(), **FLOAT)
        golden.compare("box_regression_s2", deltas.numpy(), **FLOAT)
    (regions,) = network.class_regions(image, features, proposals)
    keep = rank_regions(
        regions.boxes.numpy(),
        regions.scores.numpy(),
        regions.labels.numpy(),
        score=evidence.score,
        nms_iou=evidence.nms_iou,
        min_area=evidence.min_area,
        limit=evidence.batch_size,
    )
    batch = roi_batch(regions.scores.numpy(), regions.deltas.numpy(), keep, size=evidence.batch_size)
    rows, expected = batch.rows, golden["roi_batch"]
    order = as_sets(
        {"score": rows[:, 0], "rows": rows},
        {"score": expected[:, 0], "rows": expected},
        ["score", "rows"],
        **FLOAT,
    )
    logits = module_s(network.s2new)(rows[order])
    np.testing.assert_allclose(logits, golden["image_logits"], **FLOAT)
    # The whole pass reads the rows in its own order of ties.
    whole = network.image_logits(image, evidence)[0].numpy()
    np.testing.assert_allclose(
        whole, network.s2new(torch.from_numpy(rows)[None])[0].numpy(), rtol=1e-5, atol=1e-5
    )
    if np.array_equal(order, np.arange(len(order))):
        np.testing.assert_allclose(whole, golden["image_logits"], **FLOAT)
