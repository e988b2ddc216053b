"""Every command of the window, one entry each: text, tip, keys, icon, what it does, when it can be used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, replace

from ctmasknet_gui.state import AppState
from ctmasknet_gui.state.display import PRESETS, ThemeChoice, Tool
from ctmasknet_gui.state.verdict import verdict_stands
from ctmasknet_gui.view.use_cases import UseCases
from model_core.base.settings import Scoring
from model_core.base.volume import Window

CINE_SPEEDS = (5.0, 10.0, 15.0, 20.0, 30.0)  # slices per second
OPACITY_STEP = 0.1
TEN = 10
_FIRST_PRESET_KEY = 2


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes
    ----------
    name:
        The attribute of `Actions` that holds it.
    keys:
        Shortcuts, as `QKeySequence` writes them.
    do:
        Calls its use case. None for what the window does by itself: zoom, panels, dialogs.
    when:
        Whether it can be used now.
    checked:
        Whether it is on, for a command that turns something on and off.
    choice:
        Commands of which one at most is on share this word.
    about:
        What it would do now, written behind its text.
    """

    name: str
    text: str
    tip: str
    _: KW_ONLY
    keys: tuple[str, ...] = ()
    image: str = ""
    do: Callable[[UseCases, AppState], object] | None = None
    when: Callable[[AppState], bool] = lambda _: True
    checked: Callable[[AppState], bool] | None = None
    choice: str = ""
    about: Callable[[AppState], str] | None = None


def _opened(state: AppState) -> bool:
    return state.case.volume is not None


def _in_view(state: AppState) -> bool:
    return state.case.in_view is not None


def _analysed(state: AppState) -> bool:
    return _opened(state) and (bool(state.results.slices) or state.results.shown is not None)


def _with_findings(state: AppState) -> bool:
    return _opened(state) and bool(state.results.summaries)


def _shown(state: AppState) -> bool:
    return state.results.shown is not None


def _shown_in_lung(state: AppState) -> bool:
    """Whether what is shown counts: outside the lungs neither class nor area does."""
    return state.results.shown is not None and state.results.shown.summary.lung is not False


def _chosen(state: AppState, *, excluded: bool | None = None) -> bool:
    """Whether a region is selected that the class rests on, or that was taken out of that."""
    shown, chosen = state.results.shown, state.selection.chosen
    if not chosen or shown is None or shown.verdict is None:
        return False
    return any(roi.candidate in chosen and excluded in (None, roi.excluded) for roi in shown.rois)


def _judged(state: AppState) -> bool:
    """Whether there is a class, and regions that it rests on or could."""
    return state.results.shown is not None and state.results.shown.verdict is not None


def _judged_scan(state: AppState) -> bool:
    scan = state.results.scan
    return scan is not None and scan.verdict not in (None, "no_class")


def _edited_here(state: AppState) -> bool:
    return _shown(state) and state.thresholds.edits.of(state.display.slice_index) is not None


def _found_region(state: AppState) -> bool:
    """Whether the selected region is one that the network found for the class."""
    return state.found_region() is not None


def _with_key_images(state: AppState) -> bool:
    return _opened(state) and bool(state.case.key_images)


def _with_reference(state: AppState) -> bool:
    return state.case.reference is not None


def _tilted(state: AppState) -> bool:
    return state.case.volume is not None and state.case.volume.geometry.sheared


def _closable(state: AppState) -> bool:
    # Without a series open, closing empties the list of series.
    return _opened(state) or state.case.catalogue is not None


def _with_window(state: AppState) -> bool:
    volume = state.case.in_view
    return volume is not None and bool(volume.windows)


def _running(state: AppState) -> bool:
    return state.run.kind != ""


def _with_cards(state: AppState) -> bool:
    return bool(state.weights.cards or state.weights.available)


def _summed(state: AppState) -> bool:
    return state.thresholds.detections.logit_rule == "sum"


def _joined(state: AppState) -> bool:
    return state.thresholds.detections.join_touching


def _any_overlay(state: AppState) -> bool:
    display = state.display
    pixels = state.pixels.found is not None and state.pixels.overlay != ""
    maps = display.logits or display.contributions or pixels
    return display.overlays.findings or maps or (display.reference and _with_reference(state))


def _switch(
    name: str,
    text: str,
    tip: str,
    *,
    key: str,
    image: str,
    field: str = "",
    when: Callable[[AppState], bool] = lambda _: True,
) -> Command:
    """Return the command that turns a field of `DisplayState` over: ``field``, or the one of its name."""
    field = field or name
    return Command(
        name, text, tip, keys=(key,), image=image, when=when,
        do=lambda use, _: use.toggle(field),
        checked=lambda state: bool(getattr(state.display, field)),
    )  # fmt: skip


def _tool(tool: Tool, text: str, tip: str, *, key: str, image: str) -> Command:
    """Return the command that takes a tool in hand, or puts it away."""
    return Command(
        f"{tool}_tool", text, tip, keys=(key,), image=image,
        when=lambda state: state.display.tool == tool or _judged(state),
        do=lambda use, _: use.set_tool(tool), checked=lambda state: state.display.tool == tool,
    )  # fmt: skip


def _cine_speed(speed: float) -> Command:
    return Command(
        f"cine_{speed:g}", f"{speed:g} slices per second", f"Play {speed:g} slices per second",
        when=_opened, choice="cine speed", do=lambda use, _: use.set_cine_speed(speed),
        checked=lambda state: state.display.cine_fps == speed,
    )  # fmt: skip


def _preset(key: int, window: Window) -> Command:
    return Command(
        f"preset_{key}", window.name,
        f"{window.name} window: width {window.width:g}, level {window.level:g} HU",
        keys=(str(key),), when=_in_view, choice="window",
        do=lambda use, _: use.preset(key),
        checked=lambda state: same_window(window, state.display.window),
    )  # fmt: skip


def _theme(theme: ThemeChoice, text: str) -> Command:
    return Command(
        f"theme_{theme}", text, "Colours of the window; slices stay on black", choice="theme",
        do=lambda use, _: use.set_theme(theme), checked=lambda state: state.display.theme == theme,
    )  # fmt: skip


def _scoring(scoring: Scoring) -> Command:
    return Command(
        f"scoring_{scoring}", f"{scoring.capitalize()} scores", f"Score regions with the {scoring}",
        choice="scoring", do=lambda use, _: use.set_scoring(scoring),
        checked=lambda state: state.thresholds.detections.scoring == scoring,
    )  # fmt: skip


_OPEN_TIP = "Open DICOM files, a DICOMDIR or ZIP, a volume file or pictures"
_KEEP_TIP = (
    "A study that is opened again then shows its findings and key images at once; no pixels are stored"
)
_JOIN_TIP = "Show detections whose masks touch as one lesion; otherwise each by itself"

_EXCLUDE_TIP = "Show what the class would be without the selected regions: lower ranks close up"
_RESTORE_TIP = "Let every region of this slice count again, and forget what was asked about"
_AREA_TIP = "Draw around regions to select them: their middle counts; with Shift a box"
_ASK_TIP = "Draw a box: the network takes it as a proposal, and the class takes in what it finds there"
_HEAL_TIP = (
    "Show the slice with the lesions of the selected regions replaced by healthy lung nearby, and run it"
)
_HEAL_AREA_TIP = (
    "Draw an area: its lung is replaced by healthy lung nearby, and the slice can run again; Shift: box"
)
_PLANT_TIP = (
    "Draw an area in healthy lung: ground glass is planted in it, and the slice can run again; Shift: box"
)
_PIXELS_TIP = "Show which pixels the logit of the selected region hangs on; the network runs some 50 times"
_SURE_TIP = "Run this slice with eight small changes and show how far class and lesion area move"
_SURE_SCAN_TIP = (
    "Run lung slices 10 mm apart with the same eight changes (minutes; Esc stops): how far lesion volume\n"
    "and the share of slices that look ill move, and whether the verdict does"
)
_WHOLE_TIP = "Select every region on the lesion of the selected one; Ctrl+click on the slice does it, too"
_NMS_TIP = "Regions that an excluded one had suppressed take its place; otherwise they stay out"

# By the headings of the list of keys.
# fmt: off
COMMANDS: dict[str, tuple[Command, ...]] = {
    "File": (
        Command("open_file", "Open file…", _OPEN_TIP, keys=("Ctrl+O",), image="file"),
        Command("open_folder", "Open folder…", "Open a folder of DICOM slices or pictures",
                keys=("Ctrl+Shift+O",), image="folder"),
        Command("open_demo", "Open demo case", "Open a synthetic chest CT with known lesions",
                image="volume", do=lambda use, _: use.open_demo()),
        Command("load_reference", "Load reference mask…", "Load a lesion mask to compare with",
                image="reference", when=_opened),
        Command("close_reference", "Close reference mask", "Forget the loaded reference mask",
                when=_with_reference, do=lambda use, _: use.close_reference()),
        Command("load_weights", "Load weights file…", "Load network weights from a file",
                image="weights"),
        Command("export", "Export…", "Export pictures, tables, plots or masks",
                keys=("Ctrl+E",), image="export", when=_opened),
        Command("export_png", "Pictures (PNG)…", "Export annotated pictures", image="image",
                when=_opened),
        Command("export_csv", "Table of regions (CSV)…", "Export every ranked region as a table",
                image="table", when=_analysed),
        Command("export_plots", "Plots (PNG, SVG)…", "Export the plots of this slice",
                image="plot", when=_analysed),
        Command("export_lesions", "Lesion mask (NIfTI)…", image="volume", when=_analysed,
                tip="Export the lesion mask in the geometry of the series"),
        Command("export_slice_page", "Page on this slice…", image="file", when=_shown,
                tip="Export picture, class and what carries it on one page (PDF and HTML)"),
        Command("export_scan_page", "Page on the scan…", image="file", when=_with_findings,
                tip="Export verdict, profile and deciding slices on one page (PDF and HTML)"),
        Command("export_figure", "Figure for print…", image="plot", when=_analysed,
                tip="Export slices in the four columns of the papers, with a caption (PDF and PNG)"),
        Command("export_nms", "Figure of two NMS thresholds…", image="nms", when=_shown,
                tip="Export this slice under two NMS thresholds side by side (PDF and PNG)"),
        Command("save_case", "Save case…", keys=("Ctrl+S",), image="export", when=_opened,
                tip="Save settings, edits and view of this case, without its images, to open it again"),
        Command("keep_results", "Keep results on this computer", _KEEP_TIP,
                checked=lambda state: state.case.keeps_results, do=lambda use, _: use.toggle_kept()),
        Command("clear_kept", "Remove all kept results",
                "Remove the results and key images of every study from the disk",
                do=lambda use, _: use.clear_kept()),
        Command("correct_tilt", "Correct gantry tilt", when=_tilted,
                tip="Shift the slices of a tilted gantry back, and open that as a series of its own",
                do=lambda use, _: use.correct_tilt()),
        Command("close_case", "Close series", "Close the open series", image="close",
                when=_closable, do=lambda use, _: use.close_case()),
        Command("quit", "Quit", "Leave the program", keys=("Ctrl+Q",)),
    ),
    "Slices": (
        Command("previous_slice", "Previous slice", "One slice up", keys=("Up",),
                image="previous", when=_in_view, do=lambda use, _: use.step(-1)),
        Command("next_slice", "Next slice", "One slice down", keys=("Down",),
                image="next", when=_in_view, do=lambda use, _: use.step(1)),
        Command("back_ten", "Ten slices up", "Ten slices up", keys=("PgUp",),
                when=_in_view, do=lambda use, _: use.step(-TEN)),
        Command("forward_ten", "Ten slices down", "Ten slices down", keys=("PgDown",),
                when=_in_view, do=lambda use, _: use.step(TEN)),
        Command("first_slice", "First slice", "First slice", keys=("Home",), image="first",
                when=_in_view, do=lambda use, _: use.first()),
        Command("last_slice", "Last slice", "Last slice", keys=("End",), image="last",
                when=_in_view, do=lambda use, _: use.last()),
        Command("next_finding", "Next finding", "Next slice with a finding", keys=("N",),
                image="finding-next", when=_with_findings, do=lambda use, _: use.next_finding()),
        Command("previous_finding", "Previous finding", "Previous slice with a finding",
                keys=("P",), image="finding-previous", when=_with_findings,
                do=lambda use, _: use.previous_finding()),
        Command("key_image", "Key image", "Mark this slice as a key image, or take the mark off",
                keys=("Ctrl+K",), image="key-image", when=_opened,
                do=lambda use, _: use.toggle_key_image(),
                checked=lambda state: state.display.slice_index in state.case.key_images),
        Command("next_key_image", "Next key image", "Next slice that is marked as a key image",
                keys=("Shift+N",), when=_with_key_images, do=lambda use, _: use.next_key_image()),
        Command("previous_key_image", "Previous key image", keys=("Shift+P",), when=_with_key_images,
                tip="Previous slice that is marked as a key image",
                do=lambda use, _: use.previous_key_image()),
        Command("key_images", "Key images…", "List the key images, and write notes to them",
                keys=("Ctrl+Shift+K",), when=_opened),
        Command("cine", "Cine", "Play the slices as a loop", keys=("Space",), image="cine",
                when=_opened, do=lambda use, _: use.toggle_cine(), checked=lambda state: state.display.cine),
        *map(_cine_speed, CINE_SPEEDS),
    ),
    "Window": (
        Command("window_auto", "Automatic window", "Window from the values of this slice",
                keys=("0",), when=_in_view, do=lambda use, _: use.preset(0)),
        Command("window_file", "Window of the file", "Window stored in the file",
                keys=("1",), when=_with_window, do=lambda use, _: use.preset(1)),
        *(_preset(key, window) for key, window in enumerate(PRESETS, start=_FIRST_PRESET_KEY)),
    ),
    "View": (
        _switch("invert", "Invert grey", "Swap black and white", key="I", image="invert", field="inverted",
                when=_in_view),
        _switch("flip_horizontal", "Flip left-right", "Mirror the picture; the letters follow", key="H",
                image="flip-h", when=_in_view),
        _switch("flip_vertical", "Flip up-down", "Mirror the picture; the letters follow", key="V",
                image="flip-v", when=_in_view),
        Command("zoom_in", "Zoom in", "Enlarge the picture", keys=("+",), image="zoom-in",
                when=_in_view),
        Command("zoom_out", "Zoom out", "Shrink the picture", keys=("-",), image="zoom-out",
                when=_in_view),
        Command("zoom_fit", "Fit to window", "Show the whole slice", keys=("=",), image="fit",
                when=_in_view, do=lambda use, _: use.set_zoom(None, (0.0, 0.0))),
        Command("reset_view", "Reset view", keys=("R",), image="reset", when=_in_view,
                tip="Undo zoom, pan, flips and inversion; lung window", do=lambda use, _: use.reset_view()),
        _switch("privacy", "Privacy mode", "Hide everything that identifies the patient",
                key="Ctrl+Shift+P", image="privacy"),
        Command("series_panel", "Series list", "Show or hide the list of series",
                keys=("F8",), image="panel-left"),
        Command("explanation_panel", "Explanation", keys=("F9",), image="panel-right",
                tip="Show or hide the explanation at the right"),
        Command("find_series", "Search series", keys=("Ctrl+F",),
                tip="Go to the series list, and search it where it is long"),
        _theme("dark", "Dark"),
        _theme("light", "Light"),
        _theme("system", "As the system"),
        Command("full_screen", "Full screen", "Fill the screen", keys=("F11",),
                image="fullscreen"),
    ),
    "Overlays": (
        Command("overlays", "All overlays", "Show or hide all overlays", keys=("S",),
                image="overlays", do=lambda use, _: use.toggle_overlays(), checked=_any_overlay),
        _switch("outlines", "Outlines", "Outlines of the detections", key="O", image="outlines"),
        _switch("labels", "Labels", "Rank, class and score of the detections", key="L", image="labels"),
        _switch("masks", "Fill", "Masks of the detections, filled", key="F", image="masks"),
        _switch("boxes", "Boxes", "Boxes of the detections", key="B", image="boxes"),
        _switch("logits", "Logits", "Raw mask logits before the sigmoid, without fill and outlines", key="M",
                image="logits"),
        _switch("contributions", "Contributions", key="W", image="contributions",
                tip="Colour the regions by what they contribute to the class, without fill and outlines"),
        Command("sum_logits", "Sum logits where boxes overlap",
                "Add up the logit maps; otherwise the greatest is shown",
                do=lambda use, state: use.set_detections(
                    replace(state.thresholds.detections, logit_rule="max" if _summed(state) else "sum")),
                checked=_summed),
        _switch("reference", "Reference", "Outline of the loaded reference mask", key="G",
                image="reference", when=_with_reference),
        Command("less_opacity", "Less opacity", "Make the fill more transparent", keys=("A",),
                image="less", do=lambda use, _: use.change_opacity(-OPACITY_STEP)),
        Command("more_opacity", "More opacity", "Make the fill less transparent", keys=("D",),
                image="more", do=lambda use, _: use.change_opacity(OPACITY_STEP)),
    ),
    "Analysis": (
        # Without weights a run says so, in more words than a grey button.
        Command("run_slice", "Run slice", "Analyse this slice", keys=("Ctrl+R",), image="run",
                when=_opened, do=lambda use, _: use.run_slice()),
        Command("run_series", "Run series", "Analyse every slice, this one first",
                keys=("Ctrl+Shift+R",), image="run-series", when=_opened, do=lambda use, _: use.run_series()),
        # Escape leaves a tool first.
        Command("stop", "Stop", "Stop what is running; what is done stays", keys=("Esc",),
                image="stop", when=lambda state: _running(state) and not state.display.tool,
                do=lambda use, _: use.stop()),
        Command("how_sure", "How sure: eight small changes", _SURE_TIP, keys=("Shift+S",),
                when=_shown_in_lung, do=lambda use, _: use.ask_stability()),
        Command("how_sure_scan", "How sure is the scan", _SURE_SCAN_TIP, keys=("Ctrl+Shift+S",),
                when=verdict_stands, do=lambda use, _: use.ask_scan_stability()),
        Command("other_rules", "What other rules would say…", when=_judged_scan,
                tip="The verdict of the scan beside that of other rules, from the same slices"),
        Command("toggle_nms", "Suppress overlapping boxes (NMS)", keys=("T",), image="nms",
                tip="Non-maximum suppression of the shown detections", do=lambda use, _: use.toggle_nms(),
                checked=lambda state: state.thresholds.detections.nms_iou is not None),
        Command("join_touching", "Join touching detections", _JOIN_TIP, keys=("J",),
                do=lambda use, state: use.set_detections(
                    replace(state.thresholds.detections, join_touching=not _joined(state))),
                checked=_joined),
        Command("link", "Link evidence to shown thresholds", image="link",
                tip="The evidence follows the shown thresholds",
                do=lambda use, state: use.set_linked(not state.thresholds.linked),
                checked=lambda state: state.thresholds.linked),
        Command("undo", "Undo", "Take the last change of thresholds or evidence back",
                keys=("Ctrl+Z",), image="undo",
                when=lambda state: state.thresholds.undo != "", about=lambda state: state.thresholds.undo,
                do=lambda use, _: use.undo()),
        Command("redo", "Redo", "Make the change again that was taken back",
                keys=("Ctrl+Shift+Z", "Ctrl+Y"), image="redo",
                when=lambda state: state.thresholds.redo != "", about=lambda state: state.thresholds.redo,
                do=lambda use, _: use.redo()),
        Command("reset_thresholds", "Reset thresholds", "Thresholds as the weights define them",
                image="reset", do=lambda use, _: use.reset_thresholds()),
        _scoring("softmax"),
        _scoring("sigmoid"),
    ),
    "Regions": (
        Command("previous_region", "Previous region", "Select the region above in the table",
                keys=("[",), when=_shown),
        Command("next_region", "Next region", "Select the region below in the table",
                keys=("]",), when=_shown),
        Command("clear_selection", "Clear selection", "Select no region", keys=("Backspace",),
                when=_shown, do=lambda use, _: use.pick(None)),
        _tool("area", "Select by area", _AREA_TIP, key="E", image="lasso"),
        Command("select_scores", "Select by score…", "Select every region whose score lies in a range",
                keys=("Shift+E",), when=_judged),
        _tool("ask", "Ask about a region", _ASK_TIP, key="Q", image="ask"),
        Command("ask_box", "Ask about a box…", "Give the edges of a box to ask about as numbers",
                keys=("Shift+Q",), when=_judged),
        Command("heal_lesion", "Heal lesion…", _HEAL_TIP, keys=("C",), image="heal",
                when=lambda state: _judged(state) and bool(state.selection.chosen),
                do=lambda use, _: use.heal_selected()),
        _tool("heal", "Heal an area", _HEAL_AREA_TIP, key="Y", image="heal"),
        Command("heal_box", "Heal a box…", "Give the edges of a box to heal as numbers",
                keys=("Shift+Y",), when=_judged),
        _tool("plant", "Plant ground glass", _PLANT_TIP, key="U", image="plant"),
        Command("plant_box", "Plant ground glass in a box…",
                "Give the edges of a box to plant in as numbers", keys=("Shift+U",), when=_judged),
        Command("leave_tool", "Leave tool", "Put the tool for areas or questions away", keys=("Esc",),
                when=lambda state: state.display.tool != "", do=lambda use, _: use.leave_tool()),
        Command("exclude_region", "Exclude from evidence", _EXCLUDE_TIP, keys=("X", "Del"),
                when=lambda state: _chosen(state, excluded=False),
                do=lambda use, state: use.exclude(state.selection.chosen)),
        Command("restore_region", "Put back into evidence", "Let the selected regions count again",
                keys=("Shift+X", "Ins"), when=lambda state: _chosen(state, excluded=True),
                do=lambda use, state: use.restore(state.selection.chosen)),
        Command("keep_only", "Keep only this in evidence", keys=("K",), when=_chosen,
                tip="Show the class that rests on the selected regions alone",
                do=lambda use, state: use.keep_only(state.selection.chosen)),
        Command("restore_all", "Restore all regions", _RESTORE_TIP,
                keys=("Ctrl+Shift+X",), when=_edited_here, do=lambda use, _: use.restore_all()),
        Command("restore_everywhere", "Restore all regions of all slices",
                "Let every region of every slice count again",
                when=lambda state: bool(state.thresholds.edits), do=lambda use, _: use.restore_everywhere()),
        Command("nms_anew", "With NMS run anew", _NMS_TIP, do=lambda use, _: use.toggle_nms_anew(),
                checked=lambda state: state.thresholds.edits.nms_anew),
        Command("select_lesion", "Select whole lesion", _WHOLE_TIP, keys=("Z",),
                when=lambda state: _shown(state) and state.selection.candidate is not None,
                do=lambda use, state: use.select_lesion(state.selection.candidate)),
        Command("explain_pixels", "From region to pixels", _PIXELS_TIP, keys=("Shift+L",),
                when=_found_region, do=lambda use, _: use.explain_pixels()),
        Command("next_pixel_map", "Next pixel map on the slice", keys=("Shift+M",),
                tip="Draw the maps of the selected region on the slice, one after the other, then none",
                when=lambda state: state.pixels.found is not None, do=lambda use, _: use.next_pixel_map()),
        Command("copy_table", "Copy table of regions", "Copy the listed regions as text",
                keys=("Ctrl+Shift+C",), image="copy", when=_shown),
    ),
    "Help": (
        Command("keys", "Mouse and keys", "List of mouse actions and keys", keys=("F1",),
                image="keys"),
        Command("about_weights", "About these weights", image="weights", when=_with_cards,
                tip="How they were trained and how good they are"),
        Command("about", "About CTMaskNet", "Version, purpose and licence", image="about"),
    ),
}
# fmt: on


def same_window(one: Window, other: Window) -> bool:
    """Whether two windows show the same, whatever they are called."""
    # Most differ in the first; it is asked with every change of the state.
    return one.width == other.width and replace(one, name=other.name) == other
