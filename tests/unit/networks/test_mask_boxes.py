"""The mask branch may look at a larger box than the region has, so that a tight box cuts no mask off."""

import dataclasses
import math

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from model_core.base.errors import SettingsError
from model_core.base.results import SliceResult
from model_core.base.settings import Architecture, DetectionSettings, DetectorSettings, DetectorTraining
from model_core.engine import detect, run
from model_core.engine.load import load_pipeline
from model_core.engine.pipeline import grown
from model_core.explain import mask_pixels
from model_core.networks import build
from model_core.phantom import make_phantom
from model_core.weights.store import load_weights, save_weights

SHAPE = Architecture(
    kind="segmentation", truncation=2, anchor_sizes=(8, 16, 32), aspect_ratios=(0.5, 1.0, 2.0)
)
SIZE = 128


def network(scale, **training):
    torch.manual_seed(1)
    return build(SHAPE, DetectorSettings(mask_box_scale=scale), DetectorTraining(**training))


def test_boxes_grow_about_their_centre_and_stay_in_the_image():
    boxes = np.array([[40, 50, 60, 90], [0, 10, 20, 30], [100, 100, 128, 128], [5, 5, 5, 5]], np.float32)
    assert np.array_equal(grown(boxes, 1.0, size=SIZE), boxes)
    expected = [[35.0, 40, 65, 100], [0, 5, 25, 35], [93, 93, 128, 128], [5, 5, 5, 5]]
    np.testing.assert_allclose(grown(boxes, 1.5, size=SIZE), expected)


@pytest.mark.parametrize("scale", [0.9, 0.0, 5.0, math.nan])
def test_a_scale_that_is_none(scale):
    for settings in (DetectorSettings, DetectorTraining):
        with pytest.raises(SettingsError, match="1 to 4 times"):
            settings(mask_box_scale=scale)


@pytest.mark.parametrize(("scale", "share"), [(1.0, 1.0), (2.0, 0.25)])
def test_it_learns_what_is_in_the_larger_box(scale, share):
    """Only the box of the lesion itself is positive, and the lesion fills it."""
    # How large a box it looks at in use changes nothing.
    model = network(1.5, roi_fg_iou=0.999, roi_bg_iou=0.999, mask_box_scale=scale).train()
    with torch.no_grad():  # every cell of every mask answers 2
        model.roi_heads.mask_predictor.mask_fcn_logits.weight.zero_()
        model.roi_heads.mask_predictor.mask_fcn_logits.bias.fill_(2.0)
    mask = torch.zeros(1, SIZE, SIZE, dtype=torch.uint8)
    mask[0, 32:96, 32:96] = 1
    target = {"boxes": torch.tensor([[32.0, 32, 96, 96]]), "labels": torch.tensor([1]), "masks": mask}
    losses = model.losses(torch.rand(1, 3, SIZE, SIZE), [target])
    learned = F.softplus(torch.tensor(2.0)) - 2 * share
    # Cells on the edge of the lesion see a part of it.
    assert losses["loss_mask"].item() == pytest.approx(learned.item(), abs=0.05)


@pytest.fixture
def pipelines(tiny_weights, tmp_path):
    """The tiny detector as it is, and with masks of boxes twice as large."""
    loaded = load_weights(str(tiny_weights / "tiny.safetensors"))
    detector = dataclasses.replace(loaded.card.detector, mask_box_scale=2.0)
    save_weights(
        tmp_path / "larger.safetensors", loaded.tensors, dataclasses.replace(loaded.card, detector=detector)
    )
    names = (tiny_weights / "tiny.safetensors", tmp_path / "larger.safetensors")
    return tuple(load_pipeline([str(name)], device="cpu") for name in names)


def test_masks_reach_beyond_their_boxes(pipelines):
    volume, _ = make_phantom(slices=6, size=64)
    settings = DetectionSettings(score=0.0, nms_iou=0.5, max_detections=8, mask_threshold=-20.0)
    found = []
    for pipeline in pipelines:
        (result,) = (one for one in run(pipeline, volume, [3]) if isinstance(one, SliceResult))
        found.append(detect(pipeline, result, settings))
        # The same from what is kept as from what is computed anew.
        result.mask_cache.clear()
        again = detect(pipeline, result, settings).mask_logits
        np.testing.assert_allclose(again, found[-1].mask_logits, atol=1e-4)
    assert "masks in boxes 2 times" in pipelines[1].cards[0].input_text
    assert "masks in" not in pipelines[0].cards[0].input_text
    assert pipelines[0].weights_id != pipelines[1].weights_id  # the same networks, other masks
    plain, larger = found
    assert len(plain) > 2
    for name in ("boxes", "scores", "labels"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(larger, name))
    np.testing.assert_array_equal(plain.mask_boxes, plain.boxes)
    sides = larger.mask_boxes[:, 2:] - larger.mask_boxes[:, :2]
    assert (sides <= 2 * (larger.boxes[:, 2:] - larger.boxes[:, :2]) + 1e-3).all()
    assert (larger.mask_boxes >= 0).all()
    assert (larger.mask_boxes <= 64).all()
    assert not np.allclose(plain.mask_logits, larger.mask_logits)
    # Below every logit a mask is all that the branch looked at.
    areas = [mask_pixels(one, (64, 64)).sum((1, 2)) for one in found]
    assert (areas[1] > areas[0]).all()
