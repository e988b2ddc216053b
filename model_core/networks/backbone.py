"""Truncated ResNet with a feature pyramid (P2, "Backbone"; P1 for ResNet50)."""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torchvision.models import resnet
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from model_core.base.settings import Architecture

FPN_CHANNELS = 256

# truncation -> (the ResNet stage that is tapped, its channels in ResNet18/34)
_TAPPED = {0: ("layer4", 512), 1: ("layer3", 256), 2: ("layer2", 128)}


class ResNetFPN(nn.Module):
    """ResNet18/34 cut after a stage with one FPN level, or a whole ResNet50 with four.

    Stages after the tapped one are not registered, so their weights do not exist. torchvision's
    ``BackboneWithFPN`` is not used because it always adds a pooled level.
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        network = getattr(resnet, architecture.backbone)(weights=None)
        if architecture.backbone == "resnet50":
            layers = {f"layer{k}": str(k - 1) for k in (1, 2, 3, 4)}
            channels = [256, 512, 1024, 2048]
        else:
            stage, width = _TAPPED[architecture.truncation]
            layers, channels = {stage: "0"}, [width]
        self.body = IntermediateLayerGetter(network, return_layers=layers)
        self.fpn = FeaturePyramidNetwork(
            in_channels_list=channels,
            out_channels=FPN_CHANNELS,
            extra_blocks=LastLevelMaxPool() if architecture.extra_pool else None,
        )
        self.out_channels = FPN_CHANNELS

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """Map (B, 3, S, S) normalised images to {level: (B, 256, s, s)}."""
        features: OrderedDict[str, Tensor] = self.fpn(self.body(images))
        return features


def feature_levels(architecture: Architecture) -> int:
    """Return the number of maps the RPN reads."""
    if architecture.backbone != "resnet50":
        return 1
    return 5 if architecture.extra_pool else 4
