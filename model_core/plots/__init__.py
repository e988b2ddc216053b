"""Plots of what the network found and read: rows in, drawn into a given matplotlib Figure (no pyplot, no Qt).

Every function clears the figure first and draws at any size; sizes of text and margins are in points and
inches, so a figure of twice the dpi looks the same, only sharper.
"""

from __future__ import annotations

from model_core.plots.areas import picked_candidate, score_area
from model_core.plots.batch import roi_batch_image
from model_core.plots.classes import class_bars
from model_core.plots.contributions import contribution_bars, contribution_map
from model_core.plots.picture_pair import picture_pair
from model_core.plots.profile import scan_profile
from model_core.plots.region_maps import region_maps
from model_core.plots.scan_rois import scan_rois
from model_core.plots.scores import score_histogram
from model_core.plots.sensitivity import sensitivity_curves

__all__ = [
    "class_bars",
    "contribution_bars",
    "contribution_map",
    "picked_candidate",
    "picture_pair",
    "region_maps",
    "roi_batch_image",
    "scan_profile",
    "scan_rois",
    "score_area",
    "score_histogram",
    "sensitivity_curves",
]
