"""State as controllers leave it after a run, for windows without controllers."""

from dataclasses import fields, replace

import numpy as np
from gui_fakes import FakeEngine, FakePipeline, make_card, make_entry, make_volume, warning
from PySide6.QtCore import QEvent, QObject

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.use_cases import UseCases
from model_core.base.volume import Catalogue

SLICES = 7


class Heard(QObject):
    """Counts the events of one kind, by default paintings, that a widget gets."""

    def __init__(self, widget, kind=QEvent.Type.Paint):
        super().__init__(widget)
        self.count, self._kind = 0, kind
        widget.installEventFilter(self)

    def eventFilter(self, _watched, event):
        """Count, and pass on."""
        self.count += event.type() == self._kind
        return False


def heard_use_cases():
    """Use cases that do nothing but tell what they are called with: see `hear`."""

    def note():
        def call(*values):
            for listener in call.listeners:
                listener.append(values[0] if len(values) == 1 else values)

        call.listeners = []
        return call

    return UseCases(**{field.name: note() for field in fields(UseCases)})


def hear(use_case):
    """Return a list that grows by what a use case of `heard_use_cases` is called with from now on."""
    use_case.listeners.append([])
    return use_case.listeners[-1]


def fill(state: AppState, *, index: int = 3) -> AppState:
    """Open a series of 7 slices, all analysed; show one of them."""
    engine = FakeEngine()
    volume = make_volume(slices=SLICES)
    pipeline = FakePipeline("fake", (make_card(),))
    second = replace(make_entry(make_volume("second", slices=5)), problems=(warning(),))
    state.weights.available = pipeline.cards
    state.weights.cards = pipeline.cards
    thresholds = state.thresholds
    thresholds.default_detections = thresholds.detections = pipeline.detections
    thresholds.default_evidence = thresholds.evidence = pipeline.evidence
    state.case.catalogue = Catalogue("root", (make_entry(volume), second), ())
    state.case.volume = volume
    state.display.slice_index = index
    results = {k: engine.result(pipeline, volume, k) for k in range(SLICES)}
    settings = thresholds.detections, thresholds.evidence
    state.results.slices = results
    state.results.summaries = {
        k: engine.summarise(pipeline, volume, r, *settings) for k, r in results.items()
    }
    show(state)
    state.results.scan = engine.scan_verdict(state.results.summaries.values(), basis="trained")
    return state


def show(state: AppState) -> None:
    """Compute what is shown of the present slice under the present thresholds."""
    pipeline = FakePipeline("fake", (make_card(),))
    shown = FakeEngine().show(
        pipeline,
        state.case.volume,
        state.results.slices[state.display.slice_index],
        state.thresholds.detections,
        state.thresholds.evidence,
    )
    rows = np.zeros((16, 5), np.float32)
    source = np.arange(16) // 3
    rows[:, 0] = [shown.rois[k].score if k < len(shown.rois) else 0.0 for k in source]
    batch = replace(shown.verdict.batch, rows=rows, source=source)
    state.results.shown = replace(shown, verdict=replace(shown.verdict, batch=batch))
