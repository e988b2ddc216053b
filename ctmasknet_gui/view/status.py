"""The status bar: what is running, how long it will take, what the class rests on."""

from __future__ import annotations

from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QLabel, QProgressBar, QSizePolicy, QStatusBar, QToolButton, QWidget

from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.verdict import analysed_slices, wanted_slices
from ctmasknet_gui.view.actions import Actions
from ctmasknet_gui.view.style import label, restyle
from ctmasknet_gui.view.weights_text import at_length, finds, in_one_line
from model_core.base.settings import BACKEND_VARIABLE, EvidenceBasis

DISCLAIMER = "Research use only – not a medical device"
_VERBS = {"open": "Opening", "run": "Analysing", "export": "Exporting"}
# Between two texts.
_BETWEEN = 12
_BASIS: dict[EvidenceBasis, tuple[str, str]] = {
    "published": (
        "evidence as published",
        "The class is computed as in one of the papers: network, proposals, suppression and RoI batch.",
    ),
    "trained": (
        "evidence as these weights were trained",
        "The class is computed as these weights were trained; that differs from the papers.",
    ),
    "edited": (
        "edited evidence",
        "The class is not computed as these weights were trained: its thresholds were changed.",
    ),
}
_MINUTE = 60
_HOUR = 3600


def describe_seconds(seconds: float) -> str:
    """Return remaining time in words that do not jump about: ``21 s left``, ``3 min left``."""
    if seconds < _MINUTE:
        return f"{max(1, round(seconds))} s left"
    if seconds < _HOUR:
        return f"{round(seconds / _MINUTE)} min left"
    return f"{seconds / _HOUR:.1f} h left"


class StatusBar(QStatusBar):
    """Progress with cancel on the left, evidence and disclaimer on the right."""

    def __init__(self, state: AppState, actions: Actions, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._tip = ""
        # What the text of the weights was chosen by.
        self._fitted: tuple[object, ...] | None = None
        self.setSizeGripEnabled(False)
        self.text = label()
        self.text.setContentsMargins(8, 0, 4, 0)
        self.progress = QProgressBar()
        self.progress.setTextVisible(False)
        self.progress.setFixedWidth(150)
        self.progress.setAccessibleName("Progress")
        self.cancel = QToolButton()
        self.cancel.setText("Cancel")
        self.cancel.setToolTip(actions.stop.toolTip())
        self.cancel.clicked.connect(actions.stop.trigger)
        self.cancel.setProperty("flat", "true")
        self.cancel.setAccessibleName("Cancel what is running")
        self.weights = label(role="muted")
        self.computes = label(role="after")
        self.computes.setToolTip(
            "What computes the networks. Another: ctmasknet-gui --backend, or the environment variable "
            f"{BACKEND_VARIABLE} (onnx, torch)."
        )
        self.evidence = QLabel()
        self.disclaimer = label(DISCLAIMER, role="after")
        spring = QWidget()
        spring.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.addWidget(self.text)
        self.addWidget(self.progress)
        self.addWidget(self.cancel)
        self.addWidget(spring, 1)
        self.addPermanentWidget(self.weights)
        self.addPermanentWidget(self.computes)
        self.addPermanentWidget(self.evidence)
        self.addPermanentWidget(self.disclaimer)
        state.run.events.kind.connect(self._on_kind)
        refresh_run = state.changes.once(self._refresh_run)
        state.run.events.all.connect(refresh_run)
        state.case.events.volume.connect(refresh_run)
        state.weights.events.all.connect(refresh_run)
        refresh_weights = state.changes.once(self._refresh_weights)
        state.weights.events.all.connect(refresh_weights)
        state.results.events.summaries.connect(refresh_run)
        state.results.events.updating.connect(refresh_run)
        refresh_evidence = state.changes.once(self._refresh_evidence)
        state.thresholds.events.all.connect(refresh_evidence)
        state.results.events.shown.connect(refresh_evidence)
        self._refresh_run()
        self._refresh_weights()
        self._refresh_evidence()

    @property
    def needed(self) -> int:
        """Width at the left that must be seen: progress, and how to cancel it; 0 while nothing runs."""
        return 0 if self.cancel.isHidden() else self.cancel.geometry().right() + _BETWEEN

    def show_tip(self, tip: str) -> None:
        """Say what is pointed at, in place of the idle text; empty for nothing. Progress is never covered."""
        self._tip = tip
        self._refresh_run()

    def _on_kind(self) -> None:
        """Forget what is pointed at once a run is over: the mouse rests where it was started."""
        if self._state.run.kind == "":
            self._tip = ""
        self._refresh_run()

    def _refresh_run(self) -> None:
        run = self._state.run
        running = run.kind != ""
        self.progress.setVisible(running)
        self.cancel.setVisible(running)
        self.text.setText(self._running_text() if running else self._tip or self._idle_text())
        if running:
            # A total of 0 moves the bar to and fro: it is not known yet.
            self.progress.setRange(0, max(0, run.total))
            self.progress.setValue(min(run.done, run.total) if run.total else 0)
        self._fit_weights()

    def _running_text(self) -> str:
        run = self._state.run
        parts = [run.text or f"{_VERBS.get(run.kind, 'Working')}…"]
        if run.total:
            parts.append(f"{round(100 * run.done / run.total)} %")
        if run.seconds_left is not None:
            parts.append(describe_seconds(run.seconds_left))
        return " · ".join(parts)

    def _idle_text(self) -> str:
        volume = self._state.case.volume
        if volume is None:
            return "Ready"
        summaries, lungs = self._state.results.summaries, self._state.case.lungs
        slices = f"{volume.slices} slice{'s' * (volume.slices != 1)}"
        if not summaries:
            return f"{slices} · not analysed"
        found = sum(s.detections > 0 for k, s in summaries.items() if not lungs.left_out(k))
        analysed = f"{analysed_slices(self._state)} of {slices} analysed"
        if self._state.results.updating:
            return f"{analysed} · updating the findings…"
        lungless = volume.slices - wanted_slices(self._state)
        rest = f" · {lungless} without lung" if lungless else ""
        return f"{analysed}{rest} · {found} with findings"

    def _refresh_weights(self) -> None:
        weights = self._state.weights
        self.weights.setToolTip(at_length(weights.cards))
        self.computes.setText(weights.computes)
        self.computes.setVisible(weights.computes != "")
        self._fit_weights()

    def _fit_weights(self) -> None:
        """Say of the weights what there is room for beside everything else."""
        weights = self._state.weights
        if not weights.cards:
            self.weights.setVisible(False)
            self._fitted = None
            return
        others = (self.text, self.progress, self.cancel, self.computes, self.evidence, self.disclaimer)
        widths = (max(w.sizeHint().width(), w.minimumWidth()) for w in others if not w.isHidden())
        taken = sum(width + _BETWEEN for width in widths)
        fitted = taken, self.width(), weights.cards
        if fitted == self._fitted:
            return  # trying texts lays the whole bar out anew
        self._fitted = fitted
        for text in (in_one_line(weights.cards), finds(weights.cards), ""):
            self.weights.setText(text)
            if taken + self.weights.sizeHint().width() + 2 * _BETWEEN <= self.width():
                break
        self.weights.setVisible(text != "")

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Say more where there is more room."""
        super().resizeEvent(event)
        self._fit_weights()

    def _refresh_evidence(self) -> None:
        shown = self._state.results.shown
        verdict = shown.verdict if shown is not None else None
        self.evidence.setVisible(verdict is not None)
        if verdict is not None:
            text, tip = _BASIS[verdict.basis]
            self.evidence.setText(text)
            self.evidence.setToolTip(tip)
            restyle(self.evidence, role="edited" if verdict.basis == "edited" else "as-defined")
        self._fit_weights()
