"""Writing what was found: pictures, tables, plots, masks and JSON, each whole or not at all."""

from model_core.export.atomic import atomic_path
from model_core.export.labels import write_lesions
from model_core.export.png import RESEARCH_USE, write_png
from model_core.export.predictions import predictions, slice_prediction, write_json
from model_core.export.rois import write_rois_csv

__all__ = [
    "RESEARCH_USE",
    "atomic_path",
    "predictions",
    "slice_prediction",
    "write_json",
    "write_lesions",
    "write_png",
    "write_rois_csv",
]
