"""The networks of the three papers, on torchvision's detection modules.

P1: "COVID-CT-Mask-Net: Prediction of COVID-19 from CT Scans Using Regional Features";
P2: "Lightweight Model for the Prediction of COVID-19 Through the Detection and Segmentation of Lesions
in Chest CT Scans"; P3: "Single-Shot Lightweight Model For The Detection of Lesions And The Prediction of
COVID-19 From Chest CT Scans"; all by A. Ter-Sarkisov. Own code only where they differ from torchvision.
"""

from model_core.networks.build import Undrawn, build
from model_core.networks.covid_ct_mask_net import CovidCTMaskNet, SingleShot
from model_core.networks.image_head import ImageHead
from model_core.networks.mask_rcnn import MaskRCNN, Regions

__all__ = [
    "CovidCTMaskNet",
    "ImageHead",
    "MaskRCNN",
    "Regions",
    "SingleShot",
    "Undrawn",
    "build",
]
