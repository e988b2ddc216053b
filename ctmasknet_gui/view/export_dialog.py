"""Asks what to export and where to; returns an `ExportRequest`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from PySide6.QtCore import QEvent, Qt, Slot
from PySide6.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QGroupBox,
    QHBoxLayout,
    QLabel,
    QLayout,
    QLineEdit,
    QPushButton,
    QRadioButton,
    QVBoxLayout,
    QWidget,
)

from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.requests import (
    ExportKind,
    ExportRequest,
    ExportSlices,
    PaperMaps,
    PaperPlot,
    PlotFormat,
)
from ctmasknet_gui.view.numbers import NumberBox, WholeNumberBox
from ctmasknet_gui.view.style import label, theme
from model_core.base.errors import SettingsError


@dataclass(frozen=True)
class _Kind:
    """What can be exported: its name in the list, a hint below it, its file or folder."""

    title: str
    hint: str
    proposed: str
    suffix: str = ""
    filter: str = ""


_KINDS: dict[ExportKind, _Kind] = {
    "png": _Kind(
        "Annotated pictures (PNG)",
        "Each picture is the whole slice with the overlays, window and flips on screen, not its zoom.",
        "ctmasknet_slice_{number:04d}.png",
        ".png",
        "PNG picture (*.png)",
    ),
    "csv": _Kind(
        "Table of all regions (CSV)",
        "Every ranked region of every analysed slice, one per line.",
        "ctmasknet_regions.csv",
        ".csv",
        "CSV table (*.csv)",
    ),
    "plots": _Kind(
        "Plots of this slice (PNG or SVG)",
        "Histogram, scatter plot, class bars and RoI batch, one file each.",
        "ctmasknet_plots_slice_{number:04d}",
    ),
    "lesions": _Kind(
        "Lesion mask of the series (NIfTI)",
        "The shown masks as a label volume in the file's own geometry.",
        "ctmasknet_lesions.nii.gz",
        ".nii.gz",
        "NIfTI (*.nii.gz)",
    ),
    "slice_page": _Kind(
        "Page on this slice (PDF and HTML)",
        "Picture, class, what carries it, regions and settings on one side of A4; the same as HTML.",
        "ctmasknet_slice_{number:04d}.pdf",
        ".pdf",
        "PDF document (*.pdf)",
    ),
    "scan_page": _Kind(
        "Page on the scan (PDF and HTML)",
        "Verdict with its doubt, profile, deciding slices and settings on one side of A4, key images on a "
        "side before it; the same as HTML.",
        "ctmasknet_scan.pdf",
        ".pdf",
        "PDF document (*.pdf)",
    ),
    "figure": _Kind(
        "Figure for print: slices in four columns (PDF and PNG)",
        "Slice, detections, mask logits and plot, with a caption: 178 mm wide, at most 5 slices.",
        "ctmasknet_figure.pdf",
        ".pdf",
        "PDF document (*.pdf)",
    ),
    "nms_figure": _Kind(
        "Figure for print: two NMS thresholds (PDF and PNG)",
        "This slice under two thresholds side by side, the plot below, with a caption: 86 mm wide.",
        "ctmasknet_nms_slice_{number:04d}.pdf",
        ".pdf",
        "PDF document (*.pdf)",
    ),
}
_PAGES: tuple[ExportKind, ...] = ("slice_page", "scan_page")
_FIGURES: tuple[ExportKind, ...] = ("figure", "nms_figure")
_OF_SLICES: tuple[ExportKind, ...] = ("png", "figure")
_PICTURES_FOLDER = "ctmasknet_pictures"
_PAPER_PLOTS: tuple[tuple[str, PaperPlot], ...] = (
    ("Scores of the regions", "scores"),
    ("Scores and areas", "area"),
    ("Ranked RoI batch", "batch"),
)
_PAPER_MAPS: tuple[tuple[str, PaperMaps], ...] = (
    ("Raw mask logits", "logits"),
    ("Mask probability", "probability"),
)
_FORMATS: tuple[tuple[str, PlotFormat], ...] = (("PNG picture", "png"), ("SVG drawing", "svg"))


class ExportDialog(QDialog):
    """After ``accepted`` the choice is in `request`. File names never hold patient or series text.

    Parameters
    ----------
    kind:
        What is chosen at first.
    folder:
        Where the target is proposed.
    """

    def __init__(
        self, state: AppState, *, kind: ExportKind, folder: Path, parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Export")
        self._state = state
        # The slice that is asked for, whatever is shown once the request is carried out.
        self._index = state.display.slice_index
        self._series_id = "" if state.case.volume is None else state.case.volume.series_id
        self._folder = folder
        self._proposed = ""
        self.request: ExportRequest | None = None
        self._make_kind(kind)
        self._make_slices()
        self._make_options()
        self._make_target()
        self._lay_out()
        self._connect()
        self._refresh()

    # ------------------------------------------------------------------------------------ widgets

    def _make_kind(self, kind: ExportKind) -> None:
        self.kind = QComboBox()
        for value, described in _KINDS.items():
            self.kind.addItem(described.title, value)
        self.kind.setCurrentIndex(self.kind.findData(kind))
        self.kind.setAccessibleName("What to export")
        self.hint = label(role="muted", wrap=True)

    def _make_slices(self) -> None:
        volume = self._state.case.volume
        count = 1 if volume is None else volume.slices
        results = self._state.results
        found = sum(1 for summary in results.summaries.values() if summary.detections > 0)
        self.current = QRadioButton(f"&This slice ({self._index + 1})")
        self.range = QRadioButton("Slices &from")
        # While they follow new thresholds, a count would be of former ones.
        count_text = "being counted" if results.updating else f"{found} slice{'s' * (found != 1)}"
        self.findings = QRadioButton(f"All slices with fi&ndings ({count_text})")
        self.findings.setEnabled(found > 0 or results.updating)
        marked = len(self._state.case.key_images)
        self.keys = QRadioButton(f"&Key images ({marked} slice{'s' * (marked != 1)})")
        self.keys.setEnabled(marked > 0)
        self.current.setChecked(True)
        self._slices = QButtonGroup(self)
        for button in self._choices:
            self._slices.addButton(button)
        self.first, self.last = WholeNumberBox(), WholeNumberBox()
        for spin, name in ((self.first, "First slice"), (self.last, "Last slice")):
            spin.setRange(1, count)
            spin.setAccessibleName(name)
            spin.setFixedWidth(78)
            spin.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.first.setValue(1)
        self.last.setValue(count)
        self.slices_box = QGroupBox("Slices")
        layout = QVBoxLayout(self.slices_box)
        layout.setSpacing(7)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.range)
        row.addWidget(self.first)
        row.addWidget(QLabel("to"))
        row.addWidget(self.last)
        row.addWidget(QLabel(f"of {count}"))
        row.addStretch(1)
        layout.addWidget(self.current)
        layout.addLayout(row)
        layout.addWidget(self.findings)
        layout.addWidget(self.keys)

    def _make_options(self) -> None:
        self.scale = NumberBox()
        self.scale.setRange(0.5, 8.0)
        self.scale.setSingleStep(0.5)
        self.scale.setDecimals(1)
        self.scale.setValue(2.0)
        self.scale.setSuffix(" ×")
        self.scale.setFixedWidth(90)
        self.scale.setAlignment(Qt.AlignmentFlag.AlignRight)
        self.scale.setToolTip("Picture pixels per slice pixel")
        self.size_label = label(role="muted")
        self.plots = QCheckBox("&Plots beside the picture")
        self.plots.setEnabled(bool(self._state.results.summaries))
        self.identity = QCheckBox("Show patient &identity")
        self.identity.setToolTip("Off: no name, number or date of the patient is written.")
        if self._state.display.privacy:
            self.identity.setEnabled(False)
            self.identity.setToolTip("Not in privacy mode.")
        self.format = QComboBox()
        for text, value in _FORMATS:
            self.format.addItem(text, value)
        self.pictures_box = QGroupBox("Picture")
        form = self._picture_form = QFormLayout(self.pictures_box)
        form.setVerticalSpacing(8)
        size_row = QHBoxLayout()
        size_row.setSpacing(10)
        size_row.addWidget(self.scale)
        size_row.addWidget(self.size_label)
        size_row.addStretch(1)
        form.addRow("&Scale", size_row)
        form.labelForField(size_row).setBuddy(self.scale)  # type: ignore[attr-defined]
        form.addRow(self.plots)
        form.addRow(self.identity)
        self.format_box = QGroupBox("Plots")
        format_form = QFormLayout(self.format_box)
        format_form.addRow("&Format", self.format)
        self._make_figure()

    def _make_figure(self) -> None:
        self.paper_plot, self.paper_maps = QComboBox(), QComboBox()
        for text, plot in _PAPER_PLOTS:
            self.paper_plot.addItem(text, plot)
        for text, maps in _PAPER_MAPS:
            self.paper_maps.addItem(text, maps)
        self.nms = NumberBox(), NumberBox()
        row = QHBoxLayout()
        row.setSpacing(8)
        for box, iou, name in zip(self.nms, ExportRequest.nms, ("First", "Second"), strict=True):
            box.setRange(0.0, 1.0)
            box.setSingleStep(0.05)
            box.setDecimals(2)
            box.setValue(iou)
            box.setFixedWidth(90)
            box.setAlignment(Qt.AlignmentFlag.AlignRight)
            box.setAccessibleName(f"{name} NMS threshold")
            row.addWidget(box)
            if box is self.nms[0]:
                row.addWidget(QLabel("and"))
        row.addStretch(1)
        self.figure_box = QGroupBox("Figure")
        form = self._figure_form = QFormLayout(self.figure_box)
        form.setVerticalSpacing(8)
        form.addRow("&Maps", self.paper_maps)
        form.addRow("&Plot", self.paper_plot)
        form.addRow("&NMS IoU", row)
        form.labelForField(row).setBuddy(self.nms[0])  # type: ignore[attr-defined]

    def _make_target(self) -> None:
        self.target = QLineEdit()
        self.target.setAccessibleName("Where to")
        self.target.setMinimumWidth(380)
        self.browse = QPushButton("&Choose…")
        self.browse.setAutoDefault(False)
        self.target_label = QLabel("File")
        self.target_label.setBuddy(self.target)
        self.problem = label(wrap=True)
        self._colour_problem()
        self.problem.setVisible(False)
        self.buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        self.export_button = self.buttons.addButton("Export", QDialogButtonBox.ButtonRole.AcceptRole)
        self.export_button.setDefault(True)

    def _lay_out(self) -> None:
        layout = QVBoxLayout(self)
        layout.setContentsMargins(16, 16, 16, 14)
        layout.setSpacing(10)
        layout.addWidget(self.kind)
        layout.addWidget(self.hint)
        for box in (self.slices_box, self.pictures_box, self.format_box, self.figure_box):
            layout.addWidget(box)
        row = QHBoxLayout()
        row.setSpacing(8)
        row.addWidget(self.target_label)
        row.addWidget(self.target, 1)
        row.addWidget(self.browse)
        layout.addLayout(row)
        layout.addWidget(self.problem)
        layout.addSpacing(4)
        layout.addWidget(self.buttons)
        # The dialog is as large as its kind needs, whatever was chosen before.
        layout.setSizeConstraint(QLayout.SizeConstraint.SetFixedSize)

    def _connect(self) -> None:
        self.kind.currentIndexChanged.connect(self._refresh)
        for button in self._choices:
            button.toggled.connect(self._refresh)
        for spin in (self.first, self.last):
            spin.valueChanged.connect(self._choose_range)
        self.scale.valueChanged.connect(self._refresh)
        self.format.currentIndexChanged.connect(self._refresh)
        self.browse.clicked.connect(self._ask_target)
        self.buttons.accepted.connect(self._try)
        self.buttons.rejected.connect(self.reject)
        self.target.textEdited.connect(lambda: self.problem.setVisible(False))

    # -------------------------------------------------------------------------------------- logic

    @property
    def chosen_kind(self) -> ExportKind:
        """What is to be exported."""
        kind: ExportKind = self.kind.currentData()
        return kind

    @property
    def chosen_slices(self) -> ExportSlices:
        """Which slices become pictures."""
        if self.range.isChecked():
            return "range"
        if self.keys.isChecked():
            return "keys"
        return "findings" if self.findings.isChecked() else "current"

    @property
    def _choices(self) -> tuple[QRadioButton, ...]:
        return self.current, self.range, self.findings, self.keys

    @property
    def wants_folder(self) -> bool:
        """Whether the target is a folder: several files are written."""
        several = self.chosen_kind == "png" and self.chosen_slices != "current"
        return several or self.chosen_kind == "plots"

    @Slot()
    def _choose_range(self) -> None:
        self.range.setChecked(True)
        self.problem.setVisible(False)

    @Slot()
    def _refresh(self) -> None:
        kind = self.chosen_kind
        self.hint.setText(_KINDS[kind].hint)
        self.slices_box.setVisible(kind in _OF_SLICES)
        self.figure_box.setVisible(kind in _FIGURES)
        self._figure_form.setRowVisible(0, kind == "figure")
        self._figure_form.setRowVisible(2, kind == "nms_figure")
        self.pictures_box.setVisible(kind == "png" or kind in _PAGES)
        self.pictures_box.setTitle("Picture" if kind == "png" else "Page")
        for row in (0, 1):
            self._picture_form.setRowVisible(row, kind == "png")
        self.format_box.setVisible(kind == "plots")
        self.target_label.setText("Fo&lder" if self.wants_folder else "Fi&le")
        volume = self._state.case.volume
        if volume is not None:
            height, width = (round(side * self.scale.value()) for side in volume.voxels.shape[1:])
            self.size_label.setText(f"about {width} × {height} pixels")
        self._propose_target()
        self.problem.setVisible(False)

    def _propose_target(self) -> None:
        # What the user typed stays; only our own proposal follows the kind.
        if self.target.text() != self._proposed:
            return
        kind = self.chosen_kind
        several = kind == "png" and self.wants_folder
        name = _PICTURES_FOLDER if several else _KINDS[kind].proposed.format(number=self._index + 1)
        self._proposed = str(self._folder / name)
        self.target.setText(self._proposed)
        self.target.setCursorPosition(len(self._proposed))

    @Slot()
    def _ask_target(self) -> None:
        start = self.target.text() or str(self._folder)
        if self.wants_folder:
            name = QFileDialog.getExistingDirectory(self, "Export to folder", str(Path(start).parent))
        else:
            # Whether something may be replaced is asked once, before writing.
            name, _ = QFileDialog.getSaveFileName(
                self,
                "Export to file",
                start,
                _KINDS[self.chosen_kind].filter,
                options=QFileDialog.Option.DontConfirmOverwrite,
            )
        if name:
            self.target.setText(name)
            self.problem.setVisible(False)

    @Slot()
    def _try(self) -> None:
        try:
            self.request = self._make_request()
        except SettingsError as error:
            self.problem.setText(error.message)
            self.problem.setVisible(True)
            return
        self.accept()

    def _make_request(self) -> ExportRequest:
        kind = self.chosen_kind
        plot_format: PlotFormat = self.format.currentData()
        return ExportRequest(
            kind=kind,
            target=self._checked_target(),
            slice_index=self._index,
            series_id=self._series_id,
            slices=self.chosen_slices if kind in _OF_SLICES else "current",
            first=self.first.value() - 1,
            last=self.last.value(),
            scale=self.scale.value(),
            plots=self.plots.isChecked() and self.plots.isEnabled(),
            # What was ticked for another kind, and is not seen, is not asked for.
            identity=self.identity.isVisibleTo(self)
            and self.identity.isChecked()
            and self.identity.isEnabled(),
            plot_format=plot_format,
            nms=(self.nms[0].value(), self.nms[1].value()),
            paper_plot=self.paper_plot.currentData(),
            paper_maps=self.paper_maps.currentData(),
        )

    def _checked_target(self) -> Path:
        """Return the absolute target with its suffix; raises `SettingsError` where nothing can be written."""
        text = self.target.text().strip()
        if not text:
            raise SettingsError("Choose where to export to.")
        if "\0" in text:
            raise SettingsError("The name holds a character that no file name may have. Type it anew.")
        try:
            target = Path(text).expanduser()
        except RuntimeError as error:
            # ~name of nobody on this machine.
            raise SettingsError("There is no home folder of that name. Choose another folder.") from error
        if not target.is_absolute():
            target = self._folder / target
        try:
            return self._fitting(target)
        except OSError as error:
            raise SettingsError(
                "This name is too long, or its folder may not be looked into. Choose another."
            ) from error

    def _fitting(self, target: Path) -> Path:
        if self.wants_folder:
            if target.is_file():
                raise SettingsError("Several files are written: choose a folder, not a file.")
        else:
            # The root has no name that a suffix could follow.
            if not target.name or target.is_dir():
                raise SettingsError("This is a folder: add a file name.")
            target = with_suffix(target, _KINDS[self.chosen_kind].suffix)
            if target.is_dir():
                raise SettingsError("A folder has this name. Choose another.")
        if not target.parent.is_dir():
            raise SettingsError("The folder to export to does not exist. Choose one that does.")
        return target

    def changeEvent(self, event: QEvent) -> None:
        """Take the colours of another theme."""
        super().changeEvent(event)
        if event.type() == QEvent.Type.StyleChange:
            self._colour_problem()

    def _colour_problem(self) -> None:
        self.problem.setStyleSheet(f"color: {theme().status['error']};")

    def showEvent(self, event: object) -> None:
        """Begin with the target marked, ready to be typed over."""
        super().showEvent(event)  # type: ignore[arg-type]
        self.kind.setFocus(Qt.FocusReason.OtherFocusReason)


def with_suffix(target: Path, suffix: str) -> Path:
    """Return a path that ends with the suffix, whatever case it was typed in."""
    if not suffix or target.name.lower().endswith(suffix):
        return target
    stem = (
        target.name[: -len(".nii")] if suffix == ".nii.gz" and target.name.lower().endswith(".nii") else None
    )
    return target.with_name(f"{stem or target.name}{suffix}")
