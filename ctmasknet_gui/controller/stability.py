"""Says, when asked, how much the numbers of a slice or of the scan move with the picture: eight changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from PySide6.QtCore import QObject, Slot

from ctmasknet_gui.controller.jobs import Handlers
from ctmasknet_gui.controller.services import EngineUseCase, Services
from ctmasknet_gui.worker import Priority
from model_core.base.jobs import Progress
from model_core.base.results import Candidates
from model_core.base.settings import DetectionSettings, EvidenceSettings

if TYPE_CHECKING:
    from model_core.base.stability import ScanStability, Stability

_TOPIC = "how sure"
_STOPPED = "“How sure?” of the {} was stopped. Nothing of it is kept: asked again, it begins anew."


@dataclass(frozen=True, eq=False)
class _Known:
    """What was found, and what it is true of."""

    of: Candidates
    detections: DetectionSettings
    evidence: EvidenceSettings
    found: Stability


class StabilityController(EngineUseCase):
    """Writes `StabilityState`; what is known is forgotten with case, weights and another run of the slice.

    Thresholds that moved back make what is known of slices true again; that of the scan is dropped, also when
    the lungs are found.
    """

    def __init__(self, services: Services, parent: QObject | None = None) -> None:
        super().__init__(services, parent)
        state, shown = services.state, services.shown
        self._kept: dict[int, _Known] = {}
        # Slice, its candidates and settings of the runs that go on.
        self._asked: tuple[int, Candidates, DetectionSettings, EvidenceSettings] | None = None
        # Thresholds and edits that the numbers of the scan are true of.
        self._scan_of: tuple[object, ...] = ()
        state.results.events.shown.connect(self._refresh)
        state.thresholds.events.all.connect(self._refresh)
        state.thresholds.events.all.connect(self._drop_moved)
        # Kept results are there before the lungs are found: the verdict then counts other slices.
        state.case.events.lungs.connect(self._forget_scan)
        shown.left.connect(self._forget)

    @Slot()
    def ask(self) -> None:
        """Run the visible slice with eight small changes."""
        analysed, shown = self._analysed(), self._state.results.shown
        if analysed is None or shown is None:
            return
        pipeline, volume, result = analysed
        self._messages.withdraw(_TOPIC)
        known = self._known()
        if known is not None and self._true(known) == (True, True):
            return
        index, of, engine = shown.slice_index, result.detection_candidates, self._engine
        settings = self._state.thresholds.detections, self._state.thresholds.evidence

        asked = index, of, *settings
        if self._asked is not None and self._asked[1] is of and self._asked[2:] == settings:
            return  # it runs already
        self._asked = None  # what makes way for it was not stopped by anybody

        def take(item: object) -> None:
            if not isinstance(item, Progress):
                self._kept[index] = _Known(of, *settings, cast("Stability", item))

        def end() -> None:
            if self._asked is asked:
                self._asked = None
            self._refresh()

        def fail(error: BaseException) -> None:
            end()
            self._messages.report(error, topic=_TOPIC)

        def stop() -> None:
            stopped = self._asked is asked
            end()
            if stopped:
                self._messages.post("info", _STOPPED.format("slice"), topic=_TOPIC)

        self._jobs.submit(
            "stability",
            lambda: engine.stability(pipeline, volume, index, *settings),
            Handlers(produced=take, finished=end, failed=fail, cancelled=stop),
            priority=Priority.ASKED,
        )
        self._asked = asked
        self._refresh()

    @Slot()
    def ask_scan(self) -> None:
        """Run some of the lung slices of the scan with the same eight changes each."""
        pipeline, volume, steady = self._weights.pipeline, self._state.case.volume, self._state.stability
        if pipeline is None or volume is None or steady.scan is not None or steady.scan_computing:
            return
        self._messages.withdraw(_TOPIC)
        summaries, engine = list(self._state.results.summaries.values()), self._engine
        detections, evidence = self._state.thresholds.detections, self._state.thresholds.evidence
        self._scan_of = asked = self._settings

        def take(item: object) -> None:
            if not isinstance(item, Progress) and self._scan_of is asked:
                steady.scan = cast("ScanStability", item)

        def end() -> None:
            if self._scan_of is asked:
                steady.scan_computing = False

        def fail(error: BaseException) -> None:
            end()
            self._messages.report(error, topic=_TOPIC)

        def stop() -> None:
            end()
            # Thresholds that moved forgot it before.
            if self._scan_of is asked:
                self._messages.post("info", _STOPPED.format("scan"), topic=_TOPIC)

        self._jobs.submit(
            "scan stability",
            lambda: engine.scan_stability(pipeline, volume, summaries, detections, evidence),
            Handlers(produced=take, finished=end, failed=fail, cancelled=stop),
            # It takes minutes: all else that a person asks for goes first.
            priority=Priority.IDLE,
        )
        steady.scan_computing = True

    @property
    def _settings(self) -> tuple[object, ...]:
        thresholds = self._state.thresholds
        return thresholds.detections, thresholds.evidence, thresholds.edits

    def _drop_moved(self, *_: object) -> None:
        """Drop what is known of the scan, or being computed, where it is of former thresholds."""
        if self._scan_of and self._scan_of != self._settings:
            self._forget_scan()

    def _forget_scan(self, *_: object) -> None:
        self._scan_of = ()
        steady = self._state.stability
        if steady.scan_computing:
            self._jobs.cancel("scan stability")
        steady.scan_computing = False
        if steady.scan is not None:
            steady.scan = None

    def _known(self) -> _Known | None:
        """Return what is known of the visible slice as it was run last."""
        shown = self._state.results.shown
        result = None if shown is None else self._state.results.slices.get(shown.slice_index)
        known = None if shown is None else self._kept.get(shown.slice_index)
        return known if known and result and known.of is result.detection_candidates else None

    def _true(self, known: _Known) -> tuple[bool, bool]:
        """Return whether it is true of the class that is shown, and of the marked area."""
        thresholds = self._state.thresholds
        # Every change of the picture finds regions of its own: an edit of those of the slice is none of them.
        edited = thresholds.edits.of(self._state.display.slice_index) is not None
        return known.evidence == thresholds.evidence and not edited, known.detections == thresholds.detections

    def _refresh(self, *_: object) -> None:
        state, shown, known = self._state.stability, self._state.results.shown, self._known()
        state.computing = (
            shown is not None and self._asked is not None and self._asked[0] == shown.slice_index
        )
        state.of_class, state.of_area = (False, False) if known is None else self._true(known)
        found = None if known is None else known.found
        if state.found is not found:
            state.found = found

    @Slot()
    def _forget(self) -> None:
        self._asked = None
        self._jobs.cancel("stability")
        self._kept.clear()
        self._forget_scan()
        self._refresh()
