"""What the shown slice says: ill or not, of which kind, and the weights' own classes; or why nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QFontMetricsF, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QHBoxLayout, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.explanation.roi_model import COMPUTING
from ctmasknet_gui.view.explanation.verdict_card import CHANGES_TIP, Line
from ctmasknet_gui.view.style import colour, label
from ctmasknet_gui.view.viewport.annotations import sized
from model_core.base.results import UNDECIDED, ImageVerdict, SliceSummary, probability_text
from model_core.scene import SliceWords, class_name, image_colour, slice_words
from model_core.scene.palette import AMBER, NO_CLASS
from model_core.scene.verdict import BIAS, OUTSIDE, UNCALIBRATED, UNLIKE

if TYPE_CHECKING:
    from model_core.base.stability import Stability

_ROW, _SMALL = 15, 11
_ILL = "pneumonia"
Range = tuple[float, float]
STEADY_TIP = f"From lowest to highest in this slice as it is and with eight changes.\n{CHANGES_TIP}"
_AREA_TIP = "Area of the shown masks in this slice; ml: times the slice distance, its part of the volume"


def range_text(ends: Range) -> str:
    """Return a range of probabilities in words."""
    low, high = map(probability_text, ends)
    return low if low == high else f"{low} to {high}"


class ProbabilityBars(QWidget):
    """One row per class in the network's order: name, bar, number; the most probable class in bold."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._names: tuple[str, ...] = ()
        self._values: tuple[float, ...] = ()
        self._former: tuple[float, ...] = ()
        self._empty: tuple[float, ...] = ()
        self._ranges: tuple[Range, ...] = ()
        self._told = True
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    @property
    def rows(self) -> tuple[tuple[str, str, bool], ...]:
        """Name, number and whether it is in bold of each row, from the top."""
        best = max(range(len(self._values)), key=self._values.__getitem__, default=-1)
        named = zip(self._names, self._values, strict=True)
        return tuple((n, probability_text(v), k == best and self._told) for k, (n, v) in enumerate(named))

    def set_values(
        self,
        names: tuple[str, ...],
        values: tuple[float, ...],
        *,
        told: bool = True,
        former: tuple[float, ...] = (),
        empty: tuple[float, ...] = (),
        empty_is: str = "",
        ranges: tuple[Range, ...] = (),
    ) -> None:
        """Show probabilities (0..1) in class order; missing names say which class it is.

        Where it is not ``told`` which class it is, none is in bold. ``former`` ones are marked on the bars,
        and so are those of ``empty`` evidence; ``empty_is`` says what that is. ``ranges`` are those of small
        changes of the picture.
        """
        self._former, self._empty, self._ranges = former, empty, ranges
        self._told = told
        self._names = tuple(class_name(names, k) for k in range(len(values)))
        others = len(values) != len(self._values)
        self._values = values
        if others:
            self.updateGeometry()
        text = ", ".join(
            f"{name} {number}" + (f" (original {probability_text(former[k])})" if former else "")
            for k, (name, number, _) in enumerate(self.rows)
        )
        self.setAccessibleName(f"Class probabilities: {text}")
        self.setToolTip(
            text.replace(", ", "\n") + "\n\nSigmoid of each class logit: the classes are scored one by one,\n"
            "so the numbers need not add up to 1." + self._empty_text(empty_is) + self._range_text()
        )
        self.update()

    def _range_text(self) -> str:
        if not self._ranges:
            return ""
        pairs = zip(self._names, self._ranges, strict=True)
        values = ", ".join(f"{name} {range_text(one)}" for name, one in pairs)
        return f"\n\n├─┤ {values}.\n{STEADY_TIP}"

    def _empty_text(self, what: str) -> str:
        if not self._empty:
            return ""
        pairs = zip(self._names, self._empty, strict=True)
        values = ", ".join(f"{name} {probability_text(value)}" for name, value in pairs)
        return f"\n\n◇ The network's bias, {what}: {values}."

    def sizeHint(self) -> QSize:
        """One row of text per class."""
        return QSize(200, _ROW * max(3, len(self._values)))

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the rows."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        plain, bold = sized(self.font(), _SMALL), sized(self.font(), _SMALL, bold=True)
        painter.setFont(plain)
        name_width = min(
            self.width() * 0.6,
            max((QFontMetricsF(bold).horizontalAdvance(n) for n in self._names), default=0.0) + 10,
        )
        number_width = QFontMetricsF(bold).horizontalAdvance("> 0.99") + 6
        for k, (_, number, emphasised) in enumerate(self.rows):
            top = k * _ROW
            painter.setFont(bold if emphasised else plain)
            painter.setPen(colour("text"))
            align = Qt.AlignmentFlag.AlignVCenter
            name = painter.fontMetrics().elidedText(
                self._names[k], Qt.TextElideMode.ElideRight, int(name_width) - 6
            )
            painter.drawText(QRectF(0, top, name_width, _ROW), align, name)
            painter.drawText(
                QRectF(self.width() - number_width, top, number_width, _ROW),
                align | Qt.AlignmentFlag.AlignRight,
                number,
            )
            track = QRectF(name_width, top + 4, self.width() - name_width - number_width, _ROW - 8)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(colour("track"))
            painter.drawRoundedRect(track, 2, 2)
            filled = track.width() * min(1.0, max(0.0, self._values[k]))
            if filled >= 1.0:
                painter.setBrush(QColor(image_colour(self._names[k], k)))
                painter.drawRoundedRect(QRectF(track.left(), track.top(), filled, track.height()), 2, 2)
            if self._ranges:
                range_mark(painter, track, self._ranges[k])
            if self._empty:
                bias_mark(painter, track, self._empty[k])
            if self._former:
                ghost_tick(painter, track, self._former[k])


def ghost_tick(painter: QPainter, track: QRectF, value: float) -> None:
    """Mark where a bar ended before regions were excluded or thresholds moved."""
    x = track.left() + track.width() * min(1.0, max(0.0, value))
    tick = QRectF(x - 1.5, track.top() - 3, 3, track.height() + 6)
    painter.setPen(QPen(colour("base"), 1))
    painter.setBrush(QColor(AMBER))
    painter.drawRect(tick)


def range_mark(painter: QPainter, track: QRectF, ends: Range) -> None:
    """Mark from where to where a bar moves with small changes of the picture."""
    low, high = (track.left() + track.width() * min(1.0, max(0.0, end)) for end in ends)
    y, half = track.center().y(), track.height() / 2 + 1.0
    for pen in (QPen(colour("base"), 4), QPen(colour("text"), 1.4)):
        painter.setPen(pen)
        painter.drawLine(QPointF(low, y), QPointF(high, y))
        for x in (low, high):
            painter.drawLine(QPointF(x, y - half), QPointF(x, y + half))


def bias_mark(painter: QPainter, track: QRectF, value: float) -> None:
    """Mark where a bar ends without any evidence of this slice."""
    x = track.left() + track.width() * min(1.0, max(0.0, value))
    y, half = track.center().y(), 4.0
    painter.setPen(QPen(colour("base"), 3))
    painter.setBrush(Qt.BrushStyle.NoBrush)
    steps = ((0, -half), (half, 0), (0, half), (-half, 0))
    diamond = QPolygonF([QPointF(x + right, y + down) for right, down in steps])
    painter.drawPolygon(diamond)
    painter.setPen(QPen(colour("text"), 1.2))
    painter.drawPolygon(diamond)


class IllBar(QWidget):
    """How probable pneumonia of any kind is, as a bar and a number."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._value: float | None = None
        self._former: float | None = None
        self._empty: float | None = None
        self._range: Range | None = None
        self._colour = NO_CLASS
        self.setFixedHeight(_ROW)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def set_value(
        self,
        value: float | None,
        colour: str,
        *,
        former: float | None = None,
        empty: float | None = None,
        empty_is: str = "",
        moves: Range | None = None,
    ) -> None:
        """Show a probability (0..1); nothing where it is None. ``former`` and ``empty`` as for classes.

        ``moves``: from where to where it moves with small changes of the picture.
        """
        self._value, self._colour, self._former, self._empty = value, colour, former, empty
        self._range = moves
        self.setVisible(value is not None)
        text = "" if value is None else f"Probability of pneumonia {probability_text(value)}"
        if text and former is not None:
            text += f" (original {probability_text(former)})"
        self.setAccessibleName(text)
        bias = "" if empty is None else f"\n◇ The network's bias, {empty_is}: {probability_text(empty)}."
        steady = "" if moves is None else f"\n\n├─┤ {range_text(moves)}.\n{STEADY_TIP}"
        self.setToolTip(
            text and f"{text}, of any kind, calibrated on patients left out of the training{bias}{steady}"
        )
        self.update()

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw bar and number, and a mark at one half."""
        if self._value is None:
            return
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        bold = sized(self.font(), 12, bold=True)
        number_width = QFontMetricsF(bold).horizontalAdvance("> 0.99") + 8
        small = sized(self.font(), _SMALL)
        label_width = QFontMetricsF(small).horizontalAdvance(_ILL) + 8
        painter.setFont(small)
        painter.setPen(colour("muted"))
        painter.drawText(QRectF(0, 0, label_width, _ROW), Qt.AlignmentFlag.AlignVCenter, _ILL)
        track = QRectF(label_width, 3, self.width() - label_width - number_width, _ROW - 6)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(colour("track"))
        painter.drawRoundedRect(track, 3, 3)
        painter.setBrush(QColor(self._colour))
        painter.drawRoundedRect(track.adjusted(0, 0, track.width() * (self._value - 1), 0), 3, 3)
        painter.fillRect(
            QRectF(track.center().x() - 0.5, track.top() - 2, 1, track.height() + 4), colour("text")
        )
        if self._range is not None:
            range_mark(painter, track, self._range)
        if self._empty is not None:
            bias_mark(painter, track, self._empty)
        if self._former is not None:
            ghost_tick(painter, track, self._former)
        painter.setFont(bold)
        painter.setPen(colour("text"))
        number = QRectF(track.right(), 0, number_width, _ROW)
        painter.drawText(
            number, Qt.AlignmentFlag.AlignVCenter | Qt.AlignmentFlag.AlignRight, probability_text(self._value)
        )


class ClassPanel(QWidget):
    """The shown slice: what is said of it, and beside it the probabilities of the weights' classes.

    Of edited evidence the original stays pinned: what the evidence says that the weights define.

    Signals
    -------
    restoreAsked():
        Every region is to be put back into the evidence.
    stabilityAsked():
        It is to be found out how much the numbers move with the picture.
    """

    restoreAsked = Signal()
    stabilityAsked = Signal()

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._heading = label("SLICE", role="heading")
        self.badge, self.unlike = label("edited evidence", role="badge"), label(UNLIKE, role="badge")
        self.badge.setToolTip(
            "Regions were excluded from the evidence, or its thresholds differ from those that the weights\n"
            "define. Amber marks on the bars are where they ended originally."
        )
        self.area = Line("worth")
        self.sure = QPushButton("How sure?")
        self.sure.setProperty("link", "true")
        self.sure.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.sure.clicked.connect(lambda *_: self.stabilityAsked.emit())
        self.restore = QPushButton("Restore all")
        self.restore.setProperty("link", "true")
        self.restore.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.restore.setToolTip("Put every region back into the evidence of this slice (Ctrl+Shift+X)")
        self.restore.setAccessibleName("Restore all regions of this slice")
        self.restore.clicked.connect(lambda *_: self.restoreAsked.emit())
        self.unlike.setToolTip(
            "This slice lies farther from the slices of the training than 95 of 100 of other hospitals do:\n"
            "less is known of how often the answer is right. The answer itself is not changed."
        )
        self.answer, self.detail = Line("slice"), Line("worth")
        self.ill, self.bars = IllBar(), ProbabilityBars()

        head = QHBoxLayout()
        head.setSpacing(6)
        head.addWidget(self._heading)
        head.addWidget(self.area, 1)
        for badge in (self.unlike, self.badge):
            badge.ensurePolished()
            head.addWidget(badge)
        # Whatever appears in it, the line stays as high.
        for button in (self.sure, self.restore):
            head.addWidget(button)
            button.setStyleSheet("min-height: 0px; padding: 0px; font-size: 11px")
            button.setFixedHeight(self.badge.sizeHint().height())
        head.addStrut(self.badge.sizeHint().height())
        words = QVBoxLayout()
        words.setSpacing(0)
        for widget in (self.answer, self.ill, self.detail):
            words.addWidget(widget)
        words.addStretch(1)
        both = QHBoxLayout()
        both.setSpacing(12)
        both.addLayout(words, 4)
        both.addWidget(self.bars, 5)
        # Whatever is said, what is below stays where it is under the mouse.
        both.addStrut(max(3 * _ROW, words.sizeHint().height()))
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(2)
        layout.addLayout(head)
        layout.addLayout(both)

        refresh = state.changes.once(self._refresh)
        state.results.events.all.connect(refresh)
        state.thresholds.events.edits.connect(refresh)
        state.reasons.events.reason.connect(refresh)
        state.weights.events.all.connect(refresh)
        state.case.events.volume.connect(refresh)
        state.case.events.lungs.connect(refresh)
        state.display.events.slice_index.connect(refresh)
        state.run.events.kind.connect(refresh)
        state.stability.events.all.connect(refresh)
        self._refresh()

    @property
    def text(self) -> str:
        """Everything it says of the slice in words."""
        return " · ".join(filter(None, (self.answer.text(), self.detail.text())))

    def _refresh(self) -> None:
        state = self._state
        shown = state.results.shown
        outside = state.case.lungs.outside(state.display.slice_index)
        verdict = shown.verdict if shown is not None and not outside else None
        words = None if shown is None else slice_words(shown.summary)
        opened = state.case.volume is not None
        self._heading.setText(f"SLICE {state.display.slice_index + 1}" if opened else "SLICE")
        self.badge.setVisible(verdict is not None and verdict.basis == "edited")
        self.unlike.setVisible(words is not None and words.unlike)
        self.restore.setVisible(
            verdict is not None and state.thresholds.edits.of(state.display.slice_index) is not None
        )
        self._say(words, verdict)
        self._show_steadiness(None if shown is None else shown.summary)
        summary = None if shown is None else shown.summary
        told = words is None or (summary is not None and summary.kind not in (None, UNDECIDED))
        gone = summary is not None and summary.lung is False
        self._show_bars(None if gone else verdict, told=told)
        self.setAccessibleName(f"{self._heading.text().capitalize()}: {self.text}")

    def _show_steadiness(self, summary: SliceSummary | None) -> None:
        """Show the marked area with its range, and how to get ranges."""
        if summary is not None and summary.lung is False:
            summary = None  # what is marked there counts for nothing
        steady = self._state.stability
        found, known = steady.found, steady.of_class and steady.of_area
        self.area.setText("" if summary is None else _area_text(summary, found if steady.of_area else None))
        self.area.setToolTip(_AREA_TIP + (f"\n{STEADY_TIP}" if known else ""))
        self.sure.setVisible(summary is not None)
        self.sure.setEnabled(not steady.computing and not known)
        self.sure.setText("8 runs…" if steady.computing else "├─┤ 8 changes" if known else "How sure?")
        moved = found is not None and not known
        again = "\nThresholds or evidence changed since it was asked: ask again." if moved else ""
        self.sure.setToolTip(f"Runs this slice with eight small changes (Shift+S).\n{STEADY_TIP}{again}")
        self.sure.setAccessibleName("How sure: how far the numbers move with the picture")

    def _moves(self, values: tuple[float, ...]) -> tuple[tuple[Range, ...], Range | None]:
        """Return from where to where the classes move, and the probability of pneumonia, where known."""
        steady, shown = self._state.stability, self._state.results.shown
        found = steady.found
        if found is None or not steady.of_class or shown is None:
            return (), None
        now, ill = shown.summary.ill_probability, None
        if found.ill_range is not None and now is not None:
            ill = min(now, found.ill_range[0]), max(now, found.ill_range[1])
        if found.logits is None or found.logits.shape[1] != len(values):
            return (), ill
        chances = 1.0 / (1.0 + np.exp(-found.logits.astype(np.float64)))
        pairs = zip(values, chances.min(axis=0).tolist(), chances.max(axis=0).tolist(), strict=True)
        return tuple((min(value, low), max(value, high)) for value, low, high in pairs), ill

    def _original(self, verdict: ImageVerdict | None) -> ImageVerdict | None:
        """Return the verdict before the evidence was edited; None where it is not."""
        result = self._state.results.slices.get(self._state.display.slice_index)
        edited = verdict is not None and verdict.basis == "edited"
        return result.verdict if edited and result is not None else None

    def _say(self, words: SliceWords | None, verdict: ImageVerdict | None) -> None:
        if words is not None:
            answer, detail = words.answer, words.detail
        elif verdict is not None:
            answer = UNCALIBRATED.capitalize()
            detail = BIAS if verdict.from_bias else "classes only, no verdict"
        else:
            answer, detail = self._why_no_class()
        former, now = None, words.probability if words is not None else None
        original, calibration = self._original(verdict), self._state.weights.calibration
        if original is not None and now is not None and calibration is not None:
            former = calibration.ill_probability(tuple(float(logit) for logit in original.logits))
            detail = f"original {probability_text(former)} → now {probability_text(now)}"
        self.answer.setText(answer)
        self.detail.setText(detail)
        empty, empty_is = self._empty_evidence()
        ill = empty[-1] if empty and calibration is not None else None
        self.ill.set_value(
            now,
            words.colour if words else NO_CLASS,
            former=former,
            empty=ill,
            empty_is=empty_is,
            moves=self._moves(())[1],
        )

    def _show_bars(self, verdict: ImageVerdict | None, *, told: bool) -> None:
        self.bars.setVisible(verdict is not None)
        if verdict is not None:
            values = tuple(float(p) for p in verdict.probabilities)
            told = told and not verdict.from_bias
            original = self._original(verdict)
            former = () if original is None else tuple(float(p) for p in original.probabilities)
            empty, empty_is = self._empty_evidence()
            self.bars.set_values(
                self._state.weights.image_classes,
                values,
                told=told,
                former=former,
                empty=empty[: len(values)],
                empty_is=empty_is,
                ranges=self._moves(values)[0],
            )

    def _empty_evidence(self) -> tuple[tuple[float, ...], str]:
        """Return the probability of each output without evidence of this slice, and what that is."""
        reason, shown = self._state.reasons.reason, self._state.results.shown
        if reason is None or shown is None or reason.slice_index != shown.slice_index:
            return (), ""
        outputs = range(len(reason.outputs))
        values = tuple(reason.probability(output, reason.baseline) for output in outputs)
        return values, "with the regions of controls" if reason.references else "without any region"

    def _why_no_class(self) -> tuple[str, str]:
        """Return why the slice has no class, and what helps."""
        state, weights = self._state, self._state.weights
        if state.case.volume is None:
            return "", ""
        if state.case.lungs.outside(state.display.slice_index):
            left_out = state.display.slice_index not in state.results.slices
            return OUTSIDE, "Left out of runs: Run slice (Ctrl+R) looks." if left_out else ""
        if weights.cards and not weights.image_classes:
            return "No class", "These weights find regions only; they give no class."
        if state.results.shown is not None:
            return "No class", "No class could be computed for this slice."
        if state.results.computing:
            return "No class yet", COMPUTING
        if state.run.kind == "run":
            return "No result yet", "A run is going on."
        if not (weights.cards or weights.available or weights.chosen):
            return "No class", "No network weights are loaded: choose some under Weights."
        return "Not analysed", "Run slice (Ctrl+R) analyses it."


def _area_text(summary: SliceSummary, steady: Stability | None) -> str:
    """Return the marked area of a slice, with its range where that is known."""
    known = summary.lesion_mm2 is not None
    area = float(summary.lesion_px if summary.lesion_mm2 is None else summary.lesion_mm2)
    if not area and (steady is None or not steady.area_range[1]):
        return "no lesion marked"
    scale, digits, unit = (100.0, 2 if area < 1000 else 1, "cm²") if known else (1.0, 0, "px")
    text = f"lesions {area / scale:.{digits}f} {unit}"
    if steady is None or steady.in_mm != known:
        return text
    low, high = min(area, steady.area_range[0]), max(area, steady.area_range[1])
    text += f" ({low / scale:.{digits}f}–{high / scale:.{digits}f})"
    own, least, most = map(steady.ml, (area, low, high))
    return text if own is None else f"{text}, {own:.2f} ml ({least:.2f}–{most:.2f})"
