"""Changes thresholds and what is taken out of the evidence, and takes changes back; no backbone runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace

from PySide6.QtCore import QObject, Slot

from ctmasknet_gui.controller.shown import ShownController
from ctmasknet_gui.state import AppState, SliceEdits, Thresholds
from model_core.base.settings import DetectionSettings, EvidenceSettings, Scoring

# Changes of one threshold without a longer pause are one edit: a slider that is dragged.
PAUSE_S = 1.0
_MOST_EDITS = 200
_RESET = "reset of the thresholds"
# What an edit is called, by the first field that it changed. A new scale converts the mask threshold.
_WORDS = {
    "score": "score",
    "nms_iou": "NMS",
    "mask_scale": "mask scale",
    "mask_threshold": "mask threshold",
    "scoring": "scoring",
    "join_touching": "joining of detections",
    "logit_rule": "sum of logits",
}


@dataclass(frozen=True)
class _Edit:
    """The name of an edit, and the thresholds before it (to undo) or after it (to redo)."""

    name: str
    values: Thresholds
    # Whether it took regions out of the evidence of slices of one case, or put them back.
    of_regions: bool = False


def name_of(before: Thresholds, after: Thresholds) -> str:
    """Return what an edit of thresholds is called."""
    if before.linked != after.linked and before.detections == after.detections:
        return "link of the evidence"
    for old, new, of in (
        (before.detections, after.detections, ""),
        (before.evidence, after.evidence, " of the evidence"),
    ):
        changed = {
            field.name for field in fields(old) if getattr(old, field.name) != getattr(new, field.name)
        }
        if changed:
            return next((words + of for name, words in _WORDS.items() if name in changed), f"thresholds{of}")
    return "thresholds"


class ThresholdController(QObject):
    """Writes `ThresholdState`, asks for what depends on it, and keeps the former values for undo.

    Edits are of the weights whose thresholds they began with: others forget them. Those of regions are of
    the open case.
    """

    def __init__(
        self,
        state: AppState,
        shown: ShownController,
        parent: QObject | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(parent)
        self._thresholds = state.thresholds
        self._changes = state.changes
        self._shown = shown
        self._clock = clock
        self._done: list[_Edit] = []
        self._undone: list[_Edit] = []
        # Until when a further change belongs to the last edit.
        self._open_until = 0.0
        for defaults in (
            state.thresholds.events.default_detections,
            state.thresholds.events.default_evidence,
        ):
            defaults.connect(self._forget_edits)
        shown.left.connect(self._forget_regions)

    @Slot(object)
    def set_detections(self, settings: DetectionSettings) -> None:
        """Show other detections; with the link on the evidence follows."""
        values = self._thresholds.values
        self._edit(self._linked(replace(values, detections=settings)))

    @Slot(object)
    def set_evidence(self, settings: EvidenceSettings) -> None:
        """Compute the class from other evidence. Moving it by hand ends the link."""
        values = self._thresholds.values
        linked = values.linked and settings == self._linked(values).evidence
        self._edit(replace(values, evidence=settings, linked=linked))

    @Slot(bool)
    def set_linked(self, linked: bool) -> None:
        """Let the evidence follow the shown detections, or go back to that of the weights."""
        evidence = self._thresholds.default_evidence
        values = replace(self._thresholds.values, linked=bool(linked), evidence=evidence)
        self._edit(self._linked(values))

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
        defaults = self._thresholds.default_detections, self._thresholds.default_evidence
        self._edit(
            replace(self._thresholds.values, linked=False, detections=defaults[0], evidence=defaults[1]),
            name=_RESET,
        )

    def set_edits(self, edits: SliceEdits, name: str) -> None:
        """Take regions out of the evidence of slices, or put them back; ``name`` is that of the edit."""
        self._edit(replace(self._thresholds.values, edits=edits), name=name)

    def take(self, values: Thresholds) -> None:
        """Put the thresholds of a case that was opened in force; there is nothing to undo then."""
        self._put(values)
        self._forget_edits()

    @Slot()
    def undo(self) -> None:
        """Take the last edit back."""
        self._step(self._done, self._undone)

    @Slot()
    def redo(self) -> None:
        """Do again what was undone last."""
        self._step(self._undone, self._done)

    def _linked(self, values: Thresholds) -> Thresholds:
        """Return thresholds whose evidence follows the detections, where they are linked."""
        if not values.linked:
            return values
        detections = values.detections
        evidence = replace(
            self._thresholds.default_evidence,
            score=detections.score,
            nms_iou=detections.nms_iou,
            scoring=detections.scoring,
            temperature=detections.temperature,
        )
        return replace(values, evidence=evidence)

    def _edit(self, values: Thresholds, name: str = "") -> None:
        """Put edited thresholds in force and remember the former ones."""
        before = self._thresholds.values
        if values.detections.nms_iou is not None:
            values = replace(values, last_nms_iou=values.detections.nms_iou)
        if values == before:
            return
        name, now = name or name_of(before, values), self._clock()
        of_regions = values.edits != before.edits
        goes_on = bool(self._done) and self._done[-1].name == name and now < self._open_until
        # Regions are not dragged: each time they go or come is an edit.
        if of_regions or not goes_on:
            edit = _Edit(name, before, of_regions=of_regions)
            self._done = [*self._done, edit][-_MOST_EDITS:]
        self._open_until = now + PAUSE_S
        self._undone = []
        self._put(values)

    def _step(self, source: list[_Edit], target: list[_Edit]) -> None:
        if source:
            edit = source.pop()
            target.append(replace(edit, values=self._thresholds.values))
            self._open_until = 0.0
            # Regions that came back with their case are not what this edit was about.
            now = self._thresholds.edits
            self._put(edit.values if edit.of_regions else replace(edit.values, edits=now))

    def _put(self, values: Thresholds) -> None:
        thresholds = self._thresholds
        class_too = values.evidence != thresholds.evidence
        changed = class_too or values.detections != thresholds.detections
        edited = values.edits.differing(thresholds.edits)
        with self._changes.together():
            thresholds.put(values)
            self._tell_edits()
            if changed:
                self._shown.settings_changed(class_too=class_too or bool(edited))
            elif edited:
                self._shown.evidence_edited(edited)

    def _forget_edits(self) -> None:
        self._done, self._undone = [], []
        self._tell_edits()

    @Slot()
    def _forget_regions(self) -> None:
        """Forget the edits that name regions of a case that was put away; those of thresholds stay."""
        edits = self._thresholds.edits
        self._done, self._undone = (
            [replace(e, values=replace(e.values, edits=edits)) for e in stack if not e.of_regions]
            for stack in (self._done, self._undone)
        )
        self._open_until = 0.0
        self._tell_edits()

    def _tell_edits(self) -> None:
        self._thresholds.undo = self._done[-1].name if self._done else ""
        self._thresholds.redo = self._undone[-1].name if self._undone else ""
