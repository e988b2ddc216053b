"""The answer: the verdict of the scan in words, and the slices that decide as pictures that lead there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PySide6.QtCore import QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QColor, QFont, QImage, QKeyEvent, QPainter, QPaintEvent, QPen, QTransform
from PySide6.QtWidgets import (
    QAbstractButton,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QToolTip,
    QVBoxLayout,
    QWidget,
)

from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.verdict import (
    MOST_DECIDING,
    deciding_slices,
    lesion_volume,
    verdict_may_come,
    verdict_stands,
    verdict_words,
)
from ctmasknet_gui.view.style import colour, theme
from ctmasknet_gui.view.viewport.annotations import sized
from ctmasknet_gui.view.viewport.pictures import device_ratio, grey_image
from model_core.base.results import probability_text
from model_core.base.voi import apply_window
from model_core.base.volume import Volume
from model_core.scene import ScanWords
from model_core.scene.palette import NO_CLASS
from model_core.scene.verdict import steady_scan_words

_PICTURE, _NUMBER = 42, 13
_LOOK_AFTER_MS = 100
_STRIPE = 4
CHANGES_TIP = (
    "Small changes of the picture that mean the same to a reader: one pixel to each side, +25 and −25 HU,\n"
    "mirror image, noise of 20 HU (values without unit: no shift, noise of 2 % of their spread).\n"
    "No confidence interval: a wrong verdict can be steady."
)
_RANGE_TIP = (
    "In brackets: from the least to the most with eight small changes of the picture. Slices that hold more\n"
    "than a twentieth of the volume are run for themselves; the rest is taken to grow or shrink as what is\n"
    "marked in lung slices 10 mm apart does. What comes and goes between these is not seen."
)
# What the pictures are; of a control the slices that speak most against it.
_DECIDING, _LOOK_ILL = "deciding\nslices", "look most\nill"


class Line(QLabel):
    """One line of text that is as high as any other, and shortened where it is too long for the card."""

    def __init__(self, role: str) -> None:
        super().__init__()
        self._stale = False
        self.setProperty("role", role)
        self.setTextFormat(Qt.TextFormat.PlainText)
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)

    @property
    def stale(self) -> bool:
        """Whether it still says what was; it is drawn muted then."""
        return self._stale

    @stale.setter
    def stale(self, stale: bool) -> None:
        if stale != self._stale:
            self._stale = stale
            self.update()

    def sizeHint(self) -> QSize:
        """Return the width of the text and the height of a line, with text or without."""
        self.ensurePolished()
        return QSize(super().sizeHint().width(), self.fontMetrics().height())

    def minimumSizeHint(self) -> QSize:
        """Return no width: a long text makes the panel no wider."""
        return QSize(0, self.sizeHint().height())

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the text: lighter where it is too long, and elided at the end where it must be."""
        painter = QPainter(self)
        font = QFont(self.font())
        if self.fontMetrics().horizontalAdvance(self.text()) > self.width():
            font.setBold(False)
        painter.setFont(font)
        text = painter.fontMetrics().elidedText(self.text(), Qt.TextElideMode.ElideRight, self.width())
        painter.setPen(colour("muted") if self.stale else self.palette().color(self.foregroundRole()))
        painter.drawText(self.rect(), Qt.AlignmentFlag.AlignVCenter, text)


class Thumbnail(QAbstractButton):
    """A slice that decides, small, with its number below; the visible one has a frame."""

    def __init__(self) -> None:
        super().__init__()
        self.index: int | None = None
        self.current = self.framed = False
        self._picture: QImage | None = None
        # All that it was last told.
        self._shown: tuple[object, ...] | None = None
        # As drawn, and what it was made of.
        self._scaled: tuple[int, float, QImage] | None = None
        self.setFixedSize(_PICTURE + 4, _PICTURE + 4 + _NUMBER)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.setCursor(Qt.CursorShape.PointingHandCursor)

    def show_slice(self, index: int | None, picture: QImage | None, words: str, *, current: bool) -> None:
        """Show a slice (from 0); None leaves an empty place."""
        now = index, picture, words, current, self.framed
        if now == self._shown:
            return
        self._shown = now
        self.index, self._picture, self.current = index, picture, current
        self.setEnabled(index is not None)
        self.setAccessibleName(words)
        self.setToolTip(words)
        self.update()

    def mark(self, *, current: bool) -> None:
        """Frame it, or not."""
        if current != self.current:
            self.current, self._shown = current, None
            self.update()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Go to the slice with Return, too."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self.click()
        else:
            super().keyPressEvent(event)

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw picture, number and frame."""
        painter = QPainter(self)
        painter.setRenderHints(QPainter.RenderHint.Antialiasing | QPainter.RenderHint.SmoothPixmapTransform)
        place = QRectF(2, 2, _PICTURE, _PICTURE)
        painter.setPen(QPen(colour("frame"), 1))
        if self.index is None or self._picture is None:
            if self.framed:
                painter.fillRect(place, colour("empty"))
                painter.drawRect(place)
            return
        painter.fillRect(place, QColor("#000000"))
        self._draw(painter, self._picture, place.adjusted(1, 1, -1, -1))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        if self.current or self.underMouse():
            painter.setPen(QPen(colour("selected" if self.current else "muted"), 2))
            painter.drawRect(place)
        if self.hasFocus():
            painter.setPen(QPen(colour("focus"), 1))
            painter.drawRoundedRect(QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5), 3, 3)
        painter.setFont(sized(self.font(), 11, bold=self.current))
        painter.setPen(colour("text" if self.current else "muted"))
        below = QRectF(0, place.bottom() + 1, self.width(), _NUMBER)
        painter.drawText(below, Qt.AlignmentFlag.AlignCenter, str(self.index + 1))

    def _draw(self, painter: QPainter, picture: QImage, place: QRectF) -> None:
        """Draw a picture as large as fits, in the middle of a place, sharp at every resolution."""
        ratio = device_ratio(painter)
        if self._scaled is None or self._scaled[:2] != (picture.cacheKey(), ratio):
            size, keep = (place.size() * ratio).toSize(), Qt.AspectRatioMode.KeepAspectRatio
            image = picture.scaled(size, keep, Qt.TransformationMode.SmoothTransformation)
            self._scaled = picture.cacheKey(), ratio, image
        image = self._scaled[2]
        target = QRectF(0, 0, image.width() / ratio, image.height() / ratio)
        target.moveCenter(place.center())
        painter.drawImage(target, image)


class VerdictCard(QFrame):
    """What the scan shows, in how many slices, how much, which kind, and how often that was right before.

    Its height is the same whatever it says.

    Signals
    -------
    sliceChosen(int):
        Go to a slice that decides.
    stabilityAsked():
        It is to be found out how much volume and verdict move with the picture.
    """

    sliceChosen = Signal(int)
    stabilityAsked = Signal()

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self._words = ScanWords("")
        # All that it says, and in which colours.
        self._said: tuple[object, ...] = ()
        # Of a scan, to stay while new thresholds are followed.
        self._kept: ScanWords | None = None
        # Pictures of slices, all of one volume shown in one way.
        self._pictures: dict[int, QImage] = {}
        self._look: tuple[object, ...] = ()
        self.setObjectName("verdict")
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.answer, self.progress = Line("answer"), QLabel()
        self.where, self.amount = Line("where"), Line("amount")
        self.kind, self.worth = Line("amount"), Line("worth")
        self.progress.setProperty("role", "worth")
        self.edited, self.uncalibrated = _badge("edited"), _badge("uncalibrated")
        self.edited.setToolTip(
            "Thresholds of the shown detections or of the class evidence differ from those of the weights,\n"
            "or regions were excluded from the evidence of a slice."
        )
        self.uncalibrated.setToolTip(
            "It is not known how often slices of controls look ill to these weights, nor what their\n"
            "probabilities mean."
        )
        self.sure = QPushButton("How sure?")
        self.sure.setProperty("link", "true")
        self.sure.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.sure.setAccessibleName("How sure: how far volume and verdict of the scan move with the picture")
        self.sure.clicked.connect(self._on_sure)
        self.thumbnails = tuple(Thumbnail() for _ in range(MOST_DECIDING))
        self._lay_out()
        for thumbnail in self.thumbnails:
            thumbnail.clicked.connect(lambda _=False, thumbnail=thumbnail: self._on_clicked(thumbnail))
        display = state.display.events
        refresh = state.changes.once(self._refresh)
        results = state.results.events
        # Not of what is shown of a slice.
        for event in (results.scan, results.summaries, results.updating):
            event.connect(refresh)
        state.weights.events.all.connect(refresh)
        state.thresholds.events.all.connect(refresh)
        state.case.events.volume.connect(refresh)
        state.case.events.partial.connect(refresh)
        state.run.events.kind.connect(refresh)
        state.stability.events.scan.connect(refresh)
        state.stability.events.scan_computing.connect(refresh)
        display.slice_index.connect(self._refresh_thumbnails)
        # A window that is dragged has the time of the slice itself.
        self._later = QTimer(self, interval=_LOOK_AFTER_MS, singleShot=True)
        self._later.timeout.connect(self._refresh_thumbnails)
        for event in (display.window, display.inverted, display.flip_horizontal, display.flip_vertical):
            event.connect(self._look_later)
        self._refresh()

    @property
    def text(self) -> str:
        """Everything it says, as sentences."""
        return self._words.text

    def _lay_out(self) -> None:
        head = QHBoxLayout()
        head.setSpacing(6)
        head.addWidget(self.answer, 1)
        for widget in (self.progress, self.uncalibrated, self.edited):
            head.addWidget(widget)
        self.edited.ensurePolished()
        head.addStrut(self.edited.sizeHint().height())
        self._caption = QLabel()
        self._caption.setProperty("role", "worth")
        self._caption.ensurePolished()
        widths = []
        for caption in (_DECIDING, _LOOK_ILL):
            self._caption.setText(caption)
            widths.append(self._caption.sizeHint().width())
        self._caption.setFixedWidth(max(widths))
        row = QHBoxLayout()
        row.setSpacing(5)
        row.addWidget(self._caption)
        for thumbnail in self.thumbnails:
            row.addWidget(thumbnail)
        row.addStretch(1)
        row.addStrut(self.thumbnails[0].height())
        layout = QVBoxLayout(self)
        layout.setContentsMargins(12 + _STRIPE, 6, 8, 6)
        layout.setSpacing(1)
        layout.addLayout(head)
        for line in (self.where, self.amount, self.kind):
            layout.addWidget(line)
        layout.addSpacing(3)
        layout.addLayout(row)
        foot = QHBoxLayout()
        foot.setSpacing(6)
        foot.addWidget(self.worth, 1)
        # Whatever appears in it, the line stays as high.
        self.sure.setStyleSheet("min-height: 0px; padding: 0px; font-size: 11px")
        self.sure.setFixedHeight(self.worth.sizeHint().height())
        foot.addWidget(self.sure)
        foot.addStrut(self.sure.height())
        layout.addLayout(foot)

    def _refresh(self) -> None:
        state, results = self._state, self._state.results
        words = verdict_words(state)
        if results.scan is not None:
            self._kept = words
            if results.updating:
                words = replace(words, amount=lesion_volume(state), progress="following…")
        elif results.updating and self._kept is not None:
            # What is below must not jump, nor the answer flicker, while a slider moves.
            words = replace(self._kept, progress="following…", amount=lesion_volume(state))
        else:
            self._kept = None
        rule = "" if results.scan is None else results.scan.verdict_rule or results.scan.rule
        said = words, rule, self._stale, self._is_edited(), theme()
        if said != self._said:
            self._said, self._words = said, words
            self._say(words, rule)
        self._show_steadiness()
        self._refresh_thumbnails()

    def _say(self, words: ScanWords, rule: str) -> None:
        for label, text in (
            (self.answer, words.answer),
            (self.progress, words.progress),
            (self.where, words.where),
            (self.amount, words.amount),
            (self.kind, words.kind),
            (self.worth, words.worth),
        ):
            label.setText(text)
        self.answer.stale = self.where.stale = self._stale
        self.edited.setVisible(self._is_edited())
        self.uncalibrated.setVisible(words.uncalibrated)
        self.setAccessibleName(f"Verdict of the scan: {self.text}")
        self.where.setToolTip(rule)
        self.update()

    def _show_steadiness(self) -> None:
        """Show whether the verdict stays under small changes, or how to find out."""
        steady = self._state.stability
        found, stands = steady.scan, verdict_stands(self._state)
        self.sure.setVisible(stands)
        self.sure.setEnabled(stands and not steady.scan_computing)
        text, tip = (
            "How sure?",
            "Runs lung slices 10 mm apart with eight changes each (Ctrl+Shift+S); minutes.",
        )
        if steady.scan_computing:
            text = "running…"
        elif found is not None:
            scan = self._state.results.scan
            told = found.own_verdict if scan is None or scan.verdict is None else scan.verdict
            # Against what the card says: some of its slices may say something else by themselves.
            of, other = len(found.changes), sum(verdict != told for verdict in found.verdicts)
            text = f"├─┤ {'other' if other else 'same'} verdict in {other or of} of {of}"
            tip = "\n".join(steady_scan_words(found, told))
        self.sure.setText(text)
        self.sure.setToolTip(f"{tip}\n\n{CHANGES_TIP}")
        range_tip = "" if found is None else f"\n\n{_RANGE_TIP}"
        self.amount.setToolTip(f"Volume of the shown masks in the slices with lung{range_tip}")

    @property
    def _stale(self) -> bool:
        """Whether it still says what was under former thresholds."""
        return self._kept is not None and self._state.results.scan is None

    def _is_edited(self) -> bool:
        thresholds, scan = self._state.thresholds, self._state.results.scan
        changed = thresholds.evidence_edited or thresholds.detections != thresholds.default_detections
        return self._kept is not None and (changed or (scan is not None and scan.basis == "edited"))

    def _look_later(self, *_: object) -> None:
        self._later.start()

    def _refresh_thumbnails(self) -> None:
        scan, volume = self._state.results.scan, self._state.case.volume
        display = self._state.display
        flips = display.flip_horizontal, display.flip_vertical
        look = (volume, display.window, display.inverted, *flips)
        if look != self._look:
            self._look, self._pictures = look, {}
        here = display.slice_index
        if self._stale:
            for thumbnail in self.thumbnails:
                thumbnail.mark(current=thumbnail.index == here)
            return
        deciding = self._deciding()[:MOST_DECIDING]
        caption = _LOOK_ILL if scan is not None and scan.verdict == "control" else _DECIDING
        self._caption.setText(caption if deciding else "\n")
        for place, thumbnail in enumerate(self.thumbnails):
            # Empty places say that something is to come.
            thumbnail.framed = verdict_may_come(self._state)
            index = deciding[place] if place < len(deciding) else None
            if index is None or volume is None or not 0 <= index < volume.slices:
                thumbnail.show_slice(None, None, "", current=False)
            else:
                picture = self._picture_of(volume, index)
                thumbnail.show_slice(index, picture, self._words_of(index), current=index == here)

    def _deciding(self) -> Sequence[int]:
        return deciding_slices(self._state.results.scan, self._state.results.summaries)

    def _picture_of(self, volume: Volume, index: int) -> QImage:
        if index not in self._pictures:
            self._pictures[index] = _picture(self._state, volume, index)
        return self._pictures[index]

    def _words_of(self, index: int) -> str:
        summary = self._state.results.summaries.get(index)
        scan = self._state.results.scan
        control = scan is not None and scan.verdict == "control"
        text = f"Slice {index + 1}, looks most ill" if control else f"Deciding slice {index + 1}"
        if summary is not None and summary.ill_probability is not None:
            text += f": pneumonia {probability_text(summary.ill_probability)}"
        return text

    def _on_sure(self) -> None:
        """Ask, or show what was found."""
        if self._state.stability.scan is None:
            self.stabilityAsked.emit()
        else:
            place = self.sure.mapToGlobal(self.sure.rect().bottomLeft())
            QToolTip.showText(place, self.sure.toolTip(), self.sure)

    def _on_clicked(self, thumbnail: Thumbnail) -> None:
        if thumbnail.index is not None:
            self.sliceChosen.emit(thumbnail.index)

    def paintEvent(self, _event: QPaintEvent) -> None:
        """Draw the card, with the colour of the verdict along its left edge."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        card = QRectF(self.rect()).adjusted(0.5, 0.5, -0.5, -0.5)
        painter.setPen(QPen(colour("frame"), 1))
        painter.setBrush(colour("base"))
        painter.drawRoundedRect(card, 6, 6)
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(NO_CLASS if self._stale else self._words.colour))
        painter.drawRoundedRect(QRectF(5, 8, _STRIPE, self.height() - 16), 2, 2)


def _badge(text: str) -> QLabel:
    badge = QLabel(text)
    badge.setProperty("role", "badge")
    return badge


def _picture(state: AppState, volume: Volume, index: int) -> QImage:
    """Return a slice as the window shows it, in no more detail than a thumbnail needs."""
    display = state.display
    step = max(1, min(volume.voxels.shape[1:]) // (4 * _PICTURE))
    voxels = volume.voxels[index, ::step, ::step]
    grey = apply_window(voxels, display.window, inverted=display.inverted != volume.inverted)
    image = grey_image(np.ascontiguousarray(grey))
    mirror = QTransform.fromScale(
        -1 if display.flip_horizontal else 1,
        (-1 if display.flip_vertical else 1) * volume.geometry.pixel_aspect,
    )
    return image.transformed(mirror)
