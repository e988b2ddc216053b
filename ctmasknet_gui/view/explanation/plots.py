"""Plots of the shown slice, linked to the selection, and of the scan."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QPoint, Qt, Signal
from PySide6.QtWidgets import QTabWidget, QVBoxLayout, QWidget

from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.verdict import MOST_DECIDING, deciding_slices, gives_no_class
from ctmasknet_gui.view.explanation.pixel_page import PixelPage
from ctmasknet_gui.view.explanation.plot_page import PlotPage
from ctmasknet_gui.view.explanation.roi_model import NO_BATCH, why_no_evidence
from ctmasknet_gui.view.lasso import Lasso
from ctmasknet_gui.view.style import theme
from model_core.base.arrays import DoubleArray
from model_core.base.references import ControlRois, References
from model_core.base.results import ImageVerdict, RoiRow
from model_core.weights.card import control_regions

if TYPE_CHECKING:
    from model_core.explain import RoiDistribution

# How far from a point a click still means it, in screen pixels.
PICK_RADIUS = 9.0
_HEIGHT = 138
_FOLLOWS = "The class along the thresholds is being computed…"
_HINT = "Drawn once the slice has been analysed."


class PlotPanel(QWidget):
    """Tabs of plots. A click on a point, a bar or a row of the batch emits ``candidatePicked(int)``.

    A drag over points emits ``regionsPicked(tuple of int)``, a right click ``menuRequested(QPoint)``; a
    click on a curve of the class ``evidenceAsked(EvidenceSettings)``, one on the scan ``sliceAsked(int)``.
    """

    candidatePicked = Signal(object)
    regionsPicked = Signal(object)
    menuRequested = Signal(QPoint)
    evidenceAsked = Signal(object)
    sliceAsked = Signal(int)

    def __init__(self, state: AppState, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self.scatter = PlotPage(
            "Areas", draw=self._draw_scatter, pick=self._pick_point, within=self._points_within
        )
        self.histogram = PlotPage(
            "Scores", draw=self._draw_histogram, pick=self._pick_bar, within=self._scores_within, span=True
        )
        self.batch = PlotPage("RoI batch", draw=self._draw_batch, pick=self._pick_row)
        self.sensitivity = PlotPage("Sensitivity", draw=self._draw_sensitivity, pick=self._pick_threshold)
        self.scan = PlotPage("Scan", draw=self._draw_scan, pick=self._pick_slice)
        self.controls = PlotPage("Controls", draw=self._draw_controls, pick=lambda _: None)
        self._pages = (
            self.scatter, self.histogram, self.batch, self.sensitivity, self.scan, self.controls,
        )  # fmt: skip
        self.tabs = QTabWidget()
        self.tabs.setDocumentMode(True)
        self.tabs.tabBar().setExpanding(False)
        self.tabs.tabBar().setElideMode(Qt.TextElideMode.ElideNone)
        tips = (
            "Score, as in the table, and area of each region; click a point or draw around several to select",
            "How many regions have which score, as in the table; drag over a range to select its regions",
            "Rows that the classifier reads: raw score, shift and stretch (dx, dy, dw, dh); click one",
            "The class along each threshold of the evidence; a click moves the slider there",
            "Along the slices: how ill each looks, and its marked area; a click goes to a slice",
            "Scores and box areas of all regions of the scan beside those of controls; distances, no test",
        )
        for page, tip in zip(self._pages, tips, strict=True):
            self.tabs.addTab(page, page.title)
            self.tabs.setTabToolTip(self.tabs.count() - 1, tip)
            page.candidatePicked.connect(self.candidatePicked)
            page.regionsPicked.connect(self.regionsPicked)
            page.menuRequested.connect(self.menuRequested)
        self.pixels = PixelPage(state)
        self.tabs.addTab(self.pixels, self.pixels.title)
        self.tabs.setTabToolTip(
            self.tabs.count() - 1, "Which pixels the logit of the selected region hangs on"
        )
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.tabs)
        self.setMinimumHeight(_HEIGHT)
        refresh = state.changes.once(self._refresh)
        state.results.events.shown.connect(refresh)
        state.selection.events.all.connect(refresh)
        state.weights.events.cards.connect(refresh)
        refresh_sensitivity = state.changes.once(self._refresh_sensitivity)
        state.reasons.events.sensitivity.connect(refresh_sensitivity)
        state.results.events.shown.connect(refresh_sensitivity)
        state.thresholds.events.evidence.connect(refresh_sensitivity)
        refresh_scan = state.changes.once(self._refresh_scan)
        state.case.events.volume.connect(refresh_scan)
        state.case.events.lungs.connect(refresh_scan)
        state.display.events.slice_index.connect(refresh_scan)
        state.results.events.summaries.connect(refresh_scan)
        state.results.events.scan.connect(refresh_scan)
        refresh_controls = state.changes.once(self._refresh_controls)
        state.results.events.slices.connect(refresh_controls)
        state.results.events.summaries.connect(refresh_controls)
        state.case.events.lungs.connect(refresh_controls)
        state.weights.events.cards.connect(refresh_controls)
        self._refresh()
        self._refresh_sensitivity()
        self._refresh_scan()
        self._refresh_controls()

    @property
    def _rois(self) -> tuple[RoiRow, ...]:
        shown = self._state.results.shown
        return () if shown is None else shown.rois

    @property
    def _listed(self) -> tuple[RoiRow, ...]:
        top = self._state.selection.top
        return self._rois if top is None else self._rois[:top]

    @property
    def _verdict(self) -> ImageVerdict | None:
        shown = self._state.results.shown
        return None if shown is None else shown.verdict

    @property
    def _highlight(self) -> dict[str, Any]:
        """What the plots of scores draw apart from the regions themselves."""
        shown, selection = self._state.results.shown, self._state.selection
        return {
            "top": selection.top,
            "selected": selection.candidate,
            "calibrated": shown is not None and shown.calibrated,
        }

    @property
    def _copies(self) -> tuple[int, ...]:
        """The rows of the batch that are the selected region."""
        candidate, verdict = self._state.selection.candidate, self._verdict
        if candidate is None or verdict is None:
            return ()
        return tuple(np.flatnonzero(verdict.batch.source == candidate).tolist())

    def _refresh(self, *_: object) -> None:
        why = why_no_evidence(self._state, waiting=_HINT)
        what, here = (self._rois, *self._highlight.values()), self._state.display.slice_index
        for page in (self.scatter, self.histogram):
            page.refresh(filled=bool(self._rois), why=why, what=what, of_slice=here)
        verdict = self._verdict
        rows = None if verdict is None else (verdict.batch.rows.tobytes(), self._copies)
        why = NO_BATCH if gives_no_class(self._state) else why
        self.batch.refresh(filled=verdict is not None, why=why, what=rows, of_slice=here)

    def _refresh_sensitivity(self, *_: object) -> None:
        why = NO_BATCH if gives_no_class(self._state) else _HINT
        if self._verdict is not None:
            why = _FOLLOWS
        self.sensitivity.refresh(filled=self._state.reasons.sensitivity is not None, why=why)

    @property
    def _controls(self) -> ControlRois | References | None:
        return control_regions(self._state.weights.cards)

    def _refresh_scan(self, *_: object) -> None:
        here, why = self._state.display.slice_index, "Drawn once a slice has been analysed."
        self.scan.refresh(filled=self._knows_scan, why=why, of_slice=here)

    @property
    def _knows_scan(self) -> bool:
        return self._state.case.volume is not None and bool(self._state.results.summaries)

    @property
    def _scan(self) -> dict[str, Any] | None:
        """What is drawn of the scan; None where nothing is known of it."""
        volume, results, lungs = self._state.case.volume, self._state.results, self._state.case.lungs
        if volume is None or not self._knows_scan:
            return None
        return {
            "summaries": tuple(results.summaries.values()),
            "slices": volume.slices,
            "deciding": deciding_slices(results.scan, results.summaries)[:MOST_DECIDING],
            "control": results.scan is not None and results.scan.verdict == "control",
            "outside": tuple(k for k in range(volume.slices) if lungs.outside(k)),
            "visible": self._state.display.slice_index,
        }

    def _refresh_controls(self, *_: object) -> None:
        slices = self._state.results.slices
        why = NO_BATCH if gives_no_class(self._state) else _HINT
        if slices and self._controls is None:
            why = "The card of these weights holds no regions of controls."
        filled = self._controls is not None and any(r.verdict is not None for r in slices.values())
        of = next(iter(slices.values()), None)
        what = None if of is None else (of.series_id, of.weights_id, self._state.case.lungs, *slices)
        self.controls.refresh(filled=filled, why=why, what=what)

    def restyle(self) -> None:
        """Draw every plot in the theme in force."""
        for page in self._pages:
            page.restyle()

    # ------------------------------------------------------------------------------------ drawing

    def _draw_scatter(self, figure: Any) -> None:
        from model_core.plots import score_area

        score_area(figure, self._rois, **self._highlight, theme=theme().plots)

    def _draw_histogram(self, figure: Any) -> None:
        from model_core.plots import score_histogram

        score_histogram(figure, self._rois, **self._highlight, theme=theme().plots)

    def _draw_batch(self, figure: Any) -> None:
        from model_core.plots import roi_batch_image

        verdict = self._verdict
        assert verdict is not None
        roi_batch_image(figure, verdict.batch.rows, selected=self._copies, theme=theme().plots)

    def _draw_sensitivity(self, figure: Any) -> None:
        from model_core.plots import sensitivity_curves

        found = self._state.reasons.sensitivity
        assert found is not None
        evidence = self._state.thresholds.evidence
        nms = 1.0 if evidence.nms_iou is None else evidence.nms_iou
        sensitivity_curves(figure, found, now=(max(0.0, evidence.score), nms), theme=theme().plots)

    def _draw_scan(self, figure: Any) -> None:
        from model_core.plots import scan_profile

        if (scan := self._scan) is not None:
            scan_profile(figure, **scan, theme=theme().plots)

    def _draw_controls(self, figure: Any) -> None:
        from model_core.explain import roi_distribution
        from model_core.plots import scan_rois

        results = self._state.results
        found = roi_distribution(results.slices.values(), self._controls, results.summaries.values())
        if found is not None:
            scan_rois(figure, found, theme=theme().plots)
            self.controls.canvas.setToolTip(_distance_tip(found))

    # ------------------------------------------------------------------------------------ picking

    def _pick_point(self, event: Any) -> int | None:
        rois = self._listed
        if not rois:
            return None
        points = self._places(event.inaxes)
        # Display pixels of the figure are device pixels; the radius is meant on screen.
        ratio = float(getattr(event.canvas, "device_pixel_ratio", 1.0))
        distances = np.hypot(points[:, 0] - event.x, points[:, 1] - event.y) / ratio
        # A point of zero area has no place on a logarithmic axis.
        distances = np.where(np.isfinite(distances), distances, np.inf)
        nearest = int(np.argmin(distances))
        return rois[nearest].candidate if distances[nearest] <= PICK_RADIUS else None

    def _places(self, axes: Any) -> DoubleArray:
        """Return (n, 2) the places of the listed regions, in pixels of the figure."""
        places = [(min(1.0, max(0.0, roi.score)), roi.area_px) for roi in self._listed]
        points: DoubleArray = axes.transData.transform(places)
        return points

    def _points_within(self, lasso: Lasso) -> tuple[int, ...]:
        """Return the candidates of the listed regions in a part of the figure, best first."""
        canvas = self.scatter.canvas
        if not canvas.figure.axes or not self._listed:
            return ()
        # The figure counts device pixels from below.
        x, y = self._places(canvas.figure.axes[0]).T / float(canvas.device_pixel_ratio)
        held = lasso.holds(zip(x.tolist(), (canvas.height() - y).tolist(), strict=True))
        return tuple(roi.candidate for roi, inside in zip(self._listed, held, strict=True) if inside)

    def _scores_within(self, lasso: Lasso) -> tuple[int, ...]:
        """Return the candidates of all regions with a score between the ends of a stretch, best first."""
        canvas, box = self.histogram.canvas, lasso.box
        if not canvas.figure.axes:
            return ()
        to_score = canvas.figure.axes[0].transData.inverted()
        ends = np.array([(box.left(), 0.0), (box.right(), 0.0)]) * float(canvas.device_pixel_ratio)
        low, high = to_score.transform(ends)[:, 0]
        return tuple(roi.candidate for roi in self._rois if low <= roi.score <= high)

    def _pick_bar(self, event: Any) -> int | None:
        """Return the best region among those of the bar at the pointer."""
        from model_core.plots.scores import BINS

        if event.xdata is None:
            return None
        hit = _bin(event.xdata, BINS)
        inside = [roi for roi in self._listed if _bin(roi.score, BINS) == hit]
        return min(inside, key=lambda roi: roi.rank).candidate if inside else None

    def _pick_row(self, event: Any) -> int | None:
        verdict = self._verdict
        if verdict is None or not event.inaxes.images or event.ydata is None:
            return None
        # The vertical axis counts ranks from 1.
        row = round(event.ydata) - 1
        source = verdict.batch.source
        candidate = int(source[row]) if 0 <= row < len(source) else -1
        return candidate if candidate >= 0 else None

    def _pick_slice(self, event: Any) -> None:
        """Ask for the slice under the pointer."""
        volume = self._state.case.volume
        if volume is not None and event.xdata is not None and event.button == 1:
            self.sliceAsked.emit(min(volume.slices, max(1, round(event.xdata))) - 1)

    def _pick_threshold(self, event: Any) -> None:
        """Ask for the threshold under the pointer, in hundredths as the sliders have them."""
        field = event.inaxes.get_gid()
        if field is None or event.xdata is None or event.button != 1:
            return
        place = round(min(1.0, max(0.0, event.xdata)), 2)
        evidence = self._state.thresholds.evidence
        if field == "score":
            self.evidenceAsked.emit(replace(evidence, score=place))
        else:
            self.evidenceAsked.emit(replace(evidence, nms_iou=place))


def _distance_tip(found: RoiDistribution) -> str:
    """Say who the controls are, and how far the scan is off them."""
    about = "Bars: mean over the slices of the scan; line: mean over the controls; band: 5 to 95 % of these."
    no_test = "Distances, no test: slices of a patient are not independent."
    return "\n".join([about, f"Controls: {found.controls_text}.", *found.distance_lines, no_test])


def _bin(score: float, bins: int) -> int:
    return min(bins - 1, max(0, int(score * bins)))
