"""What network output means: masks, joined regions, RoI table, what a slice shows, class of the scan, why."""

from model_core.explain.distribution import RoiDistribution, roi_distribution
from model_core.explain.explanation import Explanation, explain_slice
from model_core.explain.lesions import Burden, Lesion, burden
from model_core.explain.masks import (
    Patch,
    label_map,
    logit_map,
    mask_pixels,
    mask_probability,
    paste_maps,
)
from model_core.explain.pixels import RegionPixels, explain_region, region_cells
from model_core.explain.regions import Regions, shown_lesions, touching_regions
from model_core.explain.rois import roi_table
from model_core.explain.scan import scan_verdict
from model_core.explain.shown import lesion_labels, show, summarise, with_evidence
from model_core.explain.stability import Stability, stability

__all__ = [
    "Burden",
    "Explanation",
    "Lesion",
    "Patch",
    "RegionPixels",
    "Regions",
    "RoiDistribution",
    "Stability",
    "burden",
    "explain_region",
    "explain_slice",
    "label_map",
    "lesion_labels",
    "logit_map",
    "mask_pixels",
    "mask_probability",
    "paste_maps",
    "region_cells",
    "roi_distribution",
    "roi_table",
    "scan_verdict",
    "show",
    "shown_lesions",
    "stability",
    "summarise",
    "touching_regions",
    "with_evidence",
]
