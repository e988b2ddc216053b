"""Writing what was found: pictures, tables, plots, masks and JSON, each whole or not at all."""

from model_core.base.files import atomic_path
from model_core.export.explanation import (
    edited_in_words,
    explanation,
    in_words,
    picture_names,
    write_explanation_pictures,
)
from model_core.export.labels import write_lesions
from model_core.export.picture import render_slice
from model_core.export.picture_edit import picture_edit_name, write_picture_edit
from model_core.export.plots import available_plots, export_plots, write_plot
from model_core.export.png import RESEARCH_USE, write_png
from model_core.export.predictions import predictions, slice_prediction, told_problem, write_json
from model_core.export.region import region_in_words, region_picture_name, write_region_picture
from model_core.export.rois import write_rois_csv
from model_core.export.series import export_slices, slice_file_name, slices_with_findings
from model_core.scene import Overlays

__all__ = [
    "RESEARCH_USE",
    "Overlays",
    "atomic_path",
    "available_plots",
    "edited_in_words",
    "explanation",
    "export_plots",
    "export_slices",
    "in_words",
    "picture_edit_name",
    "picture_names",
    "predictions",
    "region_in_words",
    "region_picture_name",
    "render_slice",
    "slice_file_name",
    "slice_prediction",
    "slices_with_findings",
    "told_problem",
    "write_explanation_pictures",
    "write_json",
    "write_lesions",
    "write_picture_edit",
    "write_plot",
    "write_png",
    "write_region_picture",
    "write_rois_csv",
]
