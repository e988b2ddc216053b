"""Joint stages of a recipe: the single-shot model learns lesions and the image class at once (P3; spec §6.3).

Each step is two: the detector's losses, after which the class branch may take the weights of the segmentation
branch, and the image loss, which moves module S and the backbone. One optimiser serves both. Unlike the
released loop, which takes one image a step, both halves take a batch, and the copy rule is the one of the
paper ("written"): with batches that differ in difficulty a running best would soon never be beaten.

Module S needs many more examples than the backbone can be run for: it also learns from the RoI batches of the
last steps, kept in memory. They carry no gradient to the backbone.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from model_core.base.settings import SINGLE_SHOT_MIN_AREA, EvidenceSettings
from model_core.networks.covid_ct_mask_net import SingleShot
from model_core.train.systems.branch_copy import ClassBranchCopy
from model_core.train.systems.classifier import class_loss
from model_core.train.systems.trainable import forget_gradients, image_stage_moves, segmentation_stage_moves

MEMORY = 512  # RoI batches
_REPLAYED = 32  # of them in each step
_NOISE = 0.1  # of what is replayed, against learning it by heart


class JointSteps:
    """What a joint stage does besides the detector's own losses."""

    def __init__(self, network: SingleShot) -> None:
        self._network = network
        self._copying = ClassBranchCopy(network, "written")
        size = network.architecture.roi_batch_size
        self._rows = torch.zeros((0, size, 5))
        self._classes = torch.zeros(0, dtype=torch.int64)

    @property
    def copies(self) -> int:
        """How often the class branch was copied."""
        return self._copying.copies

    def after_detector(self, loss: float) -> None:
        """Forget what the detector's losses must not move, and follow the copy rule; ahead of the step."""
        forget_gradients(self._network, segmentation_stage_moves)
        self._copying.look_at(loss)

    def image_losses(self, pictures: Tensor, classes: Tensor, *, seed: int) -> dict[str, Tensor]:
        """Return the BCE of (P, 3, S, S) pictures against their (P,) classes, and that of the memory.

        The network is in test mode then. What is replayed is drawn from torch's generator.
        """
        self._network.eval()
        size = self._network.architecture.roi_batch_size
        evidence = EvidenceSettings(batch_size=size, min_area=SINGLE_SHOT_MIN_AREA, seed=seed)
        rows = self._network.roi_batches(pictures, evidence)
        losses = {"loss_image": class_loss(self._network.s2new(rows), classes)}
        if len(self._rows):
            picks = torch.randint(len(self._rows), (_REPLAYED,))
            old = self._rows[picks].to(rows.device)
            noisy = old + _NOISE * torch.randn(old.shape).to(rows.device)
            losses["replayed"] = class_loss(self._network.s2new(noisy), self._classes[picks].to(rows.device))
        self._rows = torch.cat((self._rows, rows.detach().float().cpu()))[-MEMORY:]
        self._classes = torch.cat((self._classes, classes.cpu()))[-MEMORY:]
        return losses

    def after_image(self) -> None:
        """Forget what the image loss must not move; ahead of the step."""
        forget_gradients(self._network, lambda name: image_stage_moves(name, "s_backbone"))

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint must hold."""
        return {**self._copying.state(), "rows": self._rows, "classes": self._classes}

    def restore(self, state: dict[str, Any]) -> None:
        """Take back what `state` returned."""
        self._copying.restore(state)
        self._rows, self._classes = state["rows"], state["classes"]
