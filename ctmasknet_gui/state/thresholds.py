"""The two groups of thresholds: shown detections, and the evidence for the class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psygnal import SignalGroupDescriptor

from model_core.base.settings import DetectionSettings, EvidenceSettings


@dataclass(eq=False)
class ThresholdState:
    """Thresholds in force.

    Attributes
    ----------
    default_evidence:
        The evidence settings of the weights' card; evidence that differs is "edited".
    linked:
        Whether the evidence follows the shown score, NMS and scoring.
    last_nms_iou:
        What the NMS toggle returns to.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    detections: DetectionSettings = DetectionSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    default_detections: DetectionSettings = DetectionSettings()
    default_evidence: EvidenceSettings = EvidenceSettings()
    linked: bool = False
    last_nms_iou: float = 0.75

    @property
    def evidence_edited(self) -> bool:
        """Whether the class is not from the evidence that the weights define."""
        return self.evidence != self.default_evidence
