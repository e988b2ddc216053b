"""Small networks and synthetic examples for the tests of training."""

import numpy as np
import torch

from model_core.base.settings import Architecture, DetectorSettings, DetectorTraining, InputSpec
from model_core.networks import build
from model_core.train.examples import Example, Instances

SIZE = 64
SMALL = {"truncation": 2, "anchor_sizes": (8, 16, 32), "aspect_ratios": (0.5, 1.0, 2.0)}
SMALL_HEAD = {"roi_batch_size": 8, "s_width": 8}
# The backward pass of RoIAlign takes most of a step: few proposals.
DETECTOR = DetectorSettings(rpn_pre_nms=50, rpn_post_nms=12)
TRAINING = DetectorTraining(rpn_pre_nms=50, rpn_post_nms=12, roi_fg_iou=0.5, roi_bg_iou=0.5)


def example(seed, *, lesion=True, label=0):
    rng = np.random.default_rng(seed)
    image = rng.uniform(0, 0.3, (SIZE, SIZE)).astype(np.float32)
    masks = np.zeros((int(lesion), SIZE, SIZE), bool)
    if lesion:
        x, y = rng.integers(4, 30, 2)
        image[y : y + 20, x : x + 24] += 0.6
        masks[0, y : y + 20, x : x + 24] = True
    found = Instances.of(masks, np.ones(int(lesion), np.int64))
    return Example(image, number=seed, instances=found, label=label)


def network(kind, **extra):
    torch.manual_seed(1)
    shape = Architecture(kind=kind, **SMALL, **extra)
    return build(shape, DETECTOR, TRAINING, InputSpec(size=SIZE))
