"""What network output means: masks, touching ones joined, the RoI table, the class of the scan."""

from model_core.explain.masks import (
    Patch,
    label_map,
    logit_map,
    mask_pixels,
    mask_probability,
    paste_maps,
)
from model_core.explain.regions import Regions, shown_lesions, touching_regions
from model_core.explain.rois import calibrated, roi_table
from model_core.explain.scan import scan_verdict

__all__ = [
    "Patch",
    "Regions",
    "calibrated",
    "label_map",
    "logit_map",
    "mask_pixels",
    "mask_probability",
    "paste_maps",
    "roi_table",
    "scan_verdict",
    "shown_lesions",
    "touching_regions",
]
