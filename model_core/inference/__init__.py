"""Running the networks: which ones, slice by slice, and what thresholds make of the results."""

from model_core.explain.scan import scan_verdict
from model_core.inference.engine import run
from model_core.inference.pipeline import Pipeline, available_weights, load_pipeline
from model_core.inference.select import detect, judge, show, summarise

__all__ = [
    "Pipeline",
    "available_weights",
    "detect",
    "judge",
    "load_pipeline",
    "run",
    "scan_verdict",
    "show",
    "summarise",
]
