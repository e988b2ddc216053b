"""Looking at the mirror image, too: means of both answers, and nothing else where it is left out."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from model_core.base.results import MIRRORED, SliceResult
from model_core.base.settings import Architecture, DetectionSettings, DetectorSettings
from model_core.cli.main import main
from model_core.engine import detect, run
from model_core.engine.load import load_pipeline
from model_core.networks import SingleShot, build
from model_core.phantom import make_phantom, write_dicom
from model_core.weights.store import load_weights, save_weights

SHAPE = {"truncation": 2, "anchor_sizes": (8, 16, 32), "aspect_ratios": (0.5, 1.0, 2.0), "region_classes": 3}
SIZE = 128
LEFT_FOR_RIGHT = torch.tensor([-1.0, 1, 1, 1])


@pytest.fixture(scope="module", params=["segmentation", "single_shot"])
def network(request):
    torch.manual_seed(1)
    architecture = Architecture(kind=request.param, branches=1 + (request.param == "single_shot"), **SHAPE)
    return build(architecture, DetectorSettings(mirror=True, rpn_post_nms=60)).eval()


@pytest.fixture(scope="module")
def images():
    return torch.rand((2, 1, SIZE, SIZE), generator=torch.Generator().manual_seed(2)).expand(-1, 3, -1, -1)


def flipped(boxes):
    return torch.stack((SIZE - boxes[:, 2], boxes[:, 1], SIZE - boxes[:, 0], boxes[:, 3]), dim=1)


@torch.inference_mode()
def test_a_picture_and_its_mirror_image_have_one_answer(network, images):
    features = network.features(images)
    proposals = network.propose(images, features)
    turned = images.flip(-1)
    of_turned = network.features(turned)
    branches = [network.regions]
    if isinstance(network, SingleShot):
        branches.append(network.class_regions)
    for branch in branches:
        here = branch(images, features, proposals)
        there = branch(turned, of_turned, [flipped(one) for one in proposals])
        for one, other in zip(here, there, strict=True):
            torch.testing.assert_close(other.logits, one.logits, atol=1e-4, rtol=1e-4)
            torch.testing.assert_close(other.boxes, flipped(one.boxes), atol=1e-2, rtol=1e-4)
            torch.testing.assert_close(
                other.deltas, one.deltas * torch.tensor([-1, 1, 1, 1]), atol=1e-4, rtol=0
            )
    boxes = [one[:5] for one in proposals]
    masks = network.mask_logits(features, boxes, size=(SIZE, SIZE))
    again = network.mask_logits(of_turned, [flipped(one) for one in boxes], size=(SIZE, SIZE))
    torch.testing.assert_close(again, masks.flip(-1), atol=1e-3, rtol=1e-3)


@torch.inference_mode()
def test_it_is_the_mean_of_both(network, images):
    features = network.features(images)
    proposals = network.propose(images, features)
    plain = {level: one for level, one in features.items() if not level.endswith(MIRRORED)}
    other = {level.removesuffix(MIRRORED): one for level, one in features.items() if level.endswith(MIRRORED)}
    assert plain.keys() == other.keys()
    both = network.regions(images, features, proposals)
    first = network.regions(images, plain, proposals)
    second = network.regions(images, other, [flipped(one) for one in proposals])
    for mean, one, two in zip(both, first, second, strict=True):
        torch.testing.assert_close(mean.logits, (one.logits + two.logits) / 2, atol=1e-5, rtol=1e-5)
        assert not torch.allclose(one.logits, two.logits, atol=1e-4)
        torch.testing.assert_close(
            mean.deltas, (one.deltas + two.deltas * LEFT_FOR_RIGHT) / 2, atol=1e-5, rtol=1e-5
        )


def test_training_looks_at_pictures_as_they_are(network, images):
    network.train()
    try:
        assert not any(level.endswith(MIRRORED) for level in network.features(images))
    finally:
        network.eval()


# -------------------------------------------------------------------------------------- a pipeline


@pytest.fixture(scope="module")
def mirroring(tiny_weights, tmp_path_factory):
    """The tiny pair, whose detector looks at the mirror image."""
    folder = tmp_path_factory.mktemp("mirroring")
    for name in ("tiny", "tiny-s"):
        loaded = load_weights(str(tiny_weights / f"{name}.safetensors"))
        card = dataclasses.replace(
            loaded.card, detector=dataclasses.replace(loaded.card.detector, mirror=True), base_sha256=""
        )
        save_weights(folder / f"{name}.safetensors", loaded.tensors, card)
    return [str(folder / f"{name}.safetensors") for name in ("tiny", "tiny-s")]


@pytest.fixture(scope="module")
def volume():
    return make_phantom(slices=6, size=64)[0]


def result_of(pipeline, volume):
    (result,) = (one for one in run(pipeline, volume, [3]) if isinstance(one, SliceResult))
    return result


def test_fast_leaves_the_mirror_image_out(mirroring, tiny_weights, volume):
    pipeline = load_pipeline(mirroring, device="cpu")
    plain = load_pipeline(
        [str(tiny_weights / f"{name}.safetensors") for name in ("tiny", "tiny-s")], device="cpu"
    )
    assert (pipeline.mirror, plain.mirror) == (True, False)
    both, single = result_of(pipeline, volume), result_of(plain, volume)
    assert not np.allclose(both.detection_candidates.scores, single.detection_candidates.scores)
    pipeline.fast = True
    assert not pipeline.mirror
    fast = result_of(pipeline, volume)
    np.testing.assert_array_equal(fast.detection_candidates.scores, single.detection_candidates.scores)
    np.testing.assert_array_equal(fast.verdict.logits, single.verdict.logits)
    assert fast.weights_id != both.weights_id
    # Masks of what was seen with the mirror image still are of both.
    settings = DetectionSettings(score=0.0, max_detections=3)
    before = detect(pipeline, both, settings).mask_logits
    both.mask_cache.clear()
    np.testing.assert_allclose(detect(pipeline, both, settings).mask_logits, before, atol=1e-4)
    pipeline.fast = False
    assert result_of(pipeline, volume).weights_id == both.weights_id
    plain_id = plain.weights_id
    plain.fast = True
    assert plain.weights_id == plain_id  # they never looked at it


def test_the_command_line_says_which_it_was(mirroring, volume, tmp_path):
    write_dicom(volume, tmp_path / "series")
    for switch, looked in (([], True), (["--fast"], False)):
        output = tmp_path / f"out{looked}"
        arguments = [str(tmp_path / "series"), "-o", str(output), "--weights", *mirroring, "--slices", "3:4"]
        assert main(["predict", *arguments, *switch]) == 0
        document = json.loads((output / "predictions.json").read_text())
        assert document["settings"]["mirror_image"] is looked
