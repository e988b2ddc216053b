"""The two groups of thresholds (shown detections, evidence for the class) and regions taken out of that."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar, TypedDict

from psygnal import SignalGroupDescriptor

from model_core.base.settings import DetectionSettings, EvidenceEdit, EvidenceSettings


class EditArgument(TypedDict, total=False):
    """An edit as the engine is asked with it: nothing where there is none."""

    edit: EvidenceEdit


@dataclass(frozen=True)
class SliceEdits:
    """What was taken out of the evidence of the slices of the open case, by hand.

    Attributes
    ----------
    edits:
        Slice (from 0) and edit, of those slices alone that are edited.
    nms_anew:
        As in `EvidenceEdit`, for all of them.
    """

    edits: tuple[tuple[int, EvidenceEdit], ...] = ()
    nms_anew: bool = False

    def __iter__(self) -> Iterator[int]:
        """Iterate over the edited slices."""
        return (index for index, _ in self.edits)

    def __len__(self) -> int:
        return len(self.edits)

    def of(self, index: int) -> EvidenceEdit | None:
        """Return the edit of a slice; None where it has none."""
        edit = dict(self.edits).get(index)
        return None if edit is None else replace(edit, nms_anew=self.nms_anew)

    def arguments(self, index: int) -> EditArgument:
        """Return the edit of a slice as what the engine is asked with."""
        edit = self.of(index)
        return {} if edit is None else {"edit": edit}

    def put(self, index: int, edit: EvidenceEdit) -> SliceEdits:
        """Return the edits with another one of a slice; one that leaves nothing out is none."""
        edits = {**dict(self.edits), index: replace(edit, nms_anew=False)}
        if not edit:
            del edits[index]
        return replace(self, edits=tuple(sorted(edits.items(), key=lambda pair: pair[0])))

    def differing(self, other: SliceEdits) -> frozenset[int]:
        """Return the slices that have another edit there."""
        return frozenset(index for index in {*self, *other} if self.of(index) != other.of(index))


@dataclass(frozen=True)
class Thresholds:
    """What a person sets, as one value: an edit makes another, and undo brings a former one back.

    Attributes
    ----------
    linked:
        Whether the evidence follows the shown score, NMS and scoring.
    last_nms_iou:
        What the NMS toggle returns to.
    edits:
        What is taken out of the evidence, by hand.
    """

    detections: DetectionSettings = DetectionSettings()
    evidence: EvidenceSettings = EvidenceSettings()
    linked: bool = False
    last_nms_iou: float = 0.75
    edits: SliceEdits = SliceEdits()


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
    edits: SliceEdits = Thresholds.edits
    undo: str = ""
    redo: str = ""

    @property
    def evidence_edited(self) -> bool:
        """Whether the class is not from the evidence that the weights define."""
        return self.evidence != self.default_evidence

    @property
    def values(self) -> Thresholds:
        """The thresholds in force as one value."""
        return Thresholds(self.detections, self.evidence, self.linked, self.last_nms_iou, self.edits)

    def put(self, values: Thresholds) -> None:
        """Put thresholds in force."""
        self.linked = values.linked
        self.last_nms_iou = values.last_nms_iou
        self.edits = values.edits
        self.detections = values.detections
        self.evidence = values.evidence
