"""Says in words why the shown slice has no evidence to list or draw."""

from __future__ import annotations

from ctmasknet_gui.state import AppState

NO_CLASS = "These weights give no image class, hence no evidence."


def gives_no_class(state: AppState) -> bool:
    """Whether the weights that run only find regions; weights not loaded yet may give a class."""
    return bool(state.weights.cards) and not state.weights.image_classes


def why_no_evidence(state: AppState, *, waiting: str) -> str:
    """Return why there are no ranked regions; ``waiting`` where the slice has not been analysed."""
    if gives_no_class(state):
        return NO_CLASS
    shown = state.results.shown
    if shown is None:
        return waiting
    if shown.verdict is None:
        return "No class could be computed for this slice, hence no evidence."
    return "No region passes the evidence thresholds."
