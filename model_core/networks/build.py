"""From an Architecture to a network."""

from __future__ import annotations

from model_core.base.settings import Architecture, DetectorSettings, DetectorTraining, InputSpec
from model_core.networks.covid_ct_mask_net import CovidCTMaskNet, SingleShot
from model_core.networks.mask_rcnn import MaskRCNN

_CLASSES = {"segmentation": MaskRCNN, "classifier": CovidCTMaskNet, "single_shot": SingleShot}


def build(
    architecture: Architecture,
    detector: DetectorSettings | None = None,
    training: DetectorTraining | None = None,
    input_spec: InputSpec | None = None,
) -> MaskRCNN:
    """Return the network with random weights. Nothing is downloaded.

    ``segmentation`` gives a `MaskRCNN`, ``classifier`` a `CovidCTMaskNet`, ``single_shot`` a `SingleShot`.
    """
    return _CLASSES[architecture.kind](architecture, detector, training, input_spec)
