"""Class probabilities of the slice and of the scan, in words where there are none."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QPainter, QPaintEvent, QResizeEvent
from PySide6.QtWidgets import QHBoxLayout, QLabel, QSizePolicy, QVBoxLayout, QWidget

from ctmasknet_gui.state import AppState
from ctmasknet_gui.view.style import TEXT, TRACK
from model_core.base.results import ScanVerdict, probability_text
from model_core.scene import class_name, image_colour

_ROW = 21
_BIAS = "No region is left in the evidence: this is the network's bias, not a finding of this slice."
_BIASED = "the network's bias"
_UNNAMED = {"ill": "pneumonia, kind undecided", "uncertain": "uncertain", "no_class": "no lung, no class"}


class ProbabilityBars(QWidget):
    """One row per class in the network's order: name, bar, number; the most probable class in bold."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._names: tuple[str, ...] = ()
        self._values: tuple[float, ...] = ()
        self._bias = False
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    @property
    def rows(self) -> tuple[tuple[str, str, bool], ...]:
        """Name, number and whether it is in bold of each row, from the top."""
        best = max(range(len(self._values)), key=self._values.__getitem__, default=-1)
        named = zip(self._names, self._values, strict=True)
        return tuple((n, probability_text(v), k == best and not self._bias) for k, (n, v) in enumerate(named))

    def set_values(self, names: tuple[str, ...], values: tuple[float, ...], *, bias: bool = False) -> None:
        """Show probabilities (0..1) in class order; missing names say which class it is.

        With ``bias``, the network's answer to no region at all, no class is in bold.
        """
        self._bias = bias
        self._names = tuple(class_name(names, k) for k in range(len(values)))
        self._values = values
        text = ", ".join(f"{name} {number}" for name, number, _ in self.rows)
        self.setAccessibleName(f"Class probabilities: {text}")
        self.setToolTip(
            text.replace(", ", "\n") + "\n\nSigmoid of each class logit: the classes are scored one by one,\n"
            "so the numbers need not add up to 1."
        )
        self.updateGeometry()
        self.update()

    def sizeHint(self) -> QSize:
        """One row of text per class."""
        return QSize(300, _ROW * max(1, len(self._values)))

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the rows."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        bold = QFont(self.font())
        bold.setBold(True)
        name_width = min(
            self.width() * 0.42,
            max((painter.fontMetrics().horizontalAdvance(n) * 1.12 for n in self._names), default=0.0) + 14,
        )
        number_width = QFontMetricsF(bold).horizontalAdvance("> 0.99") + 8
        for k, (_, number, emphasised) in enumerate(self.rows):
            top = k * _ROW
            painter.setFont(bold if emphasised else self.font())
            painter.setPen(QColor(TEXT))
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
            track = QRectF(name_width, top + 5, self.width() - name_width - number_width, _ROW - 10)
            painter.setPen(Qt.PenStyle.NoPen)
            painter.setBrush(QColor(TRACK))
            painter.drawRoundedRect(track, 3, 3)
            filled = track.width() * min(1.0, max(0.0, self._values[k]))
            if filled >= 1.0:
                painter.setBrush(QColor(image_colour(self._names[k], k)))
                painter.drawRoundedRect(QRectF(track.left(), track.top(), filled, track.height()), 3, 3)


class ClassPanel(QWidget):
    """Probabilities of the shown slice, the scan verdict with its rule, and the badge of edited evidence."""

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._heading = QLabel("IMAGE CLASS")
        self._heading.setProperty("role", "heading")
        self.badge = QLabel("edited evidence")
        self.badge.setProperty("role", "badge")
        self.badge.setToolTip("The thresholds of the evidence differ from those that the weights define.")
        self.bars = ProbabilityBars()
        # Beside the heading: a line of its own would move the sliders below it away from under the mouse.
        self.bias = QLabel("network's bias")
        self.bias.setProperty("role", "badge")
        self.bias.setToolTip(_BIAS)
        self.note = QLabel()
        self.note.setProperty("role", "muted")
        self.note.setWordWrap(True)
        self.scan = QLabel()
        self.scan.setProperty("role", "muted")
        self.scan.setWordWrap(True)
        self.scan.setAlignment(Qt.AlignmentFlag.AlignTop)

        head = QHBoxLayout()
        head.setSpacing(6)
        head.addWidget(self._heading)
        head.addStretch(1)
        head.addWidget(self.bias)
        head.addWidget(self.badge)
        for badge in (self.bias, self.badge):
            badge.ensurePolished()
        head.addStrut(self.badge.sizeHint().height())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(head)
        layout.addWidget(self.bars)
        layout.addWidget(self.note)
        layout.addWidget(self.scan)

        state.results.events.all.connect(self._refresh)
        state.weights.events.all.connect(self._refresh)
        state.case.events.volume.connect(self._refresh)
        state.case.events.lungs.connect(self._refresh)
        state.display.events.slice_index.connect(self._refresh)
        state.run.events.kind.connect(self._refresh)
        self._refresh()

    def _refresh(self) -> None:
        state = self._state
        shown = state.results.shown
        outside = state.case.lungs.outside(state.display.slice_index)
        verdict = shown.verdict if shown is not None and not outside else None
        opened = state.case.volume is not None
        where = f" · SLICE {state.display.slice_index + 1}" if opened else ""
        self._heading.setText(f"IMAGE CLASS{where}")
        self.badge.setVisible(verdict is not None and verdict.basis == "edited")
        self.bars.setVisible(verdict is not None)
        if verdict is not None:
            values = tuple(float(p) for p in verdict.probabilities)
            self.bars.set_values(state.weights.image_classes, values, bias=verdict.from_bias)
        self.bias.setVisible(verdict is not None and verdict.from_bias)
        note = self._why_no_class() if verdict is None else ""
        self.note.setText(note)
        self.note.setVisible(bool(note))
        self._refresh_scan()

    def _why_no_class(self) -> str:
        state = self._state
        if state.case.volume is None:
            return "Open a series to begin."
        if state.case.lungs.outside(state.display.slice_index):
            return "This slice lies outside the lung: no class."
        if state.weights.cards and not state.weights.image_classes:
            return "These weights find regions only; they give no class."
        if state.results.shown is not None:
            return "No class could be computed for this slice."
        if state.run.kind == "run":
            return "This slice has no result yet; a run is going on."
        weights = state.weights
        if not (weights.cards or weights.available or weights.chosen):
            return "No network weights are loaded: choose some under Weights."
        return "This slice has not been analysed. Run slice (Ctrl+R) analyses it."

    def _refresh_scan(self) -> None:
        results = self._state.results
        scan = results.scan
        # While it follows new thresholds it keeps its place: what is below must not jump under the mouse.
        self.scan.setVisible(scan is not None or (results.updating and self.scan.text() != ""))
        if scan is None:
            self.scan.setText("Scan: following the thresholds…" if self.scan.isVisibleTo(self) else "")
        else:
            self.scan.setText(self._describe_scan(scan))
            used = ", ".join(str(index + 1) for index in scan.slices_used[:40])
            noun = "slice" if len(scan.slices_used) == 1 else "slices"
            self.scan.setToolTip(f"{scan.rule}\nFrom {noun} {used}")
        self._keep_height()

    def _describe_scan(self, scan: ScanVerdict, *, empty: int | None = None) -> str:
        """Return class, rule and lesion volume of a scan; of ``empty`` of its slices no region is left."""
        if empty is None:
            known = self._state.results.summaries
            empty = sum(known[k].from_bias for k in scan.slices_used if k in known)
        edited = " (edited evidence)" if scan.basis == "edited" else ""
        what = _BIASED if scan.from_bias else self._class_of(scan)
        rule = scan.rule.split(". ")[0].rstrip(".")
        if empty and not scan.from_bias:
            rule += f", {empty} by {_BIASED}"
        parts = (f"Scan{edited}: {what}", rule[:1].lower() + rule[1:], self._lesions())
        return " · ".join(filter(None, parts))

    def _class_of(self, scan: ScanVerdict) -> str:
        """Return the named class of a scan and its probability, or its verdict where none is named."""
        k = scan.class_index
        if k is None:
            return _UNNAMED.get(scan.verdict or "", "no class")
        name = class_name(self._state.weights.image_classes, k)
        return f"{name} {probability_text(scan.probabilities[k])}"

    def _keep_height(self) -> None:
        """Keep the height of the longest text that thresholds may lead to: fewer words must move nothing."""
        scan = self._state.results.scan
        if scan is None:
            if not self._state.results.summaries:
                self.scan.setMinimumHeight(0)
            return
        names = self._state.weights.image_classes
        longest = max(range(len(names)), key=lambda k: len(class_name(names, k)), default=None)
        certain = tuple(1.0 for _ in names)
        biased = replace(scan, basis="edited", from_bias=True)
        named = replace(biased, from_bias=False, probabilities=certain, class_index=longest)
        some = len(scan.slices_used) - 1
        texts = (self.scan.text(), self._describe_scan(biased), self._describe_scan(named, empty=some))
        metrics, flags = self.scan.fontMetrics(), Qt.TextFlag.TextWordWrap
        room = QRect(0, 0, self.width(), 1000)
        heights = (metrics.boundingRect(room, flags, text).height() for text in texts)
        self.scan.setMinimumHeight(max(heights))

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Begin anew in another width."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._keep_height()

    def _lesions(self) -> str:
        """Volume of the shown masks over the analysed slices, or why it is off.

        Area times distance along the normal: true for slices that a tilted gantry shifts sideways too.
        """
        volume, summaries = self._state.case.volume, self._state.results.summaries
        step = None if volume is None else volume.geometry.spacing_mm[0]
        outside = self._state.case.lungs.outside
        areas = [summary.lesion_mm2 for index, summary in summaries.items() if not outside(index)]
        known = [area for area in areas if area is not None]
        if volume is None or not areas:
            return ""
        if self._state.results.updating:
            return "lesion volume follows…"
        if len(known) < len(areas):
            return "lesion volume off: the pixel size is unknown"
        if step is None:
            uneven = volume.slices > 1 and volume.slice_positions_mm is not None
            why = "slices are missing or uneven" if uneven else "the slice distance is unknown"
            return f"lesion volume off: {why}"
        where = ""
        if len(summaries) < volume.slices:
            where = " in this slice" if len(summaries) == 1 else " in these slices"
        return f"lesions{where} {sum(known) * step / 1000:.0f} ml"
