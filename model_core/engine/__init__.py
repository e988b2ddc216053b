"""Running the networks: which ones, slice by slice, and what thresholds make of the results."""

from model_core.engine.pipeline import Pipeline, available_weights, load_pipeline
from model_core.engine.run import run
from model_core.engine.select import calibrated, detect, judge, rank, shown_scores, why_unshown

__all__ = [
    "Pipeline",
    "available_weights",
    "calibrated",
    "detect",
    "judge",
    "load_pipeline",
    "rank",
    "run",
    "shown_scores",
    "why_unshown",
]
