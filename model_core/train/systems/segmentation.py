"""Segmentation: Mask R-CNN, all five losses in one step (P1, P2; spec §4)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import Parameter

from model_core.networks.mask_rcnn import MaskRCNN
from model_core.train.examples import Example, stack_images, targets_of
from model_core.train.system import Losses, Stepper, System
from model_core.train.systems.steps import freeze_norms, summed, trained_parameters, without_traces
from model_core.train.systems.trainable import SegmentationMode, segmentation_moves

SEGMENTATION_LOSSES = (
    "loss_objectness",
    "loss_rpn_box_reg",
    "loss_classifier",
    "loss_box_reg",
    "loss_mask",
)


class SegmentationSystem(System):
    """Slices without instances are skipped, as released.

    Parameters
    ----------
    mode:
        "full", or "heads" with the backbone kept whole (weights and statistics).
    reproducible:
        Freeze BatchNorm statistics, seed the sampling of each image by itself and average losses over
        images, so that a batch gives the same step however it is spread over processes.
    """

    losses = SEGMENTATION_LOSSES

    def __init__(
        self,
        network: MaskRCNN,
        *,
        mode: SegmentationMode = "full",
        reproducible: bool = False,
        device: str = "cpu",
    ) -> None:
        self.network = network.to(device)
        self.mode = mode
        self.reproducible = reproducible
        self.device = device

    def trained(self) -> list[Parameter]:
        """See `system.System.trained`."""
        return trained_parameters(self.network, lambda name: segmentation_moves(name, self.mode))

    def update(self, batch: Sequence[Sequence[Example]], stepper: Stepper, seed: int) -> Losses:
        """See `system.System.update`."""
        self.network.train()
        if self.reproducible:
            freeze_norms(self.network)
        elif self.mode == "heads":
            self.network.backbone.eval()
        losses, _, everywhere = accumulate(
            self.network, batch, stepper, seed=seed, each=self.reproducible, device=self.device
        )
        stepper.step(everywhere)
        return losses

    def validation_loss(self, batch: Sequence[Example], seed: int) -> Tensor:
        """See `system.System.validation_loss`."""

        def compute() -> Tensor:
            self.network.train()
            freeze_norms(self.network)
            return torch.stack(list(self._losses(batch).values())).sum()

        return without_traces(self.network, compute, seed=seed)

    def _losses(self, batch: Sequence[Example]) -> dict[str, Tensor]:
        return self.network.losses(stack_images(batch, self.device), targets_of(batch, self.device))


def with_instances(batch: Sequence[Sequence[Example]]) -> list[list[Example]]:
    """Drop examples without instances, then empty micro-batches."""
    kept = [
        [one for one in part if one.instances is not None and len(one.instances.labels)] for part in batch
    ]
    return [part for part in kept if part]


def accumulate(
    network: MaskRCNN,
    batch: Sequence[Sequence[Example]],
    stepper: Stepper,
    *,
    seed: int,
    each: bool,
    device: str,
) -> tuple[Losses, int, float]:
    """Add up the gradients of the mean loss over the batch.

    ``each``: one image at a time, its sampling seeded by seed and image alone.

    Returns the mean losses over this rank's images, how many these are, and how many all ranks have.
    """
    parts = with_instances(batch)
    if each:
        parts = [[one] for part in parts for one in part]
    count = sum(len(part) for part in parts)
    totals: Losses = {}

    def compute(part: list[Example]) -> Tensor:
        if each:
            torch.manual_seed((seed * 1_000_003 + part[0].number) % 2**63)
        with stepper.autocast():
            losses = network.losses(stack_images(part, device), targets_of(part, device))
        return summed(losses, totals, share=len(part) / count)

    everywhere = stepper.accumulate([partial(compute, part) for part in parts], count)
    return totals, count, everywhere
