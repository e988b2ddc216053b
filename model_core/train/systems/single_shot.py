"""The single-shot model: two steps per class image, one Adam for both, and the copy rule (P3; spec §6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import Parameter
from torch.utils.data import Dataset

from model_core.base.settings import SINGLE_SHOT_MIN_AREA, EvidenceSettings
from model_core.networks.covid_ct_mask_net import SingleShot
from model_core.train.examples import Example
from model_core.train.parallel import average
from model_core.train.system import Losses, Stepper, System
from model_core.train.systems.branch_copy import ClassBranchCopy, CopyRule
from model_core.train.systems.classifier import accumulate_image_loss, image_loss
from model_core.train.systems.segmentation import SEGMENTATION_LOSSES, accumulate
from model_core.train.systems.steps import freeze_norms, trained_parameters, without_traces
from model_core.train.systems.trainable import (
    ImageRule,
    forget_gradients,
    image_stage_moves,
    segmentation_stage_moves,
)


class SingleShotSystem(System):
    """For each class image one segmentation image is drawn at random with replacement.

    Parameters
    ----------
    segmentation:
        Examples with instances or without; those without give no stage 1.
    rule:
        What the image loss moves.
    copy_rule:
        When the class branch takes the weights of the segmentation branch; "never" for one branch, and
        for the frozen copy (two branches, copied once at the start).
    """

    network: SingleShot
    losses = (*SEGMENTATION_LOSSES, "loss_image")
    reaches_all = False  # each stage has parameters of its own

    def __init__(
        self,
        network: SingleShot,
        segmentation: Dataset[Example],
        *,
        rule: ImageRule = "s_backbone",
        copy_rule: CopyRule = "coded",
        device: str = "cpu",
        reproducible: bool = False,
    ) -> None:
        self.network = network.to(device)
        self.rule = rule
        self.device = device
        self.copying = ClassBranchCopy(self.network, copy_rule)
        self._segmentation = segmentation
        self._reproducible = reproducible
        self._evidence = EvidenceSettings(
            batch_size=network.architecture.roi_batch_size, min_area=SINGLE_SHOT_MIN_AREA
        )

    def trained(self) -> list[Parameter]:
        """See `system.System.trained`: one optimiser over all parameters serves both stages."""
        return trained_parameters(self.network, lambda _: True)

    def update(self, batch: Sequence[Sequence[Example]], stepper: Stepper, seed: int) -> Losses:
        """See `system.System.update`."""
        losses = self._segmentation_stage(batch, stepper, seed)
        losses["loss_image"] = self._image_stage(batch, stepper, seed)
        return losses

    def _segmentation_stage(self, batch: Sequence[Sequence[Example]], stepper: Stepper, seed: int) -> Losses:
        drawn = [[self._draw(seed, one) for one in part] for part in batch]
        self.network.train()
        if self._reproducible:
            freeze_norms(self.network)
        losses, count, everywhere = accumulate(
            self.network, drawn, stepper, seed=seed, each=self._reproducible, device=self.device
        )
        forget_gradients(self.network, segmentation_stage_moves)
        total = average(sum(losses.values()), count, self.device)
        # Before the optimiser step: the class branch gets the weights that made this loss.
        self.copying.look_at(total)
        stepper.step(everywhere)
        return losses

    def _draw(self, seed: int, one: Example) -> Example:
        pick = np.random.default_rng((seed, one.number))
        return self._segmentation[int(pick.integers(len(self._segmentation)))]  # type: ignore[arg-type]

    def _image_stage(self, batch: Sequence[Sequence[Example]], stepper: Stepper, seed: int) -> float:
        self.network.eval()
        evidence = self._evidence if self._reproducible else dataclasses.replace(self._evidence, seed=seed)
        loss, everywhere = accumulate_image_loss(self.network, batch, stepper, evidence, self.device)
        forget_gradients(self.network, lambda name: image_stage_moves(name, self.rule))
        stepper.step(everywhere)
        return loss

    def validation_loss(self, batch: Sequence[Example], seed: int) -> Tensor:
        """See `system.System.validation_loss`: the image loss."""

        def compute() -> Tensor:
            self.network.eval()
            return image_loss(self.network, batch, self._evidence, self.device)

        return without_traces(self.network, compute, seed=seed)

    def state(self) -> dict[str, Any]:
        """See `system.System.state`."""
        return self.copying.state()

    def restore(self, state: dict[str, Any]) -> None:
        """See `system.System.restore`."""
        self.copying.restore(state)
