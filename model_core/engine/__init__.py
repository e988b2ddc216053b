"""Running the networks: which ones, slice by slice, and what thresholds make of the results.

torch is imported by `engine.load` and `engine.torch_backend` alone.
"""

from model_core.engine.ask import ask, needs_backbone
from model_core.engine.backend import Backend, Look
from model_core.engine.evidence import evidence_batch, judge
from model_core.engine.module_s import ModuleS
from model_core.engine.pipeline import Pipeline
from model_core.engine.run import run
from model_core.engine.select import calibrated, detect, rank, shown_scores, why_unshown

__all__ = [
    "Backend",
    "Look",
    "ModuleS",
    "Pipeline",
    "ask",
    "calibrated",
    "detect",
    "evidence_batch",
    "judge",
    "needs_backbone",
    "rank",
    "run",
    "shown_scores",
    "why_unshown",
]
