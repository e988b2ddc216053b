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
from model_core.explain.picture_edit import edit_picture, picture_effect
from model_core.explain.pixels import RegionPixels, explain_region, region_cells
from model_core.explain.regions import Regions, shown_lesions, touching_regions
from model_core.explain.rois import roi_table
from model_core.explain.scan import RuleAnswer, other_rules, scan_verdict
from model_core.explain.shown import (
    lesion_labels,
    lesion_regions,
    show,
    slice_labels,
    summarise,
    with_evidence,
)
from model_core.explain.stability import scan_stability, stability

__all__ = [
    "Burden",
    "Explanation",
    "Lesion",
    "Patch",
    "RegionPixels",
    "Regions",
    "RoiDistribution",
    "RuleAnswer",
    "burden",
    "edit_picture",
    "explain_region",
    "explain_slice",
    "label_map",
    "lesion_labels",
    "lesion_regions",
    "logit_map",
    "mask_pixels",
    "mask_probability",
    "other_rules",
    "paste_maps",
    "picture_effect",
    "region_cells",
    "roi_distribution",
    "roi_table",
    "scan_stability",
    "scan_verdict",
    "show",
    "shown_lesions",
    "slice_labels",
    "stability",
    "summarise",
    "touching_regions",
    "with_evidence",
]
