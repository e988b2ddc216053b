"""From an Architecture to a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode

from model_core.base.settings import Architecture, DetectorSettings, DetectorTraining, InputSpec
from model_core.networks.covid_ct_mask_net import CovidCTMaskNet, SingleShot
from model_core.networks.mask_rcnn import MaskRCNN

# How torch and torchvision draw weights.
_DRAWING = ("uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "kaiming_normal_")
_CLASSES = {"segmentation": MaskRCNN, "classifier": CovidCTMaskNet, "single_shot": SingleShot}


def build(
    architecture: Architecture,
    detector: DetectorSettings | None = None,
    training: DetectorTraining | None = None,
    input_spec: InputSpec | None = None,
) -> MaskRCNN:
    """Return the network with random weights, in `Undrawn` with any. Nothing is downloaded.

    ``segmentation`` gives a `MaskRCNN`, ``classifier`` a `CovidCTMaskNet`, ``single_shot`` a `SingleShot`.
    """
    return _CLASSES[architecture.kind](architecture, detector, training, input_spec)


class Undrawn(TorchFunctionMode):
    """Context in which weights are not drawn: for those that are all replaced, half the time of `build`."""

    def __torch_function__(
        self,
        function: Callable[..., Any],
        _types: Sequence[type],
        values: Sequence[Any] = (),
        keywords: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch, or leave the tensor that it would draw into."""
        keywords = keywords or {}
        if getattr(function, "__name__", "") in _DRAWING:
            return values[0] if values else keywords["tensor"]
        return function(*values, **keywords)
