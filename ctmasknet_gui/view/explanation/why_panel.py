"""Why the shown slice has its class: what carries it, and what would change it."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import (
    QHBoxLayout,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.verdict import gives_no_class
from ctmasknet_gui.view.explanation.share_bar import Chooser, ShareBar
from ctmasknet_gui.view.explanation.verdict_card import Line
from ctmasknet_gui.view.style import label
from model_core.base.reasons import GROUPINGS, WAYS, DecisiveRegions, Grouping, SliceReason, Way
from model_core.base.results import probability_text
from model_core.scene.reasons import (
    answer,
    group_name,
    sentence,
    signed_logit,
    stays_excluded,
    what_carries_it,
    what_changes_it,
)

WAY_NAMES: dict[Way, tuple[str, str]] = {
    "integrated_gradients": (
        "Gradients",
        "Integrated gradients: mean slope of the logit on the way from the regions of controls; adds up",
    ),
    "shapley": (
        "Shapley",
        "Shapley values: what a region adds, mean over all orders of joining; adds up, takes seconds",
    ),
    "leave_one_out": (
        "Leave one out",
        "How far the logit falls with the regions of controls in its place; does not add up",
    ),
    "closed_up": (
        "Ranks closed up",
        "How far the logit falls where the lower ranks close up, as excluding does; does not add up",
    ),
}
GROUPING_NAMES: dict[Grouping, tuple[str, str]] = {
    "region": ("Region", "Each region by itself"),
    "lesion": ("Lesion", "All regions on one shown lesion count as one"),
    "side": ("Lung side", "All regions on one side of the lungs count as one"),
}
_NO_REFERENCES = "No evidence of controls in these weights: lower ranks close up instead."
_ADD = "'ctmasknet train calibrate' adds it, and with it sums and decisive sets."
_HOW_TO_ADD = (
    "To put something in the place of a region, the card needs RoI batches of at least 32 control slices.\n"
    "'ctmasknet train calibrate --data DIR' adds them (docs/explanation.md). Grey contributions are no\n"
    "larger than what the shift of ranks makes."
)
_COMPUTING = "Which regions it rests on is being computed…"
_ROW = 17


class WhyPanel(QWidget):
    """What carries the class of the shown slice, what would change it, and buttons that try it.

    Signals
    -------
    wayChosen(str), groupingChosen(str), outputChosen(int or None), colourToggled().
    regionsPicked(tuple of int), excludeAsked(tuple of int), keepAsked(tuple of int):
        Candidates.
    """

    wayChosen = Signal(object)
    groupingChosen = Signal(object)
    outputChosen = Signal(object)
    colourToggled = Signal()
    regionsPicked = Signal(object)
    excludeAsked = Signal(object)
    keepAsked = Signal(object)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._heading = label("WHY", role="heading")
        self.sum = Line("worth")
        self.output = Chooser("Of which logit: ill or not, or that of a class")
        self.grouping = Chooser("What counts as one")
        self.way = Chooser("How a region is taken out (docs/explanation.md)")
        self.colour = QPushButton("Colour")
        self.colour.setCheckable(True)
        self.colour.setProperty("segment", "true")
        self.colour.setProperty("small", "true")
        self.colour.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.colour.setToolTip("Colour the regions on the slice by what they contribute (W)")
        self.colour.setAccessibleName("Colour the regions by contribution")
        self.colour.clicked.connect(lambda *_: self.colourToggled.emit())
        self.bar = ShareBar()
        self.bar.picked.connect(self.regionsPicked)
        self.words = Line("slice")
        self.changes, self.carries = Line("amount"), Line("amount")
        self.exclude = _link("Exclude", "Take these regions out of the evidence; Ctrl+Z puts them back")
        self.keep = _link(
            "Keep only", "Leave these regions alone in the evidence; Ctrl+Z puts the others back"
        )
        self.select = _link("Select", "Select these regions in table, plots and picture")
        self.exclude.clicked.connect(lambda *_: self._ask(self.excludeAsked, alone=False))
        self.select.clicked.connect(lambda *_: self._ask(self.regionsPicked, alone=False))
        self.keep.clicked.connect(lambda *_: self._ask(self.keepAsked, alone=True))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        head = _row(self._heading, self.sum, self.output, self.grouping, self.way, self.colour)
        head.setStretchFactor(self.sum, 1)
        layout.addLayout(head)
        layout.addWidget(self.bar)
        layout.addWidget(self.words)
        layout.addLayout(_row(self.changes, self.select, self.exclude))
        layout.addLayout(_row(self.carries, self.keep))
        refresh = state.changes.once(self._refresh)
        state.reasons.events.all.connect(refresh)
        state.results.events.shown.connect(refresh)
        state.selection.events.all.connect(refresh)
        state.display.events.contributions.connect(refresh)
        state.weights.events.cards.connect(refresh)
        state.case.events.volume.connect(refresh)
        self._refresh()

    def _ask(self, signal: object, *, alone: bool) -> None:
        reason = self._state.reasons.reason
        found = None if reason is None else reason.alone if alone else reason.without
        if found is not None and found.candidates:
            signal.emit(found.candidates)  # type: ignore[attr-defined]

    def _refresh(self, *_: object) -> None:
        reasons = self._state.reasons
        # Without a class there is nothing to explain; the class panel says why.
        self.setVisible(not gives_no_class(self._state))
        reason = reasons.reason
        self.colour.setChecked(self._state.display.contributions)
        self._fill_choosers(reason)
        for line in (self.sum, self.words, self.changes, self.carries):
            line.stale = reasons.computing or reason is None
        if reason is None:
            self._say_waiting()
            return
        self.colour.setEnabled(reason.values is not None)
        output, grouping = reasons.shown_output, reasons.shown_grouping
        self._show_bar(reason, output, grouping)
        self._show_sum(reason, output)
        if reasons.computing and reason.way != reasons.way and reason.references:
            _say(self.sum, f"{WAY_NAMES[reasons.way][0]} follow…")
        words = sentence(reason, grouping, output)
        if reason.why_none and not words:
            words = reason.why_none
        tip = ""
        if not reason.references and reason.values is not None:
            tip = f"\n\n{_NO_REFERENCES}\n{_HOW_TO_ADD}"
        _say(self.words, words, tip)
        self._show_sets(reason)

    def _say_waiting(self) -> None:
        self.colour.setEnabled(False)
        self.bar.set_segments([], chosen=frozenset(), dimmed=False)
        _say(self.sum, "")
        opened = self._state.case.volume is not None
        waiting = "Says which regions the class rests on, once the slice is analysed." if opened else ""
        _say(self.words, _COMPUTING if self._state.reasons.computing else waiting)
        for line in (self.changes, self.carries):
            _say(line, "")
        for button in (self.select, self.exclude, self.keep):
            button.setVisible(False)

    def _fill_choosers(self, reason: SliceReason | None) -> None:
        reasons = self._state.reasons
        for chooser in (self.output, self.grouping, self.way):
            chooser.setEnabled(reason is not None and reason.values is not None)
            # Without a word it would be an arrow that opens nothing.
            chooser.setVisible(reason is not None or bool(chooser.text()))
        if reason is None:
            return
        own = reason.own_output
        self.output.fill(
            [
                (name, f"Contributions to the logit of {name}", True, k)
                for k, name in enumerate(reason.outputs)
            ],
            reasons.shown_output,
            lambda value: self.outputChosen.emit(None if value == own else value),
            text=_short(reason.outputs[reasons.shown_output]),
        )
        self.grouping.fill(
            [(*GROUPING_NAMES[k], k in reason.groups, k) for k in GROUPINGS],
            reasons.shown_grouping,
            self.groupingChosen.emit,
            text=GROUPING_NAMES[reasons.shown_grouping][0],
        )
        self.way.fill(
            [(*WAY_NAMES[k], bool(reason.references) or k == "closed_up", k) for k in WAYS],
            reason.way,
            self.wayChosen.emit,
            text=WAY_NAMES[reason.way][0],
        )

    def _show_bar(self, reason: SliceReason, output: int, grouping: Grouping) -> None:
        groups = reason.groups.get(grouping, ())
        segments = []
        for group in groups:
            value = float(group.values[output])
            name = group_name(group, grouping)
            name = name[0].upper() + name[1:]
            count = f" ({len(group.candidates)} regions)" if len(group.candidates) > 1 else ""
            tip = f"{name}{count}: {signed_logit(value)} in the logit of {reason.outputs[output]}"
            text = group.side.split(" ")[0] if group.side else "rest" if group.rest else str(group.rank)
            segments.append((value, text, tip, group.candidates))
        chosen = frozenset(self._state.selection.chosen)
        self.bar.set_segments(segments, chosen=chosen, dimmed=self._state.reasons.computing)

    def _show_sum(self, reason: SliceReason, output: int) -> None:
        if reason.values is None:
            _say(self.sum, "")
            return
        base, logit = float(reason.baseline[output]), float(reason.logits[output])
        whole = float(reason.values[:, output].sum())
        name = reason.outputs[output]
        if reason.adds_up:
            # One half may be at another logit than 0.
            means = probability_text(reason.probability(output, reason.logits))
            calibrated = reason.calibration is not None and output == reason.own_output
            scale = "calibrated probability" if calibrated else "probability"
            _say(
                self.sum,
                f"{signed_logit(base)} {_signed_apart(logit - base)} = {signed_logit(logit)}",
                f"\n\nLogit of {name}: with the regions of controls {signed_logit(base)},\n"
                f"those of this slice contribute {signed_logit(whole)}, together {signed_logit(logit)}:\n"
                f"{scale} {means}. Orange speaks for it, blue against it.",
            )
            return
        rest = logit - base - whole
        _say(
            self.sum,
            f"sum {signed_logit(whole)}, rest {signed_logit(rest)}" if reason.references else "",
            f"\n\nOne by one the regions make {signed_logit(whole)} of the logit of {name}. The rest of the\n"
            f"way from {signed_logit(base)} to {signed_logit(logit)} is interaction: regions stand in for "
            "each other.",
        )

    def _show_sets(self, reason: SliceReason) -> None:
        changes = what_changes_it(reason)
        _say(
            self.changes,
            changes if changes != reason.why_none else "",
            self._edited(reason, reason.without, "Excluded"),
        )
        _say(self.carries, what_carries_it(reason), self._edited(reason, reason.alone, "Kept alone"))
        with_set = reason.without is not None
        self.select.setVisible(with_set)
        self.exclude.setVisible(with_set)
        stays = stays_excluded(reason)
        self.exclude.setText(f"Exclude: {stays}" if stays else "Exclude")
        self.keep.setVisible(reason.alone is not None and bool(reason.alone.candidates))
        if reason.verdict is None and not reason.references:
            _say(self.changes, _NO_REFERENCES, f"\n\n{_HOW_TO_ADD}")
            _say(self.carries, _ADD, f"\n\n{_HOW_TO_ADD}")

    def _edited(self, reason: SliceReason, found: DecisiveRegions | None, done: str) -> str:
        """Say what excluding will give, which closes up the ranks."""
        if found is None or not found.candidates:
            return ""
        after = answer(reason, reason.own_output, found.edited)
        return (
            f"\n\nHere the regions of controls stand in their place. {done} with this button,\n"
            f"where lower ranks close up: {after}."
        )


def _say(line: Line, text: str, more: str = "") -> None:
    line.setText(text)
    line.setToolTip(f"{text}{more}" if text else "")
    line.setAccessibleName(text)


def _signed_apart(value: float) -> str:
    return f"{'+' if value >= 0 else '−'} {abs(value):.2f}"


def _short(name: str) -> str:
    return name if len(name) <= 9 else f"{name[:8].rstrip(' (')}…"


def _link(text: str, tip: str) -> QPushButton:
    button = QPushButton(text)
    button.setProperty("link", "true")
    button.setToolTip(tip)
    button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    button.setStyleSheet("min-height: 0px")
    button.setFixedHeight(_ROW)
    return button


def _row(*widgets: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.setSpacing(6)
    for widget in widgets:
        row.addWidget(widget, 1 if isinstance(widget, Line) else 0)
    # Whatever buttons there are, the row stays as high.
    row.addStrut(_ROW)
    return row
