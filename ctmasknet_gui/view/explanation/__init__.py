"""The panel that explains the class: probabilities, thresholds, RoI batch, table and plots."""

from ctmasknet_gui.view.explanation.panel import ExplanationPanel

__all__ = ["ExplanationPanel"]
