"""Says in words why the shown slice has no ranked regions to list or draw."""

from __future__ import annotations

from ctmasknet_gui.state import AppState

COMPUTING = "The masks of this slice are being computed…"
NO_BATCH = "These weights give no image class: nothing reads a RoI batch."


def gives_no_class(state: AppState) -> bool:
    """Whether the weights that run only find regions; weights not loaded yet may give a class."""
    return bool(state.weights.cards) and not state.weights.image_classes


def why_no_evidence(state: AppState, *, waiting: str) -> str:
    """Return why there are no ranked regions; ``waiting`` where the slice has not been analysed."""
    if state.results.shown is None:
        return COMPUTING if state.results.computing else waiting
    if gives_no_class(state):
        return "No region passes the thresholds of the ranked regions."
    verdict = state.results.shown.verdict
    bias = " The class is the network's bias, not a finding of this slice."
    return "No region passes the evidence thresholds." + (bias if verdict and verdict.from_bias else "")
