"""COVID-CT-Mask-Net: module S learns to read the RoI batch of a trained detector (P1, P2; spec §5.5)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor
from torch.nn import Parameter
from torch.nn import functional as F

from model_core.base.settings import EvidenceSettings
from model_core.networks.covid_ct_mask_net import CovidCTMaskNet
from model_core.train.examples import Example, stack_images
from model_core.train.system import Losses, Stepper, System
from model_core.train.systems.steps import trained_parameters, without_traces
from model_core.train.systems.trainable import ClassifierMode, classifier_moves


class ClassifierSystem(System):
    """The whole network stays in test mode: no detector losses, BatchNorm on running statistics."""

    network: CovidCTMaskNet
    losses = ("loss_image",)

    def __init__(
        self,
        network: CovidCTMaskNet,
        *,
        mode: ClassifierMode = "s_bn",
        evidence: EvidenceSettings | None = None,
        device: str = "cpu",
        reproducible: bool = False,
    ) -> None:
        self.network = network.to(device)
        self.mode = mode
        # The image loss does not reach the RPN.
        self.reaches_all = mode != "full"
        self.device = device
        # Replication draws anew for each update, as released; with ``reproducible`` always alike.
        self._vary = not reproducible
        size = network.architecture.roi_batch_size
        self._evidence = evidence or EvidenceSettings(batch_size=size)

    def trained(self) -> list[Parameter]:
        """See `system.System.trained`."""
        return trained_parameters(self.network, lambda name: classifier_moves(name, self.mode))

    def update(self, batch: Sequence[Sequence[Example]], stepper: Stepper, seed: int) -> Losses:
        """See `system.System.update`."""
        self.network.eval()
        evidence = dataclasses.replace(self._evidence, seed=seed) if self._vary else self._evidence
        loss, everywhere = accumulate_image_loss(self.network, batch, stepper, evidence, self.device)
        stepper.step(everywhere)
        return {"loss_image": loss}

    def validation_loss(self, batch: Sequence[Example], seed: int) -> Tensor:
        """See `system.System.validation_loss`."""

        def compute() -> Tensor:
            self.network.eval()
            return image_loss(self.network, batch, self._evidence, self.device)

        return without_traces(self.network, compute, seed=seed)


def accumulate_image_loss(
    network: CovidCTMaskNet,
    batch: Sequence[Sequence[Example]],
    stepper: Stepper,
    evidence: EvidenceSettings,
    device: str,
) -> tuple[float, float]:
    """Add up the gradients of the mean image loss; return this rank's mean loss and all ranks' images."""
    count = sum(len(part) for part in batch)
    values: list[float] = []

    def compute(part: Sequence[Example]) -> Tensor:
        with stepper.autocast():
            loss = image_loss(network, part, evidence, device) * (len(part) / count)
        values.append(float(loss.detach()))
        return loss

    everywhere = stepper.accumulate([partial(compute, part) for part in batch], count)
    return sum(values), everywhere


def image_loss(
    network: CovidCTMaskNet, batch: Sequence[Example], evidence: EvidenceSettings, device: str
) -> Tensor:
    """Return the image loss of a batch of examples."""
    logits = network.image_logits(stack_images(batch, device), evidence)
    return class_loss(logits, torch.tensor([one.label for one in batch], device=logits.device))


def class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over images and classes of the BCE against the one-hot vector (P3 Eq. 2)."""
    wanted = F.one_hot(labels, logits.shape[1]).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, wanted)
