"""Changes the two groups of thresholds; everything shown follows, the backbone is never called."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QObject, Slot

from ctmasknet_gui.controller.shown import ShownController
from ctmasknet_gui.state import AppState
from model_core.base.settings import DetectionSettings, EvidenceSettings, Scoring


class ThresholdController(QObject):
    """Writes `ThresholdState` and asks for what depends on it."""

    def __init__(self, state: AppState, shown: ShownController, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._thresholds = state.thresholds
        self._shown = shown

    @Slot(object)
    def set_detections(self, settings: DetectionSettings) -> None:
        """Show other detections; with the link on the evidence follows."""
        self._apply(settings, self._linked_evidence(settings) or self._thresholds.evidence)

    @Slot(object)
    def set_evidence(self, settings: EvidenceSettings) -> None:
        """Compute the class from other evidence. Moving it by hand ends the link."""
        if self._thresholds.linked and settings != self._linked_evidence(self._thresholds.detections):
            self._thresholds.linked = False
        self._apply(self._thresholds.detections, settings)

    @Slot(bool)
    def set_linked(self, linked: bool) -> None:
        """Let the evidence follow the shown detections, or go back to that of the weights."""
        self._thresholds.linked = bool(linked)
        detections = self._thresholds.detections
        evidence = self._linked_evidence(detections) or self._thresholds.default_evidence
        self._apply(detections, evidence)

    @Slot()
    def toggle_nms(self) -> None:
        """Switch the NMS of the shown detections off, or back to the chosen threshold."""
        detections = self._thresholds.detections
        nms = self._thresholds.last_nms_iou if detections.nms_iou is None else None
        self.set_detections(replace(detections, nms_iou=nms))

    def set_scoring(self, scoring: Scoring) -> None:
        """Score the shown detections by softmax over the classes or by each class's sigmoid."""
        self.set_detections(replace(self._thresholds.detections, scoring=scoring))

    @Slot()
    def reset(self) -> None:
        """Back to the weights' own thresholds, for the class too."""
        self._thresholds.linked = False
        self._apply(self._thresholds.default_detections, self._thresholds.default_evidence)

    def _linked_evidence(self, detections: DetectionSettings) -> EvidenceSettings | None:
        if not self._thresholds.linked:
            return None
        return replace(
            self._thresholds.default_evidence,
            score=detections.score,
            nms_iou=detections.nms_iou,
            scoring=detections.scoring,
            temperature=detections.temperature,
        )

    def _apply(self, detections: DetectionSettings, evidence: EvidenceSettings) -> None:
        thresholds = self._thresholds
        if detections.nms_iou is not None:
            thresholds.last_nms_iou = detections.nms_iou
        if (detections, evidence) == (thresholds.detections, thresholds.evidence):
            return
        class_too = evidence != thresholds.evidence
        thresholds.detections = detections
        thresholds.evidence = evidence
        self._shown.settings_changed(class_too=class_too)
