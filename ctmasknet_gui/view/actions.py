"""Every user action by name: text, icon, keys, tooltip, category. Controllers connect to ``triggered``."""

from __future__ import annotations

from dataclasses import replace

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QAction, QActionGroup, QKeySequence

from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.display import PRESETS
from ctmasknet_gui.view.style import icon
from model_core.base.volume import Window

CATEGORIES = ("File", "Slices", "Window", "View", "Overlays", "Analysis", "Regions", "Help")

CINE_SPEEDS = (5, 10, 15, 20, 30)

# Fields of the display state that a checkable action shows.
_MIRRORED = (
    "window",
    "inverted",
    "flip_horizontal",
    "flip_vertical",
    "masks",
    "outlines",
    "boxes",
    "labels",
    "logits",
    "reference",
    "cine",
    "cine_fps",
    "privacy",
)


class Actions(QObject):
    """The actions of one window.

    Checkable ones mirror state: a click emits ``triggered`` and the controller's answer in state sets
    the check. None of them holds logic. ``presets`` carry their `Window` in ``data()``, ``cine_speeds``
    their pictures per second.
    """

    def __init__(self, state: AppState, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._state = state
        self.all: list[QAction] = []
        self._make_file()
        self._make_slices()
        self._make_window()
        self._make_view()
        self._make_overlays()
        self._make_analysis()
        self._make_regions()
        self._make_help()
        self._listen()
        self._refresh_checks()
        self._refresh_enabled()

    def in_category(self, category: str) -> list[QAction]:
        """Return the actions of a category in the order they were made."""
        return [action for action in self.all if action.property("category") == category]

    def _make(
        self, text: str, category: str, tip: str, *, keys: str = "", image: str = "", check: bool = False
    ) -> QAction:
        action = QAction(text, self)
        if image:
            action.setIcon(icon(image))
        sequences = [QKeySequence(key) for key in keys.split()]
        action.setShortcuts(sequences)
        action.setShortcutContext(Qt.ShortcutContext.WindowShortcut)
        shown = ", ".join(key.toString(QKeySequence.SequenceFormat.NativeText) for key in sequences)
        action.setToolTip(f"{tip} ({shown})" if shown else tip)
        action.setStatusTip(tip)
        action.setCheckable(check)
        action.setProperty("category", category)
        # The text of some says what they would do now.
        action.setProperty("name", text)
        # A click turns the check over before anybody agreed; state has the last word.
        action.triggered.connect(self._refresh_checks)
        self.all.append(action)
        return action

    def _make_file(self) -> None:
        make, cat = self._make, "File"
        self.open_file = make(
            "Open file…", cat, "Open DICOM files, a DICOMDIR or ZIP, a volume file or pictures",
            keys="Ctrl+O", image="file",
        )  # fmt: skip
        self.open_folder = make(
            "Open folder…",
            cat,
            "Open a folder of DICOM slices or pictures",
            keys="Ctrl+Shift+O",
            image="folder",
        )
        self.open_demo = make(
            "Open demo case", cat, "Open a synthetic chest CT with known lesions", image="volume"
        )
        self.load_reference = make(
            "Load reference mask…", cat, "Load a lesion mask to compare with", image="reference"
        )
        self.close_reference = make("Close reference mask", cat, "Forget the loaded reference mask")
        self.load_weights = make(
            "Load weights file…", cat, "Load network weights from a file", image="weights"
        )
        self.export = make(
            "Export…", cat, "Export pictures, tables, plots or masks", keys="Ctrl+E", image="export"
        )
        self.export_png = make("Pictures (PNG)…", cat, "Export annotated pictures", image="image")
        self.export_csv = make(
            "Table of regions (CSV)…", cat, "Export every ranked region as a table", image="table"
        )
        self.export_plots = make("Plots (PNG, SVG)…", cat, "Export the plots of this slice", image="plot")
        self.export_lesions = make(
            "Lesion mask (NIfTI)…",
            cat,
            "Export the lesion mask in the geometry of the series",
            image="volume",
        )
        self.correct_tilt = make(
            "Correct gantry tilt",
            cat,
            "Shift the slices of a tilted gantry back, and open that as a series of its own",
        )
        self.close_case = make("Close series", cat, "Close the open series", image="close")
        self.quit = make("Quit", cat, "Leave the program", keys="Ctrl+Q")

    def _make_slices(self) -> None:
        make, cat = self._make, "Slices"
        self.previous_slice = make("Previous slice", cat, "One slice up", keys="Up", image="previous")
        self.next_slice = make("Next slice", cat, "One slice down", keys="Down", image="next")
        self.back_ten = make("Ten slices up", cat, "Ten slices up", keys="PgUp")
        self.forward_ten = make("Ten slices down", cat, "Ten slices down", keys="PgDown")
        self.first_slice = make("First slice", cat, "First slice", keys="Home", image="first")
        self.last_slice = make("Last slice", cat, "Last slice", keys="End", image="last")
        self.next_finding = make(
            "Next finding", cat, "Next slice with a finding", keys="N", image="finding-next"
        )
        self.previous_finding = make(
            "Previous finding", cat, "Previous slice with a finding", keys="P", image="finding-previous"
        )
        self.cine = make("Cine", cat, "Play the slices as a loop", keys="Space", image="cine", check=True)
        self._speed_group = QActionGroup(self)
        # A speed of the settings that is none of these leaves all of them unchecked.
        self._speed_group.setExclusionPolicy(QActionGroup.ExclusionPolicy.ExclusiveOptional)
        speeds = []
        for speed in CINE_SPEEDS:
            tip = f"Play {speed} slices per second"
            action = make(f"{speed} slices per second", cat, tip, check=True)
            action.setData(float(speed))
            self._speed_group.addAction(action)
            speeds.append(action)
        self.cine_speeds: tuple[QAction, ...] = tuple(speeds)

    def _make_window(self) -> None:
        make, cat = self._make, "Window"
        self.window_auto = make("Automatic window", cat, "Window from the values of this slice", keys="0")
        self.window_file = make("Window of the file", cat, "Window stored in the file", keys="1")
        presets = []
        self._preset_group = QActionGroup(self)
        self._preset_group.setExclusionPolicy(QActionGroup.ExclusionPolicy.ExclusiveOptional)
        for number, window in enumerate(PRESETS, start=2):
            tip = f"{window.name} window: width {window.width:g}, level {window.level:g} HU"
            action = make(window.name, cat, tip, keys=str(number), check=True)
            action.setData(window)
            self._preset_group.addAction(action)
            presets.append(action)
        self.presets: tuple[QAction, ...] = tuple(presets)

    def _make_view(self) -> None:
        make, cat = self._make, "View"
        self.invert = make("Invert grey", cat, "Swap black and white", keys="I", image="invert", check=True)
        self.flip_horizontal = make(
            "Flip left-right",
            cat,
            "Mirror the picture; the letters follow",
            keys="H",
            image="flip-h",
            check=True,
        )
        self.flip_vertical = make(
            "Flip up-down",
            cat,
            "Mirror the picture; the letters follow",
            keys="V",
            image="flip-v",
            check=True,
        )
        self.zoom_in = make("Zoom in", cat, "Enlarge the picture", keys="+", image="zoom-in")
        self.zoom_out = make("Zoom out", cat, "Shrink the picture", keys="-", image="zoom-out")
        self.zoom_fit = make("Fit to window", cat, "Show the whole slice", keys="=", image="fit")
        self.reset_view = make(
            "Reset view", cat, "Undo zoom, pan, flips and inversion; lung window", keys="R", image="reset"
        )
        self.privacy = make(
            "Privacy mode", cat, "Hide everything that identifies the patient", keys="Ctrl+Shift+P",
            image="privacy", check=True,
        )  # fmt: skip
        self.series_panel = make(
            "Series list", cat, "Show or hide the list of series", keys="F8", image="panel-left", check=True
        )
        self.explanation_panel = make(
            "Explanation", cat, "Show or hide the explanation at the right", keys="F9", image="panel-right",
            check=True,
        )  # fmt: skip
        self.find_series = make(
            "Search series", cat, "Go to the series list, and search it where it is long", keys="Ctrl+F"
        )
        self.full_screen = make(
            "Full screen", cat, "Fill the screen", keys="F11", image="fullscreen", check=True
        )

    def _make_overlays(self) -> None:
        make, cat = self._make, "Overlays"
        self.overlays = make(
            "All overlays", cat, "Show or hide all overlays", keys="S", image="overlays", check=True
        )
        self.outlines = make(
            "Outlines", cat, "Outlines of the detections", keys="O", image="outlines", check=True
        )
        self.labels = make(
            "Labels", cat, "Rank, class and score of the detections", keys="L", image="labels", check=True
        )
        self.masks = make("Fill", cat, "Masks of the detections, filled", keys="F", image="masks", check=True)
        self.boxes = make("Boxes", cat, "Boxes of the detections", keys="B", image="boxes", check=True)
        self.logits = make(
            "Logits", cat, "Raw mask logits before the sigmoid, without fill and outlines", keys="M",
            image="logits", check=True,
        )  # fmt: skip
        self.sum_logits = make(
            "Sum logits where boxes overlap", cat, "Add up the logit maps; otherwise the greatest is shown",
            check=True,
        )  # fmt: skip
        self.reference = make(
            "Reference", cat, "Outline of the loaded reference mask", keys="G", image="reference", check=True
        )
        self.less_opacity = make(
            "Less opacity", cat, "Make the fill more transparent", keys="A", image="less"
        )
        self.more_opacity = make(
            "More opacity", cat, "Make the fill less transparent", keys="D", image="more"
        )

    def _make_analysis(self) -> None:
        make, cat = self._make, "Analysis"
        self.run_slice = make("Run slice", cat, "Analyse this slice", keys="Ctrl+R", image="run")
        self.run_series = make(
            "Run series", cat, "Analyse every slice, this one first", keys="Ctrl+Shift+R", image="run-series"
        )
        self.stop = make("Stop", cat, "Stop what is running; what is done stays", keys="Esc", image="stop")
        self.toggle_nms = make(
            "Suppress overlapping boxes (NMS)", cat, "Non-maximum suppression of the shown detections",
            keys="T", image="nms", check=True,
        )  # fmt: skip
        self.join_touching = make(
            "Join touching detections", cat,
            "Show detections whose masks touch as one lesion; otherwise each by itself",
            keys="J", check=True,
        )  # fmt: skip
        self.fast = make(
            "Fast analysis (no mirror image)", cat,
            "Leave out the mirror image where the weights look at it too: half the time, a little less good",
            check=True,
        )  # fmt: skip
        self.link = make(
            "Link evidence to shown thresholds", cat, "The evidence follows the shown thresholds",
            image="link", check=True,
        )  # fmt: skip
        self.undo = make("Undo", cat, "Take the last change of a threshold back", keys="Ctrl+Z", image="undo")
        self.redo = make("Redo", cat, "Change the threshold again", keys="Ctrl+Shift+Z Ctrl+Y", image="redo")
        self.reset_thresholds = make(
            "Reset thresholds", cat, "Thresholds as the weights define them", image="reset"
        )
        self.scoring_softmax = make("Softmax scores", cat, "Score regions with the softmax", check=True)
        self.scoring_sigmoid = make("Sigmoid scores", cat, "Score regions with the sigmoid", check=True)
        group = QActionGroup(self)
        group.addAction(self.scoring_softmax)
        group.addAction(self.scoring_sigmoid)

    def _make_regions(self) -> None:
        make, cat = self._make, "Regions"
        self.previous_region = make("Previous region", cat, "Select the region above in the table", keys="[")
        self.next_region = make("Next region", cat, "Select the region below in the table", keys="]")
        self.clear_selection = make("Clear selection", cat, "Select no region", keys="Backspace")
        self.copy_table = make(
            "Copy table of regions", cat, "Copy the listed regions as text", keys="Ctrl+Shift+C", image="copy"
        )

    def _make_help(self) -> None:
        make, cat = self._make, "Help"
        self.keys = make("Mouse and keys", cat, "List of mouse actions and keys", keys="F1", image="keys")
        self.about_weights = make("About these weights", cat, "How they were trained and how good they are",
                                  image="weights")  # fmt: skip
        self.about = make("About CTMaskNet", cat, "Version, purpose and licence", image="about")

    def _listen(self) -> None:
        state = self._state
        for name in _MIRRORED:
            state.display.events[name].connect(self._refresh_checks)
        for group in (state.thresholds, state.case, state.run, state.results, state.weights):
            group.events.all.connect(self._on_event)

    def _on_event(self) -> None:
        self._refresh_checks()
        self._refresh_enabled()

    def _refresh_checks(self) -> None:
        display, thresholds = self._state.display, self._state.thresholds
        checks = {
            self.cine: display.cine,
            self.invert: display.inverted,
            self.flip_horizontal: display.flip_horizontal,
            self.flip_vertical: display.flip_vertical,
            self.privacy: display.privacy,
            self.masks: display.masks,
            self.outlines: display.outlines,
            self.boxes: display.boxes,
            self.labels: display.labels,
            self.logits: display.logits,
            self.sum_logits: thresholds.detections.logit_rule == "sum",
            self.reference: display.reference,
            self.overlays: display.overlays.findings
            or display.logits
            or (display.reference and self._state.case.reference is not None),
            self.toggle_nms: thresholds.detections.nms_iou is not None,
            self.join_touching: thresholds.detections.join_touching,
            self.link: thresholds.linked,
            self.fast: self._state.weights.fast,
            self.scoring_softmax: thresholds.detections.scoring == "softmax",
            self.scoring_sigmoid: thresholds.detections.scoring == "sigmoid",
        }
        for action, checked in checks.items():
            action.setChecked(checked)
        for action in self.presets:
            action.setChecked(same_window(action.data(), display.window))
        for action in self.cine_speeds:
            action.setChecked(action.data() == display.cine_fps)

    def _refresh_enabled(self) -> None:
        state = self._state
        volume = state.case.volume
        opened, running = volume is not None, state.run.kind != ""
        analysed = bool(state.results.slices) or state.results.shown is not None
        always_with_volume = [
            *self.in_category("Slices"),
            *self.in_category("Window"),
            self.invert, self.flip_horizontal, self.flip_vertical,
            self.zoom_in, self.zoom_out, self.zoom_fit, self.reset_view,
            self.export, self.export_png, self.load_reference,
        ]  # fmt: skip
        for action in always_with_volume:
            action.setEnabled(opened)
        # Without one open, it closes the list of series.
        self.close_case.setEnabled(opened or state.case.catalogue is not None)
        self.window_file.setEnabled(volume is not None and bool(volume.windows))
        for action in (self.next_finding, self.previous_finding):
            action.setEnabled(opened and bool(state.results.summaries))
        for action in (self.export_csv, self.export_plots, self.export_lesions):
            action.setEnabled(opened and analysed)
        for action in self.in_category("Regions"):
            action.setEnabled(state.results.shown is not None)
        self.correct_tilt.setEnabled(volume is not None and volume.geometry.sheared)
        for action in (self.reference, self.close_reference):
            action.setEnabled(state.case.reference is not None)
        # Without weights a run says so, in more words than a grey button.
        self.run_slice.setEnabled(opened)
        self.run_series.setEnabled(opened)
        self.stop.setEnabled(running)
        self.about_weights.setEnabled(bool(state.weights.cards or state.weights.available))
        for action, text, edit in (
            (self.undo, "Undo", state.thresholds.undo),
            (self.redo, "Redo", state.thresholds.redo),
        ):
            action.setText(f"{text} {edit}".rstrip())
            action.setEnabled(edit != "")


def same_window(one: Window, other: Window) -> bool:
    """Whether two windows show the same, whatever they are called."""
    return replace(one, name="") == replace(other, name="")
