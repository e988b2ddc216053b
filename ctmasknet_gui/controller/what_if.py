"""Takes regions out of the evidence of the visible slice and puts them back; the class answers at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from PySide6.QtCore import QObject, Slot

from ctmasknet_gui.controller.ports import Engine
from ctmasknet_gui.controller.thresholds import ThresholdController
from ctmasknet_gui.controller.weights import WeightsController
from ctmasknet_gui.state import AppState, Effect, SliceEdits
from model_core.base.results import RoiRow
from model_core.base.settings import EvidenceEdit


class WhatIfController(QObject):
    """Makes the edits of the visible slice's evidence, and keeps `ResultState.effect` up to date.

    Regions are named by their candidates; what is not in the evidence of the slice is passed over.
    """

    def __init__(
        self,
        state: AppState,
        thresholds: ThresholdController,
        *,
        engine: Engine,
        weights: WeightsController,
        parent: QObject | None = None,
    ) -> None:
        super().__init__(parent)
        self._state = state
        self._thresholds = thresholds
        self._engine = engine
        self._weights = weights
        state.results.events.shown.connect(self._refresh)
        state.selection.events.candidate.connect(self._refresh)
        state.selection.events.others.connect(self._refresh)

    @Slot(object)
    def exclude(self, candidates: Sequence[int]) -> None:
        """Take regions out of the evidence."""
        regions = [roi for roi in self._among(candidates) if not roi.excluded]
        if regions:
            edit = self._edit.exclude(roi.candidate for roi in regions)
            self._put(edit, f"exclusion of {_named(regions)}")

    @Slot(object)
    def restore(self, candidates: Sequence[int]) -> None:
        """Put regions back into the evidence."""
        regions = [roi for roi in self._among(candidates) if roi.excluded]
        if regions:
            edit = self._edit.restore(roi.candidate for roi in regions)
            self._put(edit, f"return of {_named(regions)}")

    @Slot(object)
    def keep_only(self, candidates: Sequence[int]) -> None:
        """Take everything but these regions out of the evidence."""
        regions = self._among(candidates)
        if regions:
            only = frozenset(roi.candidate for roi in regions)
            self._put(EvidenceEdit(only=only), f"keeping {_named(regions)} only")

    @Slot()
    def restore_all(self) -> None:
        """Put every region of the slice back."""
        self._put(EvidenceEdit(), "return of all regions")

    @Slot()
    def restore_everywhere(self) -> None:
        """Put every region of every slice back."""
        edits = self._state.thresholds.edits
        if edits:
            self._thresholds.set_edits(replace(edits, edits=()), "return of all regions of all slices")

    @Slot()
    def toggle_nms_anew(self) -> None:
        """Let regions in that excluded ones had suppressed, or keep them out again."""
        edits = self._state.thresholds.edits
        self._thresholds.set_edits(replace(edits, nms_anew=not edits.nms_anew), "NMS of edited evidence")

    @property
    def _rois(self) -> tuple[RoiRow, ...]:
        shown = self._state.results.shown
        return () if shown is None or shown.verdict is None else shown.rois

    @property
    def _edit(self) -> EvidenceEdit:
        return self._state.thresholds.edits.of(self._state.display.slice_index) or EvidenceEdit()

    def _among(self, candidates: Iterable[int]) -> list[RoiRow]:
        wanted = set(candidates)
        return [roi for roi in self._rois if roi.candidate in wanted]

    def _put(self, edit: EvidenceEdit, name: str) -> None:
        edits, index = self._state.thresholds.edits, self._state.display.slice_index
        changed: SliceEdits = edits.put(index, edit)
        if changed != edits:
            self._thresholds.set_edits(changed, f"{name}, slice {index + 1}")

    def _refresh(self) -> None:
        """Compute what the class would be without the selected regions, or with them again."""
        results = self._state.results
        regions = self._among(self._state.selection.chosen)
        result = results.slices.get(self._state.display.slice_index)
        pipeline = self._weights.pipeline
        if not regions or result is None or pipeline is None or result.weights_id != pipeline.weights_id:
            if results.effect is not None:
                results.effect = None
            return
        back = all(roi.excluded for roi in regions)
        numbers = [roi.candidate for roi in regions]
        edit = self._edit.restore(numbers) if back else self._edit.exclude(numbers)
        # An edit of its own where the slice has none yet.
        edit = replace(edit, nms_anew=self._state.thresholds.edits.nms_anew)
        verdict = self._engine.judge(pipeline, result, self._state.thresholds.evidence, edit)
        ranks = tuple(roi.rank for roi in regions)
        results.effect = None if verdict is None else Effect(verdict, ranks, restored=back)


def _named(regions: Sequence[RoiRow]) -> str:
    return f"region {regions[0].rank}" if len(regions) == 1 else f"{len(regions)} regions"
