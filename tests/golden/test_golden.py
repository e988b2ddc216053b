"""The networks compute what the published models compute.

Each case names an architecture (settings and entry shapes) and holds the numbers that the authors' code
gave for weights drawn by ``recipe``. Run other folders with ``pytest tests/golden --golden-dir DIR``.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from model_core.config import EvidenceSettings
from model_core.networks import build, modern_name, published_name, rank_regions, recognise, roi_batch

sys.path.insert(0, str(Path(__file__).parent))
import recipe

FLOAT = {"rtol": 1e-3, "atol": 1e-3}
MASK = {"rtol": 1e-2, "atol": 1e-2}


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
    return about, network.eval(), np.load(case.with_suffix(".npz"))


def as_sets(found, expected, keys, **tolerance):
    """Compare row-aligned arrays where rows with tied scores may come in any order."""
    scores = found[keys[0]], expected[keys[0]]
    assert scores[0].shape == scores[1].shape
    np.testing.assert_allclose(*scores, **tolerance)
    size = len(scores[1])
    used = np.zeros(size, bool)
    for row in range(size):
        tied = np.where((np.abs(scores[1] - scores[0][row]) <= 2e-3) & ~used)[0]
        match = [
            t for t in tied if all(np.allclose(found[k][row], expected[k][t], **tolerance) for k in keys)
        ]
        assert match, f"row {row} has no partner"
        used[match[0]] = True


def test_case(case):
    about, network, golden = load(case)
    image = torch.from_numpy(golden["image"].astype(np.float32) / 255).expand(1, 3, -1, -1)
    with torch.inference_mode():
        features = network.features(image)
        for level, name in enumerate(features):
            key = f"feature_{level}_first8"
            if key in golden:
                np.testing.assert_allclose(features[name][0, :8].numpy(), golden[key], **FLOAT)
                np.testing.assert_allclose(
                    features[name].abs().mean().item(), golden[f"feature_{level}_mean_abs"], **FLOAT
                )
        proposals = network.propose(image, features)
        np.testing.assert_allclose(proposals[0].numpy(), golden["proposals"], **FLOAT)
        heads = network.roi_heads
        logits, deltas = heads.box_predictor(
            heads.box_head(heads.box_roi_pool(features, proposals, [(512, 512)]))
        )
        np.testing.assert_allclose(logits.numpy(), golden["class_logits"], **FLOAT)
        np.testing.assert_allclose(deltas.numpy(), golden["box_regression"], **FLOAT)
        if about["kind"] != "classifier":
            check_detections(network, image, features, proposals, golden, about)
        if about["kind"] != "segmentation":
            check_image_class(network, image, features, proposals, golden, about)


def check_detections(network, image, features, proposals, golden, about):
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    settings = about["settings"]
    single = about["kind"] == "single_shot"
    (regions,) = network.regions(image, features, proposals)
    keep = rank_regions(
        regions.boxes,
        regions.scores,
        regions.labels,
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
    as_sets(found, golden, ["scores", "boxes", "labels"], **FLOAT)
    if np.array_equal(found["labels"], golden["labels"]) and np.allclose(
        found["boxes"], golden["boxes"], **FLOAT
    ):
        np.testing.assert_allclose(masks.numpy(), golden["mask_logits"], **MASK)
    else:
        as_sets(found | {"mask_logits": masks.numpy()}, golden, ["scores", "boxes", "mask_logits"], **MASK)
    own = masks[torch.arange(len(keep)), regions.labels[keep]][:, None]
    if single:
        own = own.sigmoid()
    pasted = paste_masks_in_image(own, regions.boxes[keep], (512, 512))[:, 0].numpy()
    np.testing.assert_allclose(pasted[:4], golden["pasted_first4"], **MASK)
    sums = {"scores": found["scores"], "pasted_sum": pasted.sum((1, 2))}
    as_sets(sums, golden, ["scores", "pasted_sum"], **MASK)


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
        np.testing.assert_allclose(logits.numpy(), golden["class_logits_s2"], **FLOAT)
        np.testing.assert_allclose(deltas.numpy(), golden["box_regression_s2"], **FLOAT)
    (regions,) = network.class_regions(image, features, proposals)
    keep = rank_regions(
        regions.boxes,
        regions.scores,
        regions.labels,
        score=evidence.score,
        nms_iou=evidence.nms_iou,
        min_area=evidence.min_area,
        limit=evidence.batch_size,
    )
    batch = roi_batch(regions.scores, regions.deltas, keep, size=evidence.batch_size)
    rows, expected = batch.rows.numpy(), golden["roi_batch"]
    as_sets(
        {"score": rows[:, 0], "rows": rows},
        {"score": expected[:, 0], "rows": expected},
        ["score", "rows"],
        **FLOAT,
    )
    np.testing.assert_allclose(network.s2new(batch.rows[None])[0].numpy(), golden["image_logits"], **FLOAT)
    np.testing.assert_allclose(
        network.image_logits(image, evidence)[0].numpy(), golden["image_logits"], **FLOAT
    )
