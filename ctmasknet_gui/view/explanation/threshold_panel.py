"""The two groups of thresholds: which detections are shown, and the evidence for the class."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from PySide6.QtCore import QSignalBlocker, QSize, Qt, Signal, Slot
from PySide6.QtWidgets import QCheckBox, QHBoxLayout, QLabel, QPushButton, QVBoxLayout, QWidget

from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.verdict import gives_no_class
from ctmasknet_gui.view.explanation.controls import LABEL_WIDTH, QuietComboBox, ThresholdSlider
from ctmasknet_gui.view.explanation.verdict_card import Line
from ctmasknet_gui.view.style import icon, label, rule
from model_core.base.settings import MaskScale, Scoring

_LOGIT_LIMIT = 10.0
# Removes nothing from softmax scores.
_LOWEST_SCORE = -0.01
_ALL = "all"
_SCALES: tuple[tuple[str, MaskScale], ...] = (("logit", "logit"), ("probability", "probability"))
_SCORINGS: tuple[tuple[str, Scoring], ...] = (("softmax", "softmax"), ("sigmoid", "sigmoid"))


def convert_mask_threshold(value: float, to: MaskScale) -> float:
    """Return the same mask threshold on the other scale: ``to`` logit from probability, or back."""
    if to == "probability":
        return 1.0 / (1.0 + math.exp(-value))
    inner = min(1.0 - 1e-9, max(1e-9, value))
    return min(_LOGIT_LIMIT, max(-_LOGIT_LIMIT, math.log(inner / (1.0 - inner))))


class ThresholdPanel(QWidget):
    """Sliders of both groups. Intents carry complete new settings; state decides what is shown.

    Signals
    -------
    detectionsChanged(DetectionSettings), evidenceChanged(EvidenceSettings), linkToggled(bool).
    foldChosen(bool):
        The user folded the sliders of the shown detections, or opened them.
    """

    detectionsChanged = Signal(object)
    evidenceChanged = Signal(object)
    linkToggled = Signal(bool)
    foldChosen = Signal(bool)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._make_detections()
        self._make_evidence()
        self._lay_out()
        self._connect()
        self._refresh()

    def _make_detections(self) -> None:
        # As low as that of the evidence: a card may show every detection.
        self.score = ThresholdSlider(
            "Score >",
            spoken="Score of shown detections",
            low=_LOWEST_SCORE,
            tip="Show detections whose score is greater; “all” (−0.01) shows every one.",
        )
        self.score.spin.setSpecialValueText(_ALL)
        self.nms = ThresholdSlider(
            "NMS IoU",
            spoken="NMS IoU of shown detections",
            tip="Remove boxes that overlap a better one by more than this IoU. Off keeps them all (T).",
            switchable=True,
        )
        self.mask_level = ThresholdSlider(
            "Mask >",
            spoken="Mask threshold",
            tip="A pixel belongs to a mask where its value is greater.",
        )
        self.mask_scale = QuietComboBox()
        for text, scale in _SCALES:
            self.mask_scale.addItem(text, scale)
        self.mask_scale.setToolTip(
            "Scale of the mask threshold: raw logit, or probability after the sigmoid."
        )
        self.mask_scale.setAccessibleName("Scale of the mask threshold")
        self.scoring = QuietComboBox()
        for text, scoring in _SCORINGS:
            self.scoring.addItem(text, scoring)
        self.scoring.setToolTip("How class logits of a region become a score.")
        self.scoring.setAccessibleName("Scoring of regions")
        self.join = QCheckBox("Join")
        self.join.setToolTip("Detections whose masks touch are shown as one lesion (J).")
        self.join.setAccessibleName("Join touching detections")

    def _make_evidence(self) -> None:
        self.evidence_score = ThresholdSlider(
            "Score >",
            spoken="Score of the evidence",
            low=_LOWEST_SCORE,
            tip="Regions whose score is greater are ranked; “all” (−0.01) keeps every one.",
        )
        self.evidence_score.spin.setSpecialValueText(_ALL)
        self.evidence_nms = ThresholdSlider(
            "NMS IoU",
            spoken="NMS IoU of the evidence",
            tip="Non-maximum suppression of the ranked regions; off keeps all boxes.",
            switchable=True,
        )
        self.link = QCheckBox("Link")
        self.evidence_heading = label("EVIDENCE FOR THE CLASS", role="heading")

    def _lay_out(self) -> None:
        self.reset_detections = self._reset_button("Reset", "Shown detections as the weights define them.")
        self.reset_evidence = self._reset_button("Reset", "Regions ranked as the weights define it.")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        self.fold_button = QPushButton("SHOWN DETECTIONS")
        self.fold_button.setProperty("fold", "true")
        self.fold_button.setIconSize(QSize(10, 10))
        self.fold_button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.summary = Line("worth")
        layout.addLayout(_header(self.fold_button, self.summary, self.join, self.reset_detections))
        self._sliders = QWidget()
        inner = QVBoxLayout(self._sliders)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.setSpacing(2)
        for slider in (self.score, self.nms, self.mask_level):
            inner.addWidget(slider)
        choices = QHBoxLayout()
        choices.setSpacing(8)
        scale_label = QLabel("Mask scale")
        scale_label.setMinimumWidth(LABEL_WIDTH)
        scale_label.setBuddy(self.mask_scale)
        scoring_label = QLabel("Scoring")
        scoring_label.setBuddy(self.scoring)
        choices.addWidget(scale_label)
        choices.addWidget(self.mask_scale, 1)
        choices.addWidget(scoring_label)
        choices.addWidget(self.scoring, 1)
        inner.addLayout(choices)
        layout.addWidget(self._sliders)
        layout.addSpacing(3)
        layout.addWidget(rule())
        layout.addLayout(_header(self.evidence_heading, self.link, self.reset_evidence))
        layout.addWidget(self.evidence_score)
        layout.addWidget(self.evidence_nms)

    @property
    def folded(self) -> bool:
        """Whether the sliders of the shown detections are folded into a line."""
        return self._sliders.isHidden()

    @property
    def unfolded_height(self) -> int:
        """Height of what folds."""
        return self._sliders.sizeHint().height()

    def fold(self, folded: bool) -> None:
        """Fold the sliders of the shown detections into a line that tells their values, or show them."""
        self._sliders.setVisible(not folded)
        self.summary.setVisible(folded)
        self.fold_button.setIcon(icon("chevron-right" if folded else "chevron-down"))
        self.fold_button.setToolTip("Show the sliders" if folded else "Fold the sliders into a line")
        state = "folded" if folded else "open"
        self.fold_button.setAccessibleName(f"Thresholds of the shown detections, {state}")

    def _on_fold(self) -> None:
        self.fold(not self.folded)
        self.foldChosen.emit(self.folded)

    def _reset_button(self, text: str, tip: str) -> QPushButton:
        button = QPushButton(icon("reset"), text)
        button.setIconSize(QSize(14, 14))
        button.setProperty("link", "true")
        button.setToolTip(tip)
        return button

    def _connect(self) -> None:
        self.fold_button.clicked.connect(lambda *_: self._on_fold())
        self.fold(False)
        self.score.valueEdited.connect(lambda value: self._show(score=value))
        self.nms.valueEdited.connect(lambda value: self._show(nms_iou=value))
        self.nms.switched.connect(
            lambda on: self._show(nms_iou=self._state.thresholds.last_nms_iou if on else None)
        )
        self.mask_level.valueEdited.connect(lambda value: self._show(mask_threshold=value))
        self.mask_scale.activated.connect(self._on_mask_scale)
        self.scoring.activated.connect(lambda index: self._show(scoring=self.scoring.itemData(index)))
        self.join.clicked.connect(lambda on: self._show(join_touching=on))
        self.evidence_score.valueEdited.connect(lambda value: self._rank(score=value))
        self.evidence_nms.valueEdited.connect(lambda value: self._rank(nms_iou=value))
        self.evidence_nms.switched.connect(
            lambda on: self._rank(nms_iou=self.evidence_nms.value if on else None)
        )
        self.link.clicked.connect(self.linkToggled)
        thresholds = self._state.thresholds
        self.reset_detections.clicked.connect(
            lambda: self.detectionsChanged.emit(thresholds.default_detections)
        )
        self.reset_evidence.clicked.connect(lambda: self.evidenceChanged.emit(thresholds.default_evidence))
        refresh = self._state.changes.once(self._refresh)
        self._state.thresholds.events.all.connect(refresh)
        self._state.weights.events.cards.connect(refresh)

    def _refresh(self) -> None:
        thresholds = self._state.thresholds
        detections, evidence = thresholds.detections, thresholds.evidence
        self.score.set_value(detections.score)
        _show_nms(self.nms, detections.nms_iou, thresholds.last_nms_iou)
        if detections.mask_scale == "logit":
            self.mask_level.set_range(-_LOGIT_LIMIT, _LOGIT_LIMIT, 0.1)
        else:
            self.mask_level.set_range(0.0, 1.0, 0.01)
        self.mask_level.set_value(detections.mask_threshold)
        with QSignalBlocker(self.mask_scale), QSignalBlocker(self.scoring):
            self.mask_scale.setCurrentIndex(self.mask_scale.findData(detections.mask_scale))
            self.scoring.setCurrentIndex(self.scoring.findData(detections.scoring))
        self.join.setChecked(detections.join_touching)
        nms = "no NMS" if detections.nms_iou is None else f"NMS {detections.nms_iou:.2f}"
        score = _ALL if detections.score < 0 else f"> {detections.score:.2f}"
        self.summary.setText(f"{score}, {nms}, mask {detections.mask_threshold:g}")
        self.summary.setToolTip(f"Score {score}, {nms}, mask > {detections.mask_threshold:g}")
        self.evidence_score.set_value(evidence.score)
        _show_nms(self.evidence_nms, evidence.nms_iou, self.evidence_nms.value or 0.75)
        self.link.setChecked(thresholds.linked)
        # Linked evidence is set through the shown thresholds.
        for widget in (self.evidence_score, self.evidence_nms):
            widget.setEnabled(not thresholds.linked)
        self.reset_evidence.setEnabled(thresholds.evidence_edited)
        self.reset_detections.setEnabled(detections != thresholds.default_detections)
        self._name_evidence(evidence.batch_size)

    def _name_evidence(self, regions: int) -> None:
        """Say what the ranked regions are for: the class, or without a classifier the table and the plots."""
        if gives_no_class(self._state):
            self.evidence_heading.setText(f"RANKED REGIONS · THE BEST {regions}")
            self.evidence_heading.setToolTip(
                f"The table and the plots show the {regions} best regions; these weights give no class."
            )
            self.link.setToolTip("Linked: ranked are the regions above the shown score and NMS.")
            return
        self.evidence_heading.setText(f"CLASS EVIDENCE · THE BEST {regions} REGIONS")
        self.evidence_heading.setToolTip(
            f"The classifier reads the {regions} best regions (N = {regions}); the weights fix this number.\n"
            "Where fewer pass the thresholds, each is repeated until there are as many."
        )
        self.link.setToolTip(
            "Linked: the class is computed from the regions above the shown score and NMS.\n"
            "Not linked: the class is computed as the weights define it unless you change it here."
        )

    def _show(self, **changes: Any) -> None:
        self.detectionsChanged.emit(replace(self._state.thresholds.detections, **changes))

    def _rank(self, **changes: Any) -> None:
        self.evidenceChanged.emit(replace(self._state.thresholds.evidence, **changes))

    @Slot(int)
    def _on_mask_scale(self, index: int) -> None:
        scale: MaskScale = self.mask_scale.itemData(index)
        present = self._state.thresholds.detections
        if scale != present.mask_scale:
            value = convert_mask_threshold(present.mask_threshold, scale)
            self._show(mask_scale=scale, mask_threshold=value)


def _show_nms(slider: ThresholdSlider, iou: float | None, otherwise: float) -> None:
    slider.set_value(otherwise if iou is None else iou)
    slider.set_switched(iou is not None)


def _header(heading: QWidget, *controls: QWidget) -> QHBoxLayout:
    layout = QHBoxLayout()
    layout.setSpacing(8)
    layout.addWidget(heading)
    layout.addStretch(1)
    for control in controls:
        # A line of text takes what is left.
        layout.addWidget(control, 1000 if isinstance(control, Line) else 0)
    return layout
