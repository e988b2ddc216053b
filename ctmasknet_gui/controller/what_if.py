"""What if: takes regions out of the evidence of the visible slice, puts them back, asks about others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from PySide6.QtCore import QObject, Slot

from ctmasknet_gui.controller.feature_maps import within_budget
from ctmasknet_gui.controller.jobs import Handlers
from ctmasknet_gui.controller.services import EngineUseCase, Services
from ctmasknet_gui.controller.thresholds import ThresholdController
from ctmasknet_gui.state import Effect, SliceEdits
from ctmasknet_gui.worker import Priority
from model_core.base.asked import AskedRegion
from model_core.base.results import RoiRow, SliceResult
from model_core.base.settings import EvidenceEdit

_AGAIN = "Asking runs this slice again: to save memory its intermediate maps were given up."
_NETWORK = "Asking runs the network behind the class again: it has maps of its own, which are not kept."
_FIRST = "Analyse this slice first (Run slice), then ask about a region of it."
_TOPIC = "asking about a region"


class WhatIfController(EngineUseCase):
    """Makes the edits of the visible slice's evidence, and keeps `ResultState.effect` up to date.

    Regions are named by their candidates; what is not in the evidence of the slice is passed over. One that
    was asked about is none of the slice's: excluded, it is forgotten.
    """

    def __init__(
        self, services: Services, thresholds: ThresholdController, parent: QObject | None = None
    ) -> None:
        super().__init__(services, parent)
        state, shown = services.state, services.shown
        self._thresholds = thresholds
        state.results.events.shown.connect(self._refresh)
        state.selection.events.candidate.connect(self._refresh)
        state.selection.events.others.connect(self._refresh)
        shown.left.connect(self._stop_asking)

    @Slot(object)
    def exclude(self, candidates: Sequence[int]) -> None:
        """Take regions out of the evidence."""
        regions = [roi for roi in self._among(candidates) if not roi.excluded]
        if regions:
            if any(roi.asked is not None for roi in regions):
                # Those that stay are numbered anew.
                self._select(roi.candidate for roi in regions if roi.asked is None)
            self._put(self._without(regions), f"exclusion of {_named(regions)}")

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
            edit = self._only(regions)
            if edit.asked:
                self._select(roi.candidate for roi in regions if roi.asked is None)
            self._put(edit, f"keeping {_named(regions)} only")

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

    @Slot(object)
    def ask(self, box: Sequence[float]) -> None:
        """Ask the networks about a box (x1, y1, x2, y2, pixel edges of the slice) and let the answer in.

        Where the maps of the slice were given up, or the class has a network of its own, a backbone runs, and
        that is told.
        """
        index, analysed = self._state.display.slice_index, self._analysed()
        # The last question counts, and what was told of the one before is no longer true.
        self._jobs.cancel("ask")
        self._messages.withdraw(_TOPIC)
        if analysed is None:
            self._messages.post("info", _FIRST, topic=_TOPIC)
            return
        pipeline, volume, result = analysed
        runs = self._engine.needs_backbone(pipeline, result)
        if runs:
            self._messages.post("info", _NETWORK if result.features else _AGAIN, topic=_TOPIC)

        def take(item: object) -> None:
            results = self._state.results
            if isinstance(item, SliceResult) and index in results.slices:
                here = self._state.display.slice_index
                results.slices = within_budget({**results.slices, index: item}, centre=here)
            elif isinstance(item, AskedRegion) and index in results.slices:
                self._messages.withdraw(_TOPIC)
                self._take_answer(item, index)

        def fail(error: BaseException) -> None:
            self._messages.withdraw(_TOPIC)
            self._messages.report(error, topic=_TOPIC)

        self._jobs.submit(
            "ask",
            lambda: self._engine.ask(pipeline, volume, result, box),
            Handlers(produced=take, failed=fail, cancelled=lambda: self._messages.withdraw(_TOPIC)),
            priority=Priority.ASKED,
            visible=runs,
            beside=not runs,
        )

    def _take_answer(self, region: AskedRegion, index: int) -> None:
        """Let an asked region into the evidence of its slice, and select it where that is in sight."""
        edits = self._state.thresholds.edits
        edit = (edits.of(index) or EvidenceEdit()).ask(region)
        self._put(edit, "question about a region", index=index)
        if index == self._state.display.slice_index and (shown := self._state.results.shown) is not None:
            number = edit.asked.index(region)
            self._select(one.candidate for one, row in shown.asked_rois() if row.asked == number)

    def _select(self, candidates: Iterable[int]) -> None:
        first, *others = (*candidates,) or (None,)
        selection = self._state.selection
        selection.others = tuple(other for other in others if other is not None)
        selection.candidate = first

    @Slot()
    def _stop_asking(self) -> None:
        """Let nothing be answered that belongs to a case or to weights that were left."""
        self._jobs.cancel("ask")

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

    def _without(self, regions: Iterable[RoiRow]) -> EvidenceEdit:
        """Return the edit that leaves regions out; what was asked about is forgotten."""
        regions = tuple(regions)
        edit = self._edit.exclude(roi.candidate for roi in regions if roi.asked is None)
        return edit.forget(roi.asked for roi in regions if roi.asked is not None)

    def _only(self, regions: Iterable[RoiRow]) -> EvidenceEdit:
        """Return the edit that leaves nothing but regions in."""
        regions = tuple(regions)
        kept = {roi.asked for roi in regions}
        asked = tuple(one for k, one in enumerate(self._edit.asked) if k in kept)
        return EvidenceEdit(
            only=frozenset(roi.candidate for roi in regions if roi.asked is None), asked=asked
        )

    def _put(self, edit: EvidenceEdit, name: str, *, index: int | None = None) -> None:
        edits = self._state.thresholds.edits
        index = self._state.display.slice_index if index is None else index
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
        edit = self._edit.restore(roi.candidate for roi in regions) if back else self._without(regions)
        # An edit of its own where the slice has none yet.
        anew, evidence = self._state.thresholds.edits.nms_anew, self._state.thresholds.evidence
        verdict, alone = (
            self._engine.judge(pipeline, result, evidence, replace(one, nms_anew=anew))
            for one in (edit, self._only(regions))
        )
        ranks = tuple(roi.rank for roi in regions)
        results.effect = None if verdict is None else Effect(verdict, ranks, restored=back, alone=alone)


def _named(regions: Sequence[RoiRow]) -> str:
    return f"region {regions[0].rank}" if len(regions) == 1 else f"{len(regions)} regions"
