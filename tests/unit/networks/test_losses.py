"""The five losses of detector training, on images with and without lesions."""

import pytest
import torch

from model_core.base.settings import Architecture, DetectorTraining
from model_core.networks import build

SMALL = Architecture(
    kind="segmentation", truncation=2, anchor_sizes=(8, 16, 32), aspect_ratios=(0.5, 1.0, 2.0)
)
NAMES = {"loss_objectness", "loss_rpn_box_reg", "loss_classifier", "loss_box_reg", "loss_mask"}


def target(size, boxes):
    masks = torch.zeros(len(boxes), size, size, dtype=torch.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = 1
    return {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
        "masks": masks,
    }


@pytest.mark.parametrize("legacy", [True, False])
def test_losses_reach_every_parameter(legacy):
    torch.manual_seed(0)
    network = build(SMALL, training=DetectorTraining(roi_fg_iou=0.5, legacy_loss=legacy)).train()
    targets = [target(128, [(20, 20, 60, 70), (80, 90, 110, 120)]), target(128, [])]
    losses = network.losses(torch.rand(2, 3, 128, 128), targets)
    assert set(losses) == NAMES
    total = sum(losses.values())
    assert torch.isfinite(total)
    total.backward()
    assert all(p.grad is not None for p in network.parameters())


def test_a_batch_of_negatives_only_trains():
    torch.manual_seed(0)
    network = build(SMALL).train()
    losses = network.losses(torch.rand(1, 3, 128, 128), [target(128, [])])
    assert all(torch.isfinite(v) for v in losses.values())
    assert losses["loss_mask"].item() == 0
    assert losses["loss_rpn_box_reg"].item() == 0


def test_training_on_one_picture_lowers_the_loss():
    torch.manual_seed(0)
    training = DetectorTraining(roi_fg_iou=0.5, rpn_post_nms=100, roi_batch=32)
    network = build(SMALL, training=training).train()
    images = torch.full((2, 3, 128, 128), 0.2)
    images[:, :, 20:60, 20:60] = 0.9
    targets = [target(128, [(20, 20, 60, 60)])] * 2
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    history = []
    for _ in range(12):
        optimiser.zero_grad()
        loss = sum(network.losses(images, targets).values())
        loss.backward()
        optimiser.step()
        history.append(loss.item())
    assert history[-1] < 0.5 * history[0]


def fills_its_boxes(network):
    """Make the mask branch answer "lesion" in every cell."""
    last = network.roi_heads.mask_predictor.mask_fcn_logits
    torch.nn.init.zeros_(last.weight)
    torch.nn.init.constant_(last.bias, 5.0)


def score_of(network, image, box):
    network.eval()
    with torch.inference_mode():
        features = network.features(image)
        (regions,) = network.regions(image, features, [torch.tensor([box], dtype=torch.float32)])
    return float(regions.scores[0])


def test_the_score_of_a_region_learns_its_class_whatever_its_mask_is():
    torch.manual_seed(0)
    settings = DetectorTraining(roi_fg_iou=0.5, roi_bg_iou=0.5, rpn_post_nms=12, roi_batch=8)
    network = build(SMALL, training=settings)
    fills_its_boxes(network)
    image = torch.full((1, 3, 128, 128), 0.2)
    image[:, :, 32:96, 32:96] = 0.9
    wanted = target(128, [(32, 32, 96, 96)])
    wanted["masks"][:, 32:96, 50:96] = 0  # the lesion is a strip of its box: 28 % of what the mask fills
    optimiser = torch.optim.Adam(network.parameters(), 1e-3)
    for _ in range(80):
        network.train()
        optimiser.zero_grad()
        losses = network.losses(image, [wanted])
        (losses["loss_classifier"] + losses["loss_box_reg"]).backward()
        optimiser.step()
    assert score_of(network, image, (32, 32, 96, 96)) > 0.7
