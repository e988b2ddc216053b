"""The two groups of thresholds: shown detections, and the evidence for the class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from psygnal import SignalGroupDescriptor

from model_core.base.settings import DetectionSettings, EvidenceSettings


@dataclass(frozen=True)
class Thresholds:
    """What a person sets, as one value: an edit makes another, and undo brings a former one back.

    Attributes
    ----------
    linked:
        Whether the evidence follows the shown score, NMS and scoring.
    last_nms_iou:
        What the NMS toggle returns to.
    """

    detections: DetectionSettings = DetectionSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    linked: bool = False
    last_nms_iou: float = 0.75


@dataclass(eq=False)
class ThresholdState:
    """Thresholds in force, the fields of `Thresholds` each observable on its own.

    Attributes
    ----------
    default_detections, default_evidence:
        Settings of the weights' cards; evidence that differs is "edited".
    undo, redo:
        The edit that would be undone or done again, in words; empty without one.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    detections: DetectionSettings = Thresholds.detections
    evidence: EvidenceSettings = Thresholds.evidence
    default_detections: DetectionSettings = DetectionSettings()
    default_evidence: EvidenceSettings = EvidenceSettings()
    linked: bool = Thresholds.linked
    last_nms_iou: float = Thresholds.last_nms_iou
    undo: str = ""
    redo: str = ""

    @property
    def evidence_edited(self) -> bool:
        """Whether the class is not from the evidence that the weights define."""
        return self.evidence != self.default_evidence

    @property
    def values(self) -> Thresholds:
        """The thresholds in force as one value."""
        return Thresholds(self.detections, self.evidence, self.linked, self.last_nms_iou)

    def put(self, values: Thresholds) -> None:
        """Put thresholds in force."""
        self.linked = values.linked
        self.last_nms_iou = values.last_nms_iou
        self.detections = values.detections
        self.evidence = values.evidence
